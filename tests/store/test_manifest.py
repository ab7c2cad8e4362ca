"A manifest from a cloud: every field is checked, everything is signed, and reading ends whatever lies there."

import dataclasses
import json
import os

import numpy as np
import pytest
from core.guards import hostile_files, refused_by

from store.small_index import OwnerKey, create, draft, whole
from tree_privacy.core import AccessError, FormatError, InputError, NotFoundError, SignatureError, TreePrivacyError
from tree_privacy.store.manifest import FORMAT, MANIFEST, Manifest, check_signature, read_manifest
from tree_privacy.store.reader import IndexReader

FIELDS = [f.name for f in dataclasses.fields(Manifest)]
CHECKED_BY_LOCKS = {'options', 'fields'}
STRANGE = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    7,
    1.5,
    1e300,
    -0.0,
    10**6,
    10**30,
    '',
    'x',
    '0',
    '../..',
    'g000001-00000000',
    '0' * 16,
    [],
    [1],
    [[0, 1]],
    [[0, 5]],
    [[-1, 30]],
    [[0, 1, 2]],
    [['a', 'b']],
    [[0, 2**70]],
    [[3, 1], [1, 1]],
    {},
    {'a': 1},
    {'a': [1]},
    {'tree': {}},
    {'tree': {'bytes': 1}},
    {'../tree': {'bytes': 1, 'sha256': '0' * 64}},
    {'tree': {'bytes': -1, 'sha256': '0' * 64}},
    {'tree': {'bytes': 1, 'sha256': '0' * 64, 'more': 1}},
    'thumbs',
    'sealed',
    'missing',
]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "An index and its key."
    folder, key = tmp_path_factory.mktemp('made') / 'index', OwnerKey.generate()
    create(folder, key, range(30))
    return folder, key


@pytest.fixture
def index(made):
    "The index, whose manifest is put back afterwards."
    path = made[0] / MANIFEST
    good = path.read_bytes()
    yield made
    if path.is_symlink() or not path.is_file():
        path.unlink()
    path.write_bytes(good)


def altered(folder, **changes):
    path = folder / MANIFEST
    about = json.loads(path.read_bytes()) | changes
    path.write_text(json.dumps({k: v for k, v in about.items() if v != 'missing'}))


def test_a_manifest_comes_back(index):
    folder, key = index
    m = read_manifest(folder)
    check_signature(m, key)
    check_signature(m, key.grant())
    assert Manifest.from_json(json.loads(json.dumps(m.to_json())), 'x') == m and whole(folder, key) == set(range(30))
    assert m.id_array().tolist() == list(range(30)) and m.id_array().dtype == np.int64
    again = draft(key, range(30))
    assert (again.hash == m.hash, again.signed_by(key).hash == again.hash) == (False, True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        m.version = 2


@pytest.mark.parametrize('field', ['tree_privacy', 'format', *FIELDS])
def test_every_field_is_checked_and_signed(field, index):
    "Whatever is in a field instead, reading refuses it, or the signature does. A reader without a key never crashes."
    folder, key = index
    good = json.loads((folder / MANIFEST).read_bytes())
    for value in STRANGE:
        if value == good[field] and type(value) is type(good[field]):
            continue
        altered(folder, **{field: value})
        try:
            m = read_manifest(folder)
        except FormatError as error:
            assert field in str(error) or 'format' in str(error) or 'manifest' in str(error) or 'ids' in str(error)
        else:
            with pytest.raises((SignatureError, AccessError)):
                check_signature(m, key)
            try:
                IndexReader(folder)
            except TreePrivacyError:
                pass
            else:
                assert field in {
                    *CHECKED_BY_LOCKS,
                    'index',
                    'version',
                    'key',
                    'lock',
                    'next_id',
                    'photos',
                    'photo_size',
                    'signature',
                    'bits',
                }
        altered(folder, **good)


def test_fields_that_do_not_belong_there(index):
    "A field that nobody knows is refused, for it would not be signed."
    altered(index[0], more=1)
    with pytest.raises(FormatError, match="'more'"):
        read_manifest(index[0])


@pytest.mark.parametrize(
    'text',
    [
        b'',
        b'{',
        b'[]',
        b'3',
        b'null',
        b'{}',
        b'\xff\xfe',
        b'[' * 100000,
        b'{"tree_privacy": "index"}',
        b'{"tree_privacy": "index", "format": 2}',
        b'{"tree_privacy": "index", "format": NaN}',
    ],
)
def test_manifests_that_are_none(text, index):
    (index[0] / MANIFEST).write_bytes(text)
    with pytest.raises(FormatError, match=MANIFEST):
        read_manifest(index[0])


def test_truncated_manifests(index):
    path = index[0] / MANIFEST
    good = path.read_bytes()
    for length in (1, 100, len(good) // 2, len(good) - 3):
        path.write_bytes(good[:length])
        with pytest.raises(FormatError, match='damaged'):
            read_manifest(index[0])


def test_other_formats(index):
    altered(index[0], format=FORMAT + 1)
    with pytest.raises(FormatError, match='upgrade'):
        read_manifest(index[0])
    altered(index[0], format=1)
    with pytest.raises(FormatError, match='make the index again'):
        read_manifest(index[0])


@pytest.mark.parametrize('generation', ['../elsewhere', '/elsewhere', 'g000001-0000000g', '.', ''])
def test_generations_that_lead_elsewhere(generation, index):
    "Names in a manifest must not lead out of the index."
    altered(index[0], generation=generation)
    with pytest.raises(FormatError, match="'generation'"):
        read_manifest(index[0])


@pytest.mark.parametrize('name', ['../tree', 'a/b', 'tree.safetensors', 'Tree', '', '\0', 'tree\n', '.'])
def test_files_that_lead_elsewhere(name, index):
    altered(index[0], files={name: dict(bytes=1, sha256='0' * 64)})
    with pytest.raises(FormatError, match="'files'"):
        read_manifest(index[0])


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this test forks')
@pytest.mark.parametrize('i', range(7))
def test_manifests_that_never_end(i, index, tmp_path):
    "A folder, a pipe, a socket, or a link to a device that never ends is refused at once."
    folder, _ = index
    path = hostile_files(tmp_path)[i]
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).symlink_to(path)
    assert refused_by(lambda: read_manifest(folder)) == 'FormatError'
    assert refused_by(lambda: IndexReader(folder)) == 'FormatError'


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this test forks')
def test_a_manifest_of_a_terabyte(index):
    "A file with a hole of a terabyte is refused before it is read."
    with open(index[0] / MANIFEST, 'r+b') as file:
        file.truncate(2**40)
    assert refused_by(lambda: read_manifest(index[0])) == 'FormatError'


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this test forks')
def test_two_billion_photographs(index):
    "A manifest that claims two billion ids is refused by the records before the ids are made."
    altered(index[0], ids=[[0, 2**31]], photographs=2**31, next_id=2**31)
    assert refused_by(lambda: IndexReader(index[0])) == 'FormatError'


def test_no_index(tmp_path):
    (tmp_path / 'file').touch()
    for folder in (tmp_path, tmp_path / 'nowhere', tmp_path / 'file'):
        with pytest.raises(NotFoundError, match='holds no index'):
            read_manifest(folder)
    with pytest.raises(InputError, match='zero byte'):
        read_manifest('a\0b')


def test_keys_and_signatures(index):
    "The key of another index, a signature of another owner with the same secret, and one of a changed manifest."
    folder, key = index
    m = read_manifest(folder)
    with pytest.raises(AccessError, match='is not the key of this index'):
        check_signature(m, OwnerKey.generate())
    other = OwnerKey(key.secret, OwnerKey.generate().signing)
    for wrong in (
        m.signed_by(other),
        dataclasses.replace(m, signature=''),
        dataclasses.replace(m, signature='0' * 128),
        dataclasses.replace(m, signature='no hexadecimal digits'),
        dataclasses.replace(m, version=2),
    ):
        with pytest.raises(SignatureError, match='the owner did not sign'):
            check_signature(wrong, key)
