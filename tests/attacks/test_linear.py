"Known photographs and exact distances: read in full in the basic and the split form, guessing on random numbers."
from dataclasses import replace

import numpy as np
import pytest

from tree_privacy.attacks.evidence import NotApplicable, Observation, some_known
from tree_privacy.attacks.linear import (
    bits_right,
    distances_right,
    fewer_pairs,
    known_ciphertexts,
    known_plaintext,
    queries_from_known,
    score_grid,
    span,
)
from tree_privacy.core import InputError

from .scenes import BITS, CHANCE, clouds, known, share, tree, truth

open_forms = pytest.mark.parametrize('form', ['basic', 'split'])


@open_forms
def test_known_plaintext(form):
    "d + 1 pairs give at least 99.9 % of the bits of all other photographs; guessing about half."
    few = known.first(BITS + 1)
    right, guessing = bits_right(known_plaintext(clouds[form], few), truth, few)
    assert right.mean() >= .999 and guessing < .6


def test_known_plaintext_wants_pairs_and_searches():
    "With d pairs, with no search, or with too few of them, it says so."
    basic = clouds['basic']
    with pytest.raises(NotApplicable, match='65 known'):
        known_plaintext(basic, known.first(BITS))
    with pytest.raises(NotApplicable, match='no search'):
        known_plaintext(Observation(basic.table, tree.n_leaves_, BITS), known)
    with pytest.raises(NotApplicable, match='independent searches'):
        known_plaintext(replace(basic, trapdoors=basic.trapdoors[:20]), known)
    repeated = replace(basic, trapdoors=basic.trapdoors[np.arange(100) % 20])
    with pytest.raises(NotApplicable, match='64 independent searches are needed, and 20 were seen'):
        known_plaintext(repeated, known)


def test_known_plaintext_gives_searches():
    "The codes of all searches, from the split form."
    queries, r = queries_from_known(clouds['split'], known.first(BITS + 1))
    assert (queries == truth.queries).all() and (r > 0).all()


@pytest.mark.parametrize('form', ['basic', 'split', 'noisy'])
def test_known_ciphertexts(form):
    "A linear map from ciphertexts to codes needs no search, and noise in extra coordinates does not disturb it."
    seen = Observation(clouds[form].table, tree.n_leaves_, BITS, form)
    few = known.first(200)
    assert share(bits_right(known_ciphertexts(seen, few), truth, few)) > .999
    with pytest.raises(NotApplicable, match='known photographs are needed'):
        known_ciphertexts(seen, known.first(40))


@pytest.mark.parametrize('attack', [known_plaintext, known_ciphertexts])
def test_known_pairs_are_no_help_against_random_numbers(attack):
    "On the control, within 3 % of guessing."
    few = known.first(200)
    right, guessing = bits_right(attack(clouds['control'], few), truth, few)
    assert abs(right.mean() - .5) < CHANCE and abs(guessing - .5) < .1


def test_noise_is_averaged_away():
    "At most 4 % of the bits wrong with 1,000 pairs, more pairs are better; the control within 3 % of guessing."
    shares = []
    for k in (130, 1000):
        few = known.first(k)
        shares.append(share(bits_right(known_plaintext(clouds['noisy'], few), truth, few)))
    assert shares[1] > .96 and shares[1] > shares[0]
    assert abs(share(bits_right(known_plaintext(clouds['control'], known), truth, known)) - .5) < CHANCE


@open_forms
def test_exact_distances(form):
    "All distances of at least 95 % of the searches, with no pair known."
    right, guessing = distances_right(score_grid(clouds[form])[0], truth)
    assert (right == 1).mean() >= .95 and guessing < .2


@pytest.mark.parametrize('form', ['noisy', 'control'])
def test_no_grid_no_distances(form):
    "Scores that lie on no grid give nothing, rather than something wrong; so does the attack that builds on them."
    with pytest.raises(NotApplicable, match='no grid'):
        score_grid(clouds[form])
    with pytest.raises(NotApplicable, match='no grid'):
        fewer_pairs(clouds[form], known.first(39))


@open_forms
def test_fewer_pairs(form):
    "0.6 d pairs are enough; three are not."
    few = known.first(39)
    assert share(bits_right(fewer_pairs(clouds[form], few), truth, few)) > .999
    with pytest.raises(NotApplicable):
        fewer_pairs(clouds[form], known.first(3))


def test_known_photographs_are_independent_first():
    "The first d + 1 known photographs span everything; more than there are is all of them."
    rows = np.c_[known.codes[:BITS + 1], np.ones(BITS + 1)]
    assert np.linalg.matrix_rank(rows) == BITS + 1
    assert (known.codes == truth.codes[known.leaves]).all()
    assert len(some_known(truth, 10 ** 9).leaves) == len(truth.codes)
    for wrong in (-1, 1.5, '3', True):
        with pytest.raises(InputError, match='known photographs: wanted a whole number'):
            some_known(truth, wrong)
    with pytest.raises(NotApplicable, match='2000 known photographs are needed, and 1000 are known'):
        known.first(2000)


def test_span_counts_directions():
    "Columns that repeat others, or are rounding errors, add nothing."
    x = np.random.default_rng(0).standard_normal((50, 4))
    basis = span(np.c_[x, x @ np.ones((4, 3)), 1e-9 * x[:, :1] + x[:, :1]])
    assert basis.shape == (50, 4) and np.allclose(basis.T @ basis / 50, np.eye(4))
    assert span(x, at_most=2).shape == (50, 2) and span(x, at_most=9).shape == (50, 4)
