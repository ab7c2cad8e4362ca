"Features: batches in order, flat memory, skipped pictures, and the cache that a stopped run goes on from."

import os
import random
import resource
import signal
import sqlite3
import tempfile
import threading
import time
import tracemalloc
import warnings
import weakref
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import Fake, child, ended
from pictures import Made, album, draw
from PIL import Image

from tree_privacy.core import InputError
from tree_privacy.images import features as features_module
from tree_privacy.images.features import concatenate_batches, feature_batches, features
from tree_privacy.images.photos import folder, from_arrays, select

forks = pytest.mark.skipif(not hasattr(os, 'fork'), reason='this test forks')


def noise(n, size=(8, 8), seed=0):
    "Pictures of noise, the same every time."
    return from_arrays(np.random.default_rng(seed).integers(0, 256, (n, *size, 3), dtype=np.uint8), None, 'noise')


@pytest.fixture(scope='module')
def many():
    "Three thousand tiny pictures and their features: three blocks of the cache, the last one not full."
    photos = noise(3000)
    return photos, features(photos, Fake())[0]


def file_in(place):
    "The one cache in a folder."
    (file,) = Path(place).glob('*.sqlite')
    return file


def rows(place):
    "{digest: number of the row} in the one cache of a folder, where there is one."
    for file in Path(place).glob('*.sqlite'):
        with closing(sqlite3.connect(file)) as db:
            if db.execute("select 1 from sqlite_master where name = 'features'").fetchone():
                return dict(db.execute('select picture, rowid from features'))
    return {}


# The stream


def test_processes_give_the_same():
    "Two processes that decode, or none: the same pictures, order, features and warnings."

    def broken(i, size):
        if i % 50 == 7:
            raise OSError('broken')
        return whole.open(i, size)

    whole = noise(300)
    photos, seen = Made(whole.names, None, broken, whole.read), []
    for processes in (0, 2):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            batches = feature_batches(photos, Fake(), np.arange(300)[::-1], processes=processes)
            numbers, found = concatenate_batches(photos, batches)
        seen.append((numbers.tolist(), found.tobytes(), [str(w.message) for w in said if w.category is UserWarning]))
    assert seen[0] == seen[1] and seen[0][0] == [i for i in range(299, -1, -1) if i % 50 != 7]
    assert len(seen[0][2]) == 6 and all('skipped noise-' in w and 'broken' in w for w in seen[0][2])


@pytest.mark.parametrize('cache', [False, True])
def test_the_stream_keeps_the_order_that_was_asked_for(cache, tmp_path):
    "Any numbers in any order, with a cache that knows some of them."
    photos, backbone = noise(60), Fake()
    known = features(photos, backbone)[0]
    features(select(photos, range(0, 60, 2)), backbone, cache and tmp_path)
    order = np.random.default_rng(0).permutation(60)[:40]
    batches = feature_batches(photos, backbone, order, cache and tmp_path)
    numbers, found = concatenate_batches(photos, batches)
    assert numbers.tolist() == order.tolist() and (found == known[order]).all()


def watched(alive):
    "A fake network that counts how many pictures in its size there are at a time, and waits a little."
    lock, now = threading.Lock(), [0]

    def gone(n):
        with lock:
            now[0] -= n

    def watch(pixels):
        with lock:
            now[0] += len(pixels)
            alive.append(now[0])
        weakref.finalize(pixels, gone, len(pixels))
        time.sleep(0.001)

    return Fake(watch)


@pytest.mark.parametrize('cache, processes', [(False, 0), (True, 0), (False, 2)])
def test_the_stream_holds_a_few_batches(cache, processes, monkeypatch, tmp_path):
    "However many pictures there are and however slow their taker is, few are in memory, and few are opened ahead."
    monkeypatch.setattr(os, 'cpu_count', lambda: 2)
    whole, opened, alive, taken = noise(2500), [0], [], 0

    def opener(i, size):
        opened[0] += 1
        return whole.open(i, size)

    for some, _ in feature_batches(
        Made(whole.names, None, opener, whole.read), watched(alive), None, cache and tmp_path, processes
    ):
        taken += len(some)
        if taken < 50:
            time.sleep(0.3)
        assert opened[0] - taken <= 6 * 16, 'pictures are opened far ahead'
    batch = 128 if processes else 16
    assert taken == 2500 and len(alive) >= 2500 // batch and max(alive) <= 6 * batch


@pytest.mark.parametrize('cache', [False, True])
def test_memory_does_not_grow_with_the_pictures(cache, monkeypatch, tmp_path):
    "At the most, a third of the memory that all pictures would take in their size is used, for whatever it be."
    monkeypatch.setattr(os, 'cpu_count', lambda: 2)
    backbone, squares = Fake(size=48), np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), dtype=np.uint8)
    photos = Made(range(2500), None, lambda i, size: Image.fromarray(squares[i % 4]), lambda i: b'%d' % i)
    list(feature_batches(photos, backbone, range(20)))  # what is loaded once is not counted
    tracemalloc.start()
    try:
        for _ in feature_batches(photos, backbone, None, cache and tmp_path):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2500 * 48 * 48 * 3 / 3


def test_a_stream_that_is_given_up_ends_its_work():
    "Whoever stops in the middle gets torch back as it was, and nothing goes on behind."
    threads, backbone = torch.get_num_threads(), Fake()
    some = feature_batches(noise(2000), backbone)
    next(some)
    some.close()
    done = len(backbone.calls)
    time.sleep(0.05)
    assert torch.get_num_threads() == threads and len(backbone.calls) == done < 2000 // 16


def test_errors_that_are_no_broken_picture_come_through():
    "A network that fails is an error, not a skipped picture."

    def fail(pixels):
        raise ZeroDivisionError('the network failed')

    for processes in (0, 2):
        with pytest.raises(ZeroDivisionError):
            list(feature_batches(noise(40), Fake(fail), processes=processes))


def test_nothing_that_can_be_read(tmp_path):
    (tmp_path / 'a.png').write_text('hello')
    for cache in (False, tmp_path / 'cache'):
        with (
            pytest.warns(UserWarning, match='skipped a.png'),
            pytest.raises(InputError, match='none of the 1 pictures'),
        ):
            features(folder(tmp_path), Fake(), cache)


@pytest.mark.parametrize('cache', [False, True])
def test_every_photograph_is_opened_once(cache, tmp_path):
    "Also where it is looked up in a cache; with a full cache none is opened."
    whole, opened = noise(40), []
    photos = Made(whole.names, None, lambda i, size: opened.append(i) or whole.open(i, size), whole.read)
    for _ in range(2):
        features(photos, Fake(), cache and tmp_path)
    assert sorted(opened) == (list(range(40)) if cache else sorted([*range(40), *range(40)]))


# Collections that change while they are read

CHANGES = {
    'gone': lambda photos: (photos / 'b/04.png').unlink(),
    'new': lambda photos: draw(photos / 'c/new.png', 99),
    'another file': lambda photos: draw(photos / 'b/04.png', 99, compress_level=0),
    'another file ': lambda photos: (photos / 'b/04.png').write_text('no picture'),
    'gone ': lambda photos: [p.unlink() for p in photos.rglob('*.png')],
}


@pytest.mark.filterwarnings('ignore:skipped')
@pytest.mark.parametrize('cache', [False, True])
@pytest.mark.parametrize('change', CHANGES)
def test_a_folder_that_changes_while_it_is_read(change, cache, tmp_path):
    "A photograph that goes, comes or is written anew is an error that says so, also where it was read already."
    photos = album(tmp_path / 'photos', 40)
    backbone = Fake(lambda pixels: len(backbone.calls) == 1 and CHANGES[change](photos))
    with pytest.raises(InputError, match=f'changed while it was read: .* is {change.strip()}'):
        features(folder(photos), backbone, cache and tmp_path / 'cache')


def test_what_is_no_photograph_may_come_and_go(tmp_path):
    "A hidden file, a text or a folder that appears is no change of the photographs."

    def change(pixels):
        (
            (photos / 'notes.txt').write_text('x'),
            (photos / '.hidden.png').write_text('x'),
            (photos / 'empty').mkdir(exist_ok=True),
        )

    photos = album(tmp_path / 'photos', 20)
    assert len(features(folder(photos), Fake(change))[0]) == 20


def test_a_change_while_reading_spoils_no_cache(tmp_path):
    "Pictures that are written anew just before they are decoded, and then put back, keep their own features."
    home = album(tmp_path / 'photos', 6)
    kept = {p: p.read_bytes() for p in home.rglob('*.png')}
    true = features(folder(home), Fake())[0]
    photos = folder(home)
    real = photos.open

    def late(i, size):
        draw(home / photos.names[i], 90 + i)
        return real(i, size)

    photos.open = late
    with pytest.raises(InputError, match='changed'):
        features(photos, Fake(), tmp_path / 'cache')
    for path, data in kept.items():
        path.write_bytes(data)
    assert (features(folder(home), Fake(), tmp_path / 'cache')[0] == true).all()


# The cache


def test_the_cache_knows_pictures_by_content(tmp_path):
    "Other names, another order and another collection find what is known; one other pixel does not."
    arrays = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    backbone, photos = Fake(), from_arrays(arrays, None, 'noise')
    first = features(photos, backbone, tmp_path)[0]
    again = features(from_arrays(arrays[::-1], None, 'other'), backbone, tmp_path)[0]
    assert (first == again[::-1]).all() and backbone.calls == [6] and len(rows(tmp_path)) == 6
    arrays[4, 0, 0, 0] ^= 1
    assert (features(photos, backbone, tmp_path)[0] == features(photos, Fake())[0]).all() and backbone.calls == [6, 1]
    assert len(rows(tmp_path)) == 7


def test_the_cache_of_a_folder_survives_moving_and_touching(tmp_path):
    photos, backbone = album(tmp_path / 'photos', 6), Fake()
    features(folder(photos), backbone, tmp_path / 'cache')
    photos.rename(tmp_path / 'moved')
    for p in (tmp_path / 'moved').rglob('*.png'):
        os.utime(p, (1, 1))
    features(folder(tmp_path / 'moved'), backbone, tmp_path / 'cache')
    assert backbone.calls == [6]


def test_equal_pictures_are_stored_once(tmp_path):
    backbone = Fake()
    found = [features(select(noise(2), [0, 0, 1, 0]), backbone, tmp_path) for _ in range(2)]
    assert (
        all((f[[0, 0, 2, 0]] == f).all() and k.tolist() == [0, 1, 2, 3] for f, k in found) and len(rows(tmp_path)) == 2
    )


def test_other_networks_and_other_sizes_have_other_caches(tmp_path):
    "Nor does one weight go unnoticed: features of one network are never taken for those of another."
    other = Fake()
    other.module.bias.data[1] += 1e-6
    for backbone in (Fake(), Fake(size=9), Fake(), other, other):
        assert (features(noise(3), backbone, tmp_path)[0] == features(noise(3), Fake(size=backbone.size))[0]).all()
    assert other.calls == [3] and len(list(tmp_path.iterdir())) == 3


@pytest.mark.skipif(os.name != 'posix', reason='modes of POSIX')
def test_the_cache_is_for_its_owner_alone(tmp_path):
    "Features tell a lot about photographs: nobody else may read them."
    features(noise(2), Fake(), tmp_path / 'a/cache')
    assert (tmp_path / 'a/cache').stat().st_mode & 0o77 == 0 and file_in(
        tmp_path / 'a/cache'
    ).stat().st_mode & 0o77 == 0


def test_where_the_cache_lies(tmp_path, monkeypatch):
    "In the folder that is named, else in that of the environment, else in the home; without one, nowhere."
    monkeypatch.setenv('HOME', str(tmp_path / 'home')), monkeypatch.setenv('TREE_PRIVACY_CACHE', str(tmp_path / 'env'))

    def run(cache):
        features(noise(1), Fake(), cache)
        return {p.parent.relative_to(tmp_path).as_posix() for p in tmp_path.rglob('*') if p.is_file()}

    assert run(False) == set() and run(tmp_path / 'named') == {'named'} and run(True) == {'named', 'env'}
    monkeypatch.delenv('TREE_PRIVACY_CACHE')
    assert run(True) == {'named', 'env', 'home/.cache/tree_privacy'}


def test_what_cannot_be_read_is_not_stored(tmp_path):
    "A file that is broken today is tried again tomorrow."
    photos = album(tmp_path / 'photos', 3)
    (photos / 'a/broken.png').write_bytes((photos / 'a/00.png').read_bytes()[:50])
    with pytest.warns(UserWarning, match='skipped a/broken.png'):
        found, kept = features(folder(photos), Fake(), tmp_path / 'cache')
    assert len(found) == 3 == len(rows(tmp_path / 'cache')) and kept.tolist() == [0, 2, 3]
    with pytest.warns(UserWarning, match='skipped a/broken.png'):
        assert len(features(folder(photos), Fake(), tmp_path / 'cache')[0]) == 3


@forks
@pytest.mark.parametrize('after', [100, 1024 + 100, 2048 + 900])
def test_a_killed_run_goes_on(after, many, tmp_path):
    "After SIGKILL, what was stored is whole; the second run computes only what is missing, the third nothing."
    photos, true = many

    def work():
        backbone = Fake(lambda pixels: sum(backbone.calls) >= after and os.kill(os.getpid(), signal.SIGKILL))
        features(photos, backbone, tmp_path)

    assert ended(child(work)) == -signal.SIGKILL
    stored, backbone = rows(tmp_path), Fake()
    assert len(stored) == after // 1024 * 1024
    assert (features(photos, backbone, tmp_path)[0] == true).all() and sum(backbone.calls) == 3000 - len(stored)
    now = rows(tmp_path)
    assert len(now) == 3000 and {k: now[k] for k in stored} == stored
    assert (features(photos, backbone, tmp_path)[0] == true).all() and sum(backbone.calls) == 3000 - len(stored)


@forks
def test_kills_at_any_moment(many, tmp_path):
    "SIGKILL again and again, also while the database is written: nothing that was stored is lost or wrong."
    photos, true = many
    dice, seen, codes = random.Random(), [0], []
    for _ in range(10):
        pid = child(lambda: features(photos, Fake(), tmp_path))
        time.sleep(dice.uniform(0, 0.4))
        os.kill(pid, signal.SIGKILL)
        codes.append(ended(pid))
        seen.append(len(rows(tmp_path)))
    backbone = Fake()
    assert (features(photos, backbone, tmp_path)[0] == true).all()
    assert seen == sorted(seen) and sum(backbone.calls) == 3000 - seen[-1]
    assert -signal.SIGKILL in codes and set(codes) <= {0, -signal.SIGKILL}


@forks
def test_processes_share_a_cache(tmp_path):
    "Four processes begin a cache at once: each gets the right features without a warning, stored once."
    photos = noise(1500, seed=1)
    true = features(photos, Fake())[0]
    for attempt in range(2):
        wait, go = os.pipe()
        place = tmp_path / str(attempt)

        def work(wait=wait, go=go, place=place):
            os.close(go), os.read(wait, 1)
            warnings.simplefilter('error')
            assert (features(photos, Fake(), place)[0] == true).all()

        running = [child(work) for _ in range(4)]
        os.close(wait), os.close(go)
        assert [ended(pid) for pid in running] == [0] * 4
        assert len(rows(place)) == 1500


def unusual(file, how):
    "Put something else in the place of a cache."
    data = file.read_bytes()
    if how == 'noise':
        file.write_bytes(np.random.default_rng(0).bytes(len(data)))
    elif how == 'cut':
        file.write_bytes(data[: len(data) // 2])
    elif how == 'cut in a page':
        file.write_bytes(data[: len(data) - 1000])
    elif how == 'header':
        file.write_bytes(b'X' + data[1:])
    elif how == 'pages':
        file.write_bytes(data[:4096] + bytes(len(data) - 4096))
    elif how == 'text':
        file.write_text('hello')
    elif how == 'a folder':
        file.unlink(), file.mkdir()
    elif how == 'a link to nowhere':
        file.unlink(), file.symlink_to('missing/nowhere')
    else:
        with closing(sqlite3.connect(file)) as db:
            db.executescript(SQL[how])


SQL = {
    'other columns': 'drop table features; create table features (a, b)',
    'a view': 'drop table features; create view features as select 1 as picture, 2 as value',
    'no values': 'update features set value = null',
    'numbers': 'update features set value = 3',
    'text for values': "update features set value = 'x'",
    'short values': 'update features set value = substr(value, 5)',
    'long values': "update features set value = value || x'00000000'",
    'other keys': 'update features set picture = upper(hex(picture))',
}


@pytest.mark.parametrize(
    'how', ['noise', 'cut', 'cut in a page', 'header', 'pages', 'text', 'a folder', 'a link to nowhere', *SQL]
)
def test_a_damaged_cache_is_no_error(how, tmp_path):
    "Whatever lies where the cache should be: right features, and a warning where it is no cache at all."
    photos, true = noise(300), features(noise(300), Fake())[0]
    features(photos, Fake(), tmp_path)
    unusual(file_in(tmp_path), how)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        assert (features(photos, Fake(), tmp_path)[0] == true).all()
    said = {str(w.message) for w in said if w.category is UserWarning}
    assert said or how not in ('noise', 'header', 'text', 'a folder', 'a link to nowhere', 'other columns', 'a view')
    assert all('the feature cache cannot be used' in s and 'going on without it' in s for s in said)


def test_no_flipped_bit_of_the_cache_changes_a_feature(tmp_path):
    "Damage on the disk must not give a photograph the code of another one: features are right, or computed anew."
    photos, dice, wrong = noise(20), random.Random(0), []
    true = features(photos, Fake(), tmp_path)[0]
    file = file_in(tmp_path)
    good = file.read_bytes()
    used = [i for i, byte in enumerate(good) if byte]
    for i in dice.sample(used, 60):
        file.write_bytes(good[:i] + bytes([good[i] ^ 1 << dice.randrange(8)]) + good[i + 1 :])
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                if not (features(photos, Fake(), tmp_path)[0] == true).all():
                    wrong.append('other features')
            except Exception as error:
                wrong.append(f'{type(error).__name__}: {error}')
    assert not wrong, f'{len(wrong)} of 60 flipped bits were not noticed: {set(wrong)}'


def as_nobody():
    "Give up the rights of root, where there are any."
    if os.geteuid() == 0:
        os.setgroups([]), os.setgid(65534), os.setuid(65534)


@forks
@pytest.mark.skipif(os.name != 'posix', reason='modes of POSIX')
@pytest.mark.parametrize('filled', [True, False])
def test_a_cache_that_cannot_be_written(filled):
    "In a folder that may only be read: right features, and a warning."
    photos, true = noise(50), features(noise(50), Fake())[0]
    with tempfile.TemporaryDirectory() as place:
        if filled:
            features(select(photos, range(20)), Fake(), place)
        for p in Path(place).iterdir():
            p.chmod(0o444)
        os.chmod(place, 0o555)

        def work():
            as_nobody()
            with pytest.warns(UserWarning, match='the feature cache cannot be used'):
                assert (features(photos, Fake(), place)[0] == true).all()

        assert ended(child(work)) == 0
        assert len(rows(place) if filled else os.listdir(place)) == (20 if filled else 0)
        os.chmod(place, 0o700)


@forks
def test_a_full_disk(tmp_path):
    "Where the cache cannot grow, the run goes on without it."
    photos, true = noise(1500), features(noise(1500), Fake())[0]

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, 70_000))
        with pytest.warns(UserWarning, match='the feature cache cannot be used'):
            assert (features(photos, Fake(), tmp_path)[0] == true).all()

    assert ended(child(work)) == 0
    assert (features(photos, Fake(), tmp_path)[0] == true).all() and len(rows(tmp_path)) == 1500


def test_a_locked_cache(tmp_path, monkeypatch):
    "Where another program holds the cache for longer than one waits, the run goes on without it."
    real = sqlite3.connect
    monkeypatch.setattr(features_module.sqlite3, 'connect', lambda file, timeout: real(file, timeout=0.01))
    photos, true = noise(20), features(noise(20), Fake(), tmp_path)[0]
    with closing(real(file_in(tmp_path))) as other:
        other.execute('begin exclusive')
        with pytest.warns(UserWarning, match='the feature cache cannot be used .*locked'):
            assert (features(photos, Fake(), tmp_path)[0] == true).all()
