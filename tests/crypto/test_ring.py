"SEAL by arrays: what goes in comes out, and what is no key, no ciphertext or not secure is refused."
import numpy as np
import pytest
import seal
from hypothesis import given, settings
from hypothesis import strategies as st

from tree_privacy.core import FormatError, InputError
from tree_privacy.crypto import ring as ring_module
from tree_privacy.crypto.modular import multiply_mod, sum_of_products
from tree_privacy.crypto.ring import (
    Ring,
    RingKey,
    binomial_errors,
    encrypt_constants,
    load_galois_keys,
    ntt_primes,
    pack_numbers,
    random_polynomials,
    ternary,
    unpack_numbers,
)
from tree_privacy.kernels import numba_installed

N, T, BITS = 2048, 257, 53
few = settings(max_examples=12, deadline=None)
needs_numba = pytest.mark.skipif(not numba_installed(), reason='numba is not installed')
seeds = st.integers(0, 2 ** 30)
ring = Ring('bgv', N, ntt_primes(N, [BITS]), T)
prime, = ring.primes
key = RingKey.generate(ring)


def unit(power, value=1):
    "(N,) int64: one coefficient."
    return np.eye(1, N, power, dtype=np.int64)[0] * value


@few
@given(seeds, st.integers(1, 3), st.sampled_from([35, 53, 8, 12]))
def test_packing(seed, m, bits):
    "Numbers come back, largest and smallest included."
    rng = np.random.default_rng(seed)
    pool = np.array([0, 1, 2 ** bits - 1, *rng.integers(0, 2 ** bits, 50)], np.uint64)
    numbers = rng.choice(pool, (m, 2, N))
    packed = pack_numbers(numbers, bits)
    assert packed.shape == (m, 2, N * bits // 8) and packed.dtype == np.uint8
    assert (unpack_numbers(packed, bits) == numbers).all()
    assert (unpack_numbers(pack_numbers(numbers[:, ::2, ::2], bits), bits) == numbers[:, ::2, ::2]).all()


@needs_numba
@pytest.mark.parametrize('bits', [1, 8, 35, 53, 56])
@pytest.mark.parametrize('n', [8, 64])
def test_packing_is_the_same_with_numba(bits, n):
    "And lowest bits come first, as one whole number would have them."
    numbers = np.random.default_rng(bits).integers(0, 2 ** bits, (5, n), np.uint64)
    plain, compiled = np.zeros((2, 5, n * bits // 8), np.uint8)
    ring_module._pack.plain(numbers, bits, plain)
    ring_module._pack.compiled(numbers, bits, compiled)
    assert plain.tobytes() == compiled.tobytes()
    whole = sum(int(v) << bits * i for i, v in enumerate(numbers[0]))
    assert plain[0].tobytes() == whole.to_bytes(n * bits // 8, 'little')
    back, again = np.zeros((2, 5, n), np.uint64)
    ring_module._unpack.plain(plain, bits, back)
    ring_module._unpack.compiled(plain, bits, again)
    assert back.tobytes() == again.tobytes() == numbers.tobytes()


@few
@given(seeds)
def test_plaintexts_and_ciphertexts_come_back(seed):
    row = np.random.default_rng(seed).integers(-T, 2 * T, N)
    assert (ring.coefficients(ring.plaintext_from(row)) == row % T).all()
    parts = key.encrypt(row)
    assert parts.shape == (2, 1, N) and parts.dtype == np.uint64 and int(parts.max()) < prime
    assert (key.decrypt(parts) == row % T).all()
    assert (ring.ciphertext_arrays([ring.ciphertext_from(parts)])[0] == parts).all()


def test_ntt_turns_products_of_polynomials_into_products_of_numbers():
    "x to the 5 times x to the N - 2 is -x to the 3; a constant is the same everywhere."
    product = multiply_mod(ring.to_ntt(unit(5)), ring.to_ntt(unit(N - 2)), prime)
    assert (product == ring.to_ntt(unit(3, -1))).all()
    assert (ring.to_ntt(unit(0, -1)) == prime - 1).all()
    wide = Ring('bfv', 4096, ntt_primes(4096, [35, 35, 36]), 65537)
    three = np.eye(1, 4096, dtype=np.int64)[0] * 3
    assert wide.to_ntt(three).tolist() == [[3] * 4096] * 2


def test_products_are_those_of_seal():
    "The sum of three products, by our arithmetic and by SEAL's."
    pairs = [(key.encrypt(np.arange(N) * i), key.encrypt(np.arange(N) * (i + 3))) for i in (1, 2, 3)]
    total = None
    for x, y in pairs:
        one = ring.evaluator.multiply(ring.ciphertext_from(x), ring.ciphertext_from(y))
        total = one if total is None else ring.evaluator.add(total, one)
    columns, constants = (np.stack(some)[:, :, 0] for some in zip(*pairs, strict=True))
    assert (sum_of_products(columns, constants, prime) == ring.ciphertext_arrays([total])[0][:, 0]).all()


def test_keys_from_coefficients():
    "What SEAL would write, written by us: it works for SEAL, holds the coefficients, and other keys open nothing."
    small = ternary(b's' * 32, N)
    made = RingKey.from_coefficients(ring, small)
    assert made.data == RingKey.from_coefficients(ring, small).data and len(made.data) == len(key.data)
    assert (made.values == ring.to_ntt(small)).all()
    row = np.arange(N) % T
    assert (made.decrypt(made.encrypt(row)) == row).all() and (made.decrypt(key.encrypt(row)) != row).mean() > .9
    again = RingKey(ring, made.data)
    assert (again.decrypt(made.encrypt(row)) == row).all()
    nothing = np.zeros((2, 1, N), np.uint64)
    nothing[1, 0] = ring.to_ntt(unit(0))[0]  # the ciphertext (0, 1) opens to the secret itself
    assert (made.decrypt(nothing) == small % T).all()


def test_ternary_coefficients():
    "All three as likely, others for every secret."
    rows = np.stack([ternary(bytes([i]) * 32, 4096) for i in range(20)])
    counts = np.bincount(rows.ravel() + 1, minlength=3)
    assert len(counts) == 3 and (np.abs(counts - rows.size / 3) < 6 * (rows.size / 3) ** .5).all()
    assert len({row.tobytes() for row in rows}) == 20


def test_nothing_repeats():
    "Equal rows and equal constants: other ciphertexts every time."
    made = [key.encrypt(unit(0)) for _ in range(20)]
    assert len({part.tobytes() for parts in made for part in parts}) == 40
    second = random_polynomials(bytes(32), 4, N, prime)
    first = [encrypt_constants(key, np.zeros(4), second) for _ in range(20)]
    assert len({row.tobytes() for rows in first for row in rows}) == 80


def test_constants_under_given_polynomials():
    "They open to what was encrypted; smallest and largest constants included."
    constants = np.array([0, 1, -1, T // 2, -(T // 2)])
    second = random_polynomials(b'x' * 32, len(constants), N, prime)
    first = encrypt_constants(key, constants, second)
    for c0, c1, constant in zip(first, second, constants, strict=True):
        opened = key.decrypt(np.stack([c0, c1])[:, None])
        assert opened[0] == constant % T and not opened[1:].any()


def test_random_polynomials_are_uniform():
    "Below q, and as flat as chance allows in sixteen boxes."
    x = random_polynomials(b's' * 32, 50, N, prime)
    assert int(x.max()) < prime and (random_polynomials(b's' * 32, 3, N, prime) == x[:3]).all()
    boxes = np.bincount((x.ravel() >> np.uint64(BITS - 4)).astype(int), minlength=16)
    assert (np.abs(boxes - x.size / 16) < 6 * (x.size / 16) ** .5).all()
    narrow = random_polynomials(b's' * 32, 50, 4096, 34359451649)  # one number in a hundred thousand is left out
    assert narrow.shape == (50, 4096) and int(narrow.max()) < 34359451649


def test_errors():
    "The centred binomial distribution of 21 and 21 coins."
    errors = binomial_errors(200, N)
    assert np.abs(errors).max() <= 21 and abs(errors.mean()) < .03 and abs(errors.var() - 10.5) < .15
    assert (binomial_errors(1, N) != binomial_errors(1, N)).any()


def test_noise_is_that_of_seal():
    "Our own encryption leaves as much room as SEAL's."
    second = random_polynomials(b'x' * 32, 8, N, prime)
    first = encrypt_constants(key, np.ones(8), second)
    ours = [ring.ciphertext_from(np.stack(pair)[:, None]) for pair in zip(first, second, strict=True)]
    theirs = [ring.ciphertext_from(key.encrypt(unit(0))) for _ in range(8)]
    budgets = [max(key._decryptor.invariant_noise_budget(c) for c in some) for some in (ours, theirs)]
    assert abs(budgets[0] - budgets[1]) <= 1 and budgets[0] >= 35


def test_what_is_no_key():
    other = RingKey.generate(Ring('bgv', N, ntt_primes(N, [52]), T))
    damaged = b'', b'x' * 100, key.data[:-1], key.data[:50] + bytes(len(key.data) - 50), other.data
    for data in damaged:
        with pytest.raises(FormatError, match='no key of this lock'):
            RingKey(ring, data)
    with pytest.raises(ValueError):
        seal.Decryptor(ring.context, seal.SecretKey())  # nobody decrypts without a key


def test_what_is_no_ciphertext():
    "Numbers that are too large, and shapes that SEAL does not know."
    good = key.encrypt(unit(0))
    two_primes = np.concatenate([good, good], axis=1)
    for parts in (np.full_like(good, 2 ** 60), np.full_like(good, prime), good[:, :, :-1], two_primes):
        with pytest.raises(FormatError, match='no ciphertext'):
            ring.ciphertext_from(parts)


def test_what_is_no_galois_key():
    wide = Ring('bfv', 4096, ntt_primes(4096, [35, 35, 36]), 65537)
    good = RingKey.generate(wide).galois_keys([3, 9])
    load_galois_keys(wide, good)
    for data in (b'', good[:1], good[:100], good[:-1], bytes(len(good)), b'\xff' * 10_000, good[::-1]):
        with pytest.raises(FormatError, match='no keys for expanding'):
            load_galois_keys(wide, data)


@pytest.mark.parametrize('scheme, n, bits, t', [
    ('bgv', 2048, [40, 40], 257), ('bfv', 4096, [60, 60], 257), ('bgv', 2048, [53], 0)])
def test_parameters_that_are_not_secure(scheme, n, bits, t):
    with pytest.raises(InputError, match='SEAL refuses these parameters'):
        Ring(scheme, n, ntt_primes(n, bits), t)
