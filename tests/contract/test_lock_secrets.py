"""What the cloud's half of a lock holds, does and bears: no secret, nothing twice, the same for every query."""
import gc
import sys
from dataclasses import replace

import lock_variants
import numpy as np
import pytest
import seal
from lock_variants import (
    ASKING,
    EVERYTHING,
    HIDING,
    MATRIX,
    VARIANTS,
    WALKS,
    MemoryReader,
    client_class,
    crowded,
    index_of,
    new_collection,
    pairs,
    reply_to,
    request_of,
    search,
    write_index,
)
from numbering import LIMIT, surprise
from secret_search import (
    BITS,
    KINDS,
    clustered,
    content,
    forbidden_objects,
    found_in,
    opened_up,
    pir_key,
    reachable,
    retrieval_secret,
    score_secret,
    secrets_of,
    telling_names,
)

from tree_privacy.bits import hamming, pack, signs
from tree_privacy.core import FormatError, TreePrivacyError
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.crypto.random_matrix import MatrixKey
from tree_privacy.crypto.ring import ternary
from tree_privacy.crypto.sealing import Sealer
from tree_privacy.locks import buckets, homomorphic, random_matrix
from tree_privacy.locks.base import (
    Wanted,
    check_lock_fields,
    fetching_client,
    fetching_server,
    lock_server,
)
from tree_privacy.locks.buckets import open_buckets
from tree_privacy.locks.exposure import Amount, Exposure, Fact
from tree_privacy.locks.homomorphic import ScoreCheck, code_columns, scoring_key, scoring_ring
from tree_privacy.locks.leakage import FETCH_LEAKS, leakage, leakage_text
from tree_privacy.locks.random_matrix import version_matrices
from tree_privacy.pir import bfv
from tree_privacy.store.manifest import Collection
from tree_privacy.wire import pack_arrays, read_message, write_message

every, asking, hiding = (pytest.mark.parametrize('variant', some) for some in (VARIANTS, ASKING, HIDING))


def made(variant, each=8, key=None, seed=0, **more):
    "An index of four categories with telling names."
    codes = clustered(np.random.default_rng(seed), len(KINDS), each)
    if variant in WALKS:
        more = dict(capacity=3) | more
    return write_index(variant, new_collection(codes, names=telling_names(each)), key, **more)


def service(index):
    "What a cloud has: a server, a reader, and a private retrieval from the records."
    index.held = {'server': index.server, 'reader': index.reader}
    if index.user.private_fetching:
        index.held['records'] = fetching_server(index.reader, index.reader.records)
    return index


def used(variant):
    "An index after a search and a private fetch, with the requests and replies as bytes."
    index = service(made(variant))
    index.heard = []
    code = index.collection.codes[3]
    if variant in ASKING:
        request = request_of(index, index.user.query(code, Wanted(10, 3, True)))
        index.heard += [request, reply_to(index.server, request)]
    if index.user.private_fetching:
        user = fetching_client(index.key, index.manifest.index, *index.reader.records.shape)
        asked, _ = user.query([3, 5])
        answer = index.held['records'].answer(asked)
        index.heard += [write_message('rows', {}, arrays) for arrays in (asked, answer)]
    return index


@pytest.fixture(scope='module')
def indexes():
    "The same under every lock; tests do not change it."
    known = {}

    def index(variant):
        if variant not in known:
            known[variant] = used(variant)
        return known[variant]
    return index


# What the cloud holds

def held_bytes(index, requests=()):
    "(where, bytes) of everything that a cloud has: objects, files with their names, and messages."
    yield from ((f'object of type {type(o).__name__}', content(o)) for o in reachable(index.held))
    for name, data in index.reader.files.items():
        yield from (('file name', name.encode()), (name, data))
    yield from (('message', request) for request in requests)


def leaked(index, requests=()):
    "What a cloud holds of an index's secrets, by value or as an object."
    return found_in(secrets_of(index), held_bytes(index, requests)) | forbidden_objects(index.held)


@every
def test_the_server_reaches_no_secret(variant, indexes):
    "Nothing that can be reached from the server, is in its files, or was sent to it, holds a secret."
    index = indexes(variant)
    assert not leaked(index, index.heard)
    assert not found_in(secrets_of(index), opened_up(index.heard))


@every
def test_the_walk_reaches_what_the_server_has(variant, indexes):
    "The walk does reach the ciphertexts, the sealed records, and the manifest."
    index = indexes(variant)
    things = {id(o) for o in reachable(index.held)}
    arrays = [array for name in index.reader.names() for array in index.reader.arrays(name).values()]
    assert all(id(o) in things or id(o.base) in things for o in [index.reader.records, *arrays])
    assert id(index.manifest) in things
    if index.user.private_fetching:
        keys = [o for o in reachable(index.held) if isinstance(o, seal.GaloisKeys)]
        assert keys and all(len(content(o)) > 10 ** 6 for o in keys)


HIDING_PLACES = {
    'attribute': lambda i: [dict(deep=(i.key.secret,))],
    'hexadecimal': lambda i: i.key.secret.hex(),
    'whole number': lambda i: int.from_bytes(i.key.secret, 'big'),
    'closure': lambda i: (lambda secret: lambda: secret)(i.key.secret),
    'default': lambda i: lambda secret=i.key.secret: secret,
    'signing key': lambda i: i.key,
    'sealer': lambda i: Sealer(i.key, '00' * 8).seal,
    'user': lambda i: i.client(),
    'matrix': lambda i: np.float32(version_matrices(i.key.secret, i.manifest.index, 1, BITS, 'split').inverses[1]),
    'plain tree': lambda i: i.tree,
    'code': lambda i: i.collection.codes.copy(),
    'order of ids': lambda i: i.collection.ids.copy(),
    'names': lambda i: [np.frombuffer(i.collection.names[3].encode(), np.uint8)],
    'polynomial': lambda i: scoring_key(score_secret(i)).values[0, 700:800].copy(),
    'coefficients': lambda i: ternary(score_secret(i), homomorphic.N).astype(np.int8)[1000:1300],
    'SEAL key': lambda i: scoring_key(score_secret(i))._decryptor,
    'SEAL plaintext': lambda i: scoring_ring().plaintext_from(
        code_columns(i.collection.codes[np.argsort(i.collection.ids)])[0, 5]),
    'weights': lambda i: ScoreCheck(score_secret(i), 32).weights[3],
    'retrieval key': lambda i: pir_key(i).values[1, 100:200].tobytes(),
    'retrieval coefficients': lambda i: ternary(retrieval_secret(i), bfv.SLOTS)[500:700],
    'means': lambda i: dict(told=i.client_data),
    'buckets': lambda i: i.client().top.group_bucket,
}
TRIED = {'split': ('attribute', 'hexadecimal', 'whole number', 'closure', 'default', 'signing key', 'sealer', 'user',
                   'matrix', 'plain tree', 'code', 'order of ids', 'names'),
         'encrypted': ('polynomial', 'coefficients', 'SEAL key', 'SEAL plaintext', 'weights', 'retrieval key',
                       'retrieval coefficients', 'code'),
         'sealed': ('hexadecimal', 'code', 'names', 'order of ids', 'retrieval key'),
         'small buckets': ('means', 'buckets', 'retrieval key', 'retrieval coefficients', 'code'),
         'decoys': ('means', 'code')}


@pytest.mark.parametrize('variant, how', [(variant, how) for variant, some in TRIED.items() for how in some])
def test_the_search_for_secrets_notices(variant, how, indexes):
    "A broken twin of the cloud is found out, wherever the secret is."
    index = indexes(variant)
    index.held['extra'] = HIDING_PLACES[how](index)
    try:
        assert leaked(index)
    finally:
        del index.held['extra']


@pytest.mark.parametrize('how', ['column', 'name in a file', 'name of a file'])
def test_the_search_for_secrets_notices_files(how, indexes):
    index = indexes('encrypted' if how == 'column' else 'split')
    codes = index.collection.codes[np.argsort(index.collection.ids)]
    files = dict(index.reader.files)
    if how == 'column':
        files['x'] = scoring_ring().to_ntt(code_columns(codes)[0, 5]).tobytes()[300:1600]
    if how == 'name in a file':
        files['notes'] = f'these are {index.collection.names[7]}'.encode()
    if how == 'name of a file':
        files[KINDS[1]] = b''
    there, index.reader.files = index.reader.files, files
    try:
        assert leaked(index)
    finally:
        index.reader.files = there


def test_the_search_for_secrets_notices_a_cache(indexes, monkeypatch):
    "A key that the package's own module remembers counts as held."
    index = indexes('split')
    monkeypatch.setattr(random_matrix, 'cache', {'last': index.key.grant()}, raising=False)
    assert {what for what, _ in leaked(index)} == {'key secret', 'object'}


@every
def test_representations_show_no_secret(variant, indexes):
    "Printing objects of a lock shows numbers of keys, not keys."
    index = indexes(variant)
    shown = [index.key, index.key.grant(), index.user, index.server, MatrixKey(index.key.secret, 32), pir_key(index),
             scoring_key(index.key.secret), *index.held.values()]
    secret = [(what, x) for what, x in secrets_of(index) if what not in ('label', 'mean', 'buckets of groups', 'sums')]
    words = ' '.join(repr(thing) for thing in shown if not isinstance(thing, MemoryReader))
    assert not found_in(secret, [('words', words.encode())])
    assert index.key.secret.hex()[:8] not in words and index.key.signing.hex()[:8] not in words
    assert index.key.id in words


# What numbers, lengths and order say about categories

@pytest.mark.parametrize('variant', WALKS)
def test_sealed_lengths_are_equal(variant, indexes):
    "All buckets are equally long, whatever is in them."
    index, m = indexes(variant), indexes(variant).manifest
    table = index.reader.arrays('buckets')['table']
    insides = [open_buckets(index.sealer(), m.version, m.bits, [b], table[[b]])[0] for b in range(len(table))]
    assert sum(map(len, insides)) == m.photographs and table.ndim == 2
    assert variant != 'small buckets' or len({len(ids) for ids in insides}) > 1


def upward(tree):
    "(node, children) from the leaves up"
    for i, row in enumerate(tree.children_):
        yield tree.n_leaves_ + i, row[row >= 0]


def folder_order(tree):
    "The renumbering of a broken owner: every node is where the first photograph below it is in the folder."
    first = np.full(len(tree.size_), len(tree.leaf_))
    np.minimum.at(first, tree.leaf_, np.arange(len(tree.leaf_)))
    for i, row in upward(tree):
        first[i] = first[row].min()
    n = tree.n_leaves_
    return np.concatenate([np.argsort(first[:n]), n + np.argsort(first[n:-1], kind='stable'), [len(first) - 1]])


def of_inner(arrays, tree, leaf_category):
    "The commonest category below each inner node but the root, by number."
    n, count = tree.n_leaves_, np.zeros((len(tree.size_), leaf_category.max() + 1), int)
    count[np.arange(n), leaf_category] = 1
    for i in np.argsort(tree.height_[n:], kind='stable'):
        count[n + i] = count[[c for c in arrays['children'][i] if c >= 0]].sum(0)
    return count[n:-1].argmax(1)


def numbered(rng, categories):
    "Categories in the order of the numbers that a new index shows to the cloud: of leaves, and of inner nodes."
    codes = clustered(rng, categories.max() + 1, len(categories) // (categories.max() + 1), 32)
    index, category = index_of('basic', codes), np.empty(len(codes), int)
    arrays = index.reader.arrays('tree')
    category[index.collection.ids] = categories
    of_leaves = category[arrays['ids'][arrays['start'][:-1]]]
    return dict(leaves=of_leaves, inner=of_inner(arrays, index.tree, of_leaves)), arrays['children']


@pytest.mark.parametrize('in_order', [False, True])
def test_numbers_of_nodes_say_nothing_about_categories(monkeypatch, in_order):
    """Numbers of nodes look like a random order of the links, and the same test notices a broken owner who numbers in
    folder order.

    A sum over 80 indexes is close to normal: seven standard deviations have a chance of 3e-12; the skewness that is
    left in the sums (under 0.3) raises it to less than 1e-8."""
    if in_order:
        monkeypatch.setattr(random_matrix, 'random_node_order', folder_order)
    rng, categories = np.random.default_rng(5), np.repeat(np.arange(4), 16)
    shown = [numbered(rng, categories) for _ in range(80)]
    for kind in ('leaves', 'inner'):
        far = surprise(rng, kind, shown)
        assert (far > LIMIT).any() if in_order else (far < LIMIT).all(), kind


def in_buckets(rng, categories):
    "Categories in the order of the numbers of buckets (what most in them are)."
    codes = clustered(rng, categories.max() + 1, len(categories) // (categories.max() + 1), 32)
    index, category = index_of('decoys', codes, capacity=4), np.empty(len(codes), int)
    category[index.collection.ids] = categories
    table = index.reader.arrays('buckets')['table']
    insides = [open_buckets(index.sealer(), 1, 32, [b], table[[b]])[0] for b in range(len(table))]
    assert sorted(np.concatenate(insides).tolist()) == list(range(len(codes)))
    return dict(buckets=np.array([np.bincount(category[ids]).argmax() for ids in insides])), None


@pytest.mark.parametrize('in_order', [False, True])
def test_numbers_of_buckets_say_nothing_about_categories(monkeypatch, in_order):
    "The same of the buckets of a walk, whose owner, if broken, numbers them as they come from the tree."
    monkeypatch.setattr(lock_variants, 'fetching_keys', lambda *rest: {})
    if in_order:
        monkeypatch.setattr(buckets, 'random_permutation', np.arange)
    rng, categories = np.random.default_rng(5), np.repeat(np.arange(4), 16)
    far = surprise(rng, 'buckets', [in_buckets(rng, categories) for _ in range(40)])
    assert (far > LIMIT).any() if in_order else (far < LIMIT).all()


def test_places_among_siblings_say_nothing_about_codes():
    """Which of two sibling leaves is listed first is independent of their codes.

    Of several hundred pairs half have the smaller code first; six standard deviations have a chance of 2e-9."""
    rng, first, total = np.random.default_rng(6), 0, 0
    for _ in range(40):
        codes = rng.integers(0, 256, (64, 2), np.uint8)
        index = index_of('basic', codes)
        value = np.zeros(len(index.tree.size_), int)
        value[index.tree.leaf_] = codes.astype(int) @ [256, 1]
        for row in index.reader.arrays('tree')['children']:
            pair = [c for c in row if 0 <= c < index.tree.n_leaves_][:2]
            if len(pair) == 2:
                first, total = first + (value[pair[0]] < value[pair[1]]), total + 1
    assert total > 200 and abs(first - total / 2) < 6 * np.sqrt(total) / 2, f'{first} of {total} have the smaller first'


@pytest.mark.parametrize('variant', MATRIX)
def test_members_are_in_the_order_of_ids(variant, indexes):
    "The members of leaves are stored by id, which is random: their order adds nothing."
    tree = indexes(variant).reader.arrays('tree')
    assert (np.sort(tree['ids']) == np.arange(len(tree['ids']))).all()
    leaves = zip(tree['start'], tree['start'][1:], strict=False)
    assert all((np.diff(tree['ids'][a:b]) > 0).all() for a, b in leaves)


# Nothing random repeats

def boxes_of(index):
    "Every sealed box of an index, as bytes; of ciphertexts of the homomorphic lock their random half."
    files = {name: index.reader.arrays(name) for name in index.reader.names()}
    yield from (row.tobytes() for row in index.reader.records)
    yield from (arrays['box'].tobytes() for name, arrays in files.items() if name.startswith('codes-'))
    if 'buckets' in files:
        yield from (row.tobytes() for row in files['buckets']['table'])
    if 'columns' in files:
        yield from (column[1].tobytes() for column in files['columns']['table'][0])


@pytest.mark.parametrize('variant', [v for v in VARIANTS if v != 'public'])
def test_nonces_never_repeat(variant):
    "All nonces in the boxes of several indexes and versions under one key differ."
    key, nonces, expected = OwnerKey.generate(), [], 0
    for number in ('a' * 16, 'b' * 16):
        for version in (1, 2):
            index = made(variant, key=key, number=number, version=version)
            nonces += [box[:12] for box in boxes_of(index)]
            expected += 32 + (BITS if variant == 'encrypted' else 1 if variant == 'sealed' else 0)
            expected += index.manifest.fields.get('buckets', 0)
    assert len(nonces) == len(set(nonces)) == expected


@every
def test_what_is_written_again_is_sealed_again(variant):
    "From version to version no nonce is used again, and what stays as it was are whole files."
    old = made(variant)
    names = old.collection.names
    stay = Collection(old.collection.ids[1:], old.collection.codes[1:], names[1:])
    new = write_index(variant, stay, old.key, version=2, previous=old)
    same = {name for name, data in old.reader.files.items() if new.reader.files.get(name) == data}
    assert same == ({'pir-keys'} if client_class(variant).private_fetching else set())
    if variant != 'public':
        assert {box[:12] for box in boxes_of(new)}.isdisjoint(box[:12] for box in boxes_of(old))


@pytest.mark.parametrize('variant', ['basic', 'split'])
def test_trapdoors_and_r_never_repeat(variant, indexes):
    "The same search, 300 times: other trapdoors and r."
    index = indexes(variant)
    queries = [index.user.query(index.collection.codes[0], Wanted(10, 3, True)) for _ in range(300)]
    assert len({query.arrays['trapdoor'].tobytes() for query in queries}) == 300
    assert len({query.state['r'] for query in queries}) == 300


def test_matrices_never_repeat():
    "The matrices of each version and index differ."
    secret, places = bytes(range(32)), [('00' * 8, 1), ('00' * 8, 2), ('01' * 8, 1)]
    pairs_ = [version_matrices(secret, *place, 32, 'split').matrices for place in places]
    assert len({m.tobytes() for pair in pairs_ for m in pair}) == 6


# The same work for every query

def work_of(function, *args):
    "Every call from the package's own functions while something runs, with the shapes of arrays that they get."
    said = []

    def shape(value):
        if isinstance(value, np.ndarray):
            return value.shape, str(value.dtype)
        return len(value) if isinstance(value, (list, tuple, dict, bytes)) else type(value).__name__

    def watch(frame, event, arg):
        if not frame.f_globals.get('__name__', '').startswith('tree_privacy'):
            return  # a progress bar, for example, whose work depends on the time
        if event == 'c_call':
            said.append(arg.__qualname__)
        elif event == 'call':
            code, values = frame.f_code, frame.f_locals
            names = [name for name in code.co_varnames[:code.co_argcount] if name in values]
            said.append((code.co_qualname, [shape(values[name]) for name in names]))
    gc.disable()  # no destructors in between
    sys.setprofile(watch)
    try:
        result = function(*args)
    finally:
        sys.setprofile(None)
        gc.enable()
    return said, result


@hiding
def test_the_cloud_does_the_same_for_every_query(variant):
    "The same functions with arrays of the same shapes, one after the other, whatever is asked for."
    codes = crowded(3, 1100, 16, kinds=400) if variant == 'small buckets' else crowded(3, 40, 16)
    index = index_of(variant, codes)
    asked = [(np.zeros(2, np.uint8), 1), (np.full(2, 255, np.uint8), 50), (codes[0], 10)]
    requests = [index.user.query(code, Wanted(k, 3, True)).arrays for code, k in asked]
    index.server.answer({}, requests[0])  # what is made once
    work = [work_of(index.server.answer, {}, arrays)[0] for arrays in requests]
    assert all(some == work[0] for some in work)
    names = {call[0] for call in work[0] if isinstance(call, tuple)}
    assert names >= ({'select_rows', '_expand'} if variant in WALKS else {'sum_of_products', 'encrypted_scores'})
    if variant == 'small buckets':
        assert index.server.retrieval.layout.levels > 1


def test_work_is_watched():
    "Two functions that do different things are told apart."
    index = index_of('decoys', crowded(3, 40, 16))
    few, many = (dict(buckets=np.arange(n)) for n in (1, 2))
    assert work_of(index.server.answer, {}, few)[0] == work_of(index.server.answer, {}, dict(buckets=np.array([1])))[0]
    queries = [index.user.query, lambda code, wanted: index.user.top.choose(code, 3)]
    one, two = (work_of(query, index.collection.codes[0], Wanted(1, 1, True))[0] for query in queries)
    assert one != two and many is not few


def test_the_cloud_does_the_same_for_every_row():
    "Private fetching: the first row, the last one, and the same one twice asked for."
    index = service(index_of('sealed', crowded(3, 40, 16)))
    rows, size = index.reader.records.shape
    user = fetching_client(index.key, index.manifest.index, rows, size)
    requests = [user.query(some)[0] for some in ([0, 1], [rows - 1, rows - 2], [0, rows - 1], [5, 5])]
    assert len({tuple((name, x.shape) for name, x in request.items()) for request in requests}) == 1
    server = index.held['records']
    server.answer(requests[0])
    done = [work_of(server.answer, request) for request in requests]
    assert all(work == done[0][0] for work, _ in done)
    assert len({pack_arrays(reply).__len__() for _, reply in done}) == 1
    assert (user.decrypt(done[0][1], user.query([0, 1])[1]).shape) == (2, size)


# Damaged manifests and arrays

ODD = (None, True, 0, -1, 1, 3, 10 ** 6, 2 ** 62, 2 ** 70, 1.5, float('nan'), '', 'x', [], [1], {}, {'a': 1})


@every
def test_fields_that_are_none(variant, indexes):
    "Every option and field in turn: refused as a damaged field, or seen not to fit, or the server works on."
    index = indexes(variant)
    code = index.collection.codes[3]
    good = pairs(search(index, code, 5)) if variant in ASKING else None
    for place in ('options', 'fields'):
        known = getattr(index.manifest, place)
        for name in known:
            for value in ODD:
                wrong = replace(index.manifest, **{place: known | {name: value}})
                check_one(index, wrong, good, code)
            with pytest.raises(FormatError, match='is damaged in the field'):
                check_lock_fields(replace(index.manifest, **{place: {n: v for n, v in known.items() if n != name}}))
        with pytest.raises(FormatError, match='is damaged in the field'):
            check_lock_fields(replace(index.manifest, **{place: known | dict(more=1)}))
    for lock in ('x', '', None, 3, []):
        with pytest.raises(FormatError, match='has the lock'):
            check_lock_fields(replace(index.manifest, lock=lock))


def check_one(index, manifest, good, code):
    "A manifest with one other value: the server refuses, or answers as before, or with the package's own error."
    try:
        check_lock_fields(manifest)
    except FormatError:
        return
    server = lock_server(manifest.lock)(manifest, index.reader)
    if not server.check() or good is None:
        return
    query = index.user.query(code, Wanted(5, 3, True))
    try:
        reply_to(server, request_of(index, query))
    except TreePrivacyError:
        return


def damaged(x):
    "An array of a file, otherwise."
    yield from (x[:0], x[:-1], np.concatenate([x, x]), x[None], x.reshape(-1), np.zeros_like(x), np.full_like(x, 255))
    yield from (x.astype(np.float64), x.astype(np.uint8), x.astype(np.int64) + 1, np.array(7))
    if x.dtype.kind == 'f':
        yield x * np.nan
    if x.dtype.kind == 'i':
        yield from (x[::-1].copy(), -1 - x, x + 2 ** 40 if x.dtype.itemsize == 8 else x + 1000)


def server_of(index, files):
    "The server of an index with other files."
    reader = MemoryReader(index.manifest, files, index.reader.records)
    return type(index.server)(index.manifest, reader)


@every
def test_arrays_that_do_not_fit(variant, indexes):
    "Every array of every file in turn: the server says that it does not fit, or answers, and never hangs or crashes."
    index, refused = indexes(variant), 0
    query = index.user.query(index.collection.codes[3], Wanted(5, 3, True)) if variant in ASKING else None
    for name in index.reader.names():
        arrays = index.reader.arrays(name)
        for part, x in arrays.items():
            others = [dict(arrays, **{part: other}) for other in damaged(x)]
            others.append({n: a for n, a in arrays.items() if n != part})
            for other in others:
                server = server_of(index, index.reader.files | {name: pack_arrays(other)})
                fits = server.check()
                refused += not fits
                if fits and query:
                    try:
                        server.answer(query.header, query.arrays)
                    except TreePrivacyError:
                        pass
    assert variant == 'sealed' or refused > 5
    assert not server_of(index, {}).check()


def test_links_that_go_round():
    "A tree whose links form a circle is refused, or the circle is out of reach: no walk is endless."
    index = index_of('basic', crowded(3, 40, 16))
    arrays = index.reader.arrays('tree')
    children, leaves = arrays['children'].copy(), index.manifest.fields['leaves']
    rng = np.random.default_rng(0)
    for _ in range(200):
        there = np.argwhere(children >= 0)
        a, b = there[rng.integers(len(there), size=2)]
        other = children.copy()
        other[tuple(a)], other[tuple(b)] = children[tuple(b)], children[tuple(a)]
        server = server_of(index, index.reader.files | dict(tree=pack_arrays(dict(arrays, children=other))))
        if server.check():
            query = index.user.query(index.collection.codes[0], Wanted(EVERYTHING, EVERYTHING, True))
            assert len(server.answer(query.header, query.arrays)[1]['ids']) <= 40
    other = children.copy()
    other[other >= 0][:1] = leaves
    other[0, 0] = leaves + len(children) - 1  # the root below a leaf's parent
    assert not server_of(index, dict(tree=pack_arrays(dict(arrays, children=other)))).check()


def test_trees_that_lead_nowhere():
    "Trees without a leaf below the root, and numbers that overflow, are refused: no walk ends without leaves."
    index = index_of('basic', crowded(3, 40, 16))
    arrays, fields = index.reader.arrays('tree'), index.manifest.fields

    def server(more=None, **changes):
        files = index.reader.files | dict(tree=pack_arrays(dict(arrays, **changes)))
        manifest = replace(index.manifest, fields=fields | (more or {}))
        return type(index.server)(manifest, MemoryReader(manifest, files, index.reader.records))

    assert server().check()
    circle = dict(table=arrays['table'][:3], children=np.array([[0, 1], [-1, -1]], np.int32), start=np.array([0, 40]))
    assert not server(dict(leaves=1, nodes=3), **circle).check()
    assert server(dict(leaves=1, nodes=3), **circle | dict(children=np.array([[0, -1], [1, -1]], np.int32))).check()
    start = arrays['start'].astype(np.int8)
    start[1:3] = 120, -120
    start[3:-1] = np.linspace(-100, 20, len(start) - 4)
    assert (np.diff(start) > 0).all() and not server(start=start).check()
    wide = arrays['table'].astype(np.float64)
    assert server(table=wide).check()
    for table in (wide * 1e300, -wide * 1e300, wide * np.nan, wide[:, :0].copy(), wide.astype(np.float16)):
        assert not server(table=table).check()
    for name in ('epsilon', 'longest'):
        with pytest.raises(FormatError, match='damaged in the field'):
            check_lock_fields(replace(index.manifest, fields=fields | {name: 1e100}))


# What the tables say

WORTH = {Amount.NO: 0, Amount.PART: 1, Amount.OWN: 2, Amount.ALL: 3}


@every
@pytest.mark.parametrize('photos', ['thumbs', 'full', 'none'])
def test_tables_of_leaks(variant, photos):
    """For every way to fetch: words that mean something, never less the later it is, nobody alone learning more than
    both together; attacks that there are."""
    from tree_privacy.attacks.run import ATTACKS
    from tree_privacy.core import InputError
    lock, options = VARIANTS[variant]
    refused = dict(fetch='strange') if client_class(variant).private_fetching else dict(fetch='private')
    for fetch in set(FETCH_LEAKS) - {refused['fetch']}:
        rows = leakage(lock, photos, fetch, **options)
        assert len({row.fact for row in rows}) == len(rows) >= 13
        assert len(leakage_text(rows).splitlines()) == 2 + 2 * len(rows)
        for row in rows:
            assert isinstance(row.fact, Fact) and row.why and set(row.attacks) <= set(ATTACKS)
            cloud, user, both = ([WORTH[x] for x in party.amounts()] for party in (row.cloud, row.user, row.both))
            assert cloud == sorted(cloud) and both == sorted(both) and len(user) == 4
            assert all(b >= c for b, c in zip(both, cloud, strict=True)), row.fact
    for wrong in (dict(photos='some'), refused, dict(fetch='x'), dict(fetch=None), dict(strange=1), dict(form='x')):
        with pytest.raises(InputError, match='wanted|leave it out'):
            leakage(lock, **dict(photos=photos) | wrong)


COUNTED = {Fact.COUNTS, Fact.LENGTHS, Fact.CHANGES, Fact.TIMES}


@pytest.mark.parametrize('photos', ['thumbs', 'none'])
@pytest.mark.parametrize('variant', ['encrypted', 'sealed', 'walk', 'small buckets'])
def test_locks_that_hide_show_counts_and_times(variant, photos):
    """Before anything is fetched, and with private fetching always, the cloud learns of nothing else but classes of
    lengths; a walk also shows how many buckets, and a private fetch how many photographs."""
    lock, options = VARIANTS[variant]
    allowed = COUNTED | ({Fact.BUCKET_COUNT} if variant in WALKS else set())
    for fetch in ('none', 'private', 'thumbnails', 'direct', 'decoys'):
        for row in leakage(lock, photos, fetch, **options):
            in_the_open = fetch in ('direct', 'decoys') or fetch == 'private' and row.fact == Fact.RESULTS
            before = replace(row.cloud, fetch=Amount.NO) if in_the_open else row.cloud
            assert row.fact in allowed or before == Exposure.NEVER, (fetch, row.fact)
    assert 'fetched together' in {a for row in leakage(lock, photos, 'direct', **options) for a in row.attacks}
    assert not {a for row in leakage(lock, photos, 'private', **options) for a in row.attacks}


# The random-matrix lock breaks, as its table says

def distances_and_r(table, leaves, bits, trapdoor):
    "Exact distances and r from the scores of leaves: neighbouring distances differ by one, in the score by two r."
    scores = table[:leaves].astype(float) @ trapdoor
    gaps = np.diff(np.sort(scores))
    r = gaps[gaps > 1e-3 * np.ptp(scores)].min() / 2
    return np.round((bits / 2 - scores / r) / 2).astype(int), r


@pytest.mark.parametrize('variant', ['basic', 'split'])
def test_scores_give_exact_distances(variant):
    "With the table and one request the cloud reads r and every distance: the lock does not hide them."
    index = made(variant, each=40)
    table = index.reader.arrays('tree')['table']
    for code in index.collection.codes[[0, 50, 100]] ^ np.uint8(1):
        query = index.user.query(code, Wanted(10, 3, True))
        guessed, r = distances_and_r(table, index.manifest.fields['leaves'], BITS, query.arrays['trapdoor'])
        assert (guessed[index.tree.leaf_] == hamming(code[None], index.collection.codes)[0]).all()
        assert r == pytest.approx(query.state['r'], rel=1e-3)


def test_some_known_photographs_give_a_query():
    "With distances from the attack, 160 known codes give the code of an unknown query by solving linear equations."
    index = made('split', each=40)
    code = np.random.default_rng(9).integers(0, 256, BITS // 8, np.uint8)
    trapdoor = index.user.query(code, Wanted(10, 3, True)).arrays['trapdoor']
    table = index.reader.arrays('tree')['table']
    apart = distances_and_r(table, index.manifest.fields['leaves'], BITS, trapdoor)[0][index.tree.leaf_]
    known = signs(index.collection.codes).astype(float)
    guess = np.linalg.lstsq(known, BITS - 2. * apart, rcond=None)[0]
    assert (pack(guess[None] > 0) == code).all()


def test_the_leaks_are_told():
    "What these attacks show is what the package says: distances after one request, codes with known photographs."
    told = {row.fact: row for row in leakage(form='basic')}
    assert told[Fact.DISTANCES].cloud.query == Amount.ALL
    assert told[Fact.QUERY].cloud == Exposure.PART_FROM_QUERY
    assert 'known photographs' in told[Fact.QUERY].why and told[Fact.CODES].cloud.setup == Amount.PART


def test_noisy_scores_end_in_true_distances():
    """The cloud's order is blurred; the user's distances are exact all the same, since they come from opened records.
    (A reply for another query has another token.)"""
    index = made('noisy', each=30)
    true = index.codes_by_id()
    for code in index.collection.codes[:20]:
        query = index.user.query(code, Wanted(10, len(true), True))
        reply = reply_to(index.server, request_of(index, query))
        hits = lock_variants.open_reply(index.user, reply, query)
        expected = hamming(code[None], np.stack([true[hit.id] for hit in hits]))[0]
        assert len(hits) == 10 and [hit.distance for hit in hits] == sorted(expected.tolist())
        claimed = read_message(reply, 'found').arrays['scores']
        assert (np.diff(np.sort(claimed)) > 0).all()  # no two scores are equal, though distances are
