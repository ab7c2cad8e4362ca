"Fetching in four ways: the right photographs, and whatever else a cloud sends is refused."
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from contract.lock_variants import VARIANTS, crowded
from parties import (
    Altered,
    Asking,
    codes_of,
    index_of,
    nearest,
    pairs,
    rewrite_file,
    rewritten,
    taken,
    variants,
    ways,
    with_photos,
)

from tree_privacy.client import fetching
from tree_privacy.client.fetching import FETCHES, FileCache
from tree_privacy.client.owner import Owner
from tree_privacy.client.transport import run
from tree_privacy.client.trust import TrustStore
from tree_privacy.cloud.service import CloudService
from tree_privacy.core import ForgedReply, FormatError, InputError, RevokedError, SealError, SecurityError
from tree_privacy.images.photos import names_only
from tree_privacy.wire import read_message

every = pytest.mark.parametrize('variant', VARIANTS)


@pytest.fixture(scope='module')
def thumbs(tmp_path_factory):
    "A sealed index of fourteen pictures with thumbnails; not to be changed."
    return with_photos('sealed', tmp_path_factory.mktemp('thumbs') / 'index', 'thumbs')


@pytest.fixture(scope='module')
def names(tmp_path_factory):
    "The same without pictures."
    return with_photos('sealed', tmp_path_factory.mktemp('names') / 'index', 'none')


# The user's own mistakes

@pytest.mark.parametrize('how', FETCHES)
def test_ids_that_are_none(how, thumbs):
    "Text, fractions, truths and no list at all are refused, and not taken for numbers."
    for ids in ('12', ['1'], [1.7], np.array([1.2]), [True], [float('nan')], [None], [[1]], None, 5, [1, 1], [99], [-1],
                [2 ** 70]):
        with pytest.raises(InputError, match='no photographs'):
            thumbs.user.fetch(ids, how)
    assert thumbs.fetch([], 'direct') == [] and len(thumbs.fetch(np.array([1, 2]), 'direct')) == 2


def test_records_of_a_reply_that_are_numbers(thumbs):
    "Each would have been taken for that many zeros."
    line = Altered(thumbs.cloud, lambda reply: rewritten(reply, records=np.full(2, 2 ** 40)))
    with pytest.raises(SealError):
        run(thumbs.user.fetch([1, 2], 'direct'), line)


# The four ways

@every
@pytest.mark.parametrize('photos', ['thumbs', 'none'])
def test_every_way_to_fetch(variant, photos, tmp_path):
    """The same (id, name, bytes), in the order that was asked for, before and after a change; ids and ways that there
    are not, and ids given twice, are refused."""
    w = with_photos(variant, tmp_path / 'index', photos)
    for _ in range(2):
        ids = w.ids
        for some in ([], ids[:1], [ids[5], ids[-1], ids[2]]):
            for how in ways(variant):
                assert w.fetch(some, how) == [(i, *w.files[i]) for i in some], how
                assert w.fetch(some, how, photos=False) == [(i, w.files[i][0], None) for i in some], how
        gone = w.files.pop(ids[3])[0]
        Owner(w.key).remove(w.folder, [gone])
        w.enter()
    for how in FETCHES:
        for some in ([ids[3]], [-1], [10 ** 9], [ids[0], ids[0]]):
            with pytest.raises(InputError, match='no photographs'):
                w.user.fetch(some, how)
    for how in ('x', '', None, 3, ['direct']):
        with pytest.raises(InputError, match='wanted one of direct'):
            w.user.fetch(ids[:1], how)


@pytest.mark.parametrize('variant, photos', [('split', 'thumbs'), ('noisy', 'none'), ('sealed', 'full'),
                                             ('walk', 'full')])
def test_where_private_fetching_is_not_possible(variant, photos, thumbs, tmp_path):
    "The user says so before anything is sent, and the cloud refuses too; the other ways go on."
    w = with_photos(variant, tmp_path / 'index', photos)
    i, place = w.ids[:1], dict(index=w.manifest.index, version=w.manifest.version)
    with pytest.raises(InputError, match='private fetching wants'):
        w.user.fetch(i, 'private')
    request = next(thumbs.user.fetch(thumbs.ids[:1], 'private'))
    with pytest.raises(InputError, match='fetch'):
        w.cloud.handle(rewritten(request, place))
    for how in ('direct', 'decoys', 'thumbnails'):
        assert w.fetch(i, how) == [(i[0], *w.files[i[0]])]


def test_whole_files(tmp_path):
    "Files as they were, of any length, in all ways but the private one; their names can be fetched privately."
    w = with_photos('sealed', tmp_path / 'index', 'full')
    for how in ('direct', 'decoys', 'thumbnails'):
        assert w.fetch(w.ids[3:6], how) == [(i, *w.files[i]) for i in w.ids[3:6]]
    assert w.fetch(w.ids[3:6], 'private', photos=False) == [(i, w.files[i][0], None) for i in w.ids[3:6]]


def test_decoys_of_a_fetch(tmp_path):
    "Nine others for each, rising, each once and all of the index, and not the same ones again; where too few, all."
    w = index_of('sealed', tmp_path / 'index', crowded(3, 60, 16))
    ids = w.ids

    def sent(some):
        [request] = w.sent(w.user.fetch(some, 'decoys'))
        return request.arrays['ids'].tolist()

    for some in (ids[7:8], [ids[9], ids[0], ids[30]]):
        lists = [sent(some) for _ in range(4)]
        assert len(set(map(tuple, lists))) > 1
        for one in lists:
            assert len(one) == 10 * len(some) and one == sorted(set(one)) and set(some) <= set(one) <= set(ids)
    assert sent(ids[:10]) == ids


def test_many_photographs_are_fetched_in_several_requests(tmp_path):
    "A hundred ids a direct request, a thousand with decoys, thirty-two rows: no request is refused by the cloud."
    n = 1300
    w = index_of('sealed', tmp_path / 'index', crowded(3, n, 16), names=[f'{i:04}' for i in range(n)])
    ids, name = w.ids, dict(zip(w.made.ids.tolist(), (f'{i:04}' for i in range(n)), strict=True))
    wanted = (('direct', ids[:230], 'ids', [100, 100, 30]), ('decoys', ids[:120], 'ids', [1000, 200]),
              ('private', ids[:33], 'c0', [32, 1]))
    for how, some, array, sizes in wanted:
        w.line.exchanges.clear()
        assert w.fetch(some, how) == [(i, name[i], None) for i in some]
        assert [len(read_message(x.request).arrays[array]) for x in w.line.exchanges] == sizes


def test_too_much_to_fetch_privately(thumbs, monkeypatch):
    "What would send too much is refused before anything is sent; the limit is a quarter of a gigabyte."
    assert fetching._MOST_BYTES == 2 ** 28
    monkeypatch.setattr(fetching, '_MOST_BYTES', 2 ** 18)
    thumbs.user.fetch(thumbs.ids[:1], 'private')
    with pytest.raises(InputError, match='fetching 14 of 14 privately would send .* MB: fetch fewer'):
        thumbs.user.fetch(thumbs.ids, 'private')


def test_thumbnails_are_fetched_once(thumbs, tmp_path):
    "Who has fetched everything asks for nothing more, in later sessions either."
    cache = FileCache(tmp_path / 'kept')
    user = thumbs.new_user(cache=cache)
    assert len(thumbs.sent(user.fetch(thumbs.ids[:1], 'thumbnails'))) == 2
    for one in (user, thumbs.new_user(cache=FileCache(tmp_path / 'kept'))):
        assert not thumbs.sent(one.fetch(thumbs.ids, 'thumbnails'))
        assert thumbs.fetch(thumbs.ids, 'thumbnails', user=one) == [(i, *thumbs.files[i]) for i in thumbs.ids]
    for file in (tmp_path / 'kept').iterdir():
        file.write_bytes(b'damaged')
    user = thumbs.new_user(cache=FileCache(tmp_path / 'kept'))
    assert len(thumbs.sent(user.fetch(thumbs.ids[:1], 'thumbnails'))) == 2


# What a hostile cloud sends

STRANGE = (..., None, '', 'x', [], {}, -1, 0, 2, 2 ** 70, 1.5, True, ['x', 'y'], [0, 0], [-1, -1], [2 ** 70, 2 ** 70],
           [1.5, 1.5], [None, None], [1, 2, 3])


@pytest.mark.parametrize('how', FETCHES)
@pytest.mark.parametrize('photos', ['thumbs', 'none'])
def test_fetched_files_that_are_others(how, photos, thumbs, names):
    "Every array and field of a reply to a fetch, changed, cut, swapped, turned: refused, or exactly the right files."
    w, rng = thumbs if photos == 'thumbs' else names, np.random.default_rng(0)
    ids = [w.ids[4], w.ids[1]]
    good, refused = [(i, *w.files[i]) for i in ids], 0

    def check(what, alter):
        "The first reply is changed, and those after it are true."
        done = []

        def once(reply):
            done.append(reply)
            return alter(reply) if len(done) == 1 else reply

        found = taken(w.new_user().fetch(ids, how), Altered(w.cloud, once))
        assert found is None or [(one.id, one.name, one.data) for one in found] == good, what
        return found is None

    w.line.exchanges.clear()
    run(w.new_user().fetch(ids, how), w.line)
    m = read_message(w.line.exchanges[0].reply)
    for name, x in m.arrays.items():
        for what in [what for what, _ in variants(x)] if x.size and name != 'token' else ():
            refused += check((name, what), lambda reply, n=name, k=what: rewritten(reply, **{n: _variant(reply, n, k)}))
        for _ in range(6 if x.size else 0):
            at, bit = rng.random(), 1 << rng.integers(8)
            flip = partial(_flip, name=name, at=at, bit=bit)
            refused += check((name, 'one bit'), lambda reply, n=name, f=flip: rewritten(reply, **{n: f(reply)}))
    for field in m.header:
        for value in STRANGE:
            refused += check((field, value), lambda reply, f=field, v=value: rewritten(reply, {f: v}))
    assert refused > 20 and not check('as it came', lambda reply: reply)


def _variant(reply, name, what):
    return dict(variants(read_message(reply).arrays[name]))[what]


def _flip(reply, name, at, bit):
    x = read_message(reply).arrays[name]
    flat = np.frombuffer(x.tobytes(), np.uint8).copy()
    flat[int(at * len(flat))] ^= bit
    return flat.view(x.dtype).reshape(x.shape)


@pytest.mark.parametrize('how', ['direct', 'decoys', 'private'])
def test_old_files_in_place_of_new_ones(how, tmp_path):
    "The index of before answers a fetch of now, version and token put right: refused, for records are of one version."
    w = index_of('sealed', tmp_path / 'index', crowded(3, 14, 16))
    old, ids = w.cloud, w.ids[:1]
    Owner(w.key).add(w.folder, names_only(['new/1']), crowded(1, 1, 16))
    w.enter()

    def before(request):
        m = read_message(request)
        known = {'ids': m.arrays['ids'][m.arrays['ids'] < 14]} if 'ids' in m.arrays else {}
        return rewritten(request, dict(version=1), **known)

    for alter in (lambda reply: reply, lambda reply: rewritten(reply, dict(version=2))):
        transport = Altered(SimpleNamespace(handle=lambda request: old.handle(before(request))), alter)
        assert taken(w.new_user().fetch(ids, how), transport) is None
    assert w.fetch(ids, how)


def test_photographs_that_change_places(thumbs):
    "Boxes, records, ids or versions in another order are found; nothing is silently missing."
    w = thumbs
    ids = w.ids[4:6]

    def fetched(header=None, **changes):
        def alter(reply):
            arrays = read_message(reply).arrays
            return rewritten(reply, header, **{name: change(arrays[name]) for name, change in changes.items()})
        return run(w.user.fetch(ids, 'direct'), Altered(w.cloud, alter))

    def halves(a):
        return np.concatenate(np.split(a, 2)[::-1])

    assert [one.id for one in fetched()] == ids
    for change in (dict(boxes=halves), dict(records=halves), dict(boxes=halves, records=halves)):
        with pytest.raises(SealError):
            fetched(**change)
    with pytest.raises(SealError):
        fetched(dict(versions=[2, 1]))
    with pytest.raises(FormatError, match='other photographs'):
        fetched(ids=halves)
    size = w.manifest.photo_size + 36
    for header in (dict(lengths=[0, 0]), dict(lengths=[size], versions=[1]), dict(lengths=[], versions=[])):
        with pytest.raises((FormatError, SealError)):
            fetched(header)
    with pytest.raises(FormatError, match='leaves out'):
        fetched(records=lambda a: a[:1])


def swap(name):
    "Two neighbours in each other's place, as a change of a file."
    def change(arrays):
        if name != 'records':
            boxes = arrays['boxes'].reshape(len(arrays['ids']), -1).copy()
            boxes[[4, 5]] = boxes[[5, 4]]
            return dict(boxes=boxes.ravel())
        records = arrays['records'].copy()
        records[[4, 5]] = records[[5, 4]]
        return dict(records=records)
    return change


@pytest.mark.parametrize('variant, how', [('split', 'direct'), ('sealed', 'direct'), ('sealed', 'private'),
                                          ('walk', 'decoys')])
@pytest.mark.parametrize('name', ['records', 'photos-000001-000000000'])
def test_swapped_files_with_fitting_checksums(tmp_path, name, variant, how):
    """A cloud that swaps two boxes on its disk, and shows users the owner's own manifest, is found when the box is
    opened; a private fetch ends the use of the key then."""
    w = with_photos(variant, tmp_path / 'index', 'thumbs')
    rewrite_file(w.folder, name, swap(name))
    cheat, trust = CloudService(w.folder), TrustStore()
    user = w.new_user(trust=trust)
    with pytest.raises(ForgedReply if how == 'private' else SealError):
        run(user.fetch(w.ids[4:6], how), Altered(cheat, lambda reply: reply))
    if how == 'private':
        with pytest.raises(RevokedError, match='forged'):
            trust.check_alarm(w.manifest.index)
    if name == 'records' and variant == 'split':
        with pytest.raises(SecurityError):
            run(w.new_user().search(codes_of(variant)[3], 14, 40), Altered(cheat, lambda reply: reply))
    if how != 'decoys':
        assert len(run(w.new_user().fetch(w.ids[6:8], how), Altered(cheat, lambda reply: reply))) == 2


def test_a_forged_private_fetch_ends_the_use_of_the_key(thumbs):
    "Under any lock; a reply that was cut short does not."
    w, trust = thumbs, TrustStore()
    user = w.new_user(trust=trust)
    with pytest.raises(FormatError):
        run(user.fetch(w.ids[:2], 'private'), Altered(w.cloud, lambda reply: reply[:-1]))
    for wrong in (lambda cells: cells[:1], lambda cells: cells.astype(np.int16), lambda cells: cells[None]):
        with pytest.raises(FormatError):
            run(user.fetch(w.ids[:2], 'private'),
                Altered(w.cloud, lambda reply, f=wrong: rewritten(reply, cells=f(read_message(reply).arrays['cells']))))
    assert len(w.fetch(w.ids[:2], 'private', user=user)) == 2
    with pytest.raises(ForgedReply) as error:
        run(user.fetch(w.ids[:2], 'private'),
            Altered(w.cloud, lambda reply: rewritten(reply, cells=read_message(reply).arrays['cells'][::-1].copy())))
    assert error.value.key_is_exposed
    for ask in (lambda: w.fetch(w.ids[:2], 'private', user=user), lambda: w.search(np.zeros(2, np.uint8), user=user)):
        with pytest.raises(RevokedError, match='forged'):
            ask()


@pytest.mark.parametrize('how', FETCHES)
def test_an_alarm_stops_every_fetch(how, thumbs):
    "Once the use of the key has ended, nothing at all is fetched under it."
    trust = TrustStore()
    user = thumbs.new_user(trust=trust)
    conversation = user.fetch(thumbs.ids[:1], how)
    trust.raise_alarm(thumbs.manifest.index, 'a reply of this cloud was forged')
    thumbs.line.exchanges.clear()
    for asking in (conversation, user.fetch(thumbs.ids[:1], how)):
        with pytest.raises(RevokedError, match='forged'):
            run(asking, thumbs.line)
    assert not thumbs.line.exchanges


def test_requests_say_nothing_of_what_is_wanted(thumbs):
    "Private requests for as many photographs have one size, and share no row with one another."
    ids = thumbs.ids
    requests = [next(thumbs.user.fetch(some, 'private')) for some in (ids[:2], ids[-2:], [ids[0], ids[-1]])]
    assert len(set(map(len, requests))) == 1
    rows = [row.tobytes() for request in requests for row in read_message(request).arrays['c0']]
    assert len(set(rows)) == len(rows)


def test_a_search_and_a_fetch_share_files(tmp_path):
    "Under the sealed lock a user with a kept folder searches and fetches with nothing sent at all."
    w = with_photos('sealed', tmp_path / 'index', 'thumbs')
    kept = tmp_path / 'kept'
    user = w.new_user(cache=FileCache(kept))
    w.search(np.zeros(2, np.uint8), user=user)
    w.fetch(w.ids, 'thumbnails', user=user)
    again = w.new_user(cache=FileCache(kept))
    w.line.exchanges.clear()
    assert pairs(w.search(np.zeros(2, np.uint8), user=again)) == nearest(w, np.zeros(2, np.uint8), 10)
    assert w.fetch(w.ids[:3], 'thumbnails', user=again) and not w.line.exchanges


def test_requests_that_are_changed_on_their_way(thumbs):
    "More photographs, fewer, or others than were asked for: the reply is refused."
    for ids in ([0, 1, 2], [0], [1, 0], [5, 6]):
        transport = Asking(thumbs.cloud, lambda request, i=ids: rewritten(request, ids=np.array(i)))
        with pytest.raises(FormatError, match='other photographs'):
            run(thumbs.user.fetch([0, 1], 'direct'), transport)

