"What a key remembers: old versions and forks are refused, and alarms are never lost."
import errno
import json
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import pytest
from fakes import child, ended

import tree_privacy.core
from tree_privacy.client.trust import Note, Notes, TrustStore
from tree_privacy.core import ForgedReply, FormatError, RevokedError, RollbackError, SecurityError

A, B = '00' * 8, '11' * 8


@dataclass(frozen=True)
class Fake:
    "What the store needs of a manifest."
    version: int
    hash: str = 'aa'
    index: str = A


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'mine.key.trust'


@pytest.fixture(params=['file', 'memory'])
def trust(request, path):
    return TrustStore(path if request.param == 'file' else None)


def open_reply(trust, error=None, index=A):
    with trust.opening(index):
        if error:
            raise error


FORGED = ForgedReply('the sums do not fit', key_is_exposed=True)


# Versions

def test_rollback_and_fork_are_refused(trust):
    "By number and by hash, by looking and by noting; a newer version and the same one are not."
    for version in (1, 2, 2, 5):
        trust.remember(Fake(version))
    for wrong in (Fake(1), Fake(4), Fake(5, 'bb'), Fake(4, 'bb')):
        for refuse in (trust.check, trust.remember):
            with pytest.raises(RollbackError):
                refuse(wrong)
    assert trust.newest(A) == 5
    for right in (Fake(5), Fake(6, 'bb')):
        trust.check(right)
    trust.remember(Fake(1, index=B))
    assert [trust.newest(A), trust.newest(B)] == [5, 1]


def test_the_words_of_a_refusal(trust):
    trust.remember(Fake(2))
    with pytest.raises(RollbackError, match='version 1 of the index, but version 2 was seen before: somebody put'):
        trust.check(Fake(1))
    with pytest.raises(RollbackError, match='another version 2'):
        trust.check(Fake(2, 'bb'))


# Alarms

def test_an_alarm_ends_the_use_of_a_key(trust):
    "Of one index; for handing the key out, of any."
    trust.remember(Fake(3))
    with pytest.raises(ForgedReply):
        open_reply(trust, FORGED)
    for refuse in (trust.check_alarm, trust.prepare, lambda index: open_reply(trust, index=index)):
        with pytest.raises(RevokedError, match='forged.*the sums do not fit.*tree-privacy rotate.*TrustStore.lift'):
            refuse(A)
    with pytest.raises(RevokedError):
        trust.check_alarm()
    for allowed in (trust.check_alarm, trust.prepare, lambda index: open_reply(trust, index=index)):
        allowed(B)
    trust.remember(Fake(4))
    with pytest.raises(RevokedError):
        trust.check_alarm(A)
    trust.lift(A)
    trust.check_alarm()
    open_reply(trust)
    assert trust.newest(A) == 4


def test_what_is_no_alarm(trust):
    "A reply that is cut short, and a forgery whose refusal tells nothing."
    for error in (FormatError('cut short'), ForgedReply('records were swapped'), None):
        with suppress(FormatError, ForgedReply):
            open_reply(trust, error)
        trust.check_alarm()


@pytest.mark.parametrize('error', [KeyboardInterrupt, MemoryError, RuntimeError, KeyError])
def test_an_opening_that_breaks_off_is_an_alarm(trust, error):
    "Nobody knows then whether the reply was forged."
    with pytest.raises(error):
        open_reply(trust, error())
    with pytest.raises(RevokedError, match='a program ended while it opened a reply.*lift'):
        trust.check_alarm(A)
    trust.lift(A)
    trust.check_alarm()


def test_the_alarm_is_on_the_disk_before_the_reply_is_opened(path):
    "Looked at from inside, without the lock."
    trust = TrustStore(path)
    trust.remember(Fake(3))
    with trust.opening(A):
        assert json.loads(path.read_bytes())['indexes'][A]['opening'] is True
    assert json.loads(path.read_bytes())['indexes'][A]['opening'] is False


def test_an_alarm_outlives_the_process(path):
    with pytest.raises(ForgedReply):
        open_reply(TrustStore(path), FORGED)
    with pytest.raises(RevokedError, match='forged'):
        TrustStore(path).check_alarm(A)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks')
def test_a_program_that_is_killed_while_it_opens_a_reply(path):
    "The system releases the lock, and the note that stays is an alarm, not a lock."
    def dies():
        with TrustStore(path).opening(A):
            os.kill(os.getpid(), signal.SIGKILL)

    assert ended(child(dies)) == -signal.SIGKILL
    with pytest.raises(RevokedError, match='a program ended while it opened a reply'):
        TrustStore(path).check_alarm(A)


# A disk that is full

def full_disk(monkeypatch, name):
    "From now on nothing can be written."
    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, name, full)


@pytest.mark.parametrize('call', ['write', 'fsync', 'open', 'replace'])
def test_no_reply_is_opened_where_no_alarm_can_be_noted(path, monkeypatch, call):
    "On a full disk no request goes out and no reply is opened; with room again both work."
    trust = TrustStore(path)
    trust.remember(Fake(3))
    opened = []
    real = os.fdopen

    def full_file(handle, mode, *rest):
        file = real(handle, mode, *rest)
        if 'w' in mode:
            file.close()
            raise OSError(errno.ENOSPC, 'No space left on device')
        return file

    with monkeypatch.context() as m:
        if call == 'write':
            m.setattr(tree_privacy.core.os, 'fdopen', full_file)
        elif call == 'open':
            real_open = os.open

            def no_new_file(name, flags, *rest):
                if flags & os.O_CREAT and not os.path.exists(name):
                    raise OSError(errno.ENOSPC, 'No space left on device')
                return real_open(name, flags, *rest)
            m.setattr(os, 'open', no_new_file)
        else:
            full_disk(m, call)
        with pytest.raises(SecurityError, match='cannot write.*No space left.*nothing is asked and no reply is opened'):
            trust.prepare(A)
        with pytest.raises(SecurityError, match='cannot write'):
            with trust.opening(A):
                opened.append(True)
    assert not opened
    trust.check_alarm()
    open_reply(trust)
    assert trust.newest(A) == 3 and {p.name for p in path.parent.iterdir()} == {path.name, f'.{path.name}.lock'}


def test_an_alarm_is_kept_where_only_its_words_cannot_be_written(path, monkeypatch):
    "The disk is full between the intention and the alarm: the intention counts."
    trust = TrustStore(path)
    with monkeypatch.context() as m:
        with pytest.raises(ForgedReply):
            with trust.opening(A):
                full_disk(m, 'fsync')
                raise FORGED
    with pytest.raises(RevokedError):
        TrustStore(path).check_alarm(A)


def test_a_good_reply_is_an_error_where_its_alarm_cannot_be_taken_back(path, monkeypatch):
    trust = TrustStore(path)
    with monkeypatch.context() as m:
        with pytest.raises(SecurityError, match='cannot write'):
            with trust.opening(A):
                full_disk(m, 'replace')
    with pytest.raises(RevokedError, match='a program ended'):
        trust.check_alarm(A)


def test_versions_that_cannot_be_noted_are_a_warning(tmp_path):
    "A key in a folder that cannot be written to still opens an index; requests that could raise an alarm are refused."
    trust = TrustStore(tmp_path / 'not there' / 'mine.key.trust')
    with pytest.warns(UserWarning, match='version 3 was not noted'):
        trust.remember(Fake(3))
    trust.check_alarm()
    with pytest.raises(SecurityError, match='cannot write'):
        trust.prepare(A)


# A file that is damaged

def whole(path):
    trust = TrustStore(path)
    trust.remember(Fake(7))
    trust.remember(Fake(2, index=B))
    return path.read_bytes()


def test_a_damaged_file_is_an_alarm_for_every_index(path):
    "Empty, cut short anywhere, one bit changed anywhere, other JSON, too large, a folder, a pipe, a link to nowhere."
    data = whole(path)
    damaged = [b'', b'{}', b'[]', b'null', b'\xff\xfe', b'[' * 100_000, b' ' * (2 ** 24 + 1)]
    damaged += [data[:n] for n in range(1, len(data) - 1, 7)]
    damaged += [data[:n] + bytes([data[n] ^ 1]) + data[n + 1:] for n in range(0, len(data) - 1, 3)]
    for wrong in damaged:
        path.write_bytes(wrong)
        for index in (A, B, '22' * 8, None):
            with pytest.raises(RevokedError, match='is damaged or cannot be read'):
                TrustStore(path).check_alarm(index)
        with pytest.raises(RevokedError):
            TrustStore(path).prepare(A)


def test_what_is_no_file_is_an_alarm(path):
    path.mkdir()
    with pytest.raises(RevokedError, match='damaged'):
        TrustStore(path).check_alarm(A)
    path.rmdir()
    os.symlink('/dev/zero', path)
    with pytest.raises(RevokedError, match='damaged'):
        TrustStore(path).check_alarm(A)
    path.unlink()
    os.symlink(path.with_name('nowhere'), path)
    with pytest.raises(RevokedError, match='damaged'):
        TrustStore(path).check_alarm(A)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RevokedError, match='damaged'):
        TrustStore(path).check_alarm(A)


def test_a_damaged_file_stays_an_alarm_until_it_is_lifted(path):
    "Noting a version does not whitewash it; lifting is for one index."
    whole(path)
    path.write_bytes(b'')
    trust = TrustStore(path)
    trust.remember(Fake(8))
    for index in (A, B, None):
        with pytest.raises(RevokedError, match='damaged'):
            TrustStore(path).check_alarm(index)
    trust.lift(A)
    TrustStore(path).check_alarm(A)
    for index in (B, None):
        with pytest.raises(RevokedError, match='damaged'):
            TrustStore(path).check_alarm(index)


def test_values_that_are_none_are_damage(path):
    "Fields of other types, under a checksum that fits."
    from tree_privacy.client import trust as module
    wrong = [dict(version='3'), dict(version=-1), dict(version=True), dict(alarm=5), dict(hash=None), dict(opening=1)]
    for note in [Note(**fields) for fields in wrong]:
        path.write_bytes(module._to_bytes(Notes({A: note})))
        with pytest.raises(RevokedError, match='damaged'):
            TrustStore(path).check_alarm(B)


# Several processes

def test_mode_600(path):
    "The file and its lock, under any umask."
    old = os.umask(0)
    try:
        TrustStore(path).remember(Fake(1))
    finally:
        os.umask(old)
    modes = {p.name: p.stat().st_mode & 0o777 for p in path.parent.iterdir()}
    assert modes == {path.name: 0o600, f'.{path.name}.lock': 0o600}


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks')
def test_four_processes_lose_nothing(path):
    "Each notes forty indexes and raises an alarm for one; everything is there afterwards."
    def note(worker):
        trust = TrustStore(path)
        for i in range(40):
            trust.remember(Fake(i + 1, f'{worker}', f'{worker:08}{i:08}'))
            open_reply(trust, index=f'{worker:08}{i:08}')
        trust.raise_alarm(f'{worker:08}{0:08}', 'a test')

    workers = [child(lambda worker=worker: note(worker)) for worker in range(4)]
    assert [ended(pid) for pid in workers] == [0] * 4
    trust = TrustStore(path)
    for worker in range(4):
        assert [trust.newest(f'{worker:08}{i:08}') for i in range(40)] == list(range(1, 41))
        with pytest.raises(RevokedError, match='a test'):
            trust.check_alarm(f'{worker:08}{0:08}')
        trust.check_alarm(f'{worker:08}{1:08}')


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks')
def test_another_process_waits_while_a_reply_is_opened(path):
    "It does not take the note of a living program for an alarm, and it sees the alarm that comes of it."
    go, tell = os.pipe()
    TrustStore(path).remember(Fake(1))

    def slow(error):
        with TrustStore(path).opening(A):
            os.write(tell, b'x')
            time.sleep(.2)
            if error:
                raise error

    pid = child(lambda: slow(None))
    os.read(go, 1)
    TrustStore(path).check_alarm(A)
    assert ended(pid) == 0
    pid = child(lambda: slow(FORGED))
    os.read(go, 1)
    with pytest.raises(RevokedError, match='the sums do not fit'):
        TrustStore(path).prepare(A)
    assert ended(pid) == 1


def test_threads_wait_for_one_another(trust):
    begun, done = threading.Event(), []

    def slow():
        with trust.opening(A):
            begun.set()
            time.sleep(.1)
            done.append('opened')

    thread = threading.Thread(target=slow)
    thread.start()
    begun.wait()
    trust.check_alarm(A)
    done.append('checked')
    thread.join()
    assert done == ['opened', 'checked']
