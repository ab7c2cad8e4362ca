"Arithmetic modulo a prime: what Python's whole numbers give, and the same bits with numba and without."
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tree_privacy.crypto import modular
from tree_privacy.crypto.modular import multiply_mod, residues, select_rows, sum_of_products
from tree_privacy.kernels import numba_installed

Q = 9007199254614017  # 53 bits, of the homomorphic lock
PRIMES = [34359451649, 34359697409]  # 35 bits, of private retrieval
few = settings(max_examples=12, deadline=None)
needs_numba = pytest.mark.skipif(not numba_installed(), reason='numba is not installed')
seeds = st.integers(0, 2 ** 32 - 1)


def edges(q, shape, seed=0):
    "Numbers below q, smallest and largest ones among them."
    rng = np.random.default_rng(seed)
    pool = np.array([0, 1, 2, q // 2, q - 2, q - 1, *rng.integers(0, q, 5)], np.uint64)
    return rng.choice(pool, shape)


@few
@given(seeds, st.sampled_from([Q, *PRIMES, 257]))
def test_products(seed, q):
    a, b = edges(q, 200, seed), edges(q, 200, seed + 1)
    assert multiply_mod(a, b, q).tolist() == [int(x) * int(y) % q for x, y in zip(a, b, strict=True)]


def test_products_of_any_shape():
    "Shapes are matched as numpy does it, and inputs that are not contiguous are fine."
    a, b = edges(Q, (3, 1, 8)), edges(Q, (5, 16), 1)[:, ::2]
    found = multiply_mod(a, b, Q)
    assert found.shape == (3, 5, 8)
    for i, j, k in np.ndindex(found.shape):
        assert int(found[i, j, k]) == int(a[i, 0, k]) * int(b[j, k]) % Q
    assert (multiply_mod(a, np.uint64(1), Q) == a).all()
    assert multiply_mod(np.zeros(0, np.uint64), np.zeros(0, np.uint64), Q).shape == (0,)


@needs_numba
@pytest.mark.parametrize('size', [0, 1, 1000])
def test_products_are_the_same_with_numba(size):
    a, b = edges(Q, size), edges(Q, size, 1)
    plain, compiled = np.empty(size, np.uint64), np.empty(size, np.uint64)
    modular._multiply.plain(a, b, np.uint64(Q), plain)
    modular._multiply.compiled(a, b, np.uint64(Q), compiled)
    assert plain.tobytes() == compiled.tobytes()


@pytest.mark.parametrize('d', [1, 2, 256])
@pytest.mark.parametrize('parts', [1, 2])
def test_sums_of_products(d, parts):
    "For the largest numbers, and for random ones: what whole numbers give."
    n = 600  # two blocks of the kernel and a part of a third
    rng = np.random.default_rng(d)
    largest = np.full((2, d, 2, n), Q - 1, np.uint64)
    for a, b in (largest, rng.integers(0, Q, (2, d, 2, n), np.uint64)):
        found = sum_of_products(a[:, :parts], b, Q)
        assert found.shape == (parts + 1, n)
        for i in (0, 255, 256, n - 1):
            x = [[int(v) for v in row[:parts, i]] for row in a]
            y = [[int(v) for v in row[:, i]] for row in b]
            true = [0] * (parts + 1)
            for column, constant in zip(x, y, strict=True):
                for p in range(parts):
                    for r in range(2):
                        true[p + r] += column[p] * constant[r]
            assert found[:, i].tolist() == [v % Q for v in true]


@needs_numba
@pytest.mark.parametrize('parts', [1, 2])
@pytest.mark.parametrize('n', [1, 255, 600])
def test_sums_are_the_same_with_numba(parts, n):
    columns, constants = edges(Q, (256, parts, n)), edges(Q, (256, 2, n), 1)
    plain, compiled = np.ones((2, parts + 1, n), np.uint64)
    modular._sum_of_products.plain(columns, constants, np.uint64(Q), plain)
    modular._sum_of_products.compiled(columns, constants, np.uint64(Q), compiled)
    assert plain.tobytes() == compiled.tobytes()


@few
@given(seeds, st.integers(1, 256), st.integers(1, 3))
def test_chosen_rows(seed, cells, chunks):
    "A one and zeros choose a cell; any numbers give what whole numbers give."
    table = np.stack([edges(p, (cells, chunks, 5), seed) for p in PRIMES], axis=2)
    chosen = seed % cells
    ones = np.zeros((cells, 2, 2, 5), np.uint64)
    ones[chosen, 0] = 1
    found = select_rows(ones, table, PRIMES)
    assert (found[0] == table[chosen]).all() and (found[1] == 0).all()
    selections = np.stack([edges(p, (cells, 2, 5), seed + 1) for p in PRIMES], axis=2)
    found = select_rows(selections, table, PRIMES)
    for p, prime in enumerate(PRIMES):
        true = sum(int(selections[c, 1, p, 4]) * int(table[c, chunks - 1, p, 4]) for c in range(cells))
        assert int(found[1, chunks - 1, p, 4]) == true % prime


@needs_numba
@pytest.mark.parametrize('cells', [1, 256])
def test_chosen_rows_are_the_same_with_numba(cells):
    "Also for the largest numbers."
    primes = np.array(PRIMES, np.uint64)
    largest = np.broadcast_to(primes[:, None] - np.uint64(1), (cells, 2, 2, 7)).copy()
    shape = cells, 2, 2, 7
    for selections, table in ((largest, largest), (edges(PRIMES[0], shape), edges(PRIMES[0], shape, 1))):
        plain, compiled = np.ones((2, 2, 2, 2, 7), np.uint64)
        modular._select.plain(selections, table, primes, plain)
        modular._select.compiled(selections, table, primes, compiled)
        assert plain.tobytes() == compiled.tobytes()


@few
@given(seeds, st.sampled_from([Q, *PRIMES, 5, 257]))
def test_residues(seed, prime):
    "All below the prime, in the order of the stream, and as flat as chance allows in five boxes."
    stream = np.random.default_rng(seed).bytes(8 * 20_000)
    found = residues(stream, prime, 5000)
    assert len(found) == 5000 and int(found.max()) < prime
    mask = 2 ** prime.bit_length() - 1
    first = [int(v) & mask for v in np.frombuffer(stream, '<u8')[:50]]
    kept = [v for v in first if v < prime]
    assert found[:len(kept)].tolist() == kept
    boxes = np.bincount((found.astype(float) * 5 / prime).astype(int).clip(0, 4), minlength=5)
    expected = len(found) / 5
    if prime > 300 or prime == 5:
        assert (np.abs(boxes - expected) < 6 * expected ** .5).all()
