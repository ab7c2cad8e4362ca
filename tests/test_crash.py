"A kill at any moment of writing leaves the old index or the new one, whole, or none."
import os
import random
import select
import shutil
import signal
import time

import numpy as np
import pytest

from fakes import child, ended
from limits import CLOCK
from pictures import album, draw, snapshot
from tree_privacy import roles
import tree_privacy.private_locks
from tree_privacy.data import Images, InputError, folder
from tree_privacy.roles import GENERATION, MANIFEST, Cloud, Owner, OwnerKey, User, hello, open_all, sha256

pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='these tests fork')

BITS, KILLED = 64, 9
STEPS = ('open', 'fsync', 'replace', 'link', 'mkdir', 'unlink', 'rmdir', 'rename')


def content(name):
    "The bytes of a made-up photograph: always the same for a name."
    return name.encode() * 400


def collection(first, last):
    "Made-up photographs and their codes."
    names = [f'{i % 3}/{i:03}.jpg' for i in range(first, last)]
    codes = np.stack([np.random.default_rng(i).integers(0, 256, BITS // 8, dtype=np.uint8) for i in range(first, last)])
    return Images(names, None, lambda i, size: None, lambda i: content(names[i])), codes


def create(folder, key):
    Owner(key).create(folder, *collection(100, 130), bytes(5000), lock='random-matrix', photos='full')


def add(folder, key):
    Owner(key).add(folder, *collection(40, 60))


def remove(folder, key):
    Owner(key).remove(folder, [f'{i % 3}/{i:03}.jpg' for i in range(0, 40, 3)])


OLD = {f'{i % 3}/{i:03}.jpg' for i in range(40)}
JOBS = {
    'create': (create, False, {f'{i % 3}/{i:03}.jpg' for i in range(100, 130)}),
    'replace': (create, True, {f'{i % 3}/{i:03}.jpg' for i in range(100, 130)}),
    'add': (add, True, OLD | {f'{i % 3}/{i:03}.jpg' for i in range(40, 60)}),
    'remove': (remove, True, OLD - {f'{i % 3}/{i:03}.jpg' for i in range(0, 40, 3)})}


def first(place, lock):
    "A key, and an index that every attempt begins with a copy of."
    folder, key = place / 'index', OwnerKey.generate()
    Owner(key).create(folder, *collection(0, 40), bytes(5000), photos='full', lock=lock)
    return folder, key


@pytest.fixture(scope='module')
def before(tmp_path_factory): return first(tmp_path_factory.mktemp('crash'), 'random-matrix')


@pytest.fixture(scope='module')
def befores(tmp_path_factory, before): return {'random-matrix': before, 'sealed': first(tmp_path_factory.mktemp('sealed'), 'sealed')}


def prepared(before, exists, place):
    "A place with a copy of the index, or with nothing."
    shutil.rmtree(place, ignore_errors=True)
    if exists: shutil.copytree(before[0], place)
    return place


def whole(folder, key):
    "The names in an index, after opening and comparing everything in it; None where there is no index."
    if not (folder / MANIFEST).exists(): return None
    manifest, _ = open_all(folder)
    for name, about in manifest['files'].items(): assert sha256(folder / manifest['generation'] / name) == about['sha256']
    opened, cloud = Owner(key).open(folder), Cloud(folder)
    user = User(key, cloud.answer(hello()))
    fetch = user.fetch(opened.ids, 'direct')
    fetch.receive(cloud.answer(fetch.request))
    assert {name: data for _, name, data in fetch.result} == {name: content(name) for name in opened.names}
    search = user.query(opened.codes[0], 3)
    while search.request is not None: search.receive(cloud.answer(search.request))
    assert len(search.result) == 3 and search.result[0].distance == 0 and opened.encoder == bytes(5000)
    return set(opened.names)


def rubbish(folder):
    "What lies in an index folder that belongs to no index."
    if not folder.exists(): return set()
    current = roles.read_manifest(folder)['generation'] if (folder / MANIFEST).exists() else None
    return {p.name for p in folder.iterdir()} - {MANIFEST, '.lock', current}


def check_after(job, folder, key):
    "The index is the old one, the new one or none; the next write succeeds and cleans up. Returns which it was."
    _, exists, new = JOBS[job]
    names = whole(folder, key)
    assert names in ((OLD, new) if exists else (None, new)), f'{job} left something else'
    left = bool(rubbish(folder))
    if names is None: create(folder, key)
    else: Owner(key).remove(folder, [min(names)])
    assert whole(folder, key) == (names - {min(names)} if names else new)
    assert not rubbish(folder) and len([p for p in folder.iterdir() if GENERATION.fullmatch(p.name)]) == 1
    return 'within' if left else 'after' if names == new else 'before'


def die_at(step, steps=STEPS):
    "Let this process end, as if killed, just before its n-th call of these, which change something on the disk."
    count = [0]
    def counted(real):
        def call(*args, **more):
            count[0] += 1
            if count[0] == step: os._exit(KILLED)
            return real(*args, **more)
        return call
    for name in steps: setattr(os, name, counted(getattr(os, name)))


@pytest.mark.parametrize('job, lock', [*((job, 'random-matrix') for job in JOBS), ('add', 'sealed'), ('remove', 'sealed')])
def test_death_before_every_step(job, lock, befores, tmp_path):
    "Die before the first, the second, … step of writing, until the writing gets through."
    (work, exists, _), before = JOBS[job], befores[lock]
    key, seen = before[1], []
    for step in range(1, 200):
        folder = prepared(before, exists, tmp_path / 'index')
        def dying():
            die_at(step)
            work(folder, key)
        code = ended(child(dying))
        assert code in (0, KILLED), f'{job} ended with {code} at step {step}'
        seen.append(check_after(job, folder, key))
        if code == 0: break
    else: pytest.fail('the writing never ended')
    assert seen.count('within') >= 10 and seen[-1] == 'after' and len(seen) > 15, seen


def test_death_at_every_step_of_a_new_lock(before, tmp_path):
    "Die before any step of rotating: the index is whole, with all photographs, under the old key or under the new one; then it can be rotated again."
    old, new, seen = before[1], OwnerKey.generate(), []
    for step in range(1, 200):
        folder = prepared(before, True, tmp_path / 'index')
        def dying():
            die_at(step)
            Owner(old).rotate(folder, new)
        code = ended(child(dying))
        assert code in (0, KILLED)
        now = next(key for key in (old, new) if key.id == roles.read_manifest(folder)['key'])
        seen.append((now is new, bool(rubbish(folder))))
        assert whole(folder, now) == OLD
        other = old if now is new else new
        Owner(now).rotate(folder, other)
        assert whole(folder, other) == OLD and not rubbish(folder)
        if code == 0: break
    else: pytest.fail('the writing never ended')
    assert seen[0] == (False, False) and seen[-1] == (True, False) and sum(left for _, left in seen) >= 10, seen


def killed(work, folder, key, delay):
    "Run a job in a fork, kill it so many seconds after its writing began; returns how long it wrote if it got through."
    begun, tell = os.pipe()
    def telling():
        real = roles.new_generation
        def announced(*args, **more):
            os.write(tell, b'x')
            return real(*args, **more)
        roles.new_generation = announced
        work(folder, key)
    pid = child(telling)
    os.close(tell)
    assert select.select([begun], [], [], CLOCK)[0] and os.read(begun, 1) == b'x', 'the writing never began'
    os.close(begun)
    start = time.perf_counter()
    if delay is not None:
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
    code = ended(pid)
    assert code in (0, -signal.SIGKILL)
    return time.perf_counter() - start


def test_hundred_kills(before, tmp_path):
    "SIGKILL at a hundred random moments of writing."
    key, dice, seen = before[1], random.Random(), []
    for job, (work, exists, _) in JOBS.items():
        long = killed(work, prepared(before, exists, tmp_path / 'index'), key, None)
        for _ in range(25):
            folder = prepared(before, exists, tmp_path / 'index')
            killed(work, folder, key, dice.uniform(0, long))
            seen.append(check_after(job, folder, key))
            long *= 1.25 if seen[-1] != 'after' else 0.8  # aims at the writing, however fast this machine writes today
    print({when: seen.count(when) for when in ('before', 'within', 'after')})
    assert len(seen) == 100 and seen.count('within') >= 20, seen


def test_full_disk_at_every_write(before, tmp_path, monkeypatch):
    "A disk that is full at the n-th write, for every n: the folder stays as it was, and nothing is left over."
    real, key = roles.write_synced, before[1]
    for job, (work, exists, new) in JOBS.items():
        for number in range(1, 30):
            folder, count = prepared(before, exists, tmp_path / 'index'), [0]
            def full(path, data, *rest):
                count[0] += 1
                if count[0] != number: return real(path, data, *rest)
                real(path, data[:len(data) // 2], *rest)
                raise OSError(28, 'No space left on device', str(path))
            monkeypatch.setattr(roles, 'write_synced', full)
            try: work(folder, key)
            except OSError as error: assert error.errno == 28
            monkeypatch.setattr(roles, 'write_synced', real)
            if count[0] < number: break
            assert not rubbish(folder) and whole(folder, key) == (OLD if exists else None)
            if not exists: assert not folder.exists()
        assert number >= 5 and whole(folder, key) == new


def test_full_disk_leaves_an_empty_folder_alone(tmp_path, monkeypatch):
    "An empty folder that was there before is still there when writing an index into it fails."
    def full(path, *rest): raise OSError(28, 'No space left on device', str(path))
    (tmp_path / 'mine').mkdir()
    monkeypatch.setattr(roles, 'write_synced', full)
    with pytest.raises(OSError): create(tmp_path / 'mine', OwnerKey.generate())
    assert (tmp_path / 'mine').is_dir() and not list((tmp_path / 'mine').iterdir())


@pytest.mark.parametrize('photos', ['full', 'none'])
def test_two_adds_lose_nothing(photos, tmp_path):
    "Where a second writer got in between reading and writing, the first is refused or nothing is lost."
    folder, key, real = tmp_path / 'index', OwnerKey.generate(), roles.new_generation
    Owner(key).create(folder, *collection(0, 10), bytes(5000), lock='random-matrix', photos=photos)
    def late(*args, **more):
        roles.new_generation = real
        Owner(key).add(folder, *collection(10, 12))
        return real(*args, **more)
    roles.new_generation = late
    try: Owner(key).add(folder, *collection(12, 14))
    except InputError: wanted = 12
    else: wanted = 14
    finally: roles.new_generation = real
    assert len(Owner(key).open(folder).names) == wanted and not rubbish(folder)


def test_two_creates_respect_each_other(tmp_path):
    "Where somebody with another key made an index there meanwhile, it is not replaced."
    folder, mine, other, real = tmp_path / 'index', OwnerKey.generate(), OwnerKey.generate(), roles.new_generation
    def late(*args, **more):
        roles.new_generation = real
        create(folder, other)
        return real(*args, **more)
    roles.new_generation = late
    try:
        with pytest.raises(InputError): create(folder, mine)
    finally: roles.new_generation = real
    assert len(Owner(other).open(folder).names) == 30


CHANGES = {'gone': lambda photo: photo.unlink(), 'new': lambda photo: draw(photo.with_name('new.png'), 99),
           'another': lambda photo: draw(photo, 99), 'broken': lambda photo: photo.write_text('no picture'), 'all gone': lambda photo: shutil.rmtree(photo.parents[1])}


@pytest.mark.parametrize('photos', ['full', 'thumbs', 'none'])
@pytest.mark.parametrize('change', CHANGES)
def test_photographs_that_change_while_they_are_sealed(change, photos, tmp_path):
    "An index of a folder that is not what it was is not written: the old one stays, or there is none; also where it is added to."
    key, index, new = OwnerKey.generate(), tmp_path / 'index', tmp_path / 'new'
    codes = lambda n: np.random.default_rng(0).integers(0, 256, (n, BITS // 8), dtype=np.uint8)
    Owner(key).create(index, folder(album(tmp_path / 'old', 5)), codes(5), b'encoder', lock='random-matrix', photos=photos)
    for what, work in dict(replace=lambda images: Owner(key).create(index, images, codes(9), b'new', lock='random-matrix', photos=photos),
                           create=lambda images: Owner(key).create(new, images, codes(9), b'new', lock='random-matrix', photos=photos),
                           add=lambda images: Owner(key).add(index, images, codes(9))).items():
        album(tmp_path / what, 9, 'xyz')
        before, images = snapshot(index), folder(tmp_path / what)
        CHANGES[change](tmp_path / what / 'x/00.png')
        with pytest.raises(InputError, match='changed while it was read'): work(images)
        assert snapshot(index) == before and not rubbish(index) and not new.exists()
    assert set(Owner(key).open(index).names) == {f'{"abc"[i % 3]}/{i:02}.png' for i in range(5)}


def test_a_second_writer_is_refused_while_one_writes(before, tmp_path):
    "The lock holds, and the refusal changes nothing."
    folder = prepared(before, True, tmp_path / 'index')
    with roles.locked(folder, False), pytest.raises(InputError, match='somebody else'): add(folder, before[1])
    assert whole(folder, before[1]) == OLD and not rubbish(folder)
