"What an earlier run wrote is still read, and gives the numbers that it gave: algebra has not changed by accident."
import json
import shutil

import numpy as np
import pytest
from make_known import CODES, PASSPHRASE, crypto_digests, known, vectors

from tree_privacy.bits import hamming
from tree_privacy.crypto.keys import OwnerKey, load_key
from tree_privacy.crypto.random_matrix import FORMS, MatrixKey, distances_from_scores
from tree_privacy.crypto.randomness import subkey

about = json.loads((known / 'known.json').read_text())


@pytest.fixture
def keys(tmp_path):
    "Copies of the key files, with the mode that they must have."
    for path in known.glob('*.key'):
        shutil.copy(path, tmp_path)
        (tmp_path / path.name).chmod(0o600)
    return tmp_path


def test_key_files(keys):
    "All three open to the same secret; the two that may write sign alike."
    owner, user, locked = (load_key(keys / f'{name}.key', PASSPHRASE) for name in ('owner', 'user', 'locked'))
    assert owner.secret == user.secret == locked.secret == bytes(range(32)) and owner.id == about['id']
    assert isinstance(owner, OwnerKey) and not isinstance(user, OwnerKey)
    assert owner.sign(b'x') == locked.sign(b'x') and user.verifies(b'x', owner.sign(b'x'))
    assert subkey(owner.secret, 'known').hex() == about['subkey']


@pytest.mark.parametrize('form', FORMS)
def test_matrices_and_ciphertexts(form):
    "The key expands to the same matrix; stored ciphertexts and trapdoors fit it and one another."
    key, then = MatrixKey(bytes.fromhex(about['subkey']), 16, form), about[form]
    nodes, trapdoor = np.array(then['nodes']), np.array(then['trapdoor'])
    assert np.allclose(key.matrices[-1][0], then['matrix'], rtol=0, atol=1e-12)
    again, r = key.encrypt_query(CODES[3])
    for t, unit in ((trapdoor, then['r']), (again, r)):
        for e in (nodes, key.encrypt_nodes(vectors())):
            if form == 'noisy':
                true = vectors() @ np.append(vectors()[3, :-1], 1)
                assert np.abs(e @ t / unit - true).max() < 10 * key.sigma
            else:
                assert distances_from_scores(e @ t, unit, 16).tolist() == hamming(CODES[3:4], CODES)[0].tolist()
    if form == 'basic':
        assert np.allclose(key.encrypt_nodes(vectors()), nodes, rtol=0, atol=1e-12)


def test_keys_and_polynomials():
    "Both rings expand a secret and a seed to the same numbers."
    made = crypto_digests(bytes.fromhex(about['subkey']))
    assert len(made) == 5 and made == {name: about['digests'][name] for name in made}
