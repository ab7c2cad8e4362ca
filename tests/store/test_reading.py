"An index that is opened: damage is noticed, generations do not mix, boxes and rows are where they should be."

import io
import os
import shutil

import numpy as np
import pytest
from core.guards import hostile_files, refused_by
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from store.small_index import OwnerKey, change, content, create, draft, generations, whole
from tree_privacy.core import FormatError, InputError, NotFoundError, SealError
from tree_privacy.crypto.sealing import Sealer
from tree_privacy.images.photos import digits, select
from tree_privacy.store import reader as module
from tree_privacy.store.manifest import Collection
from tree_privacy.store.photos import RowTable, photo_bytes, row_size, seal_photos, split_row, thumbnail, thumbnail_size
from tree_privacy.store.reader import IndexReader, pack_of
from tree_privacy.store.records import open_record, seal_records
from tree_privacy.store.writer import IndexWriter
from tree_privacy.wire import pack_arrays

KEY = OwnerKey.generate()


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "An index of two packs."
    folder = tmp_path_factory.mktemp('made') / 'index'
    create(folder, KEY, range(20))
    change(folder, KEY, new=[30, 40])
    return folder


@pytest.fixture
def index(made, tmp_path):
    "A copy of it to spoil."
    return shutil.copytree(made, tmp_path / 'index')


def test_damaged_files_are_refused(index):
    "One flipped byte in a file that is read whole, or a shortened pack, is found when the index is opened."
    for path in sorted(generations(index)[0].iterdir()):
        good = path.read_bytes()
        wrong = good[:-1] if path.name.startswith('photos-') else good[:-9] + bytes([good[-9] ^ 1]) + good[-8:]
        path.unlink()
        path.write_bytes(wrong)
        with pytest.raises(FormatError, match='truncated or altered|was altered'):
            IndexReader(index)
        path.write_bytes(good)
    assert whole(index, KEY) == {*range(20), 30, 40}


def test_checksums_can_be_left_to_later(index):
    "With verify=False only what is asked for is compared."
    path = generations(index)[0] / 'tree.safetensors'
    path.write_bytes(path.read_bytes()[:-1] + b'x')
    reader = IndexReader(index, verify=False)
    reader.verify('records')
    with pytest.raises(FormatError, match='tree.*was altered'):
        reader.verify('tree')


def test_names(index):
    reader = IndexReader(index)
    assert reader.names() == sorted(reader.manifest.files) and {'encoder', 'records', 'tree'} < set(reader.names())
    assert reader.file_bytes('tree') == (generations(index)[0] / 'tree.safetensors').read_bytes()
    for ask in (reader.arrays, reader.verify, reader.file_bytes):
        with pytest.raises(NotFoundError, match='has no file columns'):
            ask('columns')
    (generations(index)[0] / 'records.safetensors').unlink()
    with pytest.raises(FormatError, match='lacks the file records'):
        IndexReader(index)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this test forks')
@pytest.mark.parametrize('i', range(7))
def test_files_that_never_end(i, index, tmp_path):
    "A pipe or a link to a device in the place of a file of the index is refused at once."
    (tmp_path / 'hostile').mkdir()
    path, to = generations(index)[0] / 'tree.safetensors', hostile_files(tmp_path / 'hostile')[i]
    path.unlink()
    path.symlink_to(to)
    assert refused_by(lambda: IndexReader(index)) == 'FormatError'


def test_a_generation_that_comes_meanwhile(index, monkeypatch):
    "A reader that finds files swept away begins again with the new generation."
    real, begun, done = module.map_file, [], []

    def late(path):
        if not begun:
            begun.append(path)
            done.append(change(index, KEY, new=[50]))
        return real(path)

    monkeypatch.setattr(module, 'map_file', late)
    reader = IndexReader(index)
    assert reader.manifest == done[0] and len(reader.ids) == 23


def test_a_reader_goes_on_with_its_generation(index):
    "What was mapped stays readable after the owner swapped in another generation."
    reader = IndexReader(index)
    before = reader.records.copy()
    change(index, KEY, gone=[3])
    assert (
        (reader.records == before).all() and reader.manifest.version == 2 and IndexReader(index).manifest.version == 3
    )
    box, version = reader.photo_box(3)
    assert Sealer(KEY, reader.manifest.index).open('photo', 3, version, box) == content(3)


def spoiled(folder, name, **arrays):
    "Write a file of an index again, with the fitting manifest: the owner's own mistake."
    reader = IndexReader(folder)
    with IndexWriter(
        folder, KEY, draft(KEY, reader.ids, version=reader.manifest.version + 1), reader.manifest.generation, reader
    ) as writer:
        for other in reader.names():
            if other == name:
                writer.put(name, reader.arrays(name) | arrays)
            else:
                writer.keep(other)
        writer.draft = module.Manifest.from_json(reader.manifest.to_json() | dict(version=writer.version), 'x')
        writer.commit()


@pytest.mark.parametrize(
    'name, arrays',
    [
        ('records', dict(records=np.zeros((21, 108), np.uint8))),
        ('records', dict(records=np.zeros((22, 108), np.int8))),
        ('records', dict(records=np.zeros(22, np.uint8))),
        ('encoder', dict(box=np.zeros((2, 2), np.uint8))),
        ('encoder', dict(box=np.zeros(9))),
        ('photos-000002-000000030', dict(start=np.array([0, 1, 2]))),
        ('photos-000002-000000030', dict(start=np.array([0, 5]))),
        ('photos-000002-000000030', dict(ids=np.array([40, 30]))),
        ('photos-000002-000000030', dict(ids=np.array([2**63 - 1, -5]))),  # the difference overflows
        ('photos-000002-000000030', dict(version=np.array([1, 2]))),
        ('photos-000002-000000030', dict(version=np.array([0]))),
        ('photos-000002-000000030', dict(ids=np.array([30.0, 40.0]))),
    ],
)
def test_arrays_that_do_not_fit(name, arrays, index):
    spoiled(index, name, **arrays)
    with pytest.raises(FormatError, match='do not fit one another'):
        IndexReader(index)


def test_packs():
    "A pack comes back from its file, and gives the boxes that were put in."
    sealer, ids = Sealer(KEY, '0' * 16), np.array([9, 3, 7])
    (pack,) = seal_photos(sealer, 4, lambda i: bytes([i]) * (10 * i + 1), ids, None)
    again = pack_of({name: a.copy() for name, a in pack.arrays().items()})
    assert again.ids.tolist() == [3, 7, 9] and again.version == 4 and again.box(4) is None
    for i, id in enumerate(ids):
        assert sealer.open('photo', int(id), 4, again.box(id)) == bytes([i]) * (10 * i + 1)
    with pytest.raises(KeyError):
        pack_of({name: a for name, a in pack.arrays().items() if name != 'ids'})


def test_large_collections_make_several_packs():
    "A pack is full with 64 MiB; every photograph is in one of them."
    sealer, ids = Sealer(KEY, '0' * 16), np.random.default_rng(0).permutation(130)
    data = bytes(2**20)
    packs = list(seal_photos(sealer, 1, lambda i: data, ids, 2**20))
    assert len(packs) == 2 and all(len(p.boxes) > 2**26 for p in packs[:-1])
    assert np.concatenate([p.ids for p in packs]).tolist() == list(range(130))
    assert {int(n) for p in packs for n in np.diff(p.start)} == {2**20 + 36}


def test_whole_photographs_are_padded_in_steps():
    "Lengths of files are one of eight in a doubling."
    sealer = Sealer(KEY, '0' * 16)
    sizes = np.random.default_rng(0).integers(1, 10**5, 200)
    (pack,) = seal_photos(sealer, 1, lambda i: bytes(int(sizes[i])), np.arange(200), None)
    lengths = np.diff(pack.start) - 36
    assert (lengths >= sizes).all() and (lengths <= sizes * 9 / 8 + 1).all() and len(set(lengths)) <= 8 * 17


# Records


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.text(st.characters(exclude_characters='\0'), min_size=1, max_size=40), min_size=1, max_size=6, unique=True
    ),
    st.integers(1, 12),
    st.integers(0, 2**32),
)
def test_records_come_back(names, width, seed):
    "Under their own id and version; all of one size, whatever the names."
    rng, sealer = np.random.default_rng(seed), Sealer(KEY, '0' * 16)
    names = [name.encode('utf-8', 'surrogatepass').decode('utf-8', 'surrogateescape') for name in names]
    ids, codes = rng.permutation(50)[: len(names)], rng.integers(0, 256, (len(names), width), dtype=np.uint8)
    records = seal_records(sealer, 3, Collection(ids, codes, names))
    room = records.shape[1] - 36 - width  # a nonce of 12 bytes, a length of 8, a tag of 16
    longest = max(len(name.encode('utf-8', 'surrogateescape')) for name in names)
    assert room == (64 if longest <= 64 else 128 if longest <= 128 else 256)
    for row, i in enumerate(np.argsort(ids)):
        code, name = open_record(sealer, 3, 8 * width, ids[i], records[row])
        assert code.tolist() == codes[i].tolist() and name == names[i]
        for id, version in ((ids[i] + 1, 3), (ids[i], 4)):
            with pytest.raises(SealError):
                open_record(sealer, version, 8 * width, id, records[row])


def test_records_that_are_numbers():
    "A cloud that sends a number for a record does not make the user take that many bytes of memory."
    for box in (np.int64(2**40), np.uint8(7), np.float64(1), np.bool_(True)):
        with pytest.raises(SealError):
            open_record(Sealer(KEY, '0' * 16), 1, 64, 0, box)


@pytest.mark.parametrize('name', ['a\0b', '', '\ud800'])
def test_names_that_no_record_takes(name):
    with pytest.raises(InputError, match='no name of a photograph'):
        seal_records(Sealer(KEY, '0' * 16), 1, Collection(np.array([0]), np.zeros((1, 8), np.uint8), [name]))


# Thumbnails and rows


def test_thumbnails_keep_to_their_limit():
    "And a thumbnail made under a larger limit is the one that a smaller limit gives, where it fits."
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8))
    sizes = []
    for limit in (1024, 2048, 8192, 32768, 10**6):
        data = thumbnail(picture, limit)
        sizes.append(max(Image.open(io.BytesIO(data)).size))
        assert len(data) <= limit and thumbnail(picture, max(len(data), 1024)) == data
    assert sizes == sorted(sizes) and sizes[0] < 256 == sizes[-1]
    with pytest.raises(InputError, match='wanted 1,024 or more'):
        thumbnail(picture, 600)


def test_one_size_for_all_thumbnails():
    photos = select(digits(), range(300))
    size, made = thumbnail_size(photos)
    assert (
        size == 2048
        and len(made) == 200
        and all(data == photo_bytes(photos, i, 'thumbs', size) for i, data in made.items())
    )


@pytest.fixture(scope='module')
def thumbs(tmp_path_factory):
    "An index with thumbnails in three packs, one of them with gaps."
    folder = tmp_path_factory.mktemp('thumbs') / 'index'
    base, previous = None, None
    for version, (new, gone) in enumerate([([4, 9, 1], []), ([12, 15], [9]), ([20], [])], 1):
        ids = sorted(set(previous.ids.tolist() if previous else []) - set(gone) | set(new))
        about = draft(KEY, ids, version=version, photos='thumbs', size=100)
        with IndexWriter(folder, KEY, about, base, previous) as writer:
            writer.put_records(Collection(np.array(ids), np.zeros((len(ids), 8), np.uint8), [f'{i}.jpg' for i in ids]))
            writer.put_box('encoder', b'')
            writer.keep_photos(gone)
            writer.put_photos(lambda i, new=new: f'thumb {new[i]}'.encode(), np.array(new))
            writer.commit()
        previous = IndexReader(folder)
        base = previous.manifest.generation
    return previous


@pytest.mark.parametrize('photos', [True, False])
def test_rows(thumbs, photos):
    "A slice of rows is made of what the index has, in the order of ids."
    table, sealer = RowTable(thumbs, photos), Sealer(KEY, thumbs.manifest.index)
    assert len(thumbs.packs) == 3 and table.shape == (5, row_size(thumbs.manifest, photos)) and len(table) == 5
    everything = table[:]
    for a in range(6):
        for b in range(6):
            assert np.array_equal(table[a:b], everything[a:b])
    for id, row in zip(thumbs.ids, everything, strict=True):
        record, version, box = split_row(thumbs.manifest, row, photos)
        assert open_record(sealer, 3, 64, id, record)[1] == f'{id}.jpg'
        if photos:
            assert sealer.open('photo', int(id), version, box) == f'thumb {id}'.encode()
        else:
            assert (version, len(box)) == (0, 0)


def test_rows_of_whole_files(made):
    "Whole files have lengths of their own, so they have no rows."
    reader = IndexReader(made)
    with pytest.raises(InputError, match='private fetching wants thumbnails'):
        RowTable(reader, photos=True)
    assert RowTable(reader, photos=False)[3:5].tolist() == reader.records[3:5].tolist()


def test_rows_of_thumbnails_that_have_other_sizes(thumbs):
    "A cloud that holds packs which do not fit the manifest refuses."

    class Spoiled:
        manifest, folder, ids, records, packs = (
            thumbs.manifest,
            thumbs.folder,
            thumbs.ids,
            thumbs.records,
            list(thumbs.packs),
        )

    Spoiled.packs[0] = next(seal_photos(Sealer(KEY, '0' * 16), 1, lambda i: b'', np.array([1, 4]), 99))
    with pytest.raises(FormatError, match='other sizes'):
        RowTable(Spoiled, photos=True)
    assert pack_arrays(Spoiled.packs[0].arrays())
    for packs in ([], thumbs.packs[1:], [*thumbs.packs, thumbs.packs[0]]):
        Spoiled.packs = packs
        with pytest.raises(FormatError, match='not one thumbnail a photograph'):
            RowTable(Spoiled, photos=True)
        assert len(RowTable(Spoiled, photos=False)) == 5
