"Properties of codes, measures, protocols, trees, walks, the random-matrix lock and messages, on random inputs and against brute force."
import csv
import io
import itertools
import warnings
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from tree_privacy.codes import PCA, HashLayer
from tree_privacy.data import InputError, from_arrays, labels_from_csv
from tree_privacy.measures import (average_precision, average_precision_in_stored_order, bootstrap, exhaustive, hamming, membership, neighbours_kept,
                                   pack, precision, radius, recall, signs, tally)
from tree_privacy.protocols import HEADER, draw, judge, line, splits
from tree_privacy.random_matrix import MatrixKey, distances
from tree_privacy.retrieval import PlainIndex, exhaustive_search, measure, walk
from tree_privacy.roles import (Cloud, Owner, OwnerKey, SealError, Sealer, User, hello, message, node_order, open_record, power_of_two,
                                read_message, seal_records, stepped)
from tree_privacy.tree import GRID, RULES, MergeTree, crowded as too_full, fans, matched, purity

seeds = st.integers(0, 2**32 - 1)
rules = st.sampled_from(RULES)
branchings = st.sampled_from([2, 4, 8, 16])


def few(examples): return settings(deadline=None, max_examples=examples)


def crowded(rng, n, width, kinds, flips):
    "n codes around a few centres: many are equal, many distances tie."
    codes = rng.integers(0, 256, (kinds, width), np.uint8)[rng.integers(0, kinds, n)]
    for i in np.flatnonzero(rng.random(n) < flips): codes[i, rng.integers(width)] ^= 1 << rng.integers(8)
    return codes


@st.composite
def collections(draw, most=60, widths=st.integers(1, 8)):
    "Codes, tags and a generator that made them."
    rng = np.random.default_rng(draw(seeds))
    n, width = draw(st.integers(1, most)), draw(widths)
    codes = crowded(rng, n, width, draw(st.integers(1, 20)), draw(st.sampled_from([0, .3, .9])))
    tags = [draw(st.sampled_from(['a', 'b', None])) for _ in range(min(n, 5))] * n
    return SimpleNamespace(codes=codes, tags=tags[:n], rng=rng, n=n, bits=8*width)


def fitted(c, rule, branching, codes=None, tags=None):
    "A tree of a collection; tags are given only to the rule that wants them, and a balanced tree is narrow enough to have several levels."
    codes, tags = (c.codes, c.tags) if codes is None else (codes, tags)
    return MergeTree(rule, branching=branching, shape=(branching, 2, 2)).fit(codes, tags if rule == 'tagged' else None)


def a_query(c):
    "A packed code: half of the time one of the collection, perhaps with one bit changed."
    if c.rng.random() < .5: return c.rng.integers(0, 256, c.bits//8).astype(np.uint8)
    code = c.codes[c.rng.integers(c.n)].copy()
    if c.rng.random() < .5: code[c.rng.integers(len(code))] ^= 1 << c.rng.integers(8)
    return code


# Codes

@few(60)
@given(seeds, st.integers(1, 20), st.integers(1, 20), st.integers(1, 33))
def test_codes_against_brute_force(seed, m, n, width):
    "Packing, signs and Hamming distances agree with bits counted one by one, also where codes fill no whole word."
    rng = np.random.default_rng(seed)
    a, b = rng.random((m, 8*width)) < .5, rng.random((n, 8*width)) < .5
    assert pack(a).shape == (m, width) and (signs(pack(a)) == np.where(a, 1, -1)).all()
    assert [int(x) for x in pack(a)[0]] == [int(''.join('01'[int(v)] for v in a[0, 8*i:8*i + 8]), 2) for i in range(width)]
    apart = [[sum(x != y for x, y in zip(p, q)) for q in b.tolist()] for p in a.tolist()]
    assert hamming(pack(a), pack(b)).tolist() == apart
    squares = ((signs(pack(a))[:, None] - signs(pack(b))) ** 2).sum(2)
    assert (squares == 4*np.array(apart)).all()


@few(30)
@given(seeds, st.integers(1, 12), st.integers(1, 12))
def test_hamming_is_a_distance(seed, n, width):
    "Symmetric, nought for equal codes alone, and no way round is shorter."
    codes = crowded(np.random.default_rng(seed), n, width, 4, .5)
    h = hamming(codes, codes)
    assert (h == h.T).all() and ((h == 0) == (codes[:, None] == codes).all(2)).all()
    assert (h[:, None] <= h[:, :, None] + h[None]).all()


def test_hamming_refuses_other_lengths():
    with pytest.raises(InputError, match='same encoder'): hamming(np.zeros((1, 4), np.uint8), np.zeros((1, 8), np.uint8))


# Trees

def below(tree, node):
    "The leaves under a node, each as often as a way down reaches it."
    if node < tree.n_leaves_: return [node]
    return [leaf for c in tree.children_[node - tree.n_leaves_] if c >= 0 for leaf in below(tree, c)]


def check_shape(tree, least=None):
    "Links, sizes and heights of a tree fit each other."
    n, nodes = tree.n_leaves_, len(tree.size_)
    assert sorted(below(tree, nodes - 1)) == list(range(n)), 'each leaf is reached from the root exactly once'
    assert len(tree.parent_) == len(tree.height_) == len(tree.feature_) == nodes == n + len(tree.children_)
    assert (tree.size_[:n] == np.bincount(tree.leaf_, minlength=n)).all() and (tree.height_[:n] == 0).all()
    assert tree.parent_[-1] == -1 and (tree.parent_[:-1] >= n).all()
    for i, row in enumerate(tree.children_, n):
        row = row[row >= 0]
        assert len(row) >= (least or (1 if tree.rule == 'balanced' else 2)) and len(set(row)) == len(row) and (tree.parent_[row] == i).all()
        assert tree.size_[i] == tree.size_[row].sum() and tree.height_[i] == tree.height_[row].max() + 1
        assert sorted(np.flatnonzero(tree.parent_ == i)) == sorted(row)


def check_features(tree, codes):
    "Every node's feature is the mean of the photographs below it."
    points = signs(codes)
    for node in range(len(tree.size_)):
        members = np.isin(tree.leaf_, below(tree, node))
        assert tree.size_[node] == members.sum()
        np.testing.assert_allclose(tree.feature_[node], points[members].astype(float).mean(0), atol=1e-6)


@few(60)
@given(collections(), rules, branchings)
def test_tree(c, rule, branching):
    "Shape, sizes and features hold for every rule and branching, also with equal codes; equal codes share a leaf."
    tree = fitted(c, rule, branching)
    check_shape(tree)
    check_features(tree, c.codes)
    same = (c.codes[:, None] == c.codes).all(2)
    assert ((tree.leaf_[:, None] == tree.leaf_) == same).all() and tree.n_leaves_ == len(np.unique(c.codes, axis=0))
    if branching == 2 and rule != 'balanced': assert len(tree.children_) == tree.n_leaves_ - 1


@few(40)
@given(collections(), rules, branchings)
def test_tree_does_not_depend_on_the_order(c, rule, branching):
    "Shuffled photographs give the same tree, and the same input the same bytes."
    order = c.rng.permutation(c.n)
    one, same = fitted(c, rule, branching), fitted(c, rule, branching)
    other = fitted(c, rule, branching, c.codes[order], [c.tags[i] for i in order])
    for name in ('children_', 'parent_', 'feature_', 'size_', 'height_'):
        assert getattr(one, name).tobytes() == getattr(same, name).tobytes() == getattr(other, name).tobytes(), name
    assert (one.leaf_[order] == other.leaf_).all() and (one.leaf_ == same.leaf_).all()


@few(60)
@given(collections(), st.tuples(st.integers(2, 16), st.integers(2, 8), st.integers(2, 12)), st.integers(0, 3), st.booleans())
def test_balanced_trees_are_even(c, shape, seed, tagged):
    "All leaves of a balanced tree have the depth that its shape says, whatever the codes, the seed and the tags."
    tree = MergeTree('balanced', shape=shape, seed=seed).fit(c.codes, c.tags if tagged else None)
    check_shape(tree)
    check_features(tree, c.codes)
    depth = np.zeros(len(tree.size_), int)
    for node in range(len(depth) - 2, -1, -1): depth[node] = depth[tree.parent_[node]] + 1
    assert set(depth[:tree.n_leaves_]) == {len(fans(tree.n_leaves_, shape)) + (tree.n_leaves_ > 1)}


@few(40)
@given(collections(), rules, branchings, st.data())
def test_growing_and_shrinking(c, rule, branching, data):
    "After any inserts, removals and refreshes a tree holds what the same operations leave of an array, with true means, and balanced leaves keep one depth."
    tree, now = fitted(c, rule, branching), c.codes
    for kind in data.draw(st.lists(st.sampled_from(['insert', 'copy', 'remove', 'refresh']), max_size=6)):
        if kind == 'refresh' and rule == 'balanced': assert tree.refresh() is tree
        elif kind in ('insert', 'copy'):
            new = now[c.rng.integers(0, len(now), 3)] if kind == 'copy' else c.rng.integers(0, 256, (data.draw(st.integers(1, 60)), now.shape[1]), dtype=np.uint8)
            assert tree.insert(new) is tree
            now = np.concatenate([now, new])
        elif kind == 'remove' and len(now) > 1:
            gone = c.rng.choice(len(now), c.rng.integers(1, len(now)), replace=False)
            assert tree.remove(gone) is tree
            now = np.delete(now, gone, axis=0)
        check_shape(tree, least=1)
        check_features(tree, now)
        assert (signs(now) == tree.feature_[tree.leaf_]).all() and tree.n_leaves_ == len(np.unique(now, axis=0))
        if rule == 'balanced':
            assert len(too_full(tree)[0]) == 0
            assert (tree.height_[tree.parent_[:-1]] == tree.height_[:-1] + 1).all()


@pytest.mark.parametrize('step', ['describe', 'child_table', 'regrow', 'split', 'codes_of'])
@pytest.mark.parametrize('call', ['fit', 'insert', 'remove', 'refresh'])
def test_a_change_is_whole_or_none(call, step, monkeypatch):
    "Where something fails half way, the tree is as it was, array by array."
    rng = np.random.default_rng(0)
    codes, more = rng.integers(0, 256, (60, 4), dtype=np.uint8), rng.integers(0, 256, (200, 4), dtype=np.uint8)
    tree = MergeTree(shape=(4, 4, 4)).fit(codes)
    before = {name: np.copy(v) for name, v in vars(tree).items() if name.endswith('_')}
    def broken(*args, **more): raise MemoryError(step)
    monkeypatch.setattr(f'tree_privacy.tree.{step}', broken)
    try: dict(fit=lambda: tree.fit(more), insert=lambda: tree.insert(more), remove=lambda: tree.remove([3]), refresh=tree.refresh)[call]()
    except MemoryError:
        for name, v in before.items(): assert (getattr(tree, name) == v).all(), name
    else: assert (call, step) in {('fit', 'regrow'), ('fit', 'codes_of'), ('remove', 'split'), ('remove', 'codes_of'), ('refresh', 'split'), ('refresh', 'codes_of')}, 'this step is part of it, and nothing failed'


@pytest.mark.parametrize('options', [dict(threshold=np.nan), dict(threshold='x'), dict(low_threshold=np.nan), dict(step=np.nan), dict(step=1e-12), dict(step=np.inf), dict(max_height_gap=1.5),
                                     dict(shape=(16, 5)), dict(shape=(16, 5, 1.5)), dict(shape=None), dict(spread=np.nan), dict(seed=-1), dict(seed=None), dict(seed=1.5), dict(branching=8.5), dict(tag_weight=-1)])
def test_options_that_cannot_be(options):
    "Refused by name, before any work; a tree whose options were spoilt after fitting can be mended and goes on."
    codes = np.random.default_rng(0).integers(0, 256, (30, 4), dtype=np.uint8)
    name, = options
    with pytest.raises(InputError, match=name): MergeTree(**options).fit(codes)
    tree = MergeTree().fit(codes)
    good = getattr(tree, name)
    setattr(tree, name, options[name])
    with pytest.raises(InputError, match=name): tree.insert(codes[:1] ^ 1)
    setattr(tree, name, good)
    assert tree.insert(codes[:1] ^ 1).size_[-1] == 31


@pytest.mark.parametrize('tags', [['x', 1], ['x', ['y']], ['x', np.nan], 'xy', {'a': 1}, 3, iter('ab')])
def test_tags_that_are_no_words(tags):
    "A tag is a word or None."
    with pytest.raises(InputError, match='tag'): MergeTree().fit(np.arange(8, dtype=np.uint8).reshape(2, 4), tags)


@few(30)
@given(collections(), rules, branchings)
def test_sizes_are_copies(c, rule, branching):
    "A code that stands for three pictures makes the tree that three equal codes make."
    sizes = c.rng.integers(1, 4, c.n)
    tags = np.repeat(np.array(c.tags, object), sizes)
    one, many = MergeTree(rule, branching=branching).fit(c.codes, c.tags, sizes), MergeTree(rule, branching=branching).fit(np.repeat(c.codes, sizes, axis=0), tags)
    for name in ('children_', 'feature_', 'size_'): np.testing.assert_allclose(getattr(one, name), getattr(many, name), atol=1e-6)
    more = c.rng.integers(0, 256, (5, c.codes.shape[1]), dtype=np.uint8)
    one.insert(more, np.array([1, 2, 3, 1, 2]))
    assert one.size_[-1] == sizes.sum() + 9 == one.count_.sum()


@few(30)
@given(collections(), rules, branchings, st.integers(1, 8))
def test_score(c, rule, branching, nodes):
    "The score is the mean similarity of what a search finds first, and that of exhaustive search where all nodes are followed."
    tree = fitted(c, rule, branching)
    queries = c.rng.integers(0, 256, (7, c.codes.shape[1]), dtype=np.uint8)
    bits = 8 * c.codes.shape[1]
    found = PlainIndex(tree).search(queries, k=1, nodes=nodes, fill=False)
    assert tree.score(queries, nodes) == pytest.approx((1 - found.distances[:, 0] / bits).mean(), abs=1e-6)
    assert tree.score(queries, tree.n_leaves_) == pytest.approx((1 - hamming(queries, c.codes).min(1) / bits).mean(), abs=1e-6)


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('n, kinds', [(1, 1), (2, 1), (2, 2), (3, 2), (100_000, 1), (100_000, 2)])
def test_collections_with_few_different_codes(rule, n, kinds):
    "One leaf, two leaves, a hundred thousand equal codes: a tree that finds them all."
    codes = np.zeros((n, 8), np.uint8)
    codes[:kinds - 1] = 255
    tree = MergeTree(rule).fit(codes, ['x'] * n)
    check_shape(tree)
    assert tree.n_leaves_ == kinds and tree.size_[-1] == n and len(tree.children_) == kinds - 1
    found = PlainIndex(tree).search(codes[-1], 10)
    assert len(found.ids) == min(10, n) and found.distances[0] == 0 and (np.diff(found.ids[found.distances == 0]) > 0).all()
    assert tree.score(codes[:3]) == 1 and tree.summary()['leaves'] == kinds and tree.text()
    plt.close(tree.plot(radial=True).figure)


def test_an_index_keeps_its_tree():
    "A tree that changes does not change an index that was made of it before."
    rng = np.random.default_rng(0)
    codes, more = rng.integers(0, 256, (300, 2), dtype=np.uint8), rng.integers(0, 256, (500, 2), dtype=np.uint8)
    tree = MergeTree().fit(codes)
    index = PlainIndex(tree)
    before = index.search(codes, 5, 3)
    for change in (lambda: tree.insert(more), tree.refresh, lambda: tree.remove(np.arange(250)), lambda: tree.fit(more)):
        change()
        after = index.search(codes, 5, 3)
        assert (after.ids == before.ids).all() and (after.distances == before.distances).all()


def test_an_index_refuses():
    "Ids, numbers and queries that cannot be are refused by name, at once."
    codes = np.random.default_rng(0).integers(0, 256, (30, 2), dtype=np.uint8)
    tree = MergeTree().fit(codes)
    for ids in (np.arange(29), np.arange(60), -np.arange(30), np.arange(30) + 2. ** 48, np.arange(30) + 2 ** 48, np.arange(30) + .7, ['a'] * 30, [[1]] * 30, [None] * 30):
        with pytest.raises(InputError, match='ids are'): PlainIndex(tree, ids)
    for nothing in (None, MergeTree()):
        with pytest.raises(InputError, match='call fit'): PlainIndex(nothing)
    index = PlainIndex(tree)
    for name in ('k', 'nodes', 'threads'):
        for v in (0, -1, 1.5, np.nan, np.inf, None, '3', True):
            with pytest.raises(InputError, match=f'{name} is'): index.search(codes, **{name: v})
    assert (index.search(codes, k=10 ** 25, nodes=10 ** 25).ids == index.search(codes, k=30, nodes=30).ids).all()
    for v in (0, -1, 1.5, np.nan, '3'):
        with pytest.raises(InputError, match='nodes is'): tree.score(codes, v)
    with pytest.raises(InputError, match='wanted packed codes'): index.search([[1], [1, 2]])
    for call in (MergeTree().plot, MergeTree().text, MergeTree().summary, MergeTree().vectors, lambda: MergeTree().renumbered([0])):
        with pytest.raises(InputError, match='call fit'): call()
    for labels in (['a'] * 29, ['a'], [1] * 30, 'a' * 30):
        with pytest.raises(InputError, match='labels for 30'): tree.text(labels)


def test_labels_with_odd_characters_are_drawn(tmp_path):
    "Names of folders go into the legend as they are, whatever matplotlib would make of them."
    codes = np.random.default_rng(0).integers(0, 256, (30, 2), dtype=np.uint8)
    ax = MergeTree().fit(codes).plot([r'$\\frac{$', '\udcff', '_hidden'] * 10, radial=True)
    ax.figure.savefig(tmp_path / 'x.png')
    assert len(ax.get_legend().get_texts()) == 3
    plt.close(ax.figure)


@pytest.mark.slow
def test_a_million_equal_codes():
    "They share one leaf."
    tree = MergeTree().fit(np.full((1_000_000, 8), 7, np.uint8))
    assert tree.n_leaves_ == 1 and tree.size_.tolist() == [1_000_000] and (tree.leaf_ == 0).all()


@pytest.mark.parametrize('rule', ['tagged', 'balanced'])
def test_tags_of_the_wrong_length(rule):
    "As many tags as codes, or a refusal that counts both."
    for m in (0, 4, 6):
        with pytest.raises(InputError, match=f'there are {m} tags for 5 codes'): MergeTree(rule).fit(np.zeros((5, 2), np.uint8), ['x'] * m)


def test_growing_refuses():
    "Bad calls are refused by name and leave the tree as it was."
    codes = np.random.default_rng(0).integers(0, 256, (50, 4), dtype=np.uint8)
    tree = MergeTree().fit(codes)
    before = {name: np.copy(v) for name, v in vars(tree).items() if name.endswith('_')}
    for bad, say in ((codes[:, :2], '16 bits'), (codes.astype(int), 'wanted packed codes'), (codes[:0], 'wanted packed codes'), (codes[0], 'wanted packed codes')):
        with pytest.raises(InputError, match=say): tree.insert(bad)
        with pytest.raises(InputError, match=say): tree.score(bad)
    for sizes in (np.ones(49, int), np.zeros(50, int), np.ones(50), [[1]] * 50, 'x'):
        with pytest.raises(InputError, match='sizes are'): tree.insert(codes, sizes)
        with pytest.raises(InputError, match='sizes are'): MergeTree().fit(codes, sizes=sizes)
    for ids in ([50], [-1], [1.5], 3, [[1]], ['a'], [True]):
        with pytest.raises(InputError, match='ids are'): tree.remove(ids)
    with pytest.raises(InputError, match='at least one'): tree.remove(np.arange(50))
    for name, v in before.items(): assert (getattr(tree, name) == v).all(), name
    with pytest.raises(InputError, match='never looks back'): MergeTree('checked').fit(codes).refresh()
    for empty in (lambda t: t.insert(codes), lambda t: t.remove([0]), lambda t: t.refresh(), lambda t: t.score(codes)):
        with pytest.raises(InputError, match='call fit'): empty(MergeTree())


@few(60)
@given(seeds, st.integers(1, 30), st.integers(1, 8), st.integers(1, 6))
def test_matching_is_stable(seed, n, parents, room):
    "Nobody and a parent that did not get each other would both rather have each other; no parent takes more than it has room for."
    rng = np.random.default_rng(seed)
    near = rng.permutation(n * parents).reshape(n, parents).astype(np.float32)
    found = np.argsort(-near, 1)
    got = matched(found, np.take_along_axis(near, found, 1), np.full(n, -1), parents, room)
    count = np.bincount(got[got >= 0], minlength=parents)
    assert count.max() <= room and ((got >= 0).all() or (count == room).all())
    for i in range(n):
        for p in range(parents):
            would = got[i] < 0 or near[i, p] > near[i, got[i]]
            assert not (would and (count[p] < room or near[i, p] > near[got == p, p].min()))


@few(40)
@given(collections(), rules, branchings)
def test_renumbered(c, rule, branching):
    "New numbers keep the structure: shape, features, and who is below whom."
    tree = fitted(c, rule, branching)
    order = node_order(tree)
    new = tree.renumbered(order)
    check_shape(new)
    check_features(new, c.codes)
    number = np.argsort(order)
    for node in range(len(order)): assert sorted(number[below(tree, node)]) == sorted(below(new, number[node]))
    assert (new.vectors() == tree.vectors()[order]).all()


@few(20)
@given(collections(most=20), branchings)
def test_renumbered_refuses(c, branching):
    "An order that moves the root, or that is too short, is refused."
    tree = fitted(c, 'checked', branching)
    assume(tree.n_leaves_ > 1)
    order = np.arange(len(tree.size_))
    for wrong in (order[::-1], order[:-1], np.zeros_like(order)):
        with pytest.raises(InputError, match='no renumbering'): tree.renumbered(wrong)


@few(30)
@given(collections(), rules, branchings)
def test_vectors_lie_on_the_grid(c, rule, branching):
    "Searched vectors are multiples of 1 / 64, within half a step of the features, and exact for leaves."
    tree = fitted(c, rule, branching)
    v = tree.vectors()
    assert (v*GRID == np.round(v*GRID)).all() and np.abs(v[:, :-1] - tree.feature_).max() <= .5/GRID + 1e-6
    square = (v[:, :-1] ** 2).sum(1)
    assert np.abs(-2*v[:, -1] - square - tree.spread*(c.bits - square)).max() <= 1/GRID
    assert (v[:tree.n_leaves_, -1] == -c.bits/2).all() and (np.abs(v[:tree.n_leaves_, :-1]) == 1).all()


@few(30)
@given(collections(), rules, branchings)
def test_purity(c, rule, branching):
    "The share of the commonest label below each node, counted by hand."
    tree, labels = fitted(c, rule, branching), np.array([str(t) for t in c.tags])
    kind, share = purity(tree, labels)
    for node in range(len(tree.size_)):
        members = list(labels[np.isin(tree.leaf_, below(tree, node))])
        assert members.count(kind[node]) == max(map(members.count, members))
        assert share[node] == pytest.approx(members.count(kind[node])/len(members))


# Walks

def nearest(c, query):
    "All (distance, id) in the order in which results come."
    return sorted((int(np.unpackbits(query ^ code).sum()), i) for i, code in enumerate(c.codes))


def scored(tree, followed):
    "The nodes whose scores a walk computes when it follows these."
    return [int(x) for f in followed for x in tree.children_[f - tree.n_leaves_] if x >= 0]


@few(60)
@given(collections(), rules, branchings, st.integers(1, 70))
def test_following_all_nodes_is_exhaustive(c, rule, branching, k):
    "With as many nodes as leaves a walk gives what comparing with everything gives."
    index, query = PlainIndex(fitted(c, rule, branching)), a_query(c)
    ids, apart = exhaustive(c.codes, query, k)
    assert list(zip(apart, ids)) == nearest(c, query)[:k]
    for fill in (True, False):
        found = index.search(query, k, index.tree.n_leaves_, fill)
        assert found.ids.tolist() == ids.tolist() and found.distances.tolist() == apart.tolist()


@few(30)
@given(collections(), rules, branchings, st.integers(1, 70), st.integers(1, 6), st.booleans(), st.integers(1, 3))
def test_many_queries_are_one_after_the_other(c, rule, branching, k, nodes, fill, threads):
    "A batch gives what its queries give alone, filled up with -1, whatever the number of threads."
    index, queries = PlainIndex(fitted(c, rule, branching)), np.stack([a_query(c) for _ in range(7)])
    many = index.search(queries, k, nodes, fill, threads)
    for i, query in enumerate(queries):
        one = index.search(query, k, nodes, fill)
        assert many.ids[i, :len(one.ids)].tolist() == one.ids.tolist() and (many.ids[i, len(one.ids):] == -1).all()
        assert many.distances[i, :len(one.ids)].tolist() == one.distances.tolist() and many.visits[i] == one.visits


@few(80)
@given(collections(), rules, branchings, st.integers(1, 70), st.integers(1, 6), st.booleans())
def test_results_of_a_walk(c, rule, branching, k, nodes, fill):
    "Results have their true distances and are sorted, ties by id; nothing comes twice; `fill` gives as many as there are."
    index, query = PlainIndex(fitted(c, rule, branching)), a_query(c)
    found = index.search(query, k, nodes, fill)
    pairs = list(zip(found.distances.tolist(), found.ids.tolist()))
    assert set(pairs) <= set(nearest(c, query)) and pairs == sorted(set(pairs)) and 1 <= len(pairs) <= k
    if fill: assert len(pairs) == min(k, c.n)


@few(60)
@given(collections(), rules, branchings, st.integers(1, 70), st.integers(1, 6), st.booleans())
def test_visits(c, rule, branching, k, nodes, fill):
    "No node is scored or followed twice, and `visits` counts the scored ones."
    index = PlainIndex(fitted(c, rule, branching))
    found, total = index.search(a_query(c), k, nodes, fill), len(index.tree.size_)
    if total == 1: assert found.visits == 1 and not len(found.followed)
    else:
        seen = scored(index.tree, found.followed)
        assert found.visits == len(seen) == len(set(seen)) < total and len(set(found.followed)) == len(found.followed)
        assert found.followed[0] == total - 1 and set(found.followed[1:].tolist()) <= set(seen)


@few(60)
@given(collections(), rules, branchings, st.integers(1, 70), st.integers(1, 6))
def test_filling_goes_on_where_the_short_walk_ends(c, rule, branching, k, nodes):
    "A walk that fills up follows first what the short one follows, and its results are nowhere farther."
    index, query = PlainIndex(fitted(c, rule, branching)), a_query(c)
    short, long = index.search(query, k, nodes, False), index.search(query, k, nodes, True)
    assert long.followed[:len(short.followed)].tolist() == short.followed.tolist()
    assert (long.distances[:len(short.distances)] <= short.distances).all() and len(short.ids) <= len(long.ids)


def level_by_level(tree, query, nodes):
    "The short walk, written with sorted lists: the nodes that it follows."
    score = tree.vectors() @ np.append(signs(query), 1)
    level, followed = [len(tree.size_) - 1] if len(tree.size_) > 1 else [], []
    while level:
        followed += level
        inner = [x for x in scored(tree, level) if x >= tree.n_leaves_]
        level = sorted(inner, key=lambda x: (-score[x], x))[:nodes]
    return followed


@few(60)
@given(collections(), rules, branchings, st.integers(1, 70), st.integers(1, 6))
def test_walk_against_sorted_lists(c, rule, branching, k, nodes):
    "The compiled walk follows the best nodes of each level in their order, and reports the best leaves below them."
    index, query = PlainIndex(fitted(c, rule, branching)), a_query(c)
    found = index.search(query, k, nodes, False)
    followed = level_by_level(index.tree, query, nodes)
    assert found.followed.tolist() == followed
    leaves = {x for x in scored(index.tree, followed) if x < index.tree.n_leaves_} or {0}
    wanted = [(h, i) for h, i in nearest(c, query) if index.tree.leaf_[i] in leaves][:k]
    assert list(zip(found.distances, found.ids)) == wanted


@pytest.mark.parametrize('k, nodes', [(0, 1), (1, 0), (-3, 2)])
def test_walk_refuses(k, nodes):
    index = PlainIndex(MergeTree().fit(np.arange(5, dtype=np.uint8)[:, None]))
    for query in (np.zeros(2, np.uint8), np.zeros((3, 2), np.uint8), np.zeros(1), np.zeros((1, 1, 1), np.uint8)):
        with pytest.raises(InputError, match='wanted packed codes'): index.search(query)
    with pytest.raises(InputError, match='wanted 1 or more'): index.search(np.zeros(1, np.uint8), k, nodes)


# The random-matrix lock

def encrypted(key, tree):
    "What a cloud holds of a tree: stored ciphertexts, and the bound with the longest one."
    table, epsilon = key.store(key.encrypt_nodes(tree.vectors()))
    return table, epsilon*np.linalg.norm(table.astype(float), axis=1).max()


def both_walks(tree, table, unit, key, query, k, nodes, fill):
    "The plain and the encrypted walk for one query, the trapdoor, and r."
    trapdoor, r = key.encrypt_query(query)
    plain = walk(tree.children_, tree.n_leaves_, tree.vectors(), np.append(signs(query), 1), k, nodes, 0., fill)
    hidden = walk(tree.children_, tree.n_leaves_, table, trapdoor, k, nodes, 2*unit*np.linalg.norm(trapdoor), fill)
    return plain, hidden, trapdoor, r


@few(60)
@given(collections(widths=st.sampled_from([1, 4, 8, 16, 32])), rules, branchings, st.sampled_from(['basic', 'split']),
       st.integers(1, 70), st.integers(1, 6), st.booleans())
def test_encrypted_walk_is_the_plain_walk(c, rule, branching, form, k, nodes, fill):
    "Both follow the same nodes in the same order and end at the same leaves; the user reads the exact distances."
    tree, key = fitted(c, rule, branching), MatrixKey.generate(c.bits, form=form)
    tree = tree.renumbered(node_order(tree))
    table, unit = encrypted(key, tree)
    for query in (a_query(c), a_query(c)):
        plain, hidden, _, r = both_walks(tree, table, unit, key, query, k, nodes, fill)
        assert plain.followed.tolist() == hidden.followed.tolist() and plain.visits == hidden.visits
        assert plain.leaves.tolist() == hidden.leaves.tolist()
        first = [int(np.flatnonzero(tree.leaf_ == leaf)[0]) for leaf in plain.leaves]
        assert distances(hidden.scores, r, c.bits).tolist() == hamming(query[None], c.codes[first])[0].tolist()


@few(40)
@given(collections(widths=st.sampled_from([1, 4, 8, 16, 32])), st.sampled_from(['basic', 'split']),
       st.sampled_from([1., 16., 1e3, 1e5, 1e7, 1e11]), st.sampled_from([0., 1., 8.]))
def test_stored_ciphertexts_keep_the_bound(c, form, condition, noise):
    "In the type that `store` picks every score is within its bound, and twice two bounds stay under a step of the grid."
    tree, key = fitted(c, 'checked', 8), MatrixKey.generate(c.bits, form=form, condition=condition, noise=noise)
    exact = key.encrypt_nodes(tree.vectors())
    try: table, epsilon = key.store(exact)
    except InputError: return assert_nothing_would_do(key, exact)
    assert (table == exact.astype(table.dtype)).all() and table.dtype in (np.float32, np.float64) and epsilon == key.epsilon(table.dtype)
    lengths = np.linalg.norm(table.astype(float), axis=1)
    for query in (a_query(c), a_query(c)):
        trapdoor, r = key.encrypt_query(query)
        error = np.abs(table @ trapdoor - r*(tree.vectors() @ np.append(signs(query), 1)))
        assert (error <= epsilon*lengths*np.linalg.norm(trapdoor)).all()
        assert 4*epsilon*lengths.max()*np.linalg.norm(trapdoor) < 1.001*r/GRID


def assert_nothing_would_do(key, exact):
    "`store` may refuse only where a trapdoor of r = 1 could move a score in double precision by a quarter of a step."
    most = np.sqrt(2)*(1 + key.noise)*np.sqrt(key.condition*(key.bits + 1))*np.linalg.norm(exact, axis=1).max()
    assert 4*key.epsilon(np.float64)*most >= 1/GRID


def test_double_precision_is_taken_only_where_single_is_too_coarse():
    "Well conditioned short codes are stored as float32, badly conditioned ones as float64, hopeless ones not at all."
    tree = MergeTree().fit(np.arange(40, dtype=np.uint8).reshape(-1, 4))
    kinds = {}
    for condition in (1., 1e4):
        key = MatrixKey.generate(32, condition=condition)
        kinds[condition] = key.store(key.encrypt_nodes(tree.vectors()))[0].dtype
    assert kinds == {1.: np.float32, 1e4: np.float64}
    key = MatrixKey.generate(32, condition=1e14)
    with pytest.raises(InputError, match='too large for double precision'): key.store(key.encrypt_nodes(tree.vectors()))


@pytest.mark.parametrize('form', ['basic', 'split'])
def test_trapdoors_never_repeat(form):
    "The same question twice gives other trapdoors, also up to a factor when there are shares."
    key, code = MatrixKey.generate(32, form=form), np.zeros(4, np.uint8)
    made = [key.encrypt_query(code) for _ in range(300)]
    assert len({t.tobytes() for t, _ in made}) == len({r for _, r in made}) == 300
    assert all(1 <= r <= 2**16 for _, r in made)
    if form == 'split': assert len({(t/r).round(9).tobytes() for t, r in made}) == 300


def clustered(rng, n, width, kinds=40, flip=.06):
    "Codes in clusters, with few equal ones."
    centres = rng.random((kinds, 8*width)) < .5
    return pack(centres[rng.integers(0, kinds, n)] ^ (rng.random((n, 8*width)) < flip))


def near_duplicates(rng, codes, m):
    "m queries: codes of the collection with none to three bits changed."
    queries = codes[rng.integers(0, len(codes), m)].copy()
    for q in queries:
        for _ in range(rng.integers(4)): q[rng.integers(len(q))] ^= 1 << rng.integers(8)
    return queries


@pytest.mark.parametrize('form', ['basic', 'split'])
@pytest.mark.parametrize('bits', [32, 128, 256])
def test_a_thousand_queries(bits, form):
    "On a larger tree the encrypted walk reaches the same leaves as the plain one, with the same distances, for 1,000 queries."
    rng = np.random.default_rng(bits)
    codes = clustered(rng, 1500, bits//8)
    tree, key = MergeTree().fit(codes), MatrixKey.generate(bits, form=form)
    tree, first = tree.renumbered(node_order(tree)), np.argsort(tree.leaf_, kind='stable')
    (table, unit), plain_table = encrypted(key, tree), tree.vectors()
    leaf_code = np.zeros((tree.n_leaves_, bits//8), np.uint8)
    leaf_code[tree.leaf_] = codes
    for i, query in enumerate(near_duplicates(rng, codes, 1000)):
        trapdoor, r = key.encrypt_query(query)
        nodes, fill = 1 + i % 4, i % 2 == 0
        plain = walk(tree.children_, tree.n_leaves_, plain_table, np.append(signs(query), 1), 10, nodes, 0., fill)
        hidden = walk(tree.children_, tree.n_leaves_, table, trapdoor, 10, nodes, 2*unit*np.linalg.norm(trapdoor), fill)
        assert plain.leaves.tolist() == hidden.leaves.tolist() and plain.followed.tolist() == hidden.followed.tolist()
        assert (distances(hidden.scores, r, bits) == hamming(query[None], leaf_code[plain.leaves])[0]).all()


def nothing_to_see(n):
    "n pictures of one pixel."
    return from_arrays(np.zeros((n, 1, 1), np.uint8), None, 'picture')


def ask(user, cloud, code, **options):
    "The whole conversation of one search."
    s = user.query(code, **options)
    while s.request is not None: s.receive(cloud.answer(s.request))
    return s


@few(40)
@given(seeds, st.integers(8, 256), st.floats(1, 2**16))
def test_distances(seed, bits, r):
    "Scores give their Hamming distances, and scores between two distances, infinite or missing ones are refused."
    h = np.random.default_rng(seed).integers(0, bits + 1, 20)
    scores = r*(bits/2 - 2*h)
    assert (distances(scores, r, bits) == h).all()
    for wrong in (scores + r, scores*np.nan, scores - 2*r*(bits + 1), scores + 2*r*(bits + 1), np.full(20, np.inf)):
        with pytest.raises(InputError, match='no Hamming distance'): distances(wrong, r, bits)


# Measures

@few(60)
@given(collections(most=25), st.integers(1, 30))
def test_radius_and_recall(c, k):
    "The k-th smallest distance and how many are nearer; recall is the share of the k nearest in the order of ties that suits the results best."
    queries, k = np.stack([a_query(c) for _ in range(3)]), min(k, c.n)
    for query, near in zip(queries, radius(c.codes, queries, k)):
        apart = [h for h, _ in nearest(c, query)]
        assert near.tolist() == [apart[k - 1], sum(h < apart[k - 1] for h in apart)]
        found = c.rng.permutation(apart)[:c.rng.integers(1, c.n + 1)]
        assert recall(found, near, k) == most_in_common(found[:k].tolist(), apart[:k])/k and recall(apart[:k], near, k) == 1
    assert (radius(c.codes, queries, c.n + 5) == radius(c.codes, queries, c.n)).all()


def most_in_common(a, b):
    "How many of two lists can be paired with an equal one in the other."
    return sum(min(a.count(x), b.count(x)) for x in set(a))


@few(30)
@given(collections(most=25), st.integers(1, 4))
def test_measure(c, nodes):
    "Accuracy, recall and visits of each query agree with looking at each result; exhaustive search has recall 1."
    labels, queries = [str(i % 3) for i in range(c.n)], np.stack([a_query(c) for _ in range(4)])
    asked, near, index = ['0', '1', '2', '0'], radius(c.codes, queries), PlainIndex(fitted(c, 'checked', 4))
    got = measure(lambda q: index.search(q, nodes=nodes), labels, queries, asked, near)
    for i, query in enumerate(queries):
        found, best = index.search(query, nodes=nodes), [h for h, _ in nearest(c, query)[:10]]
        assert got['accuracy'][i] == (labels[found.ids[0]] == asked[i]) and got['visits'][i] == found.visits
        assert got['recall_10'][i] == pytest.approx(most_in_common(found.distances.tolist(), best)/len(best))
    whole = measure(exhaustive_search(c.codes), labels, queries, asked, near)
    assert (whole['recall_10'] == 1).all() and (whole['visits'] == c.n).all()


@few(20)
@given(seeds, st.integers(1, 4), st.integers(1, 6))
def test_bootstrap(seed, draws, queries):
    "The mean is the mean, the interval lies within the values and is the quantiles of redrawn means, the same for the same seed."
    values = np.random.default_rng(seed).random((draws, queries))
    got = bootstrap(values, 3, 200)
    assert got == bootstrap(values, 3, 200) and got['mean'] == round(values.mean(), 4)
    assert values.min() - 1e-4 <= got['low'] <= got['high'] <= values.max() + 1e-4
    constant = bootstrap(np.full((draws, queries), .25), seed % 100, 50)
    assert constant == dict(mean=.25, low=.25, high=.25)


@few(20)
@given(seeds, st.lists(st.integers(1, 30), min_size=2, max_size=4, unique=True))
def test_bootstrap_of_draws_of_different_lengths(seed, lengths):
    "Every draw counts the same, whatever its length; the interval holds the mean and shrinks to a point where nothing varies."
    rng = np.random.default_rng(seed)
    values = [rng.random(n) for n in lengths]
    got = bootstrap(values, 1, 300)
    assert got['mean'] == round(np.mean([v.mean() for v in values]), 4) and got['low'] <= got['mean'] + .05 and got['mean'] - .05 <= got['high'] and got['low'] < got['high']
    assert bootstrap([np.full(n, .5) for n in lengths]) == dict(mean=.5, low=.5, high=.5)


def test_bootstrap_against_all_redraws():
    "One draw of two queries, 0 and 1, has the redrawn means 0, 1/2, 1/2, 1: the interval is everything, its inside is half of the redraws."
    got = bootstrap(np.array([[0., 1.]]), 0, 4000)
    assert got == dict(mean=.5, low=0, high=1)
    many = bootstrap(np.tile([0., 1.], 200)[None], 0, 4000)
    assert abs(many['low'] - (.5 - 1.96*.5/20)) < .01 and abs(many['high'] - (.5 + 1.96*.5/20)) < .01


def labelled(c, queries, kinds='ab'):
    "Labels for a collection and some queries: sets of none, one or two kinds."
    pick = lambda: set(c.rng.choice(list(kinds), c.rng.choice([0, 1, 1, 2]), replace=False).tolist())
    return [pick() for _ in range(c.n)], [pick() for _ in range(len(queries))]


def orders(distance):
    "Every order of a collection in which nothing comes before what is nearer."
    ties = [np.flatnonzero(distance == d).tolist() for d in np.unique(distance)]
    return [sum(parts, ()) for parts in itertools.product(*(itertools.permutations(t) for t in ties))]


def precision_of(relevant, k): return sum(relevant[:k])/k


def average_precision_of(relevant):
    "The mean, over the relevant ones, of the precision where each comes; 0 where there are none."
    return sum(precision_of(relevant, k + 1) for k, r in enumerate(relevant) if r)/max(1, sum(relevant))


@st.composite
def tiny(draw):
    "At most seven codes with many ties, three queries, and labels."
    c = draw(collections(most=7, widths=st.just(1)))
    if draw(st.booleans()): c.codes = c.codes[c.rng.integers(0, min(2, c.n), c.n)]
    queries = np.stack([a_query(c) for _ in range(3)])
    return SimpleNamespace(codes=c.codes, queries=queries, labels=labelled(c, queries), rng=c.rng, n=c.n)


def by_hand(c):
    "For every query, the relevance of the collection in each order that ties allow."
    for query, wanted in zip(c.queries, c.labels[1]):
        relevant = [bool(wanted & has) for has in c.labels[0]]
        yield [[relevant[i] for i in order] for order in orders(hamming(query[None], c.codes)[0])]


@few(60)
@given(tiny(), st.integers(1, 9))
def test_precision_over_all_orders(c, k):
    "Precision and average precision are the means over every order of ties; the one in stored order is that of the first."
    counts = tally(c.codes, c.labels[0], c.queries, c.labels[1])
    p, ap, stored = precision(counts, k), average_precision(counts), average_precision_in_stored_order(c.codes, c.labels[0], c.queries, c.labels[1])
    for i, lists in enumerate(by_hand(c)):
        each = [average_precision_of(x) for x in lists]
        assert p[i] == pytest.approx(np.mean([precision_of(x, k) for x in lists]))
        assert ap[i] == pytest.approx(np.mean(each)) and stored[i] == pytest.approx(each[0], rel=1e-5)
        assert min(each) - 1e-9 <= ap[i] <= max(each) + 1e-9 and min(each) - 1e-5 <= stored[i] <= max(each) + 1e-5


@few(40)
@given(collections(most=40), st.integers(1, 50))
def test_the_order_of_the_collection_changes_no_measure(c, k):
    "Shuffling the collection, or the queries, leaves what is measured; so do other names of the labels."
    queries = np.stack([a_query(c) for _ in range(4)])
    labels, asked = labelled(c, queries, 'abc')
    order, turn = c.rng.permutation(c.n), c.rng.permutation(4)
    one = tally(c.codes, labels, queries, asked)
    other = tally(c.codes[order], [labels[i] for i in order], queries[turn], [asked[i] for i in turn])
    renamed = tally(c.codes, [{f'{x} {x}' for x in s} for s in labels], queries, [{f'{x} {x}' for x in s} for s in asked])
    assert (one[turn] == other).all() and (one == renamed).all() and one.shape == (4, c.bits + 1, 2) and (one.sum((1, 2)) == c.n).all()
    assert (precision(one, k)[turn] == precision(other, k)).all() and (average_precision(one)[turn] == average_precision(other)).all()
    nearest, number = np.stack([c.rng.permutation(c.n)[:min(k, c.n)] for _ in queries]), np.argsort(order)
    assert neighbours_kept(c.codes, queries, nearest)[turn] == pytest.approx(neighbours_kept(c.codes[order], queries[turn], number[nearest[turn]]))


@few(40)
@given(collections(most=40), st.integers(1, 45))
def test_tally_and_precision_by_counting(c, k):
    "Who lies at each distance, counted one by one; among as many results as pictures, or more, the precision counts all that are relevant."
    queries = np.stack([a_query(c) for _ in range(3)])
    labels, asked = labelled(c, queries, 'abc')
    counts = tally(c.codes, labels, queries, asked)
    for i, query in enumerate(queries):
        for h, number in nearest(c, query): counts[i, h, int(bool(asked[i] & labels[number]))] -= 1
    assert not counts.any()
    counts = tally(c.codes, labels, queries, asked)
    assert precision(counts, c.n + k) == pytest.approx(counts[..., 1].sum(1)/(c.n + k))
    assert ((0 <= precision(counts, k)) & (precision(counts, k) <= 1)).all() and (average_precision(counts)[counts[..., 1].sum(1) == 0] == 0).all()


@few(40)
@given(seeds, st.integers(1, 30), st.sampled_from([64, 128]))
def test_average_precisions_agree_where_nothing_ties(seed, n, bits):
    "Codes at different distances have one order only."
    rng = np.random.default_rng(seed)
    far = rng.permutation(bits)[:n]
    codes = pack(np.arange(bits) < far[:, None])
    labels, query = rng.choice(['a', 'b'], n), np.zeros((1, bits//8), np.uint8)
    got = average_precision(tally(codes, labels, query, ['a'])), average_precision_in_stored_order(codes, labels, query, ['a'])
    assert got[0] == pytest.approx(got[1], rel=1e-5) and got[0][0] == pytest.approx(average_precision_of((labels[np.argsort(far)] == 'a').tolist()))


@few(40)
@given(tiny(), st.integers(1, 7))
def test_neighbours_kept_over_all_orders(c, k):
    "The share of the true neighbours among the k nearest codes is the mean over every order of ties."
    k = min(k, c.n)
    true = np.stack([c.rng.permutation(c.n)[:k] for _ in c.queries])
    got = neighbours_kept(c.codes, c.queries, true)
    for query, ids, value in zip(c.queries, true, got):
        assert value == pytest.approx(np.mean([len(set(order[:k]) & set(ids.tolist()))/k for order in orders(hamming(query[None], c.codes)[0])]))
    if k == c.n: assert got == pytest.approx(1)


words = st.text(st.characters(codec='utf-8'), max_size=5)


@few(60)
@given(st.lists(st.sets(words, max_size=4), max_size=12), st.sampled_from([list, tuple, set, frozenset]))
def test_membership_is_the_intersection_of_sets(several, kind):
    "Each label has a column; two pictures share a column exactly where their sets of labels meet, also for labels of other pictures."
    table, kinds = membership([kind(s) for s in several])
    assert kinds == sorted(set().union(*several)) and table.shape == (len(several), len(kinds)) and table.dtype == bool
    assert [{k for k, has in zip(kinds, row) if has} for row in table] == several
    some = [s | {'another'} for s in several]
    assert (membership(some, kinds)[0] == table).all() or 'another' in kinds
    meet = (membership(some, kinds)[0].astype(int) @ table.T > 0).tolist()
    assert meet == [[bool(a & b & set(kinds)) for b in several] for a in some]
    assert membership(table)[0] is table and membership(table)[1] == list(range(len(kinds)))


@few(40)
@given(st.lists(words, min_size=1, max_size=10))
def test_one_label_is_a_set_of_one(labels):
    "A label by itself, in an array of strings or in a set says the same."
    wanted = membership([{x} for x in labels])
    for other in (labels, tuple(labels), np.array(labels, object)):
        got = membership(other)
        assert (got[0] == wanted[0]).all() and got[1] == wanted[1]


def test_measures_refuse():
    "Labels that do not fit the codes, tables that are none, k below 1, codes of other lengths."
    codes = np.arange(6, dtype=np.uint8)[:, None]
    for labels, asked in ((['a'] * 5, ['a'] * 6), (['a'] * 6, ['a'] * 5), ([], [])):
        with pytest.raises(InputError, match='wanted one each'): tally(codes, labels, codes, asked)
    with pytest.raises(InputError, match='wanted both alike'): tally(codes, np.eye(6, dtype=bool), codes, ['a'] * 6)
    with pytest.raises(InputError, match='no queries'): tally(codes, ['a'] * 6, codes[:0], [])
    for table in (np.eye(6), np.eye(6, dtype=int)):
        with pytest.raises(InputError, match='wanted n strings'): tally(codes, table, codes, table)
    with pytest.raises(InputError, match='same encoder'): tally(codes, ['a'] * 6, np.zeros((1, 2), np.uint8), ['a'])
    for k in (0, -1):
        with pytest.raises(InputError, match='wanted 1 or more'): precision(tally(codes, ['a'] * 6, codes, ['a'] * 6), k)
    same = np.eye(6, dtype=bool)
    with pytest.raises(InputError): tally(codes, same, codes, same[:, :5])


# Labels from a table, and protocols

paths = st.lists(st.text(st.characters(codec='utf-8', exclude_characters='/\0\r'), min_size=1, max_size=6).filter(lambda x: x not in ('.', '..')), min_size=1, max_size=3).map(lambda parts: '/'.join(parts) + '.png')
kinds_of_labels = st.text(st.characters(codec='utf-8', exclude_characters='\0\r'), min_size=1, max_size=6).filter(lambda x: x.strip() == x)


def as_csv(rows, **dialect):
    "Rows as CSV, with a header."
    text = io.StringIO()
    csv.writer(text, **dialect).writerows([('name', 'label'), *rows])
    return text.getvalue()


@few(100)
@given(st.dictionaries(paths, st.sets(kinds_of_labels, min_size=1, max_size=3), min_size=1, max_size=6), st.sampled_from(['\n', '\r\n']), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
       st.sampled_from(['utf-8', 'utf-8-sig']), seeds)
def test_labels_from_csv_come_back(tmp_path_factory, wanted, ending, quoting, encoding, seed):
    "Whatever names and labels are made of: what Python's own writer of CSV wrote is read back, in any order, with one label or several."
    wanted = {k: v for k, v in wanted.items() if not any(other != k and f'{k}/'.startswith(f'{other}/') for other in wanted)}
    rows = [(name, label) for name, labels in wanted.items() for label in labels]
    np.random.default_rng(seed).shuffle(rows)
    path = tmp_path_factory.getbasetemp()/'labels.csv'
    path.write_bytes(as_csv(rows, lineterminator=ending, quoting=quoting).encode(encoding))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert labels_from_csv(path, list(wanted)) == [tuple(sorted(s)) for s in wanted.values()]


@few(40)
@given(seeds, st.integers(1, 12))
def test_labels_of_folders(tmp_path_factory, seed, n):
    "A picture has the labels of its own row and of every folder above it, in any mixture, and no others; rows for nothing are a warning."
    rng, path = np.random.default_rng(seed), tmp_path_factory.getbasetemp()/'folders.csv'
    names = sorted({'/'.join(rng.choice(list('ab'), rng.integers(1, 4)).tolist() + [f'{i}.jpg']) for i in range(n)})
    above = {p for name in names for p in itertools.accumulate(name.split('/'), '{}/{}'.format)}
    rows = [(p, str(rng.integers(3))) for p in sorted(above) for _ in range(rng.integers(0, 3))] + [(p, 'all') for p in sorted({n.split('/')[0] for n in names})]
    path.write_text(as_csv([(p + '/' * (rng.random() < .3 and '.jpg' not in p), label) for p, label in rows] + [('missing', 'x')]))
    with pytest.warns(UserWarning, match='1 names .* for example missing'): got = labels_from_csv(path, names)
    assert got == [tuple(sorted({label for p, label in rows if f'{name}/'.startswith(f'{p}/')})) for name in names]


@st.composite
def categories(draw, least=1, most=12):
    "Labels of two to six categories, shuffled, with so many pictures each."
    rng, kinds = np.random.default_rng(draw(seeds)), draw(st.integers(2, 6))
    return rng.permutation(np.repeat([f'kind {i}' for i in range(kinds)], rng.integers(least, most + 1, kinds)))


@few(60)
@given(categories(), st.integers(0, 8), st.integers(0, 5))
def test_draw(labels, each, seed):
    "So many of each category, all others in the rest, both in order; the same seed draws the same; too few are refused."
    count = dict(zip(*np.unique(labels, return_counts=True)))
    if min(count.values()) <= each:
        with pytest.raises(InputError, match=f'wanted at least {each + 1}'): draw(labels, each, seed)
    else:
        drawn, others = draw(labels, each, seed)
        assert sorted([*drawn, *others]) == list(range(len(labels))) and (np.diff(drawn) > 0).all() and (np.diff(others) > 0).all()
        assert {k: (labels[drawn] == k).sum() for k in count} == dict.fromkeys(count, each)
        assert all((a == b).all() for a, b in zip((drawn, others), draw(list(labels), each, seed)))


def test_other_seeds_draw_others():
    labels = ['a', 'b'] * 50
    assert len({tuple(draw(labels, 10, seed)[0]) for seed in range(20)}) == 20
    assert set(np.concatenate([draw(labels, 10, seed)[0] for seed in range(60)])) == set(range(100)), 'some are never drawn'


@few(40)
@given(categories(8, 20), st.integers(1, 3), st.integers(1, 4), st.integers(0, 5))
def test_splits(labels, queries, shots, seed):
    "Nobody is asked about what is in the collection; what is learned from is in it, or apart from it, as the protocol says."
    asked = np.repeat(np.unique(labels), 3)
    both, n = np.concatenate([labels, asked]), len(labels)
    made, again = (splits(labels, asked, seed, queries, shots) for _ in range(2))
    assert list(made) == ['seen, all', 'seen, sampled', 'seen, half', 'unseen', 'new categories']
    for name, s in made.items():
        parts = [set(p.tolist()) for p in (s.learned, s.collection, s.asked)]
        assert all(len(p) == len(q) > 0 for p, q in zip(parts, (s.learned, s.collection, s.asked)) if name != 'new categories' or len(np.unique(labels)) > 2)
        assert not parts[2] & (parts[0] | parts[1]) and all(0 <= i < len(both) for p in parts for i in p)
        assert parts[0] <= parts[1] if name.startswith('seen') else not parts[0] & parts[1]
        assert all((p == q).all() for p, q in zip(vars(s).values(), vars(again[name]).values()))
    a, b, half, c, d = made.values()
    assert (half.learned == c.learned).all() and (half.learned == half.collection).all() and (half.asked == c.asked).all()
    assert a.collection.tolist() == list(range(n)) and a.asked.tolist() == c.asked.tolist() == list(range(n, len(both)))
    assert {k: (both[b.asked] == k).sum() for k in asked} == dict.fromkeys(asked, queries) and {k: (both[b.learned] == k).sum() for k in asked} == dict.fromkeys(asked, shots)
    assert len(b.asked) + len(b.collection) == len(both) and len(c.learned) + len(c.collection) == n
    new = set(both[d.collection])
    assert new == set(both[d.asked]) and not new & set(both[d.learned]) and len(new) == max(2, len(set(labels))//5)
    assert len(d.learned) + len(d.collection) == n


def test_judging_a_split():
    "What `judge` gives is what the measures give by themselves, one value a query; `line` writes it under its header."
    rng = np.random.default_rng(0)
    labels = np.repeat(['a', 'b', 'c'], 40)
    features = (rng.standard_normal((3, 16))[np.repeat(range(3), 40)] + rng.standard_normal((120, 16))).astype(np.float32)
    drawn, others = draw(labels, 10)
    split = SimpleNamespace(learned=others, collection=others, asked=drawn)
    found = judge(PCA(8), features, labels, split)
    b = PCA(8).fit(features[others])
    codes, queries = b.transform(features[others]), b.transform(features[drawn])
    counts = tally(codes, labels[others], queries, labels[drawn])
    assert (found['accuracy'] == precision(counts)).all() and (found['mAP'] == average_precision(counts)).all() and found['seconds'] > 0
    assert (found['stored_order'] == average_precision_in_stored_order(codes, labels[others], queries, labels[drawn])).all()
    assert judge(HashLayer(8, hidden=0, epochs=2), features, labels, split)['mAP'].shape == (30,)
    text = line('PCA', [found, found])
    assert text.startswith('PCA ') and f'{found["mAP"].mean():.3f}' in text and abs(len(text) - len(HEADER)) < 12


# Messages and seals

values = st.recursive(st.none() | st.booleans() | st.integers(-2**53, 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6)
headers = st.dictionaries(st.text(max_size=8).filter(lambda k: k != 'kind'), values, max_size=4)


@st.composite
def named_arrays(draw):
    "A few arrays of various types and shapes, empty ones included."
    rng = np.random.default_rng(draw(seeds))
    shapes = draw(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3), max_size=3))
    kinds = [draw(st.sampled_from([np.uint8, np.int32, np.int64, np.float32, np.float64])) for _ in shapes]
    return {f'array {i}': (rng.random(s)*200).astype(k) for i, (s, k) in enumerate(zip(shapes, kinds))}


@few(60)
@given(headers, named_arrays())
def test_messages_come_back(header, arrays):
    "Header, kind and arrays survive, with their types and shapes."
    got = read_message(message('found', header, arrays), 'found photos')
    assert got.header == dict(header, kind='found') and got.arrays.keys() == arrays.keys()
    for name, a in arrays.items(): assert (got.arrays[name] == a).all() and got.arrays[name].dtype == a.dtype and got.arrays[name].shape == a.shape


@few(80)
@given(headers, named_arrays(), st.data())
def test_damaged_messages_are_refused(header, arrays, data):
    "A flipped bit, a cut, something appended, or another kind: always the package's own error."
    whole = message('found', header, arrays)
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    flipped = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1:]
    for wrong in (whole[:at], whole + b'x', data.draw(st.binary(max_size=60))) + ((flipped,) if at != 4 else ()):
        with pytest.raises(InputError): read_message(wrong, 'found')
    with pytest.raises(InputError, match='is a found message'): read_message(whole, 'hello search')


@few(60)
@given(st.binary(max_size=200), st.integers(0, 300), st.sampled_from(['record', 'photo', 'token']), st.integers(0, 2**40), st.integers(1, 10**6))
def test_seals_come_back(data, size, kind, number, version):
    "What was sealed is opened, whatever the padding; boxes of one size class are equally long."
    sealer = Sealer(OwnerKey.generate(), '00'*8)
    if size and len(data) > size:
        with pytest.raises(InputError, match=f'wanted {size} or fewer'): sealer.seal(kind, number, version, data, size)
    else:
        box = sealer.seal(kind, number, version, data, size)
        assert sealer.open(kind, number, version, box) == data and len(box) == max(size, len(data)) + 36
        assert box != sealer.seal(kind, number, version, data, size)


@few(60)
@given(st.binary(min_size=1, max_size=40), st.data())
def test_any_flipped_bit_is_refused(data, draw):
    "A box with one bit changed, cut, moved to another place or opened with another key is not opened."
    key = OwnerKey.generate()
    sealer = Sealer(key, '00'*8)
    box = sealer.seal('record', 7, 3, data, 64)
    at, bit = draw.draw(st.integers(0, len(box) - 1)), draw.draw(st.integers(0, 7))
    for wrong in (box[:at] + bytes([box[at] ^ 1 << bit]) + box[at + 1:], box[:at], box + b'\0'):
        with pytest.raises(SealError): sealer.open('record', 7, 3, wrong)
    for place in (('photo', 7, 3), ('record', 8, 3), ('record', 7, 4), ('record', '7', 3)):
        with pytest.raises(SealError): sealer.open(*place, box)
    for other in (Sealer(OwnerKey.generate(), '00'*8), Sealer(key, '01'*8)):
        with pytest.raises(SealError): other.open('record', 7, 3, box)


def test_every_bit_of_a_box_counts():
    "All single-bit changes of one box are found."
    sealer = Sealer(OwnerKey.generate(), '00'*8)
    box = sealer.seal('record', 1, 1, b'a name', 16)
    for i in range(8*len(box)):
        wrong = bytearray(box)
        wrong[i//8] ^= 1 << i % 8
        with pytest.raises(SealError): sealer.open('record', 1, 1, bytes(wrong))


@few(30)
@given(seeds, st.lists(st.text(max_size=30), min_size=1, max_size=8), st.integers(1, 32))
def test_records_come_back(seed, names, width):
    "Codes and names of any letters are read back by id, and all records are equally long."
    rng, sealer = np.random.default_rng(seed), Sealer(OwnerKey.generate(), '00'*8)
    names = [n.encode('utf-8', 'replace').decode() for n in names]
    ids, codes = 5 + rng.permutation(len(names)), rng.integers(0, 256, (len(names), width), np.uint8)
    boxes = seal_records(sealer, 2, ids, codes, names)
    assert boxes.shape == (len(names), power_of_two(width + max(len(n.encode()) for n in names), 64) + 36)
    for i, code, name in zip(ids, codes, names):
        got = open_record(sealer, 2, 8*width, i, boxes[i - 5])
        assert (got[0] == code).all() and got[1] == name


@few(200)
@given(st.integers(1, 2**40))
def test_size_classes(n):
    "A size class holds its data; powers of two waste less than half, eight steps per doubling at most an eighth."
    assert n <= power_of_two(n, 1) < 2*n and power_of_two(n, 64) >= 64
    assert n <= stepped(n) <= n*9/8 and stepped(stepped(n)) == stepped(n)
