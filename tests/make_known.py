"""Make tests/known: key files and indexes as this version writes them.

Run it when a format or the algebra is changed on purpose:

    python tests/make_known.py

Key files and numbers of the algebra that are there are kept; delete them first where they are what was changed.
"""
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np

from tree_privacy.client.owner import Owner
from tree_privacy.client.transport import Local, Recorded, run
from tree_privacy.client.user import User
from tree_privacy.cloud.service import CloudService
from tree_privacy.crypto.keys import OwnerKey, save_key
from tree_privacy.crypto.random_matrix import FORMS, MatrixKey
from tree_privacy.crypto.randomness import subkey
from tree_privacy.crypto.ring import Ring, RingKey, ntt_primes, random_polynomials, ternary
from tree_privacy.images.photos import digits, select
from tree_privacy.locks.base import LockClient, lock_client
from tree_privacy.locks.homomorphic import ScoreCheck, encode_codes
from tree_privacy.pir.bfv import BfvPirClient, _seeded_pairs

known = Path(__file__).resolve().parent / 'known'
PASSPHRASE = 'correct horse battery staple'
LOCKS = {'random-matrix': {}, 'sealed': {}, 'decoy-walk': dict(capacity=2, decoys=1)}  # whose indexes are small
CODES = np.random.default_rng(0).integers(0, 256, (8, 2), dtype=np.uint8)


def vectors():
    "(8, 17): the leaves of CODES"
    return np.c_[np.unpackbits(CODES, axis=1) * 2. - 1, np.full(8, -8.)]


def make_keys(key):
    "Write the key files that are not there."
    for name, one, passphrase in (('owner', key, None), ('user', key.grant(), None), ('locked', key, PASSPHRASE)):
        if not (known / f'{name}.key').exists():
            save_key(one, known / f'{name}.key', passphrase)


def matrices(key):
    "Numbers of the random-matrix lock."
    about = {}
    for form in FORMS:
        lock = MatrixKey(subkey(key.secret, 'known'), 16, form)
        trapdoor, r = lock.encrypt_query(CODES[3])
        about[form] = dict(matrix=lock.matrices[-1][0].tolist(), trapdoor=trapdoor.tolist(), r=r,
                           nodes=lock.encrypt_nodes(vectors()).tolist())
    return about


def digest(values):
    "An array, in short: their files are too large to be kept here."
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def crypto_digests(secret):
    "What the rings make of a secret or a seed."
    ring = Ring('bgv', 2048, ntt_primes(2048, [53]), 257)
    small = ternary(secret, 2048)
    made = dict(ternary=small, homomorphic=RingKey.from_coefficients(ring, small).values[0],
                retrieval=BfvPirClient(secret, 1, 1)._key.values[:2],
                polynomials=random_polynomials(secret, 2, 2048, ring.primes[0]), pairs=_seeded_pairs(secret, 2))
    return {name: digest(values) for name, values in made.items()}


def lock_digests(secret):
    "What the homomorphic lock makes of a secret and of codes."
    return dict(checks=digest(ScoreCheck(secret, 8).sums(CODES)), columns=digest(encode_codes(CODES)))


def told(hits):
    "Hits as known.json has them."
    return [[hit.id, hit.name, hit.distance] for hit in hits]


def search(user, cloud, **options):
    "The hits of a search for a code that is known, and what was exchanged."
    line = Recorded(Local(cloud))
    return told(run(user.search(CODES[3], 3, **options), line).hits), line.exchanges


def make_index(key, lock, options):
    "Write an index, a question that is carried in files, and the reply; returns what a search finds."
    place = known / lock
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    client: type[LockClient] = lock_client(lock)
    fetches = client.private_fetching
    client.private_fetching = False  # megabytes of keys for private fetching, which are not kept here
    try:
        Owner(key).create(place / 'index', select(digits(), range(8)), CODES, b'an encoder', photos='none', lock=lock,
                          **options)
    finally:
        client.private_fetching = fetches
    cloud = CloudService(place / 'index')
    user = User.connect(key.grant(), Local(cloud))
    found, exchanges = search(user, cloud)
    request, reply = exchanges[0].request, exchanges[0].reply
    if not user.client.searches_at_home:
        request = user.ask(CODES[3], 3, note='known')
        reply = cloud.handle(request)
    (place / 'search.request').write_bytes(request)
    (place / 'search.reply').write_bytes(reply)
    return found


def main():
    "Write what is not there, and every index again."
    known.mkdir(exist_ok=True)
    key, then = OwnerKey(bytes(range(32)), bytes(range(32, 64))), known / 'known.json'
    make_keys(key)
    about = json.loads(then.read_text()) if then.exists() else {}
    about = {form: numbers for form, numbers in about.items() if form in FORMS} or matrices(key)
    secret = subkey(key.secret, 'known')
    about.update(id=key.id, subkey=secret.hex(), digests=crypto_digests(secret) | lock_digests(secret))
    about['results'] = {lock: make_index(key, lock, options) for lock, options in LOCKS.items()}
    then.write_text(json.dumps(about) + '\n')


if __name__ == '__main__':
    main()
