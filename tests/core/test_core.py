"Errors, checks of arguments, and files that are written whole or read with bounds."

import os
import stat
import sys
import threading

import numpy as np
import pytest
from dying import KILLED, die_at

from core.guards import hostile_files, refused_by
from tree_privacy import core
from tree_privacy.core import (
    ForgedReply,
    FormatError,
    InputError,
    NotFoundError,
    TreePrivacyError,
    check_names,
    check_positive,
    is_number,
    is_whole,
    read_bounded,
    write_atomic,
    write_new,
)

EXIT_CODES = dict(
    TreePrivacyError=1,
    InputError=2,
    NotFittedError=2,
    NotFoundError=3,
    FormatError=4,
    SecurityError=5,
    SealError=5,
    SignatureError=5,
    RollbackError=5,
    ForgedReply=5,
    RevokedError=5,
    AccessError=6,
    TransportError=7,
    MissingDependency=8,
)
BUILTIN = dict(
    InputError=ValueError,
    NotFittedError=AttributeError,
    NotFoundError=LookupError,
    TransportError=ConnectionError,
    MissingDependency=ImportError,
)

posix = pytest.mark.skipif(not hasattr(os, 'fork'), reason='this test forks')


def test_every_error_has_its_exit_code():
    "All classes of errors are in the table above, and none besides."
    errors = {name: o for name, o in vars(core).items() if isinstance(o, type) and issubclass(o, TreePrivacyError)}
    assert {name: o.exit_code for name, o in errors.items()} == EXIT_CODES
    for name, o in BUILTIN.items():
        assert issubclass(errors[name], o)


def test_errors_can_be_raised_and_caught():
    with pytest.raises(ValueError, match='k is 0'):
        raise core.NotFittedError('k is 0')
    with pytest.raises(core.SecurityError, match='cannot be opened'):
        raise core.SealError
    assert not ForgedReply('x').key_is_exposed and ForgedReply('x', key_is_exposed=True).key_is_exposed
    assert len({str(core.SealError()) for _ in range(3)}) == 1


@pytest.mark.parametrize('v', [0, -1, 1.0, True, None, '1', [], np.float64(2), np.nan, 10**31])
def test_numbers_that_are_not_positive(v):
    with pytest.raises(InputError, match='nodes is .*: wanted 1 or more'):
        check_positive(k=1, nodes=v)


def test_numbers():
    assert all(is_whole(v, 1, 10) for v in (1, 10, np.uint8(3))) and not any(
        is_whole(v, 1, 10) for v in (0, 11, True, 2.0, np.bool_(1))
    )
    assert all(is_number(v, 0, 1) for v in (0, 0.5, np.float32(1))) and not any(
        is_number(v, 0, 1) for v in (np.nan, True, '1', None, 1.1)
    )
    assert core.as_array([[1, 2], [3]]).dtype == object and core.as_array((1, 2)).tolist() == [1, 2]


@pytest.mark.parametrize('name', ['a\0b', '\0', '', b'a', None, 3])
def test_names_that_are_none(name):
    "A zero byte ends a name for the operating system, so it is refused where the name enters."
    with pytest.raises(InputError, match='no name of a photograph'):
        check_names(['fine.jpg', name])


@posix
@pytest.mark.parametrize('i', range(7))
def test_reading_what_never_ends(i, tmp_path):
    "No pipe, device, folder, socket or loop of links makes reading wait or eat memory."
    path = hostile_files(tmp_path)[i]
    assert refused_by(lambda: read_bounded(path, 2**20)) == 'FormatError'


@posix
def test_reading_a_file_that_says_it_is_empty():
    "Files of /proc have no size; what is read is bounded all the same."
    assert refused_by(lambda: read_bounded('/proc/self/maps', 100)) == 'FormatError'
    assert b'\n' in read_bounded('/proc/self/stat', 10_000)


def test_reading_bounded(tmp_path):
    path = tmp_path / 'a'
    path.write_bytes(b'12345')
    assert read_bounded(path, 5) == b'12345' and read_bounded(str(path), 10**12) == b'12345'
    with pytest.raises(FormatError, match='more than 4 bytes'):
        read_bounded(path, 4)
    for wrong in (tmp_path / 'b', path / 'b'):
        with pytest.raises(NotFoundError, match='there is no file'):
            read_bounded(wrong, 4)
    with pytest.raises(InputError, match='zero byte'):
        read_bounded('a\0b', 4)
    (tmp_path / 'link').symlink_to(path)
    assert read_bounded(tmp_path / 'link', 5) == b'12345'


def test_no_descriptor_stays_open(tmp_path):
    "Refusing a file closes it."
    if not os.path.isdir('/proc/self/fd'):
        pytest.skip('this test counts descriptors in /proc')
    before = len(os.listdir('/proc/self/fd'))
    for path in hostile_files(tmp_path):
        with pytest.raises(FormatError):
            read_bounded(path, 10)
    assert len(os.listdir('/proc/self/fd')) == before


# Writing


def test_write_new(tmp_path):
    write_new(tmp_path / 'a', b'1', 0o600)
    assert (tmp_path / 'a').read_bytes() == b'1' and stat.S_IMODE((tmp_path / 'a').stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        write_new(tmp_path / 'a', b'2')
    with pytest.raises(OSError) as error:
        write_new(tmp_path / 'no' / 'a', b'2')
    assert error.value.filename == str(tmp_path / 'no' / 'a') and (tmp_path / 'a').read_bytes() == b'1'


def test_write_atomic_modes(tmp_path):
    "The mode is that of the call, also where another file was there before."
    path = tmp_path / 'a'
    path.write_bytes(b'old')
    path.chmod(0o644)
    write_atomic(path, b'new')
    assert path.read_bytes() == b'new' and stat.S_IMODE(path.stat().st_mode) == 0o600
    write_atomic(path, b'newer', 0o644)
    assert path.read_bytes() == b'newer' and stat.S_IMODE(path.stat().st_mode) == 0o644 & ~umask()
    with pytest.raises(InputError, match='is a folder'):
        write_atomic(tmp_path, b'new')
    assert os.listdir(tmp_path) == ['a']


def umask():
    now = os.umask(0o022)
    os.umask(now)
    return now


def test_write_atomic_waits_for_the_disk(tmp_path, monkeypatch):
    "The file is on the disk before it is renamed, and its name afterwards."
    steps = []
    real = {name: getattr(os, name) for name in ('fsync', 'replace')}
    monkeypatch.setattr(os, 'fsync', lambda *args: (steps.append('fsync'), real['fsync'](*args))[1])
    monkeypatch.setattr(os, 'replace', lambda *args: (steps.append('replace'), real['replace'](*args))[1])
    write_atomic(tmp_path / 'a', b'1')
    assert steps == ['fsync', 'replace', 'fsync']


@pytest.mark.parametrize('name', ['fsync', 'replace'])
def test_write_atomic_that_fails(name, tmp_path, monkeypatch):
    "An error leaves the old file and nothing besides."

    def fails(*args):
        raise OSError(28, 'No space left on device')

    (tmp_path / 'a').write_bytes(b'old')
    with monkeypatch.context() as m:
        m.setattr(os, name, fails)
        with pytest.raises(OSError) as error:
            write_atomic(tmp_path / 'a', b'new')
    assert error.value.errno == 28 and error.value.filename
    assert (tmp_path / 'a').read_bytes() == b'old' and os.listdir(tmp_path) == ['a']


@posix
def test_write_atomic_and_death(tmp_path):
    "Whenever the program dies, the file is the old one or the new one."
    seen = []
    for step in range(1, 20):
        (tmp_path / 'a').write_bytes(b'old')
        pid = os.fork()
        if not pid:
            die_at(step)
            write_atomic(tmp_path / 'a', b'new')
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        seen.append((tmp_path / 'a').read_bytes())
        if code == 0:
            break
        assert code == KILLED
    assert code == 0 and set(seen) == {b'old', b'new'} and len(seen) >= 4


@posix
def test_write_atomic_by_several_processes(tmp_path):
    "Four processes replace one file; every reader sees a whole one."
    path, size = tmp_path / 'a', 300_000
    write_atomic(path, b'0' * size)
    children = []
    for letter in b'abcd':
        children.append(os.fork())
        if not children[-1]:
            for _ in range(30):
                write_atomic(path, bytes([letter]) * size)
            os._exit(0)
    seen = set()
    while children:
        data = path.read_bytes()
        assert len(data) == size and data == data[:1] * size
        seen.add(data[:1])
        children = [pid for pid in children if os.waitpid(pid, os.WNOHANG) == (0, 0)]
    assert path.read_bytes()[:1] in b'abcd' and os.listdir(tmp_path) == ['a']


def test_progress_gives_the_items(capsys):
    assert list(core.progress(iter('abc'), 'letters')) == ['a', 'b', 'c'] and not capsys.readouterr().out
    with core.progress(None, 'nothing', 3) as bar:
        bar.update(3)


def test_bars_leave_no_thread_behind():
    "A bar is made at every private request of a cloud: none may leave a thread that watches it."
    before = threading.active_count()
    for _ in range(20):
        assert list(core.progress(range(3), 'counting')) == [0, 1, 2]
    assert threading.active_count() <= before


@posix
def test_a_file_replaces_no_device(tmp_path):
    "As root, `--out /dev/null` must not make a file of the device."
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'null').symlink_to(os.devnull)
    for name in ('pipe', 'null'):
        with pytest.raises(InputError, match='a device or a pipe'):
            core.write_atomic(tmp_path / name, b'data')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['null', 'pipe']


def test_progress_without_tqdm(monkeypatch):
    "A cloud has no tqdm: items come all the same, and a bar that is told of steps does nothing."
    monkeypatch.setitem(sys.modules, 'tqdm', None)
    assert list(core.progress(iter('ab'), 'letters')) == ['a', 'b']
    with core.progress(None, 'nothing', 3) as bar:
        bar.update(2)
