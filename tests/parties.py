"Owner, cloud and user of one index in a folder, and clouds that change what they answer."
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contract.lock_variants import MATRIX, VARIANTS, crowded

from tree_privacy.bits import exhaustive
from tree_privacy.client.owner import Created, Owner
from tree_privacy.client.transport import Local, Recorded, run
from tree_privacy.client.user import User, describe_request
from tree_privacy.cloud.service import CloudService
from tree_privacy.core import TreePrivacyError
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.images.photos import from_arrays, names_only
from tree_privacy.store.manifest import MANIFEST, FileEntry, read_manifest
from tree_privacy.store.photos import thumbnail
from tree_privacy.wire import pack_arrays, read_message, unpack_arrays, write_message


@dataclass
class World:
    "An index in a folder, with everybody who has to do with it."
    variant: str
    folder: Path
    key: OwnerKey
    made: Created
    files: dict | None = None  # {id: (name, bytes)}

    def __post_init__(self):
        self.enter()

    def enter(self):
        "The cloud and a user of the index as it is now."
        self.cloud = CloudService(self.folder)
        self.greeting = self.cloud.handle(describe_request())
        self.line = Recorded(Local(self.cloud))
        self.user = self.new_user()
        return self

    def new_user(self, **more):
        "Somebody who knows nothing of before."
        return User(self.key.grant(), self.greeting, **more)

    @property
    def manifest(self):
        return self.cloud.manifest

    @property
    def ids(self):
        return self.cloud.reader.ids.tolist()

    def search(self, code, *args, user=None, **options):
        "The hits of a search."
        return run((user or self.user).search(code, *args, **options), self.line).hits

    def fetch(self, ids, how, user=None, **options):
        "What a fetch brings, as tuples."
        found = run((user or self.user).fetch(ids, how, **options), self.line)
        return [(one.id, one.name, one.data) for one in found]

    def sent(self, conversation):
        "The messages that a conversation sends to the true cloud."
        self.line.exchanges.clear()
        run(conversation, self.line)
        return [read_message(exchange.request) for exchange in self.line.exchanges]


def index_of(variant, folder, codes, key=None, names=None, **more):
    "An index of codes alone under a variant of a lock."
    lock, options = VARIANTS[variant]
    key = key or OwnerKey.generate()
    names = names or [f'{i % 3}/{i:03}' for i in range(len(codes))]
    made = Owner(key).create(folder, names_only(names), codes, b'encoder', photos='none', lock=lock, **options | more)
    return World(variant, Path(folder), key, made)


def with_photos(variant, folder, photos, n=14):
    "An index of small pictures, and what each file should be."
    lock, options = VARIANTS[variant]
    pictures = from_arrays(np.random.default_rng(4).integers(0, 256, (n, 12, 12, 3), np.uint8), None, 'picture')
    key = OwnerKey.generate()
    made = Owner(key).create(folder, pictures, crowded(3, n, 16), b'encoder', photos=photos, lock=lock, **options)
    data = {'thumbs': lambda i: thumbnail(pictures[i]), 'full': pictures.read, 'none': lambda i: None}[photos]
    files = {int(id): (name, data(i)) for i, (id, name) in enumerate(zip(made.ids, pictures.names, strict=True))}
    return World(variant, Path(folder), key, made, files)


def codes_of(variant):
    "A collection: more than a cell full of buckets where they are small, so that a request chooses."
    return crowded(3, 1100, 16, kinds=400) if variant == 'small buckets' else crowded(3, 40, 16)


def nearest(world, query, k):
    "(id, distance) by comparing with all photographs of the index: ties by id."
    now = Owner(world.key).open(world.folder).collection
    at, distances = exhaustive(now.codes, query, k)
    return list(zip(now.ids[at].tolist(), distances.tolist(), strict=True))


def pairs(hits):
    return [(hit.id, hit.distance) for hit in hits]


def rewritten(data, header=None, /, **arrays):
    "A message with other contents under a checksum that fits; None and ... leave something out."
    m = read_message(data)
    header = {k: v for k, v in (m.header | (header or {})).items() if v is not ...}
    return raw_message(m.kind, header, {k: v for k, v in (m.arrays | arrays).items() if v is not None})


def raw_message(kind, header, arrays):
    "What `write_message` gives, with values and shapes that it would not take: NaN, and single numbers."
    from safetensors.numpy import save
    body = save({name: np.array(x, order='C') for name, x in arrays.items()},
                {'header': json.dumps(dict(header, kind=kind))})
    return write_message('x', {})[:5] + hashlib.sha256(body).digest()[:16] + body


class Altered:
    "A transport to a cloud that changes its replies."
    def __init__(self, service, alter):
        self.service, self.alter = service, alter

    def send(self, request):
        return self.alter(self.service.handle(request))


class Asking:
    "A transport that changes requests on their way to a cloud."
    def __init__(self, service, alter):
        self.service, self.alter = service, alter

    def send(self, request):
        return self.service.handle(self.alter(request))


def taken(conversation, transport):
    "The result of a conversation, or None where it is refused; anything but the package's own errors goes through."
    try:
        return run(conversation, transport)
    except TreePrivacyError:
        return None


def variants(x):
    "(what, array) as a cloud might send instead."
    flipped = ~x if x.dtype.kind in 'iub' else -x
    yield from (('missing', None), ('zeros', np.zeros_like(x)), ('ones', flipped), ('none', x[:0]),
                ('flat', x.reshape(-1)), ('deeper', x[None]), ('number', x.ravel()[0]))
    for kind in (np.uint8, np.int16, np.float64, np.bool_):
        if kind != x.dtype:
            yield kind.__name__, x.astype(kind)
    for axis in range(x.ndim):
        yield from ((f'shorter {axis}', np.delete(x, -1, axis)), (f'doubled {axis}', np.concatenate([x, x], axis)),
                    (f'turned {axis}', np.roll(x, 1, axis)), (f'reversed {axis}', np.flip(x, axis)))
    if x.ndim > 1:
        yield 'transposed', x.swapaxes(0, 1)
    if x.dtype.kind == 'f':
        yield from (('nan', x * np.nan), ('infinite', x * np.inf), ('much', x * 1e300))
    if x.dtype.kind == 'i':
        yield from (('negative', -1 - x), ('huge', x + 2 ** 62))


def rewrite_file(folder, name, change):
    "Change arrays in a file of an index, and its checksum in the manifest, as the cloud can."
    manifest = read_manifest(folder)
    path = Path(folder, manifest.generation, f'{name}.safetensors')
    arrays = unpack_arrays(path.read_bytes())
    data = pack_arrays(arrays | change(arrays))
    path.unlink()  # it may be linked from another generation
    path.write_bytes(data)
    manifest.files[name] = FileEntry(len(data), hashlib.sha256(data).hexdigest())
    Path(folder, MANIFEST).write_text(json.dumps(manifest.to_json()))


def exposes_key(variant):
    "Whether a forged reply to a search ends the use of the key."
    return VARIANTS[variant][0] in ('homomorphic', 'private-walk')


def ways(variant):
    "Ways to fetch that an index of this variant has."
    return ['direct', 'decoys', 'thumbnails'] + ([] if variant in MATRIX else ['private'])
