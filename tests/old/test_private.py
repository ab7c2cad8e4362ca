"The locks that hold: same results as the plain search, and whatever is forged, damaged or another's is refused."
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tree_privacy import private_locks
from tree_privacy.data import InputError
from tree_privacy.measures import hamming
from tree_privacy.private_locks import (N, PRIME_BITS, ROW, Checks, HomomorphicCloud, HomomorphicKey, ask, decrypted, forged, lock_codes, modulus,
                                        multiplied, open_scores, packed, publish_codes, random_polynomials, read_key, unpacked, wanted_of)

few = settings(max_examples=12, deadline=None)
key = HomomorphicKey.generate()


def opened(key, reply, code, codes, secret=b'c' * 32):
    checks = Checks(secret, len(codes))
    return open_scores(key, reply, 8 * len(code), checks, wanted_of(checks.sums(codes), code))


def some(n, d, seed=0): return np.random.default_rng(seed).integers(0, 256, (n, d // 8), dtype=np.uint8)


@pytest.fixture(scope='module')
def small():
    "300 codes of 16 bits, and their cloud."
    codes = some(300, 16)
    return codes, HomomorphicCloud(lock_codes(key, codes))


@few
@given(st.integers(1, 40), st.sampled_from([8, 16, 128, 248, 256]), st.integers(0, 2 ** 30), st.booleans())
def test_distances_are_exact(n, d, seed, public):
    "For any codes and queries, equal and opposite ones included, and through the key's bytes."
    codes = some(n, d, seed)
    query = np.random.default_rng(seed + 1).choice([codes[0], ~codes[-1], some(1, d, seed + 2)[0]])
    again = HomomorphicKey(key.data)
    cloud = HomomorphicCloud(publish_codes(codes) if public else lock_codes(key, codes))
    found = opened(again, cloud.scores(ask(again, query)), query, codes)
    assert found.tolist() == hamming(query[None], codes)[0].tolist()


def test_more_than_one_chunk():
    "Codes beyond the first 2,048 are found as well, and the last chunk's unused places hold zeros."
    codes, query = some(2 * N + 5, 8), some(1, 8, 1)[0]
    reply = HomomorphicCloud(lock_codes(key, codes)).scores(ask(key, query))
    assert reply.shape == (3, 3, ROW) and opened(key, reply, query, codes).tolist() == hamming(query[None], codes)[0].tolist()
    assert (decrypted(key, reply)[len(codes):] == 0).all()


@few
@given(st.integers(0, 2 ** 30), st.integers(1, 3))
def test_packing(seed, m):
    "Numbers of 53 bits come back, largest and smallest included; multiplication modulo q is that of whole numbers."
    rng = np.random.default_rng(seed)
    numbers = rng.choice(np.concatenate([rng.integers(0, 2 ** PRIME_BITS, 50, np.uint64), np.array([0, 1, 2 ** PRIME_BITS - 1], np.uint64)]), (m, 2, N))
    assert (unpacked(packed(numbers)) == numbers).all() and packed(numbers).shape == (m, 2, ROW)
    a, b = (rng.choice(np.array([0, 1, 2, modulus() - 1, modulus() - 2, *rng.integers(0, modulus(), 5)], np.uint64), 200) for _ in range(2))
    assert multiplied(a, b, np.uint64(modulus())).tolist() == [int(x) * int(y) % modulus() for x, y in zip(a, b)]


def test_nothing_repeats():
    "Equal codes, and equal queries: other ciphertexts, seeds and lengths of one size."
    table = lock_codes(key, np.zeros((2, 1), np.uint8))
    assert len({parts.tobytes() for parts in table[0]}) == 8
    asked = [ask(key, np.zeros(2, np.uint8)) for _ in range(20)] + [ask(key, np.full(2, 255, np.uint8))]
    assert len({a['seed'].tobytes() for a in asked}) == 21 and len({row.tobytes() for a in asked for row in a['first']}) == 21 * 16
    assert len({a['first'].shape for a in asked}) == 1


def test_random_polynomials_are_uniform():
    "Below q, and as flat as chance allows in sixteen boxes."
    x = random_polynomials(b's' * 32, 50).ravel()
    assert x.max() < modulus() and (random_polynomials(b's' * 32, 3) == x.reshape(50, N)[:3]).all()
    boxes = np.bincount((x >> np.uint64(PRIME_BITS - 4)).astype(int), minlength=16)
    assert (np.abs(boxes - len(x) / 16) < 6 * (len(x) / 16) ** .5).all()


def test_another_key_opens_nothing(small):
    codes, cloud = small
    other = HomomorphicKey.generate()
    reply = cloud.scores(ask(key, codes[0]))
    with pytest.raises(InputError, match='forged'): opened(other, reply, codes[0], codes)
    with pytest.raises(InputError, match='forged'): opened(key, cloud.scores(ask(other, codes[0])), codes[0], codes)


@pytest.mark.parametrize('how', ['another query', 'another collection', 'one number', 'swapped parts', 'zeros', 'the secret', 'one score', 'unused places'])
def test_replies_are_verified(small, how):
    "Whatever the cloud changes, the check fails before a distance is given; without the change it passes."
    codes, cloud = small
    reply = cloud.scores(ask(key, codes[0]))
    opened(key, reply, codes[0], codes)
    numbers = unpacked(reply).copy()
    if how == 'one number': numbers[0, 0, 7] = (numbers[0, 0, 7] + np.uint64(1)) % np.uint64(modulus())
    if how == 'swapped parts': numbers[0, :2] = numbers[0, 1::-1]
    if how == 'zeros': numbers[:] = 0
    if how == 'one score': numbers[0, 0] = (numbers[0, 0] + private_locks.points_of(np.eye(1, N, 3, dtype=np.int64)[0])) % np.uint64(modulus())
    if how == 'unused places': numbers[0, 0] = (numbers[0, 0] + private_locks.points_of(np.eye(1, N, 2000, dtype=np.int64)[0])) % np.uint64(modulus())
    changed = {'another query': cloud.scores(ask(key, codes[1])), 'another collection': HomomorphicCloud(lock_codes(key, codes[::-1].copy())).scores(ask(key, codes[0])),
               'the secret': forged(1, 0, 1)}.get(how, packed(numbers))
    with pytest.raises(InputError, match='forged'): opened(key, changed, codes[0], codes)


def test_the_forgery_reads_the_key_of_who_does_not_verify(small):
    "On a twin without the check all coefficients are read, with any number of results; with the check none."
    codes, cloud = small
    def careless(k): return lambda reply: np.argsort((16 - decrypted(key, reply)[:300]) * 129 % 257, kind='stable')[:k]
    for k in (1, 10): assert read_key(1, 300, careless(k)).data[-8 * N:] == key.data[-8 * N:]
    with pytest.raises(InputError, match='forged'): read_key(1, 300, lambda reply: opened(key, reply, codes[0], codes).argsort()[:10])


@pytest.mark.parametrize('codes', [np.zeros((0, 8), np.uint8), np.zeros(8, np.uint8), np.zeros((2, 8)), np.zeros((2, 33), np.uint8)])
def test_codes_that_do_not_fit(codes):
    with pytest.raises(InputError, match='wanted|at most'): lock_codes(key, codes)


@pytest.mark.parametrize('code', [np.zeros(0, np.uint8), np.zeros((1, 8), np.uint8), np.zeros(8), np.zeros(33, np.uint8)])
def test_queries_that_do_not_fit(code):
    with pytest.raises(InputError, match='wanted a packed code'): ask(key, code)


def test_misshapen_messages(small):
    "Requests and replies of other shapes or types, and numbers that are none modulo q."
    codes, cloud = small
    good, reply = ask(key, codes[0]), cloud.scores(ask(key, codes[0]))
    for bad in (dict(good, seed=good['seed'][:31]), dict(good, first=good['first'][:-1]), dict(good, first=good['first'].astype(np.int16)), dict(good, first=good['first'][:, 1:])):
        with pytest.raises(InputError, match='not for 16 columns'): cloud.scores(bad)
    for bad in (reply[:, :1], reply[:, :, 1:], reply.astype(int), np.concatenate([reply, reply])):
        with pytest.raises(InputError, match='wanted uint8'): opened(key, bad, codes[0], codes)
    with pytest.raises(InputError, match='no ciphertext'): opened(key, np.full_like(reply, 255), codes[0], codes)
    with pytest.raises(InputError, match='no ciphertext'): cloud.scores(dict(good, first=np.full_like(good['first'], 255)))
    with pytest.raises(InputError, match='forged'): opened(key, reply[:, :2], codes[0], codes)
    with pytest.raises(InputError, match='wanted'): HomomorphicCloud(np.zeros((1, 8, N), np.uint64))
    for data in (b'', b'x' * 100, key.data[:-1], key.data[:50] + bytes(len(key.data) - 50)):
        with pytest.raises(InputError, match='no key'): HomomorphicKey(data)


def test_the_cloud_cannot_decrypt(small):
    "The cloud's object holds one array of whole numbers, in which the key's do not occur, and SEAL makes no decryptor without a key."
    import seal
    _, cloud = small
    assert {name: type(x) for name, x in vars(cloud).items()} == {'table': np.ndarray} and cloud.table.dtype == np.uint64
    assert not np.isin(np.frombuffer(key.data[-8 * N:], np.uint64), cloud.table).any()
    with pytest.raises(ValueError): seal.Decryptor(private_locks.ring().context, seal.SecretKey())


@pytest.mark.parametrize('d', [1, 2, 256])
def test_sums_of_products(d):
    "For the largest numbers, and for random ones: what whole numbers give."
    rng, q = np.random.default_rng(d), modulus()
    for a, b in (np.full((2, d, 2, N), q - 1, np.uint64), rng.integers(0, q, (2, d, 2, N), np.uint64)):
        out = np.empty((3, N), np.uint64)
        private_locks.sum_of_products(a, b, np.uint64(q), out)
        for i in (0, 255, 256, N - 1):
            x, y = ([[int(v) for v in row[:, i]] for row in m] for m in (a, b))
            true = [sum(p[0] * r[0] for p, r in zip(x, y)), sum(p[0] * r[1] + p[1] * r[0] for p, r in zip(x, y)), sum(p[1] * r[1] for p, r in zip(x, y))]
            assert out[:, i].tolist() == [v % q for v in true]
        private_locks.sum_of_multiples(a[:, :1], b, np.uint64(q), out[:2])
        x, y = [int(v) for v in a[:, 0, 7]], [[int(v) for v in row] for row in b[:, :, 7]]
        assert out[:2, 7].tolist() == [sum(p * r[part] for p, r in zip(x, y)) % q for part in range(2)]
