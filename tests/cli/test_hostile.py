"What people and accidents put into the command line: it works, or it is refused in one line and leaves nothing behind."
import dataclasses
import functools
import hashlib
import io
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import COMMAND, refusal
from commands import run as run_command
from fakes import child, ended
from forked import run_forked
from pictures import album, draw, picture, snapshot
from pictures import places as at
from PIL import Image
from safetensors.numpy import load, save

from tree_privacy import core, output
from tree_privacy.album.places import trust_beside
from tree_privacy.cli import cloud
from tree_privacy.cli.main import main
from tree_privacy.client import owner as owner_module
from tree_privacy.client.owner import Owner
from tree_privacy.cloud.service import CloudService
from tree_privacy.crypto import keys
from tree_privacy.images import backbones
from tree_privacy.images.encoder import load_codes
from tree_privacy.images.photos import picture_set
from tree_privacy.store import records
from tree_privacy.store.manifest import FORMAT, MANIFEST, Manifest
from tree_privacy.wire import read_message, write_message

COMMON = ['tree_privacy', 'format', *(f.name for f in dataclasses.fields(Manifest))]
OF_LOCKS = {
    'random-matrix': ['options.form', 'options.rule',
                      'fields.leaves', 'fields.nodes', 'fields.epsilon', 'fields.longest'],
    'sealed': [],
    'private-walk': ['options.rule', 'options.capacity', 'fields.buckets', 'fields.size'],
    'homomorphic': ['options.form'],
    'decoy-walk': ['options.rule', 'options.capacity', 'options.decoys', 'fields.buckets', 'fields.size'],
}
FILE_FIELDS = ['files.records', 'files.records.bytes', 'files.records.sha256']
EXAMINED = {lock: ['lock', 'ids', 'record_size', 'options', 'fields', *own] for lock, own in OF_LOCKS.items()}
EXAMINED['random-matrix'] = [*COMMON, *OF_LOCKS['random-matrix'], *FILE_FIELDS]
FILES = dict({
    'random-matrix': ['tree', 'records', 'encoder', 'photos', 'digests'],
    'sealed': ['codes', 'records', 'pir-keys', 'digests'],
    'private-walk': ['buckets', 'client-data', 'pir-keys', 'photos']})
LOCKED = [(lock, kind) for lock, kinds in FILES.items() for kind in kinds]
HOWS = ['missing', 'truncated', 'middle']
DAMAGES = [(lock, kind, how) for lock, kind in LOCKED for how in HOWS]
DAMAGES += [('random-matrix', 'tree', how) for how in ('empty', 'longer', 'first', 'header', 'last')]
STRANGE = [None, 0, -1, 1.5, 'x', [], {}]
QUICK = ['--bits', 32, '--size', 32]
posix = pytest.mark.skipif(os.name != 'posix', reason='names and modes of POSIX')


@pytest.fixture(scope='session')
def worlds(tmp_path_factory):
    "By lock: twelve photographs, their index, its key, a request and the reply to it, where the lock has such."

    @functools.cache
    def world(lock):
        home = tmp_path_factory.mktemp('hostile')
        album(home / 'photos', 12)
        places = [str(a) for a in at(home)]
        assert main(['index', f'{home}/photos', *places, '--bits', '64', '--lock', lock]) == 0
        if lock == 'sealed':
            (home / 'request').write_bytes(write_message('describe', {}))
        else:
            assert main(['ask', f'{home}/photos/a/00.png', *places, '--out', f'{home}/request']) == 0
        assert main(['answer', f'{home}/request', '--index', f'{home}/cloud', '--out', f'{home}/reply']) == 0
        return home

    return world


@pytest.fixture
def lock():
    return 'random-matrix'


@pytest.fixture
def home(worlds, lock, tmp_path):
    "A copy of it, to change or to destroy; under random matrices unless a test says another lock."
    return Path(shutil.copytree(worlds(lock), tmp_path / 'home'))


def query(home):
    return home / 'photos/a/00.png'


def found(works, photo, *places):
    return json.loads(works('search', photo, *places, '--k', 100, '--json')[0])['results']


# What must work


def odd_pictures(folder):
    "One picture of every odd kind; gives their names."
    folder.mkdir(parents=True)
    turned = Image.Exif()
    turned[0x112] = 6
    deep = Image.fromarray(np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40))
    moving = dict(save_all=True, append_images=[picture(98)])
    kinds = dict({
        'grey.jpg': picture(1).convert('L'), 'clear.png': picture(2).convert('RGBA'), 'print.jpg':
        picture(3).convert('CMYK'), 'deep.png': deep, 'web.webp': picture(4), 'line.png': picture(5).convert('1'),
        'greyclear.png': picture(6).convert('LA'), 'dot.png': picture(7).resize((1, 1)), 'float.tif':
        picture(8).convert('F'), 'ENDING.JPG': picture(9), 'ENDING2.PnG': picture(10), 'tall.png': picture(11).resize(
            (1, 900)), 'wide.png': picture(12).resize((900, 1))})
    for name, image in kinds.items():
        image.save(folder / name)
    picture(20).convert('P').save(folder / 'palette.png', transparency=3)
    picture(21).save(folder / 'moving.gif', **moving)
    picture(22).save(folder / 'moving.webp', **moving)
    picture(23).save(folder / 'turned.jpg', exif=turned)
    return {p.name for p in folder.iterdir()}


def test_every_kind_of_picture_works(works, tmp_path):
    names = odd_pictures(tmp_path / 'photos')
    out, err = works('index', tmp_path / 'photos', *at(tmp_path), '--bits', 32)
    assert 'skipped' not in err and out.startswith(f'{len(names)} photographs')
    for name in ('dot.png', 'print.jpg', 'moving.gif', 'deep.png'):
        results = found(works, tmp_path / 'photos' / name, *at(tmp_path))
        assert {r['photo'] for r in results} == names
        assert name in {r['photo'] for r in results if r['distance'] == 0}
    works('fetch', *[r['id'] for r in results], *at(tmp_path), '--out', tmp_path / 'found')
    with Image.open(tmp_path / 'found/turned.jpg') as image:
        assert image.size == (30, 40)
    assert len(list((tmp_path / 'found').iterdir())) == len(names)


def test_animations_are_seen_by_their_first_frame(works, tmp_path):
    odd_pictures(tmp_path / 'photos')
    picture(21).save(tmp_path / 'still.png')
    works('index', tmp_path / 'photos', *at(tmp_path), '--bits', 64)
    assert found(works, tmp_path / 'still.png', *at(tmp_path))[0]['photo'] == 'moving.gif'


def test_a_very_large_picture_works(works, tmp_path):
    (tmp_path / 'photos').mkdir()
    Image.new('L', (13000, 13000), 90).save(tmp_path / 'photos/large.jpg', quality=30)
    draw(tmp_path / 'photos/small.png', 1)
    out, err = works('index', tmp_path / 'photos', *at(tmp_path), '--bits', 32)
    assert out.startswith('2 photographs') and 'Decompression' not in err
    assert found(works, tmp_path / 'photos/large.jpg', *at(tmp_path))[0]['photo'] == 'large.jpg'


@pytest.mark.parametrize('rule', ['original', 'checked', 'tagged', 'balanced'])
@pytest.mark.parametrize('form', ['basic', 'split', 'noisy'])
def test_one_photograph_is_enough(rule, form, works, tmp_path):
    draw(tmp_path / 'photos/one.png', 1)
    works('index', tmp_path / 'photos', *at(tmp_path), '--bits', 32, '--lock', 'random-matrix', '--rule', rule,
          '--form', form)
    assert [r['photo'] for r in found(works, tmp_path / 'photos/one.png', *at(tmp_path))] == ['one.png']


OTHER_LOCKS = [('homomorphic', []), ('homomorphic', ['--form', 'public']), ('sealed', []),
               ('private-walk', ['--rule', 'tagged']), ('decoy-walk', [])]


@pytest.mark.parametrize('lock, options', OTHER_LOCKS)
def test_one_photograph_is_enough_under_other_locks(lock, options, works, tmp_path):
    draw(tmp_path / 'photos/one.png', 1)
    works('index', tmp_path / 'photos', *at(tmp_path), '--bits', 32, '--lock', lock, *options)
    assert [r['photo'] for r in found(works, tmp_path / 'photos/one.png', *at(tmp_path))] == ['one.png']


def test_identical_photographs_all_come_back(works, tmp_path):
    for i in range(15):
        draw(tmp_path / f'photos/{i}.png', 1)
    works('index', tmp_path / 'photos', *at(tmp_path), '--bits', 32)
    results = found(works, tmp_path / 'photos/3.png', *at(tmp_path))
    assert len({r['photo'] for r in results}) == 15 and {r['distance'] for r in results} == {0}
    assert len(json.loads(works('search', tmp_path / 'photos/3.png', *at(tmp_path), '--k', 4,
                                '--json')[0])['results']) == 4


@posix
def test_names_in_any_script(works, tmp_path):
    names = [
        '中文/照片.png', 'صورة.png', '😀.png', 'e\u0301.png', '\u00e9.png', ' sp ace .png', 'new\nline.png',
        '-dash.png', '--key.png', '%s{}.png', '\x1b[31mred.png', '*.png', '\\.png', '"q\'.png', 'bad\udcff.png',
        '/'.join(['deep'] * 40) + '/x.png', 'x' * 240 + '.png']
    for i, name in enumerate(names):
        draw(tmp_path / 'photos' / name, i)
    works('index', tmp_path / 'photos', *at(tmp_path), '--bits', 64, '--photos', 'full')
    for name in ('中文/照片.png', 'new\nline.png', 'bad\udcff.png'):
        results = found(works, tmp_path / 'photos' / name, *at(tmp_path))
        assert results[0]['photo'] == name and {r['photo'] for r in results} == set(names)
    works('fetch', *[r['id'] for r in results], *at(tmp_path), '--out', tmp_path / 'found')
    assert snapshot(tmp_path / 'found') == snapshot(tmp_path / 'photos')
    works('remove', *at(tmp_path), '--', 'bad\udcff.png', '-dash.png')
    assert '2 added' in works('add', tmp_path / 'photos', *at(tmp_path))[0]


@posix
def test_names_do_not_break_lines_or_steer_the_terminal(works, tmp_path):
    "Results in words have one line each, whatever the names."
    for i, name in enumerate(['new\nline.png', '\x1b[31mred.png', 'bad\udcff.png']):
        draw(tmp_path / 'photos' / name, i)
    works('index', tmp_path / 'photos', *at(tmp_path), '--bits', 32)
    out = works('search', tmp_path / 'photos/new\nline.png', *at(tmp_path))[0]
    assert len(out.splitlines()) == 3 and '\x1b' not in out


@posix
def test_names_of_the_greatest_length_can_be_fetched(works, tmp_path):
    draw(tmp_path / 'photos' / ('x' * 251 + '.png'), 1)
    for photos in ('full', 'thumbs'):
        works('index', tmp_path / 'photos', *at(tmp_path), '--bits', 32, '--photos', photos)
        number = found(works, next((tmp_path / 'photos').iterdir()), *at(tmp_path))[0]['id']
        works('fetch', number, *at(tmp_path), '--out', tmp_path / photos)
        assert len(list((tmp_path / photos).iterdir())) == 1


@posix
def test_odd_paths_of_index_and_key(tmp_path):
    "An index and a key whose names are not valid UTF-8, in a terminal that knows ASCII alone."
    draw(tmp_path / 'p\udcff' / 'ä.png', 1)
    done = subprocess.run([
        COMMAND, 'index', tmp_path / 'p\udcff', '--index', tmp_path / 'i\udcff', '--key', tmp_path / 'k\udcff',
        '--bits', '32'], capture_output=True, env=dict(os.environ, LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0'))
    assert done.returncode == 0 and (tmp_path / 'i\udcff' / MANIFEST).exists(), done.stderr.decode()


def test_broken_files_among_good_ones_are_skipped_by_name(works, tmp_path):
    photos = album(tmp_path / 'photos', 4)
    whole = io.BytesIO()
    picture(50).resize((200, 200)).save(whole, 'PNG')
    (photos / 'half.png').write_bytes(whole.getvalue()[:len(whole.getvalue()) // 2])
    (photos / 'empty.jpg').write_bytes(b'')
    (photos / 'text.png').write_text('hello')
    (photos / 'folder.jpg').mkdir()
    os.symlink('nowhere', photos / 'dangling.png')
    out, err = works('index', photos, *at(tmp_path), '--bits', 32)
    assert out.startswith('4 photographs') and '4 of 8 pictures' in err and 'folder.jpg' not in err
    assert all(f'warning: skipped {name}' in err for name in ('half.png', 'empty.jpg', 'text.png', 'dangling.png'))
    assert len(found(works, photos / 'a/00.png', *at(tmp_path))) == 4


def test_adding_nothing_new_is_no_error(home, works):
    out, err = works('add', home / 'photos', *at(home))
    assert out == 'nothing changed; 12 photographs are in the album\n'
    assert '12 left alone: in the album already (' in err


def test_labels_that_are_not_used_are_a_warning(works, tmp_path):
    "A table without a hash layer, and rows for pictures that are not there."
    album(tmp_path / 'photos', 6)
    (tmp_path / 'labels.csv').write_text('name,label\na,x\nb,y\nc,x\nd,z\n')
    _, err = works('encode', tmp_path / 'photos', '--out', tmp_path / 'x', *QUICK, '--labels', tmp_path / 'labels.csv',
                   '--binariser', 'hash')
    assert 'warning: 1 names in' in err and 'for example d' in err and 'is not used' not in err
    _, err = works('encode', tmp_path / 'photos', '--out', tmp_path / 'x', *QUICK, '--labels', tmp_path / 'labels.csv')
    assert 'is not used: only --binariser hash' in err


@posix
def test_odd_names_in_a_file_of_codes(works, tmp_path):
    names = ['中文/照片.png', 'new\nline.png', 'bad\udcff.png', '\x1b[31mred.png']
    for i, name in enumerate(names):
        draw(tmp_path / 'photos' / name, i)
    works('encode', tmp_path / 'photos', '--out', tmp_path / 'x\udcff', *QUICK, '--json')
    assert set(load_codes((tmp_path / 'x\udcff').read_bytes()).names) == set(names)


@posix
@pytest.mark.parametrize('command', [['index', '--key', 'key', '--index'], ['encode', '--out']])
def test_odd_paths_in_a_strict_terminal(command, tmp_path):
    "A name that is not valid UTF-8 is printed somehow, where standard output knows valid UTF-8 alone."
    draw(tmp_path / 'photos/a.png', 1)
    done = subprocess.run([COMMAND, command[0], 'photos', *command[1:], 'x\udcff', *map(str, QUICK)], cwd=tmp_path,
                          capture_output=True, env=dict(os.environ, PYTHONIOENCODING='utf-8:strict'))
    assert done.returncode == 0 and (tmp_path / 'x\udcff').exists(), done.stderr.decode()


# What is refused: places and options


def test_folders_without_photographs(refused, tmp_path):
    for name in ('empty', 'broken/a', 'broken/b'):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / 'broken/a/x.png').write_text('x')
    (tmp_path / 'broken/b/y.jpg').write_bytes(b'')
    refused('holds no photographs', 'index', tmp_path / 'empty', *at(tmp_path))
    refused('none of the 2 pictures', 'index', tmp_path / 'broken', *at(tmp_path))
    refused('can be read', 'index', tmp_path / 'broken', *at(tmp_path), '--backbone', 'small-cnn')
    refused('not a folder', 'index', tmp_path / 'missing', *at(tmp_path))
    refused('not a folder', 'index', tmp_path / 'broken/a/x.png', *at(tmp_path))


@pytest.mark.parametrize('bits, keyword', [('12', 'multiple of 8'), ('7', 'multiple of 8'), ('0', 'whole number'),
                                           ('-8', 'whole number'), ('1288', '1280'), ('99999999999999999999', ''),
                                           ('eight', 'whole number')])
def test_bits_that_cannot_be(bits, keyword, run, tmp_path):
    draw(tmp_path / 'photos/a.png', 1)
    before = snapshot(tmp_path)
    code, out, err = run('index', tmp_path / 'photos', *at(tmp_path), '--bits', bits)
    assert code == 2
    assert not out
    assert keyword in err
    assert 'Traceback' not in err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize('option', [
    '--k=0', '--k=-1', '--nodes=0', '--nodes=-3', '--k=1.5', '--k=many', '--k=99999999999999999999999',
    '--nodes=9999999999999999999'])
def test_numbers_that_cannot_be(option, run, home):
    code, out, err = run('search', query(home), *at(home), option)
    if code == 0:
        assert len(option) > 15 and len(out.splitlines()) >= 10  # a huge number may be taken as all
    else:
        assert code == 2 and 'Traceback' not in err and 'should not have' not in err


@pytest.mark.parametrize('option', [('--seed', '-1'), ('--size', '0'), ('--backbone', 'nope')])
def test_encoder_options_that_cannot_be(option, run, tmp_path):
    draw(tmp_path / 'photos/a.png', 1)
    before = snapshot(tmp_path)
    code, _, err = run('index', tmp_path / 'photos', *at(tmp_path), *option)
    assert code == 2 and 'should not have' not in err and snapshot(tmp_path) == before


def test_features_that_are_not_numbers(refused, tmp_path, monkeypatch):
    album(tmp_path / 'photos', 6)
    real = backbones.Backbone.__call__
    monkeypatch.setattr(backbones.Backbone, '__call__', lambda self, pixels: real(self, pixels) * np.nan)
    for kind in ('itq', 'hash'):
        refused('NaN', 'index', tmp_path / 'photos', *at(tmp_path), *QUICK, '--no-cache', '--binariser', kind)
        refused('NaN', 'encode', tmp_path / 'photos', '--out', tmp_path / 'x', *QUICK, '--no-cache', '--binariser',
                kind)


@pytest.mark.parametrize(
    'args',
    [[], ['nonsense'], ['search'], ['index', 'x'], ['fetch', 'one', '--index', 'x', '--key', 'y'], ['evaluate', 'x']])
def test_usage_errors(args, run):
    code, out, err = run(*args)
    assert code == 2
    assert not out
    assert 'usage: tree-privacy' in err
    assert 'error:' in err.splitlines()[-1]


def test_where_an_index_cannot_be(home, refused):
    photos = home / 'photos'
    refused('overwritten', 'index', photos, '--index', photos, '--key', home / 'new.key')
    refused('overwritten', 'index', photos, '--index', home / 'request', '--key', home / 'new.key')
    refused('no folder', 'index', photos, '--index', home / 'missing/cloud', '--key', home / 'new.key')
    refused('no folder', 'index', photos, '--index', home / 'request/cloud', '--key', home / 'new.key')
    refused('was made with one', 'index', photos, '--index', home / 'cloud', '--key', home / 'new.key')
    for command in (['search', query(home)], ['add', photos], ['remove', 'a/00.png'], ['fetch', '1'], [
            'ask', query(home), '--out', home / 'x']):
        refused('holds no index', *command, '--index', photos, '--key', home / 'mine.key')
    refused('holds no index', 'inspect', home / 'missing')
    refused('holds no index', 'answer', home / 'request', '--index', home / 'request', '--out', home / 'x')


def test_where_a_key_cannot_be(home, refused):
    photos = home / 'photos'
    refused('inside', 'index', photos, '--index', home / 'new', '--key', home / 'new/my.key')
    refused('inside', 'index', photos, '--index', home / 'cloud', '--key', home / 'cloud/my.key')
    refused('key file', 'index', photos, '--index', home / 'new', '--key', photos)
    refused('no folder', 'index', photos, '--index', home / 'new', '--key', home / 'missing/my.key')
    refused('no folder', 'grant', '--key', home / 'mine.key', '--out', home / 'missing/my.key')
    refused('not overwritten', 'grant', '--key', home / 'mine.key', '--out', home / 'mine.key')
    refused('no key file', 'search', query(home), '--index', home / 'cloud', '--key', home / 'missing.key')


@posix
def test_paths_with_a_zero_byte(home, refused):
    for args in (['a\0', '--index', home / 'x', '--key',
                  home / 'y'], [home / 'photos', '--index', 'a\0', '--key',
                                home / 'y'], [home / 'photos', '--index', home / 'x', '--key', 'a\0']):
        refused('', 'index', *args)


@posix
@pytest.mark.parametrize('mode', [0o644, 0o640, 0o604, 0o620])
def test_a_key_that_others_may_read(mode, home, refused):
    (home / 'mine.key').chmod(mode)
    for command in (['search', query(home)], ['remove', 'a/00.png'], ['index', home / 'photos']):
        refused('chmod 600', *command, *at(home))


def damaged_keys(good):
    "Key files that are none."
    about = json.loads(good)
    about.pop('checksum')

    def signed(**changes):
        return json.dumps(dict(about | changes, checksum=keys._checksum(about | changes))).encode()

    user = {k: v for k, v in about.items() if k != 'signing'} | dict(role='user', public='00')
    return dict(empty=b'', half=good[:len(good) // 2], noise=bytes(range(256)), array=b'[]', number=b'3', null=b'null',
                nested=b'[' * 100000, flipped=good.replace(b'"secret": "', b'"secret": "0'), newer=good.replace(
                    b'"format": 1', b'"format": 2'), words=good.replace(b'"format": 1',
                                                                        b'"format": "a"'), short=signed(secret='00'),
                letters=signed(secret='zz'), number_secret=signed(secret=5), signing=signed(signing='00'),
                role=signed(role='king'), public=json.dumps(dict(user, checksum=keys._checksum(user))).encode())


@pytest.mark.parametrize('kind', damaged_keys(b'{"checksum": 1}'))
def test_damaged_keys(kind, home, refused):
    (home / 'mine.key').write_bytes(damaged_keys((home / 'mine.key').read_bytes())[kind])
    for command in (['search', query(home), '--index', home / 'cloud'], ['grant', '--out', home / 'friend.key'], [
            'read', home / 'reply'], ['index', home / 'photos', '--index', home / 'new']):
        refused('' if kind == 'public' else 'key', *command, '--key', home / 'mine.key')


def test_key_of_another_index(home, refused, works):
    works('index', home / 'photos', '--index', home / 'other', '--key', home / 'other.key', '--bits', 64)
    wrong = ['--index', home / 'cloud', '--key', home / 'other.key']
    for command in (['search',
                     query(home)], ['ask', query(home), '--out', home / 'x'], ['fetch', '1', '--out', home / 'x'], [
                         'add', home / 'photos'], ['remove', 'a/00.png'], ['index', home / 'photos', '--bits', 64]):
        refused('not the key of this index', *command, *wrong)
    refused('cannot be opened', 'read', home / 'reply', '--key', home / 'other.key')
    refused('another index', 'answer', home / 'request', '--index', home / 'other', '--out', home / 'x')
    refused('not the key', 'inspect', home / 'cloud', '--key', home / 'other.key')


def test_query_photographs_that_are_none(home, refused):
    (home / 'text.png').write_text('hello')
    for command in (['search'], ['ask', '--out', home / 'x']):
        refused('no photograph', *command, home / 'missing.png', *at(home))
        refused('give one photograph', *command, home / 'photos', *at(home))
        refused('cannot be read', *command, home / 'text.png', *at(home))


def test_ids_that_do_not_exist(home, refused):
    for number in ('12', '-1', '99999999999999999999999'):
        refused('that a search gave', 'fetch', *at(home), '--out', home / 'x', '--', number)


def test_fetch_overwrites_nothing(home, refused, works):
    works('fetch', 0, *at(home), '--out', home / 'found')
    refused('not overwritten', 'fetch', 1, 0, *at(home), '--out', home / 'found')


def test_fetch_into_a_file_or_onto_a_full_disk_leaves_nothing(home, refused, monkeypatch):
    refused('', 'fetch', 0, 1, *at(home), '--out', home / 'request')
    real, count = output.write_atomic, [0]

    def full(path, data, *mode):
        count[0] += 1
        if count[0] == 2:
            raise OSError(28, 'No space left on device', str(path))
        return real(path, data, *mode)

    monkeypatch.setattr(output, 'write_atomic', full)
    refused('No space left', 'fetch', 0, 1, 2, *at(home), '--out', home / 'found')


def test_results_have_nowhere_to_go(home, refused):
    refused('no folder', 'search', query(home), *at(home), '--picture', home / 'missing/x.png')
    refused('is a folder', 'search', query(home), *at(home), '--picture', home / 'photos')
    refused('no folder', 'ask', query(home), *at(home), '--out', home / 'missing/x')
    refused('is a folder', 'answer', home / 'request', '--index', home / 'cloud', '--out', home / 'photos')
    refused('is not there', 'search', query(home), *at(home), '--picture', home / 'x.png', '--originals',
            home / 'missing')


def test_removing_what_is_not_there_or_everything(home, refused):
    refused('nothing was changed', 'remove', 'a/00.png', 'missing.png', *at(home))
    refused('delete the folder', 'remove', *[f'{"abc"[i % 3]}/{i:02}.png' for i in range(12)], *at(home))


@pytest.mark.skipif(os.name != 'posix' or os.geteuid() == 0, reason='permissions do not bind root')
def test_places_that_cannot_be_written(home, refused):
    (home / 'cloud').chmod(0o500)
    try:
        refused('Permission denied', 'remove', 'a/00.png', *at(home))
    finally:
        (home / 'cloud').chmod(0o700)


def writing(monkeypatch, write):
    "Let every module of the package that writes new files do so with this function."
    real = core.write_new
    users = [m for name, m in list(sys.modules.items()) if name.startswith('tree_privacy.') and hasattr(m, 'write_new')]
    assert {m.__name__.rpartition('.')[2] for m in users} >= {'core', 'keys', 'generations', 'writer'}
    for module in users:
        monkeypatch.setattr(module, 'write_new', write)
    return real


def test_full_disk_in_the_command(home, refused, monkeypatch):
    "Every command that writes, on a disk without room."
    draw(home / 'more/new.png', 55)

    def full(path, *rest):
        raise OSError(28, 'No space left on device', str(path))

    def full_but_for_keys(path, data, *mode):
        return real(path, data, *mode) if Path(path).parent == home else full(path)

    real = writing(monkeypatch, full)
    new = ['index', home / 'photos', '--index', home / 'new', '--key', home / 'new.key', '--bits', 64]
    for command in (['index', home / 'photos', '--bits', 64], ['add', home / 'more'], ['remove', 'a/00.png']):
        refused('make room', *command, *at(home))
    refused('make room', *new)
    refused('make room', 'grant', '--key', home / 'mine.key', '--out', home / 'friend.key')
    writing(monkeypatch, full_but_for_keys)
    refused('make room', *new)


@posix
def test_a_name_with_a_zero_byte(home, refused, works, monkeypatch):
    "Another program may have sealed such a name: it is shown on one line, and nothing is written or read under it."
    owner = Owner(keys.load_key(home / 'mine.key'), trust_beside(home / 'mine.key'))
    for module in (records, owner_module):
        monkeypatch.setattr(module, 'check_names', lambda names: None)
    code = np.full((1, 8), 255, np.uint8)
    number = owner.add(home / 'cloud', picture_set([picture(77)], ['a\0b.png']), code).ids[0]
    monkeypatch.undo()
    out, _ = works('search', query(home), *at(home), '--k', 100, '--nodes', 100)
    assert len(out.splitlines()) == 13
    assert 'a\\x00b.png' in out
    assert refused('zero byte', 'fetch', number, *at(home), '--out', home / 'found') == 2
    assert refused('zero byte', 'fetch', number, *at(home), '--out', home / 'found', '--originals',
                   home / 'photos') == 2
    assert refused('zero byte', 'remove', 'a/00.png', *at(home)) == 2
    assert refused('zero byte', 'remove', 'a\0b.png', *at(home)) == 2


# Exit codes


def classes(kind):
    "An error class with all classes below it."
    return [kind, *(found for below in kind.__subclasses__() for found in classes(below))]


def made(kind):
    "An error of a class, whatever its class wants."
    return kind() if kind is core.SealError else kind('what came, what was wanted')


EXIT_CODES = dict(TreePrivacyError=1, InputError=2, NotFittedError=2, NotFoundError=3, FormatError=4, SecurityError=5,
                  SealError=5, SignatureError=5, RollbackError=5, ForgedReply=5, RevokedError=5, AccessError=6,
                  TransportError=7, MissingDependency=8)
OUTSIDE = [(OSError(13, 'Permission denied', 'x'), 2), (BrokenPipeError(), 0), (KeyboardInterrupt(), 130),
           (ZeroDivisionError(), 1)]


def failing(error):
    "A command that fails with this error."

    def inspect(index):
        "Fail."
        raise error

    return inspect


def test_exit_codes_by_error_class(run, monkeypatch, tmp_path):
    "Each class of errors has one exit code and one line, and no class is missing in the table."
    package = [kind for kind in classes(core.TreePrivacyError) if kind.__module__.startswith('tree_privacy.')]
    assert {kind.__name__ for kind in package if kind.__module__ == 'tree_privacy.core'} == set(EXIT_CODES)
    for kind in package:
        above = next(base.__name__ for base in kind.__mro__ if base.__name__ in EXIT_CODES)
        assert kind.exit_code == EXIT_CODES[above], f'{kind} ends a command with another code than {above}'
    errors = [(made(kind), EXIT_CODES[kind.__name__]) for kind in package if kind.__name__ in EXIT_CODES]
    command = cloud.COMMANDS['inspect']
    for error, wanted in [*errors, *OUTSIDE]:
        monkeypatch.setitem(cloud.COMMANDS, 'inspect', dataclasses.replace(command, run=failing(error)))
        monkeypatch.setattr(os, 'dup2', lambda *handles: None)
        code, out, err = run('inspect', tmp_path)
        lines = 0 if isinstance(error, BrokenPipeError) else 1
        assert (code, out, len(err.splitlines())) == (wanted, '', lines), (error, err)
        assert ('should not have happened' in err) == isinstance(error, ZeroDivisionError)


def test_exit_codes_of_commands(home, refused, works, run):
    "One example of a command for each code that a command can end with here."
    works('grant', '--key', home / 'mine.key', '--out', home / 'friend.key')
    works('index', home / 'photos', '--index', home / 'other', '--key', home / 'other.key', *QUICK)
    (home / 'text.png').write_text('hello')
    (home / 'half').write_bytes((home / 'reply').read_bytes()[:-9])
    cloud, mine = ['--index', home / 'cloud'], ['--key', home / 'mine.key']
    table = [(2, 'search', query(home), *at(home), '--picture', home / 'missing/x.png'),
             (3, 'remove', 'missing.png', *at(home)),
             (2, 'index', home / 'photos', '--index', home / 'cloud', '--key', home / 'cloud/x.key'),
             (3, 'inspect', home / 'missing'), (3, 'search', home / 'missing.png', *at(home)),
             (2, 'fetch', 99, *at(home)), (3, 'read', home / 'reply', '--key', home / 'missing.key'),
             (3, 'answer', home / 'missing', *cloud, '--out', home / 'x'), (4, 'search', home / 'text.png', *at(home)),
             (4, 'read', home / 'half', *mine), (4, 'answer', home / 'half', *cloud, '--out', home / 'x'),
             (5, 'read', home / 'reply', '--key', home / 'other.key'),
             (6, 'inspect', home / 'cloud', '--key', home / 'other.key'),
             (6, 'remove', 'a/00.png', *cloud, '--key', home / 'friend.key'),
             (6, 'grant', '--key', home / 'friend.key', '--out', home / 'x.key')]
    wrong = [(code, *command) for code, *command in table if refused('', *command) != code]
    assert not wrong, wrong
    altered(home, 'photographs', 5)
    altered(home, 'ids', [[0, 5]])
    assert refused('owner did not sign', 'inspect', home / 'cloud', *mine) == 5
    assert run('nonsense')[0] == 2


# What is refused: labels, binarisers and files of codes


def bad_tables(names):
    "Files that are no table of labels for a hash layer, and a word of the refusal."
    rows = [f'{n},{n[0]}\n' for n in names]
    text = dict(empty=('', '6 of 6 pictures have no label'), header=('name,label\n', '6 of 6 pictures have no label'),
                blank=('\n\n\n', '6 of 6 pictures have no label'),
                one_column=('name\n' + ''.join(n + '\n' for n in names), 'line 2'), semicolons=(''.join(rows).replace(
                    ',',
                    ';').join(['name;label\n',
                               '']), 'line 2'), tabs=('name\tlabel\n' + ''.join(rows).replace(',', '\t'), 'line 2'),
                no_label=('name,label\n' + rows[0] + f'{names[1]},\n',
                          'line 3'), blank_label=('name,label\n' + f'{names[0]},  \n', 'line 2'),
                no_name=('name,label\n,cat\n', 'line 2'), nothing=('name,label\n,\n', 'line 2'),
                others=('name,label\nx/1.jpg,cat\nx/2.jpg,dog\n',
                        '6 of 6 pictures have no label'), missing=('name,label\n' + ''.join(rows[:-1]), names[-1]),
                no_header=(''.join(rows), names[0]), open_quote=('name,label\n"' + ''.join(rows), 'line 2'),
                one_category=('name,label\n' + ''.join(f'{n},cat\n' for n in names), 'one category only'),
                one_picture=('name,label\n' + ''.join(rows) + f'{names[0]},cat\n', "'cat' has 1 picture"),
                wide=('name,label\n' + 'x' * 200_000 + ',cat\n',
                      'cannot be read as CSV'), long=('name,label\n' + 'x' * 100_000,
                                                      'line 2'), steering=('name,label\n\x1b[31mred\n', 'line 2'),
                zeros=('\0' * 1000, '6 of 6 pictures'), huge=('name,label\n' + 'a/x.png,y\n' * 200_000,
                                                              'have no label'))
    data = {k: (v.encode(), keyword) for k, (v, keyword) in text.items()}
    return data | dict(binary=(random.Random(0).randbytes(5000), 'cannot be read as CSV'), utf16=(
        ('name,label\n' + ''.join(rows)).encode('utf-16'), 'cannot be read as CSV'),
                       latin=(b'name,label\na,caf\xe9\n', 'cannot be read as CSV'),
                       picture=(b'\x89PNG\r\n\x1a\n' + bytes(100), 'cannot be read as CSV'))


SIX = [f'{"abc"[i % 3]}/{i:02}.png' for i in range(6)]


@pytest.mark.parametrize('kind', bad_tables(SIX))
def test_tables_of_labels_that_are_none(kind, refused, run, tmp_path):
    "Each is refused before any work, in one short line that names what is wrong."
    album(tmp_path / 'photos', 6)
    data, keyword = bad_tables(SIX)[kind]
    (tmp_path / 'labels.csv').write_bytes(data)
    asked = ['--binariser', 'hash', '--labels', tmp_path / 'labels.csv', *QUICK]
    refused(keyword, 'encode', tmp_path / 'photos', '--out', tmp_path / 'x', *asked)
    refused(keyword, 'index', tmp_path / 'photos', *at(tmp_path), *asked)
    refused('evaluate wants one' if kind == 'one_picture' else keyword, 'evaluate', tmp_path / 'photos',
            tmp_path / 'photos', *asked)
    err = run('encode', tmp_path / 'photos', '--out', tmp_path / 'x', *asked)[2]
    assert len(err) < 2000 and '\x1b' not in err


def test_tables_of_labels_that_are_not_there(refused, tmp_path):
    album(tmp_path / 'photos', 6)
    for labels in (tmp_path / 'missing.csv', tmp_path / 'photos', tmp_path / 'photos/a/00.png/x.csv', 'folder', ''):
        refused('', 'encode', tmp_path / 'photos', '--out', tmp_path / 'x', '--binariser', 'hash', '--labels', labels,
                *QUICK)
        refused('', 'index', tmp_path / 'photos', *at(tmp_path), '--labels', labels, *QUICK)


def test_folders_that_a_hash_layer_cannot_learn_from(refused, tmp_path):
    "No subfolders, one of them, one with one picture, and broken pictures where there seemed to be two categories."
    for i in range(4):
        draw(tmp_path / f'flat/{i}.png', i)
        draw(tmp_path / f'one/cat/{i}.png', i)
        draw(tmp_path / f'few/cat/{i}.png', i)
        draw(tmp_path / f'broken/cat/{i}.png', i)
    draw(tmp_path / 'few/dog/9.png', 9)
    (tmp_path / 'broken/dog').mkdir()
    for i in range(2):
        (tmp_path / f'broken/dog/{i}.png').write_text('no picture')
    for photos, keyword in dict(flat='subfolders', one="only ('cat')", few="'dog' has 1 picture",
                                broken="'cat'").items():
        refused(keyword, 'encode', tmp_path / photos, '--out', tmp_path / 'x', '--binariser', 'hash', *QUICK)
        refused(keyword, 'index', tmp_path / photos, *at(tmp_path), '--binariser', 'hash', *QUICK)
        if photos != 'flat':
            refused('cat', 'evaluate', tmp_path / photos, tmp_path / photos, '--binariser', 'hash', *QUICK)
    refused('no categories', 'evaluate', tmp_path / 'flat', tmp_path / 'flat', '--binariser', 'hash', *QUICK)


@pytest.mark.parametrize('kind', ['itq', 'pca', 'lsh', 'hash'])
def test_more_bits_than_features(kind, refused, tmp_path):
    album(tmp_path / 'photos', 6)
    asked = ['--binariser', kind, '--bits', 2048, '--size', 32]
    refused('more than the 1280 features: use 1280 or fewer', 'encode', tmp_path / 'photos', '--out', tmp_path / 'x',
            *asked)
    refused('more than the 1280 features: use 1280 or fewer', 'index', tmp_path / 'photos', *at(tmp_path), *asked)
    refused('more than the 1280 features: use 1280 or fewer', 'evaluate', tmp_path / 'photos', tmp_path / 'photos',
            *asked)
    refused('more than the 128 features', 'encode', tmp_path / 'photos', '--out', tmp_path / 'x', '--binariser', kind,
            '--bits', 256, '--backbone', 'small-cnn')
    for bits in (4, 12):
        refused('multiple of 8', 'encode', tmp_path / 'photos', '--out', tmp_path / 'x', '--binariser', kind, '--bits',
                bits, '--size', 32)
    for size in (31, 2000):
        refused('32 to 1024', 'encode', tmp_path / 'photos', '--out', tmp_path / 'x', '--binariser', kind, '--size',
                size)


@pytest.mark.parametrize('command', ['encode', 'index', 'evaluate'])
def test_there_is_no_such_binariser(command, run, tmp_path):
    album(tmp_path / 'photos', 3)
    before = snapshot(tmp_path)
    rest = dict(encode=['--out', tmp_path / 'x'], index=at(tmp_path), evaluate=[tmp_path / 'photos'])[command]
    for kind in ('best', 'ITQ', ''):
        code, out, err = run(command, tmp_path / 'photos', *rest, '--binariser', kind)
        assert code == 2
        assert not out
        assert 'invalid choice' in err.splitlines()[-1]
        assert snapshot(tmp_path) == before


def test_evaluate_says_what_the_codes_learned_from(works, tmp_path):
    "In words, above the table: nobody should take a hash layer's figures for those of unseen photographs."
    album(tmp_path / 'photos', 6)
    asked = [
        'evaluate', tmp_path / 'photos', tmp_path / 'photos', *QUICK, '--categories', '3', '--seeds', '0', '--nodes',
        '2', '--binariser']
    assert '(hash, a hash layer that learned from the collection and its labels)' in works(*asked, 'hash')[0]
    assert '(lsh)' in (out := works(*asked, 'lsh')[0]) and 'learned' not in out


def test_evaluate_wants_one_label_for_each(refused, works, tmp_path):
    "Several labels, a query of a category that is not in the collection, one seed with nothing to learn."
    album(tmp_path / 'photos', 6)
    album(tmp_path / 'other', 4, 'abcd')
    several = ''.join(f'{n},{n[0]}\n' for n in SIX)
    (tmp_path / 'labels.csv').write_text(f'name,label\n{several}a/00.png,z\n')
    refused('a/00.png has the labels a and z', 'evaluate', tmp_path / 'photos', tmp_path / 'photos', '--labels',
            tmp_path / 'labels.csv', *QUICK)
    refused('for example d', 'evaluate', tmp_path / 'photos', tmp_path / 'other', *QUICK, '--binariser', 'hash')
    (tmp_path / 'labels.csv').write_text(f'name,label\n{several}')
    for i in range(6):
        draw(tmp_path / 'flat' / SIX[i][2:], i)
    (tmp_path / 'flat.csv').write_text('name,label\n' + ''.join(f'{n[2:]},{n[0]}\n' for n in SIX))
    asked = ['--json', *QUICK, '--seeds', '0', '--categories', '3', '--nodes', '2']
    one = json.loads(
        works('evaluate', tmp_path / 'photos', tmp_path / 'photos', '--labels', tmp_path / 'labels.csv', *asked)[0])
    two = json.loads(
        works('evaluate', tmp_path / 'flat', tmp_path / 'flat', '--labels', tmp_path / 'flat.csv', *asked)[0])
    assert [r['accuracy'] for r in one['rows']] == [r['accuracy'] for r in two['rows']]
    assert one['rows'][0]['accuracy'] == 1


def test_where_codes_cannot_be_written(home, refused, works, monkeypatch):
    "A missing folder, a folder itself, a file as a folder, a full disk: nothing is written, and an old file stays."
    refused('no folder', 'encode', home / 'photos', '--out', home / 'missing/x', *QUICK)
    refused('is a folder', 'encode', home / 'photos', '--out', home / 'photos', *QUICK)
    refused('no folder', 'encode', home / 'photos', '--out', home / 'request/x', *QUICK)
    refused('not a folder', 'encode', home / 'missing', '--out', home / 'x', *QUICK)
    refused('not a folder', 'encode', home / 'request', '--out', home / 'x', *QUICK)
    refused('argument is empty', 'encode', home / 'photos', '--out', '', *QUICK)
    works('encode', home / 'photos', '--out', home / 'x', *QUICK)
    real = core.write_new

    def full(path, data, *rest):
        real(path, data[:100], *rest)
        raise OSError(28, 'No space left on device', str(path))

    writing(monkeypatch, full)
    for out in ('x', 'y'):
        refused('No space left', 'encode', home / 'photos', '--out', home / out, *QUICK)


def test_encoders_that_are_no_files_of_codes(home, refused, works):
    "What `--like` is given: missing, a folder, something else, cut short, with another encoder in it."
    works('encode', home / 'photos', '--out', home / 'good', *QUICK)
    good = (home / 'good').read_bytes()
    arrays = load(good)
    wrong = dict(empty=b'', text=b'hello', half=good[:len(good) // 2], last=good[:-1], longer=good + b'x',
                 encoder=arrays['encoder'].tobytes(), header=b'\xff' * 8 + good[8:], none=save({}), no_encoder=save({
                     k: v
                     for k, v in arrays.items()
                     if k != 'encoder'}), no_codes=save({k: v
                                                         for k, v in arrays.items()
                                                         if k != 'codes'}),
                 damaged=save(arrays | dict(encoder=arrays['encoder'][:-1])),
                 noise=save(arrays | dict(encoder=arrays['encoder'][::-1].copy())),
                 fewer=save(arrays | dict(codes=arrays['codes'][:-1])),
                 wider=save(arrays | dict(codes=np.tile(arrays['codes'], 2))),
                 floats=save(arrays | dict(codes=arrays['codes'].astype(np.float32))))
    for data in wrong.values():
        (home / 'wrong').write_bytes(data)
        refused('no file of codes', 'encode', home / 'photos', '--like', home / 'wrong', '--out', home / 'x')
    for path in (home / 'missing', home / 'photos', home / 'good/x'):
        refused('there is no file of codes', 'encode', home / 'photos', '--like', path, '--out', home / 'x')
    for path in (query(home), home / 'request', home / 'mine.key', home / 'cloud' / MANIFEST):
        refused('no file of codes', 'encode', home / 'photos', '--like', path, '--out', home / 'x')


def test_folders_that_change_while_they_are_encoded(home, run, monkeypatch):
    "A photograph that comes while the network is at work: one line, nothing written, no key left without an index."
    real, count = backbones.Backbone.__call__, [0]

    def meanwhile(self, pixels):
        count[0] += 1
        draw(home / f'photos/a/new{count[0]}.png', 100 + count[0])
        return real(self, pixels)

    monkeypatch.setattr(backbones.Backbone, '__call__', meanwhile)
    draw(home / 'photos/a/first.png', 99)
    before = {k: v for k, v in snapshot(home).items() if not k.startswith('photos')}
    for args in (['encode', home / 'photos', '--out', home / 'x',
                  *QUICK], ['index', home / 'photos', '--index', home / 'new', '--key', home / 'new.key',
                            *QUICK], ['index', home / 'photos', *at(home), *QUICK], ['add', home / 'photos',
                                                                                     *at(home)]):
        refusal(*run(*args, '--no-cache'), 'changed while it was read')
        assert {k: v for k, v in snapshot(home).items() if not k.startswith('photos')} == before


# What is refused: a damaged index


def generation(home):
    return home / 'cloud' / json.loads((home / 'cloud' / MANIFEST).read_bytes())['generation']


def spoil(path, how):
    "Damage one file."
    data = bytearray(path.read_bytes())
    if how == 'missing':
        return path.unlink()
    if how == 'truncated':
        del data[len(data) // 2:]
    elif how == 'empty':
        data.clear()
    elif how == 'longer':
        data += b'x'
    else:
        data[{'first': 0, 'header': 12, 'middle': len(data) // 2, 'last': -1}[how]] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize('lock, kind, how', DAMAGES)
def test_every_damaged_file_is_noticed(lock, kind, how, home, refused, run):
    "Each file is checked by those who use it; `inspect --verify` checks all."
    path = next(generation(home).glob(f'{kind}*'))
    spoil(path, how)
    refused(path.stem, 'inspect', home / 'cloud', '--verify')
    if kind == 'photos':
        refused('', 'fetch', *range(12), *at(home), '--how', 'direct', '--out', home / 'found')
        refused('', 'restore', *at(home), '--out', home / 'back')
    elif kind == 'digests':  # read by the owner alone, before every change
        draw(home / 'more/new.png', 55)
        for command in (['add', home / 'more'], ['add', home / 'photos'], ['sync', home / 'photos'],
                        ['sync', home / 'more', '--yes'], ['remove', 'a/00.png']):
            refused(path.stem, *command, *at(home))
    else:
        ask = [] if lock == 'sealed' else [['ask', query(home), '--out', home / 'x']]  # nothing to ask under that one
        for command in (['search', query(home)], *ask, ['fetch', 1, '--out', home / 'found']):
            refused(path.stem, *command, *at(home))
        refused(path.stem, 'answer', home / 'request', '--index', home / 'cloud', '--out', home / 'x')


@pytest.mark.parametrize('how', HOWS)
@pytest.mark.parametrize('lock, kind',
                         [*(('random-matrix', kind) for kind in ('records', 'encoder', 'photos', 'digests')),
                          ('sealed', 'codes')])
def test_damage_is_not_signed_by_the_next_change(lock, kind, how, home, refused):
    "A change that copies a damaged file into a new one is refused, or the damage would look sound ever after."
    path = next(generation(home).glob(f'{kind}*'))
    spoil(path, how)
    refused(path.stem, 'remove', 'a/00.png', *at(home))


@pytest.mark.parametrize('how', HOWS)
@pytest.mark.parametrize('lock, kind', [('random-matrix', 'tree'), ('private-walk', 'buckets')])
def test_damage_is_mended_by_the_next_change(lock, kind, how, home, works):
    "What is made anew from records is sound again afterwards."
    spoil(next(generation(home).glob(f'{kind}*')), how)
    works('remove', 'a/00.png', *at(home))
    works('inspect', home / 'cloud', '--verify', '--key', home / 'mine.key')
    assert len(found(works, query(home), *at(home), '--nodes', 100)) == 11


@pytest.mark.parametrize('how', ['truncated', 'middle'])
@pytest.mark.parametrize('lock', ['sealed'])
def test_damage_of_what_is_taken_over_still_shows(lock, how, home, refused, works):
    "A damaged file that goes into the next version as it is does so with its old checksum."
    path = next(generation(home).glob('pir-keys*'))
    spoil(path, how)
    works('remove', 'a/00.png', *at(home))
    refused(path.stem, 'inspect', home / 'cloud', '--verify')
    refused(path.stem, 'search', query(home), *at(home))


def test_swapped_photographs(home, refused):
    "Two sealed photographs of one size change places: the seals and the checksum notice."
    path = next(generation(home).glob('photos*'))
    pack = {k: v.copy() for k, v in load(path.read_bytes()).items()}
    size = pack['start'][1]
    pack['boxes'][:2 * size] = np.roll(pack['boxes'][:2 * size], size)
    path.write_bytes(save(pack))
    refused('cannot be opened', 'fetch', 0, *at(home), '--out', home / 'found')
    refused('altered', 'inspect', home / 'cloud', '--verify')
    picture = '--k', 12, '--picture', home / 'x.png'  # all twelve: ids are random, so ten might leave out both
    refused('', 'search', query(home), *at(home), *picture)


def with_field(about, place, value):
    "A manifest's JSON with another value at a place such as 'files.records.bytes'; the value 'missing' takes it out."
    name, _, rest = place.partition('.')
    if rest:
        return about | {name: with_field(about[name], rest, value)}
    return {k: v for k, v in (about | {name: value}).items() if (k, v) != (name, 'missing')}


def at_place(about, place):
    "What a manifest's JSON says at a place."
    for name in place.split('.'):
        about = about[name]
    return about


def altered(home, place, value):
    "Change one field of the manifest."
    path = home / 'cloud' / MANIFEST
    about = json.loads(path.read_bytes())
    assert at_place(about, place) != value
    path.write_text(json.dumps(with_field(about, place, value)))


@pytest.mark.parametrize('lock', OF_LOCKS)
def test_no_field_of_a_manifest_is_forgotten_here(lock, home):
    "The lists above have every field that an index of the lock has, and the nested ones as well."
    about = json.loads((home / 'cloud' / MANIFEST).read_bytes())
    assert set(about) == set(COMMON)
    nested = {f'{outer}.{inner}' for outer in ('options', 'fields') for inner in about[outer]}
    assert nested == set(OF_LOCKS[lock])
    assert {f'files.records.{name}' for name in about['files']['records']} == set(FILE_FIELDS[1:])


@pytest.mark.parametrize('lock, field', [(lock, field) for lock, fields in EXAMINED.items() for field in fields])
def test_every_field_of_the_manifest_is_signed(lock, field, home, refused):
    "With a key, whatever the manifest says instead is refused."
    wrong = []
    manifest = (home / 'cloud' / MANIFEST).read_bytes()
    for value in [*STRANGE, 'missing']:
        (home / 'cloud' / MANIFEST).write_bytes(manifest)
        if at_place(json.loads(manifest), field) == value:
            continue
        altered(home, field, value)
        for command in (['inspect', home / 'cloud', '--key', home / 'mine.key'], ['remove', 'a/00.png', *at(home)]):
            try:
                assert refused('', *command) in (3, 4, 5, 6)
            except AssertionError as error:
                wrong.append((value, command[0], str(error)[:200]))
    assert not wrong, wrong


def try_manifests(home, fields, values):
    """What runs in a process of its own: give the cloud every field with every strange value. The commands of one
    manifest run in a fork, for numbers can crash compiled code; what is wrong is printed.
    """
    path = home / 'cloud' / MANIFEST
    good = json.loads(path.read_bytes())
    assert CloudService(home / 'cloud').lock.check()
    index, key = ['--index', f'{home}/cloud'], ['--key', f'{home}/mine.key']
    commands = [['answer', f'{home}/request', *index, '--out', f'{home}/x'],
                ['fetch', '1', *index, *key, '--out', f'{home}/y'], ['inspect', f'{home}/cloud'],
                ['inspect', f'{home}/cloud', '--verify']]
    for field in fields:
        for value in values:
            if at_place(good, field) == value:
                continue
            path.write_text(json.dumps(with_field(good, field, value)))
            code = ended(child(functools.partial(try_commands, commands, f'{field} = {value}')))
            if code:
                print(f'{field} = {value}: the process ended with {code}')


def try_commands(commands, what):
    "Run commands on a manifest that is wrong, and say which ended in another way than by a refusal."
    for command in commands:
        done = run_command(*command)
        if done.returncode not in (0, 2, 3, 4, 5, 6) or done.returncode == 0 and command[0] == 'fetch':
            print(what, command[0], done.returncode, done.stderr[-150:].strip(), flush=True)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this test forks')
@pytest.mark.parametrize('lock', OF_LOCKS)
def test_no_manifest_crashes_the_cloud(lock, home):
    "The cloud cannot check the owner's signature; it must end with a refusal all the same, not with a crash."
    values = [*STRANGE, 10 ** 6, 10 ** 30, 'missing']
    cache = dict(TREE_PRIVACY_CACHE=os.environ['TREE_PRIVACY_CACHE'])
    done = run_forked(try_manifests, home, EXAMINED[lock], values, environment=cache)
    assert done.code == 0, done.output
    assert not done.output, done.output


@posix
@pytest.mark.parametrize('kind', ['pipe', 'zeros', 'link to itself', 'folder', 'socket'])
def test_a_manifest_that_is_no_file(kind, home, refused):
    "Nobody waits for a pipe or reads a device without end: every command says that the index is damaged."
    path = home / 'cloud' / MANIFEST
    path.unlink()
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'zeros':
        path.symlink_to('/dev/zero')
    elif kind == 'link to itself':
        path.symlink_to(MANIFEST)
    elif kind == 'folder':
        path.mkdir()
    else:
        server = socket.socket(socket.AF_UNIX)
        server.bind(os.path.relpath(path))
        server.close()
    commands = [['inspect', home / 'cloud'], ['search', query(home), *at(home)], ['remove', 'a/00.png', *at(home)],
                ['answer', home / 'request', '--index', home / 'cloud', '--out', home / 'x']]
    for command in commands:
        assert refused(MANIFEST, *command) == 4
    new = ['index', home / 'photos', *at(home), *QUICK]
    if kind == 'link to itself':  # nothing is there, so the folder is somebody else's
        assert refused('holds no index', *new) == 2
    else:
        assert refused(MANIFEST, *new) == 4


@pytest.mark.parametrize('text', [
    b'', b'{', b'[]', b'3', b'null', b'{}', b'\xff\xfe', b'[' * 100000, b'{"tree_privacy": "index"}',
    b'{"tree_privacy": "index", "format": 1}', b'{"tree_privacy": "index", "format": 2}'])
def test_manifests_that_are_none(text, home, refused):
    (home / 'cloud' / MANIFEST).write_bytes(text)
    for command in (['inspect',
                     home / 'cloud'], ['search', query(home), *at(home)], ['add', home / 'photos', *at(home)], [
                         'remove', 'a/00.png', *at(home)], ['index', home / 'photos', *at(home)], [
                             'answer', home / 'request', '--index', home / 'cloud', '--out', home / 'x']):
        assert refused(MANIFEST, *command) == 4


def test_truncated_manifest_and_newer_format(home, refused):
    path = home / 'cloud' / MANIFEST
    good = path.read_bytes()
    for length in (1, 100, len(good) // 2, len(good) - 3):
        path.write_bytes(good[:length])
        refused('damaged', 'search', query(home), *at(home))
    path.write_bytes(good)
    altered(home, 'format', FORMAT + 1)
    refused('upgrade', 'search', query(home), *at(home))


def test_manifest_that_points_elsewhere(home, refused):
    "Names in a manifest must not lead out of the index."
    shutil.copytree(generation(home), home / 'elsewhere')
    altered(home, 'generation', '../elsewhere')
    refused('', 'answer', home / 'request', '--index', home / 'cloud', '--out', home / 'x')
    refused('', 'inspect', home / 'cloud', '--verify')


@pytest.mark.parametrize('lock', ['random-matrix', 'sealed', 'private-walk'])
def test_an_old_index_put_back(lock, home, refused, works):
    "Whoever has seen version 2 notices version 1."
    shutil.copytree(home / 'cloud', home / 'kept')
    draw(home / 'more/new.png', 55)
    works('add', home / 'more', *at(home))
    shutil.rmtree(home / 'cloud')
    (home / 'kept').rename(home / 'cloud')
    for command in (['search', query(home)], ['add', home / 'more'], ['remove', 'a/00.png'], [
            'index', home / 'photos', '--bits', 64], ['fetch', 1, '--out',
                                                      home / 'x'], ['ask', query(home), '--out', home / 'x']):
        refused('put an old one back', *command, *at(home))
    refused('put an old one back', 'inspect', home / 'cloud', '--key', home / 'mine.key')


@pytest.mark.parametrize(
    'text', [b'', b'[]', b'3', b'{"a', b'{"a": "x"}', b'{"a": null}', b'{"a": 1e400}', b'[' * 100000, b'\xff'])
def test_damaged_memory_of_versions(text, home, refused):
    (home / 'mine.key.trust').write_bytes(text)
    for command in (['search', query(home)], ['remove', 'a/00.png']):
        refused('.trust', *command, *at(home))


# What is refused: requests and replies


def summed(body):
    "A message with a right checksum around any body."
    return b'TREE\x01' + hashlib.sha256(body).digest()[:16] + body


def lengths(data):
    "Lengths of every class: in the frame, in the header's length, in the header, in the arrays."
    header = 29 + struct.unpack('<Q', data[21:29])[0]
    return sorted({
        0, 1, 4, 5, 20, 21, 22, 28, 29, 30, header - 1, header, header + 1,
        len(data) // 2,
        len(data) - 1, *range(31, len(data), 97)})


@pytest.fixture
def feed(home, run, works):
    "Give bytes to `answer` or `read`: they are refused, or the results are those of the sound message."
    good = json.loads(works('read', home / 'reply', '--key', home / 'mine.key', '--json')[0])

    def call(kind, data):
        (home / 'fed').write_bytes(data)
        if kind == 'request':
            code, out, err = run('answer', home / 'fed', '--index', home / 'cloud', '--out', home / 'fed-reply')
        else:
            code, out, err = run('read', home / 'fed', '--key', home / 'mine.key', '--json')
        if code:
            refusal(code, out, err, '')
            return not (home / 'fed-reply').exists()
        if kind == 'request':
            code, out, err = run('read', home / 'fed-reply', '--key', home / 'mine.key', '--json')
            (home / 'fed-reply').unlink()
            if code:
                return refusal(code, out, err, '') is None
        again = json.loads(out)
        assert (again['results'], again['query']) == (good['results'], good['query']), 'a wrong result without a word'
        return False

    return call


@pytest.mark.parametrize('kind', ['request', 'reply'])
def test_messages_cut_short_or_flipped(kind, home, feed):
    "The checksum refuses every one of them."
    data, dice = (home / kind).read_bytes(), random.Random(0)
    for n in lengths(data):
        assert feed(kind, data[:n]), n
    for i in [*range(22), *(dice.randrange(len(data)) for _ in range(60))]:
        assert feed(kind, data[:i] + bytes([data[i] ^ 1 << dice.randrange(8)]) + data[i + 1:]), i
    assert feed(kind, data + b'x')


@pytest.mark.parametrize('kind', ['request', 'reply'])
def test_messages_cut_short_or_flipped_by_somebody_who_can_count(kind, home, feed):
    "With a checksum that fits: never a crash, never a wrong result."
    body, dice = (home / kind).read_bytes()[21:], random.Random(1)
    header, wrong = 8 + struct.unpack('<Q', body[:8])[0], []
    changed = [body[:n - 21] for n in lengths((home / kind).read_bytes()) if n > 21]
    changed += [
        body[:i] + bytes([body[i] ^ 1 << dice.randrange(8)]) + body[i + 1:]
        for i in [*range(0, header, 4), *(dice.randrange(header, len(body)) for _ in range(60))]]
    for data in changed:
        try:
            feed(kind, summed(data))
        except AssertionError as error:
            wrong.append(str(error).splitlines()[0][:200])
    assert not wrong, sorted(set(wrong))


def strange_messages(data):
    "A message with every header value and every array replaced by strange ones."
    sound = read_message(data, 'search', 'found')
    for name in set(sound.header) - {'kind'}:
        for value in [*STRANGE, 10 ** 30, True, 'zz' * 8, 'missing']:
            header = {k: v for k, v in (sound.header | {name: value}).items() if (k, v) != (name, 'missing')}
            yield f'{name}={value}', write_message(sound.kind, {k: v
                                                                for k, v in header.items()
                                                                if k != 'kind'}, sound.arrays)
    for name, a in sound.arrays.items():
        others = dict(missing=None, none=a[:0], half=a[:len(a) // 2], double=np.concatenate([a, a]),
                      flat=a.reshape(-1)[:1], scalar=np.array(a.flat[0]), zero=a * 0, float=a.astype(np.float32),
                      byte=a.astype(np.int8), backwards=a[::-1], huge=np.full_like(
                          a, 1e300 if a.dtype.kind == 'f' else np.iinfo(a.dtype).max))
        for how, other in others.items():
            yield f'{name}: {how}', write_message(
                sound.kind, {k: v
                             for k, v in sound.header.items()
                             if k != 'kind'},
                {k: v
                 for k, v in (sound.arrays | {name: other}).items()
                 if v is not None})


@pytest.mark.parametrize('kind', ['request', 'reply'])
def test_messages_with_strange_values(kind, home, feed):
    "Whatever a stranger writes into a message that is otherwise sound."
    wrong = []
    for what, data in strange_messages((home / kind).read_bytes()):
        try:
            feed(kind, data)
        except AssertionError as error:
            wrong.append(f'{what}: {str(error).splitlines()[0][:150]}')
    assert not wrong, '\n'.join(wrong)


def test_messages_that_are_others(home, refused):
    refused('search message', 'read', home / 'request', '--key', home / 'mine.key')
    refused('found message', 'answer', home / 'reply', '--index', home / 'cloud', '--out', home / 'x')
    (home / 'newer').write_bytes(b'TREE\x02' + (home / 'request').read_bytes()[5:])
    refused('newer format', 'answer', home / 'newer', '--index', home / 'cloud', '--out', home / 'x')
    refused('no message', 'answer', home / 'mine.key', '--index', home / 'cloud', '--out', home / 'x')
    refused('no request', 'answer', home / 'missing', '--index', home / 'cloud', '--out', home / 'x')
    refused('no reply', 'read', home / 'photos', '--key', home / 'mine.key')


def test_a_request_that_is_too_large_to_read(home, tmp_path_factory, refused):
    "A tebibyte of holes is refused by its size alone."
    vast = tmp_path_factory.mktemp('vast') / 'request'
    with open(vast, 'wb') as file:
        file.truncate(2 ** 40)
    refused('at most 4,194,304', 'answer', vast, '--index', home / 'cloud', '--out', home / 'x')


def test_a_request_for_a_version_that_is_gone(home, refused, works):
    works('remove', 'b/01.png', *at(home))
    refused('ask again', 'answer', home / 'request', '--index', home / 'cloud', '--out', home / 'x')


# Two at a time


def test_two_adds_at_once(home, works):
    "Two processes add at the same time: each succeeds or is refused in a line, and what was added is there."
    draw(home / 'one/one.png', 70)
    draw(home / 'two/two.png', 71)
    both = {
        name: subprocess.Popen([COMMAND, 'add', home / name, *map(str, at(home))], stdout=-1, stderr=-1, text=True)
        for name in ('one', 'two')}
    said = {name: (process.communicate()[1], process.returncode) for name, process in both.items()}
    there = {r['photo'] for r in found(works, query(home), *at(home))}
    for name, (err, code) in said.items():
        assert code in (0, 2, 3, 5), err
        assert 'Traceback' not in err, err
        assert (f'{name}.png' in there) == (code == 0), err
    assert len(there) == 12 + [code for _, code in said.values()].count(0) > 12
    works('inspect', home / 'cloud', '--verify', '--key', home / 'mine.key')
