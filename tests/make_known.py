"""Make tests/known: key files and indexes as this version writes them. Run it when a format or the algebra is changed on purpose:

    python tests/make_known.py

Key files and numbers of the algebra that are there are kept; delete them first where they are what was changed.
"""
import hashlib, json, shutil
from pathlib import Path

import numpy as np

from tree_privacy.data import digits, select
from tree_privacy.private_locks import Checks, HomomorphicKey, publish_codes, random_polynomials, ternary
from tree_privacy.private_walk import RetrievalKey, random_pairs
from tree_privacy.random_matrix import FORMS, MatrixKey, subkey
from tree_privacy.roles import EXTRAS, Cloud, Owner, OwnerKey, User, hello, save_key

known = Path(__file__).resolve().parent/'known'
PASSPHRASE = 'correct horse battery staple'
LOCKS = {'random-matrix': {}, 'sealed': {}, 'decoy-walk': dict(capacity=2, decoys=1)}  # those whose indexes are small
CODES = np.random.default_rng(0).integers(0, 256, (8, 2), dtype=np.uint8)


def vectors():
    "(8, 17): the leaves of CODES"
    return np.c_[np.unpackbits(CODES, axis=1) * 2. - 1, np.full(8, -8.)]


def make_keys(key):
    "Write the key files that are not there."
    for name, one, passphrase in (('owner', key, None), ('user', key.grant(), None), ('locked', key, PASSPHRASE)):
        if not (known/f'{name}.key').exists(): save_key(one, known/f'{name}.key', passphrase)


def matrices(key):
    "Numbers of the random-matrix lock."
    about = {}
    for form in FORMS:
        lock = MatrixKey(subkey(key.secret, 'known'), 16, form)
        trapdoor, r = lock.encrypt_query(CODES[3])
        about[form] = dict(matrix=lock.matrices[-1][0].tolist(), trapdoor=trapdoor.tolist(), r=r, nodes=lock.encrypt_nodes(vectors()).tolist())
    return about


def digests(key):
    "What the homomorphic lock and retrieval make of a secret or a seed, in short: their files are too large to be kept here."
    secret = subkey(key.secret, 'known')
    made = dict(ternary=ternary(secret), homomorphic=HomomorphicKey.derived(secret)._values, retrieval=RetrievalKey(secret)._values, checks=Checks(secret, 8).sums(CODES),
                polynomials=random_polynomials(secret, 2), pairs=random_pairs(secret, 2), columns=publish_codes(CODES))
    return {name: hashlib.sha256(values.tobytes()).hexdigest() for name, values in made.items()}


def talk(session, cloud, request=None, reply=None):
    "The whole conversation of a search; the first round of it is written to files."
    while session.request is not None:
        sent, back = session.request, cloud.answer(session.request)
        if request and not request.exists(): request.write_bytes(sent), reply.write_bytes(back)
        session.receive(back)
    return [[r.id, r.name, r.distance] for r in session.result]


def main():
    "Write anew what is not there, and every index."
    known.mkdir(exist_ok=True)
    key, then = OwnerKey(bytes(range(32)), bytes(range(32, 64))), known/'known.json'
    make_keys(key)
    about = {form: numbers for form, numbers in json.loads(then.read_text()).items() if form in FORMS} if then.exists() else {}
    about = about or matrices(key)
    about.update(id=key.id, subkey=subkey(key.secret, 'known').hex(), digests=digests(key), results={})
    EXTRAS.clear()  # megabytes of keys for expanding, which these locks do without
    for lock, options in LOCKS.items():
        place = known/lock
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        Owner(key).create(place/'index', select(digits(), range(8)), CODES, b'an encoder', photos='none', lock=lock, **options)
        cloud = Cloud(place/'index')
        about['results'][lock] = talk(User(key.grant(), cloud.answer(hello())).query(CODES[3], k=3, note='known'), cloud, place/'search.request', place/'search.reply')
    then.write_text(json.dumps(about) + '\n')


if __name__ == '__main__': main()
