"The cloud: whatever is asked, the answer is a reply or the package's own error, and never much work."
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from contract.lock_variants import ASKING, EVERYTHING, MATRIX, VARIANTS, crowded
from made_once import made_once
from parties import codes_of, index_of, nearest, pairs, raw_message, rewritten, variants, with_photos

import tree_privacy.cloud.service as service_module
from tree_privacy.client.owner import Owner
from tree_privacy.client.transport import Local, run
from tree_privacy.client.user import User, describe_request
from tree_privacy.cloud.service import CloudService
from tree_privacy.core import FormatError, InputError, NotFoundError, TreePrivacyError
from tree_privacy.store.photos import RowTable
from tree_privacy.wire import read_message, write_message

every, asking = (pytest.mark.parametrize('variant', some) for some in (VARIANTS, ASKING))


@pytest.fixture(scope='module')
def worlds(tmp_path_factory):
    "One index for each variant, of codes of 16 bits, not to be changed."
    home = tmp_path_factory.mktemp('clouds')
    return made_once(lambda variant, folder: index_of(variant, folder, codes_of(variant)), home)


def place(w, **more):
    return dict(index=w.manifest.index, version=w.manifest.version) | more


TOKEN = dict(token=np.zeros(16, np.uint8))


# Requests that make no sense

MISSHAPEN = {'missing', 'none', 'deeper', 'number', 'int16', 'float64', 'bool', 'transposed', 'nan', 'infinite', 'much',
             'negative', 'huge', 'shorter 1', 'shorter 2', 'doubled 1', 'doubled 2'}


def check_requests(cloud, request, name, misshapen=MISSHAPEN):
    """Every variant of an array is refused where its shape or range is wrong, and never ends in anything but a reply or
    the package's own error."""
    x, refused = read_message(request).arrays[name], set()
    for what, other in variants(x):
        same_kind = other is not None and other.shape == x.shape and other.dtype == x.dtype
        if same_kind and other.tobytes() == x.tobytes():
            continue
        try:
            assert type(cloud.handle(rewritten(request, **{name: other}))) is bytes
        except TreePrivacyError:
            refused.add(what)
        else:
            assert what not in misshapen or what == 'transposed' and other.shape == x.shape, (name, what)
    return refused


@pytest.mark.parametrize('variant', ['split', 'encrypted', 'walk', 'decoys'])
def test_misshapen_searches(variant, worlds):
    "Arrays that are missing, of other types and shapes, out of range, no numbers at all; a token that is missing."
    w = worlds(variant)
    request = next(w.user.search(crowded(8, 1, 16)[0]))
    names = sorted(set(read_message(request).arrays) - {'token'})
    for name in names:
        also = {'shorter 0', 'doubled 0'} if name not in ('buckets', 'c0') else set()
        refused = check_requests(w.cloud, request, name, MISSHAPEN | also)
        assert refused >= {'missing', 'none', 'deeper', 'float64' if name != 'trapdoor' else 'nan'}
    for wrong in ({name: None for name in names}, {name: np.zeros(0) for name in names},
                  {name: np.zeros((), np.int64) for name in names}):
        with pytest.raises(TreePrivacyError):
            w.cloud.handle(rewritten(request, **wrong))
    with pytest.raises(InputError, match='token'):
        w.cloud.handle(rewritten(request, token=None))


@asking
def test_headers_of_requests(variant, worlds):
    "Another version or index, and, where the cloud is told them, numbers of results and nodes that are none."
    w = worlds(variant)
    request = next(w.user.search(crowded(8, 1, 16)[0]))
    strange = (..., None, '', 'x', [], {}, 0, -1, 2 ** 70, 1.5, float('nan'), float('inf'))
    for field in ('version', 'index') + (('k', 'nodes', 'fill') if variant in MATRIX else ()):
        for value in strange:
            with pytest.raises(TreePrivacyError):
                w.cloud.handle(rewritten(request, {field: value}))
    with pytest.raises(InputError, match='ask again'):
        w.cloud.handle(rewritten(request, dict(version=2)))
    with pytest.raises(InputError, match='another index'):
        w.cloud.handle(rewritten(request, dict(index='00' * 8)))


def test_the_sealed_lock_does_not_search(worlds):
    with pytest.raises(InputError, match='cannot search'):
        worlds('sealed').cloud.handle(write_message('search', place(worlds('sealed'), k=3), TOKEN))


@pytest.mark.parametrize('name', ['x', '', '../manifest.json', 'manifest.json', '/etc/passwd', 'records.safetensors',
                                  'a\0b', 'records\0', None, 3, float('nan'), True, [], ['records'], {}, {'a': 1}],
                         ids=repr)
def test_files_that_are_none(name, worlds):
    "Names of files that are not in the manifest, paths, and what is no name; alone and with the greeting."
    w = worlds('sealed')
    with pytest.raises((InputError, FormatError)):
        w.cloud.handle(raw_message('file', place(w, name=name), TOKEN))
    try:
        reply = w.cloud.handle(raw_message('describe', dict(files=[name]), {}))
    except TreePrivacyError:
        return
    assert not read_message(reply).arrays


@pytest.mark.parametrize('files', [None, 5, 'encoder', {}, ['encoder'] * 3, [['encoder']], [None], True], ids=repr)
def test_greetings_that_ask_for_strange_things(files, worlds):
    "A list of at most two names, or nothing of the kind."
    with pytest.raises(InputError, match='a list of at most 2 names'):
        worlds('sealed').cloud.handle(write_message('describe', dict(files=files)))


def test_greetings(worlds):
    "The manifest alone, or with the files that were asked for and are there."
    w = worlds('walk')
    for files, wanted in (([], []), (['encoder'], ['encoder']), (['encoder', 'x'], ['encoder']),
                          (['encoder', 'client-data'], ['client-data', 'encoder'])):
        reply = read_message(w.cloud.handle(write_message('describe', dict(files=files))))
        assert sorted(reply.arrays) == wanted and reply.header['manifest'] == w.manifest.to_json()
        for name in wanted:
            assert reply.arrays[name].tobytes() == w.cloud.reader.file_bytes(name)
    assert not read_message(w.cloud.handle(write_message('describe', {}))).arrays


@pytest.mark.parametrize('variant', ['split', 'sealed', 'encrypted', 'walk', 'decoys'])
def test_misshapen_fetches(variant, worlds):
    "Photographs by ids that are none, and by private requests that are none."
    w = worlds(variant)
    request = next(w.user.fetch(w.ids[:2], 'direct'))
    check_requests(w.cloud, request, 'ids', MISSHAPEN - {'none', 'missing'} | {'doubled 0'})  # no ids: no photographs
    for ids in ([99], [-1], [2 ** 62], [0, 0]):
        with pytest.raises(InputError, match='no photographs'):
            w.cloud.handle(rewritten(request, ids=np.array(ids)))
    for rows in ((2 ** 24, 0), (2 ** 12, 2 ** 12, 0)):  # without a byte of data
        with pytest.raises(InputError, match='no photographs int64 of shape') as refusal:
            w.cloud.handle(rewritten(request, ids=np.zeros(rows, np.int64)))
        assert len(str(refusal.value)) < 200
    with pytest.raises(InputError, match='token'):
        w.cloud.handle(rewritten(request, token=None))
    if variant in MATRIX:
        return
    request = next(w.user.fetch(w.ids[:2], 'private'))
    for name in ('seed', 'c0'):
        check_requests(w.cloud, request, name)
    with pytest.raises(FormatError, match='no ciphertext'):
        w.cloud.handle(rewritten(request, c0=np.full_like(read_message(request).arrays['c0'], 255)))
    for header in (dict(version=2), dict(version=None), dict(index='00' * 8)):
        with pytest.raises(InputError):
            w.cloud.handle(rewritten(request, header))


@pytest.mark.parametrize('kind', ['', 'x', 'found', 'index', 'photos', 'hello', 'private', 'Search'])
def test_kinds_that_are_none(kind, worlds):
    w = worlds('sealed')
    with pytest.raises(FormatError, match='wanted a describe or search or fetch or file or rows message'):
        w.cloud.handle(write_message(kind, place(w), TOKEN))


def test_what_is_no_message(worlds):
    "Nothing, noise, cut short, one bit changed: always a `FormatError`."
    w, rng = worlds('split'), np.random.default_rng(0)
    request = next(w.user.search(np.zeros(2, np.uint8)))
    wrong = [b'', b'TREE', b'TREE\x01', rng.bytes(99), request[:-1], request[:30], request + b'x']
    for _ in range(50):
        raw = bytearray(request)
        raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
        wrong.append(bytes(raw))
    for data in wrong:
        with pytest.raises(FormatError):
            w.cloud.handle(data)


def test_shapes_that_would_take_all_memory(worlds):
    "An empty array of a terabyte of columns; a million times the same bucket: refused, with no memory taken."
    for variant in ('split', 'encrypted', 'walk', 'decoys', 'sealed'):
        w = worlds(variant)
        for shape in ((0, 2 ** 40), (2 ** 40, 0), (2 ** 20, 0, 2 ** 20)):
            for kind in ('search', 'fetch', 'rows', 'file'):
                for name in ('token', 'ids', 'c0', 'buckets', 'trapdoor', 'first'):
                    data = raw_shape(kind, place(w), name, shape)
                    with pytest.raises(TreePrivacyError):
                        w.cloud.handle(data)
    w = worlds('decoys')
    with pytest.raises(TreePrivacyError, match='each once'):
        w.cloud.handle(write_message('search', place(w), TOKEN | dict(buckets=np.zeros(400_000, np.int64))))


def raw_shape(kind, header, name, shape):
    "A message with an array that has no bytes, whatever its shape says."
    import hashlib
    import json
    about = {'__metadata__': {'header': json.dumps(dict(header, kind=kind))},
             name: dict(dtype='U8', shape=list(shape), data_offsets=[0, 0])}
    text = json.dumps(about).encode()
    text += b' ' * (-len(text) % 8)
    body = len(text).to_bytes(8, 'little') + text
    return write_message('x', {})[:5] + hashlib.sha256(body).digest()[:16] + body


# Versions

def test_a_version_that_is_gone(tmp_path):
    """A cloud that has opened an old version goes on answering from it, and so does a user who asks it; a new one says
    that the question is for another version."""
    w, code = index_of('sealed', tmp_path / 'index', crowded(1, 30, 32)), np.zeros(4, np.uint8)
    asked = next(w.user.search(code))
    old, before = w.user, nearest(w, code, 10)
    Owner(w.key).remove(w.folder, ['0/003'])
    assert pairs(run(old.search(code), Local(w.cloud)).hits) == before
    new = CloudService(w.folder)
    with pytest.raises(InputError, match='which is now at 2: ask again'):
        new.handle(asked)
    found = run(User.connect(w.key.grant(), Local(new)).search(code), Local(new)).hits
    assert pairs(found) == nearest(w, code, 10) and len(found) == 10


def test_replies_tell_their_version(tmp_path):
    "A direct fetch is answered by any version that has the photographs, and says which it is."
    w = index_of('sealed', tmp_path / 'index', crowded(1, 9, 16))
    request = next(w.user.fetch([0], 'direct'))
    now = Owner(w.key).open(w.folder).collection
    Owner(w.key).remove(w.folder, [next(name for name, i in zip(now.names, now.ids, strict=True) if i)])
    assert read_message(CloudService(w.folder).handle(request)).header['version'] == 2


# Indexes that are damaged

@every
def test_damaged_indexes_are_refused(variant, tmp_path):
    "A byte changed in a file that is read whole, a pack cut short, a file that is missing: found when it is opened."
    w = with_photos(variant, tmp_path / 'index', 'thumbs')
    for path in sorted((w.folder / w.manifest.generation).iterdir()):
        data = path.read_bytes()
        wrong = data[:-1] if path.name.startswith('photos-') else data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
        path.write_bytes(wrong)
        with pytest.raises(FormatError):
            CloudService(w.folder)
        path.unlink()
        with pytest.raises((FormatError, NotFoundError)):
            CloudService(w.folder)
        path.write_bytes(data)
    assert CloudService(w.folder).manifest == w.manifest and repr(w.cloud).startswith('CloudService(14 photographs, ')


# What is made when

def test_tables_are_made_once(tmp_path, monkeypatch):
    "At the first private fetch, one with photographs and one without; also when eight threads ask at once."
    w, made = with_photos('sealed', tmp_path / 'index', 'thumbs'), []
    real, together = service_module._table, threading.Barrier(8)

    def counted(reader, photos):
        made.append(photos)
        return real(reader, photos)

    monkeypatch.setattr(service_module, '_table', counted)

    def ask(i):
        together.wait()
        return run(w.new_user().fetch(w.ids[:1], 'private', photos=i % 2 == 0), Local(w.cloud))

    assert not made and not w.cloud.tables
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert sorted(made) == [False, True] and {one.data is None for [one] in found} == {False, True}


def test_thumbnails_are_not_copied_at_once(tmp_path, monkeypatch):
    "The table of rows is read slice by slice."
    w, sizes = with_photos('sealed', tmp_path / 'index', 'thumbs'), []
    real = RowTable.__getitem__

    def noted(self, part):
        rows = real(self, part)
        sizes.append(len(rows))
        return rows

    monkeypatch.setattr(RowTable, '__getitem__', noted)
    assert len(w.fetch(w.ids[:1], 'private')) == 1
    assert sizes and max(sizes) < 14


@asking
def test_many_ask_at_once(variant, worlds):
    "Threads get what one alone would get."
    w = worlds(variant)
    queries = codes_of(variant)[:6]
    nodes = 12 if variant == 'small buckets' else EVERYTHING
    def ask(query):
        return pairs(run(w.new_user().search(query, 40, nodes), Local(w.cloud)).hits)
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(ask, queries))
    assert together == [ask(query) for query in queries]


def test_a_cloud_stays_light():
    "Importing it, and opening and searching an index under the lightest lock, loads none of the heavy packages."
    heavy = 'torch', 'torchvision', 'matplotlib', 'ipywidgets', 'scipy', 'sklearn', 'PIL'
    code = f'import tree_privacy.cloud.service, sys; print([m for m in {heavy} if m in sys.modules])'
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == '[]'


def test_the_first_request_needs_nothing(worlds):
    "It names no index, has no token, and is the same for everybody."
    m = read_message(describe_request())
    assert m.kind == 'describe' and not m.arrays and set(m.header) == {'files'}
    assert worlds('sealed').cloud.handle(describe_request()) == worlds('sealed').greeting
