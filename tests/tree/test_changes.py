"Trees that grow and shrink: means stay true, changes are whole or none, bad calls are refused."
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_codes import branchings, check_features, check_shape, collections, few, fitted, rules

from tree_privacy.bits import signs
from tree_privacy.core import InputError
from tree_privacy.tree.estimator import MergeTree
from tree_privacy.tree.growing import overfull_nodes


def arrays_of(tree):
    return {name: np.copy(v) for name, v in vars(tree).items() if name.endswith('_')}


@few(40)
@given(collections(), rules, branchings, st.data())
def test_growing_and_shrinking(c, rule, branching, data):
    "After any changes a tree holds what the same changes leave of an array; balanced leaves keep one depth."
    tree, now = fitted(c, rule, branching), c.codes
    for kind in data.draw(st.lists(st.sampled_from(['insert', 'copy', 'remove', 'refresh']), max_size=6)):
        if kind == 'refresh' and rule == 'balanced':
            assert tree.refresh() is tree
        elif kind in ('insert', 'copy'):
            m = data.draw(st.integers(1, 60))
            new = c.rng.integers(0, 256, (m, now.shape[1]), dtype=np.uint8)
            if kind == 'copy':
                new = now[c.rng.integers(0, len(now), 3)]
            assert tree.insert(new) is tree
            now = np.concatenate([now, new])
        elif kind == 'remove' and len(now) > 1:
            gone = c.rng.choice(len(now), c.rng.integers(1, len(now)), replace=False)
            assert tree.remove(gone) is tree
            now = np.delete(now, gone, axis=0)
        check_shape(tree, least=1)
        check_features(tree, now)
        assert (signs(now) == tree.feature_[tree.leaf_]).all()
        assert tree.n_leaves_ == len(np.unique(now, axis=0))
        if rule == 'balanced':
            assert len(overfull_nodes(tree, tree.shape)[0]) == 0
            assert (tree.height_[tree.parent_[:-1]] == tree.height_[:-1] + 1).all()


STEPS = {'make_tree': ('building', 'growing'), 'child_table': ('building', 'growing'),
         'rebuild_from_parents': ('growing',), 'kmeans_split': ('balanced', 'growing'), 'leaf_codes': ('growing',)}
UNUSED = {('fit', 'rebuild_from_parents'), ('fit', 'leaf_codes'), ('remove', 'kmeans_split'), ('remove', 'leaf_codes'),
          ('refresh', 'kmeans_split'), ('refresh', 'leaf_codes')}


@pytest.mark.parametrize('step', list(STEPS))
@pytest.mark.parametrize('call', ['fit', 'insert', 'remove', 'refresh'])
def test_a_change_is_whole_or_none(call, step, monkeypatch):
    "Where something fails half way, the tree is as it was, array by array."
    rng = np.random.default_rng(0)
    codes, more = rng.integers(0, 256, (60, 4), dtype=np.uint8), rng.integers(0, 256, (200, 4), dtype=np.uint8)
    tree = MergeTree(shape=(4, 4, 4)).fit(codes)
    before = arrays_of(tree)

    def broken(*args, **more):
        raise MemoryError(step)

    for module in STEPS[step]:
        monkeypatch.setattr(f'tree_privacy.tree.{module}.{step}', broken)
    calls = dict(fit=lambda: tree.fit(more), insert=lambda: tree.insert(more), remove=lambda: tree.remove([3]),
                 refresh=tree.refresh)
    try:
        calls[call]()
    except MemoryError:
        for name, v in before.items():
            assert (getattr(tree, name) == v).all(), name
    else:
        assert (call, step) in UNUSED, 'this step is part of it, and nothing failed'


def test_a_change_leaves_arrays_that_were_taken_before():
    "Who holds the arrays of a tree keeps them as they were: a change makes new ones."
    rng = np.random.default_rng(0)
    tree = MergeTree().fit(rng.integers(0, 256, (60, 4), dtype=np.uint8))
    held = {name: v for name, v in vars(tree).items() if name.endswith('_')}
    before = arrays_of(tree)
    tree.insert(rng.integers(0, 256, (200, 4), dtype=np.uint8)).remove([3]).refresh()
    for name, v in before.items():
        assert (held[name] == v).all(), name


def test_growing_refuses():
    "Bad calls are refused by name and leave the tree as it was."
    codes = np.random.default_rng(0).integers(0, 256, (50, 4), dtype=np.uint8)
    tree = MergeTree().fit(codes)
    before = arrays_of(tree)
    wrong = [(codes[:, :2], '16 bits'), (codes.astype(int), 'wanted packed codes'),
             (codes[:0], 'wanted packed codes'), (codes[0], 'wanted packed codes')]
    for bad, say in wrong:
        with pytest.raises(InputError, match=say):
            tree.insert(bad)
        with pytest.raises(InputError, match=say):
            tree.score(bad)
    for sizes in (np.ones(49, int), np.zeros(50, int), np.ones(50), [[1]] * 50, 'x'):
        with pytest.raises(InputError, match='sizes are'):
            tree.insert(codes, sizes)
        with pytest.raises(InputError, match='sizes are'):
            MergeTree().fit(codes, sizes=sizes)
    for ids in ([50], [-1], [1.5], 3, [[1]], ['a'], [True]):
        with pytest.raises(InputError, match='ids are'):
            tree.remove(ids)
    with pytest.raises(InputError, match='at least one'):
        tree.remove(np.arange(50))
    for name, v in before.items():
        assert (getattr(tree, name) == v).all(), name
    with pytest.raises(InputError, match='never looks back'):
        MergeTree('checked').fit(codes).refresh()
    for empty in (lambda t: t.insert(codes), lambda t: t.remove([0]), lambda t: t.refresh(), lambda t: t.score(codes)):
        with pytest.raises(InputError, match='call fit'):
            empty(MergeTree())
