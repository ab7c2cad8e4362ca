"Clouds that make up replies: they succeed against a user who does not verify, and fail against the real one."
import numpy as np
import pytest

from tree_privacy.attacks.forgery import changed_rows, forged_reply, read_key
from tree_privacy.bits import hamming, signs
from tree_privacy.client.owner import Owner
from tree_privacy.client.transport import Local, run
from tree_privacy.client.user import User
from tree_privacy.cloud.service import CloudService
from tree_privacy.core import ForgedReply, RevokedError
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.crypto.ring import ternary
from tree_privacy.images.photos import names_only
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
from tree_privacy.wire import read_message, write_message

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


class ForgingCloud:
    "A cloud that answers as it should, but for what `forge` makes of the arrays of search replies"
    def __init__(self, folder, forge):
        self.honest, self.forge = CloudService(folder), forge

    def handle(self, request):
        reply = read_message(self.honest.handle(request))
        arrays = self.forge(reply.arrays) if reply.kind == 'found' else reply.arrays
        return write_message(reply.kind, reply.header, arrays)


def indexed(folder, lock, **options):
    "An index of the codes, and its owner's key"
    own = OwnerKey.generate()
    names = names_only([f'{i:03}' for i in range(300)])
    Owner(own).create(folder, names, codes, b'-', lock=lock, photos='none', **options)
    return own


@pytest.mark.parametrize('sign', [1, -1])
def test_the_real_user_refuses(tmp_path, sign):
    "A user of the homomorphic lock refuses forged scores, and asks nothing more under this key."
    own = indexed(tmp_path / 'index', 'homomorphic')
    cloud = Local(ForgingCloud(tmp_path / 'index', lambda arrays: arrays | dict(scores=forged_reply(1, 5, sign))))
    user = User.connect(own.grant(), cloud)
    with pytest.raises(ForgedReply) as refused:
        run(user.search(codes[0]), cloud)
    assert refused.value.key_is_exposed
    with pytest.raises(RevokedError):
        run(user.search(codes[0]), Local(CloudService(tmp_path / 'index')))


def test_the_real_user_of_the_private_walk_stops_at_the_first_alarm(tmp_path):
    "Changed rows go unnoticed until a coefficient is +1; then the user stops, and the cloud has learnt a few bits."
    own = indexed(tmp_path / 'index', 'private-walk', capacity=400)  # one bucket: the user opens all of a reply
    u = iter(range(100))

    def forge(arrays):
        return arrays | dict(cells=changed_rows(arrays['cells'], next(u)))

    cloud = Local(ForgingCloud(tmp_path / 'index', forge))
    user = User.connect(own.grant(), cloud)
    answered = 0
    with pytest.raises(ForgedReply) as refused:
        while answered < 60:
            hits = run(user.search(codes[0], nodes=1), cloud).hits
            assert hits[0].distance == 0
            answered += 1
    assert refused.value.key_is_exposed and next(u) == answered + 1
    with pytest.raises(RevokedError):
        run(user.search(codes[0]), cloud)


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
