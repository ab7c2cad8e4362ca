"Every lock: the same results as in the clear, by bytes alone; whatever is forged, old, damaged or another's is refused; and nothing shows that should not."
import copy
import hashlib
import inspect
import json
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from safetensors.numpy import save

from tree_privacy import choosing, private_locks, private_walk, roles
from tree_privacy.choosing import choose_lock, measure_lock, nothing_to_see
from tree_privacy.data import InputError, from_arrays
from tree_privacy.leakage import ATTACKS, Known, Seen, Truth, play, stage
from tree_privacy.measures import exhaustive, hamming, pack, signs
from tree_privacy.private_walk import CELL, LEVELS, RetrievalCloud, RetrievalKey, ask_rows, cut, layout, open_rows
from tree_privacy.retrieval import PlainIndex
from tree_privacy.roles import FETCHES, LOCKS, MOMENTS, Cloud, Owner, OwnerKey, Sealer, User, hello, leakage, message, read_found, read_manifest, read_message, thumbnail

KINDS = {'basic': ('random-matrix', dict(form='basic')), 'split': ('random-matrix', dict(form='split')), 'noisy': ('random-matrix', dict(form='noisy')),
         'encrypted': ('homomorphic', {}), 'public': ('homomorphic', dict(form='public')), 'sealed': ('sealed', {}),
         'walk': ('private-walk', {}), 'small buckets': ('private-walk', dict(capacity=3)),
         'decoys': ('decoy-walk', {}), 'few decoys': ('decoy-walk', dict(capacity=2, decoys=1)), 'no decoys': ('decoy-walk', dict(decoys=0))}
MATRIX, SCANS, HIDING = ['basic', 'split', 'noisy'], ['encrypted', 'public', 'sealed'], ['encrypted', 'public', 'walk', 'small buckets']
WALKS = ['walk', 'small buckets', 'decoys', 'few decoys', 'no decoys']
ASKING, ALL = [kind for kind in KINDS if kind != 'sealed'], 10 ** 6
every, asking, hiding = (pytest.mark.parametrize('kind', some) for some in (KINDS, ASKING, HIDING))
seeds = st.integers(0, 2 ** 32 - 1)


def few(examples): return settings(deadline=None, max_examples=examples)


def crowded(seed, n, d, kinds=None):
    "n codes around a few centres: many are equal, many distances tie."
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (kinds or max(1, n // 3), d // 8), np.uint8)[rng.integers(0, kinds or max(1, n // 3), n)]
    for i in np.flatnonzero(rng.random(n) < .6): codes[i, rng.integers(d // 8)] ^= 1 << rng.integers(8)
    return codes


def codes_of(kind):
    "The collection of `worlds`: more than a cell full of buckets where they are small, so that a request chooses."
    return crowded(3, 1100, 16, kinds=400) if kind == 'small buckets' else crowded(3, 40, 16)


def some_queries(seed, codes):
    "One of the collection, the opposite of one, and any."
    rng = np.random.default_rng(seed)
    return codes[rng.integers(len(codes))], ~codes[rng.integers(len(codes))], rng.integers(0, 256, codes.shape[1], np.uint8)


def entered(w):
    "The cloud and a user of the index as it is now."
    w.cloud = Cloud(w.folder)
    w.user = User(w.key.grant(), w.cloud.answer(hello()))
    return w


def index_of(kind, folder, codes, key=None, **more):
    "An index of codes alone under a kind of lock."
    lock, options = KINDS[kind]
    w = SimpleNamespace(kind=kind, folder=folder, key=key or OwnerKey.generate())
    w.made = Owner(w.key).create(folder, nothing_to_see([f'{i % 3}/{i:03}' for i in range(len(codes))]), codes, b'encoder', photos='none', lock=lock, **options | more)
    return entered(w)


@contextmanager
def index(kind, codes, **more):
    "The same in a folder that goes away."
    with tempfile.TemporaryDirectory() as home: yield index_of(kind, Path(home, 'index'), codes, **more)


def talk(session, cloud):
    "The result of a session; what is sent are bytes, both ways."
    while session.request is not None:
        assert type(session.request) is bytes
        reply = cloud.answer(session.request)
        assert type(reply) is bytes
        session.receive(reply)
    return session.result


def plain(results): return [(r.id, r.distance) for r in results]


def nearest(w, query, k, among=None):
    "(id, distance) by comparing with all photographs of the index, or with those whose ids are given: ties by id."
    now = Owner(w.key).open(w.folder)
    some = np.arange(len(now.ids)) if among is None else np.flatnonzero(np.isin(now.ids, list(among)))
    order, distance = exhaustive(now.codes[some], query, k)
    return list(zip(now.ids[some][order].tolist(), distance.tolist()))


def inside(w):
    "The ids in every bucket, by opening all of them with the key."
    m, width, sealer = w.cloud.manifest, 4 + w.cloud.manifest['bits'] // 8, Sealer(w.key, w.cloud.manifest['index'])
    boxes = (sealer.open('bucket', b, m['version'], box) for b, box in enumerate(w.cloud.files['buckets']['table']))
    return [set(np.ascontiguousarray(np.frombuffer(box, np.uint8).reshape(-1, width)[:, :4]).view('<u4').ravel().tolist()) for box in boxes]


@pytest.fixture(scope='module')
def worlds(tmp_path_factory):
    "One index for each kind of lock, of codes of 16 bits, not to be changed."
    home, made = tmp_path_factory.mktemp('locks'), {}
    def world(kind):
        if kind not in made: made[kind] = index_of(kind, home / kind.replace(' ', '-'), codes_of(kind))
        return made[kind]
    return world


# The same results as in the clear

@pytest.mark.parametrize('kind', SCANS + WALKS)
@few(9)
@given(st.integers(1, 40), st.sampled_from([8, 16, 64, 248, 256]), st.sampled_from([1, 2, 10, 99]), seeds)
def test_results_of_a_comparison_with_all(kind, n, d, k, seed):
    "Scans give exactly the nearest, ties by id, also of equal codes, of one photograph, and where more are wanted than there are; walks where all buckets are fetched."
    codes = crowded(seed, n, d)
    with index(kind, codes) as w:
        for query in some_queries(seed, codes): assert plain(talk(w.user.query(query, k, nodes=ALL), w.cloud)) == nearest(w, query, k)


@pytest.mark.parametrize('kind', WALKS)
@few(6)
@given(st.integers(1, 60), st.sampled_from([8, 64, 256]), st.integers(1, 4), seeds)
def test_results_of_some_buckets(kind, n, d, nodes, seed):
    "With fewer nodes than buckets: the nearest of what is in the buckets that were chosen."
    codes = crowded(seed, n, d)
    with index(kind, codes) as w:
        buckets = inside(w)
        assert set.union(*buckets) == set(w.made.ids.tolist()) and sum(map(len, buckets)) == n
        for query in some_queries(seed, codes):
            some = w.user.lock.chosen_buckets(w.user, query, nodes)
            assert len(set(some)) == len(some) == min(nodes, len(buckets))
            assert plain(talk(w.user.query(query, 5, nodes), w.cloud)) == nearest(w, query, 5, set.union(*(buckets[b] for b in some)))


@few(9)
@given(st.integers(1, 60), st.sampled_from([8, 64]), st.integers(1, 9), st.integers(1, 4), seeds)
def test_buckets_are_those_of_the_tree(n, d, capacity, nodes, seed):
    "Buckets hold what `cut` says, none more than it may, and those with the groups nearest to the query are fetched: worked out again from the owner's tree."
    codes = crowded(seed, n, d)
    with index('small buckets', codes, capacity=capacity) as w:
        bucket, mean, of = cut(w.made.tree, capacity)
        held = [set(w.made.ids[bucket == b].tolist()) for b in range(bucket.max() + 1)]
        assert max(map(len, held)) <= capacity and sorted(map(sorted, held)) == sorted(map(sorted, inside(w)))
        for query in some_queries(seed, codes):
            rough = mean.astype(np.float16).astype(np.float32)
            order = np.argsort((rough ** 2).sum(1) / 2 - rough @ signs(query).astype(np.float32), kind='stable')
            some = list(dict.fromkeys(of[order].tolist()))[:nodes]
            assert plain(talk(w.user.query(query, 7, nodes), w.cloud)) == nearest(w, query, 7, set.union(*(held[b] for b in some)))


@pytest.mark.parametrize('kind', ['basic', 'split'])
@few(9)
@given(st.integers(1, 60), st.sampled_from([8, 64, 256]), st.sampled_from([1, 3, 99]), st.integers(1, 4), st.booleans(), seeds)
def test_results_of_the_plain_tree(kind, n, d, k, nodes, fill, seed):
    "Under random matrices: what the owner's tree gives in the clear, names included."
    codes = crowded(seed, n, d)
    with index(kind, codes) as w:
        clear, name = PlainIndex(w.made.tree, w.made.ids), dict(zip(w.made.ids.tolist(), (f'{i % 3}/{i:03}' for i in range(n))))
        for query in some_queries(seed, codes):
            found, true = talk(w.user.query(query, k, nodes, fill), w.cloud), clear.search(query, k, nodes, fill)
            assert plain(found) == list(zip(true.ids.tolist(), true.distances.tolist())) and [r.name for r in found] == [name[r.id] for r in found]


@few(6)
@given(st.integers(1, 40), st.sampled_from([8, 64]), seeds)
def test_results_of_the_noisy_form(n, d, seed):
    "Its order is blurred on the way, its distances are true: whoever wants all gets all in the right order."
    codes = crowded(seed, n, d)
    with index('noisy', codes) as w:
        for query in some_queries(seed, codes):
            true = nearest(w, query, n)
            assert plain(talk(w.user.query(query, n, ALL), w.cloud)) == true
            found = plain(talk(w.user.query(query, 3, 2), w.cloud))
            assert set(found) <= set(true) and len(found) == len(set(found)) == min(3, n) and found == sorted(found, key=lambda r: r[::-1])


@pytest.mark.parametrize('kind', SCANS + ['walk', 'decoys'])
def test_two_thousand_and_more(kind, tmp_path):
    "More than a chunk of columns, many cells and buckets of several polynomials."
    codes = np.random.default_rng(0).integers(0, 256, (2100, 8), np.uint8)
    w = index_of(kind, tmp_path / 'index', codes, **dict(capacity=1000) if kind in WALKS else {})
    for i in (0, 1000, 2099):
        found = talk(w.user.query(codes[i], 4, ALL), w.cloud)
        assert plain(found) == nearest(w, codes[i], 4) and plain(found)[0] == (w.made.ids[i], 0)
    if kind == 'walk': assert w.cloud.searcher.plan.cells > 1 and w.cloud.searcher.plan.chunks > 1


# Bytes alone

@asking
def test_a_reply_is_read_later_with_the_key_alone(kind, worlds):
    "What came back is a file like any other: with the key it gives the same results, the note and the version; with another key nothing."
    w = worlds(kind)
    for note in ('', 'übermorgen/bild.png', 'x' * 300):
        session = w.user.query(w.cloud.ids[:1].view(np.uint8)[:2], 7, note=note)
        reply = w.cloud.answer(session.request)
        session.receive(reply)
        results, said, version = read_found(w.key.grant(), read_message(reply, 'found'))
        assert results == session.result and len(results) and said == note and version == w.cloud.manifest['version']
        with pytest.raises(InputError, match='cannot be opened'): read_found(OwnerKey.generate().grant(), read_message(reply, 'found'))


# Coming and going

@every
def test_adding_and_removing(kind, tmp_path):
    "Results stay right from version to version; a user, a request and an index of before are refused."
    codes, extra = crowded(1, 20, 16), crowded(2, 9, 16)
    w = index_of(kind, tmp_path / 'index', codes)
    old, query = w.user, extra[0]
    request = old.query(query).request
    shutil.copytree(w.folder, tmp_path / 'old')
    for version, change in enumerate((lambda: Owner(w.key).add(w.folder, nothing_to_see([f'new/{i}' for i in range(9)]), extra),
                                      lambda: Owner(w.key).remove(w.folder, ['0/000', '2/017', 'new/3']),
                                      lambda: Owner(w.key).remove(w.folder, [f'{i % 3}/{i:03}' for i in range(1, 17)])), 2):
        change()
        entered(w)
        assert w.cloud.manifest['version'] == version
        for q in some_queries(version, extra): assert plain(talk(w.user.query(q, 99, ALL), w.cloud)) == nearest(w, q, 99)
        with pytest.raises(InputError, match='ask again'): w.cloud.answer(request)
        with pytest.raises(InputError, match='ask again'): w.cloud.answer(old.query(query).request)
    assert len(nearest(w, query, 99)) == 10
    back = Cloud(tmp_path / 'old').answer(hello())
    assert User(w.key.grant(), back, seen=1).manifest['version'] == 1
    with pytest.raises(InputError, match='put an old one back'): User(w.key.grant(), back, seen=version)


def boxes_of(w): return {name: about['sha256'] for name, about in w.cloud.manifest['files'].items() if name.startswith('codes-')}


def test_sealed_boxes_stay(tmp_path, monkeypatch):
    "Boxes that lost nothing are the same files from version to version, and who keeps files fetches only new ones, each once."
    monkeypatch.setattr(type(LOCKS['sealed']), 'size', 8)
    w, kept = index_of('sealed', tmp_path / 'index', crowded(1, 40, 16)), tmp_path / 'kept'
    def fetched():
        "The files that a user with the folder asks for"
        w.user = User(w.key.grant(), w.cloud.answer(hello()), kept=kept)
        names, session = [], w.user.query(query, 99)
        while session.request is not None:
            names.append(read_message(session.request, 'file').header['name'])
            session.receive(w.cloud.answer(session.request))
        assert plain(session.result) == nearest(w, query, 99) and w.user.query(query).request is None
        return names
    query = crowded(5, 1, 16)[0]
    before = boxes_of(w)
    assert len(before) == 5 and sorted(fetched()) == sorted(before) and not fetched()
    for change in (lambda: Owner(w.key).add(w.folder, nothing_to_see(['new/1']), crowded(2, 1, 16)), lambda: Owner(w.key).remove(w.folder, ['0/003']),
                   lambda: Owner(w.key).add(w.folder, nothing_to_see(['new/2', 'new/3']), crowded(3, 2, 16))):
        before = boxes_of(w)
        change()
        entered(w)
        new = boxes_of(w)
        assert 1 <= len(set(new) - set(before)) <= 2 < len(set(new) & set(before)) and all(new[name] == before[name] for name in set(new) & set(before))
        assert sorted(fetched()) == sorted(set(new) - set(before)) and not fetched()


def test_kept_files_that_are_damaged_are_fetched_again(tmp_path):
    w = index_of('sealed', tmp_path / 'index', crowded(1, 20, 16))
    for kept in (tmp_path / 'kept', tmp_path / 'a file'):
        if kept.name == 'a file': kept.write_text('')
        for damage in (None, b'', b'x' * 99):
            user = User(w.key.grant(), w.cloud.answer(hello()), kept=kept)
            if damage is not None and kept.is_dir(): [file.write_bytes(damage) for file in kept.iterdir()]
            session = user.query(crowded(9, 1, 16)[0])
            assert session.request is not None and plain(talk(session, w.cloud)) == nearest(w, crowded(9, 1, 16)[0], 10)


@every
def test_rotating(kind, tmp_path):
    "Under another key: the old one is refused, the new one finds the same photographs; what was asked before fits no more."
    codes, new = crowded(1, 20, 16), OwnerKey.generate()
    w = index_of(kind, tmp_path / 'index', codes)
    old = w.user
    before, request = [r.distance for r in talk(old.query(codes[0], 99, ALL), w.cloud)], old.query(codes[1]).request
    names = {n: code.tobytes() for n, code in zip(Owner(w.key).open(w.folder).names, Owner(w.key).open(w.folder).codes)}
    Owner(w.key).rotate(w.folder, new)
    cloud = Cloud(w.folder)
    with pytest.raises(InputError, match='not the key of this index'): User(w.key.grant(), cloud.answer(hello()))
    with pytest.raises(InputError, match='not the key of this index'): Owner(w.key).open(w.folder)
    if request:
        with pytest.raises(InputError, match='another index'): cloud.answer(request)
    w.key = new
    entered(w)
    found = talk(w.user.query(codes[0], 99, ALL), w.cloud)
    assert [r.distance for r in found] == before and plain(found) == nearest(w, codes[0], 99)
    opened = Owner(new).open(w.folder)
    assert {n: code.tobytes() for n, code in zip(opened.names, opened.codes)} == names


# What a hostile cloud answers

def sent_as(kind, header, arrays):
    "What `message` gives, single numbers included, of which that would make rows of one."
    body = save({name: np.array(x, order='C') for name, x in arrays.items()}, {'header': json.dumps(dict(header, kind=kind))})
    return b'TREE\x01' + hashlib.sha256(body).digest()[:16] + body


def again(reply, header={}, **arrays):
    "A reply with other arrays (None: left out), under a checksum that fits."
    m = read_message(reply, 'found photos file index')
    about = {k: v for k, v in (m.header | header).items() if k != 'kind' and v is not ...}
    return sent_as(m.header['kind'], about, {k: v for k, v in (m.arrays | arrays).items() if v is not None})


def answered(w, query, **options):
    "A session on its way, the cloud's true reply, and what it gives."
    session = w.user.query(query, **options)
    reply, done = w.cloud.answer(session.request), copy.copy(session)
    done.receive(reply)
    return session, reply, done.result if done.request is None else talk(done, w.cloud)


def taken(session, reply):
    "What a user makes of a reply: None where it is refused, without an alarm, so that more can be tried; anything else than an InputError goes through."
    session = copy.copy(session)
    session.alarm = None
    try: session.receive(reply)
    except InputError: return None
    return session.result if session.request is None else session


def honest(w, found, good, query):
    "Whether results are right. Under random matrices the cloud may withhold results and says which there are; it cannot invent or alter one."
    if w.kind not in MATRIX: return found == good
    true = set(nearest(w, query, ALL))
    return len(found) == len(good) == len({r.id for r in found}) and set(plain(found)) <= true


def variants(x):
    "(what, array) as a cloud might send instead."
    yield from (('missing', None), ('zeros', np.zeros_like(x)), ('ones', ~x if x.dtype.kind in 'iu' else -x), ('none', x[:0]), ('flat', x.reshape(-1)), ('deeper', x[None]), ('number', x.ravel()[0]))
    for kind in (np.uint8, np.int16, np.float64, np.bool_):
        if kind != x.dtype: yield f'{kind.__name__}', x.astype(kind)
    for axis in range(x.ndim):
        yield from ((f'shorter {axis}', np.delete(x, -1, axis)), (f'doubled {axis}', np.concatenate([x, x], axis)), (f'turned {axis}', np.roll(x, 1, axis)), (f'reversed {axis}', np.flip(x, axis)))
    if x.ndim > 1: yield 'transposed', x.swapaxes(0, 1)
    if x.dtype.kind == 'f': yield from (('nan', x * np.nan), ('infinite', x * np.inf), ('much', x * 1e300))
    if x.dtype.kind == 'i': yield from (('negative', -1 - x), ('huge', x + 2 ** 62))


@asking
def test_replies_of_other_shapes(kind, worlds):
    "Arrays left out, cut short, swapped, turned, of other types: refused, or, where it made no difference, exactly right."
    w = worlds(kind)
    query, refused, tried = crowded(8, 1, 16)[0], [], 0
    session, reply, good = answered(w, query, k=4)
    for name, x in read_message(reply, 'found').arrays.items():
        for what, other in variants(x):
            tried += 1
            found = taken(session, again(reply, **{name: other}))
            assert found is None or honest(w, found, good, query), (name, what)
            if found is None: refused.append((name, what))
            elif name == 'token': assert other.tobytes() == x.tobytes(), what
    heart = {'encrypted': 'scores', 'public': 'scores'}.get(kind, 'records' if kind in MATRIX else 'rows')
    assert {(heart, what) for what in ('missing', 'zeros', 'none', 'number', 'float64')} <= set(refused) and len(refused) > tried / 2
    assert taken(session, reply) == good


@asking
@few(20)
@given(seeds)
def test_replies_with_one_bit_changed(kind, worlds, seed):
    "Anywhere: refused, or exactly right, as where the noise of a ciphertext takes it, the last bits of a score are rounded away, or it lies in a decoy."
    w, rng = worlds(kind), np.random.default_rng(seed)
    query = crowded(8, 1, 16)[0]
    session, reply, good = answered(w, query, k=4)
    for name, x in read_message(reply, 'found').arrays.items():
        flat = np.frombuffer(x.tobytes(), np.uint8).copy()
        flat[rng.integers(len(flat))] ^= 1 << rng.integers(8)
        found = taken(session, again(reply, **{name: flat.view(x.dtype).reshape(x.shape)}))
        assert found is None or honest(w, found, good, query)
        if name in ('token', 'ids', 'records') or name == 'scores' and kind in SCANS: assert found is None, name
    raw = bytearray(reply)
    raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
    assert taken(session, bytes(raw)) is None and taken(session, reply[:rng.integers(len(reply))]) is None


@asking
def test_headers_that_lie(kind, worlds):
    "Whatever stands in the header instead of what belongs there: refused, or right."
    w = worlds(kind)
    query = crowded(8, 1, 16)[0]
    session, reply, good = answered(w, query, k=4)
    for field in read_message(reply, 'found').header:
        for value in (..., None, '', 'x', '00' * 8, [], {}, -1, 0, 5, 2 ** 70, 1.5, float('nan'), True):
            if field in ('kind', 'ms'): continue
            found = taken(session, again(reply, {field: value}))
            assert found is None or honest(w, found, good, query), (field, value)
            if field == 'index' or field in ('k', 'nodes', 'fill') and value in (..., None, 'x', -1): assert found is None, (field, value)


def other_errors(attempts):
    "(what, error) of those attempts that ended in another error than an InputError, or, where they must be refused, in none."
    wrong = []
    for what, attempt, refused in attempts:
        try: attempt()
        except InputError: continue
        except Exception as error: wrong.append((what, repr(error)))
        else: wrong += [(what, 'accepted')] if refused else []
    return wrong


def test_times_that_lie(worlds):
    "What the cloud says of the time it took is shown, and must not end in another error than a refusal."
    session, reply, _ = answered(worlds('encrypted'), crowded(8, 1, 16)[0], k=4)
    assert not other_errors((value, lambda: taken(session, again(reply, dict(ms=value))), False) for value in (None, '', 'x', [], {}, -1, 2 ** 70, float('nan'), True))


@asking
def test_replies_for_something_else(kind, worlds, tmp_path):
    "For another request, of another index (under the same key and under another), or of an old version, also where the token of this request is put in."
    w, codes = worlds(kind), codes_of(kind)
    query, other = crowded(8, 2, 16)
    session, reply, good = answered(w, query, k=4)
    twin, stranger = (index_of(kind, tmp_path / name, codes, key=key) for name, key in (('twin', w.key), ('stranger', None)))
    token = read_message(reply, 'found').arrays['token']
    for one in (w, twin, stranger):
        _, theirs, _ = answered(one, other if one is w else query, k=4)
        assert taken(session, theirs) is None
        for header in ({}, dict(index=w.cloud.manifest['index'])):
            found = taken(session, again(theirs, header, token=token))
            assert found is None or one is w and honest(w, found, good, query) or kind in MATRIX and one is w
    asked = read_message(session.request, 'search')
    for one in (twin, stranger):  # whose clouds answer this very request, as far as they can
        try: header, arrays = one.cloud.searcher.search(asked.header, asked.arrays)
        except InputError: continue
        assert taken(session, message('found', dict(header, index=w.cloud.manifest['index']), dict(arrays, token=token))) is None
    now = index_of(kind, tmp_path / 'now', codes)
    before, request = now.cloud, read_message(now.user.query(query, 4).request, 'search')
    Owner(now.key).add(now.folder, nothing_to_see(['new/1']), codes[:1])
    entered(now)
    session, reply, good = answered(now, query, k=4)
    asked = read_message(session.request, 'search')
    for arrays in (request.arrays, asked.arrays):  # the old index answers the old request, and, if it can, the new one
        try: header, old = before.searcher.search(asked.header, arrays)
        except InputError: continue
        forged = message('found', dict(header, index=now.cloud.manifest['index']), dict(old, token=asked.arrays['token']))
        assert taken(session, forged) is None
    assert taken(session, reply) == good


@pytest.mark.parametrize('kind', ['small buckets', 'decoys', 'few decoys', 'no decoys'])
def test_boxes_that_change_places(kind, worlds):
    "Every pair of rows of a reply: refused where a bucket that is meant moves, though the boxes themselves are whole; two buckets of one cell come in the same row."
    w, query = worlds(kind), crowded(8, 1, 16)[0]
    session, reply, good = answered(w, query, k=4, nodes=12)
    rows, refused = read_message(reply, 'found').arrays['rows'], 0
    for i in range(len(rows)):
        for j in range(i):
            order = np.arange(len(rows))
            order[[i, j]] = j, i
            found = taken(session, again(reply, rows=rows[order]))
            assert found is None or found == good
            refused += found is None
    assert refused >= 3


@asking
def test_a_forged_reply_ends_the_use_of_a_key(kind, worlds):
    "Under the locks whose refusals tell something of the key, nothing is asked any more, neither a search nor a fetch; a reply for another request, or one cut short on its way, is no alarm."
    w = worlds(kind)
    user, code, i = User(w.key.grant(), w.cloud.answer(hello())), crowded(8, 1, 16)[0], w.cloud.ids[:1].tolist()
    session = user.query(code)
    reply = w.cloud.answer(session.request)
    name = next(x for x in ('scores', 'rows', 'records') if x in read_message(reply, 'found').arrays and (kind not in MATRIX or x == 'records'))
    for harmless in (w.cloud.answer(user.query(code).request), reply[:-1], again(reply, token=None)):
        with pytest.raises(InputError): session.receive(harmless)
    talk(user.query(code), w.cloud)
    with pytest.raises(roles.Forged): session.receive(again(reply, **{name: np.zeros_like(read_message(reply, 'found').arrays[name])}))
    if kind in HIDING:
        for ask in (lambda: user.query(code), lambda: user.fetch(i, 'direct'), lambda: user.fetch(i, 'private')):
            with pytest.raises(InputError, match='forged'): ask()
    else: assert talk(user.query(code), w.cloud) and talk(user.fetch(i, 'direct'), w.cloud)


@pytest.mark.parametrize('kind', MATRIX)
def test_results_left_out(kind, worlds):
    "A cloud that walks the tree may leave out what it likes to, but not so much that there are too few; what it adds twice is noticed."
    w, query = worlds(kind), crowded(8, 1, 16)[0]
    session, reply, good = answered(w, query, k=4)
    m = read_message(reply, 'found').arrays
    for some in (list(range(3)), [0, 0, 1, 2, 3], list(range(len(m['ids']))) + [0]):
        assert taken(session, again(reply, **{x: m[x][some] for x in ('ids', 'scores', 'records')})) is None


def test_a_sealed_file_that_is_another(tmp_path, monkeypatch):
    "One bit changed, an old version, another box, another index: compared with what the owner signed."
    monkeypatch.setattr(type(LOCKS['sealed']), 'size', 8)
    w, codes = index_of('sealed', tmp_path / 'index', crowded(1, 20, 16)), crowded(2, 1, 16)
    session = w.user.query(codes[0])
    reply = w.cloud.answer(session.request)
    data = read_message(reply, 'file').arrays['data']
    names = sorted(boxes_of(w))
    files = [np.fromfile(w.folder / w.cloud.manifest['generation'] / name, np.uint8) for name in names[1:]]
    for at in range(0, len(data), 37):
        wrong = data.copy()
        wrong[at] ^= 1 << at % 8
        assert taken(session, again(reply, data=wrong)) is None
    other = index_of('sealed', tmp_path / 'other', crowded(1, 20, 16), key=w.key)
    files += [np.fromfile(path, np.uint8) for path in (other.folder / other.cloud.manifest['generation']).glob('codes-*')]
    for wrong in (*files, None, data[:0], data[:-1], data.astype(np.int16), np.append(data, data)): assert taken(session, again(reply, data=wrong)) is None
    assert taken(session, again(reply, data=data.reshape(2, -1) if len(data) % 2 == 0 else data[None])) is not None  # the same bytes are the same file
    talk(session, w.cloud)
    assert plain(session.result) == nearest(w, codes[0], 10)


@every
def test_greetings_with_other_boxes(kind, worlds, tmp_path):
    "What users are told is what the owner signed for this version: every change of it is refused, and a box where there should be none."
    w = worlds(kind)
    greeting = w.cloud.answer(hello())
    boxes = read_message(greeting, 'index').arrays
    for name in ('encoder', 'told'):
        others = variants(boxes[name]) if name in boxes else [('extra', boxes['encoder'])]
        for what, other in others:
            if other is not None and np.array_equal(other, boxes.get(name)) and other.shape == boxes[name].shape: continue
            with pytest.raises(InputError, match='not the one that the owner signed'): User(w.key.grant(), again(greeting, **{name: other}))
    if 'told' not in boxes: return
    with pytest.raises(InputError, match='not the one that the owner signed'): User(w.key.grant(), again(greeting, told=boxes['encoder'], encoder=boxes['told']))
    twin = index_of(kind, tmp_path / 'twin', codes_of(kind), key=w.key)
    with pytest.raises(InputError, match='not the one that the owner signed'): User(w.key.grant(), again(greeting, told=read_message(twin.cloud.answer(hello()), 'index').arrays['told']))


@every
def test_another_key_is_refused(kind, worlds):
    "Another owner's key neither enters, nor opens, nor writes."
    w, other = worlds(kind), OwnerKey.generate()
    with pytest.raises(InputError, match='not the key of this index'): User(other.grant(), w.cloud.answer(hello()))
    for write in (lambda: Owner(other).open(w.folder), lambda: Owner(other).remove(w.folder, ['0/000']), lambda: Owner(other).add(w.folder, nothing_to_see(['x']), crowded(0, 1, 16))):
        with pytest.raises(InputError, match='not the key of this index'): write()
    with pytest.raises(InputError, match='may search but not write'): Owner(w.key.grant())
    half = type(w.key)(w.key.secret, other.signing)  # who may search, with a signature of his own
    with pytest.raises(InputError, match='did not sign'): User(half.grant(), w.cloud.answer(hello()))


# What a hostile user asks

def asked_with(request, header={}, **arrays):
    "A request with other values (... or None: left out)."
    m = read_message(request, 'search fetch file private')
    return sent_as(m.header['kind'], {k: v for k, v in (m.header | header).items() if k != 'kind' and v is not ...}, {k: v for k, v in (m.arrays | arrays).items() if v is not None})


MISSHAPEN = {'missing', 'none', 'deeper', 'number', 'int16', 'float64', 'bool', 'transposed', 'nan', 'infinite', 'much', 'negative', 'huge', 'shorter 1', 'shorter 2', 'doubled 1', 'doubled 2'}


def check_requests(cloud, request, name, misshapen=MISSHAPEN):
    "Every variant of an array is refused where its shape or range is wrong, and never ends in anything but a reply or an InputError."
    x, tried = read_message(request, 'search fetch private').arrays[name], set()
    for what, other in variants(x):
        if other is not None and other.shape == x.shape and other.dtype == x.dtype and other.tobytes() == x.tobytes(): continue
        try: assert type(cloud.answer(asked_with(request, **{name: other}))) is bytes
        except InputError: tried.add(what)
        else: assert what not in misshapen or what == 'transposed' and other.shape == x.shape, (name, what)
    return tried


@asking
def test_misshapen_requests(kind, worlds):
    "Arrays that are missing, of other types and shapes, out of range, no numbers at all."
    w = worlds(kind)
    request = w.user.query(crowded(8, 1, 16)[0]).request
    names = sorted(set(read_message(request, 'search').arrays) - {'token'})
    for name in names: assert check_requests(w.cloud, request, name, MISSHAPEN | ({'shorter 0', 'doubled 0'} if name != 'buckets' and kind not in WALKS else set())) >= {'missing', 'none', 'deeper', 'float64' if name != 'trapdoor' else 'nan'}
    with pytest.raises(InputError, match='token'): w.cloud.answer(asked_with(request, token=None))
    for arrays in ({name: None for name in names}, {name: np.zeros(0) for name in names}, {name: np.zeros((), np.int64) for name in names}):
        with pytest.raises(InputError): w.cloud.answer(asked_with(request, **arrays))


@asking
def test_largest_numbers(kind, worlds):
    "All bits set, or numbers beyond all tables."
    w = worlds(kind)
    request = w.user.query(crowded(8, 1, 16)[0]).request
    arrays = read_message(request, 'search').arrays
    if 'first' in arrays: wrong = [dict(first=np.full_like(arrays['first'], 255))]
    elif 'trapdoor' in arrays: wrong = [dict(trapdoor=arrays['trapdoor'] * 0 + x) for x in (np.nan, np.inf, 1e30, -1e300)] + [dict(trapdoor=arrays['trapdoor'].astype(np.float32))]
    else: wrong = [dict(buckets=np.array(x)) for x in ([-1], [w.cloud.manifest['buckets']], [0, 2 ** 62], [-2 ** 63], [2 ** 63 - 1], [[0]], [0.], [True])]
    for some in wrong:
        with pytest.raises(InputError): w.cloud.answer(asked_with(request, **some))


@asking
def test_headers_of_requests(kind, worlds):
    "Another version or index, and, where the cloud is told them, numbers of results and nodes that are none."
    w = worlds(kind)
    request, strange = w.user.query(crowded(8, 1, 16)[0]).request, (..., None, '', 'x', [], {}, 0, -1, 2 ** 70, 1.5, float('nan'), float('inf'))
    for field in ('version', 'index') + (('k', 'nodes', 'fill') if kind in MATRIX else ()):
        for value in strange:
            with pytest.raises(InputError): w.cloud.answer(asked_with(request, {field: value}))
    with pytest.raises(InputError, match='ask again'): w.cloud.answer(asked_with(request, dict(version=2)))
    with pytest.raises(InputError, match='another index'): w.cloud.answer(asked_with(request, dict(index='00' * 8)))


def test_the_sealed_lock_does_not_search(worlds):
    "A search under this lock is refused with the reason; so is a file that is none of the index."
    w, token = worlds('sealed'), np.zeros(16, np.uint8)
    header = {x: w.cloud.manifest[x] for x in ('index', 'version')}
    with pytest.raises(InputError, match='cannot search'): w.cloud.answer(message('search', dict(header, k=3), dict(token=token)))


def test_files_that_are_none(worlds):
    "Names of files that are not in the manifest, paths, and what is no name."
    w = worlds('sealed')
    header = {x: w.cloud.manifest[x] for x in ('index', 'version')}
    names = 'x', '', '../manifest.json', 'manifest.json', '/etc/passwd', None, 3, float('nan'), True, [], ['records.safetensors'], {}, {'a': 1}
    assert not other_errors((name, lambda: w.cloud.answer(message('file', dict(header, name=name), dict(token=np.zeros(16, np.uint8)))), True) for name in names)


@every
def test_misshapen_fetches(kind, worlds):
    "Photographs by ids that are none, and by private requests that are none."
    w = worlds(kind)
    request = w.user.fetch(w.cloud.ids[:2].tolist(), 'direct').request
    check_requests(w.cloud, request, 'ids', MISSHAPEN - {'none', 'missing'} | {'doubled 0'})  # no ids: no photographs
    if kind in MATRIX: return
    request = w.user.fetch(w.cloud.ids[:2].tolist(), 'private').request
    for name in ('seed', 'first'): check_requests(w.cloud, request, name)
    with pytest.raises(InputError, match='no ciphertext'): w.cloud.answer(asked_with(request, first=np.full_like(read_message(request, 'private').arrays['first'], 255)))
    for header in (dict(version=2), dict(version=None), dict(index='00' * 8)):
        with pytest.raises(InputError): w.cloud.answer(asked_with(request, header))


@every
def test_queries_that_are_none(kind, worlds):
    "The user's own mistakes: codes of other lengths, no results, no nodes."
    w, code = worlds(kind), np.zeros(2, np.uint8)
    for args in ((np.zeros(3, np.uint8),), (np.zeros((1, 2), np.uint8),), (np.zeros(0, np.uint8),), (code, 0), (code, -1), (code, 2 ** 60), (code, 1, 0), (code, 1, -3)):
        with pytest.raises(InputError): w.user.query(*args)


# Sizes, repeats, and what is done

@asking
def test_sizes_do_not_depend_on_the_query(kind, worlds):
    "Of requests and, but for the walk on ciphertexts, of replies: for different codes and for notes of a few letters; every conversation has one request."
    w = worlds(kind)
    codes = [np.zeros(2, np.uint8), np.full(2, 255, np.uint8), *crowded(7, 6, 16)]
    requests = [w.user.query(code, note=note).request for code in codes for note in ('', 'a', 'some/photograph.jpg')]
    assert len(set(map(len, requests))) == 1
    if kind not in MATRIX: assert len({len(again(w.cloud.answer(r), dict(ms=...))) for r in requests}) == 1
    shapes = [{k: (x.shape, x.dtype) for k, x in read_message(r, 'search').arrays.items()} for r in requests]
    assert all(shape == shapes[0] for shape in shapes)


@hiding
def test_the_number_of_results_is_not_visible(kind, worlds):
    "One result or fifty: requests of one size, with nothing about it in the header."
    w, code = worlds(kind), crowded(7, 1, 16)[0]
    requests = [w.user.query(code, k).request for k in (1, 9, 10, 50, 10 ** 6)]
    assert len(set(map(len, requests))) == 1
    for r in requests: assert read_message(r, 'search').header == dict(kind='search', index=w.cloud.manifest['index'], version=1)
    assert len({len(again(w.cloud.answer(r), dict(ms=...))) for r in requests}) == 1


def letters_told(monkeypatch):
    "A list of how much goes into every token"
    lengths, real = [], roles.power_of_two
    def noted(n, least):
        lengths.append(int(n))
        return real(n, least)
    monkeypatch.setattr(roles, 'power_of_two', noted)
    return lengths


@pytest.mark.parametrize('kind', ['encrypted', 'public', 'small buckets', 'decoys'])
def test_sizes_hold_where_a_token_is_nearly_full(kind, worlds, monkeypatch):
    "With a note that just fills the token of the shortest: if what is told takes more letters for one query than for another, the size of the request shows it."
    w = worlds(kind)
    queries, lengths = [np.zeros(2, np.uint8), np.full(2, 255, np.uint8), *crowded(7, 14, 16)], letters_told(monkeypatch)
    for code in queries: w.user.query(code)
    note = 'x' * ((1024 - min(lengths)) // 2)
    assert len({len(w.user.query(code, note=note).request) for code in queries}) == 1


@hiding
def test_the_number_of_results_is_not_visible_where_a_token_is_nearly_full(kind, worlds, monkeypatch):
    "The same for k: whatever the length of the note, one size for any number of results."
    w, code, lengths = worlds(kind), np.zeros(2, np.uint8), letters_told(monkeypatch)
    w.user.query(code, 1)
    for spare in (0, 1, 2):
        note = 'x' * ((1024 - lengths[0]) // 2 - spare)
        assert len({len(w.user.query(code, k, note=note).request) for k in (1, 50, 1000)}) == 1


@asking
def test_equal_queries_share_nothing(kind, worlds):
    "No row of one request comes again in another for the same code. Decoys excepted: there the buckets that are meant come again, as the lock's table says."
    w, code = worlds(kind), crowded(7, 1, 16)[0]
    sent = [read_message(w.user.query(code).request, 'search').arrays for _ in range(4)]
    for name in sent[0]:
        rows = [row.tobytes() for x in sent for row in (x[name].reshape(-1, x[name].shape[-1]) if x[name].ndim > 1 else x[name][None])]
        if name != 'buckets': assert len(set(rows)) == len(rows), name
        else:
            some = set(w.user.lock.chosen_buckets(w.user, code, 3))
            assert some <= set.intersection(*(set(x[name].tolist()) for x in sent)) and all(len(x[name]) == min(w.cloud.manifest['buckets'], len(some) * (1 + w.cloud.manifest['decoys'])) for x in sent)


def test_the_sealed_lock_sends_nothing_more(worlds):
    "After the boxes came, queries are answered at home; the first conversation is the same for every query but for its token."
    w = worlds('sealed')
    firsts = []
    for code in crowded(7, 3, 16):
        user = User(w.key.grant(), w.cloud.answer(hello()))
        session = user.query(code, 3, note='something')
        firsts.append([])
        while session.request is not None:
            firsts[-1].append(asked_with(session.request, token=None))
            session.receive(w.cloud.answer(session.request))
        assert all(user.query(other, k).request is None for other in crowded(9, 3, 16) for k in (1, 50))
    assert len(firsts[0]) and all(x == firsts[0] for x in firsts)


def watch(monkeypatch):
    "A list of all that the cloud computes: names of functions, and shapes and types of what they are given"
    said = []
    def shapes(args): return [(x.shape, str(x.dtype)) if isinstance(x, np.ndarray) else len(x) if isinstance(x, (list, tuple, dict)) else type(x).__name__ for x in args]
    def watched(place, name):
        name = name if hasattr(place, name) else f'_{name}'
        real = getattr(place, name)
        def call(*args):
            said.append((name.lstrip('_'), shapes(args)))
            return real(*args)
        monkeypatch.setattr(place, name, call)
    for name in ('sum_of_products', 'sum_of_multiples', 'random_polynomials', 'unpacked', 'packed'): watched(private_locks, name)
    for name in ('chosen', 'random_pairs', 'unpacked', 'packed'): watched(private_walk, name)
    for name in ('expanded', 'shortened', 'rows_at_points'): watched(RetrievalCloud, name)
    for name in [x for x, f in vars(private_locks.Ring).items() if inspect.isfunction(f) and x != '__init__']: watched(private_locks.Ring, name)
    return said


@hiding
def test_the_cloud_does_the_same_for_every_query(kind, worlds, monkeypatch):
    "The same functions with arrays of the same shapes, one after the other, whatever is asked for."
    w, done = worlds(kind), []
    queries = [w.user.query(code, k).request for code, k in ((np.zeros(2, np.uint8), 1), (np.full(2, 255, np.uint8), 50), (codes_of(kind)[0], 10))]
    w.cloud.answer(queries[0])  # what is made once
    said = watch(monkeypatch)
    for request in queries:
        said.clear()
        w.cloud.answer(request)
        done.append(list(said))
    assert all(x == done[0] for x in done)
    names = [name for name, _ in done[0]]
    if kind == 'small buckets': assert w.cloud.searcher.plan.levels > 1
    assert set(names) >= ({'sum_of_products' if kind == 'encrypted' else 'sum_of_multiples'} if kind in SCANS else {'chosen', 'expanded', 'shortened'})


def test_the_cloud_does_the_same_for_every_photograph(worlds, monkeypatch):
    "Private fetching under any lock: the first row, the last one, and the same one twice asked for."
    w, done = worlds('sealed'), []
    ids = w.cloud.ids.tolist()
    requests = [w.user.fetch(some, 'private').request for some in (ids[:2], ids[-2:], ids[:1] + ids[-1:])]
    assert len(set(map(len, requests))) == 1
    w.cloud.answer(requests[0])
    said = watch(monkeypatch)
    for request in requests:
        said.clear()
        reply = w.cloud.answer(request)
        done.append((list(said), len(reply)))
    assert all(x == done[0] for x in done) and 'chosen' in {name for name, _ in done[0][0]}


# What the tables say

@every
@pytest.mark.parametrize('photos', ['thumbs', 'full', 'none'])
def test_tables_of_leaks(kind, photos):
    "For every way to fetch: words that mean something, never less the later it is, nobody alone learning more than both together; attacks that there are."
    lock, options = KINDS[kind]
    worth = dict(no=0, part=1, own=2, all=3)
    refused = dict(fetch='private') if lock == 'random-matrix' else dict(fetch='strange')  # this lock has nothing to be fetched privately
    for fetch in {*FETCHES, 'none'} - {refused['fetch']}:
        rows = leakage(lock, photos, fetch, **options)
        assert len({r['what'] for r in rows}) == len(rows) >= 13 and roles.leakage_text(rows)
        for r in rows:
            assert set(r) == {'what', 'cloud', 'user', 'both', 'why', 'attacks'} and r['why'] and set(r['attacks']) <= set(ATTACKS)
            for party in ('cloud', 'user', 'both'): assert tuple(r[party]) == MOMENTS and set(r[party].values()) <= set(worth)
            for party in ('cloud', 'both'): assert [worth[x] for x in r[party].values()] == sorted(worth[x] for x in r[party].values()), (r['what'], party)
            assert all(worth[r['both'][m]] >= worth[r['cloud'][m]] for m in MOMENTS), r['what']
    for wrong in (dict(photos='some'), refused, dict(fetch='x'), dict(fetch=None), dict(strange=1), dict(form='x')):
        with pytest.raises(InputError, match='wanted|leave it out'): leakage(lock, **dict(photos=photos) | wrong)


COUNTED = {'how many photographs and bits', 'what came and went with which version', 'when somebody searches'}


@pytest.mark.parametrize('photos', ['thumbs', 'none'])
@pytest.mark.parametrize('kind', ['encrypted', 'sealed', 'walk', 'small buckets'])
def test_locks_that_hide_show_counts_and_times(kind, photos):
    "Before anything is fetched, and with private fetching always, the cloud learns of nothing else; a walk also shows how many buckets, and a private fetch how many photographs."
    lock, options = KINDS[kind]
    allowed = COUNTED | ({'how many buckets are fetched'} if kind in WALKS else set())
    for fetch in ('none', 'private', 'thumbnails', 'direct', 'decoys'):
        for r in leakage(lock, photos, fetch, **options):
            seen = {m for m, word in r['cloud'].items() if word != 'no'}
            shown = {'a fetch'} if fetch in ('direct', 'decoys') or fetch == 'private' and r['what'] == 'how many results are wanted' else set()  # one row for each that is fetched
            if r['what'] not in allowed: assert seen <= shown, (fetch, r['what'])
    assert 'fetched together' in {a for r in leakage(lock, photos, 'direct', **options) for a in r['attacks']}
    assert not {a for r in leakage(lock, photos, 'private', **options) for a in r['attacks']}


# Photographs

def with_photos(kind, folder, photos, n=14):
    "An index of small pictures, and what each file should be."
    rng, (lock, options) = np.random.default_rng(4), KINDS[kind]
    images = from_arrays(rng.integers(0, 256, (n, 12, 12, 3), np.uint8), None, 'picture')
    w = SimpleNamespace(kind=kind, folder=folder, key=OwnerKey.generate())
    w.made = Owner(w.key).create(folder, images, crowded(3, n, 16), b'encoder', photos=photos, lock=lock, **options)
    w.files = {int(i): (name, thumbnail(images[at]) if photos == 'thumbs' else images.reader(at) if photos == 'full' else None) for at, (i, name) in enumerate(zip(w.made.ids, images.names))}
    return entered(w)


@every
@pytest.mark.parametrize('photos', ['thumbs', 'none'])
def test_every_way_to_fetch(kind, photos, tmp_path):
    "The same (id, name, bytes), in the order that was asked for, before and after a change; ids and ways that there are not, and ids given twice, are refused."
    w = with_photos(kind, tmp_path / 'index', photos)
    ways = [how for how in FETCHES if how != 'private' or kind not in MATRIX]
    for _ in range(2):
        ids = w.cloud.ids.tolist()
        for some in ([], ids[:1], [ids[5], ids[-1], ids[2]]):
            for how in ways: assert talk(w.user.fetch(some, how), w.cloud) == [(i, *w.files[i]) for i in some], how
        gone = w.files.pop(ids[3])[0]
        Owner(w.key).remove(w.folder, [gone])
        entered(w)
    for how in FETCHES:
        for some in ([ids[3]], [-1], [10 ** 9], [ids[0], ids[0]]):
            with pytest.raises(InputError, match='no photographs'): w.user.fetch(some, how)
    for how in ('x', '', None, 3):
        with pytest.raises(InputError, match='wanted one of direct'): w.user.fetch(ids[:1], how)


@pytest.mark.parametrize('kind, photos', [('split', 'thumbs'), ('noisy', 'none'), ('sealed', 'full'), ('walk', 'full')])
def test_where_private_fetching_is_not_possible(kind, photos, tmp_path):
    "The user says so before anything is sent, and the cloud refuses too; the other ways go on."
    w, other = with_photos(kind, tmp_path / 'index', photos), with_photos('sealed', tmp_path / 'other', 'thumbs')
    i = w.cloud.ids[:1].tolist()
    with pytest.raises(InputError, match='private fetching wants'): w.user.fetch(i, 'private')
    with pytest.raises(InputError, match='fetch'): w.cloud.answer(asked_with(other.user.fetch(other.cloud.ids[:1].tolist(), 'private').request, {x: w.cloud.manifest[x] for x in ('index', 'version')}))
    for how in ('direct', 'decoys', 'thumbnails'): assert talk(w.user.fetch(i, how), w.cloud) == [(i[0], *w.files[i[0]])]


def test_decoys_of_a_fetch(tmp_path):
    "Nine others for each, rising, each once and all of the index, and not the same ones again; where there are too few, all."
    w = index_of('sealed', tmp_path / 'index', crowded(3, 60, 16))
    ids = w.cloud.ids.tolist()
    def sent(some): return read_message(w.user.fetch(some, 'decoys').request, 'fetch').arrays['ids'].tolist()
    for some in (ids[7:8], [ids[9], ids[0], ids[30]]):
        lists = [sent(some) for _ in range(4)]
        assert all(len(x) == 10 * len(some) and x == sorted(set(x)) and set(some) <= set(x) <= set(ids) for x in lists) and len(set(map(tuple, lists))) > 1
    assert sent(ids[:10]) == ids


@pytest.mark.parametrize('how', FETCHES)
@pytest.mark.parametrize('photos', ['thumbs', 'none'])
def test_fetched_files_that_are_others(how, photos, tmp_path_factory, worlds):
    "Every array and every field of a reply to a fetch, changed, cut, swapped, turned: refused, or exactly the right files."
    w = with_photos('sealed', tmp_path_factory.mktemp('fetch') / 'index', photos)
    ids = w.cloud.ids[[4, 1]].tolist()
    session, good = w.user.fetch(ids, how), [(i, *w.files[i]) for i in ids]
    reply, refused = w.cloud.answer(session.request), 0
    m, rng = read_message(reply, 'photos file'), np.random.default_rng(0)
    def check(other, what):
        found = taken(session, other)
        if how == 'thumbnails' and found is not None: found = talk(found, w.cloud) if not isinstance(found, list) else found
        assert found is None or found == good, what
        return found is None
    for name, x in m.arrays.items():
        for what, other in variants(x) if x.size else (): refused += check(again(reply, **{name: other}), (name, what))
        for _ in range(10 if x.size else 0):
            flat = np.frombuffer(x.tobytes(), np.uint8).copy()
            flat[rng.integers(len(flat))] ^= 1 << rng.integers(8)
            refused += check(again(reply, **{name: flat.view(x.dtype).reshape(x.shape)}), (name, 'one bit'))
    for field in set(m.header) - {'kind'}:
        for value in (..., None, '', 'x', [], {}, -1, 0, 2, 2 ** 70, 1.5, True, ['x', 'y'], [0, 0], [-1, -1], [2 ** 70, 2 ** 70], [1.5, 1.5], [None, None], [1, 2, 3]): refused += check(again(reply, {field: value}), (field, value))
    assert refused > 30
    if how != 'thumbnails':  # two rows of one cell, or the same fourteen among decoys, come in one reply
        theirs = w.cloud.answer(w.user.fetch(w.cloud.ids[[2, 3]].tolist(), how).request)
        assert taken(session, theirs) is None and (check(again(theirs, token=m.arrays['token']), 'another') or how != 'direct')
    assert not check(reply, 'as it came')


@pytest.mark.parametrize('how', ['direct', 'decoys', 'private'])
def test_old_files_in_place_of_new_ones(how, tmp_path):
    "The index of before answers a fetch of now, version and token put right: refused, for records are of one version."
    w = index_of('sealed', tmp_path / 'index', crowded(3, 14, 16))
    old, ids = w.cloud, w.cloud.ids[:2].tolist()
    Owner(w.key).add(w.folder, nothing_to_see(['new/1']), crowded(1, 1, 16))
    entered(w)
    session = w.user.fetch(ids, how) if how != 'decoys' else None
    while session is None or how == 'decoys' and 14 in read_message(session.request, 'fetch').arrays['ids']: session = w.user.fetch(ids[:1], how)
    reply = old.answer(asked_with(session.request, dict(version=1)))
    assert taken(session, reply) is None and taken(session, again(reply, dict(version=2))) is None and taken(session, w.cloud.answer(session.request))


# Attacks

MARGIN, D = .05, 32


@pytest.fixture(scope='module')
def attacked(tmp_path_factory):
    "300 clustered codes of 32 bits, and what a cloud saw of an index of theirs: of forty searches, four of them put twice."
    rng, home, kept = np.random.default_rng(0), tmp_path_factory.mktemp('attacks'), {}
    centres = rng.random((12, D)) < .5
    codes = pack(centres[rng.integers(0, 12, 300)] ^ (rng.random((300, D)) < .12))
    def staged(kind, fetch='none', queries=40):
        at = (kind, fetch, queries)
        folder = home / kind.replace(' ', '-')
        if kind not in kept: kept[kind] = index_of(kind, folder, codes, **dict(capacity=20) if kind == 'small buckets' else {})
        if at not in kept: kept[at] = stage(folder, kept[kind].key, queries=queries, fetch=fetch)
        return kept[at]
    return staged


def by_name(rows): return {r['attack']: r for r in rows}


def no_better_than_guessing(rows): return [r for r in rows if r['recovered'] is not None and r['low'] > r['guessing'] + MARGIN]


@pytest.mark.parametrize('kind', ['encrypted', 'sealed', 'small buckets'])
def test_attacks_on_locks_that_hide(kind, attacked):
    "Every attack on all that the cloud has before a fetch; some of them do come to a guess."
    rows = play(*attacked(kind), seconds=.3)
    assert not no_better_than_guessing(rows) and set(by_name(rows)) == set(ATTACKS)
    assert {r['attack'] for r in rows if r['recovered'] is not None} >= {'neighbours'}


def test_known_photographs_are_no_help(attacked):
    "On as many columns as there are known photographs for, so that the linear attack does come to a guess."
    seen, known, truth = attacked('sealed')
    for first in (0, 12 * 8, seen.table.shape[1] - 100):
        some = Seen(seen.table[:, first:first + 100], seen.leaves, seen.bits, 'sealed', ids=seen.ids)
        row = by_name(play(some, known, truth, ['known ciphertexts']))['known ciphertexts']
        assert row['recovered'] is not None and row['low'] <= row['guessing'] + MARGIN
    row = by_name(play(*attacked('encrypted'), ['known ciphertexts']))['known ciphertexts']
    assert row['recovered'] is not None and row['low'] <= row['guessing'] + MARGIN


def test_attacks_on_records_in_the_clear(attacked):
    "The twin of the sealed lock: the same records, not encrypted."
    seen, known, truth = attacked('sealed')
    bare = np.stack([np.frombuffer(bytes(12) + len(code).to_bytes(8, 'little') + code.tobytes() + f'{i:04}'.encode() + bytes(72), np.uint8)
                     for i, code in enumerate(np.packbits(truth.codes > 0, axis=1))])
    twin = Seen(private_locks.record_bits(SimpleNamespace(records=bare), D), seen.leaves, seen.bits, 'not sealed', ids=seen.ids)
    rows = by_name(play(twin, known, truth, ['known ciphertexts', 'neighbours']))
    assert rows['known ciphertexts']['low'] > .99 and rows['neighbours']['low'] > rows['neighbours']['guessing'] + .3


def test_attacks_on_columns_in_the_clear(attacked):
    "The twin of the homomorphic lock: the same arrangement without masks and errors, of the table (its public form) and of requests, with -d / 2 in a last column as attacks expect."
    def with_norm(seen, trapdoors): return Seen(np.c_[seen.table, np.full(seen.leaves, -D)], seen.leaves, D, trapdoors=np.c_[trapdoors, np.ones(len(trapdoors))], ids=seen.ids)
    names = ['known plaintext', 'known ciphertexts', 'exact distances', 'neighbours', 'repeated requests', 'fewer pairs']
    seen, known, truth = attacked('public')
    rows = by_name(play(with_norm(seen, np.repeat(truth.queries, 2, axis=1)), known, truth, names))
    assert all(rows[name]['recovered'] > .95 and rows[name]['low'] > rows[name]['guessing'] + MARGIN for name in names)
    half = Truth(truth.codes[:, :16])
    row = by_name(play(Seen(seen.table[:, :32], seen.leaves, 16, ids=seen.ids), Known(), half, ['sign iteration: columns'], seconds=3))['sign iteration: columns']
    assert row['low'] > .5
    seen, known, truth = attacked('encrypted')
    assert not no_better_than_guessing(play(with_norm(seen, seen.trapdoors), known, truth, names))


@pytest.mark.parametrize('kind', ['encrypted', 'small buckets'])
def test_requests_that_are_sent_again_are_known_again(kind, attacked):
    "A twin whose requests are always the same for a code gives repeats away; fresh ones do not."
    seen, known, truth = attacked(kind)
    twin, first = copy.copy(seen), [next(j for j in range(len(truth.queries)) if (truth.queries[j] == q).all()) for q in truth.queries]
    twin.table, twin.trapdoors = np.zeros((seen.leaves, 1)), seen.trapdoors[first]
    row = by_name(play(twin, known, truth, ['repeated requests']))['repeated requests']
    assert row['recovered'] == 1 and row['guessing'] < .95
    twin.trapdoors = seen.trapdoors
    row = by_name(play(twin, known, truth, ['repeated requests']))['repeated requests']
    assert row['low'] <= row['guessing'] + MARGIN


def test_decoys_are_seen_through(attacked):
    "The weak one of the locks: with some searches its attacks beat guessing, and nobody else's do."
    rows = by_name(play(*attacked('decoys', queries=400), ['intersection', 'siblings', 'known ciphertexts', 'neighbours'], seconds=.3))
    assert all(rows[name]['low'] > rows[name]['guessing'] + MARGIN for name in ('intersection', 'siblings'))
    assert not no_better_than_guessing([rows['known ciphertexts'], rows['neighbours']])


@every
def test_what_is_fetched_together(kind, attacked):
    "In the open it tells neighbours under all locks alike; where nothing is fetched there is nothing to work on."
    row = by_name(play(*attacked(kind, 'direct'), ['fetched together']))['fetched together']
    assert row['low'] > row['guessing'] + .1
    row = by_name(play(*attacked(kind), ['fetched together']))['fetched together']
    assert row['recovered'] is None and 'fetched together' in row['why']


@pytest.mark.parametrize('kind', ['encrypted', 'sealed', 'small buckets'])
def test_what_is_fetched_privately(kind, attacked):
    "The same stage with private fetching: the attack has nothing to work on."
    seen, known, truth = attacked(kind, 'private', queries=10)
    row = by_name(play(seen, known, truth, ['fetched together']))['fetched together']
    assert row['recovered'] is None


# Rows without the cloud learning which

retrieval = RetrievalKey(b'r' * 32)
expansion = retrieval.expansion()


@few(25)
@given(st.integers(1, 700), st.one_of(st.integers(1, 300), st.sampled_from([1, 2, CELL // 2, CELL - 1, CELL, CELL + 1, 3 * CELL])), st.integers(1, 3), seeds, st.booleans())
def test_rows_come_back(rows, size, m, seed, full):
    "Any table, any rows, the same one twice included: exactly those bytes; another key gives others."
    rng = np.random.default_rng(seed)
    rows = min(rows, 1 + 2 ** 20 // size)
    table = np.full((rows, size), 255, np.uint8) if full else rng.integers(0, 256, (rows, size), np.uint8)
    table[:, -1] |= 1  # for no polynomial to be zero in all cells: see below
    wanted = rng.integers(0, rows, m).tolist()
    request = ask_rows(retrieval, wanted, rows, size)
    reply = RetrievalCloud(expansion, table).answer(request)
    assert (open_rows(retrieval, reply, wanted, rows, size) == table[wanted]).all()
    if size >= 16: assert (open_rows(RetrievalKey(b's' * 32), reply, wanted, rows, size) != table[wanted]).any()


@pytest.mark.parametrize('rows, size, first', [(1, 1, 0), (3, 10, 0), (300, 20, 0), (600, 900, 0), (1, 3 * CELL, CELL), (4, 5000, 3000), (1, CELL + 1, CELL)])
def test_rows_of_zeros(rows, size, first):
    "Tables that hold nothing but zeros, or nothing else from some column on, are tables as well: a sealed row may end in them too."
    table = np.zeros((rows, size), np.uint8)
    table[:, :first] = 7
    reply = RetrievalCloud(expansion, table).answer(ask_rows(retrieval, [rows - 1], rows, size))
    assert (open_rows(retrieval, reply, [rows - 1], rows, size) == table[-1:]).all()


@few(200)
@given(st.integers(1, 10 ** 6), st.integers(1, 10 ** 5))
def test_layouts(rows, size):
    "All rows have a place, cells can be chosen with one request, and no polynomial is spared or left over."
    p = layout(rows, size)
    assert p.per * p.cells >= rows > p.per * (p.cells - 1) and p.cells <= 2 ** LEVELS and 2 ** p.levels >= p.cells > (2 ** p.levels) // 2 * (p.levels > 0)
    assert (p.chunks - 1) * CELL < p.per * size <= p.chunks * CELL


def test_layouts_that_are_none():
    for rows, size in ((0, 5), (5, 0), (-1, 5), (5, -1), (1.5, 5), (5, '5'), (None, 5), ([], 5)):
        with pytest.raises(InputError, match='wanted whole numbers'): layout(rows, size)


@pytest.mark.parametrize('wanted', [[], [-1], [10], [0, 10], [2 ** 62], [float('nan')]])
def test_rows_out_of_range(wanted):
    with pytest.raises(InputError, match='wanted one or more of 0 to 9'): ask_rows(retrieval, wanted, 10, 20)


@pytest.mark.parametrize('table', [np.zeros((0, 5), np.uint8), np.zeros((5, 0), np.uint8), np.zeros(5, np.uint8), np.zeros((5, 5)), np.zeros((5, 5), np.int8), np.zeros((1, 5, 5), np.uint8)])
def test_tables_that_are_none(table):
    with pytest.raises(InputError, match='wanted'): RetrievalCloud(expansion, table)


def test_replies_with_rows_that_do_not_fit():
    "Other shapes and types, and numbers beyond the modulus."
    table = np.random.default_rng(0).integers(0, 256, (10, 50), np.uint8)
    reply = RetrievalCloud(expansion, table).answer(ask_rows(retrieval, [3, 4], 10, 50))
    for wrong in (reply[:1], reply[:, :0], reply[:, :, :1], reply[..., :-1], reply[0], reply.astype(np.int16), reply.astype(bool), np.zeros(0, np.uint8)):
        with pytest.raises(InputError, match='wanted uint8'): open_rows(retrieval, wrong, [3, 4], 10, 50)
    with pytest.raises(InputError, match='no ciphertext'): open_rows(retrieval, np.full_like(reply, 255), [3, 4], 10, 50)
    assert (open_rows(retrieval, np.zeros_like(reply), [3, 4], 10, 50) == 0).all()  # nothing says that rows are true: that is what seals are for


@few(40)
@given(st.integers(0, 10 ** 9), st.integers(0, 7), st.booleans())
def test_damaged_keys_for_expanding(at, bit, early):
    "One bit anywhere: refused, or the cloud answers as if nothing were wrong, and the row is another or the same."
    wrong = expansion.copy()
    wrong[at % (300 if early else len(wrong))] ^= 1 << bit
    table = np.random.default_rng(0).integers(0, 256, (40, 900), np.uint8)
    try: reply = RetrievalCloud(wrong, table).answer(ask_rows(retrieval, [3], 40, 900))
    except InputError: return
    assert open_rows(retrieval, reply, [3], 40, 900).shape == (1, 900)


@pytest.mark.parametrize('keys', [expansion[:0], expansion[:1], expansion[:100], expansion[:-1], np.zeros_like(expansion), np.full(10_000, 255, np.uint8), expansion[::-1].copy(), np.zeros(0, np.float64)])
def test_keys_for_expanding_that_are_none(keys):
    with pytest.raises(InputError, match='no keys for expanding'): RetrievalCloud(keys, np.ones((3, 5), np.uint8))


# Choosing

@pytest.mark.parametrize('kind', ['split', 'encrypted', 'sealed', 'walk', 'decoys'])
def test_measuring_a_lock(kind):
    "Counts fit what is sent, scans miss nothing, and times are times."
    lock, options = KINDS[kind]
    codes = crowded(3, 60, 16)
    labels, queries = [f'{i % 4}' for i in range(60)], codes[:5]
    row = measure_lock(codes, labels, queries, labels[:5], lock, nodes=ALL, **options)
    assert (row['lock'], row['n'], row['d']) == (lock, 60, 16) and row['accuracy'].shape == row['recall_10'].shape == (5,)
    assert set(row['accuracy'].tolist()) <= {0., 1.} and (row['recall_10'] == 1).all() and row['stored'] > 60 * 16 and row['once'] > 1000
    assert 0 < row['user'] < 60 and 0 <= row['cloud'] < 60 and 0 < row['locking'] < 600
    assert row['up'] == row['down'] == row['cloud'] == 0 if kind == 'sealed' else row['up'] > 500 and row['down'] > 500
    text = choosing.table([row, row])
    assert text.count(lock) == 2 and len(text.splitlines()) == 4


def test_measuring_refuses():
    "Labels that are missing, no queries, no photographs, codes of other lengths, locks and options that there are not."
    codes, labels = crowded(3, 20, 16), ['a'] * 20
    good = dict(codes=codes, labels=labels, queries=codes[:2], query_labels=labels[:2], lock='sealed')
    wrong = (dict(labels=labels[:-1]), dict(query_labels=labels), dict(queries=codes[:0], query_labels=[]), dict(queries=codes[:2, :1]), dict(lock='x'), dict(form='split'), dict(k=0), dict(nodes=0),
             dict(lock='private-walk', capacity=0), dict(codes=codes[:0], labels=[]))
    assert not other_errors((list(x), lambda: measure_lock(**good | x), True) for x in wrong)


def test_choosing_a_lock():
    "One of those that hold, the download as long as it is small, and never again once there are more photographs or bits."
    for bits in (8, 64, 256):
        chosen = [choose_lock(n, bits) for n in (1, 100, 10 ** 4, 10 ** 5, 10 ** 6, 10 ** 7, 10 ** 9)]
        assert chosen[0] == 'sealed' and chosen[-1] == 'private-walk' and chosen == sorted(chosen, reverse=True) and set(chosen) <= set(LOCKS)
    assert [choose_lock(300_000, bits) for bits in (64, 1024)] == ['sealed', 'private-walk']


def test_choosing_a_lock_refuses():
    wrong = (0, 64), (-1, 64), (10, 0), (10, -8), ('x', 64), (10, 'x'), (None, 64), (10, None), (float('nan'), 64), (10, 1.5)
    assert not other_errors((x, lambda: choose_lock(*x), True) for x in wrong)


@pytest.mark.parametrize('lock, options, said', [
    ('x', {}, 'wanted one of random-matrix'), (None, {}, 'wanted one of'), (['sealed'], {}, 'wanted one of'), ('sealed', dict(form='split'), 'leave it out'), ('homomorphic', dict(rule='balanced'), 'leave it out'),
    ('random-matrix', dict(form='x'), 'wanted one of basic, split, noisy'), ('random-matrix', dict(rule='x'), 'wanted one of original'), ('random-matrix', dict(capacity=3), 'this lock has form, rule'),
    ('homomorphic', dict(form='x'), 'wanted one of encrypted, public'), ('homomorphic', dict(form=None), 'wanted one of encrypted'), ('private-walk', dict(decoys=3), 'leave it out'),
    *((lock, dict(capacity=x), 'photographs in a bucket, a whole number from 1') for lock in ('private-walk', 'decoy-walk') for x in (0, -1, 1.5, 'x', True, float('nan'), 2 ** 70)),
    *(('decoy-walk', dict(decoys=x), 'a whole number from 0') for x in (-1, 1.5, None, 'x', False, 0., float('inf')))])
def test_options_that_there_are_not(lock, options, said, tmp_path):
    "The refusal names what was given and what was wanted, and nothing is written; the table of leaks refuses alike."
    with pytest.raises(InputError, match=said): Owner(OwnerKey.generate()).create(tmp_path / 'index', nothing_to_see(['a']), np.zeros((1, 2), np.uint8), b'', photos='none', lock=lock, **options)
    with pytest.raises(InputError, match=said): leakage(lock, **options)
    assert not list(tmp_path.iterdir())


def test_more_bits_than_the_homomorphic_lock_takes(tmp_path):
    "264 bits are refused before anything stands in the folder; 256 are not."
    for form in ('encrypted', 'public'):
        with pytest.raises(InputError, match='at most 256'): index_of('encrypted', tmp_path / 'index', crowded(0, 3, 264), form=form)
        assert not (tmp_path / 'index').exists()


# A disk that is full

@pytest.mark.parametrize('kind', ['encrypted', 'sealed', 'small buckets', 'decoys'])
def test_a_full_disk(kind, tmp_path, monkeypatch):
    "At whatever write: the old index is as it was, or there is none, with nothing left over; with room again it goes through."
    key, codes, real = OwnerKey.generate(), crowded(3, 20, 16), roles.write_synced
    places = [m for m in (roles, private_locks, private_walk) if hasattr(m, 'write_synced')]
    folder = tmp_path / 'index'
    def state(): return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file() and p.name != '.lock'} if folder.exists() else None
    for job in (lambda: index_of(kind, folder, codes, key), lambda: Owner(key).add(folder, nothing_to_see(['new/1']), codes[:1])):
        before = state()
        for number in range(1, 30):
            count = [0]
            def full(path, data, *rest):
                count[0] += 1
                if count[0] != number: return real(path, data, *rest)
                real(path, data[:len(data) // 2], *rest)
                raise OSError(28, 'No space left on device', str(path))
            for place in places: monkeypatch.setattr(place, 'write_synced', full)
            try: job()
            except OSError as error: assert error.errno == 28
            for place in places: monkeypatch.setattr(place, 'write_synced', real)
            if count[0] < number: break
            assert state() == before
        assert number > 4 and state() != before
    w = entered(SimpleNamespace(kind=kind, folder=folder, key=key))
    assert plain(talk(w.user.query(codes[0], 99, ALL), w.cloud)) == nearest(w, codes[0], 99) and len(w.cloud.ids) == 21


def test_a_file_of_a_version_that_is_gone(tmp_path):
    "A cloud that has opened an old version says so when a file of it is asked for, and answers again after it has opened the new one."
    codes = np.random.default_rng(0).integers(0, 256, (30, 4), np.uint8)
    key = OwnerKey.generate()
    Owner(key).create(tmp_path/'index', nothing_to_see([f'{i}' for i in range(30)]), codes, b'-', photos='none', lock='sealed')
    cloud = Cloud(tmp_path/'index')
    asked = User(key.grant(), cloud.answer(hello())).query(codes[0]).request
    Owner(key).remove(tmp_path/'index', ['3'])
    with pytest.raises(InputError, match='gone'): cloud.answer(asked)
    new = Cloud(tmp_path/'index')
    s = User(key.grant(), new.answer(hello())).query(codes[0])
    while s.request is not None: s.receive(new.answer(s.request))
    assert s.result[0].id in new.ids and len(s.result) == 10


@pytest.mark.parametrize('lock', ['homomorphic', 'private-walk'])
def test_the_command_line_remembers_an_alarm(lock, tmp_path, monkeypatch):
    "After a forged reply nothing is asked under this key again, in a later process either; another key is not concerned; a damaged note counts as one."
    from tree_privacy import cli
    monkeypatch.setenv('TREE_PRIVACY_CACHE', str(tmp_path/'cache'))
    codes, key = np.random.default_rng(0).integers(0, 256, (40, 4), np.uint8), OwnerKey.generate()
    Owner(key).create(tmp_path/'index', nothing_to_see([f'{i}' for i in range(40)]), codes, b'-', photos='none', lock=lock)
    roles.save_key(key, tmp_path/'mine.key')
    cloud, user = cli.connect(tmp_path/'index', tmp_path/'mine.key')
    s = user.query(codes[0])
    honest = read_message(cloud.answer(s.request), 'found')
    forged = {name: np.roll(x, 53*35, axis=-1) if x.ndim > 1 else x for name, x in honest.arrays.items()}  # numbers of 53 or 35 bits, in another order
    with pytest.raises(roles.Forged): s.receive(message('found', honest.header, forged))
    for note in (None, b'\xff\xfe damaged'):
        if note: (tmp_path/'mine.key.alarm').write_bytes(note)
        with pytest.raises(InputError, match='forged'): cli.connect(tmp_path/'index', tmp_path/'mine.key')
    new = OwnerKey.generate()
    Owner(key).rotate(tmp_path/'index', new)
    roles.save_key(new, tmp_path/'new.key')
    cloud, user = cli.connect(tmp_path/'index', tmp_path/'new.key')
    s = user.query(codes[0])
    s.receive(cloud.answer(s.request))
    assert s.result[0].distance == 0
