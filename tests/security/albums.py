"Owner, cloud and user of an album in four categories, with everything that the cloud must not learn."
from dataclasses import dataclass, field
from mmap import mmap
from pathlib import Path

import numpy as np
from contract.lock_variants import MATRIX, VARIANTS, WALKS
from parties import ways
from pictures import Made
from secret_search import (
    KINDS,
    chunks,
    clustered,
    content,
    forbidden_objects,
    found_in,
    reachable,
    secrets_of,
    telling_names,
)

from tree_privacy.client.owner import Created, Owner
from tree_privacy.client.transport import Local, Recorded, run
from tree_privacy.client.user import User, describe_request
from tree_privacy.cloud.service import CloudService
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.images.photos import PhotoSet, from_arrays, names_only
from tree_privacy.store.manifest import Collection
from tree_privacy.store.photos import thumbnail

HOLDING = [v for v in VARIANTS if v not in MATRIX]  # variants with private fetching


@dataclass
class Album:
    "An index in a folder, as its owner, a user and a cloud have it."
    variant: str
    folder: Path
    key: OwnerKey
    photos: PhotoSet
    codes: np.ndarray
    encoder: bytes
    created: Created
    heard: list = field(default_factory=list)  # requests and replies, as bytes

    def __post_init__(self):
        self.enter()

    def enter(self):
        "The cloud and a user of the index as it is now."
        self.cloud = CloudService(self.folder)
        self.greeting = self.cloud.handle(describe_request())
        self.user = User(self.key.grant(), self.greeting)
        return self

    @property
    def manifest(self):
        return self.cloud.manifest

    @property
    def tree(self):
        return self.created.tree

    @property
    def collection(self):
        "Ids, codes and names in the order of the folder."
        return Collection(self.created.ids, self.codes, list(self.photos.names))

    @property
    def line(self):
        return Local(self.cloud)

    def client(self):
        "The half of the lock that a user has, new."
        return User(self.key.grant(), self.greeting).client

    def talk(self, conversation):
        "A whole conversation, heard by whoever listens."
        line = Recorded(self.line)
        result = run(conversation, line)
        self.heard += [data for exchange in line.exchanges for data in (exchange.request, exchange.reply)]
        return result


def pictures(rng, each):
    "Noisy pictures in one folder a category."
    plain = from_arrays(rng.integers(0, 256, (each * len(KINDS), 24, 24, 3), np.uint8), None, 'x')
    names = telling_names(each)
    return Made(names, [name.split('/')[0] for name in names], plain.open, plain.read)


def create(variant, folder, photos, codes, encoder=b'encoder', key=None, kept='none', **more):
    "An index under a variant of a lock; buckets are small, so that there are several."
    lock, options = VARIANTS[variant]
    if variant in WALKS:
        more = dict(capacity=3) | more
    key = key or OwnerKey.generate()
    created = Owner(key).create(folder, photos, codes, encoder, photos=kept, lock=lock, **options | more)
    return Album(variant, Path(folder), key, photos, codes, encoder, created)


def made(variant, folder, kept='thumbs', each=8, key=None, seed=0):
    "An index of a small album."
    rng = np.random.default_rng(seed)
    photos, codes = pictures(rng, each), clustered(rng, len(KINDS), each)
    return create(variant, folder, photos, codes, rng.bytes(5000), key, kept)


def unseen(variant, folder, codes, key=None, **more):
    "An index of codes without pictures."
    return create(variant, folder, names_only([f'picture-{i:05}' for i in range(len(codes))]), codes, key=key, **more)


def used(variant, folder):
    "An index after a search and a fetch of every kind, and a question in a file, with the requests and replies."
    album = made(variant, folder)
    album.hits = album.talk(album.user.search(album.codes[3])).hits
    album.files = album.talk(album.user.fetch([hit.id for hit in album.hits], 'direct'))
    for how in ways(variant):
        assert album.talk(album.user.fetch([hit.id for hit in album.hits[:3]], how)) == album.files[:3], how
    if not album.user.client.searches_at_home:
        request = album.user.ask(album.codes[3], note='note-of-the-searcher')
        album.heard += [request, album.cloud.handle(request)]
    return album


def secrets_of_album(album):
    "Those of any index, with the encoder and the pictures."
    yield from secrets_of(album)
    yield from (('encoder', piece) for piece in chunks(album.encoder))
    for i in range(len(album.photos)):
        for data in (album.photos.read(i), thumbnail(album.photos[i])):
            yield from (('picture', piece) for piece in chunks(data) if len(set(piece)) > 16)
        yield 'picture', album.photos[i].tobytes()


def folder_bytes(folder):
    "(where, bytes) of every file and file name below a folder."
    for path in Path(folder).rglob('*'):
        yield 'file name', path.name.encode()
        if path.is_file():
            yield path.name, path.read_bytes()


def is_window(array):
    "Whether an array only shows memory that another object has."
    if not isinstance(array, np.ndarray):
        return False
    return isinstance(array.base, mmap) or isinstance(array.base, np.ndarray) and array.base.dtype != object


def held_bytes(album):
    "(where, bytes) of everything that a cloud has: objects, its folder with file names, and what was sent."
    things = reachable(album.cloud)
    yield from ((f'object of type {type(o).__name__}', content(o)) for o in things if not is_window(o))
    yield from folder_bytes(album.folder)
    yield from (('message', data) for data in album.heard)


def leaked(album):
    "What a cloud holds of an index's secrets, by value or as an object."
    return found_in(secrets_of_album(album), held_bytes(album)) | forbidden_objects(album.cloud)


def boxes_of(album):
    "Every sealed box in an index's folder, as bytes; of ciphertexts of the homomorphic lock their random half."
    reader = album.cloud.reader
    files = {name: reader.arrays(name) for name in reader.names()}
    yield from (row.tobytes() for row in reader.records)
    for name, arrays in files.items():
        if name in ('encoder', 'client-data') or name.startswith('codes-'):
            yield arrays['box'].tobytes()
    yield from (box for pack in reader.packs for box in photo_boxes(pack))
    if 'buckets' in files:
        yield from (row.tobytes() for row in files['buckets']['table'])
    if 'columns' in files:
        yield from (column[1].tobytes() for column in files['columns']['table'][0])


def photo_boxes(pack):
    "The sealed photographs of a pack."
    return [pack.boxes[a:b].tobytes() for a, b in zip(pack.start, pack.start[1:], strict=False)]
