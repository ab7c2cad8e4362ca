"What an earlier run wrote is still read, and gives the numbers that it gave: formats and algebra have not changed by accident."
import json, shutil

import numpy as np
import pytest
from make_known import CODES, PASSPHRASE, known, vectors

from tree_privacy.measures import hamming
from tree_privacy.random_matrix import FORMS, MatrixKey, distances, subkey
from tree_privacy.roles import Cloud, Owner, OwnerKey, User, hello, load_key, read_found, read_message

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


def test_an_index_and_its_messages(keys):
    "The stored index answers a stored request with the stored scores, opens with its key, and takes a new search."
    key, cloud = load_key(keys/'user.key'), Cloud(known/'index')
    reply, then = (read_message(data, about['kind']) for data in (cloud.answer((known/'search.request').read_bytes()), (known/'search.reply').read_bytes()))
    assert reply.arrays['ids'].tolist() == then.arrays['ids'].tolist() and np.allclose(reply.arrays['scores'], then.arrays['scores'], rtol=1e-12)
    for found in (reply, then): assert [[r.id, r.name, r.distance] for r in read_found(key, found)[0]] == about['results'] and read_found(key, found)[1] == 'known'
    search = User(key, cloud.answer(hello())).query(CODES[3], k=3)
    search.receive(cloud.answer(search.request))
    assert [[r.id, r.name, r.distance] for r in search.result] == about['results']
    opened = Owner(load_key(keys/'owner.key')).open(known/'index')
    assert (opened.codes[np.argsort(opened.names)] == CODES).all() and opened.encoder == b'an encoder'
