"""The locks under test, and an index in memory.

Every lock of the package's own table is tested: with the variants of its options that are named here, or with its
defaults where it has none here. An index is what an owner writes and a cloud reads, without folders: between the two
halves of a lock go bytes alone.
"""
import json
from dataclasses import dataclass, replace

import numpy as np

from tree_privacy.bits import exhaustive, to_ranges
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.crypto.randomness import random_permutation
from tree_privacy.crypto.sealing import Sealer
from tree_privacy.locks.base import (
    FETCHING_KEYS,
    LOCKS,
    Wanted,
    check_lock_fields,
    fetching_keys,
    lock_client,
    lock_options,
    lock_server,
)
from tree_privacy.locks.buckets import BucketClient
from tree_privacy.store.manifest import Collection, FileEntry, Manifest
from tree_privacy.store.records import seal_records
from tree_privacy.wire import pack_arrays, read_message, unpack_arrays, write_message

VARIANTS = {
    'basic': ('random-matrix', dict(form='basic')),
    'split': ('random-matrix', dict(form='split')),
    'noisy': ('random-matrix', dict(form='noisy')),
    'encrypted': ('homomorphic', {}),
    'public': ('homomorphic', dict(form='public')),
    'sealed': ('sealed', {}),
    'walk': ('private-walk', {}),
    'small buckets': ('private-walk', dict(capacity=3)),
    'decoys': ('decoy-walk', {}),
    'few decoys': ('decoy-walk', dict(capacity=2, decoys=1)),
    'no decoys': ('decoy-walk', dict(decoys=0)),
}
VARIANTS |= {lock: (lock, {}) for lock in LOCKS if lock not in {used for used, _ in VARIANTS.values()}}


def client_class(variant):
    "The class with secrets of a variant's lock."
    return lock_client(VARIANTS[variant][0])


MATRIX = [v for v, (lock, _) in VARIANTS.items() if lock == 'random-matrix']
WALKS = [v for v in VARIANTS if issubclass(client_class(v), BucketClient)]
SCANS = [v for v in VARIANTS if v not in MATRIX and v not in WALKS]
ASKING = [v for v in VARIANTS if not client_class(v).searches_at_home]
HIDING = [v for v in VARIANTS if client_class(v).forgery_exposes_key]
EVERYTHING = 10 ** 6  # more results, or nodes, than there are


def crowded(seed, n, bits, kinds=None):
    "n codes around a few centres: many are equal, many distances tie."
    rng = np.random.default_rng(seed)
    kinds = kinds or max(1, n // 3)
    codes = rng.integers(0, 256, (kinds, bits // 8), np.uint8)[rng.integers(0, kinds, n)]
    for i in np.flatnonzero(rng.random(n) < .6):
        codes[i, rng.integers(bits // 8)] ^= 1 << rng.integers(8)
    return codes


def some_queries(seed, codes):
    "One of the collection, the opposite of one, and any."
    rng = np.random.default_rng(seed)
    any_code = rng.integers(0, 256, codes.shape[1], np.uint8)
    return codes[rng.integers(len(codes))], ~codes[rng.integers(len(codes))], any_code


class MemoryReader:
    "What a cloud reads: a manifest and the arrays of files that are bytes."
    def __init__(self, manifest, files, records):
        self.manifest, self.files, self.records = manifest, files, records
        self.ids = manifest.id_array()
        self._opened = {}

    def names(self):
        return list(self.files)

    def verify(self, name):
        assert name in self.files  # and bytes in memory stay as they are

    def arrays(self, name):
        if name not in self._opened:
            self._opened[name] = unpack_arrays(self.files[name])
        return self._opened[name]


@dataclass
class Index:
    "An index in memory, with what its owner knows."
    variant: str
    key: OwnerKey
    manifest: Manifest
    reader: MemoryReader
    client_data: bytes
    collection: Collection
    tree: object

    def __post_init__(self):
        self.server = lock_server(self.manifest.lock)(self.manifest, self.reader)
        self.user = self.client()

    def client(self, key=None):
        "A user's half, new."
        return lock_client(self.manifest.lock)(key or self.key.grant(), self.manifest, self.client_data)

    def sealer(self):
        "Opens and makes boxes of this index."
        return Sealer(self.key, self.manifest.index)

    def codes_by_id(self):
        "{id: code}"
        return dict(zip(self.collection.ids.tolist(), self.collection.codes, strict=True))


def new_collection(codes, first=0, names=None):
    "Codes with ids in random order, and names in three folders."
    ids = first + random_permutation(len(codes))
    names = names or [f'{i % 3}/{i:03}' for i in range(len(codes))]
    return Collection(np.asarray(ids, np.int64), codes, names)


def write_index(variant, collection, key=None, number='0123456789abcdef', version=1, previous=None, **more):
    "What an owner writes: an index of a collection under a lock."
    lock, options = VARIANTS[variant]
    key, n = key or OwnerKey.generate(), len(collection.ids)
    draft = Manifest(
        index=number, version=version, key=key.id, lock=lock, options=lock_options(lock, options | more), fields={},
        photographs=n, bits=8 * collection.codes.shape[1], ids=to_ranges(np.sort(collection.ids)),
        next_id=int(collection.ids.max()) + 1, record_size=1, photos='none', photo_size=None,
        generation='g000001-00000000', files={}, signature='')
    client = lock_client(lock)(key, draft)
    made = client.encrypt(collection, previous and previous.reader)
    files = {name: pack_arrays(arrays) for name, arrays in made.arrays.items()}
    files |= {name: previous.reader.files[name] for name in made.keep}
    if client.private_fetching:
        keys = fetching_keys(key, draft, previous and previous.reader)
        files[FETCHING_KEYS] = previous.reader.files[FETCHING_KEYS] if keys is None else pack_arrays(keys)
    records = seal_records(Sealer(key, number), version, collection)
    entries = {name: FileEntry(len(data), '0' * 64) for name, data in files.items()}
    manifest = replace(draft, fields=made.fields, files=entries, record_size=records.shape[1])
    check_lock_fields(manifest)
    reader = MemoryReader(manifest, files, records)
    index = Index(variant, key, manifest, reader, made.client_data, collection, made.tree)
    assert index.server.check()
    return index


def index_of(variant, codes, **more):
    "An index of codes alone."
    return write_index(variant, new_collection(codes), **more)


def request_of(index, query):
    "A query as bytes."
    place = dict(index=index.manifest.index, version=index.manifest.version)
    return write_message('search', query.header | place, query.arrays)


def reply_to(server, request):
    "What the cloud answers, as bytes."
    message = read_message(request, 'search')
    header, arrays = server.answer(message.header, message.arrays)
    return write_message('found', header, arrays)


def open_reply(client, reply, query):
    "What a user makes of a reply; the state went through JSON."
    return client.decrypt(read_message(reply, 'found'), json.loads(json.dumps(query.state)))


def search(index, code, k=10, nodes=3, fill=True):
    "A whole search, by bytes alone: hits, nearest first."
    if index.user.searches_at_home:
        missing = [] if index.user.opened else index.user.files()
        files = {name: unpack_arrays(index.reader.files[name]) for name in missing}
        return index.user.scan(files, code, k)
    query = index.user.query(code, Wanted(k, nodes, fill))
    return open_reply(index.user, reply_to(index.server, request_of(index, query)), query)


def pairs(hits):
    "[(id, distance)]"
    return [(hit.id, hit.distance) for hit in hits]


def nearest(index, code, k, among=None):
    "(id, distance) by comparing with all photographs of the index, or with those whose ids are given: ties by id."
    order = np.argsort(index.collection.ids)
    ids, codes = index.collection.ids[order], index.collection.codes[order]
    some = np.arange(len(ids)) if among is None else np.flatnonzero(np.isin(ids, list(among)))
    places, distances = exhaustive(codes[some], code, k)
    return list(zip(ids[some][places].tolist(), distances.tolist(), strict=True))
