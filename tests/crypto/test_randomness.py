"Secret numbers: the same for the same key, others for every other, and nothing that a caller could seed."

import numpy as np

from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.crypto.random_matrix import MatrixKey
from tree_privacy.crypto.randomness import keystream, normal, random_permutation, random_uniform, subkey, uniform_from


def test_keystream_is_that_of_the_standard():
    "AES-256 in counter mode, NIST SP 800-38A's counter aside: its block cipher on counters 0 and 1 under the zero key."
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    blocks = Cipher(algorithms.AES(bytes(32)), modes.ECB()).encryptor()
    counters = bytes(16) + (1).to_bytes(16, 'big')
    assert keystream(bytes(32), 32) == blocks.update(counters)
    assert keystream(bytes(32), 0) == b'' and keystream(b'k' * 32, 5) == keystream(b'k' * 32, 50)[:5]


def test_subkeys_are_those_of_the_standard():
    "HKDF-SHA256 written out: extract and one step of expand (RFC 5869)."
    import hmac
    secret, salt = bytes(range(32)), b'salt'
    extracted = hmac.digest(salt, secret, 'sha256')
    assert subkey(secret, 'seal', salt) == hmac.digest(extracted, b'tree_privacy 1 seal\x01', 'sha256')
    assert len({subkey(secret, p, s) for p in ('a', 'b', 'ab') for s in (b'', b'1', b'2')}) == 9


def test_uniform_numbers():
    "In fifty boxes as flat as chance allows, in any shape, also none at all."
    for many in (uniform_from(bytes(32), (50, 2000)), random_uniform((50, 2000))):
        boxes = np.bincount((many.ravel() * 50).astype(int), minlength=50)
        assert many.shape == (50, 2000) and (np.abs(boxes - 2000) < 6 * 2000 ** .5).all()
    assert uniform_from(bytes(32), (0, 3)).shape == random_uniform((0, 3)).shape == (0, 3)
    assert (uniform_from(bytes(32), (3,)) != uniform_from(bytes(31) + b'1', (3,))).all()


def test_normal_numbers():
    z = normal(*uniform_from(b'n' * 32, (2, 100_000)))
    assert abs(z.mean()) < .02 and abs(z.std() - 1) < .02
    assert abs((z ** 3).mean()) < .05 and abs((z ** 4).mean() - 3) < .2


def test_permutations():
    "Every order of four comes up about as often."
    seen = {}
    for _ in range(4800):
        order = tuple(random_permutation(4).tolist())
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 24 and all(abs(n - 200) < 6 * 200 ** .5 for n in seen.values())


def test_keys_numbers_and_matrices_never_repeat():
    "Keys, permutations, numbers, and the matrices of other purposes and indexes."
    made = [OwnerKey.generate() for _ in range(300)]
    assert len({k.secret for k in made} | {k.signing for k in made}) == 600 and len({k.id for k in made}) == 300
    assert len({random_permutation(64).tobytes() for _ in range(300)}) == 300
    assert len({random_uniform((2,)).tobytes() for _ in range(300)}) == 300
    places = [('lock 1', bytes(8)), ('lock 2', bytes(8)), ('lock 1', bytes(7) + b'1')]
    locks = [MatrixKey(subkey(made[0].secret, *place), 32, 'split').matrices for place in places]
    assert len({m.tobytes() for pair in locks for m in pair}) == 6
