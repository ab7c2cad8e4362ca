"Cutting a tree into buckets: every photograph in one, none too full, at random numbers."
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tree_privacy.bits import pack
from tree_privacy.core import InputError
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.crypto.sealing import Sealer
from tree_privacy.locks.buckets import TreeTop, cut_tree, renumber_buckets, seal_buckets, split_oversized
from tree_privacy.locks.private_walk import capacity_for
from tree_privacy.store.manifest import Collection
from tree_privacy.tree.estimator import MergeTree

few = settings(max_examples=30, deadline=None)


@few
@given(st.integers(1, 120), st.integers(1, 30), st.sampled_from(['balanced', 'original', 'checked']),
       st.integers(0, 2 ** 30))
def test_buckets_hold_everything(n, capacity, rule, seed):
    "Every photograph is in one bucket, none is too full, and only a leaf that is larger than a group is split."
    rng = np.random.default_rng(seed)
    bits = rng.random((max(1, n // 3), 16))[rng.integers(0, max(1, n // 3), n)] < .5
    tree = MergeTree(rule).fit(pack(bits))
    cut = cut_tree(tree, capacity)
    sizes = np.bincount(cut.bucket)
    assert sizes.sum() == n and 1 <= sizes.min() and sizes.max() <= capacity and cut.count == len(sizes)
    assert (np.diff(cut.group_bucket) >= 0).all() and len(cut.means) == len(cut.group_bucket)
    assert set(cut.group_bucket.tolist()) == set(cut.bucket.tolist())
    leaf_buckets = {leaf: set(cut.bucket[tree.leaf_ == leaf].tolist()) for leaf in range(tree.n_leaves_)}
    assert all(len(some) == 1 or (tree.leaf_ == leaf).sum() > capacity // 4 for leaf, some in leaf_buckets.items())


@few
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 9))
def test_split_groups(group, capacity):
    "Pieces have no more than a bucket holds, stay within their group, and are as few as possible."
    group = np.array(group)
    piece, of = split_oversized(group, capacity)
    assert (of[piece] == group).all() and np.bincount(piece).max() <= capacity
    assert len(of) == sum(-(-int((group == g).sum()) // capacity) for g in np.unique(group))


def test_numbers_are_drawn_again():
    "The same buckets under other numbers, never the same twice."
    codes = np.random.default_rng(0).integers(0, 256, (200, 4), np.uint8)
    cut = cut_tree(MergeTree().fit(codes), 10)
    drawn = [renumber_buckets(cut) for _ in range(20)]
    assert len({one.bucket.tobytes() for one in drawn}) == 20
    for one in drawn:
        assert len(set(zip(one.bucket.tolist(), cut.bucket.tolist(), strict=True))) == cut.count
        assert len(set(zip(one.group_bucket.tolist(), cut.group_bucket.tolist(), strict=True))) == cut.count


def test_ids_that_are_used_up():
    "Ids take four bytes in a bucket: a larger one is refused."
    collection = Collection(np.array([2 ** 32]), np.zeros((1, 1), np.uint8), ['a'])
    with pytest.raises(InputError, match='4,294,967,295'):
        seal_buckets(Sealer(OwnerKey.generate(), '00' * 8), 1, np.array([0]), collection)


@pytest.mark.parametrize('n, bits', [(1, 8), (10, 64), (1000, 256), (10 ** 6, 128)])
def test_capacities(n, bits):
    "At least one photograph a bucket; more photographs, larger buckets."
    assert 1 <= capacity_for(n, bits) <= capacity_for(10 * n, bits) and capacity_for(n, bits) <= -(-n // .9)


def test_tree_tops_are_read_again():
    top = TreeTop(np.array([[1., -1.], [.5, .25]], np.float32), np.array([1, 0], np.int32))
    again = TreeTop.from_bytes(top.to_bytes())
    assert (again.means == top.means).all() and (again.group_bucket == top.group_bucket).all()
