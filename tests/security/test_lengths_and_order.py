"What lengths, numbers and order say: nothing about a query, a category or the order of the folder."
import re

import numpy as np
import pytest
from contract.lock_variants import ASKING, MATRIX, VARIANTS, WALKS, crowded
from made_once import made_once
from numbering import LIMIT, surprise
from parties import index_of, rewritten, ways
from pictures import Made
from secret_search import BITS, clustered

from security.albums import create, made, photo_boxes, unseen
from tree_privacy.client import owner
from tree_privacy.client.owner import Owner
from tree_privacy.images.photos import names_only
from tree_privacy.locks.exposure import Exposure, Fact
from tree_privacy.locks.leakage import leakage
from tree_privacy.store.photos import thumbnail
from tree_privacy.store.records import open_record
from tree_privacy.wire import read_message

every = pytest.mark.parametrize('variant', VARIANTS)


@pytest.fixture(scope='module')
def albums(tmp_path_factory):
    "One index of pictures for each variant, not to be changed."
    return made_once(made, tmp_path_factory.mktemp('albums'))


@every
def test_sealed_lengths_are_equal(variant, albums):
    "All records are equally long, and so are all thumbnails, whatever is in them."
    album = albums(variant)
    boxes = [box for pack in album.cloud.reader.packs for box in photo_boxes(pack)]
    assert album.cloud.reader.records.shape == (len(album.photos), album.manifest.record_size)
    assert len(boxes) == len(album.photos) and set(map(len, boxes)) == {album.manifest.photo_size + 36}
    assert len({len(name) for name in album.photos.names}) > 1
    assert len({len(thumbnail(album.photos[i])) for i in range(10)}) > 1


def kinds_of_requests(album, code, ids, k):
    "{kind of request: length of every one} of a search and of all fetches; what the cloud is told is part of the kind."
    album.heard.clear()
    user = album.enter().user
    album.talk(user.search(code, k))
    for how in ways(album.variant):
        album.talk(user.fetch(ids, how))
    lengths = {}
    for request, reply in zip(album.heard[::2], album.heard[1::2], strict=True):
        m = read_message(request)
        told = m.header.get('name'), len(m.arrays['ids']) if 'ids' in m.arrays else None
        lengths.setdefault((m.kind, *told), set()).add(len(request))
        hides = m.kind in ('rows', 'file') or m.kind == 'search' and album.variant not in MATRIX
        if hides:
            timeless = rewritten(reply, dict(ms=...))  # the digits of the time that the cloud took
            lengths.setdefault((m.kind, *told, 'reply'), set()).add(len(timeless))
    return lengths


@every
def test_all_requests_of_one_kind_have_one_length(variant, albums):
    """Of searches for any code, and of fetches of as many photographs, whichever they are; replies of locks that hide
    what is found have one length too. (How many results are wanted is in the header of random matrices alone.)"""
    album, rng = albums(variant), np.random.default_rng(0)
    codes = [np.zeros(BITS // 8, np.uint8), np.full(BITS // 8, 255, np.uint8), album.codes[3],
             rng.integers(0, 256, BITS // 8, np.uint8)]
    together = {}
    for i, code in enumerate(codes):
        ids = [i, 31 - i, 9 + i]
        k = 10 if variant in MATRIX else (1, 10, 31, 10 ** 6)[i]
        for kind, lengths in kinds_of_requests(album, code, ids, k).items():
            together.setdefault(kind, set()).update(lengths)
    searches = {'file'} if VARIANTS[variant][0] == 'sealed' else {'search'}
    assert {kind for kind, *_ in together} >= {'fetch', *searches}
    assert all(len(lengths) == 1 for lengths in together.values()), together


NOTES = '', 'a note', 'x' * 255, 'ü' * 127, 'a\udcff' * 100  # names of files have 255 bytes at most


@pytest.mark.parametrize('variant', ASKING)
def test_questions_with_notes_are_equally_long(variant, albums):
    "The length of a question in a file says nothing about the code or a note, which is the name of the photograph."
    album = albums(variant)
    lengths = {len(album.user.ask(code, note=note)) for code in album.codes[:4] for note in NOTES}
    assert len(lengths) == 1
    assert len({len(album.user.ask(album.codes[0], nodes=8, note=note)) for note in NOTES}) == 1


def sizes_of(world):
    "What a cloud sees of the length of everything: files of the newest version, and the public size of a record."
    m = world.enter().manifest
    old = re.compile(rf'-(?!{m.version:06})\d{{6}}-')
    files = {name: entry.bytes for name, entry in m.files.items() if not old.search(name)}
    return m.record_size, files


def named(variant, folder, first, added):
    "An index of forty codes, to which eight are added: sizes of both versions."
    codes = crowded(3, 48, 16)
    world = index_of(variant, folder, codes[:40], names=[f'{i:02}{name}' for i, name in enumerate(first)])
    before = sizes_of(world)
    names = names_only([f'{40 + i}{name}' for i, name in enumerate(added)])
    Owner(world.key).add(folder, names, codes[40:])
    return before, sizes_of(world)


@every
def test_no_size_tells_lengths_of_names(variant, tmp_path):
    "Short, long, equal and random names, in the first version and among those added: the same sizes up to 64 bytes."
    rng = np.random.default_rng(0)
    any_name = [''.join(rng.choice(list('abcdefghijkl/xyz '), rng.integers(1, 60))) + 'z' for _ in range(48)]
    kinds = dict(short=['a'] * 48, long=['x' * 62] * 48, any=any_name, wide=['ü' * 31] * 48)
    seen = {kind: named(variant, tmp_path / kind, names[:40], names[40:]) for kind, names in kinds.items()}
    if variant in MATRIX:  # the number of nodes of two trees may differ: the shape of the tree is no secret there
        seen = {kind: [(size, files['records']) for size, files in both] for kind, both in seen.items()}
    assert all(some == seen['short'] for some in seen.values()), seen


@pytest.mark.parametrize('variant', ['sealed', 'walk'])
def test_a_longer_name_shows_its_class_alone(variant, tmp_path):
    "Names of 65 to 128 bytes are alike: the class is all that is told, and the table of leaks tells of it."
    sizes = [named(variant, tmp_path / str(n), ['a'] * 40, ['x' * n] * 8)[1] for n in (60, 63, 126)]
    assert sizes[0] != sizes[1] == sizes[2] and sizes[1][0] - sizes[0][0] == 64
    row, = (leak for leak in leakage(VARIANTS[variant][0], photos='none') if leak.fact == Fact.LENGTHS)
    assert row.cloud == Exposure.SOME and 'longest name' in row.why


def test_full_photographs_are_padded_in_steps(tmp_path):
    "Whole photographs are padded to one of eight lengths per doubling, so that many lengths become few."
    rng = np.random.default_rng(1)
    files = [rng.bytes(1000 + 7 * i) for i in range(60)]
    photos = Made([f'{i:03}' for i in range(60)], None, None, lambda i: files[i])
    album = create('split', tmp_path / 'index', photos, rng.integers(0, 256, (60, 16), np.uint8), kept='full')
    lengths = {len(box) - 36 for pack in album.cloud.reader.packs for box in photo_boxes(pack)}
    assert lengths == {1024, 1152, 1280, 1408, 1536}


# Numbers and order

@pytest.mark.parametrize('in_order', [False, True])
def test_ids_say_nothing_about_categories(tmp_path, monkeypatch, in_order):
    """Ids look like random ones, and the same test notices a broken owner who numbers in the order of the folder.

    A sum over 80 indexes is close to normal: seven standard deviations have a chance of 3e-12; the skewness that is
    left in the sums (under 0.3) raises it to less than 1e-8, so that such sums fail by chance less than once in
    10 ** 7 runs. Numbers of nodes and buckets are in contract/test_lock_secrets."""
    if in_order:
        monkeypatch.setattr(owner, 'random_permutation', np.arange)
    rng, categories = np.random.default_rng(5), np.repeat(np.arange(4), 16)
    shown = []
    for i in range(80):
        album = unseen('basic', tmp_path / f'{i}', clustered(rng, 4, 16, 32))
        category = np.empty(len(categories), int)
        category[album.created.ids] = categories
        shown.append((dict(buckets=category), None))  # orders of buckets and of photographs: any permutation
    far = surprise(rng, 'buckets', shown)
    assert (far > LIMIT).any() if in_order else (far < LIMIT).all()


@every
def test_every_lock_draws_ids_at_random(variant, tmp_path):
    "Of two indexes of the same photographs no ids agree, but by chance; those that are added get new ones."
    codes = crowded(1, 40, 16)
    albums = [unseen(variant, tmp_path / name, codes) for name in 'ab']
    drawn = [album.created.ids.tolist() for album in albums]
    assert drawn[0] != drawn[1] and all(sorted(ids) == list(range(40)) != ids for ids in drawn)


@every
def test_files_are_in_the_order_of_ids(variant, albums):
    "Records and packs are stored by id, which is random: their order adds nothing."
    album, m = albums(variant), albums(variant).manifest
    reader = album.cloud.reader
    assert all((np.diff(pack.ids) > 0).all() for pack in reader.packs)
    assert reader.ids.tolist() == list(range(len(album.photos)))
    sealer = album.user.access.sealer
    opened = [open_record(sealer, m.version, m.bits, int(id), box)
              for id, box in zip(reader.ids, reader.records, strict=True)]
    order = np.argsort(album.created.ids)
    assert [name for _, name in opened] == [album.photos.names[i] for i in order]
    assert (np.stack([code for code, _ in opened]) == album.codes[order]).all()
    assert (album.created.ids != np.arange(len(album.photos))).any()


def test_walks_have_several_buckets(albums):
    "So that there is something to tell apart."
    assert all(albums(variant).manifest.fields['buckets'] > 7 for variant in WALKS)
