"Keys and key files: who can sign, what a file shows, and every file that is none."
import gc
import json
import os
import stat
import types

import pytest

from tree_privacy.core import AccessError, FormatError, InputError, NotFoundError, TreePrivacyError
from tree_privacy.crypto import keys
from tree_privacy.crypto.keys import OwnerKey, UserKey, is_locked, load_key, save_key
from tree_privacy.crypto.random_matrix import MatrixKey
from tree_privacy.crypto.ring import Ring, RingKey, ntt_primes, ternary
from tree_privacy.pir.bfv import BfvPirClient

posix = pytest.mark.skipif(os.name != 'posix', reason='modes of files are those of POSIX')


def reachable(start):
    "Everything that an object holds, however deep."
    seen, waiting = {}, [start]
    skip = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, skip):
            continue
        seen[id(thing)] = thing
        waiting += gc.get_referents(thing)
    return list(seen.values())


def test_a_granted_key_cannot_write():
    "A user's key has no signing key and reaches none."
    key = OwnerKey.generate()
    granted = key.grant()
    assert type(granted) is UserKey and not hasattr(granted, 'signing') and not hasattr(granted, 'sign')
    assert key.signing in reachable(key)
    assert key.signing not in reachable(granted) and not any(isinstance(o, OwnerKey) for o in reachable(granted))


def test_signatures():
    "Only the owner's fit, and only for the same bytes."
    key, other = OwnerKey.generate(), OwnerKey.generate()
    signature = key.sign(b'data')
    assert key.verifies(b'data', signature) and key.grant().verifies(b'data', signature)
    assert not key.verifies(b'date', signature) and not other.verifies(b'data', signature)
    for wrong in (b'', signature[:-1], signature + b'0', bytes(64), other.sign(b'data')):
        assert not key.verifies(b'data', wrong)
    for at in range(64):
        flipped = bytearray(signature)
        flipped[at] ^= 1
        assert not key.verifies(b'data', bytes(flipped))


def test_representations_show_no_secret():
    "Printing a key shows its number and kind, not the key."
    key = OwnerKey.generate()
    ring = Ring('bgv', 2048, ntt_primes(2048, [53]), 257)
    ring_key = RingKey.from_coefficients(ring, ternary(key.secret, 2048))
    made = key, key.grant(), MatrixKey(key.secret, 32), ring_key, BfvPirClient(key.secret, 3, 5)
    shown = ' '.join(map(repr, made))
    assert key.id in shown
    for secret in (key.secret, key.signing):
        for form in (secret, secret[::-1]):
            assert form.hex()[:8] not in shown and repr(form)[2:10] not in shown


def test_key_files_come_back(tmp_path):
    "With and without a passphrase, owner's and user's; files have mode 600, and nothing else is left in the folder."
    key = OwnerKey.generate()
    save_key(key, tmp_path / 'owner.key')
    save_key(key.grant(), tmp_path / 'user.key')
    save_key(key, tmp_path / 'locked.key', 'caf\u00e9 \udcff')
    typed = [('owner', None), ('user', None), ('locked', 'caf\u00e9 \udcff'), ('locked', 'cafe\u0301 \udcff')]
    for name, passphrase in typed:
        found = load_key(tmp_path / f'{name}.key', passphrase)
        assert found.secret == key.secret and found.public == key.public
        assert isinstance(found, OwnerKey) == (name != 'user')
        assert getattr(found, 'signing', key.signing) == key.signing
    assert sorted(p.name for p in tmp_path.iterdir()) == ['locked.key', 'owner.key', 'user.key']
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in tmp_path.iterdir()) or os.name != 'posix'
    assert [is_locked(tmp_path / f'{name}.key') for name in ('owner', 'user', 'locked')] == [False, False, True]
    locked = (tmp_path / 'locked.key').read_text()
    assert key.secret.hex() not in locked and key.signing.hex() not in locked


def test_passphrases(tmp_path):
    "A function is asked only where the file has one; a wrong one, none and an empty one are told apart."
    key, asked = OwnerKey.generate(), []

    def ask():
        asked.append(1)
        return 'right'

    save_key(key, tmp_path / 'plain.key')
    save_key(key, tmp_path / 'locked.key', 'right')
    assert load_key(tmp_path / 'plain.key', ask).secret == key.secret and not asked
    assert load_key(tmp_path / 'locked.key', ask).secret == key.secret and asked == [1]
    with pytest.raises(AccessError, match='does not open'):
        load_key(tmp_path / 'locked.key', 'wrong')
    with pytest.raises(InputError, match='is locked with a passphrase'):
        load_key(tmp_path / 'locked.key')
    with pytest.raises(InputError, match='passphrase is empty'):
        save_key(key, tmp_path / 'empty.key', '')
    assert not (tmp_path / 'empty.key').exists()


def test_costs_of_a_passphrase_are_ours(tmp_path):
    "A file that asks for other costs of scrypt, a gigabyte for example, is damaged: nothing is computed."
    save_key(OwnerKey.generate(), tmp_path / 'locked.key', 'right')
    content = json.loads((tmp_path / 'locked.key').read_text())
    content.pop('checksum')
    for costs in (dict(n=2 ** 24), dict(r=8.0 + 1), dict(p=2), dict(n='a'), dict(n=None), dict(more=1)):
        changed = content | dict(scrypt=content['scrypt'] | costs)
        written = dict(changed, checksum=keys._checksum(changed))
        (tmp_path / 'locked.key').write_text(json.dumps(written))
        with pytest.raises(FormatError, match='damaged'):
            load_key(tmp_path / 'locked.key', 'right')


def test_where_a_key_file_cannot_be(tmp_path):
    "Nothing is overwritten, and nothing is left behind."
    key = OwnerKey.generate()
    save_key(key, tmp_path / 'mine.key')
    before = (tmp_path / 'mine.key').read_bytes()
    with pytest.raises(InputError, match='not overwritten'):
        save_key(OwnerKey.generate(), tmp_path / 'mine.key')
    with pytest.raises(InputError, match='is a folder'):
        save_key(key, tmp_path)
    with pytest.raises(InputError, match='no folder'):
        save_key(key, tmp_path / 'missing/mine.key')
    with pytest.raises(InputError, match='is a folder'):
        load_key(tmp_path)
    for missing in ('missing.key', 'missing/mine.key', 'mine.key/other', 'a\0'):
        with pytest.raises(NotFoundError, match='no key file'):
            load_key(tmp_path / missing)
    assert [p.name for p in tmp_path.iterdir()] == ['mine.key'] and (tmp_path / 'mine.key').read_bytes() == before


def test_a_full_disk(tmp_path, monkeypatch):
    "A key that cannot be written leaves nothing, and the error names the file."
    def full(path, data, mode):
        path.write_bytes(data[:10])
        raise OSError(28, 'No space left on device', str(path))

    monkeypatch.setattr(keys, 'write_new', full)
    with pytest.raises(OSError, match='No space'):
        save_key(OwnerKey.generate(), tmp_path / 'mine.key')
    assert not list(tmp_path.iterdir())


@posix
@pytest.mark.parametrize('mode', [0o644, 0o640, 0o604, 0o620, 0o602])
def test_a_key_that_others_may_read(mode, tmp_path):
    save_key(OwnerKey.generate(), tmp_path / 'mine.key')
    (tmp_path / 'mine.key').chmod(mode)
    with pytest.raises(AccessError, match='chmod 600'):
        load_key(tmp_path / 'mine.key')


@posix
def test_a_pipe_is_no_key_file(tmp_path):
    "Nobody waits for what somebody might write into it."
    os.mkfifo(tmp_path / 'pipe', 0o600)
    with pytest.raises(NotFoundError, match='no key file'):
        load_key(tmp_path / 'pipe')


def damaged_keys(good):
    "Key files that are none."
    content = json.loads(good)
    content.pop('checksum')

    def signed(**changes):
        changed = content | changes
        return json.dumps(dict(changed, checksum=keys._checksum(changed))).encode()

    without = {k: v for k, v in content.items() if k != 'secret'}
    user = {k: v for k, v in content.items() if k != 'signing'} | dict(role='user', public='00')
    return dict(
        empty=b'', half=good[:len(good) // 2], noise=bytes(range(256)), array=b'[]', number=b'3', null=b'null',
        nested=b'[' * 50_000, flipped=good.replace(b'"secret": "', b'"secret": "0'),
        words=good.replace(b'"format": 1', b'"format": "a"'), short=signed(secret='00'), letters=signed(secret='zz'),
        number_secret=signed(secret=5), signing=signed(signing='00'), role=signed(role='king'),
        public=json.dumps(dict(user, checksum=keys._checksum(user))).encode(),
        no_secret=json.dumps(dict(without, checksum=keys._checksum(without))).encode(),
        scrypt=signed(scrypt=5), large=good + b' ' * 2 ** 17, infinite=signed(format=float('-inf')))


@pytest.mark.parametrize('kind', damaged_keys(b'{"checksum": 1}'))
def test_damaged_keys(kind, tmp_path):
    save_key(OwnerKey.generate(), tmp_path / 'mine.key')
    wrong = damaged_keys((tmp_path / 'mine.key').read_bytes())[kind]
    (tmp_path / 'mine.key').write_bytes(wrong)
    with pytest.raises(FormatError):
        load_key(tmp_path / 'mine.key', 'a passphrase')


def test_keys_of_a_newer_version(tmp_path):
    save_key(OwnerKey.generate(), tmp_path / 'mine.key')
    newer = (tmp_path / 'mine.key').read_bytes().replace(b'"format": 1', b'"format": 2')
    (tmp_path / 'mine.key').write_bytes(newer)
    with pytest.raises(FormatError, match='newer version: upgrade'):
        load_key(tmp_path / 'mine.key')


def test_one_changed_byte(tmp_path):
    "Whatever is changed in a key file: refused by the package's own error, or the same key."
    key = OwnerKey(bytes(range(32)), bytes(range(32, 64)))
    save_key(key, tmp_path / 'mine.key')
    good = (tmp_path / 'mine.key').read_bytes()
    for at in range(len(good)):
        (tmp_path / 'mine.key').write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
        try:
            found = load_key(tmp_path / 'mine.key')
        except TreePrivacyError:
            continue
        assert found.secret == key.secret and found.public == key.public
