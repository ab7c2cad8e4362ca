"A kill at any moment of writing leaves the old index or the new one, whole, or none."

import os
import random
import select
import signal
import time
from functools import partial

import pytest
from dying import KILLED, die_at
from fakes import child, ended
from pictures import snapshot

from store.small_index import OwnerKey, change, create, generations, prepared, rubbish, whole
from tree_privacy.core import FormatError, InputError
from tree_privacy.store import generations as module
from tree_privacy.store import writer as writer_module
from tree_privacy.store.generations import new_generation, sweep, write_lock
from tree_privacy.store.manifest import MANIFEST, read_manifest

forks = pytest.mark.skipif(not hasattr(os, 'fork'), reason='these tests fork')


def add(folder, key, **more):
    change(folder, key, new=range(40, 60), **more)


def remove(folder, key, **more):
    change(folder, key, gone=range(0, 40, 3), **more)


OLD = set(range(40))
JOBS = {
    'create': (create, False, set(range(100, 130))),
    'replace': (create, True, set(range(100, 130))),
    'add': (add, True, OLD | set(range(40, 60))),
    'remove': (remove, True, OLD - set(range(0, 40, 3))),
}


@pytest.fixture(scope='module')
def before(tmp_path_factory):
    "An index that every attempt begins with a copy of, and its key."
    folder, key = tmp_path_factory.mktemp('before') / 'index', OwnerKey.generate()
    create(folder, key, range(40))
    return folder, key


def check_after(job, folder, key):
    "The index is the old one, the new one or none; the next write succeeds and cleans up. Says which it was."
    _, exists, new = JOBS[job]
    ids = whole(folder, key)
    assert ids in ((OLD, new) if exists else (None, new)), f'{job} left something else'
    left = bool(rubbish(folder))
    if ids is None:
        create(folder, key)
    else:
        change(folder, key, gone=[min(ids)])
    assert whole(folder, key) == (ids - {min(ids)} if ids else new)
    assert not rubbish(folder) and len(generations(folder)) == 1
    return 'within' if left else 'after' if ids == new else 'before'


def dying(work, folder, key, step):
    "Do a job, and die at one of its steps."
    die_at(step)
    work(folder, key)


@forks
@pytest.mark.parametrize('job', JOBS)
def test_death_before_every_step(job, before, tmp_path):
    "Die before the first, the second, … step of writing, until the writing gets through."
    (work, exists, _), key, seen = JOBS[job], before[1], []
    for step in range(1, 200):
        folder = prepared(before[0], exists, tmp_path / 'index')
        code = ended(child(partial(dying, work, folder, key, step)))
        assert code in (0, KILLED), f'{job} ended with {code} at step {step}'
        seen.append(check_after(job, folder, key))
        if code == 0:
            break
    else:
        pytest.fail('the writing never ended')
    assert seen.count('within') >= 10 and seen[-1] == 'after' and len(seen) > 15, seen


def killed(work, folder, key, delay):
    "Run a job in a fork and kill it some seconds after its writing began; gives how long it wrote if it got through."
    begun, tell = os.pipe()
    pid = child(lambda: work(folder, key, before_writing=lambda: os.write(tell, b'x')))
    os.close(tell)
    assert select.select([begun], [], [], 60)[0] and os.read(begun, 1) == b'x', 'the writing never began'
    os.close(begun)
    start = time.perf_counter()
    if delay is not None:
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
    assert ended(pid) in (0, -signal.SIGKILL)
    return time.perf_counter() - start


@forks
def test_hundred_kills(before, tmp_path):
    "SIGKILL at a hundred random moments of writing."
    key, dice, seen = before[1], random.Random(), []
    for job, (work, exists, _) in JOBS.items():
        long = killed(work, prepared(before[0], exists, tmp_path / 'index'), key, None)
        for _ in range(25):
            folder = prepared(before[0], exists, tmp_path / 'index')
            killed(work, folder, key, dice.uniform(0, long))
            seen.append(check_after(job, folder, key))
            long *= 1.25 if seen[-1] != 'after' else 0.8  # aims at the writing, however fast this machine writes today
    assert len(seen) == 100 and seen.count('within') >= 20, seen


WRITERS = [(module, 'write_new'), (writer_module, 'write_new')]  # every file of an index is written by one of these


def full_disk(monkeypatch, number):
    "Let the n-th write fail half way, with a disk that is full; gives the count of writes."
    count = [0]

    def full(path, data, *rest, real=module.write_new):
        count[0] += 1
        if count[0] != number:
            return real(path, data, *rest)
        real(path, data[: len(data) // 2], *rest)
        raise OSError(28, 'No space left on device', str(path))

    for where, name in WRITERS:
        monkeypatch.setattr(where, name, full)
    return count


@pytest.mark.parametrize('job', JOBS)
def test_full_disk_at_every_write(job, before, tmp_path, monkeypatch):
    "A disk that is full at the n-th write, for every n: the folder stays as it was, and nothing is left over."
    (work, exists, new), key = JOBS[job], before[1]
    for number in range(1, 30):
        folder = prepared(before[0], exists, tmp_path / 'index')
        with monkeypatch.context() as m:
            count = full_disk(m, number)
            try:
                work(folder, key)
            except OSError as error:
                assert error.errno == 28
        if count[0] < number:
            break
        assert not rubbish(folder) and whole(folder, key) == (OLD if exists else None)
        assert exists or not folder.exists()
    assert number >= 5 and whole(folder, key) == new


def test_full_disk_leaves_an_empty_folder_alone(tmp_path, monkeypatch):
    "An empty folder that was there before is still there when writing an index into it fails."
    (tmp_path / 'mine').mkdir()
    full_disk(monkeypatch, 1)
    with pytest.raises(OSError):
        create(tmp_path / 'mine', OwnerKey.generate())
    assert (tmp_path / 'mine').is_dir() and not list((tmp_path / 'mine').iterdir())


@pytest.mark.parametrize('wrong', [KeyboardInterrupt, MemoryError, InputError('x')])
def test_errors_leave_everything_as_it_was(wrong, before, tmp_path):
    "Whatever is raised while a generation is written, the index stays the same byte for byte."
    folder = prepared(before[0], True, tmp_path / 'index')
    was = snapshot(folder)
    with pytest.raises(BaseException) as error:
        with new_generation(folder, 2, read_manifest(folder).generation) as part:
            (part / 'half').write_bytes(b'half')
            raise wrong
    assert error.type in (wrong, type(wrong)) and snapshot(folder) == was


def test_a_second_add_is_refused(before, tmp_path):
    "Where a second writer got in between reading and writing, the first is refused, and nothing is lost."
    folder, key = prepared(before[0], True, tmp_path / 'index'), before[1]
    with pytest.raises(InputError, match='somebody else has changed'):
        add(folder, key, before_writing=lambda: change(folder, key, new=[70]))
    assert whole(folder, key) == OLD | {70} and not rubbish(folder)


def test_two_creates_respect_each_other(tmp_path):
    "Where somebody with another key made an index there meanwhile, it is not replaced."
    folder, mine, other = tmp_path / 'index', OwnerKey.generate(), OwnerKey.generate()
    with pytest.raises(InputError, match='somebody else has changed'):
        create(folder, mine, before_writing=lambda: create(folder, other, range(5)))
    assert whole(folder, other) == set(range(5))


def test_a_second_writer_is_refused_while_one_writes(before, tmp_path):
    "The lock holds, and the refusal changes nothing."
    folder = prepared(before[0], True, tmp_path / 'index')
    with write_lock(folder), pytest.raises(InputError, match='somebody else is changing'):
        add(folder, before[1])
    assert whole(folder, before[1]) == OLD and not rubbish(folder)


@forks
def test_the_lock_goes_with_its_process(before, tmp_path):
    "A writer that was killed keeps nobody out."
    folder, key = prepared(before[0], True, tmp_path / 'index'), before[1]
    begun, tell = os.pipe()

    def holding():
        with write_lock(folder):
            os.write(tell, b'x')
            time.sleep(60)

    pid = child(holding)
    os.read(begun, 1)
    with pytest.raises(InputError, match='somebody else is changing'):
        add(folder, key)
    os.kill(pid, signal.SIGKILL)
    ended(pid)
    add(folder, key)
    assert whole(folder, key) == JOBS['add'][2]


@pytest.mark.parametrize(
    'make', [lambda path: os.mkfifo(path), lambda path: path.symlink_to('/dev/zero'), lambda path: path.mkdir()]
)
def test_lock_files_that_are_none(make, before, tmp_path):
    "A pipe, a link or a folder as lock file makes no writer wait, and nothing is written behind the link."
    folder = prepared(before[0], True, tmp_path / 'index')
    (folder / '.lock').unlink()
    make(folder / '.lock')
    with pytest.raises((InputError, OSError)):
        add(folder, before[1])
    assert read_manifest(folder).version == 1 and len(generations(folder)) == 1


def test_sweeping_keeps_what_is_not_ours(before, tmp_path):
    "Only generations and half a manifest are removed; a damaged manifest stops the sweep before it removes anything."
    folder = prepared(before[0], True, tmp_path / 'index')
    current = read_manifest(folder).generation
    for name in ('g000009-00000000', 'g000009-00000000.old', 'mine'):
        (folder / name).mkdir()
    (folder / f'{MANIFEST}.new').write_bytes(b'half')
    assert sweep(folder) == current
    assert {p.name for p in folder.iterdir()} == {MANIFEST, '.lock', current, 'g000009-00000000.old', 'mine'}
    (folder / 'g000009-00000000').mkdir()
    (folder / MANIFEST).write_bytes(b'{')
    with pytest.raises(FormatError, match='damaged'):
        sweep(folder)
    assert len(generations(folder)) == 2


def test_files_are_taken_over_without_copying(before, tmp_path):
    "Packs that lose nothing get a second name; one that does is written again, after it was compared."
    folder, key = prepared(before[0], True, tmp_path / 'index'), before[1]
    add(folder, key)
    first, second = sorted(generations(folder)[0].glob('photos-*'))
    inode = first.stat().st_ino
    change(folder, key, new=[70], gone=[41])
    now = generations(folder)[0]
    assert (now / first.name).stat().st_ino == inode and len(list(now.glob('photos-*'))) == 3
    assert whole(folder, key) == JOBS['add'][2] - {41} | {70}
    path = now / second.name
    path.write_bytes(path.read_bytes()[:-1] + b'x')
    with pytest.raises(FormatError, match='altered'):
        change(folder, key, gone=[42])
    assert read_manifest(folder).version == 3


def test_damage_of_what_is_taken_over_still_shows(before, tmp_path):
    "A damaged file that goes into the next version as it is does so with its old checksum."
    folder, key = prepared(before[0], True, tmp_path / 'index'), before[1]
    path = next(generations(folder)[0].glob('photos-*'))
    path.write_bytes(path.read_bytes()[:-1] + b'x')
    change(folder, key, new=[70])
    with pytest.raises(FormatError, match=path.stem):
        whole(folder, key)


def test_no_file_is_read_a_second_time(before, tmp_path, monkeypatch):
    "The checksum is taken from the bytes that are written."
    folder, key = tmp_path / 'index', before[1]
    monkeypatch.setattr(module.Path, 'read_bytes', None)
    opened, real = [], os.open
    monkeypatch.setattr(
        os,
        'open',
        lambda path, flags, *rest, **more: (opened.append((str(path), flags)), real(path, flags, *rest, **more))[1],
    )
    create(folder, key)
    monkeypatch.undo()
    read = [path for path, flags in opened if '.safetensors' in path and not flags & (os.O_WRONLY | os.O_RDWR)]
    assert not read and whole(folder, key) == JOBS['create'][2]


def test_copies_where_there_are_no_links(before, tmp_path, monkeypatch):
    "A file system without hard links gets copies."

    def no_links(*args, **more):
        raise OSError(1, 'Operation not permitted')

    folder, key = prepared(before[0], True, tmp_path / 'index'), before[1]
    monkeypatch.setattr(os, 'link', no_links)
    add(folder, key)
    assert whole(folder, key) == JOBS['add'][2]
