"A small owner of the store alone: photographs are made up, and no lock is there to search with."

import shutil

import numpy as np

from tree_privacy.bits import to_ranges
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.crypto.sealing import Sealer
from tree_privacy.store.generations import sweep
from tree_privacy.store.manifest import GENERATION, MANIFEST, Collection, Manifest, check_signature, read_manifest
from tree_privacy.store.reader import IndexReader
from tree_privacy.store.records import open_record
from tree_privacy.store.writer import IndexWriter

BITS, ENCODER = 64, b'encoder' * 1000


def content(id):
    "The bytes of a made-up photograph."
    return f'photo {id}'.encode() * 300


def code(id):
    return np.random.default_rng(int(id)).integers(0, 256, BITS // 8, dtype=np.uint8)


def collection(ids):
    return Collection(np.array(ids), np.stack([code(i) for i in ids]), [f'{i % 3}/{i:03}.jpg' for i in ids])


def draft(key, ids, index='0123456789abcdef', version=1, photos='full', size=None):
    "A manifest without files."
    return Manifest(
        index=index,
        version=version,
        key=key.id,
        lock='sealed',
        options={},
        photographs=len(ids),
        bits=BITS,
        ids=to_ranges(np.sort(ids)),
        next_id=max(ids) + 1,
        photos=photos,
        photo_size=size,
    )


def write(writer, ids, new, gone=()):
    "Everything that a version consists of."
    writer.put('tree', dict(numbers=np.arange(max(ids))))
    writer.put_records(collection(ids))
    writer.put_box('encoder', ENCODER)
    writer.keep_photos(gone)
    if len(new):
        writer.put_photos(lambda i: content(new[i]), np.array(new))
    return writer.commit(dict(leaves=len(ids)))


def create(folder, key, ids=range(100, 130), before_writing=lambda: None):
    "Write an index, in the place of another one of this key too."
    ids = list(ids)
    old = read_manifest(folder) if (folder / MANIFEST).exists() else None
    if old:
        check_signature(old, key)
    before_writing()
    version = old.version + 1 if old else 1
    with IndexWriter(folder, key, draft(key, ids, version=version), old.generation if old else None) as writer:
        return write(writer, ids, ids)


def change(folder, key, new=(), gone=(), before_writing=lambda: None):
    "Add photographs to an index, and remove others."
    reader = IndexReader(folder)
    before_writing()
    ids = [int(i) for i in reader.ids if i not in set(gone)] + list(new)
    about = draft(key, ids, version=reader.manifest.version + 1)
    with IndexWriter(folder, key, about, reader.manifest.generation, reader) as writer:
        return write(writer, ids, list(new), gone)


def whole(folder, key):
    "The ids in an index, after everything in it was opened and compared; None where there is no index."
    if not (folder / MANIFEST).exists():
        return None
    reader = IndexReader(folder)
    m = reader.manifest
    check_signature(m, key)
    for name in reader.names():
        reader.verify(name)
    sealer = Sealer(key, m.index)
    for id, record in zip(reader.ids, reader.records, strict=True):
        found, name = open_record(sealer, m.version, m.bits, id, record)
        assert found.tolist() == code(id).tolist() and name == f'{id % 3}/{id:03}.jpg'
        box, version = reader.photo_box(id)
        assert sealer.open('photo', int(id), version, box) == content(id)
    assert sealer.open('encoder', 0, m.version, reader.arrays('encoder')['box']) == ENCODER
    assert {int(i) for pack in reader.packs for i in pack.ids} == set(reader.ids.tolist())
    return set(reader.ids.tolist())


def rubbish(folder):
    "What lies in the folder of an index and belongs to no index."
    if not folder.exists():
        return set()
    current = read_manifest(folder).generation if (folder / MANIFEST).exists() else None
    return {p.name for p in folder.iterdir()} - {MANIFEST, '.lock', current}


def prepared(before, exists, place):
    "A place with a copy of the index, or with nothing."
    shutil.rmtree(place, ignore_errors=True)
    if exists:
        shutil.copytree(before, place)
    return place


def generations(folder):
    return [p for p in folder.iterdir() if GENERATION.fullmatch(p.name)]


__all__ = [
    'BITS',
    'ENCODER',
    'OwnerKey',
    'change',
    'code',
    'collection',
    'content',
    'create',
    'draft',
    'generations',
    'prepared',
    'rubbish',
    'sweep',
    'whole',
    'write',
]
