"Whether numbers that a cloud sees look as if they were drawn at random, over many indexes."
import numpy as np


def statistics(category):
    """How far the categories' mean ranks are apart, how often neighbours share a category, and whether categories rise
    with the numbers."""
    ranks = np.arange(len(category))
    kinds = np.unique(category)
    apart = sum((category == c).sum() * (ranks[category == c].mean() - ranks.mean()) ** 2 for c in kinds)
    return np.array([apart, (category[1:] == category[:-1]).sum(), (category * ranks).sum()])


def any_order(kind, children, n, rng):
    "An order of leaves or inner nodes that knows nothing but the links: siblings side by side, in random order."
    if kind == 'buckets':
        return rng.permutation(n)
    leaves, inner, level = [], [], [len(children) - 1]
    while level:
        below = [int(c) for i in level for c in rng.permutation(children[i]) if c >= 0]
        leaves, inner = leaves + [c for c in below if c < n], [level] + inner
        level = [c - n for c in below if c >= n]
    return leaves if kind == 'leaves' else [i for row in inner[:-1] for i in row]


def surprise(rng, kind, shown):
    """Standard deviations between what many indexes show and what random orders would: the sum of each statistic over
    indexes, against its mean and variance under 60 orders an index."""
    seen, mean, variance = np.zeros((3, 3))
    for some, children in shown:
        category, n = some[kind], len(some.get('leaves', ())) or len(some[kind])
        shuffles = np.array([statistics(category[any_order(kind, children, n, rng)]) for _ in range(60)])
        seen, mean = seen + statistics(category), mean + shuffles.mean(0)
        variance = variance + shuffles.var(0, ddof=1) / 60 * 61
    return np.abs(seen - mean) / np.sqrt(np.maximum(variance, 1e-9))


LIMIT = 7  # standard deviations of a sum over 80 indexes
