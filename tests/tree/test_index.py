"Walks and searches in the clear against brute force; numpy and compiled loops give the same bits."
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_codes import a_query, branchings, collections, few, fitted, nearest, rules, scored, seeds

from tree_privacy.bits import exhaustive, signs
from tree_privacy.core import InputError
from tree_privacy.tree import balanced, walk
from tree_privacy.tree import index as tree_index
from tree_privacy.tree.estimator import MergeTree
from tree_privacy.tree.index import TreeIndex
from tree_privacy.tree.structure import exact_points

most = st.integers(1, 70)
some_nodes = st.integers(1, 6)


@few(60)
@given(collections(), rules, branchings, most)
def test_following_all_nodes_is_exhaustive(c, rule, branching, k):
    "With as many nodes as leaves a walk gives what comparing with everything gives."
    index, query = TreeIndex(fitted(c, rule, branching)), a_query(c)
    ids, apart = exhaustive(c.codes, query, k)
    assert list(zip(apart, ids, strict=True)) == nearest(c, query)[:k]
    for fill in (True, False):
        found = index.walk(query, k, index.tree.n_leaves_, fill)
        assert found.ids.tolist() == ids.tolist() and found.distances.tolist() == apart.tolist()


@few(30)
@given(collections(), rules, branchings, most, some_nodes, st.booleans(), st.integers(1, 3))
def test_many_queries_are_one_after_the_other(c, rule, branching, k, nodes, fill, threads):
    "A batch gives what its queries give alone, filled up with -1, whatever the number of threads."
    index, queries = TreeIndex(fitted(c, rule, branching)), np.stack([a_query(c) for _ in range(7)])
    many = index.walk(queries, k, nodes, fill, threads)
    for i, query in enumerate(queries):
        one = index.walk(query, k, nodes, fill)
        there = len(one.ids)
        assert many.ids[i, :there].tolist() == one.ids.tolist() and (many.ids[i, there:] == -1).all()
        assert many.distances[i, :there].tolist() == one.distances.tolist() and many.visits[i] == one.visits


@few(80)
@given(collections(), rules, branchings, most, some_nodes, st.booleans())
def test_results_of_a_walk(c, rule, branching, k, nodes, fill):
    "True distances, sorted, ties by id; nothing comes twice; `fill` gives as many as there are."
    index, query = TreeIndex(fitted(c, rule, branching)), a_query(c)
    found = index.walk(query, k, nodes, fill)
    pairs = list(zip(found.distances.tolist(), found.ids.tolist(), strict=True))
    assert set(pairs) <= set(nearest(c, query)) and pairs == sorted(set(pairs)) and 1 <= len(pairs) <= k
    if fill:
        assert len(pairs) == min(k, c.n)


@few(60)
@given(collections(), rules, branchings, most, some_nodes, st.booleans())
def test_visits(c, rule, branching, k, nodes, fill):
    "No node is scored or followed twice, and `visits` counts the scored ones."
    index = TreeIndex(fitted(c, rule, branching))
    found, total = index.walk(a_query(c), k, nodes, fill), len(index.tree.size_)
    if total == 1:
        assert found.visits == 1 and not len(found.followed)
        return
    seen = scored(index.tree, found.followed)
    assert found.visits == len(seen) == len(set(seen)) < total
    assert len(set(found.followed)) == len(found.followed)
    assert found.followed[0] == total - 1 and set(found.followed[1:].tolist()) <= set(seen)


@few(60)
@given(collections(), rules, branchings, most, some_nodes)
def test_filling_goes_on_where_the_short_walk_ends(c, rule, branching, k, nodes):
    "A walk that fills up follows first what the short one follows, and its results are nowhere farther."
    index, query = TreeIndex(fitted(c, rule, branching)), a_query(c)
    short, long = index.walk(query, k, nodes, False), index.walk(query, k, nodes, True)
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
@given(collections(), rules, branchings, most, some_nodes)
def test_walk_against_sorted_lists(c, rule, branching, k, nodes):
    "A walk follows the best nodes of each level in their order, and reports the best leaves below them."
    index, query = TreeIndex(fitted(c, rule, branching)), a_query(c)
    found = index.walk(query, k, nodes, False)
    followed = level_by_level(index.tree, query, nodes)
    assert found.followed.tolist() == followed
    leaves = {x for x in scored(index.tree, followed) if x < index.tree.n_leaves_} or {0}
    wanted = [(h, i) for h, i in nearest(c, query) if index.tree.leaf_[i] in leaves][:k]
    assert list(zip(found.distances, found.ids, strict=True)) == wanted


@pytest.mark.parametrize('k, nodes', [(0, 1), (1, 0), (-3, 2)])
def test_walk_refuses(k, nodes):
    index = TreeIndex(MergeTree().fit(np.arange(5, dtype=np.uint8)[:, None]))
    for query in (np.zeros(2, np.uint8), np.zeros((3, 2), np.uint8), np.zeros(1), np.zeros((1, 1, 1), np.uint8)):
        with pytest.raises(InputError, match='wanted packed codes'):
            index.walk(query)
    with pytest.raises(InputError, match='wanted 1 or more'):
        index.walk(np.zeros(1, np.uint8), k, nodes)


def test_an_index_keeps_its_tree():
    "A tree that changes does not change an index that was made of it before."
    rng = np.random.default_rng(0)
    codes, more = rng.integers(0, 256, (300, 2), dtype=np.uint8), rng.integers(0, 256, (500, 2), dtype=np.uint8)
    tree = MergeTree().fit(codes)
    index = TreeIndex(tree)
    before = index.walk(codes, 5, 3)
    for change in (lambda: tree.insert(more), tree.refresh, lambda: tree.remove(np.arange(250)),
                   lambda: tree.fit(more)):
        change()
        after = index.walk(codes, 5, 3)
        assert (after.ids == before.ids).all() and (after.distances == before.distances).all()


def test_an_index_refuses():
    "Ids, numbers and queries that cannot be are refused by name, at once."
    codes = np.random.default_rng(0).integers(0, 256, (30, 2), dtype=np.uint8)
    tree = MergeTree().fit(codes)
    wrong = [np.arange(29), np.arange(60), -np.arange(30), np.arange(30) + 2. ** 48, np.arange(30) + 2 ** 48,
             np.arange(30) + .7, ['a'] * 30, [[1]] * 30, [None] * 30]
    for ids in wrong:
        with pytest.raises(InputError, match='ids are'):
            TreeIndex(tree, ids)
    for nothing in (None, MergeTree()):
        with pytest.raises(InputError, match='call fit'):
            TreeIndex(nothing)
    index = TreeIndex(tree)
    for name in ('k', 'nodes', 'threads'):
        for v in (0, -1, 1.5, np.nan, np.inf, None, '3', True):
            with pytest.raises(InputError, match=f'{name} is'):
                index.walk(codes, **{name: v})
    far = index.walk(codes, k=10 ** 25, nodes=10 ** 25)
    assert (far.ids == index.walk(codes, k=30, nodes=30).ids).all()
    for v in (0, -1, 1.5, np.nan, '3'):
        with pytest.raises(InputError, match='nodes is'):
            tree.score(codes, v)
    with pytest.raises(InputError, match='wanted packed codes'):
        index.walk([[1], [1, 2]])


def same(one, other):
    "Whether two results of a kernel are the same bits."
    pairs = list(zip(one, other, strict=True)) if isinstance(one, tuple) else [(one, other)]
    return all(np.asarray(a).dtype.kind == np.asarray(b).dtype.kind and np.array_equal(a, b) for a, b in pairs)


@few(60)
@given(collections(), rules, branchings, most, some_nodes, st.booleans())
def test_numpy_walks_as_compiled_loops_do(c, rule, branching, k, nodes, fill):
    "One walk: the same leaves in the same order, scores, visits and nodes followed, bit by bit."
    tree = fitted(c, rule, branching)
    for dtype in (np.float32, np.float64):
        request = np.append(signs(a_query(c)), 1).astype(dtype)
        given = tree.children_, tree.n_leaves_, tree.vectors().astype(dtype), request, k, nodes, 0., fill
        assert same(walk.best_leaves.plain(*given), walk.best_leaves.compiled(*given))


@few(40)
@given(collections(), branchings, st.integers(1, 20), some_nodes, st.booleans(), st.sampled_from([.001, .02, .5, 8.]))
def test_numpy_breaks_ties_as_compiled_loops_do(c, branching, k, nodes, fill, tolerance):
    "With a tolerance, as for encrypted scores, and scores that are off by little: the same nodes in the same order."
    tree = fitted(c, 'checked', branching)
    table = tree.vectors()
    table[:, -1] += c.rng.integers(-3, 4, len(table)) / 1024  # exact in any order of adding
    request = np.append(signs(a_query(c)), 1).astype(float)
    given = tree.children_, tree.n_leaves_, table, request, k, nodes, tolerance, fill
    assert same(walk.best_leaves.plain(*given), walk.best_leaves.compiled(*given))


@few(40)
@given(collections(), rules, branchings, st.integers(1, 20), some_nodes)
def test_numpy_finds_the_leaves_that_compiled_loops_find(c, rule, branching, wanted, nodes):
    "Many walks for the nearest leaves, and many searches."
    tree = fitted(c, rule, branching)
    queries = np.stack([a_query(c) for _ in range(9)])
    points = exact_points(signs(queries) * c.rng.integers(0, 65, (9, c.bits)) / 64)
    out = []
    for run in ('plain', 'compiled'):
        found, near = np.full((9, wanted), -1), np.full((9, wanted), -np.inf, np.float32)
        table = balanced.with_half_square(exact_points(tree.feature_))
        getattr(walk._nearest_leaves, run)(tree.children_, tree.n_leaves_, table, points, nodes, found, near)
        index = TreeIndex(tree)
        k = min(wanted, c.n)
        results = np.full((9, k), -1), np.full((9, k), -1), np.zeros(9, np.int64)
        followed = getattr(tree_index._search_codes, run)(index.children, index.n_leaves, index.table, queries,
                                                      index.start, index.ids, k, nodes, True, *results)
        out.append((found, near, *results, followed))
    assert same(*out)


@few(40)
@given(seeds, st.integers(1, 40), st.integers(1, 8), st.integers(1, 6))
def test_python_matches_as_compiled_loops_do(seed, n, parents, room):
    "Nearness with ties, parents that are missing: the same parent for every node."
    rng = np.random.default_rng(seed)
    near = rng.integers(0, 6, (n, parents)).astype(np.float32)
    found = np.argsort(-near, 1, kind='stable')
    near = np.take_along_axis(near, found, 1)
    found[rng.random(n) < .3, parents // 2:] = -1
    given = found, near, rng.integers(0, parents, n), parents, room
    assert same(balanced._matching.plain(*given), balanced._matching.compiled(*given))


def test_values_that_are_no_numbers_end_a_walk_too():
    "A cloud may be sent any request: a walk over missing or infinite scores ends, in numpy as in loops."
    tree = MergeTree('checked', branching=2).fit(np.random.default_rng(0).integers(0, 256, (40, 2), dtype=np.uint8))
    for bad in (np.nan, np.inf, -np.inf):
        for tolerance in (0., .1):
            request = np.append(signs(np.zeros(2, np.uint8)), 1).astype(float)
            request[3] = bad
            given = tree.children_, tree.n_leaves_, tree.vectors(), request, 10, 3, tolerance, True
            with np.errstate(invalid='ignore'):
                for run in ('plain', 'compiled'):
                    leaves, scores, visits, followed = getattr(walk.best_leaves, run)(*given)
                    assert visits <= len(tree.size_) and len(set(followed.tolist())) == len(followed)


def test_a_small_collection_compiles_nothing():
    "Two thousand codes are built, searched, changed and scored without numba."
    code = '''
import sys
import numpy as np
from tree_privacy.tree.estimator import MergeTree
from tree_privacy.tree.index import TreeIndex
codes = np.random.default_rng(0).integers(0, 256, (2000, 8), dtype=np.uint8)
tree = MergeTree().fit(codes)
assert len(TreeIndex(tree).walk(codes[5]).ids) == 10
assert TreeIndex(tree).walk(codes[:100]).ids.shape == (100, 10)
tree.insert(codes[:10] ^ 1).remove([3]).refresh()
tree.score(codes[:200])
assert 'numba' not in sys.modules
'''
    subprocess.run([sys.executable, '-c', code], check=True)
