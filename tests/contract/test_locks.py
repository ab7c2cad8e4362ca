"""What every lock promises: the right results, by bytes alone, and nothing shown or believed that should not be.

One suite for the package's own table of locks. Between client and server go messages; folders come in other tests.
"""
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lock_variants import (
    ASKING,
    EVERYTHING,
    HIDING,
    MATRIX,
    SCANS,
    VARIANTS,
    WALKS,
    client_class,
    crowded,
    index_of,
    nearest,
    new_collection,
    open_reply,
    pairs,
    reply_to,
    request_of,
    search,
    some_queries,
    write_index,
)
from made_codes import clustered, near_duplicates

from tree_privacy.bits import signs
from tree_privacy.core import ForgedReply, FormatError, InputError, SecurityError, TreePrivacyError
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.locks.base import LOCKS, Wanted, fetching_keys, lock_client
from tree_privacy.locks.buckets import cut_tree, open_buckets
from tree_privacy.locks.sealed import SealedClient
from tree_privacy.store.manifest import Collection
from tree_privacy.tree.index import TreeIndex
from tree_privacy.wire import read_message, write_message

every, asking, hiding = (pytest.mark.parametrize('variant', some) for some in (VARIANTS, ASKING, HIDING))
seeds = st.integers(0, 2 ** 32 - 1)
QUERY = crowded(8, 1, 16)[0]


def few(examples):
    return settings(deadline=None, max_examples=examples)


def codes_of(variant):
    "The collection of `worlds`: more than a cell full of buckets where they are small, so that a request chooses."
    return crowded(3, 1100, 16, kinds=400) if variant == 'small buckets' else crowded(3, 40, 16)


@pytest.fixture(scope='module')
def worlds():
    "One index for each variant, of codes of 16 bits, not to be changed."
    made = {}

    def world(variant):
        if variant not in made:
            made[variant] = index_of(variant, codes_of(variant))
        return made[variant]
    return world


def inside(index):
    "The ids in every bucket, by opening all of them with the key."
    m, table = index.manifest, index.reader.arrays('buckets')['table']
    opened = (open_buckets(index.sealer(), m.version, m.bits, [b], table[[b]]) for b in range(len(table)))
    return [set(ids.tolist()) for ids, _ in opened]


# The same results as in the clear

@pytest.mark.parametrize('variant', SCANS + WALKS)
@few(9)
@given(st.integers(1, 40), st.sampled_from([8, 16, 64, 248, 256]), st.sampled_from([1, 2, 10, 99]), seeds)
def test_results_of_a_comparison_with_all(variant, n, bits, k, seed):
    """Scans give exactly the nearest, ties by id, also of equal codes, of one photograph, and where more are wanted
    than there are; walks where all buckets are fetched."""
    codes = crowded(seed, n, bits)
    index = index_of(variant, codes)
    for code in some_queries(seed, codes):
        assert pairs(search(index, code, k, nodes=EVERYTHING)) == nearest(index, code, k)


@pytest.mark.parametrize('variant', WALKS)
@few(6)
@given(st.integers(1, 60), st.sampled_from([8, 64, 256]), st.integers(1, 4), seeds)
def test_results_of_some_buckets(variant, n, bits, nodes, seed):
    "With fewer nodes than buckets: the nearest of what is in the buckets that were chosen."
    codes = crowded(seed, n, bits)
    index = index_of(variant, codes)
    buckets = inside(index)
    assert set.union(*buckets) == set(index.collection.ids.tolist()) and sum(map(len, buckets)) == n
    for code in some_queries(seed, codes):
        chosen = index.user.top.choose(code, nodes)
        assert len(set(chosen)) == len(chosen) == min(nodes, len(buckets))
        among = set.union(*(buckets[b] for b in chosen))
        assert pairs(search(index, code, 5, nodes)) == nearest(index, code, 5, among)


@few(9)
@given(st.integers(1, 60), st.sampled_from([8, 64]), st.integers(1, 9), st.integers(1, 4), seeds)
def test_buckets_are_those_of_the_tree(n, bits, capacity, nodes, seed):
    """Buckets hold what `cut_tree` says, none more than it may, and those with the groups nearest to the query are
    fetched: worked out again from the owner's tree."""
    codes = crowded(seed, n, bits)
    index = index_of('small buckets', codes, capacity=capacity)
    cut = cut_tree(index.tree, capacity)
    held = [set(index.collection.ids[cut.bucket == b].tolist()) for b in range(cut.count)]
    assert max(map(len, held)) <= capacity
    assert sorted(map(sorted, held)) == sorted(map(sorted, inside(index)))
    rough = cut.means.astype(np.float16).astype(np.float32)
    for code in some_queries(seed, codes):
        order = np.argsort((rough ** 2).sum(1) / 2 - rough @ signs(code).astype(np.float32), kind='stable')
        some = list(dict.fromkeys(cut.group_bucket[order].tolist()))[:nodes]
        among = set.union(*(held[b] for b in some))
        assert pairs(search(index, code, 7, nodes)) == nearest(index, code, 7, among)


@pytest.mark.parametrize('variant', ['basic', 'split'])
@few(9)
@given(st.integers(1, 60), st.sampled_from([8, 64, 256]), st.sampled_from([1, 3, 99]), st.integers(1, 4), st.booleans(),
       st.sampled_from(['balanced', 'original', 'checked', 'tagged']), seeds)
def test_results_of_the_plain_tree(variant, n, bits, k, nodes, fill, rule, seed):
    "Under random matrices: what the owner's tree gives in the clear, names and visits included."
    codes = crowded(seed, n, bits)
    index = index_of(variant, codes, rule=rule)
    clear = TreeIndex(index.tree, index.collection.ids)
    name = dict(zip(index.collection.ids.tolist(), index.collection.names, strict=True))
    for code in some_queries(seed, codes):
        query = index.user.query(code, Wanted(k, nodes, fill))
        reply = reply_to(index.server, request_of(index, query))
        hits, true = open_reply(index.user, reply, query), clear.walk(code, k, nodes, fill)
        assert pairs(hits) == list(zip(true.ids.tolist(), true.distances.tolist(), strict=True))
        assert [hit.name for hit in hits] == [name[hit.id] for hit in hits]
        assert read_message(reply, 'found').header['visits'] == true.visits


@pytest.mark.parametrize('variant', ['basic', 'split'])
def test_a_thousand_queries(variant):
    "Client and server together give the ids of the plain search, in the same order, for 1,000 queries at 64 bits."
    rng = np.random.default_rng(64)
    codes = clustered(rng, 1500, 8)
    index = index_of(variant, codes)
    clear = TreeIndex(index.tree, index.collection.ids)
    for i, code in enumerate(near_duplicates(rng, codes, 1000)):
        wanted = Wanted(k=1 + i % 15, nodes=1 + i % 4, fill=i % 2 == 0)
        query = index.user.query(code, wanted)
        reply = reply_to(index.server, request_of(index, query))
        hits, true = open_reply(index.user, reply, query), clear.walk(code, wanted.k, wanted.nodes, wanted.fill)
        assert pairs(hits) == list(zip(true.ids.tolist(), true.distances.tolist(), strict=True))
        assert read_message(reply, 'found').header['visits'] == true.visits


@few(6)
@given(st.integers(1, 40), st.sampled_from([8, 64]), seeds)
def test_results_of_the_noisy_form(n, bits, seed):
    "Its order is blurred on the way, its distances are true: if you want all, you get all in the right order."
    codes = crowded(seed, n, bits)
    index = index_of('noisy', codes)
    for code in some_queries(seed, codes):
        true = nearest(index, code, n)
        assert pairs(search(index, code, n, EVERYTHING)) == true
        found = pairs(search(index, code, 3, 2))
        assert set(found) <= set(true) and len(found) == len(set(found)) == min(3, n)
        assert found == sorted(found, key=lambda hit: hit[::-1])


@pytest.mark.parametrize('variant', [*SCANS, 'walk', 'decoys'])
def test_two_thousand_and_more(variant):
    "More than a chunk of columns, many cells, and buckets of several polynomials."
    codes = np.random.default_rng(0).integers(0, 256, (2100, 8), np.uint8)
    index = index_of(variant, codes, **dict(capacity=1000) if variant in WALKS else {})
    for i in (0, 1000, 2099):
        found = pairs(search(index, codes[i], 4, EVERYTHING))
        assert found == nearest(index, codes[i], 4) and found[0] == (index.collection.ids[i], 0)
    if variant == 'walk':
        layout = index.server.retrieval.layout
        assert layout.cells > 1 and layout.chunks > 1


@pytest.mark.parametrize('variant', ['walk', 'small buckets'])
def test_more_buckets_than_a_request_asks_for(variant):
    "The user is told, before anything is sent."
    index = index_of(variant, np.random.default_rng(0).integers(0, 256, (200, 2), np.uint8), capacity=4)
    with pytest.raises(InputError, match='at most 32 buckets'):
        index.user.query(QUERY, Wanted(10, EVERYTHING, True))
    assert len(search(index, QUERY, 10, 32)) == 10


# Bytes alone, and the key alone

@asking
def test_a_reply_is_read_later_with_the_key_alone(variant, worlds):
    "The state is JSON. With it, the key, and the number and version of the index, a reply gives the same hits."
    index = worlds(variant)
    query = index.user.query(QUERY, Wanted(7, 3, True))
    reply = reply_to(index.server, request_of(index, query))
    good = open_reply(index.user, reply, query)

    class Place:
        index, version = worlds(variant).manifest.index, worlds(variant).manifest.version
    later = lock_client(index.manifest.lock)(index.key.grant(), Place)
    assert open_reply(later, reply, query) == good and len(good)
    stranger = lock_client(index.manifest.lock)(OwnerKey.generate().grant(), Place)
    with pytest.raises(ForgedReply):
        open_reply(stranger, reply, query)


def skeleton(value):
    "The structure of a state: what is left when numbers are widened, as in a padded token."
    if isinstance(value, dict):
        return {name: skeleton(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [skeleton(inner) for inner in value]
    return len(value) if isinstance(value, str) else 'number'


@asking
def test_states_are_alike(variant, worlds):
    "For every query and number of results the state has one structure, so that a padded token has one length."
    index = worlds(variant)
    codes = [np.zeros(2, np.uint8), np.full(2, 255, np.uint8), *crowded(7, 6, 16)]
    states = [index.user.query(code, Wanted(k, 3, True)).state for code in codes for k in (1, 10, 10 ** 6)]
    assert all(skeleton(state) == skeleton(states[0]) for state in states)


# Coming and going

def changed(collection, gone=(), extra=None, first=0):
    "A collection without some names, and with new codes."
    stay = [i for i, name in enumerate(collection.names) if name not in gone]
    ids, codes, names = collection.ids[stay], collection.codes[stay], [collection.names[i] for i in stay]
    if extra is None:
        return Collection(ids, codes, names)
    new = new_collection(extra, first, [f'new/{i}' for i in range(len(extra))])
    return Collection(np.append(ids, new.ids), np.concatenate([codes, new.codes]), names + new.names)


@every
def test_adding_and_removing(variant):
    "Results stay right from version to version, and a reply of an older version is refused."
    codes, extra = crowded(1, 20, 16), crowded(2, 9, 16)
    index = index_of(variant, codes)
    collections = [changed(index.collection, extra=extra, first=20)]
    collections.append(changed(collections[-1], gone={'0/000', '2/017', 'new/3'}))
    collections.append(changed(collections[-1], gone={f'{i % 3}/{i:03}' for i in range(1, 17)}))
    for version, collection in enumerate(collections, 2):
        old, index = index, write_index(variant, collection, index.key, version=version, previous=index)
        for code in some_queries(version, extra):
            assert pairs(search(index, code, 99, EVERYTHING)) == nearest(index, code, 99)
        if variant in ASKING:
            query = index.user.query(extra[0], Wanted(5, 2, True))
            assert open_as(index, index.user, lambda old=old: old.server, query) is None
    assert len(nearest(index, extra[0], 99)) == 10


def open_as(index, client, server, query):
    "What a client makes of the answer of any server: None where either refuses."
    try:
        return open_reply(client, reply_to(server(), request_of(index, query)), query)
    except TreePrivacyError:
        return None


def box_names(index):
    return {name: data for name, data in index.reader.files.items() if name.startswith('codes-')}


def test_sealed_boxes_stay(monkeypatch):
    "Boxes that lost nothing are the same files from version to version, and only a few are new."
    monkeypatch.setattr(SealedClient, 'box_size', 8)
    index = index_of('sealed', crowded(1, 40, 16))
    assert len(box_names(index)) == 5
    steps = [dict(extra=crowded(2, 1, 16), first=40), dict(gone={'0/003'}), dict(extra=crowded(3, 2, 16), first=41)]
    for version, step in enumerate(steps, 2):
        before = box_names(index)
        index = write_index('sealed', changed(index.collection, **step), index.key, version=version, previous=index)
        after = box_names(index)
        assert 1 <= len(set(after) - set(before)) <= 2 < len(set(after) & set(before))
        assert all(after[name] == before[name] for name in set(after) & set(before))
        assert pairs(search(index, QUERY, 99)) == nearest(index, QUERY, 99)


@every
def test_keys_for_fetching_stay(variant):
    "From version to version the evaluation keys are the same file; another index has others; one lock has none."
    index = index_of(variant, crowded(1, 20, 16))
    again = write_index(variant, index.collection, index.key, version=2, previous=index)
    assert ('pir-keys' in index.reader.files) == client_class(variant).private_fetching == (variant not in MATRIX)
    if variant not in MATRIX:
        other = write_index(variant, index.collection, index.key, number='f' * 16)
        assert fetching_keys(index.key, other.manifest, index.reader) is not None
        assert again.reader.files['pir-keys'] == index.reader.files['pir-keys'] != other.reader.files['pir-keys']


@every
def test_rotating(variant):
    """Under another key and number: the same photographs are found, and what was asked before fits no more. (Codes in
    the clear are the same under any key.)"""
    index = index_of(variant, crowded(1, 20, 16))
    new = write_index(variant, index.collection, OwnerKey.generate(), number='f' * 16)
    code = index.collection.codes[0]
    found = [search(one, code, 99, EVERYTHING) for one in (index, new)]
    assert pairs(found[0]) == pairs(found[1]) == nearest(new, code, 99)
    if variant in ASKING:
        query = index.user.query(code, Wanted(5, 2, True))
        assert variant == 'public' or open_as(index, index.user, lambda: new.server, query) is None
        assert open_as(index, new.user, lambda: index.server, query) is None


# What a hostile cloud answers

def altered(reply, header=(), **arrays):
    "A reply with other values in its header and other arrays (None: left out), under a checksum that fits."
    message = read_message(reply)
    about = message.header | dict(header)
    about = {name: value for name, value in about.items() if name != 'kind' and value is not ...}
    kept = {name: array for name, array in (message.arrays | arrays).items() if array is not None}
    return write_message(message.kind, about, kept)


def answered(index, code, **wanted):
    "A query on its way, the cloud's true reply, and what it gives."
    query = index.user.query(code, Wanted(**dict(k=10, nodes=3, fill=True) | wanted))
    reply = reply_to(index.server, request_of(index, query))
    return query, reply, open_reply(index.user, reply, query)


def taken(index, query, reply):
    "What a user makes of a reply: None where it is refused. Any other error than the package's goes through."
    try:
        return open_reply(index.user, reply, query)
    except (FormatError, SecurityError):
        return None


def honest(index, hits, good, code):
    """Whether results are right. Under random matrices the cloud may withhold results and says which there are; it
    cannot invent or alter one."""
    if index.variant not in MATRIX:
        return hits == good
    true = set(nearest(index, code, EVERYTHING))
    return len(hits) == len(good) == len({hit.id for hit in hits}) and set(pairs(hits)) <= true


def variations(x):
    "(what, array) as somebody might send instead."
    yield from (('missing', None), ('zeros', np.zeros_like(x)), ('ones', ~x if x.dtype.kind in 'iu' else -x))
    yield from (('none', x[:0]), ('flat', x.reshape(-1)), ('deeper', x[None]), ('number', np.array(x.ravel()[0])))
    for kind in (np.uint8, np.int16, np.float64, np.bool_):
        if kind != x.dtype:
            yield f'{np.dtype(kind).name}', x.astype(kind)
    for axis in range(x.ndim):
        yield f'shorter {axis}', np.delete(x, -1, axis)
        yield f'doubled {axis}', np.concatenate([x, x], axis)
        yield f'turned {axis}', np.roll(x, 1, axis)
        yield f'reversed {axis}', np.flip(x, axis)
    if x.ndim > 1:
        yield 'transposed', x.swapaxes(0, 1)
    if x.dtype.kind == 'f':
        with np.errstate(over='ignore'):
            yield from (('nan', x * np.nan), ('infinite', x * np.inf), ('much', x * 1e300))
    if x.dtype.kind == 'i':
        yield from (('negative', -1 - x), ('huge', x + 2 ** 62))


@asking
def test_replies_of_other_shapes(variant, worlds):
    "Arrays left out, cut short, swapped, turned, of other types: refused, or, where it makes no difference, right."
    index, refused, tried = worlds(variant), set(), 0
    query, reply, good = answered(index, QUERY, k=4)
    arrays = read_message(reply, 'found').arrays
    for name, x in arrays.items():
        for what, other in variations(x):
            tried += 1
            hits = taken(index, query, altered(reply, **{name: other}))
            assert hits is None or honest(index, hits, good, QUERY), (name, what)
            if hits is None:
                refused.add((name, what))
    heart = 'records' if variant in MATRIX else next(iter(arrays))
    assert {(heart, what) for what in ('missing', 'zeros', 'none', 'number', 'float64')} <= refused
    assert len(refused) > tried / 2 and taken(index, query, reply) == good


@asking
@few(20)
@given(seeds)
def test_replies_with_one_bit_changed(variant, worlds, seed):
    """Anywhere: refused, or exactly right, as where the noise of a ciphertext takes it, the last bits of a score are
    rounded away, or it is in a decoy."""
    index, rng = worlds(variant), np.random.default_rng(seed)
    query, reply, good = answered(index, QUERY, k=4)
    for name, x in read_message(reply, 'found').arrays.items():
        flat = np.frombuffer(x.tobytes(), np.uint8).copy()
        flat[rng.integers(len(flat))] ^= 1 << rng.integers(8)
        hits = taken(index, query, altered(reply, **{name: flat.view(x.dtype).reshape(x.shape)}))
        assert hits is None or honest(index, hits, good, QUERY)
        if name in ('ids', 'records') or name == 'scores' and variant in SCANS:
            assert hits is None, name
    raw = bytearray(reply)
    raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
    assert taken(index, query, bytes(raw)) is None and taken(index, query, reply[:rng.integers(len(reply))]) is None


STRANGE = (..., None, '', 'x', '00' * 8, [], {}, -1, 0, 5, 2 ** 70, 1.5, True)


@asking
def test_headers_that_lie(variant, worlds):
    "Whatever is in the header instead of what belongs there: refused, or right."
    index = worlds(variant)
    query, reply, good = answered(index, QUERY, k=4)
    for name in set(read_message(reply, 'found').header) - {'kind'}:
        for value in STRANGE:
            hits = taken(index, query, altered(reply, {name: value}))
            assert hits is None or honest(index, hits, good, QUERY), (name, value)
            if name in ('k', 'nodes', 'fill') and value in (..., None, 'x', -1):
                assert hits is None, (name, value)


@asking
def test_replies_for_something_else(variant, worlds):
    "For another query, of another index (under the same key and under another), or of an old version."
    index, codes = worlds(variant), codes_of(variant)
    other = crowded(8, 2, 16)[1]
    query, reply, good = answered(index, QUERY, k=4)
    twin = index_of(variant, codes, key=index.key, number='a' * 16)
    stranger = index_of(variant, codes)
    for one in (index, twin, stranger):
        _, theirs, _ = answered(one, other if one is index else QUERY, k=4)
        hits = taken(index, query, theirs)
        assert hits is None or one is index and (honest(index, hits, good, QUERY) or variant in MATRIX)
    for one in (twin, stranger):  # whose clouds answer this very request, as far as they can
        assert open_as(index, index.user, lambda one=one: one.server, query) is None
    old = index_of(variant, codes)
    before = old.user.query(QUERY, Wanted(4, 3, True))
    more = changed(old.collection, extra=codes[:1], first=len(codes))
    now = write_index(variant, more, old.key, version=2, previous=old)
    query, reply, good = answered(now, QUERY, k=4)
    for request in (before, query):  # the old index answers the old request, and, if it can, the new one
        try:
            theirs = reply_to(old.server, request_of(old, request))
        except TreePrivacyError:
            continue
        assert taken(now, query, theirs) is None
    assert taken(now, query, reply) == good


@pytest.mark.parametrize('variant', ['small buckets', 'decoys', 'few decoys', 'no decoys'])
def test_boxes_that_change_places(variant, worlds):
    """Every pair of rows of a reply: refused where a bucket that is meant moves, though the boxes themselves are whole;
    two buckets of one cell come in the same row."""
    index, refused = worlds(variant), 0
    query, reply, good = answered(index, QUERY, k=4, nodes=12)
    (name, rows), = read_message(reply, 'found').arrays.items()
    for i in range(len(rows)):
        for j in range(i):
            order = np.arange(len(rows))
            order[[i, j]] = j, i
            hits = taken(index, query, altered(reply, **{name: rows[order]}))
            assert hits is None or hits == good
            refused += hits is None
    assert refused >= 3


@asking
def test_a_forged_reply_says_whether_the_key_is_exposed(variant, worlds):
    "A made-up reply is a `ForgedReply`; one cut short, or misshapen, is a `FormatError`, which is no alarm."
    index = worlds(variant)
    query, reply, _ = answered(index, QUERY)
    arrays = read_message(reply, 'found').arrays
    name = 'records' if variant in MATRIX else next(iter(arrays))
    with pytest.raises(ForgedReply) as error:
        open_reply(index.user, altered(reply, **{name: np.zeros_like(arrays[name])}), query)
    assert error.value.key_is_exposed == client_class(variant).forgery_exposes_key == (variant in HIDING)
    for harmless in (reply[:-1], altered(reply, **{name: None}), altered(reply, **{name: arrays[name][:0]})):
        with pytest.raises(FormatError):
            open_reply(index.user, harmless, query)


@pytest.mark.parametrize('variant', MATRIX)
def test_results_left_out(variant, worlds):
    """A cloud that walks the tree may leave out what it likes to, but not so much that there are too few; what it adds
    twice is noticed."""
    index = worlds(variant)
    query, reply, _ = answered(index, QUERY, k=4)
    arrays = read_message(reply, 'found').arrays
    for some in (list(range(3)), [0, 0, 1, 2, 3], [*range(len(arrays['ids'])), 0]):
        assert taken(index, query, altered(reply, **{name: array[some] for name, array in arrays.items()})) is None


@pytest.mark.parametrize('variant', ['basic', 'split'])
def test_lies_about_scores(variant, worlds):
    "Records, ids or scores in another order, doubled, scaled, moved by one distance, or made up are found."
    index = worlds(variant)
    query, reply, _ = answered(index, QUERY)
    ids, scores, records = (read_message(reply, 'found').arrays[name] for name in ('ids', 'scores', 'records'))
    swap = np.arange(len(ids))
    swap[[0, 1]] = 1, 0
    empty = dict(ids=ids[:0], scores=scores[:0], records=records[:0])
    fraction = np.append(ids, ids[0] + .25)
    doubled = dict(records=np.concatenate([records, records[:1]]), scores=np.append(scores, scores[0]))
    lies = [dict(records=records[swap]), dict(ids=ids[swap]), dict(scores=np.sort(scores)[::-1] + 1),
            dict(doubled, ids=np.append(ids, ids[0])), dict(doubled, ids=fraction), dict(scores=scores * 2),
            dict(scores=scores * np.nan), dict(scores=-scores), dict(scores=scores - scores + scores[0]),
            dict(scores=scores - 2 * query.state['r']), empty, dict(ids=ids[:, None]),
            dict(ids=ids[:, None], scores=scores[:, None])]
    for lie in lies:
        assert taken(index, query, altered(reply, **lie)) is None, lie
    with pytest.raises(ForgedReply, match='do not fit its records'):
        open_reply(index.user, altered(reply, scores=scores - 2 * query.state['r']), query)


def test_a_sealed_box_that_is_another(monkeypatch):
    "One bit changed, an old version, another box, another index: a box opens only in its own place."
    monkeypatch.setattr(SealedClient, 'box_size', 8)
    index = index_of('sealed', crowded(1, 20, 16))
    files = {name: dict(index.reader.arrays(name)) for name in index.user.files()}
    name, second, *_ = files
    box = files[name]['box']
    others = [files[second]['box'], box[:0], box[:-1], np.append(box, box)]
    for at in range(0, len(box), 37):
        others.append(box.copy())
        others[-1][at] ^= 1 << at % 8
    for key, number in ((index.key, 'a' * 16), (None, '0123456789abcdef')):
        twin = write_index('sealed', index.collection, key, number=number)
        others.append(twin.reader.arrays(twin.user.files()[0])['box'])
    for other in others:
        with pytest.raises(SecurityError):
            index.client().scan(files | {name: dict(box=other)}, QUERY, 3)
    assert pairs(index.client().scan(files, QUERY, 10)) == nearest(index, QUERY, 10)


def test_boxes_of_fewer_photographs(worlds):
    "Boxes that hold other photographs than the manifest says are refused."
    from dataclasses import replace
    index = worlds('sealed')
    files = {name: index.reader.arrays(name) for name in index.user.files()}
    fewer = replace(index.manifest, photographs=39)
    with pytest.raises(FormatError, match='other photographs'):
        SealedClient(index.key, fewer).scan(files, QUERY, 3)


def swap_rows(files, index, name, rows):
    "Two rows of a table in each other's place, in a copy of the index's files."
    from lock_variants import MemoryReader

    from tree_privacy.wire import pack_arrays
    table = index.reader.arrays(name)['table'].copy()
    inner = table[0] if name == 'columns' else table
    inner[list(rows)] = inner[list(rows)[::-1]]
    return MemoryReader(index.manifest, files | {name: pack_arrays(index.reader.arrays(name) | dict(table=table))},
                        index.reader.records)


@pytest.mark.parametrize('variant', [v for v in ASKING if v != 'noisy'])
def test_swapped_rows_of_tables_are_noticed(variant):
    "Leaves, buckets, or columns of codes in each other's place: what is found does not open, or does not verify."
    codes = clustered(np.random.default_rng(0), 32, 8, kinds=4)
    index = index_of(variant, codes, **dict(capacity=8) if variant in WALKS else {})
    name = 'tree' if variant in MATRIX else 'buckets' if variant in WALKS else 'columns'
    rows = index.tree.leaf_[[0, -1]].tolist() if variant in MATRIX else (0, 1)
    cheat = type(index.server)(index.manifest, swap_rows(index.reader.files, index, name, rows))
    differing = next(code for code in codes if len(set(signs(code)[:2].tolist())) == 2)
    query = index.user.query(differing, Wanted(len(codes), EVERYTHING, True))
    if variant == 'public':
        assert open_reply(index.user, reply_to(index.server, request_of(index, query)), query)
    with pytest.raises(ForgedReply):
        open_reply(index.user, reply_to(cheat, request_of(index, query)), query)


# What a hostile user asks

MISSHAPEN = {'missing', 'none', 'deeper', 'number', 'int16', 'float64', 'bool', 'transposed', 'nan', 'infinite', 'much',
             'negative', 'huge', 'shorter 1', 'shorter 2', 'doubled 1', 'doubled 2'}


def same_array(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@asking
def test_misshapen_requests(variant, worlds):
    "Arrays that are missing, of other types and shapes, out of range, no numbers at all."
    index = worlds(variant)
    query = index.user.query(QUERY, Wanted(10, 3, True))
    misshapen = MISSHAPEN | ({'shorter 0', 'doubled 0'} if variant not in WALKS else set())
    for name, x in query.arrays.items():
        refused = set()
        for what, other in variations(x):
            if other is not None and same_array(other, x):
                continue
            arrays = {n: a for n, a in (query.arrays | {name: other}).items() if a is not None}
            try:
                index.server.answer(query.header, arrays)
            except (FormatError, InputError):
                refused.add(what)
            else:
                assert what not in misshapen or what == 'transposed' and other.shape == x.shape, (name, what)
        assert refused >= {'missing', 'none', 'deeper', 'float64' if x.dtype != np.float64 else 'nan'}
    names = list(query.arrays)
    for wrong in ({}, dict.fromkeys(names, np.zeros(0)), dict.fromkeys(names, np.zeros((), np.int64))):
        with pytest.raises((FormatError, InputError)):
            index.server.answer(query.header, wrong)


@asking
def test_largest_numbers(variant, worlds):
    "All bits set, or numbers beyond all tables."
    index = worlds(variant)
    query = index.user.query(QUERY, Wanted(10, 3, True))
    wrong = []
    for name, x in query.arrays.items():
        if x.dtype == np.uint8 and x.ndim > 1:
            wrong.append({name: np.full_like(x, 255)})
        elif x.dtype == np.float64:
            wrong += [{name: x * 0 + value} for value in (np.nan, np.inf, 1e30, -1e300)]
            wrong.append({name: x.astype(np.float32)})
            wrong += [{name: np.where(np.arange(len(x)) % 2, size, -size)} for size in (1e300, 1e308, np.inf, np.nan)]
        elif x.dtype == np.int64:
            beyond = index.manifest.fields['buckets']
            values = ([-1], [beyond], [0, 2 ** 62], [-2 ** 63], [2 ** 63 - 1], [[0]], [0.], [True], [0, 0])
            wrong += [{name: np.array(value)} for value in values]
    assert wrong
    for arrays in wrong:
        with pytest.raises((FormatError, InputError)):
            index.server.answer(query.header, query.arrays | arrays)


@pytest.mark.parametrize('variant', MATRIX)
def test_headers_of_requests(variant, worlds):
    "Where the cloud is told them: numbers of results and nodes that are none."
    index = worlds(variant)
    query = index.user.query(QUERY, Wanted(10, 3, True))
    strange = (None, '', 'x', [], {}, 0, -1, 2 ** 70, 1.5, float('nan'), float('inf'))
    for name in ('k', 'nodes', 'fill'):
        without = {other: value for other, value in query.header.items() if other != name}
        for header in (without, *(query.header | {name: value} for value in strange)):
            with pytest.raises(InputError):
                index.server.answer(header, query.arrays)
    large = index.server.answer(query.header | dict(k=2 ** 59, nodes=2 ** 59), query.arrays)[1]
    assert sorted(large['ids'].tolist()) == index.reader.ids.tolist()


@pytest.mark.parametrize('variant', [v for v in VARIANTS if v not in ASKING])
def test_a_lock_that_searches_at_home_does_not_answer(variant, worlds):
    with pytest.raises(InputError, match='cannot search'):
        worlds(variant).server.answer(dict(k=3), {})


# Sizes, repeats, and what is done

@asking
def test_sizes_do_not_depend_on_the_query(variant, worlds):
    "Of requests and, but for the walk on ciphertexts, of replies: one size and one shape for different codes."
    index = worlds(variant)
    codes = [np.zeros(2, np.uint8), np.full(2, 255, np.uint8), *crowded(7, 6, 16)]
    requests = [request_of(index, index.user.query(code, Wanted(10, 3, True))) for code in codes]
    assert len(set(map(len, requests))) == 1
    if variant not in MATRIX:
        assert len({len(reply_to(index.server, request)) for request in requests}) == 1
    arrays = [read_message(request, 'search').arrays for request in requests]
    shapes = [{name: (x.shape, x.dtype) for name, x in some.items()} for some in arrays]
    assert all(shape == shapes[0] for shape in shapes)


@hiding
def test_the_number_of_results_is_not_visible(variant, worlds):
    "One result or fifty: requests and replies of one size, with nothing about it in the header."
    index, code = worlds(variant), crowded(7, 1, 16)[0]
    queries = [index.user.query(code, Wanted(k, 3, True)) for k in (1, 9, 10, 50, 10 ** 6)]
    assert all(query.header == {} for query in queries)
    requests = [request_of(index, query) for query in queries]
    assert len(set(map(len, requests))) == 1
    assert len({len(reply_to(index.server, request)) for request in requests}) == 1


@asking
def test_equal_queries_share_nothing(variant, worlds):
    """No row of one request comes again in another for the same code. Decoys excepted: there the buckets that are meant
    come again, as the lock's table says."""
    index, code = worlds(variant), crowded(7, 1, 16)[0]
    sent = [index.user.query(code, Wanted(10, 3, True)).arrays for _ in range(4)]
    for name in sent[0]:
        arrays = [some[name] for some in sent]
        if name != 'buckets':
            rows = [row.tobytes() for x in arrays for row in (x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x[None])]
            assert len(set(rows)) == len(rows), name
            continue
        chosen = set(index.user.top.choose(code, 3))
        assert chosen <= set.intersection(*(set(x.tolist()) for x in arrays))
        decoys, buckets = index.manifest.options['decoys'], index.manifest.fields['buckets']
        assert all(len(x) == min(buckets, len(chosen) * (1 + decoys)) for x in arrays)


def test_the_sealed_lock_sends_nothing_more(worlds):
    "The files are the same for every query, and after they came, queries are answered at home."
    index = worlds('sealed')
    user = index.client()
    assert not user.opened and user.files() == index.client().files() and len(user.files())
    user.scan({name: index.reader.arrays(name) for name in user.files()}, QUERY, 3)
    assert user.opened
    for code in crowded(9, 3, 16):
        for k in (1, 50):
            assert pairs(user.scan({}, code, k)) == nearest(index, code, k)


# Options

@pytest.mark.parametrize('lock, options, said', [
    ('x', {}, 'wanted one of random-matrix'), (None, {}, 'wanted one of'), (['sealed'], {}, 'wanted one of'),
    ('sealed', dict(form='split'), 'leave it out'), ('homomorphic', dict(rule='balanced'), 'leave it out'),
    ('random-matrix', dict(form='x'), 'wanted one of basic, split, noisy'),
    ('random-matrix', dict(rule='x'), 'wanted one of original'),
    ('random-matrix', dict(capacity=3), 'this lock has form, rule'),
    ('homomorphic', dict(form='x'), 'wanted one of encrypted, public'),
    ('homomorphic', dict(form=None), 'wanted one of encrypted'), ('private-walk', dict(decoys=3), 'leave it out'),
    *((lock, dict(capacity=x), 'photographs in a bucket, a whole number from 1')
      for lock in ('private-walk', 'decoy-walk') for x in (0, -1, 1.5, 'x', True, float('nan'), 2 ** 70)),
    *(('decoy-walk', dict(decoys=x), 'a whole number from 0') for x in (-1, 1.5, None, 'x', False, 0., float('inf')))])
def test_options_that_there_are_not(lock, options, said):
    "The refusal names what was given and what was wanted; the table of leaks refuses alike."
    from tree_privacy.locks.base import lock_options
    from tree_privacy.locks.leakage import leakage
    with pytest.raises(InputError, match=said):
        lock_options(lock, options)
    with pytest.raises(InputError, match=said):
        leakage(lock, **options)


def test_more_bits_than_the_homomorphic_lock_takes():
    "264 bits are refused; 256 are not."
    for form in ('encrypted', 'public'):
        with pytest.raises(InputError, match='at most 256'):
            index_of('encrypted', crowded(0, 3, 264), form=form)
        index = index_of('encrypted', crowded(0, 3, 256), form=form)
        assert pairs(search(index, index.collection.codes[0], 1)) == nearest(index, index.collection.codes[0], 1)


def test_one_table_names_all_locks():
    "Every entry leads to two classes that carry its name, and nothing else registers locks."
    for lock, entry in LOCKS.items():
        assert lock_client(lock).name == lock and entry.module.startswith('tree_privacy.locks.')
    assert {used for used, _ in VARIANTS.values()} == set(LOCKS)
    json.dumps({lock: {name: option.default for name, option in lock_client(lock).options.items()} for lock in LOCKS})
