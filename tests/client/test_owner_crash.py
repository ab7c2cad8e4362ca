"""A kill at any moment of a change leaves the old index or the new one, whole, or none; so does a full disk.

The steps of the store alone, for all four jobs, a hundred kills, and the lock that keeps two writers apart are tested
in store/test_writing_and_crashes.py.
"""
import hashlib
import os
import shutil

import numpy as np
import pytest
from contract.lock_variants import EVERYTHING, crowded
from dying import KILLED, die_at
from fakes import child, ended
from parties import World, index_of, nearest, pairs
from pictures import Made, album, draw, snapshot

import tree_privacy.client.owner as owner_module
import tree_privacy.store.writer as writer_module
from tree_privacy.client.owner import Change, Created, Owner
from tree_privacy.client.transport import Local, run
from tree_privacy.client.user import User
from tree_privacy.cloud.service import CloudService
from tree_privacy.core import AccessError, InputError, NotFoundError
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.images.photos import folder as folder_of
from tree_privacy.images.photos import names_only
from tree_privacy.store.manifest import GENERATION, MANIFEST, read_manifest
from tree_privacy.store.reader import IndexReader

forks = pytest.mark.skipif(not hasattr(os, 'fork'), reason='these tests fork')
BITS = 64


def content(number):
    "The bytes of a made-up photograph: always the same for a number."
    return f'{number:03}/'.encode() * 400


def code(number):
    "Its code, packed."
    return np.random.default_rng(number).integers(0, 256, BITS // 8, dtype=np.uint8)


def names_of(numbers):
    return [f'{i % 3}/{i:03}.jpg' for i in numbers]


def named(numbers):
    "Numbers of photographs by their names."
    return dict(zip(names_of(numbers), numbers, strict=True))


class Digested(Made):
    "Made-up photographs that can be told by their content."

    def digest(self, i):
        return hashlib.sha256(self.read(i)).digest()[:16]


def photographs(numbers):
    "Made-up photographs, numbers by names, and their codes."
    every = list(numbers.values())
    return Digested(list(numbers), None, None, lambda i: content(every[i])), np.stack([code(i) for i in every])


def collection(first, last):
    "Made-up photographs and their codes."
    return photographs(named(range(first, last)))


def create(folder, key, lock='random-matrix'):
    Owner(key).create(folder, *collection(100, 120), bytes(5000), lock=lock, photos='full')


def add(folder, key):
    Owner(key).add(folder, *collection(20, 30))


def remove(folder, key):
    Owner(key).remove(folder, GONE)


GONE, MOVED = names_of(range(0, 20, 3)), {'1/001.jpg': 'moved/001.jpg', '2/005.jpg': '0/003.jpg'}
ANOTHER = {'0/000.jpg': 200}  # another photograph under the name of one that goes


def change(folder, key):
    "Add, replace, remove and rename, one of them to a name that becomes free."
    added, codes = photographs(named(range(20, 30)) | ANOTHER)
    Owner(key).change(folder, Change(added, codes, frozenset(GONE), MOVED))


OLD, NEW = named(range(20)), named(range(100, 120))
STAY = {name: i for name, i in OLD.items() if name not in GONE}
CHANGED = {MOVED.get(name, name): i for name, i in STAY.items()} | named(range(20, 30)) | ANOTHER
JOBS = {'create': (create, False, NEW), 'replace': (create, True, NEW),
        'add': (add, True, OLD | named(range(20, 30))), 'remove': (remove, True, STAY),
        'change': (change, True, CHANGED)}


@pytest.fixture(scope='module')
def befores(tmp_path_factory):
    "A key, and an index that every attempt begins with a copy of, for two locks."
    made = {}
    for lock in ('random-matrix', 'sealed'):
        folder, key = tmp_path_factory.mktemp(lock) / 'index', OwnerKey.generate()
        Owner(key).create(folder, *collection(0, 20), bytes(5000), photos='full', lock=lock)
        made[lock] = folder, key
    return made


def prepared(before, exists, place):
    "A place with a copy of the index, or with nothing."
    shutil.rmtree(place, ignore_errors=True)
    if exists:
        shutil.copytree(before[0], place)
    return place


def whole(folder, key):
    """Numbers of the photographs in an index by name, after opening, comparing, searching and fetching everything; None
    where there is none.
    """
    if not (folder / MANIFEST).exists():
        return None
    reader = IndexReader(folder)
    for name in reader.names():
        reader.verify(name)
    now, line = Owner(key).open(folder), Local(CloudService(folder))
    user = User.connect(key.grant(), line)
    fetched = run(user.fetch(now.collection.ids.tolist(), 'direct'), line)
    there = {one.name: int(one.data[:3]) for one in fetched}
    assert list(there) == now.collection.names and [one.data for one in fetched] == [content(i) for i in there.values()]
    assert [hashlib.sha256(one.data).digest()[:16] for one in fetched] == [x.tobytes() for x in now.digests]
    assert (now.collection.codes == np.stack([code(i) for i in there.values()])).all()
    hits = run(user.search(now.collection.codes[0], 3), line).hits
    assert len(hits) == 3 and hits[0].distance == 0 and now.encoder == user.encoder_bytes() == bytes(5000)
    return there


def rubbish(folder):
    "What is in an index folder and belongs to no index."
    if not folder.exists():
        return set()
    current = read_manifest(folder).generation if (folder / MANIFEST).exists() else None
    return {p.name for p in folder.iterdir()} - {MANIFEST, '.lock', current}


def check_after(job, folder, key):
    "The index is the old one, the new one or none; the next write succeeds and cleans up. Says which it was."
    _, exists, new = JOBS[job]
    names = whole(folder, key)
    assert names in ((OLD, new) if exists else (None, new)), f'{job} left something else'
    left = bool(rubbish(folder))
    if names is None:
        create(folder, key)
    else:
        Owner(key).remove(folder, [min(names)])
    assert whole(folder, key) == ({name: i for name, i in names.items() if name != min(names)} if names else new)
    assert not rubbish(folder) and len([p for p in folder.iterdir() if GENERATION.fullmatch(p.name)]) == 1
    return 'within' if left else 'after' if names == new else 'before'


def die(work, step):
    "Do something in a fork that dies before its n-th step on the disk; its exit code."
    def dying():
        die_at(step)
        work()
    code = ended(child(dying))
    assert code in (0, KILLED), f'ended with {code} at step {step}'
    return code


@forks
@pytest.mark.parametrize('job, lock', [('create', 'random-matrix'), ('add', 'random-matrix'), ('add', 'sealed'),
                                       ('remove', 'sealed'), ('replace', 'random-matrix'),
                                       ('change', 'random-matrix'), ('change', 'sealed')])
def test_death_before_every_step(job, lock, befores, tmp_path):
    "Die before the first, the second, … step of writing, until the writing gets through."
    work, exists, _ = JOBS[job]
    key, seen = befores[lock][1], []
    for step in range(1, 300):
        folder = prepared(befores[lock], exists, tmp_path / 'index')
        code = die(lambda folder=folder: work(folder, key), step)
        seen.append(check_after(job, folder, key))
        if code == 0:
            break
    else:
        pytest.fail('the writing never ended')
    assert seen.count('within') >= 10 and seen[-1] == 'after' and len(seen) > 15, seen


@forks
def test_death_at_every_step_of_a_new_key(befores, tmp_path):
    """Die before any step of rotating: the index is whole, with all photographs, under the old key or under the new
    one; then it can be rotated again."""
    before = befores['random-matrix']
    old, new, seen = before[1], OwnerKey.generate(), []
    for step in range(1, 300):
        folder = prepared(before, True, tmp_path / 'index')
        code = die(lambda folder=folder: Owner(old).rotate(folder, new), step)
        now = next(key for key in (old, new) if key.id == read_manifest(folder).key)
        seen.append((now is new, bool(rubbish(folder))))
        assert whole(folder, now) == OLD
        other = old if now is new else new
        Owner(now).rotate(folder, other)
        assert whole(folder, other) == OLD and not rubbish(folder)
        if code == 0:
            break
    else:
        pytest.fail('the writing never ended')
    assert seen[0] == (False, False) and seen[-1] == (True, False) and sum(left for _, left in seen) >= 10, seen


# A disk that is full

def state(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob('*'))
            if p.is_file() and p.name != '.lock'} if folder.exists() else None


@pytest.mark.parametrize('variant', ['split', 'encrypted', 'sealed', 'small buckets', 'decoys'])
def test_full_disk_at_every_write(variant, tmp_path, monkeypatch):
    "At whatever write: the old index is as it was, or there is none, with nothing left; with room it goes through."
    key, codes, real = OwnerKey.generate(), crowded(3, 20, 16), writer_module.write_new
    folder = tmp_path / 'index'
    for job in (lambda: index_of(variant, folder, codes, key),
                lambda: Owner(key).add(folder, names_only(['new/1']), codes[:1]),
                lambda: Owner(key).change(folder, Change(names_only(['0/000']), codes[:1], frozenset(['0/000']),
                                                         {'1/001': 'moved'}))):
        before = state(folder)
        for number in range(1, 30):
            count = [0]

            def full(path, data, *rest, count=count, number=number):
                count[0] += 1
                if count[0] != number:
                    return real(path, data, *rest)
                real(path, data[:len(data) // 2], *rest)
                raise OSError(28, 'No space left on device', str(path))
            with monkeypatch.context() as m:
                for module in (writer_module, owner_module):
                    if hasattr(module, 'write_new'):
                        m.setattr(module, 'write_new', full)
                m.setattr('tree_privacy.store.generations.write_new', full)
                try:
                    job()
                except OSError as error:
                    assert error.errno == 28
            if count[0] < number:
                break
            assert state(folder) == before
        assert number > 4 and state(folder) != before
    world = World(variant, folder, key, Created(np.arange(21), None))
    query = codes[0]
    if variant == 'small buckets':
        assert world.search(query, 99, 12)[0].distance == 0
    else:
        assert pairs(world.search(query, 99, EVERYTHING)) == nearest(world, query, 99)
    assert len(world.ids) == 21


# Two at a time

@pytest.mark.parametrize('photos', ['full', 'none'])
def test_two_adds_lose_nothing(photos, tmp_path, monkeypatch):
    "Where a second writer got in between reading and writing, the first is refused or nothing is lost."
    folder, key, real = tmp_path / 'index', OwnerKey.generate(), owner_module.IndexWriter
    Owner(key).create(folder, *collection(0, 10), bytes(5000), lock='random-matrix', photos=photos)

    def late(*args, **more):
        monkeypatch.setattr(owner_module, 'IndexWriter', real)
        Owner(key).add(folder, *collection(10, 12))
        return real(*args, **more)

    monkeypatch.setattr(owner_module, 'IndexWriter', late)
    with pytest.raises(InputError, match='changed .* meanwhile'):
        Owner(key).add(folder, *collection(12, 14))
    assert len(Owner(key).open(folder).collection) == 12 and not rubbish(folder)


@pytest.mark.parametrize('second', ['add', 'change', 'remove'])
def test_two_changes_lose_nothing(second, befores, tmp_path, monkeypatch):
    "The same for a change of everything at once: the first to be ready wins, whatever the second does."
    folder, key = prepared(befores['sealed'], True, tmp_path / 'index'), befores['sealed'][1]
    real = owner_module.IndexWriter
    work, _, wanted = JOBS[second]

    def late(*args, **more):
        monkeypatch.setattr(owner_module, 'IndexWriter', real)
        work(folder, key)
        return real(*args, **more)

    monkeypatch.setattr(owner_module, 'IndexWriter', late)
    with pytest.raises(InputError, match='changed .* meanwhile'):
        change(folder, key)
    assert whole(folder, key) == wanted and not rubbish(folder)


CLASHES = [  # what is wrong in a change, and what is said
    (dict(gone=frozenset(['9/999.jpg'])), 'nothing was changed'),
    (dict(renamed={'9/999.jpg': 'x'}), 'nothing was changed'),
    (dict(renamed={'0/000.jpg': '1/001.jpg'}), 'one name'),
    (dict(renamed={'0/000.jpg': 'x', '1/001.jpg': 'x'}), 'one name'),
    (dict(renamed={'0/000.jpg': 'a\0b'}, gone=frozenset(['1/001.jpg'])), 'zero byte'),
    (dict(gone=frozenset(OLD)), 'remove every photograph')]


@pytest.mark.parametrize('wrong, said', CLASHES)
def test_a_change_that_cannot_be_changes_nothing(wrong, said, befores, tmp_path):
    "Also the rest of it is not done."
    folder, key = prepared(befores['sealed'], True, tmp_path / 'index'), befores['sealed'][1]
    with pytest.raises((InputError, NotFoundError), match=said):
        Owner(key).change(folder, Change(**wrong))
    assert whole(folder, key) == OLD and read_manifest(folder).version == 1 and not rubbish(folder)


@pytest.mark.parametrize('names, renamed', [(['1/001.jpg'], {}), (['x.jpg'], {'1/001.jpg': 'x.jpg'})])
def test_a_name_that_is_taken(names, renamed, befores, tmp_path):
    "A new photograph under the name of one that stays, as it is or as it will be."
    folder, key = prepared(befores['sealed'], True, tmp_path / 'index'), befores['sealed'][1]
    with pytest.raises(InputError, match='in the index already'):
        Owner(key).change(folder, Change(*photographs({names[0]: 40}), renamed=renamed))
    assert whole(folder, key) == OLD


def test_two_creates_respect_each_other(tmp_path, monkeypatch):
    "Where somebody with another key made an index there meanwhile, it is not replaced."
    folder, mine, other, real = tmp_path / 'index', OwnerKey.generate(), OwnerKey.generate(), owner_module.IndexWriter

    def late(*args, **more):
        monkeypatch.setattr(owner_module, 'IndexWriter', real)
        create(folder, other)
        return real(*args, **more)

    monkeypatch.setattr(owner_module, 'IndexWriter', late)
    with pytest.raises(InputError):
        create(folder, mine)
    assert len(Owner(other).open(folder).collection) == 20
    with pytest.raises(AccessError):
        create(folder, mine)


# Photographs that change

CHANGES = {'gone': lambda photo: photo.unlink(), 'new': lambda photo: draw(photo.with_name('new.png'), 99),
           'another': lambda photo: draw(photo, 99), 'broken': lambda photo: photo.write_text('no picture'),
           'all gone': lambda photo: shutil.rmtree(photo.parents[1])}


@pytest.mark.parametrize('photos', ['full', 'thumbs', 'none'])
@pytest.mark.parametrize('change', CHANGES)
def test_photographs_that_change_while_they_are_sealed(change, photos, tmp_path):
    """An index of a folder that is not what it was is not written: the old one stays, or there is none; also where it
    is added to."""
    key, index, new = OwnerKey.generate(), tmp_path / 'index', tmp_path / 'new'

    def codes(n):
        return np.random.default_rng(0).integers(0, 256, (n, BITS // 8), dtype=np.uint8)

    who, more = Owner(key), dict(lock='random-matrix', photos=photos)
    who.create(index, folder_of(album(tmp_path / 'old', 5)), codes(5), b'encoder', **more)
    jobs = {'replace': lambda found: who.create(index, found, codes(9), b'new', **more),
            'create': lambda found: who.create(new, found, codes(9), b'new', **more),
            'add': lambda found: who.add(index, found, codes(9)),
            'change': lambda found: who.change(index, Change(found, codes(9), frozenset(['a/00.png']),
                                                             {'b/01.png': 'b'}))}
    for what, work in jobs.items():
        album(tmp_path / what, 9, 'xyz')
        before, found = snapshot(index), folder_of(tmp_path / what)
        CHANGES[change](tmp_path / what / 'x/00.png')
        with pytest.raises(InputError, match='changed while it was read'):
            work(found)
        assert snapshot(index) == before and not rubbish(index) and not new.exists()
    assert set(who.open(index).collection.names) == {f'{"abc"[i % 3]}/{i:02}.png' for i in range(5)}
