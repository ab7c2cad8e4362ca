"Owners: what they write, and what they refuse."
import shutil

import numpy as np
import pytest
from contract.lock_variants import VARIANTS, crowded
from parties import index_of, rewrite_file
from secret_search import content, reachable

from tree_privacy.client.owner import Owner, replaceable
from tree_privacy.client.transport import Local
from tree_privacy.client.trust import TrustStore
from tree_privacy.client.user import User
from tree_privacy.cloud.service import CloudService
from tree_privacy.core import (
    AccessError,
    InputError,
    NotFoundError,
    RevokedError,
    RollbackError,
    SignatureError,
    TreePrivacyError,
)
from tree_privacy.crypto.keys import OwnerKey, UserKey
from tree_privacy.images.photos import names_only
from tree_privacy.store.manifest import read_manifest

every = pytest.mark.parametrize('variant', VARIANTS)
one_each = pytest.mark.parametrize('variant', ['split', 'encrypted', 'sealed', 'walk', 'decoys'])


# Old versions, forks, alarms

def copied(folder, place):
    return shutil.copytree(folder, place)


def changes(folder, who):
    "Everything that changes an index, or opens it to change it."
    code = np.zeros((1, 2), np.uint8)
    return {'open': lambda: who.open(folder), 'add': lambda: who.add(folder, names_only(['new']), code),
            'remove': lambda: who.remove(folder, ['1/001']), 'rotate': lambda: who.rotate(folder, OwnerKey.generate()),
            'create': lambda: who.create(folder, names_only(['a']), code, b'', lock='sealed', photos='none'),
            'replaceable': lambda: replaceable(who.key, who.trust, folder)}


def state(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}


@pytest.mark.parametrize('kept', ['file', 'memory'])
def test_an_old_index_put_back_is_not_signed_again(kept, tmp_path):
    "From Python too: neither an older version nor another one of the same number, and nothing of it changes."
    w = index_of('sealed', tmp_path / 'index', crowded(1, 9, 16))
    old, fork = (copied(w.folder, tmp_path / name) for name in ('old', 'fork'))
    Owner(w.key).remove(fork, ['0/003'])
    who = Owner(w.key, TrustStore(tmp_path / 'mine.trust' if kept == 'file' else None))
    who.remove(w.folder, ['0/000'])
    everybody = [who, Owner(w.key, TrustStore(tmp_path / 'mine.trust'))]
    for one in everybody[:2 if kept == 'file' else 1]:
        for place, said in ((old, 'put an old one back'), (fork, 'another version 2')):
            before = state(place)
            for refused in changes(place, one).values():
                with pytest.raises(RollbackError, match=said):
                    refused()
            assert state(place) == before
        assert one.open(w.folder).manifest.version == 2
    assert Owner(w.key).open(old).manifest.version == 1  # who has seen nothing cannot know


def test_owner_and_user_share_what_they_saw(tmp_path):
    "One trust file for both: what the user saw, the owner does not overwrite."
    w, store = index_of('sealed', tmp_path / 'index', crowded(1, 9, 16)), TrustStore(tmp_path / 'trust')
    old = copied(w.folder, tmp_path / 'old')
    Owner(w.key).remove(w.folder, ['0/000'])
    User.connect(w.key.grant(), Local(CloudService(w.folder)), store)
    with pytest.raises(RollbackError):
        Owner(w.key, store).open(old)
    Owner(w.key, store).remove(w.folder, ['1/001'])
    with pytest.raises(RollbackError):
        w.new_user(trust=store)


def test_every_change_heeds_an_alarm(tmp_path):
    "Opening, adding, removing, making anew and granting are refused; only a new key is allowed."
    w, store = index_of('sealed', tmp_path / 'index', crowded(1, 9, 16)), TrustStore(tmp_path / 'trust')
    who = Owner(w.key, store)
    assert type(who.grant()) is UserKey
    store.raise_alarm(w.manifest.index, 'a reply of this cloud was forged')
    before = state(w.folder)
    for name, refused in changes(w.folder, who).items():
        if name != 'rotate':
            with pytest.raises(RevokedError, match='forged.*rotate'):
                refused()
    for again in (who, Owner(w.key, TrustStore(tmp_path / 'trust'))):
        with pytest.raises(RevokedError, match='forged'):
            again.grant()
    assert state(w.folder) == before
    new = OwnerKey.generate()
    who.rotate(w.folder, new)
    assert Owner(new).open(w.folder).collection.names
    with pytest.raises(RevokedError):
        who.grant()  # the old key stays what it is
    store.lift(w.manifest.index)
    assert who.grant().id == w.key.id


def test_a_damaged_trust_file_stops_an_owner(tmp_path):
    "Empty: nothing is granted, nothing is changed, but a new key can be made."
    w = index_of('sealed', tmp_path / 'index', crowded(1, 9, 16))
    (tmp_path / 'trust').write_bytes(b'')
    who = Owner(w.key, TrustStore(tmp_path / 'trust'))
    for refused in (who.grant, lambda: who.open(w.folder), lambda: who.remove(w.folder, ['0/000'])):
        with pytest.raises(RevokedError, match='damaged'):
            refused()
    who.rotate(w.folder, OwnerKey.generate())


def test_a_disk_that_is_full_does_not_stop_a_change(tmp_path, monkeypatch):
    "A version that was written and cannot be noted is a warning."
    w = index_of('sealed', tmp_path / 'index', crowded(1, 9, 16))
    who = Owner(w.key, TrustStore(tmp_path / 'nowhere' / 'trust'))
    with pytest.warns(UserWarning, match='was not noted'):
        who.remove(w.folder, ['0/000'])
    assert read_manifest(w.folder).version == 2


# Mistakes

@pytest.mark.parametrize('lock, options, said', [
    ('x', {}, 'wanted one of random-matrix'), (None, {}, 'wanted one of'), (['sealed'], {}, 'wanted one of'),
    ('sealed', dict(form='split'), 'leave it out'), ('homomorphic', dict(rule='balanced'), 'leave it out'),
    ('random-matrix', dict(form='x'), 'wanted one of basic, split, noisy'),
    ('random-matrix', dict(capacity=3), 'this lock has form, rule'),
    ('private-walk', dict(capacity=0), 'a whole number from 1'),
    ('decoy-walk', dict(decoys=-1), 'a whole number from 0')])
def test_options_that_there_are_not(lock, options, said, tmp_path):
    "The refusal names what was given and what was wanted, and nothing is written."
    with pytest.raises(InputError, match=said):
        Owner(OwnerKey.generate()).create(tmp_path / 'index', names_only(['a']), np.zeros((1, 2), np.uint8), b'',
                                          photos='none', lock=lock, **options)
    assert not list(tmp_path.iterdir())


def test_more_bits_than_the_homomorphic_lock_takes(tmp_path):
    "264 bits are refused before anything is in the folder; 256 are not, and can be searched."
    for form in ('encrypted', 'public'):
        with pytest.raises(InputError, match='at most 256'):
            index_of(form, tmp_path / 'index', crowded(0, 3, 264))
        assert not (tmp_path / 'index').exists()
    w = index_of('encrypted', tmp_path / 'index', crowded(0, 3, 256))
    assert len(w.search(np.zeros(32, np.uint8))) == 3


@pytest.mark.parametrize('codes', [np.zeros((2, 2), np.uint8), np.zeros((3, 2)), np.zeros(3, np.uint8),
                                   np.zeros((3, 0), np.uint8), np.zeros((3, 2), bool), [[0, 0]] * 3, None], ids=str)
def test_codes_that_do_not_fit(codes, tmp_path):
    "Nothing is written, for a new index and for one that is there."
    w, photos = index_of('sealed', tmp_path / 'there', crowded(1, 9, 16)), names_only(['x', 'y', 'z'])
    before = state(w.folder)
    for write in (lambda: Owner(w.key).create(tmp_path / 'index', photos, codes, b'', lock='sealed', photos='none'),
                  lambda: Owner(w.key).add(w.folder, photos, codes)):
        with pytest.raises(InputError, match='wanted'):
            write()
    with pytest.raises(InputError, match="the index's own encoder"):
        Owner(w.key).add(w.folder, names_only(['x']), np.zeros((1, 3), np.uint8))
    assert state(w.folder) == before and not (tmp_path / 'index').exists()


def test_codes_that_no_manifest_takes(tmp_path):
    "Written, such an index could not be read again."
    with pytest.raises(InputError, match='at most 65,536'):
        index_of('sealed', tmp_path / 'index', np.zeros((2, 2 ** 13 + 1), np.uint8))
    assert not (tmp_path / 'index').exists()
    assert index_of('sealed', tmp_path / 'index', np.zeros((2, 2 ** 13), np.uint8)).manifest.bits == 2 ** 16


def test_options_of_numpy(tmp_path):
    "They are written as JSON has them."
    w = index_of('decoys', tmp_path / 'index', crowded(1, 9, 16), decoys=np.int64(2), capacity=np.int32(4))
    assert w.manifest.options == dict(rule='balanced', decoys=2, capacity=4)
    assert w.search(np.zeros(2, np.uint8))


def test_folders_and_encoders_that_are_none(tmp_path):
    "A zero byte in the folder's name, and an encoder that is no bytes."
    for folder, encoder, said in ((f'{tmp_path}/a\0b', b'', 'zero byte'), (tmp_path / 'index', 'text', 'its bytes'),
                                  (tmp_path / 'index', None, 'its bytes')):
        with pytest.raises(InputError, match=said):
            Owner(OwnerKey.generate()).create(folder, names_only(['a']), np.zeros((1, 2), np.uint8), encoder,
                                              photos='none', lock='sealed')
    assert not list(tmp_path.iterdir())


def test_a_link_that_leads_round(tmp_path):
    "An error of the operating system, and nothing is written."
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    with pytest.raises(OSError):
        index_of('sealed', tmp_path / 'loop', crowded(1, 3, 16))
    assert [path.name for path in tmp_path.iterdir()] == ['loop']


@pytest.mark.parametrize('name', ['', 'a\0b', '\0', 7, None, '\ud800'], ids=ascii)
def test_names_that_are_none(name, tmp_path):
    "A zero byte in a name would break every program that writes such a file: refused before anything is written."
    w, code = index_of('sealed', tmp_path / 'there', crowded(1, 9, 16)), np.zeros((1, 2), np.uint8)
    before, who, photos = state(w.folder), Owner(w.key), names_only([name])
    for write in (lambda: who.create(tmp_path / 'index', photos, code, b'', lock='sealed', photos='none'),
                  lambda: who.add(w.folder, photos, code)):
        with pytest.raises(InputError, match='no name of a photograph'):
            write()
    assert state(w.folder) == before and not (tmp_path / 'index').exists()


def test_photographs_that_are_there_or_not(tmp_path):
    "Adding what is there, removing what is not, and removing everything change nothing."
    w = index_of('split', tmp_path / 'index', crowded(1, 9, 16))
    before, who = state(w.folder), Owner(w.key)
    with pytest.raises(InputError, match='2 photographs are in the index already, for example 0/000'):
        who.add(w.folder, names_only(['new', '0/000', '1/001']), crowded(2, 3, 16))
    with pytest.raises(NotFoundError, match='1 of these are not in the index, for example nobody: nothing was changed'):
        who.remove(w.folder, ['0/000', 'nobody'])
    with pytest.raises(InputError, match='every photograph'):
        who.remove(w.folder, who.open(w.folder).collection.names)
    with pytest.raises(InputError, match='same key'):
        who.rotate(w.folder, w.key)
    assert state(w.folder) == before


def test_folders_that_hold_something_else(tmp_path):
    "Nothing of yours is overwritten, and a missing parent is named."
    who, code = Owner(OwnerKey.generate()), np.zeros((1, 2), np.uint8)
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'letter.txt').write_text('')
    (tmp_path / 'file').write_text('')
    for folder, said in (('mine', 'holds no index'), ('file', 'holds no index'), ('a/b', 'there is no folder')):
        with pytest.raises(InputError, match=said):
            who.create(tmp_path / folder, names_only(['a']), code, b'', lock='sealed', photos='none')
    with pytest.raises(NotFoundError, match='holds no index'):
        who.open(tmp_path / 'mine')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty' / 'g000001-00000000').mkdir()  # what a change that was cut off leaves
    who.create(tmp_path / 'empty', names_only(['a']), code, b'', lock='sealed', photos='none')
    assert replaceable(who.key, who.trust, tmp_path / 'empty').version == 1
    assert replaceable(who.key, who.trust, tmp_path / 'new') is None


# Who may do what

@one_each
def test_a_granted_key_cannot_write(variant, tmp_path):
    "A user's key has no signing key, reaches none, and no owner accepts it; neither does another owner's key."
    w = index_of(variant, tmp_path / 'index', crowded(3, 20, 16))
    granted = Owner(w.key).grant()
    assert type(granted) is UserKey and not hasattr(granted, 'signing') and not hasattr(granted, 'sign')
    assert w.key.signing not in [content(o) for o in reachable(granted)]
    assert not any(isinstance(o, OwnerKey) for o in reachable(granted))
    assert w.key.signing in [content(o) for o in reachable(w.key)]
    assert w.key.signing not in [content(o) for o in reachable(w.user)]
    with pytest.raises(AccessError, match='may search but not write'):
        Owner(granted)
    other = Owner(OwnerKey.generate())
    for name, refused in changes(w.folder, other).items():
        with pytest.raises(AccessError, match='not the key of this index'):
            refused(), name


@one_each
def test_rewritten_manifests_are_noticed(variant, tmp_path):
    "A cloud that changes a file and shows the fitting manifest is found at the greeting, and by the owner."
    w = index_of(variant, tmp_path / 'index', crowded(3, 20, 16))
    rewrite_file(w.folder, 'records', lambda arrays: dict(records=arrays['records'][::-1].copy()))
    with pytest.raises(SignatureError, match='altered'):
        User.connect(w.key.grant(), Local(CloudService(w.folder)))
    for refused in changes(w.folder, Owner(w.key)).values():
        with pytest.raises(SignatureError, match='altered'):
            refused()


def test_a_version_has_ids_of_its_own(tmp_path):
    "An id is never given twice, and a new index in the same folder goes on counting."
    w = index_of('sealed', tmp_path / 'index', crowded(1, 9, 16))
    who = Owner(w.key)
    assert who.add(w.folder, names_only(['x', 'y']), crowded(2, 2, 16)).ids.tolist() in ([9, 10], [10, 9])
    who.remove(w.folder, ['x', 'y'])
    assert who.add(w.folder, names_only(['z']), crowded(2, 1, 16)).ids.tolist() == [11]
    made = who.create(w.folder, names_only(['a', 'b']), crowded(3, 2, 16), b'', lock='sealed', photos='none')
    assert sorted(made.ids.tolist()) == [12, 13]
    manifest = read_manifest(w.folder)
    assert (manifest.index, manifest.version, manifest.next_id) == (w.manifest.index, 5, 14)


def test_errors_of_the_store_are_ours(tmp_path):
    "A folder that is no index, or damaged, gives the package's own errors."
    w = index_of('sealed', tmp_path / 'index', crowded(1, 9, 16))
    manifest = w.folder / 'manifest.json'
    for damage in (b'', b'{}', manifest.read_bytes()[:-9], b'\xff' * 99):
        manifest.write_bytes(damage)
        for refused in changes(w.folder, Owner(w.key)).values():
            with pytest.raises(TreePrivacyError):
                refused()
