"""Make tests/known: key files and an index as this version writes them. Run it when a format or the algebra is changed on purpose:

    python tests/make_known.py
"""
import json, shutil
from pathlib import Path

import numpy as np

from tree_privacy.data import digits, select
from tree_privacy.random_matrix import FORMS, MatrixKey, subkey
from tree_privacy.roles import Cloud, Owner, OwnerKey, User, hello, read_message, save_key

known = Path(__file__).resolve().parent/'known'
PASSPHRASE = 'correct horse battery staple'
CODES = np.random.default_rng(0).integers(0, 256, (8, 2), dtype=np.uint8)


def vectors():
    "(8, 17): the leaves of CODES"
    return np.c_[np.unpackbits(CODES, axis=1) * 2. - 1, np.full(8, -8.)]


def main():
    "Write everything anew."
    shutil.rmtree(known, ignore_errors=True)
    known.mkdir()
    key, about = OwnerKey(bytes(range(32)), bytes(range(32, 64))), {}
    save_key(key, known/'owner.key')
    save_key(key.grant(), known/'user.key')
    save_key(key, known/'locked.key', PASSPHRASE)
    for form in FORMS:
        lock = MatrixKey(subkey(key.secret, 'known'), 16, form)
        trapdoor, r = lock.encrypt_query(CODES[3])
        about[form] = dict(matrix=lock.matrices[-1][0].tolist(), trapdoor=trapdoor.tolist(), r=r, nodes=lock.encrypt_nodes(vectors()).tolist())
    Owner(key).create(known/'index', select(digits(), range(8)), CODES, b'an encoder', photos='none')
    user = User(key.grant(), Cloud(known/'index').answer(hello()))
    search = user.query(CODES[3], k=3, note='known')
    reply = Cloud(known/'index').answer(search.request)
    (known/'search.request').write_bytes(search.request)
    (known/'search.reply').write_bytes(reply)
    search.receive(reply)
    about.update(id=key.id, subkey=subkey(key.secret, 'known').hex(), results=[[r.id, r.name, r.distance] for r in search.result],
                 kind=read_message(reply, 'found').header['kind'])
    (known/'known.json').write_text(json.dumps(about) + '\n')


if __name__ == '__main__': main()
