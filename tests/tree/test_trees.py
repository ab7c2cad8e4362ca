"Trees by every rule: shape, means, order, options, tags, sizes, purity, numbers, drawing."
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from made_codes import (
    below,
    branchings,
    check_features,
    check_shape,
    collections,
    few,
    fitted,
    rules,
    seeds,
)

from tree_privacy.bits import hamming
from tree_privacy.core import InputError, NotFittedError
from tree_privacy.locks.random_matrix import random_node_order
from tree_privacy.tree.balanced import _matching, fanouts
from tree_privacy.tree.building import RULES
from tree_privacy.tree.estimator import MergeTree
from tree_privacy.tree.index import TreeIndex
from tree_privacy.tree.structure import GRID, purity


@few(60)
@given(collections(), rules, branchings)
def test_tree(c, rule, branching):
    "Shape, sizes and features hold for every rule and branching, also with equal codes; equal codes share a leaf."
    tree = fitted(c, rule, branching)
    check_shape(tree)
    check_features(tree, c.codes)
    same = (c.codes[:, None] == c.codes).all(2)
    assert ((tree.leaf_[:, None] == tree.leaf_) == same).all()
    assert tree.n_leaves_ == len(np.unique(c.codes, axis=0))
    if branching == 2 and rule != 'balanced':
        assert len(tree.children_) == tree.n_leaves_ - 1


@few(40)
@given(collections(), rules, branchings)
def test_tree_does_not_depend_on_the_order(c, rule, branching):
    "Shuffled photographs give the same tree, and the same input the same bytes."
    order = c.rng.permutation(c.n)
    one, same = fitted(c, rule, branching), fitted(c, rule, branching)
    other = fitted(c, rule, branching, c.codes[order], [c.tags[i] for i in order])
    for name in ('children_', 'parent_', 'feature_', 'size_', 'height_'):
        bytes_of_one = getattr(one, name).tobytes()
        assert bytes_of_one == getattr(same, name).tobytes() == getattr(other, name).tobytes(), name
    assert (one.leaf_[order] == other.leaf_).all() and (one.leaf_ == same.leaf_).all()


@few(60)
@given(collections(), st.tuples(st.integers(2, 16), st.integers(2, 8), st.integers(2, 12)), st.integers(0, 3),
       st.booleans())
def test_balanced_trees_are_even(c, shape, seed, tagged):
    "All leaves of a balanced tree have the depth that its shape says, whatever the codes, the seed and the tags."
    tree = MergeTree('balanced', shape=shape, seed=seed).fit(c.codes, c.tags if tagged else None)
    check_shape(tree)
    check_features(tree, c.codes)
    depth = np.zeros(len(tree.size_), int)
    for node in range(len(depth) - 2, -1, -1):
        depth[node] = depth[tree.parent_[node]] + 1
    assert set(depth[:tree.n_leaves_]) == {len(fanouts(tree.n_leaves_, shape)) + (tree.n_leaves_ > 1)}


OPTIONS = [dict(threshold=np.nan), dict(threshold='x'), dict(low_threshold=np.nan), dict(step=np.nan),
           dict(step=1e-12), dict(step=np.inf), dict(max_height_gap=1.5), dict(shape=(16, 5)),
           dict(shape=(16, 5, 1.5)), dict(shape=None), dict(spread=np.nan), dict(seed=-1), dict(seed=None),
           dict(seed=1.5), dict(branching=8.5), dict(tag_weight=-1), dict(rule='other')]


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_that_cannot_be(options):
    "Refused by name, before any work; a tree whose options were spoilt after fitting can be mended and goes on."
    codes = np.random.default_rng(0).integers(0, 256, (30, 4), dtype=np.uint8)
    name, = options
    with pytest.raises(InputError, match=name):
        MergeTree(**options).fit(codes)
    tree = MergeTree().fit(codes)
    good = getattr(tree, name)
    setattr(tree, name, options[name])
    with pytest.raises(InputError, match=name):
        tree.insert(codes[:1] ^ 1)
    setattr(tree, name, good)
    assert tree.insert(codes[:1] ^ 1).size_[-1] == 31


@pytest.mark.parametrize('tags', [['x', 1], ['x', ['y']], ['x', np.nan], 'xy', {'a': 1}, 3, iter('ab')],
                         ids=lambda tags: type(tags).__name__)
def test_tags_that_are_no_words(tags):
    "A tag is a word or None."
    with pytest.raises(InputError, match='tag'):
        MergeTree().fit(np.arange(8, dtype=np.uint8).reshape(2, 4), tags)


@pytest.mark.parametrize('rule', ['tagged', 'balanced'])
def test_tags_of_the_wrong_length(rule):
    "As many tags as codes, or a refusal that counts both."
    for m in (0, 4, 6):
        with pytest.raises(InputError, match=f'there are {m} tags for 5 codes'):
            MergeTree(rule).fit(np.zeros((5, 2), np.uint8), ['x'] * m)


@few(30)
@given(collections(), rules, branchings)
def test_sizes_are_copies(c, rule, branching):
    "A code that stands for three photographs makes the tree that three equal codes make."
    sizes = c.rng.integers(1, 4, c.n)
    tags = np.repeat(np.array(c.tags, object), sizes)
    one = MergeTree(rule, branching=branching).fit(c.codes, c.tags, sizes)
    many = MergeTree(rule, branching=branching).fit(np.repeat(c.codes, sizes, axis=0), tags)
    for name in ('children_', 'feature_', 'size_'):
        np.testing.assert_allclose(getattr(one, name), getattr(many, name), atol=1e-6)
    more = c.rng.integers(0, 256, (5, c.codes.shape[1]), dtype=np.uint8)
    one.insert(more, np.array([1, 2, 3, 1, 2]))
    assert one.size_[-1] == sizes.sum() + 9 == one.count_.sum()


@few(30)
@given(collections(), rules, branchings, st.integers(1, 8))
def test_score(c, rule, branching, nodes):
    "The mean similarity of what a search finds first, and that of exhaustive search where all nodes are followed."
    tree = fitted(c, rule, branching)
    queries = c.rng.integers(0, 256, (7, c.codes.shape[1]), dtype=np.uint8)
    found = TreeIndex(tree).walk(queries, k=1, nodes=nodes, fill=False)
    assert tree.score(queries, nodes) == pytest.approx((1 - found.distances[:, 0] / c.bits).mean(), abs=1e-6)
    best = hamming(queries, c.codes).min(1)
    assert tree.score(queries, tree.n_leaves_) == pytest.approx((1 - best / c.bits).mean(), abs=1e-6)


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('n, kinds', [(1, 1), (2, 1), (2, 2), (3, 2), (100_000, 1), (100_000, 2)])
def test_collections_with_few_different_codes(rule, n, kinds):
    "One leaf, two leaves, a hundred thousand equal codes: a tree that finds them all."
    codes = np.zeros((n, 8), np.uint8)
    codes[:kinds - 1] = 255
    tree = MergeTree(rule).fit(codes, ['x'] * n)
    check_shape(tree)
    assert tree.n_leaves_ == kinds and tree.size_[-1] == n and len(tree.children_) == kinds - 1
    found = TreeIndex(tree).walk(codes[-1], 10)
    assert len(found.ids) == min(10, n) and found.distances[0] == 0
    assert (np.diff(found.ids[found.distances == 0]) > 0).all()
    assert tree.score(codes[:3]) == 1 and tree.summary()['leaves'] == kinds and tree.text()
    plt.close(tree.plot(radial=True).figure)


@pytest.mark.slow
def test_a_million_equal_codes():
    "They share one leaf."
    tree = MergeTree().fit(np.full((1_000_000, 8), 7, np.uint8))
    assert tree.n_leaves_ == 1 and tree.size_.tolist() == [1_000_000] and (tree.leaf_ == 0).all()


def test_trees_that_are_not_fitted_and_labels_that_do_not_fit():
    "Refused by name."
    codes = np.random.default_rng(0).integers(0, 256, (30, 2), dtype=np.uint8)
    tree, none = MergeTree().fit(codes), MergeTree()
    for call in (none.plot, none.text, none.summary, none.vectors, lambda: none.renumbered([0])):
        with pytest.raises(NotFittedError, match='call fit'):
            call()
    for labels in (['a'] * 29, ['a'], [1] * 30, 'a' * 30):
        with pytest.raises(InputError, match='labels for 30'):
            tree.text(labels)


def test_labels_with_odd_characters_are_drawn(tmp_path):
    "Names of folders go into the legend as they are, whatever matplotlib would make of them."
    codes = np.random.default_rng(0).integers(0, 256, (30, 2), dtype=np.uint8)
    ax = MergeTree().fit(codes).plot([r'$\\frac{$', '\udcff', '_hidden'] * 10, radial=True)
    ax.figure.savefig(tmp_path / 'x.png')
    assert len(ax.get_legend().get_texts()) == 3
    plt.close(ax.figure)


@pytest.mark.parametrize('run', ['plain', 'compiled'])
@few(60)
@given(seed=seeds, n=st.integers(1, 30), parents=st.integers(1, 8), room=st.integers(1, 6))
def test_matching_is_stable(run, seed, n, parents, room):
    "No node and no parent would both rather have each other; no parent takes more than it has room for."
    rng = np.random.default_rng(seed)
    near = rng.permutation(n * parents).reshape(n, parents).astype(np.float32)
    found = np.argsort(-near, 1)
    matching = getattr(_matching, run)
    got = matching(found, np.take_along_axis(near, found, 1), np.full(n, -1), parents, room)
    count = np.bincount(got[got >= 0], minlength=parents)
    assert count.max() <= room and ((got >= 0).all() or (count == room).all())
    for i in range(n):
        for p in range(parents):
            would = got[i] < 0 or near[i, p] > near[i, got[i]]
            assert not (would and (count[p] < room or near[i, p] > near[got == p, p].min()))


@few(40)
@given(collections(), rules, branchings)
def test_renumbered(c, rule, branching):
    "New numbers keep the structure: shape, features, and which leaves are below which node."
    tree = fitted(c, rule, branching)
    order = random_node_order(tree)
    new = tree.renumbered(order)
    check_shape(new)
    check_features(new, c.codes)
    number = np.argsort(order)
    for node in range(len(order)):
        assert sorted(number[below(tree, node)]) == sorted(below(new, number[node]))
    assert (new.vectors() == tree.vectors()[order]).all()


@few(20)
@given(collections(most=20), branchings)
def test_renumbered_refuses(c, branching):
    "An order that moves the root, or that is too short, is refused."
    tree = fitted(c, 'checked', branching)
    assume(tree.n_leaves_ > 1)
    order = np.arange(len(tree.size_))
    for wrong in (order[::-1], order[:-1], np.zeros_like(order)):
        with pytest.raises(InputError, match='no renumbering'):
            tree.renumbered(wrong)


@few(30)
@given(collections(), rules, branchings)
def test_vectors_lie_on_the_grid(c, rule, branching):
    "Searched vectors are multiples of 1 / 64, within half a step of the features, and exact for leaves."
    tree = fitted(c, rule, branching)
    v = tree.vectors()
    assert (v * GRID == np.round(v * GRID)).all()
    assert np.abs(v[:, :-1] - tree.feature_).max() <= .5 / GRID + 1e-6
    square = (v[:, :-1] ** 2).sum(1)
    assert np.abs(-2 * v[:, -1] - square - tree.spread * (c.bits - square)).max() <= 1 / GRID
    leaves = v[:tree.n_leaves_]
    assert (leaves[:, -1] == -c.bits / 2).all() and (np.abs(leaves[:, :-1]) == 1).all()


@few(30)
@given(collections(), rules, branchings)
def test_purity(c, rule, branching):
    "The share of the commonest label below each node, counted by hand."
    tree, labels = fitted(c, rule, branching), np.array([str(t) for t in c.tags])
    kind, share = purity(tree, labels)
    for node in range(len(tree.size_)):
        members = list(labels[np.isin(tree.leaf_, below(tree, node))])
        assert members.count(kind[node]) == max(map(members.count, members))
        assert share[node] == pytest.approx(members.count(kind[node]) / len(members))
