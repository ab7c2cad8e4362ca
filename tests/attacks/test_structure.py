"Links, neighbours and categories: found where they show, and not made up where they do not."
from dataclasses import replace

import numpy as np
import pytest

from tree_privacy.attacks.evidence import GroundTruth, Knowledge, NotApplicable, Observation
from tree_privacy.attacks.observe import observe_scheme
from tree_privacy.attacks.structure import (
    category_sizes,
    links_right,
    neighbours,
    neighbours_right,
    sizes_right,
    tree_links,
)
from tree_privacy.crypto.random_matrix import MatrixKey
from tree_privacy.tree.estimator import MergeTree

from .scenes import BITS, clouds, clustered, share, tree, truth


@pytest.mark.parametrize('form', ['basic', 'split'])
def test_tree_links(form):
    "Most links, though they are withheld, and hardly a false one."
    guess = tree_links(clouds[form].without_links())
    right, guessing = links_right(guess, truth)
    assert right.mean() > .7 and right.mean() > .95 * (guess >= 0)[:-1].mean() and guessing < .01


def test_tree_links_of_the_split_form_want_searches():
    "Shares of nodes are no means; only scores are."
    with pytest.raises(NotApplicable, match='65 searches'):
        tree_links(replace(clouds['split'], trapdoors=clouds['split'].trapdoors[:64]))


@pytest.mark.parametrize('form', ['noisy', 'control'])
def test_no_links_in_noise(form):
    "Where parents are no means, at most one link in a hundred comes out, which is guessing."
    try:
        assert share(links_right(tree_links(clouds[form].without_links()), truth)) < .01
    except NotApplicable as why:
        assert 'mean' in str(why)


def test_no_inner_nodes_no_links():
    "A cloud that holds leaves alone has no links to find."
    leaves = replace(clouds['basic'], table=clouds['basic'].table[:tree.n_leaves_])
    with pytest.raises(NotApplicable, match='no inner nodes'):
        tree_links(leaves)


def test_neighbours_and_condition():
    "A rotation leaves all neighbours readable; a large condition number few; much noise no more than twice guessing."
    def leak(**options):
        return neighbours_right(neighbours(observe_scheme(MatrixKey.generate(BITS, **options), tree)), truth)

    guessing = leak(form='basic').guessing
    assert share(leak(form='basic', condition=1.)) > .9 > share(leak(form='basic', condition=256.)) > 10 * guessing
    assert share(leak(form='split', noise=30.)) < 2 * guessing + .005
    assert share(neighbours_right(neighbours(clouds['control']), truth)) < 2 * guessing + .005


def test_category_sizes():
    "Exact from a tree with one subtree a folder; on the package's own rules within 5 % of guessing or worse."
    want = np.array([150, 120, 90, 60, 40, 40])
    folders = np.repeat(np.arange(6), want)
    rows = [np.flatnonzero(folders == k) for k in range(6)] + [500 + np.arange(6)]
    children = np.full((7, 150), -1)
    for i, row in enumerate(rows):
        children[i, :len(row)] = row
    about, six = GroundTruth(truth.codes[:1], category_sizes=want), Knowledge(n_categories=6)
    twin = Observation(np.zeros((507, 1)), 500, BITS, children=children)
    assert (category_sizes(twin, six) == want).all() and share(sizes_right(want, about)) == 1
    for rule in ('balanced', 'tagged', 'checked'):
        tags = [str(k) for k in folders] if rule == 'tagged' else None
        own = MergeTree(rule).fit(clustered(500, kinds=6, seed=3), tags)
        seen = observe_scheme(MatrixKey.generate(BITS, form='basic'), own)
        right, guessing = sizes_right(category_sizes(seen, six), about)
        assert right.mean() < guessing + .05
    with pytest.raises(NotApplicable, match='withheld'):
        category_sizes(twin.without_links(), six)
    with pytest.raises(NotApplicable, match='number of categories'):
        category_sizes(twin, Knowledge())
