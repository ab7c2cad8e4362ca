"Clouds that make up replies: they succeed against a user who does not verify, and fail against the real one."
from types import SimpleNamespace

import numpy as np
import pytest

from tree_privacy.attacks.forgery import changed_rows, forged_reply, read_key
from tree_privacy.bits import hamming, signs
from tree_privacy.core import ForgedReply
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.crypto.ring import ternary
from tree_privacy.locks.base import Wanted, lock_client, lock_options
from tree_privacy.locks.homomorphic import (
    N,
    ScoreCheck,
    T,
    decrypt_scores,
    encrypt_codes,
    encrypt_query,
    encrypted_scores,
    expected_sums,
    open_scores,
    scoring_key,
)
from tree_privacy.pir.base import pir_client, pir_server
from tree_privacy.store.manifest import Collection

SECRET = bytes(range(32))
key = scoring_key(SECRET)
codes = np.random.default_rng(0).integers(0, 256, (300, 2), np.uint8)
check = ScoreCheck(bytes(32), 300)
expected = expected_sums(check.sums(codes), codes[0])


def careless(k):
    "A user who fetches the k photographs that the scores, unverified, call nearest"
    return lambda reply: np.argsort((16 - decrypt_scores(key, reply)[:300]) * 129 % T, kind='stable')[:k]


def careful(reply):
    "A user who verifies"
    return np.argsort(open_scores(key, reply, 16, check, expected), kind='stable')[:10]


def test_an_honest_cloud_satisfies_both():
    "The two users differ in nothing but the check."
    reply = encrypted_scores(encrypt_codes(key, codes), encrypt_query(key, codes[0]))
    nearest = np.argsort(hamming(codes[:1], codes)[0], kind='stable')[:10]
    assert (careful(reply) == nearest).all() and (careless(10)(reply) == nearest).all()


@pytest.mark.parametrize('k', [1, 10])
def test_the_forgery_reads_the_key_of_a_user_who_does_not_verify(k):
    "Without the check all coefficients are read, with any number of results, and open the table."
    stolen = read_key(1, 300, careless(k))
    assert (stolen.values == key.values).all()
    column = encrypt_codes(key, codes)[0, 3]
    assert (stolen.decrypt(column[:, None])[:300] == signs(codes)[:, 3].astype(int) % T).all()


def test_the_forgery_fails_against_a_user_who_verifies():
    "The first reply is refused, and says that the key is exposed."
    replies = []

    def watched(reply):
        replies.append(reply)
        return careful(reply)

    with pytest.raises(ForgedReply, match='forged') as refused:
        read_key(1, 300, watched)
    assert len(replies) == 1 and refused.value.key_is_exposed


@pytest.mark.parametrize('exponent', [0, 1, 77, N - 1])
@pytest.mark.parametrize('sign', [1, -1])
def test_what_a_forged_reply_opens_to(exponent, sign):
    "Twice the secret, moved by some places, with the other sign where it went round."
    secret = ternary(SECRET, N)
    moved = np.append(-secret[N - exponent:], secret[:N - exponent])
    assert (decrypt_scores(key, forged_reply(1, exponent, sign)) == 2 * sign * moved % T).all()


def drafted(lock, own, n=300, **options):
    "A client with a collection under a lock"
    draft = SimpleNamespace(index='00' * 8, version=1, bits=16, photographs=n, options=lock_options(lock, options),
                            ids=[[0, n]], lock=lock, fields={})
    made = lock_client(lock)(own, draft).encrypt(Collection(np.arange(n), codes[:n], [''] * n))
    manifest = SimpleNamespace(**vars(draft) | dict(fields=made.fields))
    return lock_client(lock)(own.grant(), manifest, made.client_data)


def test_the_real_user_refuses():
    "The client of the homomorphic lock refuses a forged reply to its own question, and says that the key is exposed."
    user = drafted('homomorphic', OwnerKey.generate())
    query = user.query(codes[0], Wanted(k=10, nodes=3, fill=True))
    for sign in (1, -1):
        reply = SimpleNamespace(header={}, arrays=dict(scores=forged_reply(1, 5, sign)))
        with pytest.raises(ForgedReply) as refused:
            user.decrypt(reply, query.state)
        assert refused.value.key_is_exposed


def test_a_changed_row_tells_one_coefficient():
    "The first row stays whole unless the coefficient is +1: one bit, for a user who does not mind an alarm."
    user = pir_client('bfv')(SECRET, 4, 8192)
    server = pir_server('bfv')(user.setup(), np.full((4, 8192), 7, np.uint8))
    request, state = user.query([2])
    honest = server.answer(request)['cells']
    assert (user.decrypt(dict(cells=honest), state) == 7).all()
    secret = ternary(SECRET, 4096)
    right = 0
    for u in range(40):
        number = user.decrypt(dict(cells=changed_rows(honest, u)), state)[0].view('<u2')[u]
        right += (number == 0x0707) == (secret[u] != 1)
    assert right >= 36
