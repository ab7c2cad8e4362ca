"What the cloud holds under every lock, what a hostile cloud can do, and where the random-matrix lock breaks."
import base64, gc, hashlib, inspect, io, json, shutil, types
from bisect import bisect
from mmap import mmap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import seal
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from safetensors.numpy import load, save

import tree_privacy.private_locks, tree_privacy.private_walk, tree_privacy.random_matrix, tree_privacy.roles
from tree_privacy.codes import Encoder
from tree_privacy.data import Images, InputError, from_arrays
from tree_privacy.random_matrix import MatrixKey, fresh, subkey
from tree_privacy.measures import hamming, pack, signs
from tree_privacy.private_locks import PRIME_BITS, T, Checks, HomomorphicKey, columns_of, modulus, points_of, ternary, unpacked, version_secret
from tree_privacy.private_walk import BITS as ROW_BITS, SLOTS, RetrievalKey, retrieval_key
from tree_privacy.retrieval import PlainIndex
from tree_privacy.roles import (LOCKS, MANIFEST, Cloud, Owner, OwnerKey, SealError, Sealer, User, UserKey, check_manifest, hello, lock_key,
                                message, node_order, open_token, read_manifest, read_message, shuffled, signable, thumbnail)
from tree_privacy.tree import MergeTree, upward

BITS, KINDS = 128, ['harbour-lights', 'mountain-goats', 'birthday-cakes', 'old-letters']
FORMS = {'basic': ('random-matrix', dict(form='basic')), 'split': ('random-matrix', dict(form='split')), 'noisy': ('random-matrix', dict(form='noisy')),
         'homomorphic': ('homomorphic', {}), 'public': ('homomorphic', dict(form='public')), 'sealed': ('sealed', {}),
         'private-walk': ('private-walk', dict(capacity=3)), 'decoy-walk': ('decoy-walk', dict(capacity=5))}
assert {lock for lock, _ in FORMS.values()} == set(LOCKS)
HOLDING = ['homomorphic', 'sealed', 'private-walk']
some_locks = pytest.mark.parametrize('form', ['split', 'sealed', 'private-walk'])
all_locks = pytest.mark.parametrize('form', ['split', 'homomorphic', 'sealed', 'private-walk', 'decoy-walk'])


def clustered(rng, kinds, each, bits=BITS):
    "Codes in one cluster a category, in the order of the categories."
    centres = np.repeat(rng.random((kinds, bits)) < .5, each, 0)
    return pack(centres ^ (rng.random(centres.shape) < .1))


def album(rng, each):
    "Noisy pictures in one folder a category."
    pictures = rng.integers(0, 256, (each*len(KINDS), 24, 24, 3), np.uint8)
    plain = from_arrays(pictures, None, 'x')
    names = [f'{kind}/private-{i:04}.png' for kind in KINDS for i in range(each)]
    return Images(names, [n.split('/')[0] for n in names], plain.opener, plain.reader)


def made(folder, form='split', photos='thumbs', each=8, key=None, seed=0):
    "An index of a small album, with everything that the cloud must not learn."
    rng = np.random.default_rng(seed)
    m = SimpleNamespace(folder=folder, images=album(rng, each), codes=clustered(rng, len(KINDS), each), encoder=rng.bytes(5000),
                        key=key or OwnerKey.generate())
    m.form, (m.lock, options) = form, FORMS[form]
    m.index = Owner(m.key).create(folder, m.images, m.codes, m.encoder, photos=photos, lock=m.lock, **options)
    m.cloud = Cloud(folder)
    m.user = User(m.key.grant(), m.cloud.answer(hello()))
    return m


def talk(session, answer, heard=None):
    "The whole conversation of a session; `heard` is a list that gets requests and replies."
    while session.request is not None:
        request = session.request
        session.receive(reply := answer(request))
        if heard is not None: heard += [request, reply]
    return session.result


def ask(user, answer, code, **options):
    "The whole conversation of one search."
    s = user.query(code, **options)
    talk(s, answer)
    return s


# What the cloud holds

FORBIDDEN = (UserKey, Owner, User, Sealer, MatrixKey, MergeTree, PlainIndex, Encoder, Images, AESGCM, Ed25519PrivateKey,
             HomomorphicKey, RetrievalKey, Checks, seal.SecretKey, seal.KeyGenerator, seal.Encryptor, seal.Decryptor)
FOREIGN = 'numba', 'llvmlite', 'torch', 'hypothesis', '_pytest', 'pytest', 'pluggy', 'matplotlib', 'sklearn', 'scipy', 'PIL'


def ours(module): return str(module).split('.')[0] == 'tree_privacy'


def parts(thing):
    "What one object leads to: not modules, not other packages' classes, and of functions' globals only the package's."
    if isinstance(thing, types.FunctionType):
        inside = [thing.__closure__, thing.__defaults__, thing.__kwdefaults__, thing.__dict__, thing.__code__.co_consts]
        return inside + ([thing.__globals__] if ours(thing.__module__) else [])
    if isinstance(thing, np.ndarray): return [thing.base] + (list(thing.flat) if thing.dtype == object else [])
    return gc.get_referents(thing)


def strange(thing):
    "Whether the walk stops here: modules, frames, and classes and objects of other people's packages."
    if isinstance(thing, (types.ModuleType, types.FrameType, types.CodeType)): return True
    if isinstance(thing, type) and not ours(thing.__module__): return True
    return type(thing).__module__.split('.')[0] in FOREIGN


def reachable(start):
    "Every object that can be reached from one."
    seen, waiting = {}, [start]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or strange(thing): continue
        seen[id(thing)] = thing
        waiting += parts(thing)
    return list(seen.values())


def content(thing):
    "The bytes of an object: of text, of whole numbers in both orders, and of whatever lends its memory."
    if isinstance(thing, str): return thing.encode('utf-8', 'surrogatepass')
    if isinstance(thing, int):
        size = thing.bit_length()//8 + 1
        return thing.to_bytes(size, 'little', signed=True) + thing.to_bytes(size, 'big', signed=True)
    if isinstance(thing, np.ndarray): return thing.tobytes() if thing.dtype != object else b''
    if isinstance(thing, io.BytesIO): return thing.getvalue()
    if isinstance(thing, (seal.Plaintext, seal.Ciphertext)): return bytes(thing.to_bytes())
    if isinstance(thing, seal.GaloisKeys): return tree_privacy.private_locks.written(thing.save)
    try: return bytes(memoryview(thing))
    except (TypeError, BufferError, ValueError): return b''


def held(cloud, folder, requests=()):
    "(where, bytes) of everything that a cloud has: objects, folder with file names, and requests. Parts of an array's memory are not taken twice."
    yield from ((f'object of type {type(o).__name__}', content(o)) for o in reachable(cloud) if not (isinstance(o, np.ndarray) and (isinstance(o.base, mmap) or isinstance(o.base, np.ndarray) and o.base.dtype != object)))
    yield from folder_bytes(folder)
    yield from (('request', r) for r in requests)


def folder_bytes(folder):
    for path in Path(folder).rglob('*'):
        yield 'file name', path.name.encode()
        if path.is_file(): yield path.name, path.read_bytes()


def chunks(data, size=32):
    "Pieces of which any window of twice their length holds a whole one."
    return [data[i:i + size] for i in range(0, len(data) - size + 1, size)]


def spelled(secret): return [secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b'='), secret[::-1]]


def key_secrets(m):
    "The secrets of a key, and everything that is derived from them for this index, whatever its lock."
    about, salt = read_manifest(m.folder), bytes.fromhex(read_manifest(m.folder)['index'])
    lock, private, rows = subkey(m.key.secret, f'lock {about["version"]}', salt), version_secret(m.key, about['index'], about['version']), subkey(m.key.secret, 'retrieval', salt)
    yield from (('key secret', x) for x in spelled(m.key.secret))
    yield from (('signing key', x) for x in spelled(m.key.signing))
    derived = [subkey(m.key.secret, 'seal', salt), lock, *(subkey(lock, p) for p in ('matrix one', 'matrix two', 'split bits')),
               private, subkey(private, 'ternary'), subkey(private, 'checks'), rows, subkey(rows, 'ternary')]
    yield from (('derived key', x) for d in derived for x in spelled(d))


def polynomial(small, moduli):
    "Pieces of a secret polynomial, of 64 coefficients that begin with one that is not 0: -1, 0 and 1 in several types, and modulo several numbers."
    some = [i for i in np.flatnonzero(small)[::32] if i + 64 <= len(small)]
    whole = [small.astype(kind) for kind in (np.int8, np.int16, np.int32, np.int64, np.float32, np.float64)] + [(small % q).astype(np.uint64) for q in moduli]
    return [a[i:i + 64].tobytes() for a in whole for i in some]


def retrieval_secrets(m):
    "The secret of private retrieval, which every index has but those of the random-matrix lock: its coefficients and its values."
    about, q = read_manifest(m.folder), tree_privacy.private_walk.wide().primes
    key = retrieval_key(m.key, about['index'])
    yield from (('retrieval key', x) for x in polynomial(ternary(subkey(m.key.secret, 'retrieval', bytes.fromhex(about['index'])), SLOTS), q))
    yield from (('retrieval key', x) for values in key._values for x in chunks(values.tobytes()))


def homomorphic_secrets(m):
    "The secret of the homomorphic lock, the weights and sums that verify scores, and the columns of codes, in the clear in the public form alone."
    about = read_manifest(m.folder)
    secret = version_secret(m.key, about['index'], about['version'])
    key, checks = HomomorphicKey.derived(secret), Checks(secret, about['photographs'])
    yield from (('homomorphic key', x) for x in polynomial(ternary(secret), [modulus(), T]))
    yield from (('homomorphic key', x) for x in chunks(key._values.tobytes()))
    yield from (('weights', row.astype(kind).tobytes()) for row in checks.weights for kind in (np.float64, np.int64, np.uint32, np.uint16))
    yield from (('sums', row.astype(kind).tobytes()) for row in checks.sums(m.codes[np.argsort(m.index.ids)]) for kind in (np.uint16, np.int64, np.float64))
    if m.form == 'public': return
    for column in columns_of(m.codes[np.argsort(m.index.ids)])[0]:
        yield from (('column', a[:about['photographs']].tobytes()) for a in (*(column.astype(kind) for kind in (np.int8, np.int64, np.float64)), (column % T).astype(np.uint64)))
        yield from (('column', x) for x in chunks(points_of(column).tobytes(), 512))


def walk_secrets(m):
    "The top of the tree, and which bucket holds what."
    ready = User(m.key.grant(), m.cloud.answer(hello())).ready
    yield from (('mean', row.astype(kind).tobytes()) for row in ready.mean for kind in (np.float16, np.float32, np.float64))
    if len(ready.bucket) > 7: yield from (('buckets of groups', ready.bucket.astype(kind).tobytes()) for kind in (np.int32, np.int64))


def lock_secrets(m):
    "What the lock and retrieval have to hide."
    if m.lock == 'random-matrix': return matrix_secrets(m)
    return [*retrieval_secrets(m), *(homomorphic_secrets(m) if m.lock == 'homomorphic' else walk_secrets(m) if 'walk' in m.lock else [])]


def matrix_secrets(m):
    "Rows and columns of the matrices and of their inverses, in both precisions, and the split bits."
    about = read_manifest(m.folder)
    key = lock_key(m.key, about['index'], about['version'], BITS, about['form'])
    for a in key.matrices + key.inverses:
        for line in [*a, *a.T]: yield from (('matrix', line.astype(kind).tobytes()) for kind in (np.float64, np.float32))
    yield from (('split bits', key.splits.astype(kind).tobytes()) for kind in (bool, np.float32, np.float64))
    yield 'split bits', np.packbits(key.splits).tobytes()


def collection_secrets(m):
    "Codes in several types, features, the order of ids, the encoder, names, labels and pictures."
    yield from (('code', code.tobytes()) for code in m.codes)
    yield from (('code', s.astype(kind).tobytes()) for s in signs(m.codes) for kind in (np.int8, np.float32, np.float64))
    tree = m.index.tree or MergeTree().fit(m.codes)
    yield from (('feature', row.astype(kind).tobytes()) for row in tree.vectors() for kind in (np.float32, np.float64))
    yield from (('ids in folder order', m.index.ids.astype(kind).tobytes()) for kind in (np.int32, np.int64))
    yield from (('leaves in folder order', tree.leaf_.astype(kind).tobytes()) for kind in (np.int32, np.int64))
    yield from (('encoder', c) for c in chunks(m.encoder))
    yield from (('name', text.encode()) for name in m.images.names for text in (name, name.split('/')[1]))
    yield from (('label', kind.encode()) for kind in KINDS)
    pictures = [f(i) for i in range(len(m.images)) for f in (m.images.reader, lambda i: thumbnail(m.images[i]))]
    yield from (('picture', c) for p in pictures for c in chunks(p) if len(set(c)) > 16)
    yield from (('picture', m.images[i].tobytes()) for i in range(len(m.images)))


def secrets(m): return [*key_secrets(m), *lock_secrets(m), *collection_secrets(m)]


def found_in(secret, places):
    "(what, where) of every secret that occurs somewhere; all have at least eight bytes, of which the first eight are looked up."
    places = [(where, data) for where, data in places if data]
    whole, starts = b''.join(data for _, data in places), np.cumsum([0] + [len(data) for _, data in places]).tolist()
    wanted = {}
    for what, data in secret: wanted.setdefault(data[:8], []).append((what, data))
    assert min(map(len, wanted)) == 8
    probes, low = np.unique(np.frombuffer(b''.join(wanted), '<u8')), np.uint64(2**20 - 1)
    some, res = np.zeros(2**20, bool), set()
    some[probes & low] = True
    for shift in range(8):
        windows = np.frombuffer(whole, '<u8', (len(whole) - shift)//8, shift)
        maybe = np.flatnonzero(some[windows & low])
        for at in (8*maybe[np.isin(windows[maybe], probes)] + shift).tolist():
            res |= {(what, places[bisect(starts, at) - 1][0]) for what, data in wanted[whole[at:at + 8]] if whole[at:at + len(data)] == data}
    return res


def leaked(m, requests=()):
    "What a cloud holds of an index's secrets, by value or as an object."
    res = found_in(secrets(m), held(m.cloud, m.folder, requests))
    return res | {('object', type(o).__name__) for o in reachable(m.cloud) if isinstance(o, FORBIDDEN)}


def used(folder, form):
    "An index after a search and a fetch of every kind, with the requests and replies."
    m = made(folder, form)
    m.heard = []
    m.results = talk(m.user.query(m.codes[3], note='note-of-the-searcher'), m.cloud.answer, m.heard)
    m.files = talk(m.user.fetch([r.id for r in m.results], 'direct'), m.cloud.answer, m.heard)
    for how in ('decoys', 'thumbnails', 'private')[:2 if m.lock == 'random-matrix' else 3]: assert talk(m.user.fetch([r.id for r in m.results[:3]], how), m.cloud.answer, m.heard) == m.files[:3]
    return m


@pytest.fixture(scope='module', params=['basic', 'split'])
def whole(request, tmp_path_factory):
    "An index under random matrices after a search and a fetch, with the reply to the fetch."
    m = used(tmp_path_factory.mktemp(request.param)/'index', request.param)
    m.photos = next(x for x in m.heard[1::2] if read_message(x, 'found photos file').header['kind'] == 'photos')
    return m


@pytest.fixture(scope='module')
def used_indexes(): return {}


@pytest.fixture(params=FORMS)
def each(request, tmp_path_factory, used_indexes):
    "The same under every lock; tests do not change it."
    if request.param not in used_indexes: used_indexes[request.param] = used(tmp_path_factory.mktemp(request.param)/'index', request.param)
    return used_indexes[request.param]


def opened_up(requests):
    "What is in messages: arrays, and packed numbers unpacked."
    for m in (read_message(r, 'search fetch file private found photos') for r in requests):
        yield from ((name, a.tobytes()) for name, a in m.arrays.items())
        if m.header['kind'] == 'search' and 'first' in m.arrays and m.arrays['first'].ndim == 2: yield 'unpacked', unpacked(m.arrays['first'], PRIME_BITS).tobytes()
        elif 'first' in m.arrays: yield 'unpacked', unpacked(m.arrays['first'], ROW_BITS[0]).tobytes()


def test_the_cloud_holds_no_secret(each):
    "Nothing that can be reached from the cloud, lies in its folder, or was sent to it, holds a secret."
    assert not leaked(each, each.heard)
    assert not found_in(secrets(each), opened_up(each.heard))
    assert not found_in([('note', b'note-of-the-searcher')], [('message', x) for x in each.heard])


def test_the_walk_reaches_what_the_cloud_has(each):
    "The walk does reach the ciphertexts, the sealed records and photographs, and the manifest."
    things, cloud = reachable(each.cloud), each.cloud
    files = [(name, a) for name, arrays in cloud.files.items() for a in arrays.values()]
    for wanted in (cloud.records, cloud.packs[0]['boxes'], cloud.manifest, *(a for _, a in files)):
        assert any(o is wanted for o in things)
    found = found_in([(name, a.tobytes()[-64:]) for name, a in files if a.nbytes >= 64], held(cloud, each.folder))
    assert {name for name, _ in files} == {name for name, where in found if where == 'object of type mmap'} == {name for name, where in found if where == f'{name}.safetensors'}
    if 'expansion' in cloud.files: assert any(isinstance(o, seal.GaloisKeys) and len(content(o)) > 10 ** 6 for o in things)


def hide_in(m, how):
    "Give a cloud a secret in one of several ways."
    secret, cloud = m.key.secret, m.cloud
    if how == 'attribute': cloud.extra = [dict(deep=(secret,))]
    if how == 'hexadecimal': cloud.extra = secret.hex()
    if how == 'whole number': cloud.extra = int.from_bytes(secret, 'big')
    if how == 'closure': cloud.extra = lambda: secret
    if how == 'default': cloud.extra = lambda s=secret: s
    if how == 'signing key': cloud.extra = m.key
    if how == 'sealer': cloud.extra = Sealer(m.key, '00'*8).seal
    if how == 'matrix': cloud.extra = np.float32(lock_key(m.key, cloud.manifest['index'], 1, BITS, 'split').inverses[1])
    if how == 'polynomial': cloud.extra = HomomorphicKey.derived(version_secret(m.key, cloud.manifest['index'], 1))._values[700:800].copy()
    if how == 'coefficients': cloud.extra = ternary(version_secret(m.key, cloud.manifest['index'], 1)).astype(np.int8)[1000:1300]
    if how == 'SEAL key': cloud.extra = HomomorphicKey.derived(version_secret(m.key, cloud.manifest['index'], 1))._decryptor
    if how == 'SEAL plaintext': cloud.extra = tree_privacy.private_locks.plaintext_of(columns_of(m.codes[np.argsort(m.index.ids)])[0, 5])
    if how == 'column': (m.folder/'x').write_bytes(points_of(columns_of(m.codes[np.argsort(m.index.ids)])[0, 5]).tobytes()[300:1600])
    if how == 'weights': cloud.extra = Checks(version_secret(m.key, cloud.manifest['index'], 1), len(m.codes)).weights[3]
    if how == 'retrieval key': cloud.extra = retrieval_key(m.key, cloud.manifest['index'])._values[1, 100:200].tobytes()
    if how == 'retrieval coefficients': cloud.extra = ternary(subkey(m.key.secret, 'retrieval', bytes.fromhex(cloud.manifest['index'])), SLOTS)[500:700]
    if how == 'means': cloud.extra = dict(told=m.user._open('told'))
    if how == 'buckets': cloud.extra = m.user.ready.bucket
    if how == 'names': cloud.extra = [np.frombuffer(m.images.names[3].encode(), np.uint8)]
    if how == 'encoder window': cloud.extra = b'??' + m.encoder[1234:1298] + b'??'
    if how == 'code': cloud.extra = m.codes.copy()
    if how == 'thumbnail': cloud.extra = io.BytesIO(thumbnail(m.images[5]))
    if how == 'plain tree': cloud.extra = m.index.tree
    if how == 'order of ids': cloud.extra = m.index.ids.copy()
    if how == 'name in a file': (m.folder/'notes.txt').write_text(f'these are {m.images.names[7]}')
    if how == 'name of a file': (m.folder/f'{KINDS[1]}.safetensors').write_bytes(b'')


@pytest.mark.parametrize('form, how', [('split', how) for how in ('attribute', 'hexadecimal', 'whole number', 'closure', 'default', 'signing key', 'sealer', 'matrix', 'encoder window', 'code',
                                                                 'thumbnail', 'plain tree', 'order of ids', 'name in a file', 'name of a file')]
                         + [('homomorphic', how) for how in ('polynomial', 'coefficients', 'SEAL key', 'SEAL plaintext', 'column', 'weights', 'retrieval key', 'retrieval coefficients', 'code')]
                         + [('sealed', how) for how in ('hexadecimal', 'code', 'names', 'order of ids', 'retrieval key')]
                         + [('private-walk', how) for how in ('means', 'buckets', 'retrieval key', 'retrieval coefficients', 'code')] + [('decoy-walk', how) for how in ('means', 'code')])
def test_the_search_for_secrets_notices(tmp_path, form, how):
    "A broken twin of the cloud is found out, wherever the secret sits."
    m = made(tmp_path/'index', form)
    if form == 'split': assert not leaked(m)
    hide_in(m, how)
    assert leaked(m)


def test_the_search_for_secrets_notices_a_cache(tmp_path, monkeypatch):
    "A key that the package's own module remembers counts as held."
    m = made(tmp_path/'index', photos='none')
    monkeypatch.setattr(tree_privacy.roles, 'cache', {'last': m.key.grant()}, raising=False)
    assert {what for what, _ in leaked(m)} == {'key secret', 'object'}


def test_users_get_what_was_hidden(each):
    "The secrets are in there all the same: with the key, names and thumbnails come out."
    places = {int(i): at for at, i in enumerate(each.index.ids)}
    assert len(each.files) == len(each.results) > 4 and (each.form not in HOLDING[:2] or len(each.results) == 10)
    for result, (number, name, data) in zip(each.results, each.files):
        at = places[number]
        assert result.id == number and result.name in (name, None) and (result.name is None) == (each.lock not in ('random-matrix', 'sealed'))
        assert name == each.images.names[at] and data == thumbnail(each.images[at]) and result.distance == hamming(each.codes[3][None], each.codes[at][None])[0, 0]


# What numbers, lengths and order say about categories

def test_sealed_lengths_are_equal(each):
    "All records are equally long, and so are all thumbnails and buckets, whatever is in them."
    lengths = [np.diff(p['start']) for p in each.cloud.packs]
    assert each.cloud.records.ndim == 2 and len(each.cloud.records) == len(each.images)
    assert len(set(np.concatenate(lengths).tolist())) == 1 and sum(map(len, lengths)) == len(each.images)
    assert len({len(n) for n in each.images.names}) > 1 and len({len(thumbnail(each.images[i])) for i in range(10)}) > 1
    if 'walk' in each.lock:
        sealer, about = Sealer(each.key, each.cloud.manifest['index']), each.cloud.manifest
        inside = [sealer.open('bucket', i, about['version'], box) for i, box in enumerate(each.cloud.files['buckets']['table'])]
        assert len({len(x) for x in inside}) > 1 and sum(map(len, inside)) == len(each.images) * (4 + BITS//8)


def test_requests_are_equally_long(whole):
    "The length of a request says nothing about the code or a short note."
    lengths = {len(whole.user.query(c, note=n).request) for c in whole.codes[:20] for n in ('', 'a short note', 'x'*60)}
    assert len(lengths) == 1


def test_full_photographs_are_padded_in_steps(tmp_path):
    "Whole photographs are padded to one of eight lengths per doubling, so that many lengths become few."
    rng = np.random.default_rng(1)
    files = [rng.bytes(1000 + 7*i) for i in range(60)]
    images = Images([f'{i:03}' for i in range(60)], None, None, lambda i: files[i])
    Owner(OwnerKey.generate()).create(tmp_path/'index', images, rng.integers(0, 256, (60, 16), np.uint8), b'encoder', lock='random-matrix', photos='full')
    [pack] = Cloud(tmp_path/'index').packs
    assert {int(n) - 36 for n in np.diff(pack['start'])} == {1024, 1152, 1280, 1408, 1536}


def numbered(folder, rng, categories):
    """Categories in the order of the numbers that a new index shows to the cloud: of photographs, of leaves, and of inner nodes (what most
    below are)."""
    codes = clustered(rng, categories.max() + 1, len(categories)//(categories.max() + 1), 32)
    index = unseen(folder, codes)
    arrays, category = Cloud(folder).searcher.tree, np.empty(len(codes), int)
    category[index.ids] = categories
    return dict(photographs=category, leaves=of_leaves(arrays, category), inner=of_inner(arrays, index.tree, of_leaves(arrays, category))), arrays['children']


def unseen(folder, codes, form='basic', key=None, **options):
    "A new index of codes without pictures."
    images = from_arrays(np.zeros((len(codes), 1, 1), np.uint8), None, 'picture')
    return Owner(key or OwnerKey.generate()).create(folder, images, codes, b'encoder', photos='none', lock=FORMS[form][0], **FORMS[form][1] | options)


def folder_order(tree):
    "The renumbering of a broken owner: every node stands where the first photograph below it stands in the folder."
    first = np.full(len(tree.size_), len(tree.leaf_))
    np.minimum.at(first, tree.leaf_, np.arange(len(tree.leaf_)))
    for i, row in upward(tree): first[i] = first[row].min()
    n = tree.n_leaves_
    return np.concatenate([np.argsort(first[:n]), n + np.argsort(first[n:-1], kind='stable'), [len(first) - 1]])


def of_leaves(arrays, category):
    "The category of each leaf's first photograph, by leaf number, from what the cloud holds and the categories by id."
    return category[arrays['ids'][arrays['start'][:-1]]]


def of_inner(arrays, tree, leaf_category):
    "The commonest category below each inner node but the root, by number."
    n, count = tree.n_leaves_, np.zeros((len(tree.size_), leaf_category.max() + 1), int)
    count[np.arange(n), leaf_category] = 1
    for i in np.argsort(tree.height_[n:], kind='stable'): count[n + i] = count[[c for c in arrays['children'][i] if c >= 0]].sum(0)
    return count[n:-1].argmax(1)


def statistics(category):
    "How far the categories' mean ranks lie apart, how often neighbours share a category, and whether categories rise with the numbers."
    ranks = np.arange(len(category))
    apart = sum((category == c).sum() * (ranks[category == c].mean() - ranks.mean()) ** 2 for c in np.unique(category))
    return np.array([apart, (category[1:] == category[:-1]).sum(), (category * ranks).sum()])


def any_order(kind, children, n, rng):
    "An order of photographs, leaves or inner nodes that knows nothing but the links: siblings side by side, in random order."
    if kind in ('photographs', 'buckets'): return rng.permutation(n)
    leaves, inner, level = [], [], [len(children) - 1]
    while level:
        below = [int(c) for i in level for c in rng.permutation(children[i]) if c >= 0]
        leaves, inner, level = leaves + [c for c in below if c < n], [level] + inner, [c - n for c in below if c >= n]
    return leaves if kind == 'leaves' else [i for row in inner[:-1] for i in row]


def surprise(rng, kind, made):
    """Standard deviations between what many indexes show and what random orders would: the sum of each statistic over indexes, against its
    mean and variance under 60 orders an index."""
    seen, mean, variance = np.zeros((3, 3))
    for shown, children in made:
        category, n = shown[kind], len(shown.get('leaves', ()))
        orders = [any_order(kind, children, len(category) if kind in ('photographs', 'buckets') else n, rng) for _ in range(60)]
        shuffles = np.array([statistics(category[order]) for order in orders])
        seen, mean, variance = seen + statistics(category), mean + shuffles.mean(0), variance + shuffles.var(0, ddof=1)/60*61
    return np.abs(seen - mean)/np.sqrt(np.maximum(variance, 1e-9))


LIMIT = 7  # standard deviations of a sum over 80 indexes


@pytest.mark.parametrize('in_order', [False, True])
def test_numbers_say_nothing_about_categories(tmp_path, monkeypatch, in_order):
    """Ids look like random ones, numbers of nodes like a random order of the links, and the same test notices a broken owner who numbers in folder order.

    A sum over 80 indexes is close to normal: seven standard deviations have a chance of 3e-12; the skewness that is left in the sums
    (under 0.3) raises it to less than 1e-8, so that nine such sums fail by chance less than once in 10 ** 7 runs."""
    if in_order:
        monkeypatch.setattr(tree_privacy.roles, 'shuffled', np.arange)
        monkeypatch.setattr(tree_privacy.roles, 'node_order', folder_order)
    rng, categories = np.random.default_rng(5), np.repeat(np.arange(4), 16)
    shown = [numbered(tmp_path/f'{i}', rng, categories) for i in range(80)]
    for kind in ('photographs', 'leaves', 'inner'):
        far = surprise(rng, kind, shown)
        assert (far > LIMIT).any() if in_order else (far < LIMIT).all(), kind


def in_buckets(folder, rng, categories):
    "Categories in the order of the numbers that a new walk shows to the cloud: of photographs, and of buckets (what most in them are)."
    key, codes = OwnerKey.generate(), clustered(rng, categories.max() + 1, len(categories)//(categories.max() + 1), 32)
    index, category = unseen(folder, codes, 'decoy-walk', key, capacity=4), np.empty(len(codes), int)
    category[index.ids] = categories
    about, boxes = read_manifest(folder), Cloud(folder).files['buckets']['table']
    inside = [np.frombuffer(Sealer(key, about['index']).open('bucket', b, 1, box), np.uint8).reshape(-1, 8)[:, :4] for b, box in enumerate(boxes)]
    assert sorted(np.concatenate(inside).copy().view('<u4').ravel().tolist()) == list(range(len(codes)))
    return dict(photographs=category, buckets=np.array([np.bincount(category[np.ascontiguousarray(x).view('<u4').ravel()]).argmax() for x in inside])), None


@pytest.mark.parametrize('in_order', [False, True])
def test_numbers_of_buckets_say_nothing_about_categories(tmp_path, monkeypatch, in_order):
    "The same of the buckets of a walk, whose owner, if broken, numbers them as they come from the tree."
    monkeypatch.setattr(tree_privacy.roles, 'EXTRAS', [])
    if in_order:
        monkeypatch.setattr(tree_privacy.roles, 'shuffled', np.arange)
        monkeypatch.setattr(tree_privacy.private_walk, 'shuffled', np.arange)
    rng, categories = np.random.default_rng(5), np.repeat(np.arange(4), 16)
    shown = [in_buckets(tmp_path/f'{i}', rng, categories) for i in range(40)]
    for kind in ('photographs', 'buckets'):
        far = surprise(rng, kind, shown)
        assert (far > LIMIT).any() if in_order else (far < LIMIT).all(), kind


def test_files_are_in_the_order_of_ids(each):
    "Records, packs and the members of leaves are stored by id, which is random: their order adds nothing."
    assert (np.diff(each.cloud.packs[0]['ids']) > 0).all() and each.cloud.ids.tolist() == list(range(len(each.images)))
    if each.lock == 'random-matrix': assert (np.sort(each.cloud.searcher.tree['ids']) == np.arange(len(each.images))).all()
    about, sealer = each.cloud.manifest, Sealer(each.key, each.cloud.manifest['index'])
    names = [sealer.open('record', i, about['version'], box)[BITS//8:].decode() for i, box in enumerate(each.cloud.records)]
    assert names == [each.images.names[i] for i in np.argsort(each.index.ids)]
    assert (each.index.ids != np.arange(len(each.images))).any()


def test_places_among_siblings_say_nothing_about_codes(tmp_path):
    """Which of two sibling leaves is listed first is independent of their codes.

    Of several hundred pairs half have the smaller code first; six standard deviations have a chance of 2e-9."""
    rng, first, total = np.random.default_rng(6), 0, 0
    for i in range(40):
        codes = rng.integers(0, 256, (64, 2), np.uint8)
        tree = unseen(tmp_path/f'{i}', codes).tree
        value = np.zeros(len(tree.size_), int)
        value[tree.leaf_] = codes.astype(int) @ [256, 1]
        for row in Cloud(tmp_path/f'{i}').searcher.tree['children']:
            pair = [c for c in row if 0 <= c < tree.n_leaves_][:2]
            if len(pair) == 2: first, total = first + (value[pair[0]] < value[pair[1]]), total + 1
    assert total > 200 and abs(first - total/2) < 6*np.sqrt(total)/2, f'in {first} of {total} rows the first leaf has the smaller code'


# Nothing random repeats

def boxes_of(folder):
    "Every sealed box in an index's folder, as bytes; of ciphertexts of the homomorphic lock their random half."
    cloud = Cloud(folder)
    yield from (r.tobytes() for r in cloud.records)
    yield from (arrays['box'].tobytes() for name, arrays in cloud.files.items() if name in ('encoder', 'told') or name.startswith('codes-'))
    for pack in cloud.packs:
        yield from (pack['boxes'][a:b].tobytes() for a, b in zip(pack['start'], pack['start'][1:]))
    if 'buckets' in cloud.files: yield from (row.tobytes() for row in cloud.files['buckets']['table'])
    if 'columns' in cloud.files: yield from (column[1].tobytes() for column in cloud.files['columns']['table'][0])


@all_locks
def test_nonces_never_repeat(tmp_path, form):
    "All nonces in the boxes of several indexes and versions under one key differ."
    key, nonces = OwnerKey.generate(), []
    for i in range(2):
        m = made(tmp_path/f'{i}', form, key=key)
        nonces += [b[:12] for b in boxes_of(m.folder)]
        made(tmp_path/f'{i}', form, key=key)
        nonces += [b[:12] for b in boxes_of(m.folder)]
    more = {'split': 1, 'homomorphic': 2 + BITS, 'sealed': 2}.get(form) or 2 + m.cloud.manifest['buckets']
    assert len(nonces) == len(set(nonces)) == 4*(64 + more)


@some_locks
def test_what_is_written_again_is_sealed_again(tmp_path, form):
    "From version to version nothing is sealed anew under a nonce that was used, and what stays as it was are whole files."
    m = made(tmp_path/'index', form)
    files = lambda: {p.name: p.read_bytes() for p in (m.folder/read_manifest(m.folder)['generation']).iterdir()}
    before, old = files(), set(boxes_of(m.folder))
    Owner(m.key).remove(m.folder, m.images.names[:1])
    after, new = files(), set(boxes_of(m.folder))
    same = {box for name in before if before[name] == after.get(name) for box in old if box in before[name]}
    photographs = {m.cloud.packs[0]['boxes'][a:b].tobytes() for a, b in zip(m.cloud.packs[0]['start'], m.cloud.packs[0]['start'][1:])}
    assert new & old == (photographs & new) | same and {b[:12] for b in new - old}.isdisjoint(b[:12] for b in old)
    assert {name for name in before if before[name] == after.get(name)} == ({'expansion.safetensors'} if form != 'split' else set())


@pytest.mark.parametrize('form', ['basic', 'split'])
def test_trapdoors_r_and_tokens_never_repeat(tmp_path, form):
    "The same search and the same fetch, 300 times: other trapdoors, r, numbers, nonces and boxes."
    key, codes = OwnerKey.generate(), np.arange(32, dtype=np.uint8).reshape(8, 4)
    unseen(tmp_path/'index', codes, form, key)
    user = User(key.grant(), Cloud(tmp_path/'index').answer(hello()))
    searches = [read_message(user.query(codes[0]).request, 'search').arrays for _ in range(300)]
    tokens = [s['token'].tobytes() for s in searches]
    assert len({s['trapdoor'].tobytes() for s in searches}) == 300
    assert len({open_token(user.sealer, t)[0]['r'] for t in tokens}) == 300
    for part in (slice(0, 8), slice(16, 28), slice(28, None)): assert len({t[part] for t in tokens}) == 300
    assert len({read_message(user.fetch([0], 'direct').request, 'fetch').arrays['token'].tobytes() for _ in range(300)}) == 300


def test_split_shares_never_repeat():
    "Every random share of 200 encryptions of equal nodes and of equal queries is another number."
    key = MatrixKey.generate(32)
    nodes = key.encrypt_nodes(np.ones((200, 33)))
    first = nodes[:, :33] @ key.inverses[0]
    random_places = first[:, key.splits]
    assert len(np.unique(random_places.round(9))) == random_places.size > 200
    assert np.ptp(first[:, ~key.splits], axis=0).max() < 1e-6 and random_places.std() > .1
    made = [key.encrypt_query(np.zeros(4, np.uint8)) for _ in range(200)]
    shares = np.array([np.linalg.solve(key.inverses[0], t[:33])/r for t, r in made])
    assert len(np.unique(shares[:, ~key.splits].round(9))) == shares[:, ~key.splits].size


def test_keys_ids_and_matrices_never_repeat():
    "Keys, permutations and the matrices of each version and index differ."
    keys = [OwnerKey.generate() for _ in range(300)]
    assert len({k.secret for k in keys} | {k.signing for k in keys}) == 600 and len({k.id for k in keys}) == 300
    assert len({shuffled(64).tobytes() for _ in range(300)}) == len({fresh((2,)).tobytes() for _ in range(300)}) == 300
    places = [('00'*8, 1), ('00'*8, 2), ('01'*8, 1)]
    locks = [lock_key(keys[0], *place, 32, 'split').matrices for place in places]
    assert len({m.tobytes() for pair in locks for m in pair}) == 6


SEEDS = {'seed', 'rng', 'random_state', 'generator', 'nonce', 'iv', 'entropy', 'randomness'}


def seeded(functions):
    "The functions that take their randomness from the caller."
    def parameters(f):
        try: return set(inspect.signature(f).parameters)
        except (TypeError, ValueError): return set()
    return sorted(name for name, f in functions if parameters(f) & SEEDS)


def functions_of(module):
    "Names and functions of a module, methods of its classes included."
    for name, thing in vars(module).items():
        if not callable(thing) or getattr(thing, '__module__', None) != module.__name__: continue
        yield name, thing
        if isinstance(thing, type): yield from ((f'{name}.{n}', getattr(thing, n)) for n in vars(thing) if callable(getattr(thing, n)))


def test_nobody_can_give_a_seed():
    "No function of the locks and of the roles takes a seed, a generator or a nonce, but for those that expand what is public."
    found = [f for m in (tree_privacy.roles, tree_privacy.random_matrix, tree_privacy.private_locks, tree_privacy.private_walk) for f in functions_of(m)]
    names = {name for name, _ in found}
    assert {'OwnerKey.generate', 'MatrixKey.encrypt_query', 'Sealer.seal', 'User.query', 'Owner.create', 'shuffled', 'fresh', 'HomomorphicKey.generate', 'lock_codes', 'ask', 'errors',
            'RetrievalKey.expansion', 'ask_rows'} <= names
    assert seeded(found) == ['random_pairs', 'random_polynomials']
    assert seeded([('bad', lambda key, seed=0: 0), ('good', lambda key: 0), ('worse', lambda nonce: 0)]) == ['bad', 'worse']


# Who may do what

def test_a_granted_key_cannot_write(each):
    "A user's key has no signing key, reaches none, and no owner accepts it."
    granted = each.key.grant()
    assert type(granted) is UserKey and not hasattr(granted, 'signing') and not hasattr(granted, 'sign')
    assert each.key.signing not in [content(o) for o in reachable(granted)] and not any(isinstance(o, OwnerKey) for o in reachable(granted))
    assert each.key.signing in [content(o) for o in reachable(each.key)]
    with pytest.raises(InputError, match='may search but not write'): Owner(granted)
    assert each.key.signing not in [content(o) for o in reachable(each.user)]


def test_representations_show_no_secret(each):
    "Printing a key, an owner's or a user's objects shows numbers of keys, not keys."
    keys = MatrixKey(each.key.secret, 32), HomomorphicKey.derived(each.key.secret), RetrievalKey(each.key.secret)
    shown = ' '.join(map(repr, (each.key, each.key.grant(), each.user, each.user.ready, each.cloud, each.cloud.searcher, each.user.lock, *keys)))
    assert not found_in([(what, x) for what, x in secrets(each) if what not in ('label', 'mean', 'buckets of groups', 'sums')], [('words', shown.encode())])
    assert each.key.secret.hex()[:8] not in shown and each.key.signing.hex()[:8] not in shown and each.key.id in shown


def boxes(cloud):
    "What a greeting brings with the manifest."
    return {name: cloud.files[name]['box'] for name in ('encoder', 'told') if name in cloud.files}


def test_only_the_owner_can_sign(each):
    "A manifest that was altered, or altered and signed with another key, is refused."
    for change in (dict(version=9), dict(ids=[[1, len(each.images)]]), dict(record_size=9), dict(photos='none'), dict(key=OwnerKey.generate().id), dict(extra=1)):
        altered = dict(each.cloud.manifest, **change)
        forger = OwnerKey(each.key.secret, OwnerKey.generate().signing)
        for manifest in (altered, dict(altered, signature=forger.sign(signable(altered)).hex())):
            with pytest.raises(InputError, match='altered|not the key of this index'):
                User(each.key.grant(), message('index', dict(manifest=manifest), boxes(each.cloud)))
    for signature in ('', 'zz', '00'*64, None, 5):
        with pytest.raises(InputError, match='altered'): check_manifest(dict(each.cloud.manifest, signature=signature), each.key)
    assert check_manifest(each.cloud.manifest, each.key.grant(), seen=1) is None


def test_another_key_opens_nothing(each):
    "Somebody else's key is refused by name; with its number forged as well, seals stay closed."
    with pytest.raises(InputError, match='not the key of this index'): User(OwnerKey.generate().grant(), each.cloud.answer(hello()))
    stranger = OwnerKey.generate()
    manifest = dict(each.cloud.manifest, key=stranger.id)
    manifest['signature'] = stranger.sign(signable(manifest)).hex()
    user = User(stranger.grant(), message('index', dict(manifest=manifest), boxes(each.cloud)))
    with pytest.raises(SealError): user.encoder()
    with pytest.raises(InputError): ask(user, each.cloud.answer, each.codes[0])


# A cloud that cheats

def rewritten(reply, header={}, **arrays):
    "A reply with other contents and a fitting checksum, as a cloud can make it; what is set to None is left out."
    m = read_message(reply, 'found photos index search')
    keep = lambda a: {k: v for k, v in a.items() if v is not None}
    return message(m.header['kind'], keep(m.header | header), keep(m.arrays | arrays))


def refused(whole, **changes):
    "A search whose reply was rewritten: the error that the user sees."
    s = whole.user.query(whole.codes[3])
    reply = whole.cloud.answer(s.request)
    arrays = read_message(reply, 'found').arrays
    with pytest.raises(InputError) as error: s.receive(rewritten(reply, **{k: f(arrays[k]) for k, f in changes.items()}))
    assert s.result is None and s.request is not None
    return str(error.value)


def swapped(a):
    a = a.copy()
    a[[0, 1]] = a[[1, 0]]
    return a


@all_locks
def test_an_old_version_is_refused(tmp_path, form):
    "Who has seen version 2 does not accept version 1 again; who has not cannot know."
    m = made(tmp_path/'index', form)
    shutil.copytree(m.folder, tmp_path/'old')
    Owner(m.key).remove(m.folder, m.images.names[:3])
    new, old = Cloud(m.folder), Cloud(tmp_path/'old')
    assert User(m.key.grant(), new.answer(hello()), seen=2).manifest['version'] == 2
    assert User(m.key.grant(), old.answer(hello()), seen=1).manifest['version'] == 1
    with pytest.raises(InputError, match='version 1 of the index, but version 2 was seen'): User(m.key.grant(), old.answer(hello()), seen=2)


def test_old_replies_and_records_do_not_fit_a_new_version(tmp_path):
    "Records, photographs' names, tokens and the encoder of version 1 are refused by a user of version 2."
    m = made(tmp_path/'index')
    old_search = m.user.query(m.codes[3])
    old_reply = m.cloud.answer(old_search.request)
    Owner(m.key).remove(m.folder, [m.images.names[-1]])
    new = Cloud(m.folder)
    user = User(m.key.grant(), new.answer(hello()))
    s = user.query(m.codes[3])
    with pytest.raises(InputError, match='another request'): s.receive(old_reply)
    with pytest.raises(InputError, match='version 1 of the index, which is now at 2'): new.answer(old_search.request)
    reply = new.answer(s.request)
    ids = read_message(reply, 'found').arrays['ids']
    with pytest.raises(SealError): s.receive(rewritten(reply, records=m.cloud.records[ids]))
    f = user.fetch(ids[:2], 'direct')
    with pytest.raises(SealError): f.receive(rewritten(new.answer(f.request), records=m.cloud.records[ids[:2]]))
    with pytest.raises(InputError, match='changed'): f.receive(rewritten(new.answer(f.request), dict(version=1)))
    with pytest.raises(InputError, match='owner signed'): User(m.key.grant(), message('index', dict(manifest=new.manifest), boxes(m.cloud)))
    s.receive(reply)
    assert len(s.result) == 10


def test_swapped_records_in_a_reply(whole):
    "Records, ids or scores in another order, doubled, or taken from another index are found."
    swap = SealError().args[0]
    assert refused(whole, records=swapped) == refused(whole, ids=swapped) == swap
    assert 'do not fit' in refused(whole, scores=lambda a: a[np.argsort(-a)][::-1].copy())
    twice = lambda a: np.concatenate([a, a[:1]])
    assert 'do not fit' in refused(whole, ids=twice, records=twice, scores=twice)


def test_doubles_under_fractions_of_ids(whole):
    "The same photograph twice, the second time under an id with a fraction, is found."
    twice = lambda a: np.concatenate([a, a[:1]])
    assert refused(whole, ids=lambda a: np.append(a, a[0] + .25), records=twice, scores=twice)


def test_lies_about_scores(whole):
    "Scores that were scaled, moved by one distance, or made up are found."
    assert refused(whole, scores=lambda a: a*2) and refused(whole, scores=lambda a: a*np.nan) and refused(whole, scores=lambda a: -a)
    assert refused(whole, scores=lambda a: a - a + a[0])
    s = whole.user.query(whole.codes[3])
    told = open_token(whole.user.sealer, s.token)[0]
    reply = whole.cloud.answer(s.request)
    scores = read_message(reply, 'found').arrays['scores'] - 2*told['r']
    with pytest.raises(InputError, match='do not fit its records'): s.receive(rewritten(reply, scores=scores))


def test_missing_and_foreign_tokens(whole):
    "A reply without its token, with another, or to another question is refused."
    s, other = whole.user.query(whole.codes[3]), whole.user.query(whole.codes[3])
    reply = whole.cloud.answer(s.request)
    wrong = [rewritten(reply, token=None), rewritten(reply, token=np.zeros(0, np.uint8)), rewritten(reply, token=swapped(np.frombuffer(s.token, np.uint8))),
             whole.cloud.answer(other.request), whole.photos]
    for w in wrong:
        with pytest.raises(InputError, match='another request'): s.receive(w)
    s.receive(reply)
    assert s.result[0].distance == 0


def test_scores_of_another_query_under_this_token(whole):
    "The scores, ids and records of another question do not fit, even with the right token put in: r differs."
    s, other = whole.user.query(whole.codes[3]), whole.user.query(whole.codes[20])
    a = read_message(whole.cloud.answer(other.request), 'found').arrays
    with pytest.raises(InputError): s.receive(rewritten(whole.cloud.answer(s.request), **{k: a[k] for k in ('ids', 'scores', 'records')}))


@pytest.mark.parametrize('name', ['ids', 'scores', 'records'])
@pytest.mark.parametrize('how', ['left out', 'empty', 'shortened', 'lengthened', 'a row more', 'other numbers'])
def test_misshapen_search_replies_are_refused(whole, name, how):
    "Whatever arrays a cloud sends, the user gets the package's own error, and never a result."
    shape = {'left out': lambda a: None, 'empty': lambda a: a[:0], 'shortened': lambda a: a[:-1], 'lengthened': lambda a: np.concatenate([a, a[-1:]]),
             'a row more': lambda a: a[None], 'other numbers': lambda a: a.astype(np.float64)/3}
    assert refused(whole, **{name: shape[how]})


def test_an_empty_search_reply_is_refused_clearly(whole):
    "A walk always ends at some leaf: a reply without any is refused with the package's own error."
    empty = lambda a: a[:0]
    assert refused(whole, ids=empty, scores=empty, records=empty)


def test_two_rows_of_ids_are_refused_clearly(whole):
    "Ids, scores and records shaped as a table are refused with the package's own error."
    column = lambda a: a[:, None]
    assert refused(whole, ids=column) and refused(whole, ids=column, scores=column)


@pytest.mark.parametrize('index', [None, 'not a number', '00'*8, 7, ''])
def test_replies_of_a_wrong_index_are_refused_clearly(whole, index):
    "A reply that names another index, or none, is refused with the package's own error."
    s = whole.user.query(whole.codes[3])
    with pytest.raises(InputError): s.receive(rewritten(whole.cloud.answer(s.request), dict(index=index)))


def fetched(whole, header={}, **changes):
    "A fetch of two photographs whose reply was rewritten."
    f = whole.user.fetch([4, 5], 'direct')
    reply = whole.cloud.answer(f.request)
    arrays = read_message(reply, 'photos').arrays
    f.receive(rewritten(reply, header, **{k: c(arrays[k]) for k, c in changes.items()}))
    return f.result


def test_swapped_photographs_in_a_reply(whole):
    "Boxes, records, ids or versions of photographs in another order are found; untouched replies are read."
    assert [i for i, _, _ in fetched(whole)] == [4, 5]
    halves = lambda a: np.concatenate(np.split(a, 2)[::-1])
    for change in (dict(boxes=halves), dict(records=swapped), dict(boxes=halves, records=swapped)):
        with pytest.raises(SealError): fetched(whole, **change)
    with pytest.raises(InputError, match='other photographs'): fetched(whole, ids=swapped)
    with pytest.raises(SealError): fetched(whole, dict(versions=[2, 1]))


def test_photographs_left_out_of_a_reply_are_noticed(whole):
    "A fetch gives all photographs that were asked for, or an error; none is silently missing."
    two = read_message(whole.cloud.answer(whole.user.fetch([4, 5], 'direct').request), 'photos').header['lengths']
    with pytest.raises(InputError): fetched(whole, dict(lengths=[0, 0]))
    with pytest.raises(InputError): fetched(whole, dict(lengths=two[:1], versions=[1]))
    with pytest.raises(InputError): fetched(whole, records=lambda a: a[:1])
    with pytest.raises(InputError): fetched(whole, dict(lengths=[], versions=[]))


@pytest.mark.parametrize('header', [dict(lengths=None), dict(versions=None), dict(version=None), dict(lengths=['x', 'y']), dict(lengths=[1.5, 2]),
                                    dict(versions=['x', 'y']), dict(lengths=5), dict(lengths=[-1, 10**30])], ids=str)
def test_misshapen_fetch_headers_are_refused_clearly(whole, header):
    "A header that makes no sense gives the package's own error."
    with pytest.raises(InputError): fetched(whole, header)


@pytest.mark.parametrize('name', ['ids', 'records', 'boxes'])
def test_missing_fetch_arrays_are_refused_clearly(whole, name):
    "A fetch reply that lacks an array gives the package's own error."
    with pytest.raises(InputError): fetched(whole, **{name: lambda a: None})


@pytest.mark.parametrize('header, arrays', [({}, {}), (dict(manifest={}), {}), (dict(manifest=5), {}), (dict(manifest=None), {}), ('whole', {})],
                         ids=['nothing', 'empty manifest', 'a number', 'null', 'no encoder'])
def test_misshapen_greetings_are_refused_clearly(whole, header, arrays):
    "A greeting without a manifest or without the encoder gives the package's own error."
    if header == 'whole': header = dict(manifest=whole.cloud.manifest)
    with pytest.raises(InputError): User(whole.key.grant(), message('index', header, arrays))


def test_newer_formats_are_refused_by_users(whole):
    "A manifest of a format that this version does not know is refused, although the owner signed it."
    manifest = dict(whole.cloud.manifest, format=99)
    manifest['signature'] = whole.key.sign(signable(manifest)).hex()
    with pytest.raises(InputError, match='upgrade'): User(whole.key.grant(), message('index', dict(manifest=manifest), boxes(whole.cloud)))


def test_deeply_nested_headers_are_refused_clearly():
    "A header of a hundred thousand brackets gives the package's own error."
    body = save({'a': np.zeros(1, np.uint8)}, {'header': '['*100_000})
    with pytest.raises(InputError, match='damaged'): read_message(b'TREE\x01' + hashlib.sha256(body).digest()[:16] + body, 'found')


# Files that the cloud rewrites

def rewrite_file(folder, name, change):
    "Change arrays in a file of an index, and its checksum in the manifest, as the cloud can."
    about = read_manifest(folder)
    path = folder/about['generation']/name
    arrays = load(path.read_bytes())
    path.write_bytes(save({k: np.ascontiguousarray(v) for k, v in (arrays | change(arrays)).items()}))
    about['files'][name] = dict(bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    (folder/MANIFEST).write_text(json.dumps(about))


@all_locks
def test_rewritten_manifests_are_noticed(tmp_path, form):
    "A cloud that changes a file and shows the fitting manifest is found at the greeting."
    m = made(tmp_path/'index', form, photos='none')
    rewrite_file(m.folder, 'records.safetensors', lambda a: dict(records=swapped(a['records'])))
    with pytest.raises(InputError, match='altered'): User(m.key.grant(), Cloud(m.folder).answer(hello()))
    with pytest.raises(InputError, match='altered'): Owner(m.key).open(m.folder)


def swap_two_photos(a):
    "Two boxes of a pack in each other's place."
    boxes = a['boxes'].reshape(len(a['ids']), -1).copy()
    boxes[[4, 5]] = boxes[[5, 4]]
    return dict(boxes=boxes.ravel())


def swap_records(a):
    records = a['records'].copy()
    records[[4, 5]] = records[[5, 4]]
    return dict(records=records)


@pytest.mark.parametrize('form, how', [('split', 'direct'), ('sealed', 'direct'), ('sealed', 'private'), ('private-walk', 'decoys')])
@pytest.mark.parametrize('name, change', [('records.safetensors', swap_records), ('photos-000001-000000000.safetensors', swap_two_photos)])
def test_swapped_files_with_fitting_checksums(tmp_path, name, change, form, how):
    "A cloud that swaps two boxes on its disk, and shows users the owner's own manifest, is found when the box is opened."
    m = made(tmp_path/'index', form)
    greeting = m.cloud.answer(hello())
    rewrite_file(m.folder, name, change)
    cheat, user = Cloud(m.folder), User(m.key.grant(), greeting)
    with pytest.raises(SealError): talk(user.fetch([4, 5], how), cheat.answer)
    if name.startswith('records') and form == 'split':
        with pytest.raises(SealError): ask(user, cheat.answer, m.codes[3], k=len(m.images), nodes=40)
    if how != 'decoys': assert len(talk(User(m.key.grant(), greeting).fetch([6, 7], how), cheat.answer)) == 2


@pytest.mark.parametrize('form, name', [('private-walk', 'buckets'), ('decoy-walk', 'buckets'), ('homomorphic', 'columns')])
def test_swapped_rows_of_other_tables_are_noticed(tmp_path, form, name):
    "Buckets, or columns of codes, in each other's place: what is found does not open, or does not verify."
    m = made(tmp_path/'index', form, photos='none')
    greeting = m.cloud.answer(hello())
    def change(arrays):
        table = arrays['table'].copy()
        rows = table[0] if name == 'columns' else table
        rows[[0, 1]] = rows[[1, 0]]
        return dict(table=table)
    rewrite_file(m.folder, f'{name}.safetensors', change)
    user = User(m.key.grant(), greeting)
    differing = next(code for code in m.codes if (signs(code[None])[0, 0] != signs(code[None])[0, 1]))
    with pytest.raises(InputError, match='forged|cannot be opened'): ask(user, Cloud(m.folder).answer, differing, k=len(m.images), nodes=40)


def test_swapped_rows_of_the_table_are_noticed(tmp_path):
    "Ciphertexts of two leaves in each other's place give scores that do not fit the records."
    m = made(tmp_path/'index', photos='none')
    greeting = m.cloud.answer(hello())
    a, b = m.index.tree.leaf_[[0, -1]]
    def change(arrays):
        table = arrays['table'].copy()
        table[[a, b]] = table[[b, a]]
        return dict(table=table)
    rewrite_file(m.folder, 'tree.safetensors', change)
    with pytest.raises(InputError, match='do not fit its records'):
        ask(User(m.key.grant(), greeting), Cloud(m.folder).answer, m.codes[0], k=len(m.images), nodes=40)


@all_locks
def test_damaged_files_are_refused_by_the_cloud(tmp_path, form):
    "One flipped byte in a file that is read whole, or a shortened pack, is found when the cloud opens the index."
    m = made(tmp_path/'index', form)
    for path in sorted((m.folder/m.cloud.manifest['generation']).iterdir()):
        whole = path.read_bytes()
        wrong = whole[:-1] if path.name.startswith('photos-') else whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
        path.write_bytes(wrong)
        with pytest.raises(InputError, match='truncated or altered'): Cloud(m.folder)
        path.write_bytes(whole)
    assert Cloud(m.folder).manifest == m.cloud.manifest


# A user who cheats

@pytest.fixture(scope='module')
def small(tmp_path_factory): return made(tmp_path_factory.mktemp('small')/'index', photos='none')


@pytest.mark.parametrize('header, arrays', [
    (dict(k=0), {}), (dict(k='5'), {}), (dict(nodes=-1), {}), (dict(nodes=1.5), {}), (dict(k=2**70), {}), (dict(nodes=2**70), {}), (dict(version=2), {}),
    (dict(index='00'*8), {}), (dict(index=None), {}), ({}, dict(trapdoor=None)), ({}, dict(trapdoor=np.zeros(3))), ({}, dict(trapdoor=np.zeros((2, 258)))),
    ({}, dict(trapdoor=np.full(258, np.nan))), ({}, dict(trapdoor=np.zeros(258, np.float32))), ({}, dict(token=None))], ids=str)
def test_misshapen_searches_are_refused_clearly(small, header, arrays):
    "A request that makes no sense gives the package's own error, and never another."
    request = read_message(small.user.query(small.codes[0]).request, 'search')
    keep = {k: v for k, v in (request.arrays | arrays).items() if v is not None}
    with pytest.raises(InputError): small.cloud.answer(message('search', request.header | header, keep))


@pytest.mark.parametrize('arrays', [dict(ids=np.array([99])), dict(ids=np.array([-1])), dict(ids=np.array([0.])), dict(ids=np.zeros((1, 1), np.int64)),
                                    dict(token=None)], ids=str)
def test_misshapen_fetches_are_refused_clearly(small, arrays):
    "Unknown ids and requests without a token give the package's own error."
    request = read_message(small.user.fetch([0], 'direct').request, 'fetch')
    keep = {k: v for k, v in (request.arrays | arrays).items() if v is not None}
    with pytest.raises(InputError): small.cloud.answer(message('fetch', request.header, keep))


# The lock breaks

def attack(table, leaves, bits, trapdoor):
    "Exact distances and r from the scores of leaves alone: neighbouring distances differ by one, which is two r in the score."
    scores = table[:leaves].astype(float) @ trapdoor
    gaps = np.diff(np.sort(scores))
    r = gaps[gaps > 1e-3*np.ptp(scores)].min()/2
    return np.round((bits/2 - scores/r)/2).astype(int), r


@pytest.mark.parametrize('form', ['basic', 'split'])
def test_scores_give_exact_distances(tmp_path, form):
    "Who holds the table and sees one request reads r and every distance: the lock does not hide them, as the documentation says."
    m = made(tmp_path/'index', form, 'none', each=40)
    for query in m.codes[[0, 50, 100]] ^ np.uint8(1):
        request = m.user.query(query).request
        trapdoor = read_message(request, 'search').arrays['trapdoor']
        guessed, r = attack(np.asarray(m.cloud.searcher.tree['table']), m.cloud.manifest['leaves'], m.cloud.manifest['bits'], trapdoor)
        told = open_token(m.user.sealer, read_message(request, 'search').arrays['token'].tobytes())[0]
        assert (guessed[m.index.tree.leaf_] == hamming(query[None], m.codes)[0]).all() and r == pytest.approx(told['r'], rel=1e-3)


def test_some_known_photographs_give_a_query(tmp_path):
    "With distances from the attack, 160 known codes give the code of an unknown query by solving linear equations."
    m = made(tmp_path/'index', 'split', 'none', each=40)
    query = np.random.default_rng(9).integers(0, 256, BITS//8, np.uint8)
    trapdoor = read_message(m.user.query(query).request, 'search').arrays['trapdoor']
    apart = attack(np.asarray(m.cloud.searcher.tree['table']), m.cloud.manifest['leaves'], BITS, trapdoor)[0][m.index.tree.leaf_]
    known = signs(m.codes).astype(float)
    guess = np.linalg.lstsq(known, BITS - 2.*apart, rcond=None)[0]
    assert (pack(guess[None] > 0) == query).all()


def test_the_leaks_are_told():
    "What these attacks show is what the package says about its lock: distances after one request, codes with known photographs."
    told = {r['what']: r for r in tree_privacy.roles.leakage(form='basic')}
    assert told['distances between a query and photographs']['cloud']['one query'] == 'all'
    assert told['a query and its code']['cloud'] == {'setup': 'no', 'one query': 'part', 'many queries': 'part', 'a fetch': 'part'}
    assert 'known photographs' in told['a query and its code']['why'] and told['codes of photographs']['cloud']['setup'] == 'part'


def test_noisy_scores_end_in_true_distances(tmp_path):
    "The cloud's order is blurred; the user's distances are exact all the same, since they come from opened records. A reply for another query is refused."
    m = made(tmp_path/'index', 'noisy', 'none', each=30)
    true = {i: code for i, code in zip(m.index.ids.tolist(), m.codes)}
    blurred = 0
    for code in m.codes[:20]:
        s = m.user.query(code, k=10, nodes=len(m.codes))
        reply = m.cloud.answer(s.request)
        s.receive(reply)
        assert len(s.result) == 10 and [r.distance for r in s.result] == sorted(hamming(code[None], np.stack([true[r.id] for r in s.result]))[0].tolist())
        claimed = read_message(reply, 'found').arrays['scores']
        blurred += (np.diff(np.sort(claimed)) > 0).all()  # no two scores are equal, though distances are
        with pytest.raises(InputError): m.user.query(m.codes[21]).receive(reply)
    assert blurred == 20


@pytest.mark.parametrize('size', [1e300, 1e308, np.inf, np.nan])
def test_no_trapdoor_leads_the_walk_astray(tmp_path, size):
    "Numbers so large that scores overflow are refused before the compiled walk sees them."
    m = made(tmp_path/'index', 'split', 'none', each=10)
    request = m.user.query(m.codes[0]).request
    t = read_message(request, 'search').arrays['trapdoor']
    with pytest.raises(InputError, match='trapdoor'): m.cloud.answer(rewritten(request, trapdoor=np.where(np.arange(len(t)) % 2, size, -size)))


def test_ciphertexts_alone_give_short_codes():
    "With no request and no key: 600 leaves of 16 random bits in the basic form, 3,000 in the split form, give every bit up to order and sign."
    tree = MergeTree().fit(np.random.default_rng(3).integers(0, 256, (3000, 2), dtype=np.uint8))
    order = np.random.default_rng(4).permutation(tree.n_leaves_)
    for form, some in (('basic', order[:600]), ('split', order)):
        e = MatrixKey.generate(16, form=form).encrypt_nodes(tree.vectors()[some])
        bits = bits_from_ciphertexts(e)
        agree = np.abs(np.sign(bits).T @ tree.feature_[some]) / len(some)
        assert ((agree > .999).sum(0) == 1).all(), form


def bits_from_ciphertexts(e):
    "Columns of +1 and -1 among the linear functions of ciphertexts, accepted by their residual: what is constant in all squares and products."
    rng = np.random.default_rng(0)
    u, s, _ = np.linalg.svd(e, full_matrices=False)
    x = u[:, s > 1e-9*s[0]] * np.sqrt(len(e))
    i, j = np.triu_indices(x.shape[1])
    products = x[:, i] * x[:, j] * np.where(i == j, 1, 2)
    values, vectors = np.linalg.eigh(np.cov(products.T))
    null = vectors[:, values < 1e-9*values[-1]].T
    a, b = np.zeros((2, x.shape[1], x.shape[1]))
    for m in (a, b): m[i, j] = m[j, i] = rng.standard_normal(len(null)) @ null
    columns = x @ b @ np.linalg.eig(np.linalg.pinv(b, rcond=1e-6) @ a)[1].real
    columns = columns[:, np.abs(columns).mean(0) > 1e-6]
    columns /= np.abs(columns).mean(0)
    return columns[:, (np.abs(np.abs(columns) - 1).max(0) < .1) & (columns.std(0) > .1)]
