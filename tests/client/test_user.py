"Users under every lock: the right results by bytes alone; what is forged, old, damaged or another's is refused."
import json
import shutil

import numpy as np
import pytest
from contract.lock_variants import ASKING, EVERYTHING, HIDING, MATRIX, VARIANTS, crowded, some_queries
from made_once import made_once
from parties import Altered, codes_of, exposes_key, index_of, nearest, pairs, rewritten, taken, variants

from tree_privacy.client.fetching import FileCache
from tree_privacy.client.owner import Owner
from tree_privacy.client.transport import Local, Recorded, run
from tree_privacy.client.trust import TrustStore
from tree_privacy.client.user import User, describe_request, greet, read_reply
from tree_privacy.cloud.service import CloudService
from tree_privacy.core import (
    AccessError,
    ForgedReply,
    FormatError,
    InputError,
    RevokedError,
    RollbackError,
    SealError,
    SecurityError,
    SignatureError,
    TreePrivacyError,
)
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.images.photos import names_only
from tree_privacy.locks.sealed import SealedClient
from tree_privacy.store.manifest import Manifest
from tree_privacy.wire import read_message, write_message

ONE_EACH = ['split', 'encrypted', 'walk', 'decoys']  # of the locks that ask; others are in contract/test_locks
every, asking, one_each = (pytest.mark.parametrize('variant', some) for some in (VARIANTS, ASKING, ONE_EACH))


@pytest.fixture(scope='module')
def worlds(tmp_path_factory):
    "One index for each variant, of codes of 16 bits, not to be changed."
    home = tmp_path_factory.mktemp('users')
    return made_once(lambda variant, folder: index_of(variant, folder, codes_of(variant)), home)


# The same results as in the clear

@every
def test_results(variant, worlds):
    "Everything that there is, in order, by bytes alone; more results and nodes than there are give what there are."
    w = worlds(variant)
    if variant == 'small buckets':
        hits = w.search(codes_of(variant)[3], 5, 12)
        assert hits[0].distance == 0 and pairs(hits) <= nearest(w, codes_of(variant)[3], EVERYTHING)
        return
    for query in some_queries(5, codes_of(variant)):
        for k in (99, EVERYTHING) if variant == 'noisy' else (1, 7, 99, EVERYTHING):  # noise spoils the order of a few
            assert pairs(w.search(query, k, EVERYTHING)) == nearest(w, query, k)
    assert all(type(x.request) is type(x.reply) is bytes for x in w.line.exchanges)


@every
def test_what_is_said_of_a_search(variant, worlds):
    "Visits where the cloud has a tree, and the time that it says it took."
    w = worlds(variant)
    found = run(w.new_user().search(codes_of(variant)[3], 3), w.line)
    assert (found.visits is not None and found.visits > 0) == (variant in MATRIX) and found.cloud_ms >= 0
    assert w.user.encoder_bytes() == b'encoder' and repr(w.user).startswith(f'User({w.key.id}, index ')


# Questions in files

@asking
def test_a_reply_is_read_later_with_the_key_alone(variant, worlds):
    "What came back is a file like any other: with the key it gives the same results and the note; else nothing."
    w, code = worlds(variant), codes_of(variant)[0]
    for note in ('', 'übermorgen/bild.png', 'x' * 255, 'a name that is no text \udcff'):
        reply = w.cloud.handle(w.user.ask(code, 7, note=note))
        for trust in (TrustStore(), w.user.access.trust):
            results, said = read_reply(w.key.grant(), reply, trust)
            assert said == note and results.cloud_ms >= 0 and results.hits
            assert variant == 'noisy' or pairs(results.hits) == pairs(w.search(code, 7))
        assert w.user.read(reply)[0].hits == results.hits
        with pytest.raises(SecurityError, match='cannot be opened'):
            read_reply(OwnerKey.generate().grant(), reply, TrustStore())


@one_each
def test_questions_in_files_have_one_length(variant, worlds):
    "Whatever the code, the note and, but where the cloud is told it, the number of results."
    w = worlds(variant)
    codes = [np.zeros(2, np.uint8), np.full(2, 255, np.uint8), *crowded(7, 3, 16)]
    asked = [w.user.ask(code, k, note=note) for code in codes for k in (1, 9) for note in ('', 'x' * 255)]
    assert len(set(map(len, asked))) == 1
    tokens = {read_message(request).arrays['token'].tobytes() for request in asked}
    assert {len(token) for token in tokens} == {4096} and len(tokens) == len(asked)
    if variant not in MATRIX:
        assert len({len(rewritten(w.cloud.handle(r), dict(ms=...))) for r in asked}) == 1


def test_a_question_that_is_too_large_for_a_file(worlds):
    "A note that does not fit is refused before anything is written."
    with pytest.raises(InputError, match='token of .* bytes, and .* is the most'):
        worlds('split').user.ask(np.zeros(2, np.uint8), note=np.random.default_rng(0).bytes(4000).hex())


def test_there_is_nothing_to_ask_under_the_sealed_lock(worlds):
    with pytest.raises(InputError, match='looks for himself'):
        worlds('sealed').user.ask(np.zeros(2, np.uint8))


@one_each
def test_damaged_replies_in_files(variant, worlds):
    "Tokens that were changed, cut short, left out, or of another reply; an index that is none; other messages."
    w, code = worlds(variant), codes_of(variant)[0]
    reply = w.cloud.handle(w.user.ask(code, 3))
    token = read_message(reply).arrays['token']
    for at in (0, 7, 8, 15, 16, 30, 2000, 4095):
        wrong = token.copy()
        wrong[at] ^= 1
        with pytest.raises(TreePrivacyError):
            read_reply(w.key, rewritten(reply, token=wrong), TrustStore())
    for wrong in (None, token[:0], token[:-1], token[:20], token[::-1].copy(), token.astype(np.float64)):
        with pytest.raises(TreePrivacyError):
            read_reply(w.key, rewritten(reply, token=wrong), TrustStore())
    for index in (None, ..., '', 'x', '00' * 8, 7, [], 'zz' * 8, '00' * 9):
        with pytest.raises(TreePrivacyError):
            read_reply(w.key, rewritten(reply, dict(index=index)), TrustStore())
    for wrong in (b'', reply[:-1], w.greeting, w.user.ask(code)):
        with pytest.raises(FormatError):
            read_reply(w.key, wrong, TrustStore())
    assert read_reply(w.key, reply, TrustStore())[0].hits


def test_old_replies_in_files(tmp_path):
    "A reply from before a version that was seen is refused; alarms are heeded and raised; the store says which."
    w, trust = index_of('encrypted', tmp_path / 'index', crowded(1, 9, 16)), TrustStore(tmp_path / 'trust')
    reply = w.cloud.handle(w.new_user(trust=trust).ask(np.zeros(2, np.uint8)))
    read_reply(w.key, reply, trust)
    Owner(w.key).remove(w.folder, ['0/000'])
    w.enter().new_user(trust=trust)
    with pytest.raises(RollbackError, match='version 1 of the index, and version 2 was seen since: ask again'):
        read_reply(w.key, reply, trust)
    new = w.cloud.handle(w.user.ask(np.zeros(2, np.uint8)))
    forged = rewritten(new, scores=np.roll(read_message(new).arrays['scores'], 53, axis=-1))
    with pytest.raises(ForgedReply):
        read_reply(w.key, forged, trust)
    for refused in (lambda: read_reply(w.key, new, trust), lambda: w.new_user(trust=trust)):
        with pytest.raises(RevokedError, match='forged'):
            refused()
    assert read_reply(w.key, new, TrustStore())[0].hits


def test_tokens_never_repeat(worlds):
    "The same question 300 times: other numbers, nonces and boxes; and other tokens in conversations."
    w = worlds('split')
    tokens = [read_message(w.user.ask(np.zeros(2, np.uint8))).arrays['token'].tobytes() for _ in range(300)]
    for part in (slice(0, 8), slice(16, 28), slice(28, None)):
        assert len({token[part] for token in tokens}) == 300
    asked = [read_message(next(w.user.search(np.zeros(2, np.uint8)))).arrays['token'].tobytes() for _ in range(300)]
    fetched = [read_message(next(w.user.fetch([0], 'direct'))).arrays['token'].tobytes() for _ in range(300)]
    assert len({*asked, *fetched}) == 600


# Coming and going

@every
def test_adding_and_removing(variant, tmp_path):
    "Results stay right from version to version; a user, a request and an index of before are refused."
    codes, extra = crowded(1, 20, 16), crowded(2, 9, 16)
    w, trust = index_of(variant, tmp_path / 'index', codes), TrustStore()
    old, query, owner = w.new_user(trust=trust), extra[0], Owner(w.key)
    request = next(w.user.search(query))
    shutil.copytree(w.folder, tmp_path / 'old')
    changes = (lambda: owner.add(w.folder, names_only(f'new/{i}' for i in range(9)), extra),
               lambda: owner.remove(w.folder, ['0/000', '2/017', 'new/3']),
               lambda: owner.remove(w.folder, [f'{i % 3}/{i:03}' for i in range(1, 17)]))
    for version, change in enumerate(changes, 2):
        change()
        w.enter()
        assert w.manifest.version == version
        for q in some_queries(version, extra):
            assert pairs(w.search(q, 99, EVERYTHING)) == nearest(w, q, 99)
        with pytest.raises(InputError, match='ask again'):
            w.cloud.handle(request)
        with pytest.raises(InputError, match='ask again'):
            run(old.search(query), w.line)
    assert len(nearest(w, query, 99)) == 10
    back = Local(CloudService(tmp_path / 'old'))
    assert User.connect(w.key.grant(), back, trust).manifest.version == 1
    w.new_user(trust=trust)
    for refused in (lambda: User.connect(w.key.grant(), back, trust), lambda: run(old.search(query), back)):
        with pytest.raises(RollbackError, match='put an old one back'):
            refused()


def test_a_fork_is_refused(tmp_path):
    "The owner's key on two machines writes two versions 2: who saw one of them refuses the other, signed or not."
    w, trust = index_of('sealed', tmp_path / 'index', crowded(1, 9, 16)), TrustStore()
    shutil.copytree(w.folder, tmp_path / 'other')
    Owner(w.key).remove(w.folder, ['0/000'])
    Owner(w.key).remove(tmp_path / 'other', ['1/001'])
    first, second = (Local(CloudService(place)) for place in (w.folder, tmp_path / 'other'))
    user = User.connect(w.key.grant(), first, trust)
    assert user.manifest.version == 2
    with pytest.raises(RollbackError, match='another version 2'):
        User.connect(w.key.grant(), second, trust)
    assert User.connect(w.key.grant(), second).manifest.version == 2  # who has seen nothing cannot know


def boxes_of(manifest):
    return {name: entry for name, entry in manifest.files.items() if name.startswith('codes-')}


def test_sealed_boxes_are_fetched_once(tmp_path, monkeypatch):
    "Boxes that lost nothing stay the same files; who keeps files fetches only new ones, each once."
    monkeypatch.setattr(SealedClient, 'box_size', 8)
    w, kept, query = index_of('sealed', tmp_path / 'index', crowded(1, 40, 16)), tmp_path / 'kept', crowded(5, 1, 16)[0]

    def fetched():
        "The files that a user with the folder asks for; a second search asks for none."
        w.enter()
        user = w.new_user(cache=FileCache(kept))
        names = [m.header['name'] for m in w.sent(user.search(query, 99))]
        assert pairs(w.search(query, 99, user=user)) == nearest(w, query, 99) and not w.sent(user.search(query))
        return sorted(names)

    before = boxes_of(w.manifest)
    assert len(before) == 5 and fetched() == sorted(before) and not fetched()
    owner = Owner(w.key)
    for change in (lambda: owner.add(w.folder, names_only(['new/1']), crowded(2, 1, 16)),
                   lambda: owner.remove(w.folder, ['0/003']),
                   lambda: owner.add(w.folder, names_only(['new/2', 'new/3']), crowded(3, 2, 16))):
        before = boxes_of(w.manifest)
        change()
        new = boxes_of(w.enter().manifest)
        added, stayed = set(new) - set(before), set(new) & set(before)
        assert 1 <= len(added) <= 2 < len(stayed) and all(new[name] == before[name] for name in stayed)
        assert fetched() == sorted(added) and not fetched()


def test_kept_files_that_are_damaged_are_fetched_again(tmp_path):
    "Also where the folder is a file: then nothing is kept, which is no error."
    w, query = index_of('sealed', tmp_path / 'index', crowded(1, 20, 16)), crowded(9, 1, 16)[0]
    for kept in (tmp_path / 'kept', tmp_path / 'a file'):
        if kept.name == 'a file':
            kept.write_text('')
        for damage in (None, b'', b'x' * 99):
            if damage is not None and kept.is_dir():
                for file in kept.iterdir():
                    file.write_bytes(damage)
            user = w.new_user(cache=FileCache(kept))
            assert w.sent(user.search(query)) and pairs(w.search(query, user=user)) == nearest(w, query, 10)
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / 'kept').iterdir()} == {0o600}


def test_the_sealed_lock_sends_nothing_more(worlds):
    "After the boxes came, queries are answered at home; the first conversation is the same for every query."
    w, firsts = worlds('sealed'), []
    for code in crowded(7, 3, 16):
        user = w.new_user()
        w.sent(user.search(code, 3))
        firsts.append([rewritten(x.request, token=None) for x in w.line.exchanges])
        assert not any(w.sent(user.search(other, k)) for other in crowded(9, 3, 16) for k in (1, 50))
    assert len(firsts[0]) and all(x == firsts[0] for x in firsts)


@every
def test_rotating(variant, tmp_path):
    "Under another key: the old one is refused, the new one finds the same photographs; an old question fits no more."
    codes, new = crowded(1, 20, 16), OwnerKey.generate()
    w = index_of(variant, tmp_path / 'index', codes)
    request, before = next(w.user.search(codes[1])), w.search(codes[0], 99, EVERYTHING)
    now = Owner(w.key).open(w.folder).collection
    names = {name: code.tobytes() for name, code in zip(now.names, now.codes, strict=True)}
    Owner(w.key).rotate(w.folder, new)
    cloud = CloudService(w.folder)
    for refused in (lambda: User.connect(w.key.grant(), Local(cloud)), lambda: Owner(w.key).open(w.folder)):
        with pytest.raises(AccessError, match='not the key of this index'):
            refused()
    with pytest.raises(InputError, match='another index'):
        cloud.handle(request)
    w.key = new
    w.enter()
    found = w.search(codes[0], 99, EVERYTHING)
    assert [hit.distance for hit in found] == [hit.distance for hit in before]
    assert pairs(found) == nearest(w, codes[0], 99)
    now = Owner(new).open(w.folder).collection
    assert {name: code.tobytes() for name, code in zip(now.names, now.codes, strict=True)} == names


# What a hostile cloud answers

@asking
def test_a_forged_reply_ends_the_use_of_a_key(variant, worlds):
    """Under the locks whose refusals tell something of the key, nothing is asked any more, neither a search nor a
    fetch; a reply for another request, or one cut short on its way, is no alarm."""
    w, code = worlds(variant), codes_of(variant)[3]
    trust = TrustStore()
    user, i = w.new_user(trust=trust), w.ids[:1]
    arrays = read_message(w.cloud.handle(next(user.search(code)))).arrays
    name = next(x for x in ('records', 'scores', 'rows', 'cells') if x in arrays)
    stale = w.cloud.handle(next(user.search(code)))
    for harmless in (lambda reply: stale, lambda reply: reply[:-1], lambda reply: rewritten(reply, token=None)):
        with pytest.raises(FormatError):
            run(user.search(code), Altered(w.cloud, harmless))
    w.search(code, user=user)

    def forge(reply):
        return rewritten(reply, **{name: np.zeros_like(read_message(reply).arrays[name])})

    with pytest.raises(ForgedReply) as error:
        run(user.search(code), Altered(w.cloud, forge))
    assert error.value.key_is_exposed == exposes_key(variant)
    if exposes_key(variant):
        for ask in (lambda: w.search(code, user=user), lambda: user.ask(code), lambda: w.fetch(i, 'private', user=user),
                    lambda: w.new_user(trust=trust)):
            with pytest.raises(RevokedError, match='forged'):
                ask()
    else:
        assert w.search(code, user=user) and w.fetch(i, 'direct', user=user)


@pytest.mark.parametrize('variant', HIDING)
def test_no_request_goes_out_where_no_alarm_could_be_noted(variant, worlds, tmp_path, monkeypatch):
    "On a full disk nothing is sent; and where it fills up before the reply is opened, the reply stays closed."
    w, code = worlds(variant), codes_of(variant)[3]
    user, real = w.new_user(trust=TrustStore(tmp_path / 'trust')), CloudService.handle
    opened = []
    monkeypatch.setattr(type(user.client), '_decrypt', lambda *args: opened.append(args))

    def full(*args):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as m:
        m.setattr('os.fsync', full)
        w.line.exchanges.clear()
        for ask in (lambda: w.search(code, user=user), lambda: user.ask(code),
                    lambda: w.fetch(w.ids[:1], 'private', user=user)):
            with pytest.raises(SecurityError, match='cannot write'):
                ask()
        assert not w.line.exchanges
    with monkeypatch.context() as m:
        def filled(self, request):
            m.setattr('os.fsync', full)
            return real(self, request)
        m.setattr(CloudService, 'handle', filled)
        with pytest.raises(SecurityError, match='cannot write'):
            w.search(code, user=user)
    assert not opened


def answer_of_before(service, user, query):
    "The old version's reply to a question of the new one; where buckets are asked for, they must be there in both."
    for _ in range(200):
        request = rewritten(next(user.search(query)), dict(version=1))
        try:
            return service.handle(request)
        except FormatError:
            continue
    pytest.skip('every question names a bucket that the old version lacks')


@asking
def test_replies_for_something_else(variant, worlds, tmp_path):
    "For another request, from another index under the same key or another one, or of an old version: never taken."
    w, codes = worlds(variant), codes_of(variant)
    query, other = crowded(8, 2, 16)
    twin = index_of(variant, tmp_path / 'twin', codes, key=w.key)
    stranger = index_of(variant, tmp_path / 'stranger', codes)

    def instead(theirs, **header):
        "The reply of another cloud to another question, with the token of this one put in."
        return lambda reply: rewritten(theirs, header, token=read_message(reply).arrays['token'])

    for one in (w, twin, stranger):
        theirs = one.cloud.handle(next(one.user.search(other if one is w else query)))
        assert taken(w.new_user().search(query), Altered(w.cloud, lambda reply, theirs=theirs: theirs)) is None
        if one is not w:
            assert taken(w.new_user().search(query), Altered(w.cloud, instead(theirs))) is None
            assert taken(w.new_user().search(query), Altered(w.cloud, instead(theirs, index=w.manifest.index))) is None
    before = twin.cloud
    Owner(w.key).add(twin.folder, names_only(['new/1']), codes[:1])
    twin.enter()
    old = answer_of_before(before, twin.user, query)
    assert taken(twin.new_user().search(query), Altered(twin.cloud, instead(old))) is None or variant in MATRIX
    if variant in MATRIX:  # where the old index answers at all, records are of the old version
        with pytest.raises(SecurityError):
            run(twin.new_user().search(query), Altered(twin.cloud, instead(old)))
    assert w.search(query)


@one_each
def test_headers_of_replies_that_lie(variant, worlds):
    "Kinds, numbers and times that are none: refused, or the results are right."
    w, query = worlds(variant), crowded(8, 1, 16)[0]
    good = w.search(query, 4)
    strange = (..., None, '', 'x', '00' * 8, [], {}, -1, 0, 5, 2 ** 70, 1.5, float('inf'), True)
    for field in ('index', 'ms', 'visits', 'k', 'nodes', 'fill'):
        for value in strange:
            transport = Altered(w.cloud, lambda reply, change={field: value}: rewritten(reply, change))  # noqa: B006
            found = taken(w.new_user().search(query, 4), transport)
            assert found is None or found.hits == good, (field, value)
            if field == 'index':
                assert found is None
    for kind in ('photos', 'file', 'rows', 'index', 'search', ''):
        def other(reply, kind=kind):
            m = read_message(reply)
            return write_message(kind, m.header, m.arrays)
        assert taken(w.new_user().search(query, 4), Altered(w.cloud, other)) is None


@one_each
def test_replies_that_are_damaged_on_their_way(variant, worlds):
    "One bit changed, cut short, or nothing at all: a `FormatError`, and no alarm."
    w, query, rng = worlds(variant), crowded(8, 1, 16)[0], np.random.default_rng(0)
    user = w.new_user()
    for _ in range(12):
        at, bit = rng.random(), 1 << rng.integers(8)

        def flip(reply, at=at, bit=bit):
            raw = bytearray(reply)
            raw[int(at * len(raw))] ^= bit
            return bytes(raw)
        for damage in (flip, lambda reply, at=at: reply[:int(at * len(reply))]):
            with pytest.raises(FormatError):
                run(user.search(query, 4), Altered(w.cloud, damage))
    assert w.search(query, 4, user=user)


def test_a_sealed_file_that_is_another(tmp_path, monkeypatch):
    "One bit changed, an old version, another box, another index: compared with what the owner signed."
    monkeypatch.setattr(SealedClient, 'box_size', 8)
    w, code = index_of('sealed', tmp_path / 'index', crowded(1, 20, 16)), crowded(2, 1, 16)[0]
    other = index_of('sealed', tmp_path / 'other', crowded(1, 20, 16), key=w.key)
    names = sorted(boxes_of(w.manifest))
    data = np.frombuffer(w.cloud.reader.file_bytes(names[0]), np.uint8)
    files = [np.frombuffer(world.cloud.reader.file_bytes(name), np.uint8)
             for world in (w, other) for name in boxes_of(world.manifest)][1:]
    wrong = [*files, None, data[:0], data[:-1], data.astype(np.int16), np.append(data, data)]
    for at in range(0, len(data), 97):
        changed = data.copy()
        changed[at] ^= 1 << at % 8
        wrong.append(changed)
    for one in wrong:
        with pytest.raises(FormatError):
            run(w.new_user().search(code), Altered(w.cloud, lambda r, one=one: rewritten(r, data=one)))

    def reshaped(reply):  # the same bytes are the same file
        return rewritten(reply, data=read_message(reply).arrays['data'][None])
    assert pairs(run(w.new_user().search(code), Altered(w.cloud, reshaped)).hits) == nearest(w, code, 10)


# Greetings

@every
def test_greetings_with_other_files(variant, worlds, tmp_path):
    "What users are told is what the owner signed for this version: every change is refused, and a file too many."
    w = worlds(variant)
    files = read_message(w.greeting).arrays
    for name in ('encoder', 'client-data'):
        others = variants(files[name]) if name in files else [('extra', files['encoder'])]
        for what, other in others:
            if other is not None and other.tobytes() == files.get(name, np.zeros(0)).tobytes():
                continue
            with pytest.raises(FormatError, match='not the one that the owner signed'):
                User(w.key.grant(), rewritten(w.greeting, **{name: other})), what
    if 'client-data' not in files:
        return
    twin = index_of(variant, tmp_path / 'twin', codes_of(variant), key=w.key)
    theirs = read_message(twin.greeting).arrays['client-data']
    for wrong in ({'client-data': files['encoder'], 'encoder': files['client-data']}, {'client-data': theirs}):
        with pytest.raises(FormatError, match='not the one that the owner signed'):
            User(w.key.grant(), rewritten(w.greeting, **wrong))


@pytest.mark.parametrize('variant', ['encrypted', 'public', 'walk', 'decoys'])
def test_an_index_without_what_users_need(variant, tmp_path):
    "Signed by its owner, and without the data for users: refused with the package's own error."
    w = index_of(variant, tmp_path / 'index', crowded(3, 20, 16))
    files = {name: entry for name, entry in w.manifest.files.items() if name != 'client-data'}
    manifest = Manifest.from_json(json.loads(json.dumps(w.manifest.to_json() | dict(
        files={name: dict(bytes=entry.bytes, sha256=entry.sha256) for name, entry in files.items()}))), 'a test')
    greeting = rewritten(w.greeting, dict(manifest=manifest.signed_by(w.key).to_json()), **{'client-data': None})
    code = np.zeros(2, np.uint8)
    for ask in (lambda user: run(user.search(code), w.line), lambda user: user.ask(code)):
        with pytest.raises(FormatError):
            ask(User(w.key.grant(), greeting))


@pytest.mark.parametrize('header', [{}, dict(manifest={}), dict(manifest=5), dict(manifest=None), dict(manifest=[]),
                                    'whole'], ids=['nothing', 'empty', 'a number', 'null', 'a list', 'no files'])
def test_misshapen_greetings_are_refused_clearly(worlds, header):
    "A greeting without a manifest or without the encoder gives the package's own error."
    w = worlds('split')
    header = dict(manifest=w.manifest.to_json()) if header == 'whole' else header
    with pytest.raises(FormatError):
        User(w.key.grant(), write_message('index', header))
    for wrong in (b'', w.greeting[:-1], w.user.ask(np.zeros(2, np.uint8)), describe_request()):
        with pytest.raises(FormatError):
            User(w.key.grant(), wrong)


def test_only_the_owner_can_sign(worlds):
    "A manifest that was altered, or altered and signed with another key, is refused; so is one of a newer format."
    w = worlds('split')
    forger = OwnerKey(w.key.secret, OwnerKey.generate().signing)
    for change in (dict(version=9), dict(ids=[[1, 40]]), dict(record_size=9), dict(photos='thumbs'),
                   dict(key=OwnerKey.generate().id), dict(fields=w.manifest.fields | dict(leaves=1))):
        altered = Manifest.from_json(w.manifest.to_json() | change, 'a test')
        for manifest in (altered, altered.signed_by(forger)):
            with pytest.raises((SignatureError, AccessError), match='altered|not the key of this index'):
                User(w.key.grant(), rewritten(w.greeting, dict(manifest=manifest.to_json())))
    for signature in ('', 'zz', '00' * 64, None, 5):
        with pytest.raises((SignatureError, FormatError)):
            User(w.key.grant(), rewritten(w.greeting, dict(manifest=w.manifest.to_json() | dict(signature=signature))))
    for strange in (dict(format=99), dict(extra=1)):
        with pytest.raises(FormatError, match='format|damaged'):
            User(w.key.grant(), rewritten(w.greeting, dict(manifest=w.manifest.to_json() | strange)))
    half = OwnerKey(w.key.secret, OwnerKey.generate().signing)  # who may search, with a signature of his own
    with pytest.raises(SignatureError, match='did not sign'):
        User(half.grant(), w.greeting)


@every
def test_another_key_is_refused(variant, worlds):
    "Another owner's key does not enter; with its number forged as well, seals stay closed."
    w, other = worlds(variant), OwnerKey.generate()
    with pytest.raises(AccessError, match='not the key of this index'):
        User(other.grant(), w.greeting)
    manifest = Manifest.from_json(w.manifest.to_json() | dict(key=other.id), 'a test').signed_by(other)
    greeting = rewritten(w.greeting, dict(manifest=manifest.to_json()))
    with pytest.raises(TreePrivacyError):
        user = User(other.grant(), greeting)
        with pytest.raises(SealError):
            user.encoder_bytes()
        run(user.search(np.zeros(2, np.uint8)), w.line)


def test_old_replies_and_records_do_not_fit_a_new_version(tmp_path):
    "Records, tokens and files of version 1 are refused by a user of version 2."
    w, code = index_of('split', tmp_path / 'index', crowded(1, 20, 16)), crowded(1, 20, 16)[3]
    old, old_reply, old_request = w.cloud, w.cloud.handle(next(w.user.search(code))), next(w.user.search(code))
    Owner(w.key).remove(w.folder, ['0/000'])
    w.enter()
    with pytest.raises(FormatError, match='another request'):
        run(w.user.search(code), Altered(w.cloud, lambda reply: old_reply))
    with pytest.raises(InputError, match='version 1 of the index, which is now at 2'):
        w.cloud.handle(old_request)

    def old_records(reply):
        ids = read_message(reply).arrays['ids']
        return rewritten(reply, records=old.reader.records[np.searchsorted(old.reader.ids, ids)])
    with pytest.raises(ForgedReply):
        run(w.user.search(code), Altered(w.cloud, old_records))
    with pytest.raises(SealError):
        run(w.user.fetch(w.ids[:2], 'direct'), Altered(w.cloud, old_records))
    with pytest.raises(FormatError, match='changed'):
        run(w.user.fetch(w.ids[:2], 'direct'), Altered(w.cloud, lambda reply: rewritten(reply, dict(version=1))))
    encoder = read_message(old.handle(describe_request())).arrays['encoder']
    with pytest.raises(FormatError, match='owner signed'):
        User(w.key.grant(), rewritten(w.greeting, encoder=encoder))
    assert len(w.search(code)) == 10


# The user's own mistakes

@every
def test_queries_that_are_none(variant, worlds):
    "Codes of other lengths, no results, no nodes: refused at once, before anything is sent."
    w, code = worlds(variant), np.zeros(2, np.uint8)
    shapes = [(np.zeros(shape, np.uint8),) for shape in (3, (1, 2), 0)]
    shapes += [(other,) for other in ([300, 1], [-1, 0], np.array([256, 0]), np.array([1.7, 2.]), [True, False],
                                      ['1', '2'], [None, 1], 'ab', None, [2 ** 70, 1])]
    wrong_k = [(code, k) for k in (0, -1, 2 ** 60, 1.5, '3', True)]
    for args in (*shapes, *wrong_k, (code, 1, 0), (code, 1, -3), (code, 1, None)):
        with pytest.raises(InputError):
            w.user.search(*args)


def test_the_first_request_says_nothing(worlds):
    "It is the same for everybody."
    w = worlds('sealed')
    assert describe_request() == describe_request() and run(greet(), w.line) == w.greeting


def test_a_greeting_asks_for_what_is_not_kept(worlds, tmp_path):
    "The encoder is sent once; a damaged copy is sent again; what was kept is compared with the signature all the same."
    w, cache = worlds('walk'), tmp_path / 'cache'

    def sent():
        line = Recorded(w.line)
        user = User.connect(w.key.grant(), line, cache=FileCache(cache))
        assert user.encoder_bytes() == b'encoder'
        return [sorted(read_message(exchange.reply).arrays) for exchange in line.exchanges]

    assert sent() == [[], ['client-data', 'encoder']]
    assert sent() == [[]]
    kept = cache / w.manifest.files['encoder'].sha256
    kept.write_bytes(kept.read_bytes()[:-1] + b'x')
    assert sent() == [[], ['encoder']]
