"What an attacker with bad input found, each with the smallest case that showed it."
import io
import os
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from commands import refusal, run
from made_albums import small_encoder
from pictures import draw, picture

from tree_privacy import Album
from tree_privacy.album.results import PictureRow, draw_rows
from tree_privacy.core import InputError
from tree_privacy.crypto.keys import load_key
from tree_privacy.images.photos import folder, picture_set
from tree_privacy.images.reading import open_picture


def test_names_that_lead_back_overwrite_nothing(tmp_path):
    "new/../mine.jpg is refused before new is made."
    names = ['new/1.jpg', 'new/../mine.jpg']
    album = Album.create(picture_set([picture(1), picture(2)], names), tmp_path / 'c', tmp_path / 'k',
                         encoder=small_encoder(), cache=False)
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/mine.jpg').write_bytes(b'precious')
    for work in (lambda: album.restore(tmp_path / 'out'), lambda: album.search(picture(1)).save(tmp_path / 'out')):
        with pytest.raises(InputError, match='leads out of a folder'):
            work()
    assert (tmp_path / 'out/mine.jpg').read_bytes() == b'precious' and len(os.listdir(tmp_path / 'out')) == 1


def test_results_from_before_a_new_key_show_nothing_else(home, album):
    "Numbers are dealt again by rotate: an older result must not show another photograph under its name."
    found = album.search(home / 'Photos/a/00.png', k=3)
    album.rotate(home / 'new.key')
    with pytest.raises(InputError, match='search again'):
        found.save(home / 'out')
    assert not (home / 'out').exists()


@pytest.mark.parametrize('words', [('search', '{photo}', '--picture', '{key}'), ('ask', '{photo}', '--out', '{key}'),
                                   ('encode', '{photos}', '--out', '{key}')])
def test_no_command_overwrites_a_key(home, words):
    before = (home / 'mine.key').read_bytes()
    given = [word.format(photo=home / 'Photos/a/00.png', photos=home / 'Photos', key=home / 'mine.key')
             for word in words]
    places = [] if words[0] == 'encode' else ['--index', home / 'cloud', '--key', home / 'mine.key']
    if words[0] == 'ask':
        Album.create(home / 'Photos', home / 'cloud', home / 'mine.key', encoder=small_encoder(), lock='homomorphic',
                     cache=False)
    done = run(*given, *places)
    refusal(done.returncode, done.stdout, done.stderr, 'never overwritten')
    assert (home / 'mine.key').read_bytes() == before


def test_a_picture_replaces_pictures_only(home, album):
    found = album.search(home / 'Photos/a/00.png', k=2)
    (home / 'notes.txt').write_text('mine')
    with pytest.raises(InputError, match='no PNG picture'):
        found.draw(home / 'notes.txt')
    found.draw(home / 'x.png')
    found.draw(home / 'x.png')
    assert (home / 'notes.txt').read_text() == 'mine'


def test_a_folder_that_cannot_be_listed_is_not_empty(home, album, monkeypatch):
    "Photographs behind an error of the disk are not gone."
    real = os.scandir

    def scandir(path):
        if Path(path).name == 'a':
            raise PermissionError(13, 'Permission denied', str(path))
        return real(path)
    monkeypatch.setattr(os, 'scandir', scandir)
    with pytest.raises(InputError, match='cannot be listed'):
        album.sync(home / 'Photos', yes=True, cache=False)
    with pytest.raises(InputError, match='cannot be listed'):
        folder(home / 'Photos')
    assert len(album) == 12


def test_odd_files_do_not_stop_a_sync(home, album):
    "A link that leads nowhere and a pipe are unreadable pictures, and nothing more."
    (home / 'Photos/link.jpg').symlink_to('nowhere')
    os.mkfifo(home / 'Photos/pipe.jpg')
    draw(home / 'Photos/new.png', 50)
    with pytest.warns(UserWarning):
        done = album.sync(home / 'Photos', cache=False)
    assert done.added == ['new.png'] and sorted(done.unreadable) == ['link.jpg', 'pipe.jpg']


def test_odd_exif_is_a_damaged_picture():
    "Pillow's own errors of every kind become one that the package knows."
    exif = b'Exif\0\0II*\0\x08\0\0\0\x02\0' + struct.pack('<HHII', 0x112, 3, 1, 6)
    exif += struct.pack('<HHI4s', 0x100, 2, 1, b'ab\0\0') + b'\0' * 4
    file = io.BytesIO()
    picture(1).save(file, 'JPEG', exif=exif)
    try:
        assert open_picture(io.BytesIO(file.getvalue())).mode == 'RGB'
    except OSError as error:
        assert 'damaged picture' in str(error)


def test_titles_are_no_formulas():
    draw_rows([PictureRow(None, [picture(1)], ['a$\\foo$.jpg\n3 bits'])]).savefig(io.BytesIO(), format='png')


def test_many_results_take_several_lines():
    row = PictureRow(picture(0), [picture(i) for i in range(23)], [str(i) for i in range(23)])
    wide, high = draw_rows([row]).get_size_inches()
    assert wide < 13 and high > 4


def test_a_key_that_was_taken_away_meanwhile_is_written_again(home, monkeypatch):
    "Another run that made the same key file is interrupted: the index must not be left without its key."
    from tree_privacy.client.owner import Owner
    draw(home / 'Photos/a/00.png', 1)
    key = Album.open(home / 'cloud', home / 'mine.key').ring.key
    real = Owner.create

    def create(self, *args, **options):
        made = real(self, *args, **options)
        (home / 'mine.key').unlink()
        return made
    monkeypatch.setattr(Owner, 'create', create)
    Album.create(home / 'Photos', home / 'cloud', home / 'mine.key', encoder=small_encoder(), cache=False)
    assert load_key(home / 'mine.key').id == key.id


def test_nothing_to_remove(album):
    version = album.manifest.version
    with pytest.raises(InputError, match='no names'):
        album.remove([])
    assert album.manifest.version == version


def test_keeping_what_is_gone(home, album):
    (home / 'Photos/a/00.png').unlink()
    draw(home / 'Photos/b/60.png', 60)
    done = album.sync(home / 'Photos', keep=True, cache=False)
    assert (done.added, done.kept, done.removed, len(album)) == (['b/60.png'], ['a/00.png'], [], 13)
    with pytest.raises(InputError, match='one of the two'):
        album.sync(home / 'Photos', yes=True, keep=True, cache=False)


def test_a_key_in_the_folder_of_the_cloud_is_said(home):
    shutil.copy(home / 'mine.key', home / 'cloud/stray.key')
    with pytest.warns(UserWarning, match='which the cloud gets'):
        Album.open(home / 'cloud', home / 'cloud/stray.key')


def test_saving_from_a_search(home):
    done = run('search', home / 'Photos/a/00.png', '--index', home / 'cloud', '--key', home / 'mine.key', '--k', '2',
               '--save', home / 'saved')
    assert done.returncode == 0 and len([p for p in (home / 'saved').rglob('*.jpg')]) == 2
    assert re.search(r'saved/a/00.png.jpg written', done.stderr)
    assert all(p.stat().st_mode & 0o077 == 0 for p in (home / 'saved').rglob('*'))


@pytest.mark.parametrize('wrong', [None, 5, b'x', [], np.zeros(3)])
def test_wrong_types(wrong, home, album):
    with pytest.raises(InputError):
        Album.open(wrong, home / 'mine.key')
    with pytest.raises(InputError):
        album.add(wrong)
    with pytest.raises(InputError):
        Album(home / 'cloud', wrong)


def test_a_verdict_first(album):
    broken = album.attack(['exact distances'], queries=20, lock='random-matrix')
    assert 'The cloud recovers more than guessing would: exact distances' in repr(broken)
    assert 'guessing would: nothing' in repr(album.attack(['exact distances'], queries=5))


def test_a_reply_that_is_too_large_to_read(home, tmp_path_factory):
    "The cloud chooses the size of a reply: a tebibyte of holes is refused by its size."
    vast = tmp_path_factory.mktemp('vast') / 'reply'
    with open(vast, 'wb') as file:
        file.truncate(2 ** 40)
    done = run('read', vast, '--key', home / 'mine.key')
    refusal(done.returncode, done.stdout, done.stderr, 'a reply has at most 268,435,456')
