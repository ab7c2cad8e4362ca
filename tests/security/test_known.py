"""What an earlier run wrote is still read, and gives the numbers that it gave: formats have not changed by accident.

Key files and the algebra of the cryptography are in crypto/test_known; make_known writes what is read here.
"""
import json
import shutil

import numpy as np
import pytest
from make_known import CODES, LOCKS, known, lock_digests, search, told

from tree_privacy.client.owner import Owner
from tree_privacy.client.transport import Local
from tree_privacy.client.trust import TrustStore
from tree_privacy.client.user import User, read_reply
from tree_privacy.cloud.service import CloudService
from tree_privacy.crypto.keys import load_key
from tree_privacy.store.manifest import read_manifest
from tree_privacy.wire import read_message

about = json.loads((known / 'known.json').read_text())
every = pytest.mark.parametrize('lock', LOCKS)


@pytest.fixture
def keys(tmp_path):
    "Copies of the key files, with the mode that they must have."
    for path in known.glob('*.key'):
        shutil.copy(path, tmp_path)
        (tmp_path / path.name).chmod(0o600)
    return tmp_path


def test_numbers_of_the_homomorphic_lock():
    "It expands a secret to the same equations, and arranges codes in the same columns."
    then = {name: about['digests'][name] for name in ('checks', 'columns')}
    assert lock_digests(bytes.fromhex(about['subkey'])) == then


@every
def test_an_index(lock, keys):
    "The stored index opens with its key, and takes a new search."
    key, cloud = load_key(keys / 'user.key'), CloudService(known / lock / 'index')
    assert read_manifest(known / lock / 'index').lock == lock
    assert search(User.connect(key, Local(cloud)), cloud)[0] == about['results'][lock]
    opened = Owner(load_key(keys / 'owner.key')).open(known / lock / 'index')
    assert (opened.collection.codes[np.argsort(opened.collection.names)] == CODES).all()
    assert opened.encoder == b'an encoder'


@every
def test_an_index_goes_on(lock, keys):
    "A copy of it takes the next version, which finds the same."
    folder, owner = shutil.copytree(known / lock / 'index', keys / 'index'), load_key(keys / 'owner.key')
    now = Owner(owner).open(folder).collection
    found = [id for id, _, _ in about['results'][lock]]
    gone = next(name for id, name in zip(now.ids.tolist(), now.names, strict=True) if id not in found)
    Owner(owner).remove(folder, [gone])
    cloud = CloudService(folder)
    hits, _ = search(User.connect(owner.grant(), Local(cloud)), cloud, nodes=8)
    assert hits[0] == about['results'][lock][0] and len(hits) == 3
    assert cloud.manifest.version == 2 and gone not in Owner(owner).open(folder).collection.names


@pytest.mark.parametrize('lock', [lock for lock in LOCKS if lock != 'sealed'])
def test_messages(lock, keys):
    "A stored question gets the stored reply, and both replies are read."
    key, place = load_key(keys / 'user.key'), known / lock
    replies = [CloudService(place / 'index').handle((place / 'search.request').read_bytes()),
               (place / 'search.reply').read_bytes()]
    now, then = (read_message(reply, 'found') for reply in replies)
    assert now.arrays.keys() == then.arrays.keys() and now.header.keys() == then.header.keys()
    for name, array in then.arrays.items():
        if name == 'scores':
            assert np.allclose(now.arrays[name], array, rtol=1e-12)
        else:
            assert (now.arrays[name] == array).all(), name
    for reply in replies:
        results, note = read_reply(key, reply, TrustStore())
        assert (told(results.hits), note) == (about['results'][lock], 'known')


def test_a_stored_file_of_the_sealed_lock():
    "What the cloud hands out for the stored request is the file itself, as the stored reply has it."
    place = known / 'sealed'
    reply = CloudService(place / 'index').handle((place / 'search.request').read_bytes())
    now, then = (read_message(data, 'file') for data in (reply, (place / 'search.reply').read_bytes()))
    assert now.header == then.header
    assert all((now.arrays[name] == then.arrays[name]).all() for name in ('data', 'token'))
