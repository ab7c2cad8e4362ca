"""What a cloud reaches: nothing of keys, codes, encoder, names, labels and pictures, under every lock.

The same search notices every secret that is planted. What the half of a lock holds by itself is in
contract/test_lock_secrets; here it is the whole service with its folder and everything that was sent to it.
"""
import io

import numpy as np
import pytest
import seal
from contract.lock_variants import ASKING, MATRIX, VARIANTS, WALKS
from made_once import made_once
from secret_search import (
    BITS,
    KINDS,
    content,
    found_in,
    opened_up,
    pir_key,
    reachable,
    retrieval_secret,
    score_secret,
    secrets_of,
)

from security.albums import HOLDING, held_bytes, leaked, made, secrets_of_album, used
from tree_privacy.bits import hamming
from tree_privacy.client.owner import Owner
from tree_privacy.cloud import service
from tree_privacy.core import AccessError
from tree_privacy.crypto.keys import OwnerKey, UserKey
from tree_privacy.crypto.ring import ternary
from tree_privacy.crypto.sealing import Sealer
from tree_privacy.locks import homomorphic
from tree_privacy.locks.homomorphic import ScoreCheck, code_columns, scoring_key, scoring_ring
from tree_privacy.locks.random_matrix import version_matrices
from tree_privacy.pir import bfv
from tree_privacy.store.manifest import check_signature
from tree_privacy.store.photos import thumbnail

every = pytest.mark.parametrize('variant', VARIANTS)


@pytest.fixture(scope='module')
def albums(tmp_path_factory):
    "One used index for each variant; whoever plants something takes it out again."
    return made_once(used, tmp_path_factory.mktemp('albums'))


@every
def test_the_cloud_holds_no_secret(variant, albums):
    "Nothing that can be reached from the cloud, lies in its folder, or was sent to it or by it, holds a secret."
    album = albums(variant)
    assert not leaked(album)
    assert not found_in(secrets_of_album(album), opened_up(album.heard))
    assert not found_in([('note', b'note-of-the-searcher')], [('message', data) for data in album.heard])


@every
def test_the_walk_reaches_what_the_cloud_has(variant, albums):
    "The walk does reach the ciphertexts, the sealed records and photographs, and the manifest."
    album, reader = albums(variant), albums(variant).cloud.reader
    arrays = [(name, array) for name in reader.names() for array in reader.arrays(name).values()]  # opened now
    things = reachable(album.cloud)
    there = {id(o) for o in things}
    assert all(id(a) in there or id(a.base) in there for _, a in [('', reader.records), *arrays])
    assert id(album.manifest) in there
    ends = [(name, array.tobytes()[-64:]) for name, array in arrays if array.nbytes >= 64]
    found = found_in(ends, held_bytes(album))
    names = {name for name, _ in arrays}
    memory = ('object of type mmap', 'object of type bytes')  # large files are mapped, small ones read
    assert names == {name for name, where in found if where in memory}
    assert names == {name for name, where in found if where == f'{name}.safetensors'}
    if variant in HOLDING:
        assert any(isinstance(o, seal.GaloisKeys) and len(content(o)) > 10 ** 6 for o in things)


def sorted_codes(album):
    "Codes in the order of ids."
    return album.codes[np.argsort(album.created.ids)]


def matrices(album):
    return version_matrices(album.key.secret, album.manifest.index, 1, BITS, 'split')


def a_closure(secret):
    return lambda: secret


PLANTED = {
    'attribute': lambda a: [dict(deep=(a.key.secret,))],
    'hexadecimal': lambda a: a.key.secret.hex(),
    'whole number': lambda a: int.from_bytes(a.key.secret, 'big'),
    'closure': lambda a: a_closure(a.key.secret),
    'default': lambda a: lambda secret=a.key.secret: secret,
    'signing key': lambda a: a.key,
    'owner': lambda a: Owner(a.key),
    'user': lambda a: a.user,
    'conversation': lambda a: a.user.fetch([0], 'direct'),
    'sealer': lambda a: Sealer(a.key, '00' * 8).seal,
    'matrix': lambda a: np.float32(matrices(a).inverses[1]),
    'encoder window': lambda a: b'??' + a.encoder[1234:1298] + b'??',
    'encoder array': lambda a: np.frombuffer(a.encoder[8:1608], np.float32),
    'code': lambda a: a.codes.copy(),
    'thumbnail': lambda a: io.BytesIO(thumbnail(a.photos[5])),
    'pixels': lambda a: np.asarray(a.photos[5]),
    'plain tree': lambda a: a.tree,
    'order of ids': lambda a: a.created.ids.copy(),
    'names': lambda a: [np.frombuffer(a.photos.names[3].encode(), np.uint8)],
    'labels': lambda a: list(a.photos.labels),
    'photographs': lambda a: a.photos,
    'polynomial': lambda a: scoring_key(score_secret(a)).values[0, 700:800].copy(),
    'coefficients': lambda a: ternary(score_secret(a), homomorphic.N).astype(np.int8)[1000:1300],
    'SEAL key': lambda a: scoring_key(score_secret(a))._decryptor,
    'SEAL plaintext': lambda a: scoring_ring().plaintext_from(code_columns(sorted_codes(a))[0, 5]),
    'weights': lambda a: ScoreCheck(score_secret(a), len(a.codes)).weights[3],
    'retrieval key': lambda a: pir_key(a).values[1, 100:200].tobytes(),
    'retrieval coefficients': lambda a: ternary(retrieval_secret(a), bfv.SLOTS)[500:700],
    'means': lambda a: dict(told=a.user.client.client_data),
    'buckets': lambda a: a.user.client.top.group_bucket,
}
TRIED = {'split': ('attribute', 'hexadecimal', 'whole number', 'closure', 'default', 'signing key', 'owner', 'user',
                   'conversation', 'sealer', 'matrix', 'encoder window', 'encoder array', 'code', 'thumbnail', 'pixels',
                   'plain tree', 'order of ids', 'labels', 'photographs'),
         'encrypted': ('polynomial', 'coefficients', 'SEAL key', 'SEAL plaintext', 'weights', 'retrieval key',
                       'retrieval coefficients', 'code', 'user', 'encoder array'),
         'sealed': ('hexadecimal', 'code', 'names', 'order of ids', 'retrieval key', 'user', 'encoder array'),
         'small buckets': ('means', 'buckets', 'retrieval key', 'retrieval coefficients', 'code', 'user',
                           'encoder array'),
         'decoys': ('means', 'code')}


@pytest.mark.parametrize('variant, how', [(variant, how) for variant, some in TRIED.items() for how in some])
def test_the_search_for_secrets_notices(variant, how, albums):
    "A broken twin of the cloud is found out, wherever the secret is."
    album = albums(variant)
    album.cloud.extra = PLANTED[how](album)
    try:
        assert leaked(album)
    finally:
        del album.cloud.extra


@pytest.mark.parametrize('how', ['column', 'name in a file', 'name of a file', 'encoder', 'reply'])
def test_the_search_for_secrets_notices_files(how, tmp_path):
    "In the folder, in names of files, and in what was sent."
    album = made('encrypted' if how == 'column' else 'split', tmp_path / 'index')
    if how == 'column':
        column = code_columns(sorted_codes(album))[0, 5]
        (album.folder / 'x').write_bytes(scoring_ring().to_ntt(column).tobytes()[300:1600])
    if how == 'name in a file':
        (album.folder / 'notes.txt').write_text(f'these are {album.photos.names[7]}')
    if how == 'name of a file':
        (album.folder / f'{KINDS[1]}.safetensors').write_bytes(b'')
    if how == 'encoder':
        (album.folder / 'more').mkdir()
        (album.folder / 'more' / 'x').write_bytes(b'?' * 5 + album.encoder[77:150])
    if how == 'reply':
        album.heard.append(b'...' + album.codes[9].tobytes())
    assert leaked(album)


def test_the_search_for_secrets_notices_a_cache(tmp_path, monkeypatch):
    "A key that a module of the package remembers counts as held."
    album = made('split', tmp_path / 'index', 'none')
    assert not leaked(album)
    monkeypatch.setattr(service, 'cache', {'last': album.key.grant()}, raising=False)
    assert {what for what, _ in leaked(album)} == {'key secret', 'object'}


@every
def test_users_get_what_was_hidden(variant, albums):
    "The secrets are in there all the same: with the key, names and thumbnails come out."
    album = albums(variant)
    place = {int(id): at for at, id in enumerate(album.created.ids)}
    assert len(album.files) == len(album.hits) > 4
    assert VARIANTS[variant][0] not in ('homomorphic', 'sealed') or len(album.hits) == 10
    for hit, file in zip(album.hits, album.files, strict=True):
        at = place[hit.id]
        assert file.id == hit.id and file.name == album.photos.names[at] and hit.name in (file.name, None)
        assert (hit.name is None) == (variant not in MATRIX and variant in ASKING)
        assert file.data == thumbnail(album.photos[at])
        assert hit.distance == hamming(album.codes[3][None], album.codes[at][None])[0, 0]


# Who may do what

@every
def test_a_granted_key_cannot_write(variant, albums):
    "A user's key has no signing key, reaches none, and no owner accepts it; nor does a user reach one."
    album, granted = albums(variant), albums(variant).key.grant()
    assert type(granted) is UserKey and not hasattr(granted, 'signing') and not hasattr(granted, 'sign')
    for thing in (granted, album.user):
        reached = reachable(thing)
        assert album.key.signing not in [content(o) for o in reached]
        assert not any(isinstance(o, OwnerKey) for o in reached)
    assert album.key.signing in [content(o) for o in reachable(album.key)]
    with pytest.raises(AccessError, match='may search but not write'):
        Owner(granted)
    check_signature(album.manifest, granted)


@every
def test_representations_show_no_secret(variant, albums):
    "Printing what an owner, a user and a cloud have shows numbers of keys, not keys."
    album = albums(variant)
    opened = Owner(album.key).open(album.folder)
    shown = [Owner(album.key), album.key, album.key.grant(), album.user, album.user.client, album.user.access,
             album.cloud, album.cloud.lock, album.line, album.user.fetch([0], 'direct'), opened.sealer, opened.manifest]
    shown += [album.user.client.top] if variant in WALKS else []
    words = ' '.join(map(repr, shown))
    secret = [(what, x) for what, x in secrets_of(album) if what not in ('label', 'mean', 'buckets of groups', 'sums')]
    assert not found_in(secret, [('words', words.encode())])
    assert album.key.secret.hex()[:8] not in words and album.key.signing.hex()[:8] not in words
    assert album.key.id in words
