"Scoring under encryption: the distances of plain comparison, and whatever is forged, damaged or another's is refused."
import os

import numpy as np
import pytest
import seal
from hypothesis import given, settings
from hypothesis import strategies as st

from tree_privacy.bits import hamming
from tree_privacy.core import ForgedReply, FormatError, InputError
from tree_privacy.crypto.ring import RingKey, pack_numbers, unpack_numbers
from tree_privacy.locks.homomorphic import (
    POLYNOMIAL_BYTES,
    PRIME_BITS,
    N,
    ScoreCheck,
    decrypt_scores,
    encode_codes,
    encrypt_codes,
    encrypt_query,
    encrypted_scores,
    expected_sums,
    modulus,
    open_scores,
    scoring_key,
    scoring_ring,
    second_polynomials,
)

few = settings(max_examples=12, deadline=None)
key = scoring_key(os.urandom(32))


def opened(key, reply, code, codes, secret=b'c' * 32):
    check = ScoreCheck(secret, len(codes))
    return open_scores(key, reply, 8 * len(code), check, expected_sums(check.sums(codes), code))


def some(n, bits, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, bits // 8), dtype=np.uint8)


def monomial(power):
    "One coefficient, at the points where products are taken"
    return scoring_ring().to_ntt(np.eye(1, N, power, dtype=np.int64)[0])[0]


@pytest.fixture(scope='module')
def small():
    "300 codes of 16 bits, and their table."
    codes = some(300, 16)
    return codes, encrypt_codes(key, codes)


@few
@given(st.integers(1, 40), st.sampled_from([8, 16, 128, 248, 256]), st.integers(0, 2 ** 30), st.booleans())
def test_distances_are_exact(n, bits, seed, public):
    "For any codes and queries, equal and opposite ones included, and through the key's bytes."
    codes = some(n, bits, seed)
    choices = [codes[0], ~codes[-1], some(1, bits, seed + 2)[0]]
    query = choices[np.random.default_rng(seed + 1).integers(3)]
    again = RingKey(scoring_ring(), key.data)
    table = encode_codes(codes) if public else encrypt_codes(key, codes)
    found = opened(again, encrypted_scores(table, encrypt_query(again, query)), query, codes)
    assert found.tolist() == hamming(query[None], codes)[0].tolist()


def test_more_than_one_chunk():
    "Codes beyond the first 2,048 are found as well, and the last chunk's unused places hold zeros."
    codes, query = some(2 * N + 5, 8), some(1, 8, 1)[0]
    reply = encrypted_scores(encrypt_codes(key, codes), encrypt_query(key, query))
    assert reply.shape == (3, 3, POLYNOMIAL_BYTES)
    assert opened(key, reply, query, codes).tolist() == hamming(query[None], codes)[0].tolist()
    assert (decrypt_scores(key, reply)[len(codes):] == 0).all()


def test_nothing_repeats():
    "Equal codes, and equal queries: other ciphertexts, seeds and lengths of one size."
    table = encrypt_codes(key, np.zeros((2, 1), np.uint8))
    assert len({parts.tobytes() for parts in table[0]}) == 8
    codes = [np.zeros(2, np.uint8)] * 20 + [np.full(2, 255, np.uint8)]
    asked = [encrypt_query(key, code) for code in codes]
    assert len({a['seed'].tobytes() for a in asked}) == 21
    assert len({row.tobytes() for a in asked for row in a['first']}) == 21 * 16
    assert len({a['first'].shape for a in asked}) == 1


def test_second_polynomials_are_uniform():
    "Below q, and as flat as chance allows in sixteen boxes."
    x = second_polynomials(b's' * 32, 50).ravel()
    assert x.max() < modulus() and (second_polynomials(b's' * 32, 3) == x.reshape(50, N)[:3]).all()
    boxes = np.bincount((x >> np.uint64(PRIME_BITS - 4)).astype(int), minlength=16)
    assert (np.abs(boxes - len(x) / 16) < 6 * (len(x) / 16) ** .5).all()


def test_another_key_opens_nothing(small):
    codes, table = small
    other = scoring_key(os.urandom(32))
    reply = encrypted_scores(table, encrypt_query(key, codes[0]))
    with pytest.raises(ForgedReply, match='forged'):
        opened(other, reply, codes[0], codes)
    with pytest.raises(ForgedReply, match='forged'):
        opened(key, encrypted_scores(table, encrypt_query(other, codes[0])), codes[0], codes)


HOW = ['another query', 'another collection', 'one number', 'swapped parts', 'zeros', 'the secret', 'one score',
       'unused places', 'two parts']


@pytest.mark.parametrize('how', HOW)
def test_replies_are_verified(small, how):
    "Whatever the cloud changes, the check fails before a distance is given; without the change it passes."
    codes, table = small
    reply = encrypted_scores(table, encrypt_query(key, codes[0]))
    opened(key, reply, codes[0], codes)
    numbers, q = unpack_numbers(reply, PRIME_BITS).copy(), np.uint64(modulus())
    if how == 'one number':
        numbers[0, 0, 7] = (numbers[0, 0, 7] + np.uint64(1)) % q
    if how == 'swapped parts':
        numbers[0, :2] = numbers[0, 1::-1]
    if how == 'zeros':
        numbers[:] = 0
    if how == 'the secret':
        numbers[:] = 0
        numbers[0, 1] = 2 * monomial(0) % q
    if how in ('one score', 'unused places'):
        numbers[0, 0] = (numbers[0, 0] + monomial(3 if how == 'one score' else 2000)) % q
    changed = pack_numbers(numbers, PRIME_BITS)
    if how == 'another query':
        changed = encrypted_scores(table, encrypt_query(key, codes[1]))
    if how == 'another collection':
        changed = encrypted_scores(encrypt_codes(key, codes[::-1].copy()), encrypt_query(key, codes[0]))
    if how == 'two parts':
        changed = reply[:, :2]
    with pytest.raises(ForgedReply, match='forged') as error:
        opened(key, changed, codes[0], codes)
    assert error.value.key_is_exposed


def test_a_reply_of_before_fits_no_more(small):
    "Every query is multiplied by a secret factor: with another factor the scores are others."
    codes, table = small
    check = ScoreCheck(b'c' * 32, len(codes))
    expected = expected_sums(check.sums(codes), codes[0])
    reply = encrypted_scores(table, encrypt_query(key, codes[0], 17))
    true = hamming(codes[:1], codes)[0]
    assert (open_scores(key, reply, 16, check, expected, 17) == true).all()
    for factor in (1, 16, 18, 256):
        with pytest.raises(ForgedReply):
            open_scores(key, reply, 16, check, expected, factor)


@pytest.mark.parametrize('codes', [np.zeros((0, 8), np.uint8), np.zeros(8, np.uint8), np.zeros((2, 8)),
                                   np.zeros((2, 33), np.uint8)])
def test_codes_that_do_not_fit(codes):
    with pytest.raises(InputError, match='wanted|at most'):
        encrypt_codes(key, codes)


@pytest.mark.parametrize('code', [np.zeros(0, np.uint8), np.zeros((1, 8), np.uint8), np.zeros(8),
                                  np.zeros(33, np.uint8)])
def test_queries_that_do_not_fit(code):
    with pytest.raises(InputError, match='wanted a packed code'):
        encrypt_query(key, code)


def test_misshapen_messages(small):
    "Requests and replies of other shapes or types, and numbers that are none modulo q."
    codes, table = small
    good = encrypt_query(key, codes[0])
    reply, first = encrypted_scores(table, good), good['first']
    for wrong in (dict(seed=good['seed'][:31]), dict(first=first[:-1]), dict(first=first.astype(np.int16)),
                  dict(first=first[:, 1:])):
        with pytest.raises(FormatError, match='not for 16 columns'):
            encrypted_scores(table, good | wrong)
    for wrong in (reply[:, :1], reply[:, :, 1:], reply.astype(int), np.concatenate([reply, reply])):
        with pytest.raises(FormatError, match='wanted uint8'):
            opened(key, wrong, codes[0], codes)
    with pytest.raises(FormatError, match='no ciphertext'):
        opened(key, np.full_like(reply, 255), codes[0], codes)
    with pytest.raises(FormatError, match='no ciphertext'):
        encrypted_scores(table, dict(good, first=np.full_like(first, 255)))


def test_the_table_cannot_decrypt(small):
    "What the cloud has is one array of whole numbers, in which the key's do not occur."
    _, table = small
    assert table.dtype == np.uint64 and not np.isin(key.values[0], table).any()
    with pytest.raises(ValueError):
        seal.Decryptor(scoring_ring().context, seal.SecretKey())
