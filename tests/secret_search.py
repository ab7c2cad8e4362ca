"""A search for secrets in everything that a cloud has.

It walks all objects that can be reached from a start, takes the bytes of each, and looks for keys, what is derived from
keys, codes, names and labels. An index is any object with key, manifest, collection, tree and `client()`.
"""
import base64
import gc
import io
import types
from bisect import bisect

import numpy as np
import seal
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tree_privacy.bits import pack, signs
from tree_privacy.client.owner import Owner
from tree_privacy.client.user import OpenedByUser
from tree_privacy.crypto.keys import UserKey
from tree_privacy.crypto.random_matrix import MatrixKey
from tree_privacy.crypto.randomness import subkey
from tree_privacy.crypto.ring import RingKey, ternary, unpack_numbers
from tree_privacy.crypto.sealing import Sealer
from tree_privacy.images.encoder import Encoder
from tree_privacy.images.photos import PhotoSet
from tree_privacy.locks import homomorphic
from tree_privacy.locks.base import LockClient
from tree_privacy.locks.buckets import TreeTop
from tree_privacy.locks.homomorphic import ScoreCheck, code_columns, scoring_key, scoring_ring
from tree_privacy.locks.random_matrix import version_matrices
from tree_privacy.pir import bfv
from tree_privacy.pir.base import PirClient
from tree_privacy.store.manifest import Collection
from tree_privacy.tree.estimator import MergeTree
from tree_privacy.tree.index import TreeIndex
from tree_privacy.wire import read_message

BITS, KINDS = 128, ['harbour-lights', 'mountain-goats', 'birthday-cakes', 'old-letters']


def clustered(rng, kinds, each, bits=BITS):
    "Codes in one cluster a category, in the order of the categories."
    centres = np.repeat(rng.random((kinds, bits)) < .5, each, 0)
    return pack(centres ^ (rng.random(centres.shape) < .1))


def telling_names(each):
    "Names in a folder for each category."
    return [f'{kind}/private-{i:04}.png' for kind in KINDS for i in range(each)]


FORBIDDEN = (UserKey, Sealer, MatrixKey, MergeTree, TreeIndex, AESGCM, Ed25519PrivateKey, RingKey, ScoreCheck, TreeTop,
             LockClient, PirClient, Collection, Owner, OpenedByUser, Encoder, PhotoSet,
              seal.SecretKey, seal.KeyGenerator, seal.Encryptor, seal.Decryptor)
FOREIGN = ('numba', 'llvmlite', 'torch', 'hypothesis', '_pytest', 'pytest', 'pluggy', 'matplotlib', 'sklearn', 'scipy',
           'PIL')


def ours(module):
    return str(module).split('.')[0] == 'tree_privacy'


def parts(thing):
    "What one object leads to: not modules, not other packages' classes, and of functions' globals only the package's."
    if isinstance(thing, types.FunctionType):
        own = [thing.__closure__, thing.__defaults__, thing.__kwdefaults__, thing.__dict__, thing.__code__.co_consts]
        return own + ([thing.__globals__] if ours(thing.__module__) else [])
    if isinstance(thing, np.ndarray):
        return [thing.base] + (list(thing.flat) if thing.dtype == object else [])
    return gc.get_referents(thing)


def strange(thing):
    "Whether the walk stops here: modules, frames, and classes and objects of other people's packages."
    if isinstance(thing, (types.ModuleType, types.FrameType, types.CodeType)):
        return True
    if isinstance(thing, type) and not ours(thing.__module__):
        return True
    return type(thing).__module__.split('.')[0] in FOREIGN


def reachable(start):
    "Every object that can be reached from one."
    seen, waiting = {}, [start]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or strange(thing):
            continue
        seen[id(thing)] = thing
        waiting += parts(thing)
    return list(seen.values())


def content(thing):
    "The bytes of an object: of text, of whole numbers in both orders, and of whatever lends its memory."
    if isinstance(thing, str):
        return thing.encode('utf-8', 'surrogatepass')
    if isinstance(thing, int):
        size = thing.bit_length() // 8 + 1
        return thing.to_bytes(size, 'little', signed=True) + thing.to_bytes(size, 'big', signed=True)
    if isinstance(thing, np.ndarray):
        return thing.tobytes() if thing.dtype != object else b''
    if isinstance(thing, io.BytesIO):
        return thing.getvalue()
    if isinstance(thing, (seal.Plaintext, seal.Ciphertext)):
        return bytes(thing.to_bytes())
    if isinstance(thing, seal.GaloisKeys):
        return thing.to_string()
    try:
        return bytes(memoryview(thing))
    except (TypeError, BufferError, ValueError):
        return b''


def chunks(data, size=32):
    "Pieces of which any window of twice their length holds a whole one."
    return [data[i:i + size] for i in range(0, len(data) - size + 1, size)]


def spelled(secret):
    return [secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b'='), secret[::-1]]


def score_secret(index):
    return subkey(index.key.secret, f'private lock {index.manifest.version}', bytes.fromhex(index.manifest.index))


def retrieval_secret(index):
    return subkey(index.key.secret, 'retrieval', bytes.fromhex(index.manifest.index))


def key_secrets(index):
    "The secrets of a key, and everything that is derived from them for this index, whatever its lock."
    salt = bytes.fromhex(index.manifest.index)
    lock = subkey(index.key.secret, f'lock {index.manifest.version}', salt)
    scores, rows = score_secret(index), retrieval_secret(index)
    yield from (('key secret', x) for x in spelled(index.key.secret))
    yield from (('signing key', x) for x in spelled(index.key.signing))
    derived = [subkey(index.key.secret, 'seal', salt), lock, scores, rows]
    derived += [subkey(scores, 'ternary'), subkey(scores, 'checks'), subkey(rows, 'ternary')]
    derived += [subkey(lock, purpose) for purpose in ('matrix one', 'matrix two', 'split bits')]
    yield from (('derived key', x) for d in derived for x in spelled(d))


def polynomial(small, moduli):
    """Pieces of a secret polynomial, of 64 coefficients that begin with one that is not 0: -1, 0 and 1 in several
    types, and modulo several numbers."""
    some = [i for i in np.flatnonzero(small)[::32] if i + 64 <= len(small)]
    types_ = (np.int8, np.int16, np.int32, np.int64, np.float32, np.float64)
    whole = [small.astype(kind) for kind in types_] + [(small % q).astype(np.uint64) for q in moduli]
    return [a[i:i + 64].tobytes() for a in whole for i in some]


def pir_key(index):
    "The secret key of private retrieval."
    return RingKey.from_coefficients(bfv._ring(), ternary(retrieval_secret(index), bfv.SLOTS))


def retrieval_secrets(index):
    "The secret of private retrieval, which every index has but those of the random-matrix lock."
    coefficients = ternary(retrieval_secret(index), bfv.SLOTS)
    yield from (('retrieval key', x) for x in polynomial(coefficients, bfv._ring().primes))
    yield from (('retrieval key', x) for values in pir_key(index).values for x in chunks(values.tobytes()))


def homomorphic_secrets(index):
    """The secret of the homomorphic lock, the weights and sums that verify scores, and the columns of codes, in the
    clear in the public form alone."""
    n, secret = index.manifest.photographs, score_secret(index)
    check, codes = ScoreCheck(secret, n), index.collection.codes[np.argsort(index.collection.ids)]
    moduli = [scoring_ring().primes[0], homomorphic.T]
    yield from (('homomorphic key', x) for x in polynomial(ternary(secret, homomorphic.N), moduli))
    yield from (('homomorphic key', x) for x in chunks(scoring_key(secret).values.tobytes()))
    for row in check.weights:
        yield from (('weights', row.astype(kind).tobytes()) for kind in (np.float64, np.int64, np.uint32, np.uint16))
    for row in check.sums(codes):
        yield from (('sums', row.astype(kind).tobytes()) for kind in (np.uint16, np.int64, np.float64))
    if index.manifest.options['form'] == 'public':
        return
    for column in code_columns(codes)[0]:
        kinds = [column.astype(kind) for kind in (np.int8, np.int64, np.float64)]
        yield from (('column', a[:n].tobytes()) for a in [*kinds, (column % homomorphic.T).astype(np.uint64)])
        yield from (('column', x) for x in chunks(scoring_ring().to_ntt(column).tobytes(), 512))


def walk_secrets(index):
    "The top of the tree, and which bucket holds what."
    top = index.client().top
    for row in top.means:
        yield from (('mean', row.astype(kind).tobytes()) for kind in (np.float16, np.float32, np.float64))
    if len(top.group_bucket) > 7:
        for kind in (np.int32, np.int64):
            yield 'buckets of groups', top.group_bucket.astype(kind).tobytes()


def matrix_secrets(index):
    "Rows and columns of the matrices and of their inverses, in both precisions, and the split bits."
    m = index.manifest
    key = version_matrices(index.key.secret, m.index, m.version, m.bits, m.options['form'])
    for a in key.matrices + key.inverses:
        for line in [*a, *a.T]:
            yield from (('matrix', line.astype(kind).tobytes()) for kind in (np.float64, np.float32))
    yield from (('split bits', key.splits.astype(kind).tobytes()) for kind in (bool, np.float32, np.float64))
    yield 'split bits', np.packbits(key.splits).tobytes()


def lock_secrets(index):
    "What the lock and retrieval have to hide."
    lock = index.manifest.lock
    if lock == 'random-matrix':
        return list(matrix_secrets(index))
    own = homomorphic_secrets if lock == 'homomorphic' else walk_secrets if lock.endswith('-walk') else lambda index: ()
    return [*retrieval_secrets(index), *own(index)]


def collection_secrets(index):
    "Codes in several types, features, the order of ids, names and labels."
    codes, ids = index.collection.codes, index.collection.ids
    yield from (('code', code.tobytes()) for code in codes)
    yield from (('code', s.astype(kind).tobytes()) for s in signs(codes) for kind in (np.int8, np.float32, np.float64))
    tree = index.tree or MergeTree().fit(codes)
    yield from (('feature', row.astype(kind).tobytes()) for row in tree.vectors() for kind in (np.float32, np.float64))
    for kind in (np.int32, np.int64):
        yield 'ids in folder order', ids.astype(kind).tobytes()
        yield 'leaves in folder order', tree.leaf_.astype(kind).tobytes()
    for name in index.collection.names:
        yield from (('name', text.encode()) for text in (name, name.split('/')[1]))
    yield from (('label', kind.encode()) for kind in KINDS)


def secrets_of(index):
    return [*key_secrets(index), *lock_secrets(index), *collection_secrets(index)]


def found_in(secret, places):
    "(what, where) of every secret that occurs somewhere; all have at least eight bytes, by which they are looked up."
    places = [(where, data) for where, data in places if data]
    whole, starts = b''.join(data for _, data in places), np.cumsum([0] + [len(data) for _, data in places]).tolist()
    wanted = {}
    for what, data in secret:
        wanted.setdefault(data[:8], []).append((what, data))
    assert min(map(len, wanted)) == 8
    probes, low = np.unique(np.frombuffer(b''.join(wanted), '<u8')), np.uint64(2 ** 20 - 1)
    some, found = np.zeros(2 ** 20, bool), set()
    some[probes & low] = True
    for shift in range(8):
        windows = np.frombuffer(whole, '<u8', (len(whole) - shift) // 8, shift)
        maybe = np.flatnonzero(some[windows & low])
        for at in (8 * maybe[np.isin(windows[maybe], probes)] + shift).tolist():
            there = [what for what, data in wanted[whole[at:at + 8]] if whole[at:at + len(data)] == data]
            found |= {(what, places[bisect(starts, at) - 1][0]) for what in there}
    return found


def forbidden_objects(start):
    "Kinds of objects that can be reached and have no business there."
    return {('object', type(o).__name__) for o in reachable(start) if isinstance(o, FORBIDDEN)}


def opened_up(messages):
    "What is in messages: arrays, and packed numbers unpacked."
    for message in map(read_message, messages):
        for name, array in message.arrays.items():
            yield name, array.tobytes()
            if name == 'first':
                yield 'unpacked', unpack_numbers(array, homomorphic.PRIME_BITS).tobytes()
            if name == 'c0':
                yield 'unpacked', unpack_numbers(array, bfv.PRIME_BITS[0]).tobytes()
