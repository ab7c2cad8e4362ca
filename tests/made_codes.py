"Random collections of codes with many ties, trees of them, and brute force to compare with."
from dataclasses import dataclass

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from tree_privacy.bits import pack, signs
from tree_privacy.tree.building import RULES
from tree_privacy.tree.estimator import MergeTree

seeds = st.integers(0, 2 ** 32 - 1)
rules = st.sampled_from(RULES)
branchings = st.sampled_from([2, 4, 8, 16])


def few(examples):
    return settings(deadline=None, max_examples=examples)


def crowded(rng, n, width, kinds, flips):
    "n codes around a few centres: many are equal, many distances tie."
    codes = rng.integers(0, 256, (kinds, width), np.uint8)[rng.integers(0, kinds, n)]
    for i in np.flatnonzero(rng.random(n) < flips):
        codes[i, rng.integers(width)] ^= 1 << rng.integers(8)
    return codes


def clustered(rng, n, width, kinds=40, flip=.06):
    "Codes in clusters, with few equal ones."
    centres = rng.random((kinds, 8 * width)) < .5
    return pack(centres[rng.integers(0, kinds, n)] ^ (rng.random((n, 8 * width)) < flip))


def near_duplicates(rng, codes, m):
    "m queries: codes of the collection with none to three bits changed."
    queries = codes[rng.integers(0, len(codes), m)].copy()
    for query in queries:
        for _ in range(rng.integers(4)):
            query[rng.integers(len(query))] ^= 1 << rng.integers(8)
    return queries


@dataclass
class Collection:
    "Codes, tags, and the generator that made them."
    codes: np.ndarray
    tags: list
    rng: np.random.Generator

    @property
    def n(self):
        return len(self.codes)

    @property
    def bits(self):
        return 8 * self.codes.shape[1]


@st.composite
def collections(draw, most=60, widths=st.integers(1, 8)):  # noqa: B008
    "A collection of at most `most` codes."
    rng = np.random.default_rng(draw(seeds))
    n, width = draw(st.integers(1, most)), draw(widths)
    codes = crowded(rng, n, width, draw(st.integers(1, 20)), draw(st.sampled_from([0, .3, .9])))
    tags = [draw(st.sampled_from(['a', 'b', None])) for _ in range(min(n, 5))] * n
    return Collection(codes, tags[:n], rng)


def fitted(c, rule, branching, codes=None, tags=None):
    "A tree of a collection, narrow enough to have several levels; only the tagged rule is given tags."
    codes, tags = (c.codes, c.tags) if codes is None else (codes, tags)
    return MergeTree(rule, branching=branching, shape=(branching, 2, 2)).fit(codes, tags if rule == 'tagged' else None)


def a_query(c):
    "A packed code: half of the time one of the collection, perhaps with one bit changed."
    if c.rng.random() < .5:
        return c.rng.integers(0, 256, c.bits // 8).astype(np.uint8)
    code = c.codes[c.rng.integers(c.n)].copy()
    if c.rng.random() < .5:
        code[c.rng.integers(len(code))] ^= 1 << c.rng.integers(8)
    return code


def nearest(c, query):
    "All (distance, id) in the order in which results come."
    return sorted((int(np.unpackbits(query ^ code).sum()), i) for i, code in enumerate(c.codes))


def below(tree, node):
    "The leaves under a node, each as often as a way down reaches it."
    if node < tree.n_leaves_:
        return [node]
    return [leaf for c in tree.children_[node - tree.n_leaves_] if c >= 0 for leaf in below(tree, c)]


def scored(tree, followed):
    "The nodes whose scores a walk computes when it follows these."
    return [int(x) for f in followed for x in tree.children_[f - tree.n_leaves_] if x >= 0]


def check_shape(tree, least=None):
    "Links, sizes and heights of a tree fit each other."
    n, nodes = tree.n_leaves_, len(tree.size_)
    assert sorted(below(tree, nodes - 1)) == list(range(n)), 'each leaf is reached from the root exactly once'
    assert len(tree.parent_) == len(tree.height_) == len(tree.feature_) == nodes == n + len(tree.children_)
    assert (tree.size_[:n] == np.bincount(tree.leaf_, minlength=n)).all()
    assert (tree.height_[:n] == 0).all()
    assert tree.parent_[-1] == -1 and (tree.parent_[:-1] >= n).all()
    for i, row in enumerate(tree.children_, n):
        row = row[row >= 0]
        assert len(row) >= (least or (1 if tree.rule == 'balanced' else 2)) and len(set(row)) == len(row)
        assert (tree.parent_[row] == i).all()
        assert tree.size_[i] == tree.size_[row].sum() and tree.height_[i] == tree.height_[row].max() + 1
        assert sorted(np.flatnonzero(tree.parent_ == i)) == sorted(row)


def check_features(tree, codes):
    "Every node's feature is the mean of the photographs below it."
    points = signs(codes)
    for node in range(len(tree.size_)):
        members = np.isin(tree.leaf_, below(tree, node))
        assert tree.size_[node] == members.sum()
        np.testing.assert_allclose(tree.feature_[node], points[members].astype(float).mean(0), atol=1e-6)
