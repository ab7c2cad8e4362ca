"Sets of photographs: folders of any names, broken files, selections, data sets, codes of pixels."
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from fakes import Fake
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import album, draw, picture
from PIL import Image

from tree_privacy.core import InputError
from tree_privacy.images.features import features
from tree_privacy.images.photos import (
    SUFFIXES,
    digits,
    fashion_mnist,
    folder,
    from_arrays,
    names_only,
    one_photo,
    picture_set,
    pixel_codes,
    select,
    to_grayscale,
)
from tree_privacy.images.reading import LeftOut, list_folder

NOT_LOADED = '''
import sys
import tree_privacy.images.photos, tree_privacy.images.encoder
heavy = {'torch', 'torchvision', 'PIL', 'matplotlib', 'sklearn', 'scipy', 'IPython', 'ipywidgets',
         'pillow_heif', 'pathspec'} & set(sys.modules)
assert not heavy, heavy
tree_privacy.images.photos.from_arrays([], None, 'none')
tree_privacy.images.encoder.Encoder(64)
assert 'torch' not in sys.modules
'''
posix = pytest.mark.skipif(os.name != 'posix', reason='names and files of POSIX')
ODD_NAMES = [
    '中文/照片.png', 'صورة.png', '😀.png', 'e\u0301.png', '\u00e9.png', ' sp ace .png', 'new\nline.png', '-dash.png',
    '--key.png', '%s{}.png', '\x1b[31mred.png', '*.png', '\\.png', '"q\'.png', 'bad\udcff.png',
    '/'.join(['deep'] * 40) + '/x.png', 'x' * 240 + '.png',
]


def test_nothing_heavy_is_loaded_before_it_is_needed():
    "A set of photographs, or an encoder that is not fitted, needs no network."
    done = subprocess.run([sys.executable, '-c', NOT_LOADED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@posix
def test_names_in_any_script(tmp_path):
    "A folder gives every photograph under its own name, and the file behind it."
    for i, name in enumerate(ODD_NAMES):
        draw(tmp_path / 'photos' / name, i)
    photos = folder(tmp_path / 'photos')
    assert sorted(photos.names) == sorted(ODD_NAMES)
    for i, name in enumerate(photos.names):
        assert photos.read(i) == (tmp_path / 'photos' / name).read_bytes()
        assert (np.asarray(photos[i]) == np.asarray(picture(ODD_NAMES.index(name)))).all()
    photos.check()


def test_a_name_with_a_zero_byte():
    "A name is what it is: nothing is cut off. No file can be called so."
    photos = names_only(['a\0b.png'])
    assert photos.names == ['a\0b.png'] and select(photos, [0, 0]).names == ['a\0b.png'] * 2
    with pytest.raises(ValueError):
        one_photo('a\0b.png')


def test_broken_files_among_good_ones_are_skipped_by_name(tmp_path):
    photos = album(tmp_path / 'photos', 4)
    whole = tmp_path / 'whole.png'
    picture(50).resize((200, 200)).save(whole)
    (photos / 'half.png').write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
    (photos / 'empty.jpg').write_bytes(b'')
    (photos / 'text.png').write_text('hello')
    (photos / 'folder.jpg').mkdir()
    os.symlink('nowhere', photos / 'dangling.png')
    Image.new('1', (15_000, 15_000)).save(photos / 'bomb.png')
    with pytest.warns(UserWarning) as said:
        found, kept = features(folder(photos), Fake())
    said = [str(w.message) for w in said]
    assert len(found) == 4 == len(kept) and not any('folder.jpg' in s for s in said)
    for name in ('half.png', 'empty.jpg', 'text.png', 'dangling.png', 'bomb.png'):
        assert any(s.startswith(f'skipped {name}: it cannot be read') for s in said)


@posix
@pytest.mark.parametrize('cache', [False, True])
def test_a_pipe_and_a_device_are_no_photographs(cache, tmp_path):
    "Neither is waited for: they are skipped, and the others are read."
    photos = album(tmp_path / 'photos', 3)
    os.mkfifo(photos / 'pipe.png')
    os.symlink('/dev/zero', photos / 'endless.png')
    with pytest.warns(UserWarning, match='is not a regular file'):
        found, kept = features(folder(photos), Fake(), cache and tmp_path / 'cache')
    assert len(found) == 3


def test_folders_without_photographs(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text').mkdir()
    (tmp_path / 'text/a.txt').write_text('x')
    (tmp_path / 'hidden').mkdir()
    draw(tmp_path / 'hidden/.a.png', 1)
    for name in ('empty', 'text', 'hidden'):
        with pytest.raises(InputError, match='holds no photographs: wanted files ending in .bmp'):
            folder(tmp_path / name)
    for path in (tmp_path / 'missing', tmp_path / 'text/a.txt'):
        with pytest.raises(InputError, match='is not a folder'):
            folder(path)


def test_what_is_left_out_is_said(tmp_path):
    draw(tmp_path / 'a.png', 1)
    for name in ('notes.txt', 'film.mov'):
        (tmp_path / name).write_text('x')
    with pytest.warns(UserWarning, match=r'left out: 2 no pictures \(.mov, .txt\)$'):
        assert folder(tmp_path).names == ['a.png']


def lay_out(home, text):
    "Make files: a line `path`, or `path: what it holds`, where | begins a new line."
    for line in text.split():
        name, _, holds = line.partition(':')
        Path(home, name).parent.mkdir(parents=True, exist_ok=True)
        Path(home, name).write_text(holds.replace('|', '\n'))
    return home


def test_what_is_left_out_is_counted_by_reason(tmp_path):
    "Each file once: @eaDir before hidden, hidden before .treeignore, .treeignore before endings."
    lay_out(tmp_path, """
        a.png b.JPG deep/c.heif @eaDirs/y.png .treeignore:old/|*.raw deep/.treeignore:draft*
        @eaDir/a.png/thumb.jpg deep/@eaDir/x.jpg @eaDir/.hidden.jpg
        .thumbnails/a.png deep/.cache/deeper/b.png .DS_Store .@eaDir/x.jpg
        old/d.png old/e.txt old/.f.png x.raw deep/draft.png
        film.mp4 notes.txt deep/README""")
    with pytest.warns(UserWarning) as said:
        photos = folder(tmp_path)
    assert photos.names == ['@eaDirs/y.png', 'a.png', 'b.JPG', 'deep/c.heif']
    assert photos.left_out == LeftOut(eadir=3, hidden=4, ignored=5, not_pictures=3, endings=('.mp4', '.txt', 'README'))
    assert [str(w.message) for w in said] == [
        f'{tmp_path}; left out: 3 in @eaDir, 4 hidden, 5 by .treeignore, 3 no pictures (.mp4, .txt, README)']
    assert photos.left_out.total + len(photos) + 2 == sum(p.is_file() for p in tmp_path.rglob('*'))
    assert select(photos, [0]).left_out == photos.left_out and names_only('ab').left_out == LeftOut()


def test_a_folder_of_nothing_but_what_is_left_out(tmp_path):
    with pytest.raises(InputError, match='holds no photographs: .*; left out: 1 in @eaDir, 1 no picture .*mp4'):
        folder(lay_out(tmp_path, '@eaDir/a.jpg film.mp4'))


def test_many_endings_are_not_all_named(tmp_path):
    draw(tmp_path / 'a.png', 1)
    with pytest.warns(UserWarning, match=r'12 no pictures \(.x00, .*, .x07, ...\)$'):
        folder(lay_out(tmp_path, ' '.join(f'a.x{i:02}' for i in range(12))))


GIT = shutil.which('git')
PATTERNS = ['*.png', '!a.png', 'x/', '/x/', 'x/**', '!x/a.png', '**/y/', 'a*', '!b.png', '# note', '', '[ab].png',
            'x/y/', '!y/', r'\!a.png', 'b.png ', '*', '!*/', '/*/a.png', 'y/  ']  # folders with / at the end
FOLDERS = ['', 'x/', 'y/', 'x/y/', 'x/y/x/']


@pytest.mark.skipif(not GIT, reason='git is not installed')
@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.sampled_from(FOLDERS), st.lists(st.sampled_from(PATTERNS), max_size=5), max_size=4))
def test_treeignore_is_understood_as_git_does(rules):
    "The same photographs remain as when git reads the same files."
    with tempfile.TemporaryDirectory() as home:
        for place in FOLDERS:
            for name in ('a.png', 'b.png', '!a.png'):
                lay_out(home, place + name)
            if place in rules:
                Path(home, place, '.treeignore').write_text('\n'.join(rules[place]))
        git = [GIT, '-C', home, '-c', 'core.quotepath=off']
        subprocess.run([*git, 'init', '-q'], check=True)
        seen = subprocess.run([*git, 'ls-files', '-z', '--others', '--exclude-per-directory=.treeignore', '*.png'],
                              check=True, capture_output=True, text=True).stdout.split('\0')
        listing = list_folder(Path(home), SUFFIXES)
        assert [f.as_posix() for f in listing.files] == sorted(filter(None, seen), key=Path)
        assert len(listing.files) + listing.left_out.ignored == 3 * len(FOLDERS)


@pytest.mark.parametrize('text', [b'!', b'a\n!\n', b'\\'])
def test_a_treeignore_that_is_none(text, tmp_path):
    draw(tmp_path / 'a.png', 1)
    (tmp_path / '.treeignore').write_bytes(text)
    with pytest.raises(InputError, match='treeignore cannot be used .*: wanted one pattern a line'):
        folder(tmp_path)


@posix
def test_a_treeignore_of_any_bytes(tmp_path):
    "A byte order mark is no part of the first pattern; a name that is no text can be named."
    for name in ('a.png', 'bad\udcff.png', 'kept.png'):
        draw(tmp_path / name, 1)
    (tmp_path / '.treeignore').write_bytes(b'\xef\xbb\xbfa.png\r\nbad\xff.png\r\n')
    with pytest.warns(UserWarning, match='left out: 2 by .treeignore'):
        assert folder(tmp_path).names == ['kept.png']


@pytest.mark.filterwarnings('ignore:.*left out')
def test_a_change_among_what_is_left_out_is_none(tmp_path):
    "`check` follows the rules of `folder`, with those of a .treeignore that came meanwhile."
    for name in ('a.png', 'old/b.png', 'c.png'):
        draw(tmp_path / name, 1)
    photos = folder(lay_out(tmp_path, '.treeignore:old/'))
    for name in ('@eaDir/a.png', '.thumbnails/a.png', 'old/new.png', 'note.txt', '.b.png'):
        draw(tmp_path / 'x.png', 2)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / 'x.png').rename(tmp_path / name)
    photos.check()
    lay_out(tmp_path, '.treeignore:old/|c.png')
    with pytest.raises(InputError, match='c.png is left out now'):
        photos.check()
    lay_out(tmp_path, '.treeignore:nothing')
    with pytest.raises(InputError, match='old/b.png is new'):
        photos.check()


@pytest.mark.filterwarnings('ignore:.*left out')
def test_digests_tell_files_by_content(tmp_path):
    "The first half of the SHA-256 of the file, whatever its name and date; nothing where there is no file."
    photos = folder(album(tmp_path, 6))
    wanted = [hashlib.sha256((tmp_path / name).read_bytes()).digest()[:16] for name in photos.names]
    assert [photos.digest(i) for i in range(6)] == wanted and len(set(wanted)) == 6
    assert select(photos, [4, 1]).digest(0) == wanted[4]
    assert one_photo(tmp_path / photos.names[2]).digest(0) == wanted[2]
    os.utime(tmp_path / photos.names[0], (0, 0))
    shutil.copy(tmp_path / photos.names[0], tmp_path / 'a/copy.png')
    again = folder(tmp_path)
    assert again.digest(again.names.index('a/copy.png')) == again.digest(0) == wanted[0]
    draw(tmp_path / photos.names[0], 99)
    assert photos.digest(0) != wanted[0]
    for memory in (digits(), names_only('ab'), picture_set([picture(1)], 'a'), select(digits(), [3])):
        assert memory.digest(0) == b''
    (tmp_path / photos.names[1]).unlink()
    with pytest.raises(OSError):
        photos.digest(1)


def test_one_photograph_stands_among_others(tmp_path):
    "Its neighbours in the folder are of no concern to it."
    album(tmp_path, 3)
    photos = one_photo(tmp_path / 'a/00.png')
    draw(tmp_path / 'a/new.png', 9)
    photos.check()
    assert photos.names == ['00.png'] and photos.read(0) == (tmp_path / 'a/00.png').read_bytes()
    assert len(features(photos, Fake())[0]) == 1


def test_selections_of_selections():
    "Names, labels, pictures and files are those of the photographs that were chosen."
    photos, rng = digits(), np.random.default_rng(0)
    first, second = rng.integers(0, 1797, 60), rng.integers(0, 60, 30)
    some = select(select(photos, first), second)
    for i, number in enumerate(first[second].tolist()):
        assert some.names[i] == photos.names[number] and some.labels[i] == photos.labels[number]
        assert (np.asarray(some[i]) == np.asarray(photos[number])).all() and some.read(i) == photos.read(number)
    assert len(select(photos, [])) == 0 and select(names_only('ab'), [1]).labels is None


def test_a_selection_notices_a_change(tmp_path):
    photos = select(folder(album(tmp_path, 6)), [0])
    photos.check()
    (tmp_path / 'b/01.png').unlink()
    with pytest.raises(InputError, match='b/01.png is gone'):
        photos.check()


def test_names_without_photographs():
    for use in (lambda s: s.open(0), lambda s: s.read(0), lambda s: s[0], lambda s: select(s, [0]).open(0)):
        with pytest.raises(InputError, match='a.jpg is a name without a photograph'):
            use(names_only(['a.jpg']))
    with pytest.warns(UserWarning, match='skipped a.jpg'), pytest.raises(InputError, match='none of the 1 pictures'):
        features(names_only(['a.jpg']), Fake())


def test_pictures_in_memory_are_one_set():
    "Of any mode and size; what is read of one is a file of it."
    photos = picture_set([picture(1), picture(2).convert('L'), picture(3, (7, 5)).convert('RGBA')], list('abc'))
    assert [p.size for p in photos] == [(40, 30), (40, 30), (7, 5)] and all(p.mode == 'RGB' for p in photos)
    assert photos.read(0).startswith(b'\x89PNG') and photos.labels is None


def test_codes_of_pixels():
    "Bit i of a code says whether pixel i is brighter than half."
    arrays = np.random.default_rng(0).integers(0, 256, (20, 4, 6), dtype=np.uint8)
    photos = from_arrays(arrays, None, 'noise')
    assert (np.unpackbits(pixel_codes(photos), axis=1) == (arrays.reshape(20, 24) > 127)).all()
    assert (to_grayscale(photos, [3, 1]) == arrays[[3, 1]].reshape(2, 24)).all()


def test_fashion_mnist_lies_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv('TREE_PRIVACY_FASHION', str(tmp_path / 'elsewhere'))
    with pytest.raises(InputError, match='elsewhere/train-images-idx3-ubyte.gz is not there: install'):
        fashion_mnist()
    with pytest.raises(InputError, match='named/t10k-images'):
        fashion_mnist(False, tmp_path / 'named')


def test_fashion_mnist_of_the_distribution():
    "Debian's Fashion-MNIST, where it is installed: 10,000 test pictures, a thousand of each kind."
    try:
        photos = fashion_mnist(train=False)
    except InputError as error:
        pytest.skip(str(error))
    kinds, count = np.unique(photos.labels, return_counts=True)
    assert len(photos) == 10_000 and len(kinds) == 10 and (count == 1000).all()
    assert photos[0].size == (28, 28) and photos.labels[0] == 'Ankle boot'
