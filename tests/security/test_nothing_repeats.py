"Tokens, nonces, keys, ids and numbers are drawn anew every time, by the system, and nobody can choose them."
import inspect
import pkgutil
import shutil
from importlib import import_module

import numpy as np
import pytest
from contract.lock_variants import ASKING, MATRIX, VARIANTS
from made_once import made_once

from security.albums import HOLDING, boxes_of, made, photo_boxes, unseen
from tree_privacy.client.owner import Owner
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.locks.base import FETCHING_KEYS, Wanted
from tree_privacy.wire import read_message

every, asking = (pytest.mark.parametrize('variant', some) for some in (VARIANTS, ASKING))
ONE_EACH = ['split', 'encrypted', 'sealed', 'small buckets', 'few decoys']
one_each = pytest.mark.parametrize('variant', ONE_EACH)
NONCE = 12  # bytes at the beginning of a box


@one_each
def test_nonces_never_repeat(variant, tmp_path):
    "All nonces in the boxes of several indexes and versions under one key differ."
    key, nonces, expected = OwnerKey.generate(), [], 0
    for name in 'ab':
        for _ in range(2):  # the second time in place of the first
            album = made(variant, tmp_path / name, key=key)
            nonces += [box[:NONCE] for box in boxes_of(album)]
            columns = album.manifest.bits if variant == 'encrypted' else 0
            told = {'split': 1, 'sealed': 2}.get(variant, 2)  # the encoder, and a box of codes or what users are told
            expected += 2 * len(album.photos) + told + columns + album.manifest.fields.get('buckets', 0)
    assert len(nonces) == len(set(nonces)) == expected


@one_each
def test_what_is_written_again_is_sealed_again(variant, tmp_path):
    "From version to version nothing is sealed anew under a nonce that was used, and what stays are whole files."
    album = made(variant, tmp_path / 'index')
    reader = album.cloud.reader
    before, old = {name: reader.file_bytes(name) for name in reader.names()}, set(boxes_of(album))
    Owner(album.key).remove(album.folder, album.photos.names[:1])
    reader = album.enter().cloud.reader
    after, new = {name: reader.file_bytes(name) for name in reader.names()}, set(boxes_of(album))
    photographs = {box for pack in reader.packs for box in photo_boxes(pack)}
    assert new & old == photographs and len(photographs) == len(album.photos) - 1
    assert {box[:NONCE] for box in new - old}.isdisjoint(box[:NONCE] for box in old)
    same = {name for name in before if before[name] == after.get(name)}
    assert same == ({FETCHING_KEYS} if variant in HOLDING else set())


def test_a_rotated_index_shares_nothing(tmp_path):
    "Under the new key every box, nonce and file is another one, and so is the number of the index."
    album = made('sealed', tmp_path / 'index')
    old, names = set(boxes_of(album)), album.cloud.reader.names()
    files, number = {album.cloud.reader.file_bytes(name) for name in names}, album.manifest.index
    new = OwnerKey.generate()
    Owner(album.key).rotate(album.folder, new)
    album.key = new
    reader = album.enter().cloud.reader
    assert {box[:NONCE] for box in boxes_of(album)}.isdisjoint(box[:NONCE] for box in old)
    assert files.isdisjoint(reader.file_bytes(name) for name in reader.names()) and album.manifest.index != number


@pytest.fixture(scope='module')
def albums(tmp_path_factory):
    "One small index for each variant, not to be changed."
    codes = np.arange(32, dtype=np.uint8).reshape(8, 4)
    return made_once(lambda variant, folder: unseen(variant, folder, codes), tmp_path_factory.mktemp('albums'))


TIMES = {'encrypted': 30, 'public': 30, 'walk': 12, 'small buckets': 12}  # what costs more is tried less often


@asking
def test_trapdoors_r_and_tokens_never_repeat(variant, albums):
    "The same search and the same fetch, hundreds of times: other tokens, requests, trapdoors and r."
    album, times = albums(variant), TIMES.get(variant, 300)
    queries = [album.user.client.query(album.codes[0], Wanted(10, 3, True)) for _ in range(times)]
    searches = [next(album.user.search(album.codes[0])) for _ in range(times)]
    fetches = [next(album.user.fetch([0], how)) for how in ('direct', 'decoys') for _ in range(times)]
    messages = [read_message(request) for request in searches + fetches]
    tokens = [m.arrays['token'].tobytes() for m in messages]
    assert len(set(tokens)) == 3 * times and {len(token) for token in tokens} == {16}
    if variant in MATRIX:
        assert len({m.arrays['trapdoor'].tobytes() for m in messages if m.kind == 'search'}) == times
        assert len({query.state['r'] for query in queries}) == (1 if variant == 'noisy' else times)  # noisy keeps none
    elif 'buckets' not in queries[0].arrays:
        assert len({tuple(x.tobytes() for x in query.arrays.values()) for query in queries}) == times


@asking
def test_tokens_of_files_never_repeat(variant, albums):
    "The same question in a file: other numbers, nonces and boxes in the token."
    album, times = albums(variant), TIMES.get(variant, 300)
    tokens = [read_message(album.user.ask(album.codes[0])).arrays['token'].tobytes() for _ in range(times)]
    for part in (slice(0, 8), slice(16, 28), slice(28, None)):
        assert len({token[part] for token in tokens}) == times


@pytest.mark.parametrize('variant', HOLDING)
def test_private_fetches_never_repeat(variant, albums):
    "The same row asked for again and again: other tokens, seeds and ciphertexts."
    requests = [read_message(next(albums(variant).user.fetch([0], 'private'))).arrays for _ in range(12)]
    for name in requests[0]:
        assert len({arrays[name].tobytes() for arrays in requests}) == 12, name


def test_indexes_never_repeat(tmp_path):
    "Numbers of indexes, generations and ids are drawn for each."
    codes = np.arange(32, dtype=np.uint8).reshape(8, 4)
    key, seen = OwnerKey.generate(), []
    for _ in range(20):
        album = unseen('basic', tmp_path / 'index', codes, key)
        seen.append((album.manifest.index, album.manifest.generation, tuple(album.created.ids.tolist())))
        shutil.rmtree(tmp_path / 'index')
    numbers, generations, ids = (set(column) for column in zip(*seen, strict=True))
    assert len(numbers) == len(generations) == 20 and len(ids) >= 19


# Nobody can give a seed

SEEDS = {'seed', 'rng', 'random_state', 'generator', 'nonce', 'iv', 'entropy', 'randomness'}


def functions_of(module):
    "Names and functions of a module, methods of its classes included."
    for name, thing in vars(module).items():
        if not callable(thing) or getattr(thing, '__module__', None) != module.__name__:
            continue
        yield name, thing
        if isinstance(thing, type):
            yield from ((f'{name}.{n}', getattr(thing, n)) for n in vars(thing) if callable(getattr(thing, n)))


def seeded(functions):
    "The functions that take their randomness from the caller."
    def parameters(f):
        try:
            return set(inspect.signature(f).parameters)
        except (TypeError, ValueError):
            return set()
    return sorted(name for name, f in functions if parameters(f) & SEEDS)


# these expand what is public
PUBLIC = {'second_polynomials', '_seeded_pairs', 'random_polynomials', '_encrypt_selections'}


def modules_of(*folders):
    "Every module of some folders of the package."
    for folder in folders:
        package = import_module(f'tree_privacy.{folder}')
        for found in pkgutil.iter_modules(package.__path__):
            yield import_module(f'tree_privacy.{folder}.{found.name}')


def test_nobody_can_give_a_seed():
    "No function of the cryptography, the store, the locks, users and clouds takes a seed, a generator or a nonce."
    folders = 'crypto', 'pir', 'store', 'locks', 'client', 'cloud'
    found = [f for module in modules_of(*folders) for f in functions_of(module)]
    names = {name for name, _ in found}
    assert {'OwnerKey.generate', 'MatrixKey.encrypt_query', 'Sealer.seal', 'random_permutation', 'random_uniform',
            'RingKey.generate', 'RingKey.encrypt', 'RingKey.galois_keys', 'binomial_errors', 'encrypt_constants',
            'BfvPirClient.setup', 'BfvPirClient.query', 'RandomMatrixClient.query', 'DecoyWalkClient.query',
            'SealedClient.encrypt', 'encrypt_codes', 'encrypt_query', 'random_node_order', 'seal_buckets',
            'fetching_keys', 'IndexWriter.put_records', 'Owner.create', 'User.search', 'User.ask', 'one_round',
            'fetch_decoys', 'CloudService.handle'} <= names
    assert set(seeded(found)) == PUBLIC
    assert seeded([('bad', lambda key, seed=0: 0), ('good', lambda key: 0), ('worse', lambda nonce: 0)]) == [
        'bad', 'worse']
