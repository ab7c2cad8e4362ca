"Binarisers: seeds, directions, what is refused, and what gives way to random projections."

import warnings

import numpy as np
import pytest
import torch

from tree_privacy.core import InputError, NotFittedError
from tree_privacy.images.binarisers import ITQ, PCA, RandomProjection
from tree_privacy.images.hash_layer import BINARISERS, binariser_kind, fit_binariser

from .made import clusters

KINDS = list(BINARISERS)


@pytest.mark.parametrize('kind', KINDS)
def test_binarisers_are_seeded(kind):
    "The same seed gives the same map, another one another map (but not PCA), and nothing outside is changed."
    x, y = clusters(200)
    torch.manual_seed(5), np.random.seed(5)
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].tolist()
    a, b, c = (fit_binariser(x, 16, seed, kind, y) for seed in (1, 1, 2))
    assert type(a) is BINARISERS[kind] and (a.weight_ == b.weight_).all() and (a.bias_ == b.bias_).all()
    assert (a.weight_ == c.weight_).all() == (kind == 'pca')
    assert (torch.get_rng_state() == state).all() and np.random.get_state()[1].tolist() == legacy
    assert (
        a.transform(x).dtype == np.uint8
        and a.transform(x).shape == (200, 2)
        and (a.transform(x) == b.transform(x)).all()
    )


@pytest.mark.parametrize('kind', KINDS)
def test_codes_depend_on_the_direction_of_features_alone(kind):
    "Features are scaled to length one: twice the features have the same codes, one at a time as well as together."
    x, y = clusters(200)
    b = fit_binariser(x, 16, 0, kind, y)
    assert (b.transform(4 * x) == b.transform(x)).all()
    assert (np.concatenate([b.transform(x[i : i + 1]) for i in range(200)]) == b.transform(x)).mean() > 0.999


@pytest.mark.parametrize('kind', KINDS)
def test_binarisers_refuse(kind):
    "Bits that cannot be, features that are no numbers, no features."
    x, y = clusters(200)
    for bits in (0, 7, 12, -8):
        with pytest.raises(InputError, match='multiple of 8'):
            fit_binariser(x, bits, 0, kind, y)
    with pytest.raises(InputError, match='more than the 32 features: use 32 or fewer'):
        fit_binariser(x, 40, 0, kind, y)
    with pytest.raises(InputError, match='more than the 33 features: use 32 or fewer'):
        fit_binariser(clusters(200, f=33)[0], 40, 0, kind, y)
    for wrong in (x[:0], x[0], x[None]):
        with pytest.raises(InputError, match='wanted .n, f.'):
            fit_binariser(wrong, 16, 0, kind, y)
    for value in (np.nan, np.inf):
        spoilt = x.copy()
        spoilt[[7, 9], 3] = value
        with pytest.raises(InputError, match='2 of 200 feature vectors hold NaN or infinity, the first is number 7'):
            fit_binariser(spoilt, 16, 0, kind, y)
        with pytest.raises(InputError, match='NaN'):
            fit_binariser(x, 16, 0, kind, y).transform(spoilt)


def test_there_is_no_other_binariser():
    with pytest.raises(InputError, match="no binariser 'best': wanted itq, pca, lsh, hash"):
        fit_binariser(clusters(50)[0], 16, kind='best')


def test_too_few_or_too_alike():
    "ITQ and PCA give way to random projections, with a warning; they take what they can learn from without one."
    x, _ = clusters(160)
    alike = np.repeat(x[:10], 16, axis=0)
    for kind in ('itq', 'pca'):
        for wrong in (x[:159], alike):
            with pytest.warns(UserWarning, match='using random projections'):
                assert type(fit_binariser(wrong, 16, kind=kind)) is RandomProjection
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            assert type(fit_binariser(x, 16, kind=kind)) is BINARISERS[kind]


def test_pca_is_the_covariance_s():
    "PCA's directions are those of the largest variance; ITQ only turns them, and its loss never grows."
    x, _ = clusters(300, 20)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    pca, itq = PCA(16).fit(x), ITQ(16).fit(x)
    y = unit @ pca.weight_ + pca.bias_
    spread = np.cov(y.T)
    assert np.abs(spread - np.diag(spread.diagonal())).max() < 1e-5 and (np.diff(spread.diagonal()) <= 1e-6).all()
    assert spread.trace() == pytest.approx(np.sort(np.linalg.eigvalsh(np.cov(unit.T)))[-16:].sum(), rel=1e-3)
    turn = pca.weight_.T @ itq.weight_
    assert np.abs(turn.T @ turn - np.eye(16)).max() < 1e-4 and (np.diff(itq.loss_) <= 1e-9).all()


@pytest.mark.parametrize('kind', KINDS)
def test_binarisers_refuse_what_they_were_not_fitted_to(kind):
    "Before fit, and features of another length, number of dimensions or with infinity."
    x, y = clusters(200)
    fresh = binariser_kind(kind)(16)
    with pytest.raises(NotFittedError, match='call fit first'):
        fresh.transform(x)
    fitted = fit_binariser(x, 16, 0, kind, y)
    for wrong in (x[:, :31], x[0], x[None], np.tile(x, 2)):
        with pytest.raises(InputError, match='wanted .n, 32., as in fit'):
            fitted.transform(wrong)
    assert fitted.transform(x[:0]).shape == (0, 2)
