"Secret matrices: scores are the plain ones, stored ciphertexts keep their bound, walks over them are the plain walks."
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_codes import clustered, crowded, few, near_duplicates, seeds

from tree_privacy.bits import hamming, signs
from tree_privacy.core import ForgedReply, InputError
from tree_privacy.crypto.random_matrix import FORMS, MatrixKey, distances_from_scores, random_matrix
from tree_privacy.locks.random_matrix import random_node_order
from tree_privacy.tree.building import RULES
from tree_privacy.tree.estimator import MergeTree
from tree_privacy.tree.structure import GRID
from tree_privacy.tree.walk import walk

widths = st.sampled_from([1, 4, 8, 16, 32])


def some_codes(seed, width, most=60):
    "A small collection, and the generator that made it."
    rng = np.random.default_rng(seed)
    return crowded(rng, int(rng.integers(1, most + 1)), width, int(rng.integers(1, 21)), rng.choice([0, .3, .9])), rng


def a_query(codes, rng):
    "A packed code: half of the time one of the collection, perhaps with one bit changed."
    if rng.random() < .5:
        return rng.integers(0, 256, codes.shape[1]).astype(np.uint8)
    code = codes[rng.integers(len(codes))].copy()
    if rng.random() < .5:
        code[rng.integers(len(code))] ^= 1 << rng.integers(8)
    return code


def fitted(codes, rule, branching=8):
    tags = [f'{i % 3}' for i in range(len(codes))] if rule == 'tagged' else None
    return MergeTree(rule, branching=branching, shape=(branching, 2, 2)).fit(codes, tags)


def encrypted(key, tree):
    "What a cloud holds of a tree: stored ciphertexts, and the bound with the longest one."
    table, epsilon = key.store(key.encrypt_nodes(tree.vectors()))
    return table, epsilon * np.linalg.norm(table.astype(float), axis=1).max()


def both_walks(tree, table, unit, key, query, k, nodes, fill):
    "The plain and the encrypted walk for one query, and r."
    trapdoor, r = key.encrypt_query(query)
    arrays = tree.children_, tree.n_leaves_
    plain = walk(*arrays, tree.vectors(), np.append(signs(query), 1), k, nodes, 0., fill)
    hidden = walk(*arrays, table, trapdoor, k, nodes, 2 * unit * np.linalg.norm(trapdoor), fill)
    return plain, hidden, r


def same_walk(plain, hidden):
    "Both follow the same nodes in the same order and end at the same leaves."
    return (plain.followed.tolist(), plain.leaves.tolist()) == (hidden.followed.tolist(), hidden.leaves.tolist())


def test_the_step_of_scores_is_that_of_the_tree():
    "`store` takes it for granted that a tree's vectors are multiples of 1 / 64."
    assert GRID == 64


@few(60)
@given(seeds, widths, st.sampled_from(RULES), st.sampled_from([2, 4, 8, 16]), st.sampled_from(['basic', 'split']),
       st.integers(1, 70), st.integers(1, 6), st.booleans())
def test_encrypted_walk_is_the_plain_walk(seed, width, rule, branching, form, k, nodes, fill):
    "Nodes, leaves and visits are the same, and the user reads the exact distances."
    codes, rng = some_codes(seed, width)
    tree, key = fitted(codes, rule, branching), MatrixKey.generate(8 * width, form=form)
    tree = tree.renumbered(random_node_order(tree))
    table, unit = encrypted(key, tree)
    for query in (a_query(codes, rng), a_query(codes, rng)):
        plain, hidden, r = both_walks(tree, table, unit, key, query, k, nodes, fill)
        assert same_walk(plain, hidden) and plain.visits == hidden.visits
        first = [int(np.flatnonzero(tree.leaf_ == leaf)[0]) for leaf in plain.leaves]
        true = hamming(query[None], codes[first])[0]
        assert distances_from_scores(hidden.scores, r, 8 * width).tolist() == true.tolist()


@few(40)
@given(seeds, widths, st.sampled_from(['basic', 'split']), st.sampled_from([1., 16., 1e3, 1e5, 1e7, 1e11]),
       st.sampled_from([0., 1., 8.]))
def test_stored_ciphertexts_keep_the_bound(seed, width, form, condition, noise):
    "In the type that `store` picks every score is within its bound, and four bounds stay under a step of the grid."
    codes, rng = some_codes(seed, width)
    tree, key = fitted(codes, 'checked'), MatrixKey.generate(8 * width, form=form, condition=condition, noise=noise)
    exact = key.encrypt_nodes(tree.vectors())
    try:
        table, epsilon = key.store(exact)
    except InputError:
        assert_nothing_would_do(key, exact)
        return
    assert (table == exact.astype(table.dtype)).all() and table.dtype in (np.float32, np.float64)
    assert epsilon == key.epsilon(table.dtype)
    lengths = np.linalg.norm(table.astype(float), axis=1)
    for query in (a_query(codes, rng), a_query(codes, rng)):
        trapdoor, r = key.encrypt_query(query)
        error = np.abs(table @ trapdoor - r * (tree.vectors() @ np.append(signs(query), 1)))
        assert (error <= epsilon * lengths * np.linalg.norm(trapdoor)).all()
        assert 4 * epsilon * lengths.max() * np.linalg.norm(trapdoor) < 1.001 * r / GRID


def assert_nothing_would_do(key, exact):
    "`store` may refuse only where a trapdoor of r = 1 could move a score in double precision by a quarter of a step."
    trapdoor = np.sqrt(2) * (1 + key.noise) * np.sqrt(key.condition * (key.bits + 1))
    assert 4 * key.epsilon(np.float64) * trapdoor * np.linalg.norm(exact, axis=1).max() >= 1 / GRID


def test_double_precision_is_taken_only_where_single_is_too_coarse():
    "Well conditioned short codes are stored as float32, badly conditioned ones as float64, hopeless ones not at all."
    tree = MergeTree().fit(np.arange(40, dtype=np.uint8).reshape(-1, 4))
    kinds = {}
    for condition in (1., 1e4):
        key = MatrixKey.generate(32, condition=condition)
        kinds[condition] = key.store(key.encrypt_nodes(tree.vectors()))[0].dtype
    assert kinds == {1.: np.float32, 1e4: np.float64}
    key = MatrixKey.generate(32, condition=1e14)
    with pytest.raises(InputError, match='too large for double precision'):
        key.store(key.encrypt_nodes(tree.vectors()))


@pytest.mark.parametrize('form', ['basic', 'split'])
def test_trapdoors_never_repeat(form):
    "The same question twice gives other trapdoors, also up to a factor when there are shares."
    key, code = MatrixKey.generate(32, form=form), np.zeros(4, np.uint8)
    made = [key.encrypt_query(code) for _ in range(300)]
    assert len({t.tobytes() for t, _ in made}) == len({r for _, r in made}) == 300
    assert all(1 <= r <= 2 ** 16 for _, r in made)
    if form == 'split':
        assert len({(t / r).round(9).tobytes() for t, r in made}) == 300


def test_split_shares_never_repeat():
    "Every random share of 200 encryptions of equal nodes and of equal queries is another number."
    key = MatrixKey.generate(32)
    nodes = key.encrypt_nodes(np.ones((200, 33)))
    first = nodes[:, :33] @ key.inverses[0]
    random_places = first[:, key.splits]
    assert len(np.unique(random_places.round(9))) == random_places.size > 200
    assert np.ptp(first[:, ~key.splits], axis=0).max() < 1e-6 and random_places.std() > .1
    made = [key.encrypt_query(np.zeros(4, np.uint8)) for _ in range(200)]
    shares = np.array([np.linalg.solve(key.inverses[0], t[:33]) / r for t, r in made])
    assert len(np.unique(shares[:, ~key.splits].round(9))) == shares[:, ~key.splits].size


def test_noise_of_the_noisy_form():
    "Its size is what was asked for, node by node and query by query."
    vectors, code = np.zeros((400, 33)), np.zeros(4, np.uint8)
    for sigma in (.5, 8.):
        key = MatrixKey.generate(32, form='noisy', sigma=sigma)
        table = key.encrypt_nodes(vectors)
        off = [table @ trapdoor / r for trapdoor, r in (key.encrypt_query(code) for _ in range(40))]
        assert abs(np.std(off) / sigma - 1) < .15
        assert key.store(table)[0].dtype == np.float32


@pytest.mark.parametrize('form', ['basic', 'split'])
@pytest.mark.parametrize('bits', [32, 128, 256])
def test_a_thousand_queries(bits, form):
    "On a larger tree the encrypted walk reaches the same leaves as the plain one, with the same distances."
    rng = np.random.default_rng(bits)
    codes = clustered(rng, 1500, bits // 8)
    tree, key = MergeTree().fit(codes), MatrixKey.generate(bits, form=form)
    tree = tree.renumbered(random_node_order(tree))
    table, unit = encrypted(key, tree)
    leaf_code = np.zeros((tree.n_leaves_, bits // 8), np.uint8)
    leaf_code[tree.leaf_] = codes
    for i, query in enumerate(near_duplicates(rng, codes, 1000)):
        plain, hidden, r = both_walks(tree, table, unit, key, query, 10, 1 + i % 4, i % 2 == 0)
        assert same_walk(plain, hidden)
        true = hamming(query[None], leaf_code[plain.leaves])[0]
        assert (distances_from_scores(hidden.scores, r, bits) == true).all()


@few(40)
@given(seeds, st.integers(8, 256), st.floats(1, 2 ** 16))
def test_distances(seed, bits, r):
    "Scores give their Hamming distances, and scores between two distances, infinite or missing ones are refused."
    h = np.random.default_rng(seed).integers(0, bits + 1, 20)
    scores = r * (bits / 2 - 2 * h)
    assert (distances_from_scores(scores, r, bits) == h).all()
    too_far = 2 * r * (bits + 1)
    for wrong in (scores + r, scores * np.nan, scores - too_far, scores + too_far, np.full(20, np.inf)):
        with pytest.raises(ForgedReply, match='no Hamming distance') as caught:
            distances_from_scores(wrong, r, bits)
        assert not caught.value.key_is_exposed


@few(20)
@given(st.integers(1, 80), st.sampled_from([1., 2., 16., 1e4]), seeds)
def test_condition_numbers(size, condition, seed):
    "The matrix has the condition number that was asked for, and the inverse is its inverse."
    m, inverse = random_matrix(seed.to_bytes(32, 'big'), size, condition)
    assert np.allclose(m @ inverse, np.eye(size), atol=1e-9)
    assert size == 1 or abs(np.linalg.cond(m) / condition - 1) < 1e-6


@pytest.mark.parametrize('options', [
    dict(form='other'), dict(bits=0), dict(bits=12), dict(bits=8.), dict(bits=True), dict(bits=2 ** 17),
    dict(condition=.5), dict(condition=float('nan')), dict(condition='16'), dict(noise=-1),
    dict(noise=float('inf')), dict(sigma=0), dict(secret=b'short')])
def test_options_that_cannot_be(options):
    with pytest.raises(InputError, match='wanted one of basic, split, noisy'):
        MatrixKey(**dict(secret=bytes(32), bits=16) | options)


@pytest.mark.parametrize('form', FORMS)
def test_vectors_and_queries_that_do_not_fit(form):
    key = MatrixKey.generate(16, form=form)
    for vectors in (np.zeros((3, 16)), np.zeros((3, 18)), np.zeros(17), np.zeros((1, 3, 17))):
        with pytest.raises(InputError, match=r'wanted \(n, 17\)'):
            key.encrypt_nodes(vectors)
    for code in (np.zeros(1, np.uint8), np.zeros(3, np.uint8), np.zeros((1, 2), np.uint8)):
        with pytest.raises(InputError, match='wanted 16'):
            key.encrypt_query(code)
