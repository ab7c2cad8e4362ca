"Packing, Hamming distances, exhaustive search and ranges of ids against code that is obviously right."

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tree_privacy.bits import (
    check_codes,
    exhaustive,
    from_ranges,
    hamming,
    pack,
    power_of_two,
    signs,
    to_ranges,
)
from tree_privacy.core import InputError

seeds = st.integers(0, 2**32 - 1)


def few(examples):
    return settings(deadline=None, max_examples=examples)


@few(60)
@given(seeds, st.integers(1, 20), st.integers(1, 20), st.integers(1, 33))
def test_codes_against_brute_force(seed, m, n, width):
    "Packing, signs and Hamming distances agree with bits counted one by one, also where codes fill no whole word."
    rng = np.random.default_rng(seed)
    a, b = rng.random((m, 8 * width)) < 0.5, rng.random((n, 8 * width)) < 0.5
    assert pack(a).shape == (m, width) and (signs(pack(a)) == np.where(a, 1, -1)).all()
    by_hand = [int(''.join('01'[int(v)] for v in a[0, 8 * i : 8 * i + 8]), 2) for i in range(width)]
    assert [int(x) for x in pack(a)[0]] == by_hand
    apart = [[sum(x != y for x, y in zip(p, q, strict=True)) for q in b.tolist()] for p in a.tolist()]
    assert hamming(pack(a), pack(b)).tolist() == apart
    squares = ((signs(pack(a))[:, None] - signs(pack(b))) ** 2).sum(2)
    assert (squares == 4 * np.array(apart)).all()


@few(30)
@given(seeds, st.integers(1, 12), st.integers(1, 12))
def test_hamming_is_a_distance(seed, n, width):
    "Symmetric, nought for equal codes alone, and no way round is shorter."
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 256, (4, width), dtype=np.uint8)
    codes = kinds[rng.integers(0, 4, n)] ^ np.packbits(rng.random((n, 8 * width)) < 0.5 * rng.random((n, 1)), axis=1)
    h = hamming(codes, codes)
    assert (h == h.T).all() and ((h == 0) == (codes[:, None] == codes).all(2)).all()
    assert (h[:, None] <= h[:, :, None] + h[None]).all()


def test_hamming_refuses_other_lengths():
    with pytest.raises(InputError, match='same encoder'):
        hamming(np.zeros((1, 4), np.uint8), np.zeros((1, 8), np.uint8))


@few(60)
@given(seeds, st.integers(1, 40), st.integers(1, 3), st.integers(1, 50))
def test_exhaustive_search_is_sorting(seed, n, width, k):
    "The k nearest, ties by id, all of them where k is larger than the collection."
    rng = np.random.default_rng(seed)
    codes, query = rng.integers(0, 4, (n, width), dtype=np.uint8), rng.integers(0, 4, width, dtype=np.uint8)
    wanted = sorted((int(np.unpackbits(query ^ code).sum()), i) for i, code in enumerate(codes))[:k]
    ids, distances = exhaustive(codes, query, k)
    assert list(zip(distances.tolist(), ids.tolist(), strict=True)) == wanted


@few(60)
@given(st.sets(st.integers(0, 300)))
def test_ranges(ids):
    "Writing and reading give the ids again; ranges rise and never touch."
    ids = np.array(sorted(ids), np.int64)
    ranges = to_ranges(ids)
    assert from_ranges(ranges).tolist() == ids.tolist() and from_ranges(ranges).dtype == np.int64
    assert all(count > 0 for _, count in ranges)
    assert all(first + count < following for (first, count), (following, _) in zip(ranges, ranges[1:], strict=False))


@given(st.integers(1, 2**40), st.integers(0, 12))
def test_power_of_two(n, exponent):
    size, least = power_of_two(n, 2**exponent), 2**exponent
    assert size >= max(n, least) and size & (size - 1) == 0 and (size == least or size < 2 * n)


@pytest.mark.parametrize(
    'codes',
    [
        None,
        [[1]],
        np.zeros((2, 8)),
        np.zeros(8, np.uint8),
        np.zeros((0, 8), np.uint8),
        np.zeros((2, 0), np.uint8),
        np.zeros((2, 8), np.int8),
        np.zeros((1, 2, 8), np.uint8),
    ],
    ids=repr,
)
def test_codes_that_are_none(codes):
    with pytest.raises(InputError, match='queries are .*: wanted packed codes'):
        check_codes(codes, 'queries')
    check_codes(np.zeros((1, 1), np.uint8))
