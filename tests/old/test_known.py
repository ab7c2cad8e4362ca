"What an earlier run wrote is still read, and gives the numbers that it gave: formats and algebra have not changed by accident."
import json, shutil

import numpy as np
import pytest
from make_known import CODES, LOCKS, PASSPHRASE, digests, known, talk, vectors

from tree_privacy.measures import hamming
from tree_privacy.random_matrix import FORMS, MatrixKey, distances, subkey
from tree_privacy.roles import Cloud, Owner, OwnerKey, User, hello, load_key, read_found, read_manifest, read_message

about = json.loads((known/'known.json').read_text())


@pytest.fixture
def keys(tmp_path):
    "Copies of the key files, with the mode that they must have."
    for path in known.glob('*.key'):
        shutil.copy(path, tmp_path)
        (tmp_path/path.name).chmod(0o600)
    return tmp_path


def test_key_files(keys):
    "All three open to the same secret; the two that may write sign alike."
    owner, user, locked = (load_key(keys/f'{name}.key', PASSPHRASE) for name in ('owner', 'user', 'locked'))
    assert owner.secret == user.secret == locked.secret == bytes(range(32)) and owner.id == about['id']
    assert isinstance(owner, OwnerKey) and not isinstance(user, OwnerKey) and owner.sign(b'x') == locked.sign(b'x') and user.signed(b'x', owner.sign(b'x'))
    assert subkey(owner.secret, 'known').hex() == about['subkey']


@pytest.mark.parametrize('form', FORMS)
def test_matrices_and_ciphertexts(form):
    "The key expands to the same matrix; stored ciphertexts and trapdoors fit it and one another."
    lock, then = MatrixKey(bytes.fromhex(about['subkey']), 16, form), about[form]
    nodes, trapdoor = np.array(then['nodes']), np.array(then['trapdoor'])
    assert np.allclose(lock.matrices[-1][0], then['matrix'], rtol=0, atol=1e-12)
    again, r = lock.encrypt_query(CODES[3])
    for t, unit in ((trapdoor, then['r']), (again, r)):
        for e in (nodes, lock.encrypt_nodes(vectors())):
            if form == 'noisy': assert np.abs(e @ t / unit - vectors() @ np.append(vectors()[3, :-1], 1)).max() < 10 * lock.sigma
            else: assert distances(e @ t, unit, 16).tolist() == hamming(CODES[3:4], CODES)[0].tolist()
    if form == 'basic': assert np.allclose(lock.encrypt_nodes(vectors()), nodes, rtol=0, atol=1e-12)


def test_keys_of_other_locks(keys):
    "The homomorphic lock and retrieval expand a secret and a seed to the same numbers."
    assert digests(load_key(keys/'owner.key')) == about['digests']


@pytest.mark.parametrize('lock', LOCKS)
def test_an_index(lock, keys):
    "The stored index opens with its key, and takes a new search."
    key, cloud = load_key(keys/'user.key'), Cloud(known/lock/'index')
    assert read_manifest(known/lock/'index')['lock'] == lock
    assert talk(User(key, cloud.answer(hello())).query(CODES[3], k=3), cloud) == about['results'][lock]
    opened = Owner(load_key(keys/'owner.key')).open(known/lock/'index')
    assert (opened.codes[np.argsort(opened.names)] == CODES).all() and opened.encoder == b'an encoder'


@pytest.mark.parametrize('lock', LOCKS)
def test_an_index_goes_on(lock, keys):
    "A copy of it takes the next version, which finds the same."
    folder, owner = shutil.copytree(known/lock/'index', keys/'index'), load_key(keys/'owner.key')
    names = dict(zip((opened := Owner(owner).open(folder)).ids.tolist(), opened.names))
    gone = next(name for i, name in names.items() if i not in [r[0] for r in about['results'][lock]])
    Owner(owner).remove(folder, [gone])
    cloud = Cloud(folder)
    found = talk(User(owner.grant(), cloud.answer(hello()), seen=2).query(CODES[3], k=3, nodes=8), cloud)
    assert found[0] == about['results'][lock][0] and len(found) == 3 and gone not in Owner(owner).open(folder).names


@pytest.mark.parametrize('lock', [lock for lock in LOCKS if lock != 'sealed'])
def test_messages(lock, keys):
    "A stored request gets the stored reply, and both replies are read."
    key, cloud, place = load_key(keys/'user.key'), Cloud(known/lock/'index'), known/lock
    reply, then = (read_message(data, 'found') for data in (cloud.answer((place/'search.request').read_bytes()), (place/'search.reply').read_bytes()))
    assert reply.arrays.keys() == then.arrays.keys()
    for name, a in then.arrays.items():
        if name == 'scores': assert np.allclose(reply.arrays[name], a, rtol=1e-12)
        else: assert (reply.arrays[name] == a).all(), name
    for found in (reply, then):
        results, note, version = read_found(key, found)
        assert ([[r.id, r.name, r.distance] for r in results], note, version) == (about['results'][lock], 'known', 1)


def test_a_stored_file_of_the_sealed_lock():
    "What the cloud hands out for the stored request is the file itself, as the stored reply has it."
    cloud, place = Cloud(known/'sealed/index'), known/'sealed'
    reply, then = (read_message(data, 'file') for data in (cloud.answer((place/'search.request').read_bytes()), (place/'search.reply').read_bytes()))
    assert reply.header == then.header and (reply.arrays['data'] == then.arrays['data']).all() and (reply.arrays['token'] == then.arrays['token']).all()
