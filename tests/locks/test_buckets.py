"Cutting a tree into buckets: every photograph in one, none too full, at random numbers."
import numpy as np
import pytest
from contract.lock_variants import index_of, reply_to, request_of
from hypothesis import given, settings
from hypothesis import strategies as st
from made_codes import below, clustered, near_duplicates

from tree_privacy.bits import hamming, pack, signs
from tree_privacy.core import InputError
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.crypto.sealing import Sealer
from tree_privacy.locks.base import Wanted
from tree_privacy.locks.buckets import (
    Buckets,
    TreeTop,
    bucket_count,
    cut_tree,
    renumber_buckets,
    seal_buckets,
    tree_order,
)
from tree_privacy.locks.private_walk import capacity_for
from tree_privacy.store.manifest import Collection
from tree_privacy.tree.estimator import MergeTree

few = settings(max_examples=30, deadline=None)


@few
@given(st.integers(1, 120), st.integers(1, 30), st.sampled_from(['balanced', 'original', 'checked']),
       st.integers(0, 2 ** 30))
def test_buckets_hold_everything(n, capacity, rule, seed):
    """Every photograph is in one bucket, none is too full and none is empty. Counts follow from n and the capacity
    alone, and groups are means of neighbours in their bucket."""
    rng = np.random.default_rng(seed)
    bits = rng.random((max(1, n // 3), 16))[rng.integers(0, max(1, n // 3), n)] < .5
    codes = pack(bits)
    tree = MergeTree(rule).fit(codes)
    cut = cut_tree(tree, capacity)
    sizes = np.bincount(cut.bucket)
    assert sizes.sum() == n and 1 <= sizes.min() and sizes.max() <= capacity
    assert cut.count == len(sizes) == bucket_count(n, capacity) and cut.room == min(n, capacity)
    groups = min(8, cut.room)
    assert cut.group_bucket.tolist() == np.repeat(np.arange(cut.count), groups).tolist()
    assert cut.means.shape == (cut.count * groups, 16)
    for b in range(cut.count):
        inside = signs(codes[cut.bucket == b])
        mine = cut.means[cut.group_bucket == b]
        assert (mine >= inside.min(0)).all() and (mine <= inside.max(0)).all()


@few
@given(st.integers(1, 80), st.sampled_from(['balanced', 'original', 'checked']), st.integers(0, 2 ** 30))
def test_order_of_a_tree(n, rule, seed):
    "Photographs below any node are neighbours in the order, and the gap before them is that of a node above."
    codes = np.random.default_rng(seed).integers(0, 4, (n, 1), np.uint8)
    tree = MergeTree(rule).fit(codes)
    order, gaps = tree_order(tree)
    assert sorted(order) == list(range(n)) and gaps[0] == 0
    leaves = tree.leaf_[order]
    assert ((np.diff(leaves) == 0) == (gaps[1:] == 0)).all()
    for node in range(tree.n_leaves_, len(tree.size_)):
        members = np.flatnonzero(np.isin(leaves, below(tree, node)))
        assert (np.diff(members) == 1).all() and len(members) == tree.size_[node]
        assert (gaps[members[1:]] <= tree.size_[node]).all() and tree.size_[node] in gaps[members[1:]]


def collections_of(n, width):
    "Collections of equal counts: all codes equal, most of them, random ones, tight clusters"
    rng = np.random.default_rng(0)
    equal = np.repeat(rng.integers(0, 256, (1, width), np.uint8), n, 0)
    most, some = equal.copy(), rng.permutation(n)[:n // 20]
    most[some] = rng.integers(0, 256, (len(some), width), np.uint8)
    return dict(equal=equal, most=most, random=rng.integers(0, 256, (n, width), np.uint8),
                forty=clustered(rng, n, width, 40, .02), two=clustered(rng, n, width, 2, .02))


@pytest.mark.parametrize('n, width, capacity', [(1000, 16, None), (997, 8, 30), (400, 2, 3), (40, 1, 1000)])
@pytest.mark.parametrize('variant', ['walk', 'decoys'])
def test_no_size_tells_how_codes_cluster(variant, n, width, capacity):
    "All files, fields, requests and replies, and what users download once, are equally long for any codes."
    sizes = {}
    for kind, codes in collections_of(n, width).items():
        index = index_of(variant, codes, capacity=capacity)
        query = index.user.query(codes[0], Wanted(10, 3, True))
        request = request_of(index, query)
        sizes[kind] = (index.manifest.fields, len(index.client_data), len(request),
                       len(reply_to(index.server, request)),
                       {name: len(data) for name, data in index.reader.files.items()})
    assert all(size == sizes['random'] for size in sizes.values()), sizes


@pytest.mark.parametrize('kind, least', [('forty', .99), ('two', .75), ('most', .99), ('equal', .99), ('random', .35)])
def test_three_buckets_find_neighbours(kind, least):
    "Recall of ten neighbours in three buckets of a collection, measured when sizes still followed the clusters."
    codes = collections_of(2000, 16)[kind]
    tree, rng = MergeTree().fit(codes), np.random.default_rng(1)
    cut = cut_tree(tree, capacity_for(2000, 128))
    top = TreeTop.from_bytes(TreeTop(cut.means, cut.group_bucket).to_bytes())
    found = []
    for code in near_duplicates(rng, codes, 100):
        distance = hamming(code[None], codes)[0]
        inside = np.isin(cut.bucket, top.choose(code, 3))
        found.append(min(10, (inside & (distance <= np.sort(distance)[9])).sum()) / 10)
    assert np.mean(found) >= least


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
    one = Buckets(np.array([0]), np.zeros((1, 8)), np.array([0]), 1)
    with pytest.raises(InputError, match='4,294,967,295'):
        seal_buckets(Sealer(OwnerKey.generate(), '00' * 8), 1, one, collection)


@pytest.mark.parametrize('n, bits', [(1, 8), (10, 64), (1000, 256), (10 ** 6, 128)])
def test_capacities(n, bits):
    "At least one photograph a bucket; more photographs, larger buckets."
    assert 1 <= capacity_for(n, bits) <= capacity_for(10 * n, bits) and capacity_for(n, bits) <= -(-n // .9)


def test_tree_tops_are_read_again():
    top = TreeTop(np.array([[1., -1.], [.5, .25]], np.float32), np.array([1, 0], np.int32))
    again = TreeTop.from_bytes(top.to_bytes())
    assert (again.means == top.means).all() and (again.group_bucket == top.group_bucket).all()
