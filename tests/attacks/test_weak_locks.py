"Scale-and-perturb shows its bits."
import numpy as np
import pytest

from tree_privacy.attacks.evidence import Knowledge, NotApplicable, Observation
from tree_privacy.attacks.linear import bits_right
from tree_privacy.attacks.weak_locks import ScaleAndPerturb, bits_by_sign
from tree_privacy.core import InputError

from .scenes import BITS, clouds, share, truth


@pytest.mark.parametrize('beta, low, high', [(.354, 1, 1), (2., .95, 1), (100., .45, .55)])
def test_scale_and_perturb_shows_bits(beta, low, high):
    "Signs are bits at every setting of use; where they are not, points are moved so far that nothing is found."
    view = Observation(ScaleAndPerturb(BITS, beta).encrypt(truth.codes), len(truth.codes), BITS, 'scale-and-perturb')
    assert low <= share(bits_right(bits_by_sign(view), truth, Knowledge())) <= high
    with pytest.raises(NotApplicable, match='no bits'):
        bits_by_sign(clouds['basic'])


def test_scale_and_perturb_moves_by_a_quarter_of_beta():
    "Ciphertexts lie within scale * beta / 4 of the scaled points, and never in the same place twice."
    lock = ScaleAndPerturb(BITS, 2.)
    a, b = lock.encrypt(truth.codes), lock.encrypt(truth.codes)
    away = np.linalg.norm(a - lock.scale * truth.codes / 8, axis=1) / lock.scale
    assert away.max() <= .5 and away.mean() > .48 and not np.isclose(a, b).all(1).any()
    with pytest.raises(InputError, match='beta is'):
        ScaleAndPerturb(BITS, -1.)
