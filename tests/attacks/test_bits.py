"Columns of codes from ciphertexts, with nothing known; nothing false is accepted."
from dataclasses import replace

import numpy as np
import pytest

from tree_privacy.attacks.bits import (
    accepted_columns,
    columns_found,
    columns_placed,
    fewest_known,
    filled,
    independent_bits,
    placed,
    sign_iteration,
)
from tree_privacy.attacks.evidence import GroundTruth, Knowledge, NotApplicable
from tree_privacy.attacks.linear import bits_right
from tree_privacy.attacks.observe import observe_scheme
from tree_privacy.bits import pack
from tree_privacy.crypto.random_matrix import MatrixKey
from tree_privacy.tree.estimator import MergeTree

from .scenes import BITS, clouds, known, share, truth

open_forms = pytest.mark.parametrize('form', ['basic', 'split'])


@pytest.mark.parametrize('bits', [16, 32])
def test_independent_bits(bits):
    "Every column, with nothing known, where bits are independent."
    free = MergeTree().fit(np.random.default_rng(bits).integers(0, 256, (2000, bits // 8), dtype=np.uint8))
    seen = observe_scheme(MatrixKey.generate(bits, form='basic'), free)
    assert share(columns_found(independent_bits(seen), GroundTruth(free.feature_[:free.n_leaves_]))) == 1


@open_forms
def test_sign_iteration(form):
    "Nearly every column of clustered codes, and nothing false among them; a few photographs order and sign them."
    columns = sign_iteration(clouds[form], seconds=200)
    found = columns_found(columns, truth).values
    assert found.mean() > .9 and columns.shape[1] == found.sum()
    few = known.first(fewest_known(columns, known))
    assert len(few.leaves) < BITS / 2
    right, guessing = bits_right(filled(placed(columns, few), few), truth, few)
    assert right.mean() > .95 and guessing < .6
    again, used = columns_placed(clouds[form], known, seconds=200)
    assert share(bits_right(again, truth, used)) > .95 and len(used.leaves) < BITS / 2


def test_columns_are_not_placed_by_too_few():
    "Two photographs cannot tell 64 columns apart, and the attack claims none that is wrong."
    columns = truth.codes[:, ::-1] * np.random.default_rng(0).choice([-1, 1], BITS)
    with pytest.raises(NotApplicable, match='do not place'):
        fewest_known(columns, known.first(2))
    for k in (2, 5, 10, 30):
        guess = placed(columns, known.first(k))
        assert (guess[guess != 0] == truth.codes[guess != 0]).all()
    assert (placed(columns, known.first(60)) == truth.codes).all()


def test_variants_of_a_column_share_its_place():
    "A column that is found twice, once with a wrong bit, is placed once, and the other columns as before."
    unknown = np.setdiff1d(np.arange(len(truth.codes)), known.leaves[:60])[0]
    variant = truth.codes[:, :1].copy()
    variant[unknown] *= -1
    assert fewest_known(np.c_[truth.codes, -variant], known) == fewest_known(truth.codes, known)


def test_columns_that_nearly_are_bits_are_refused():
    "A column that differs from a bit at a single leaf is no column; neither is a constant."
    u = np.c_[truth.codes, np.ones(len(truth.codes))]
    wrong = truth.codes[:, :5].copy()
    wrong[7] *= -1
    assert accepted_columns(u, wrong).shape[1] == 0 and accepted_columns(u, u[:, -1:]).shape[1] == 0
    assert accepted_columns(u, np.c_[truth.codes[:, :5], -truth.codes[:, :5], wrong]).shape[1] == 5


def test_bits_that_never_vary_are_no_columns():
    "Where six of the bits never vary, the others are found from scores, and nothing else."
    rng = np.random.default_rng(0)
    bits = rng.random((1600, 32)) < .5
    bits[:, :6] = rng.random(6) < .5
    some = MergeTree().fit(pack(bits[:1500]))
    seen = observe_scheme(MatrixKey.generate(32, form='split'), some, pack(bits[1500:]))
    columns = sign_iteration(seen, seconds=200)
    found = columns_found(columns, GroundTruth(some.feature_[:some.n_leaves_])).values
    assert columns.shape[1] == 26 == found[6:].sum() and not found[:6].any()


@pytest.mark.parametrize('attack', [independent_bits, lambda seen: sign_iteration(seen, seconds=3)])
def test_random_numbers_hold_no_columns(attack):
    "Nothing is accepted by its residual where there is nothing."
    with pytest.raises(NotApplicable):
        attack(clouds['control'])


def test_ciphers_are_not_searched():
    "Where a lock's ciphertexts are no linear function, no search begins."
    sealed = replace(clouds['control'], linear=False, lock='sealed')
    for attack in (independent_bits, sign_iteration, lambda seen: columns_placed(seen, known)):
        with pytest.raises(NotApplicable, match='sealed are no linear function'):
            attack(sealed)


def test_nothing_known_places_nothing():
    "Without known photographs there are no places, and the commonest bit is +1."
    with pytest.raises(NotApplicable, match='no photograph is known'):
        columns_placed(clouds['basic'], Knowledge())
    assert (filled(np.zeros((2, 3)), Knowledge()) == 1).all()


def test_ciphertexts_alone_give_short_codes():
    "600 leaves of 16 random bits in the basic form, 3,000 in the split form, give every bit up to order and sign."
    tree = MergeTree().fit(np.random.default_rng(3).integers(0, 256, (3000, 2), dtype=np.uint8))
    order = np.random.default_rng(4).permutation(tree.n_leaves_)
    for form, some in (('basic', order[:600]), ('split', order)):
        e = MatrixKey.generate(16, form=form).encrypt_nodes(tree.vectors()[some])
        bits = bits_from_ciphertexts(e)
        agree = np.abs(np.sign(bits).T @ tree.feature_[some]) / len(some)
        assert ((agree > .999).sum(0) == 1).all(), form


def bits_from_ciphertexts(e):
    "Columns of +1 and -1 among the linear functions of ciphertexts: what is constant in all squares and products."
    rng = np.random.default_rng(0)
    u, s, _ = np.linalg.svd(e, full_matrices=False)
    x = u[:, s > 1e-9 * s[0]] * np.sqrt(len(e))
    i, j = np.triu_indices(x.shape[1])
    products = x[:, i] * x[:, j] * np.where(i == j, 1, 2)
    values, vectors = np.linalg.eigh(np.cov(products.T))
    null = vectors[:, values < 1e-9 * values[-1]].T
    a, b = np.zeros((2, x.shape[1], x.shape[1]))
    for m in (a, b):
        m[i, j] = m[j, i] = rng.standard_normal(len(null)) @ null
    columns = x @ b @ np.linalg.eig(np.linalg.pinv(b, rcond=1e-6) @ a)[1].real
    columns = columns[:, np.abs(columns).mean(0) > 1e-6]
    columns /= np.abs(columns).mean(0)
    return columns[:, (np.abs(np.abs(columns) - 1).max(0) < .1) & (columns.std(0) > .1)]


