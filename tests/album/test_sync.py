"Following a folder: questions and their answers, wrong folders, two at once, deaths at every step."
import json
import os
import pty
import select
import shutil
import subprocess
import time

import pytest
from commands import COMMAND, refusal, run, tree_privacy
from dying import KILLED, die_at
from fakes import child, ended
from pictures import draw, places, snapshot

import tree_privacy.client.owner as owner_module
from tree_privacy import Album
from tree_privacy.album import album as album_module
from tree_privacy.core import InputError
from tree_privacy.store.manifest import GENERATION

forks = pytest.mark.skipif(not hasattr(os, 'fork'), reason='these tests fork')


def names_in(home):
    "Names that the owner finds in the index."
    album = Album.open(home / 'cloud', home / 'mine.key')
    return sorted(album.owner().open(album.folder).collection.names)


def pictures_below(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*.png'))


@pytest.fixture
def asked(home, monkeypatch):
    "One photograph is gone, and somebody sits at the terminal; gives what lies in the folder."
    (home / 'Photos/a/00.png').unlink()
    draw(home / 'Photos/a/50.png', 50)
    monkeypatch.setattr(album_module, 'can_ask', lambda: True)
    return snapshot(home)


def answering(monkeypatch, error):
    def answer(question=''):
        raise error
    monkeypatch.setattr('builtins.input', answer)


# The question


def test_an_interrupted_question(asked, home, monkeypatch):
    answering(monkeypatch, KeyboardInterrupt())
    done = run('sync', home / 'Photos', *places(home))
    assert (done.returncode, done.stdout) == (130, '') and 'Traceback' not in done.stderr
    assert done.stderr.endswith('tree-privacy: interrupted; nothing half-written is left\n')
    assert snapshot(home) == asked


@pytest.mark.parametrize('error', [EOFError(), NotImplementedError(), UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'x')])
def test_a_question_without_an_answer(error, asked, home, monkeypatch):
    "The end of the input, a notebook that nobody looks at, bytes that are no text."
    answering(monkeypatch, error)
    done = run('sync', home / 'Photos', *places(home))
    refusal(done.returncode, done.stdout, done.stderr, 'no answer came: nothing was changed')
    assert done.returncode == 2 and snapshot(home) == asked


def test_the_question_is_not_among_the_results(asked, home, monkeypatch):
    "Standard output has one JSON object and nothing else, also where somebody was asked."
    monkeypatch.setattr('builtins.input', lambda question='': print(question, end='') or 'yes')
    done = tree_privacy('sync', home / 'Photos', *places(home), '--no-cache', '--json')
    found = json.loads(done.stdout)
    assert (found['removed'], found['added'], found['kept']) == (['a/00.png'], ['a/50.png'], [])
    assert '1 of 12 photographs in the album are not in this folder (a/00.png)' in done.stderr


@pytest.mark.parametrize('answer', ['', 'n', 'no', 'what?', 'yess'])
def test_whatever_is_no_yes_keeps_them(answer, asked, home, monkeypatch):
    monkeypatch.setattr('builtins.input', lambda question='': answer)
    done = tree_privacy('sync', home / 'Photos', *places(home), '--no-cache')
    assert done.stdout == '1 added; 13 photographs are in the album\n'
    assert '1 left alone: not in the folder, kept in the album (a/00.png)' in done.stderr
    assert names_in(home) == sorted([*pictures_below(home / 'Photos'), 'a/00.png'])


def shown_until(hand, command, word):
    "What a command shows on its terminal until a word is there, or until it ends; after a minute it is ended."
    shown, end = b'', time.monotonic() + 60
    while word is None or word not in shown:
        if select.select([hand], [], [], .1)[0]:
            try:
                shown += os.read(hand, 4096)
            except OSError:  # nobody has the terminal any more
                break
        elif command.poll() is not None:
            break
        elif time.monotonic() > end:
            command.kill()
    return shown


@pytest.mark.parametrize('typed, code', [(b'\x03', 130), (b'\x04', 2), (b'n\n', 0), (b'y\n', 0)])
def test_a_real_terminal(typed, code, home):
    "Ctrl-C, Ctrl-D, no and yes, typed where the installed command asks."
    (home / 'Photos/a/00.png').unlink()
    before, (hand, terminal) = snapshot(home), pty.openpty()
    command = subprocess.Popen([COMMAND, 'sync', home / 'Photos', *places(home)], stdin=terminal, stdout=-1,
                               stderr=terminal, text=True, preexec_fn=lambda: (os.setsid(), os.open(os.ttyname(0), 2)))
    os.close(terminal)
    shown = shown_until(hand, command, b'[y/N]')
    assert command.poll() is None and b'[y/N]' in shown, shown
    os.write(hand, typed)
    shown += shown_until(hand, command, None)
    out = command.communicate(timeout=120)[0]
    os.close(hand)
    assert command.returncode == code and b'Traceback' not in shown and shown.count(b'[y/N]') == 1, shown
    if typed == b'y\n':
        assert out == '1 removed; 11 photographs are in the album\n'
    else:
        assert out == ('nothing changed; 12 photographs are in the album\n' if typed == b'n\n' else '')
        assert snapshot(home) == before


# Wrong folders


@pytest.fixture
def wrong(home):
    "A folder that has no photograph of the album."
    for i in range(3):
        draw(home / f'Other/x/{i}.png', 70 + i)
    return home / 'Other'


def test_a_folder_with_nothing_in_common(wrong, home, monkeypatch):
    "Nobody can be asked: refused. Somebody is asked, and says no: nothing goes. With --yes it is done."
    before = snapshot(home)
    done = run('sync', wrong, *places(home))
    refusal(done.returncode, done.stdout, done.stderr, '12 of 12 photographs in the album are not in this folder')
    assert done.returncode == 2 and 'add --yes' in done.stderr and snapshot(home) == before
    monkeypatch.setattr(album_module, 'can_ask', lambda: True)
    monkeypatch.setattr('builtins.input', lambda question='': 'n')
    tree_privacy('sync', wrong, *places(home), '--no-cache')
    assert names_in(home) == sorted(pictures_below(home / 'Photos') + pictures_below(wrong))
    done = tree_privacy('sync', wrong, *places(home), '--no-cache', '--yes')
    assert done.stdout == '12 removed; 3 photographs are in the album\n' and names_in(home) == pictures_below(wrong)


def test_folders_that_would_empty_the_album(home):
    "No photographs, none that can be read, no folder: refused, with --yes too."
    (home / 'Empty').mkdir()
    (home / 'Broken').mkdir()
    (home / 'Broken/x.png').write_text('no picture')
    for folder, said in (('Empty', 'holds no photographs'), ('Broken', 'would remove every photograph'),
                         ('Missing', 'is not a folder'), ('Broken/x.png', 'is not a folder')):
        before = snapshot(home)
        done = run('sync', home / folder, *places(home), '--yes', '--no-cache')
        refusal(done.returncode, done.stdout, done.stderr, said)
        assert snapshot(home) == before


# Two at once, and deaths


def test_two_syncs_at_once(home):
    "Two processes follow the folder at the same time: each succeeds or is refused in a line, and all is there."
    for i in range(6):
        draw(home / f'Photos/new/{i}.png', 80 + i)
    (home / 'Photos/a').rename(home / 'Photos/z')
    (home / 'Photos/b/01.png').unlink()
    command = [COMMAND, 'sync', home / 'Photos', *places(home), '--yes']
    both = [subprocess.Popen(command, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    ends = [(process.communicate(timeout=300), process.returncode) for process in both]
    assert 0 in [code for _, code in ends], ends
    for (out, err), code in ends:
        if code:
            refusal(code, out, err, '')
    assert names_in(home) == pictures_below(home / 'Photos')
    assert tree_privacy('sync', home / 'Photos', *places(home)).stdout.startswith('nothing changed; 17 photographs')
    tree_privacy('inspect', home / 'cloud', '--verify', '--key', home / 'mine.key')


def test_a_change_in_between(home, monkeypatch):
    "Somebody adds while a folder is compared and written: the sync is refused in a line, and what was added stays."
    draw(home / 'more/new.png', 90)
    (home / 'Photos/a').rename(home / 'Photos/z')
    real = owner_module.IndexWriter

    def late(*args, **more):
        monkeypatch.setattr(owner_module, 'IndexWriter', real)
        Album.open(home / 'cloud', home / 'mine.key').add(home / 'more', cache=False)
        return real(*args, **more)

    monkeypatch.setattr(owner_module, 'IndexWriter', late)
    done = run('sync', home / 'Photos', *places(home))
    refusal(done.returncode, done.stdout, done.stderr, 'meanwhile')
    assert len(names_in(home)) == 13 and 'new.png' in names_in(home)
    with pytest.raises(InputError, match='1 of 13 photographs'):  # the sync has not heard of that one
        Album.open(home / 'cloud', home / 'mine.key').sync(home / 'Photos')


@forks
def test_death_at_every_step(made, tmp_path):
    "A sync that dies before any step on the disk: the album is as before or as after, and the next sync goes through."
    photos = shutil.copytree(made / 'Photos', tmp_path / 'Photos')
    (photos / 'a').rename(photos / 'z')
    (photos / 'b/01.png').unlink()
    old, new, home, seen = names_in(made), pictures_below(photos), tmp_path / 'home', []

    def sync():
        return Album.open(home / 'cloud', home / 'mine.key').sync(photos, yes=True, cache=False)

    def dying(step):
        die_at(step)
        sync()

    for step in range(1, 300):
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(made, home)
        code = ended(child(lambda step=step: dying(step)))
        assert code in (0, KILLED)
        there = names_in(home)
        assert there in (old, new)
        seen.append(there == new)
        assert sync().nothing == (there == new) and names_in(home) == new and sync().nothing
        Album.open(home / 'cloud', home / 'mine.key').remove(new[0])  # whatever is written next cleans up
        assert len([p for p in (home / 'cloud').iterdir() if GENERATION.fullmatch(p.name)]) == 1
        if code == 0:
            break
    else:
        pytest.fail('the sync never ended')
    assert not seen[0] and seen[-1] and seen == sorted(seen) and len(seen) > 15
