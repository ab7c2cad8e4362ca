"Measures against brute force: every order of ties, counting one by one, redraws."
import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_codes import a_query, collections, few, fitted, nearest, seeds

from tree_privacy.bits import hamming, pack
from tree_privacy.core import InputError
from tree_privacy.evaluate.experiment import exhaustive_search, measure_search
from tree_privacy.evaluate.measures import (
    average_precision,
    average_precision_in_stored_order,
    bootstrap,
    distance_histogram,
    kth_distance,
    neighbours_kept,
    precision,
    recall,
)
from tree_privacy.tree.index import TreeIndex


@few(60)
@given(collections(most=25), st.integers(1, 30))
def test_kth_distance_and_recall(c, k):
    "The k-th smallest distance and how many are nearer; recall in the order of ties that suits the results best."
    queries, k = np.stack([a_query(c) for _ in range(3)]), min(k, c.n)
    for query, near in zip(queries, kth_distance(c.codes, queries, k), strict=True):
        apart = [h for h, _ in nearest(c, query)]
        assert near.tolist() == [apart[k - 1], sum(h < apart[k - 1] for h in apart)]
        found = c.rng.permutation(apart)[:c.rng.integers(1, c.n + 1)]
        assert recall(found, near, k) == most_in_common(found[:k].tolist(), apart[:k]) / k
        assert recall(apart[:k], near, k) == 1
    assert (kth_distance(c.codes, queries, c.n + 5) == kth_distance(c.codes, queries, c.n)).all()


def most_in_common(a, b):
    "How many of two lists can be paired with an equal one in the other."
    return sum(min(a.count(x), b.count(x)) for x in set(a))


@few(30)
@given(collections(most=25), st.integers(1, 4))
def test_measuring_a_search(c, nodes):
    "Accuracy, recall and visits of each query agree with looking at each result; exhaustive search has recall 1."
    labels, queries = [str(i % 3) for i in range(c.n)], np.stack([a_query(c) for _ in range(4)])
    asked, near, index = ['0', '1', '2', '0'], kth_distance(c.codes, queries), TreeIndex(fitted(c, 'checked', 4))
    got = measure_search(lambda q: index.walk(q, nodes=nodes), labels, queries, asked, near)
    for i, query in enumerate(queries):
        found, best = index.walk(query, nodes=nodes), [h for h, _ in nearest(c, query)[:10]]
        assert got.accuracy[i] == (labels[found.ids[0]] == asked[i]) and got.visits[i] == found.visits
        assert got.recall_10[i] == pytest.approx(most_in_common(found.distances.tolist(), best) / len(best))
    whole = measure_search(exhaustive_search(c.codes), labels, queries, asked, near)
    assert (whole.recall_10 == 1).all() and (whole.visits == c.n).all()


@few(20)
@given(seeds, st.integers(1, 4), st.integers(1, 6))
def test_bootstrap(seed, draws, queries):
    "The mean is the mean, the interval lies within the values, and the same seed gives the same."
    values = np.random.default_rng(seed).random((draws, queries))
    got = bootstrap(values, 3, 200)
    assert got == bootstrap(values, 3, 200) and got['mean'] == round(values.mean(), 4)
    assert values.min() - 1e-4 <= got['low'] <= got['high'] <= values.max() + 1e-4
    constant = bootstrap(np.full((draws, queries), .25), seed % 100, 50)
    assert constant == dict(mean=.25, low=.25, high=.25)


@few(20)
@given(seeds, st.lists(st.integers(1, 30), min_size=2, max_size=4, unique=True))
def test_bootstrap_of_draws_of_different_lengths(seed, lengths):
    "Every draw counts the same, whatever its length; the interval is a point where nothing varies."
    rng = np.random.default_rng(seed)
    values = [rng.random(n) for n in lengths]
    got = bootstrap(values, 1, 300)
    assert got['mean'] == round(np.mean([v.mean() for v in values]), 4)
    assert got['low'] <= got['mean'] + .05 and got['mean'] - .05 <= got['high'] and got['low'] < got['high']
    assert bootstrap([np.full(n, .5) for n in lengths]) == dict(mean=.5, low=.5, high=.5)


def test_bootstrap_against_all_redraws():
    "One draw of two queries, 0 and 1, has the redrawn means 0, 1/2, 1/2, 1: the interval is everything."
    got = bootstrap(np.array([[0., 1.]]), 0, 4000)
    assert got == dict(mean=.5, low=0, high=1)
    many = bootstrap(np.tile([0., 1.], 200)[None], 0, 4000)
    assert abs(many['low'] - (.5 - 1.96 * .5 / 20)) < .01 and abs(many['high'] - (.5 + 1.96 * .5 / 20)) < .01


@pytest.mark.parametrize('values', [[], [[]], [[1], []], [[np.nan]], [[1, np.inf]], [[[1]]]], ids=str)
def test_bootstrap_refuses(values):
    with pytest.raises(InputError, match='wanted one or more'):
        bootstrap(values)


def labelled(c, queries, kinds='ab'):
    "Labels for a collection and some queries: sets of none, one or two kinds."
    def pick():
        return set(c.rng.choice(list(kinds), c.rng.choice([0, 1, 1, 2]), replace=False).tolist())
    return [pick() for _ in range(c.n)], [pick() for _ in range(len(queries))]


def orders(distance):
    "Every order of a collection in which nothing comes before what is nearer."
    ties = [np.flatnonzero(distance == d).tolist() for d in np.unique(distance)]
    return [sum(parts, ()) for parts in itertools.product(*(itertools.permutations(t) for t in ties))]


def precision_of(relevant, k):
    return sum(relevant[:k]) / k


def average_precision_of(relevant):
    "The mean, over the relevant ones, of the precision where each comes; 0 where there are none."
    return sum(precision_of(relevant, k + 1) for k, r in enumerate(relevant) if r) / max(1, sum(relevant))


@dataclass
class Tiny:
    "At most seven codes with many ties, three queries, and labels of both."
    codes: np.ndarray
    queries: np.ndarray
    labels: tuple
    rng: np.random.Generator

    @property
    def n(self):
        return len(self.codes)


@st.composite
def tiny(draw):
    c = draw(collections(most=7, widths=st.just(1)))
    if draw(st.booleans()):
        c.codes = c.codes[c.rng.integers(0, min(2, c.n), c.n)]
    queries = np.stack([a_query(c) for _ in range(3)])
    return Tiny(c.codes, queries, labelled(c, queries), c.rng)


def by_hand(c):
    "For every query, the relevance of the collection in each order that ties allow."
    for query, wanted in zip(c.queries, c.labels[1], strict=True):
        relevant = [bool(wanted & has) for has in c.labels[0]]
        yield [[relevant[i] for i in order] for order in orders(hamming(query[None], c.codes)[0])]


@few(60)
@given(tiny(), st.integers(1, 9))
def test_precision_over_all_orders(c, k):
    "Precision and average precision are means over every order of ties; the one in stored order is that of the first."
    counts = distance_histogram(c.codes, c.labels[0], c.queries, c.labels[1])
    p, ap = precision(counts, k), average_precision(counts)
    stored = average_precision_in_stored_order(c.codes, c.labels[0], c.queries, c.labels[1])
    for i, lists in enumerate(by_hand(c)):
        each = [average_precision_of(x) for x in lists]
        assert p[i] == pytest.approx(np.mean([precision_of(x, k) for x in lists]))
        assert ap[i] == pytest.approx(np.mean(each)) and stored[i] == pytest.approx(each[0], rel=1e-5)
        assert min(each) - 1e-9 <= ap[i] <= max(each) + 1e-9
        assert min(each) - 1e-5 <= stored[i] <= max(each) + 1e-5


@few(40)
@given(collections(most=40), st.integers(1, 50))
def test_the_order_of_the_collection_changes_no_measure(c, k):
    "Shuffling the collection, or the queries, leaves what is measured; so do other names of the labels."
    queries = np.stack([a_query(c) for _ in range(4)])
    labels, asked = labelled(c, queries, 'abc')
    order, turn = c.rng.permutation(c.n), c.rng.permutation(4)
    shuffled = c.codes[order], [labels[i] for i in order], queries[turn], [asked[i] for i in turn]
    doubled = ([{f'{x} {x}' for x in s} for s in some] for some in (labels, asked))
    one, other = distance_histogram(c.codes, labels, queries, asked), distance_histogram(*shuffled)
    renamed = distance_histogram(c.codes, next(doubled), queries, next(doubled))
    assert (one[turn] == other).all() and (one == renamed).all()
    assert one.shape == (4, c.bits + 1, 2) and (one.sum((1, 2)) == c.n).all()
    assert (precision(one, k)[turn] == precision(other, k)).all()
    assert (average_precision(one)[turn] == average_precision(other)).all()
    nearest_ids, number = np.stack([c.rng.permutation(c.n)[:min(k, c.n)] for _ in queries]), np.argsort(order)
    kept = neighbours_kept(c.codes, queries, nearest_ids)[turn]
    assert kept == pytest.approx(neighbours_kept(c.codes[order], queries[turn], number[nearest_ids[turn]]))


@few(40)
@given(collections(most=40), st.integers(1, 45))
def test_histogram_and_precision_by_counting(c, k):
    "Photographs at each distance, counted one by one; among as many results as photographs all relevant ones count."
    queries = np.stack([a_query(c) for _ in range(3)])
    labels, asked = labelled(c, queries, 'abc')
    counts = distance_histogram(c.codes, labels, queries, asked)
    left = counts.copy()
    for i, query in enumerate(queries):
        for h, number in nearest(c, query):
            left[i, h, int(bool(asked[i] & labels[number]))] -= 1
    assert not left.any()
    assert precision(counts, c.n + k) == pytest.approx(counts[..., 1].sum(1) / (c.n + k))
    assert ((0 <= precision(counts, k)) & (precision(counts, k) <= 1)).all()
    assert (average_precision(counts)[counts[..., 1].sum(1) == 0] == 0).all()


@few(40)
@given(seeds, st.integers(1, 30), st.sampled_from([64, 128]))
def test_average_precisions_agree_where_nothing_ties(seed, n, bits):
    "Codes at different distances have one order only."
    rng = np.random.default_rng(seed)
    far = rng.permutation(bits)[:n]
    codes = pack(np.arange(bits) < far[:, None])
    labels, query = rng.choice(['a', 'b'], n), np.zeros((1, bits // 8), np.uint8)
    got = average_precision(distance_histogram(codes, labels, query, ['a']))
    stored = average_precision_in_stored_order(codes, labels, query, ['a'])
    by_distance = (labels[np.argsort(far)] == 'a').tolist()
    assert got == pytest.approx(stored, rel=1e-5) and got[0] == pytest.approx(average_precision_of(by_distance))


@few(40)
@given(tiny(), st.integers(1, 7))
def test_neighbours_kept_over_all_orders(c, k):
    "The share of the true neighbours among the k nearest codes is the mean over every order of ties."
    k = min(k, c.n)
    true = np.stack([c.rng.permutation(c.n)[:k] for _ in c.queries])
    got = neighbours_kept(c.codes, c.queries, true)
    for query, ids, value in zip(c.queries, true, got, strict=True):
        wanted = set(ids.tolist())
        shares = [len(set(order[:k]) & wanted) / k for order in orders(hamming(query[None], c.codes)[0])]
        assert value == pytest.approx(np.mean(shares))
    if k == c.n:
        assert got == pytest.approx(1)


def test_measures_refuse():
    "Labels that do not fit the codes, tables that are none, k below 1, codes of other lengths."
    codes, same = np.arange(6, dtype=np.uint8)[:, None], np.eye(6, dtype=bool)
    for labels, asked in ((['a'] * 5, ['a'] * 6), (['a'] * 6, ['a'] * 5), ([], [])):
        with pytest.raises(InputError, match='wanted one each'):
            distance_histogram(codes, labels, codes, asked)
    with pytest.raises(InputError, match='wanted both alike'):
        distance_histogram(codes, same, codes, ['a'] * 6)
    with pytest.raises(InputError, match='no queries'):
        distance_histogram(codes, ['a'] * 6, codes[:0], [])
    for table in (np.eye(6), np.eye(6, dtype=int)):
        with pytest.raises(InputError, match='wanted n strings'):
            distance_histogram(codes, table, codes, table)
    with pytest.raises(InputError, match='same encoder'):
        distance_histogram(codes, ['a'] * 6, np.zeros((1, 2), np.uint8), ['a'])
    for k in (0, -1):
        with pytest.raises(InputError, match='wanted 1 or more'):
            precision(distance_histogram(codes, ['a'] * 6, codes, ['a'] * 6), k)
    with pytest.raises(InputError, match='wanted the same columns'):
        distance_histogram(codes, same, codes, same[:, :5])
