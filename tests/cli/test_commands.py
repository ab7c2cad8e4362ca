"Every command from the first index to the last search, in this process; the installed one where a process matters."
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from commands import COMMAND, printed, run, run_installed, tree_privacy
from pictures import album, draw, places, snapshot
from PIL import Image

from tree_privacy.album import results as results_module
from tree_privacy.bits import hamming
from tree_privacy.crypto.keys import OwnerKey, save_key
from tree_privacy.images.encoder import load_codes
from tree_privacy.images.photos import folder

COMMANDS = [
    'demo', 'notebooks', 'lab', 'inspect', 'attack', 'costs', 'evaluate', 'encode', 'index', 'add', 'sync', 'remove',
    'grant', 'rotate', 'search', 'fetch', 'restore', 'ask', 'answer', 'read']
ROW = {'categories', 'n', 'rule', 'nodes', 'seed', 'queries', 'accuracy', 'recall_10', 'visits', 'height', 'seconds'}
QUICK = ['--bits', 32, '--size', 32]
TREE = ['--lock', 'random-matrix']
SUMMARY = {'categories', 'rule', 'nodes', 'accuracy', 'recall_10', 'visits', 'accuracy_minus_exhaustive'}


def refuses(word, code, *args, **env):
    "The command ends with this exit code and with a word that helps on standard error."
    assert word in tree_privacy(*args, code=code, **env).stderr


def indexed(home, *options, lock):
    "Photographs, an index of them, and the key."
    album(home / 'photos', 24)
    done = tree_privacy('index', home / 'photos', '--index', home / 'cloud', '--key', home / 'mine.key', '--bits', 64,
                        *options)
    assert done.stdout.startswith('24 photographs')
    assert f'(lock {lock})' in done.stdout
    assert 'losing it loses the index' in done.stderr
    return home


@pytest.fixture(scope='session')
def world(tmp_path_factory):
    return indexed(tmp_path_factory.mktemp('cli'), *TREE, lock='random-matrix')


@pytest.fixture(scope='session')
def worlds(tmp_path_factory, world):
    "The same under several locks; without --lock it is the sealed one."
    sealed = indexed(tmp_path_factory.mktemp('sealed'), lock='sealed')
    walk = indexed(tmp_path_factory.mktemp('walk'), '--lock', 'private-walk', '--rule', 'checked', lock='private-walk')
    return {'random-matrix': world, 'sealed': sealed, 'private-walk': walk}


@pytest.fixture(params=['random-matrix', 'private-walk'])
def copies(request, worlds, tmp_path):
    "A copy of each, with its lock."
    return request.param, Path(shutil.copytree(worlds[request.param], tmp_path / 'home'))


@pytest.fixture
def copy(world, tmp_path):
    "The same, to change or to destroy."
    return Path(shutil.copytree(world, tmp_path / 'home'))


def test_key_file_is_for_its_owner_alone(world):
    assert stat.S_IMODE((world / 'mine.key').stat().st_mode) == 0o600


def test_inspect(world):
    text = tree_privacy('inspect', world / 'cloud', '--verify', '--key', world / 'mine.key').stdout
    assert '24 photographs' in text
    assert '64 bits' in text
    assert 'who learns what' in text
    assert 'exact distances' in text
    assert 'every file is as the manifest says' in text
    found = printed('inspect', world / 'cloud')
    assert found['photographs'] == 24 and found['version'] == 1 and found['lock'] == 'random-matrix'
    assert set(found['bytes']) == {'tree', 'records', 'encoder', 'digests', 'photos'}
    assert all(found['bytes'].values())
    assert {r['fact']: r['cloud']
            for r in found['leaks']}['the order of results'] == {
                'setup': 'no', 'query': 'all', 'many': 'all', 'fetch': 'all'}


KINDS = {'sealed': {'codes'}, 'private-walk': {'buckets', 'client-data'}}
HIDING = ['sealed', 'private-walk']


@pytest.mark.parametrize('lock', HIDING)
def test_inspect_other_locks(lock, worlds):
    """What there is of files, and a table in which the cloud learns nothing of codes and queries before something is
    fetched directly.
    """
    world = worlds[lock]
    text = tree_privacy('inspect', world / 'cloud', '--verify', '--key', world / 'mine.key').stdout
    assert f'lock {lock}' in text
    assert '24 photographs' in text
    assert 'who learns what' in text
    assert 'every file is as the manifest says' in text
    assert 'exact distances' not in text
    assert ('rule checked' in text) == (lock == 'private-walk')
    found = printed('inspect', world / 'cloud')
    assert found['lock'] == lock
    assert found['photographs'] == 24
    assert set(found['bytes']) == KINDS[lock] | {'pir-keys', 'records', 'encoder', 'digests', 'photos'}
    assert all(found['bytes'].values())
    assert sum(found['bytes'].values()) == sum(p.stat().st_size for p in (world / 'cloud').rglob('*.safetensors'))
    # a direct fetch names the results, in their order
    cloud = {r['fact']: {word for moment, word in r['cloud'].items() if moment != 'fetch'} for r in found['leaks']}
    assert cloud['a query and its code'] == cloud['the order of results'] == cloud['codes of photographs'] == {'no'}


@pytest.mark.parametrize('lock, fetch', [('sealed', None), ('sealed', 'direct'), ('private-walk', None),
                                         ('private-walk', 'none'), ('private-walk', 'thumbnails')])
def test_search_under_other_locks(fetch, lock, worlds, tmp_path):
    "Exact distances, nearest first; names come with every way to fetch, and without one where the lock brings them."
    world = worlds[lock]
    asked = [world / 'photos/a/03.png', *places(world), '--k', 5, '--nodes', 100]
    found = printed('search', *asked, *(['--fetch', fetch] if fetch else []), TREE_PRIVACY_CACHE=str(tmp_path))
    assert set(found) == {'results', 'cloud_ms', 'visits', 'lock', 'form', 'fetch', 'picture', 'saved'}
    assert (found['lock'], found['form'], found['visits']) == (lock, None, None)
    assert found['fetch'] == (fetch or ('none' if lock == 'sealed' else 'private'))
    assert len(found['results']) == 5
    assert [r['distance'] for r in found['results']] == sorted(r['distance'] for r in found['results'])
    named = lock == 'sealed' or fetch != 'none'
    assert found['results'][0]['distance'] == 0
    assert found['results'][0]['photo'] == ('a/03.png' if named else None)
    assert all((r['photo'] is not None) == named for r in found['results'])


@pytest.mark.parametrize('lock', HIDING[1:])
def test_pictures_under_other_locks(lock, worlds, tmp_path):
    "Drawn from what was fetched, without a word about nodes."
    world = worlds[lock]
    done = tree_privacy('search', world / 'photos/b/04.png', *places(world), '--k', 4, '--nodes', 100, '--picture',
                        tmp_path / 'found.png')
    assert 'b/04.png' in done.stdout.splitlines()[0]
    assert len(done.stdout.splitlines()) == 4
    assert 'nodes visited' not in done.stderr
    assert 'fetched privately' in done.stderr
    with Image.open(tmp_path / 'found.png') as image:
        assert image.format == 'PNG' and image.width > image.height


@pytest.mark.parametrize('options, said', [(['--rule', 'balanced'], 'rule'), (['--form', 'split'], 'form'),
                                           (['--lock', 'homomorphic', '--form', 'noisy'], 'encrypted'),
                                           (['--lock', 'private-walk', '--form', 'public'], 'form'),
                                           (['--lock', 'random-matrix', '--form', 'public'], 'basic')])
def test_options_of_other_locks(options, said, tmp_path):
    "An option that the lock does not know is refused before anything is written."
    album(tmp_path / 'photos', 3)
    before = snapshot(tmp_path)
    refuses(said, 2, 'index', tmp_path / 'photos', *places(tmp_path), *QUICK, *options)
    assert snapshot(tmp_path) == before


def test_search_says_what_is_documented(world):
    found = printed('search', world / 'photos/a/03.png', *places(world), '--k', 5)
    assert set(found) == {'results', 'cloud_ms', 'visits', 'lock', 'form', 'fetch', 'picture', 'saved'}
    assert (found['lock'], found['form'], found['fetch']) == ('random-matrix', 'split', 'none')
    assert len(found['results']) == 5
    assert all(set(r) == {'photo', 'distance', 'id'} for r in found['results'])
    first = found['results'][0]
    assert (first['photo'], first['distance']) == ('a/03.png', 0)
    assert 0 < found['visits'] <= 47
    assert found['cloud_ms'] > 0
    distances = [r['distance'] for r in found['results']]
    assert distances == sorted(distances)


def test_search_in_words_and_as_a_picture(world, tmp_path):
    done = tree_privacy('search', world / 'photos/b/04.png', *places(world), '--k', 4, '--picture',
                        tmp_path / 'found.png')
    assert 'b/04.png' in done.stdout.splitlines()[0]
    assert len(done.stdout.splitlines()) == 4
    assert 'nodes visited' in done.stderr
    with Image.open(tmp_path / 'found.png') as image:
        assert image.format == 'PNG' and image.width > image.height
    assert [p.name for p in tmp_path.iterdir()] == ['found.png']


@pytest.mark.parametrize('way', [['--fetch', 'direct'], ['--originals', 'photos'], ['--fetch', 'thumbnails', '--json']])
def test_captions_are_file_names(way, copy, monkeypatch):
    "Above every result its file's name behind its folder, and the distance; a long name keeps its end."
    long = 'b/a-very-long-name-of-a-photograph.png'
    (copy / 'photos/b/04.png').rename(copy / 'photos' / long)
    tree_privacy('sync', copy / 'photos', *places(copy))
    drawn, real = [], results_module.draw_rows
    monkeypatch.setattr(results_module, 'draw_rows', lambda rows, *more: drawn.extend(rows) or real(rows, *more))
    way = [copy / word if word == 'photos' else word for word in way]
    asked = ['search', copy / 'photos' / long, *places(copy), '--k', 5, '--nodes', 100]
    tree_privacy(*asked, *way, '--picture', copy / 'found.png')
    found = printed(*asked)['results']
    [row] = drawn
    assert row.titles[0].splitlines()[0].endswith('-photograph.png') and len(row.titles) == len(row.pictures) == 5
    for title, result in zip(row.titles[1:], found[1:], strict=True):
        assert title == f'{result["photo"]}\n{result["distance"]} bits'
    assert all(len(title.splitlines()[0]) <= 20 for title in row.titles)
    assert row.query is not None and stat.S_IMODE((copy / 'found.png').stat().st_mode) == 0o600


def test_fetch_opens_thumbnails(world, tmp_path):
    ids = [r['id'] for r in printed('search', world / 'photos/a/03.png', *places(world), '--k', 2)['results']]
    lines = tree_privacy('fetch', *ids, *places(world), '--out', tmp_path / 'found').stdout.splitlines()
    assert len(lines) == 2 and lines[0].endswith('03.png.jpg')
    with Image.open(lines[0]) as image:
        assert image.size == (40, 30)


def test_nothing_to_ask_under_the_sealed_lock(worlds, tmp_path):
    "Said in a line, and nothing is written."
    world = worlds['sealed']
    for _ in range(2):
        refuses('use `search`', 2, 'ask', world / 'photos/c/05.png', *places(world), '--out', tmp_path / 'request')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('lock', ['random-matrix', 'private-walk'])
def test_three_roles_with_files_in_between(lock, worlds, tmp_path):
    "A friend asks and reads; the cloud answers while neither key nor photographs are within its reach."
    copy = Path(shutil.copytree(worlds[lock], tmp_path / 'copy'))
    name = 'c/05.png' if lock == 'random-matrix' else None
    tree_privacy('grant', '--key', copy / 'mine.key', '--out', copy / 'friend.key')
    assert stat.S_IMODE((copy / 'friend.key').stat().st_mode) == 0o600
    granted = json.loads((copy / 'friend.key').read_text())
    assert set(granted) == {'tree_privacy', 'format', 'role', 'secret', 'public', 'checksum'}
    tree_privacy('ask', copy / 'photos/c/05.png', '--index', copy / 'cloud', '--key', copy / 'friend.key', '--k', 3,
                 '--out', copy / 'request')
    (copy / 'home').mkdir()
    for thing in ('mine.key', 'friend.key', 'photos'):
        (copy / thing).rename(copy / 'home' / thing)
    tree_privacy('answer', copy / 'request', '--index', copy / 'cloud', '--out', copy / 'reply')
    found = printed('read', copy / 'reply', '--key', copy / 'home/friend.key')
    assert found['results'][0]['photo'] == name
    assert len(found['results']) == 3
    assert found['query'] == '05.png'
    assert found['results'][0]['distance'] == 0
    assert set(found) == {'results', 'cloud_ms', 'visits', 'query'}
    assert (found['visits'] is None) == (name is None)
    shown = name or f"(id {found['results'][0]['id']})"
    assert shown in tree_privacy('read', copy / 'reply', '--key', copy / 'home/friend.key').stdout
    tree_privacy('fetch', *[r['id'] for r in found['results']], '--index', copy / 'cloud', '--key',
                 copy / 'home/friend.key', '--out', copy / 'found')
    assert (copy / 'found/c/05.png.jpg').exists()
    refuses('may search but not write', 6, 'remove', 'c/05.png', '--index', copy / 'cloud', '--key',
            copy / 'home/friend.key')


def test_add_remove_and_life_without_the_photographs(copies):
    "Changes in place; afterwards index and key suffice."
    lock, copy = copies
    draw(copy / 'more/d/new.png', 77)
    assert tree_privacy('add', copy / 'more', *places(copy)).stdout == '1 added; 25 photographs are in the album\n'
    done = tree_privacy('remove', 'a/00.png', 'b/01.png', *places(copy))
    assert done.stdout == '2 removed; 23 photographs are in the album\n'
    shutil.copy(copy / 'photos/a/00.png', copy / 'gone.png')
    shutil.copy(copy / 'more/d/new.png', copy / 'new.png')
    shutil.rmtree(copy / 'photos')
    shutil.rmtree(copy / 'more')
    found = printed('search', copy / 'new.png', *places(copy), '--k', 100, '--nodes', 100)['results']
    assert len(found) == 23 and (found[0]['photo'], found[0]['distance']) == ('d/new.png', 0)
    assert not {'a/00.png', 'b/01.png'} & {r['photo'] for r in found}
    tree_privacy('fetch', *[r['id'] for r in found], *places(copy), '--out', copy / 'found')
    assert len([p for p in (copy / 'found').rglob('*') if p.is_file()]) == 23
    about = printed('inspect', copy / 'cloud', '--verify', '--key', copy / 'mine.key')
    assert about['version'] == 3
    assert about['photographs'] == 23
    assert about['lock'] == lock
    assert about['options'].get('rule') == {'random-matrix': 'balanced', 'private-walk': 'checked'}.get(lock)
    assert len(list((copy / 'cloud').glob('g*'))) == 1


@pytest.mark.parametrize('lock', [None, 'random-matrix'])
def test_without_sealed_photographs(copy, lock):
    "An index without photographs draws and fetches from the originals, and says so where they are missing."
    home = ['--index', copy / 'bare', '--key', copy / 'mine.key']
    tree_privacy('index', copy / 'photos', *home, '--bits', 64, '--photos', 'none', *(['--lock', lock] if lock else []))
    assert 'photos' not in printed('inspect', copy / 'bare')['bytes']
    first = printed('search', copy / 'photos/a/03.png', *home)['results'][0]
    refuses('--originals', 2, 'fetch', first['id'], *home, '--out', copy / 'found')
    tree_privacy('fetch', first['id'], *home, '--out', copy / 'found', '--originals', copy / 'photos')
    assert (copy / 'found/a/03.png').read_bytes() == (copy / 'photos/a/03.png').read_bytes()
    tree_privacy('search', copy / 'photos/a/03.png', *home, '--originals', copy / 'photos', '--picture',
                 copy / 'found.png')
    assert (copy / 'found.png').stat().st_size > 1000


@pytest.mark.parametrize('lock', [None, 'random-matrix'])
def test_full_photographs_come_back_as_they_were_and_the_owner_may_index_again(copy, lock):
    "Indexing over an index of one's own raises its version; sealed files are returned to the byte."
    tree_privacy('index', copy / 'photos', *places(copy), '--bits', 32, '--photos', 'full',
                 *(['--lock', lock] if lock else []))
    about = printed('inspect', copy / 'cloud')
    assert about['version'] == 2 and about['bits'] == 32 and about['lock'] == (lock or 'sealed')
    ids = [
        r['id']
        for r in printed('search', copy / 'photos/a/03.png', *places(copy), '--k', 100, '--nodes', 100)['results']]
    tree_privacy('fetch', *ids, *places(copy), '--out', copy / 'found')
    assert snapshot(copy / 'found') == snapshot(copy / 'photos')


def test_another_key_cannot_replace_an_index(copy):
    "Neither one that was made for something else, nor one that would have to be made."
    before = snapshot(copy)
    refuses('there is no key file', 3, 'index', copy / 'photos', '--index', copy / 'cloud', '--key', copy / 'new.key')
    assert snapshot(copy) == before
    save_key(OwnerKey.generate(), copy / 'other.key')
    before = snapshot(copy)
    refuses('is not the key of this index', 6, 'index', copy / 'photos', '--index', copy / 'cloud', '--key',
            copy / 'other.key')
    assert snapshot(copy) == before


def test_demo_on_a_folder(world, tmp_path):
    found = printed('demo', '--dataset', world / 'photos', '--bits', 32, '--picture', tmp_path / 'demo.png')
    assert {'dataset', 'n', 'd', 'rows', 'summary', 'encrypted_equals_plain', 'cloud_bytes', 'picture'} <= set(found)
    assert found['encrypted_equals_plain'] is True
    assert found['cloud_bytes'] > 1000
    assert found['d'] == 32
    assert all(set(r) == ROW for r in found['rows'])
    assert all(set(s) == SUMMARY for s in found['summary'])
    with Image.open(tmp_path / 'demo.png') as image:
        assert image.format == 'PNG'


@pytest.mark.slow
def test_demo_on_digits(tmp_path):
    found = printed('demo', '--picture', tmp_path / 'demo.png')
    assert found['encrypted_equals_plain'] is True
    assert found['dataset'] == 'digits'
    assert found['rows'][0]['accuracy'] > .9


def test_evaluate_and_its_cache(world, tmp_path):
    "The table's JSON; a second run finds the features of both folders in the cache."
    album(tmp_path / 'train', 18)
    album(tmp_path / 'test', 6)
    asked = [
        'evaluate', tmp_path / 'train', tmp_path / 'test', '--bits', 16, '--nodes', '1,2', '--categories', '2,3',
        '--seeds', '0,1']
    found = printed(*asked, TREE_PRIVACY_CACHE=str(tmp_path / 'cache'))
    assert {'dataset', 'n', 'd', 'rows', 'summary'} <= set(found)
    assert (found['dataset'].split('/')[-1], found['n'], found['d']) == ('train', 18, 16)
    assert all(set(r) == ROW for r in found['rows'])
    assert all(set(s) == SUMMARY for s in found['summary'])
    assert {(r['categories'], r['rule'], r['nodes'], r['seed'])
            for r in found['rows']} == {
                (c, rule, m, s)
                for c in (2, 3)
                for s in (0, 1)
                for rule, m in [('exhaustive', None), *((rule, m)
                                                        for rule in ('original', 'checked', 'balanced')
                                                        for m in (1, 2))]}
    assert all(set(s['accuracy']) == {'mean', 'low', 'high'} for s in found['summary'])
    stored, cached = rows(tmp_path / 'cache'), {p: p.stat().st_mtime_ns for p in (tmp_path / 'cache').iterdir()}
    again = printed(*asked, TREE_PRIVACY_CACHE=str(tmp_path / 'cache'))
    assert len(stored) == 18
    assert cached == {p: p.stat().st_mtime_ns for p in (tmp_path / 'cache').iterdir()}
    assert [r['accuracy'] for r in again['rows']] == [r['accuracy'] for r in found['rows']]


def test_evaluate_tunes_on_other_categories(world, tmp_path):
    "With --tune thresholds come from some categories and figures from the others; the table then has claims."
    album(tmp_path / 'train', 60, 'abcdef')
    album(tmp_path / 'test', 18, 'abcdef')
    asked = [
        'evaluate', tmp_path / 'train', tmp_path / 'test', '--size', 32, '--bits', 16, '--nodes', '1,3', '--categories',
        '2,4,9', '--seeds', '0,1', '--tune', 2, '--each', 5]
    found = printed(*asked)
    assert set(found['tuned']) == {'original', 'checked'}
    assert {'threshold', 'branching'} <= set(found['tuned']['original']) & set(found['tuned']['checked'])
    assert {(r['categories'], r['n'], r['queries']) for r in found['rows']} == {(2, 10, 6), (4, 20, 12)}
    text = tree_privacy(*asked).stdout
    assert 'tuned on other categories' in text and 'checked - original' in text
    given = printed(*asked[:-4], '--threshold', .7, '--low-threshold', .6, '--max-height-gap', 2, '--step', .05,
                    '--branching', 2)
    assert given['tuned'] == {} and {r['n'] for r in given['rows']} == {20, 40}


def test_a_key_with_a_passphrase(copy):
    "The file opens with the passphrase alone, from the environment here; what it grants can have another."
    right, wrong = dict(TREE_PRIVACY_PASSPHRASE='correct horse'), dict(TREE_PRIVACY_PASSPHRASE='battery')
    at = ['--index', copy / 'new', '--key', copy / 'locked.key']
    tree_privacy('index', copy / 'photos', *at, *QUICK, '--passphrase', **right)
    assert set(json.loads(
        (copy / 'locked.key').read_text())) == {'tree_privacy', 'format', 'role', 'scrypt', 'box', 'checksum'}
    assert stat.S_IMODE((copy / 'locked.key').stat().st_mode) == 0o600
    assert printed('search', copy / 'photos/a/03.png', *at, '--k', 1, **right)['results'][0]['photo'] == 'a/03.png'
    refuses('does not open', 6, 'search', copy / 'photos/a/03.png', *at, **wrong)
    refuses('TREE_PRIVACY_PASSPHRASE', 2, 'search', copy / 'photos/a/03.png', *at)
    tree_privacy('grant', '--key', copy / 'locked.key', '--out', copy / 'friend.key', **right)
    assert printed('search', copy / 'photos/a/03.png', '--index', copy / 'new', '--key', copy / 'friend.key', '--k',
                   1)['results'][0]['photo'] == 'a/03.png'
    refuses('is empty', 2, 'index', copy / 'photos', '--index', copy / 'other', '--key', copy / 'other.key', *QUICK,
            '--passphrase', TREE_PRIVACY_PASSPHRASE='')
    assert not (copy / 'other').exists() and not (copy / 'other.key').exists()


def test_passphrases_are_texts(copy):
    "The same letters open, however composed, in any locale; bytes that are no text do; what leaves a key open is said."
    composed, apart = dict(TREE_PRIVACY_PASSPHRASE='caf\u00e9'), dict(TREE_PRIVACY_PASSPHRASE='cafe\u0301')
    tree_privacy('grant', '--key', copy / 'mine.key', '--out', copy / 'locked.key', '--passphrase', **composed)
    for command, way in ((run, apart), (run_installed,
                                        dict(composed, LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0'))):
        done = command('inspect', copy / 'cloud', '--key', copy / 'locked.key', env=way)
        assert done.returncode == 0 and 'who learns what' in done.stdout, done.stderr
    odd = dict(TREE_PRIVACY_PASSPHRASE=os.fsdecode(b'\xff'))
    tree_privacy('grant', '--key', copy / 'mine.key', '--out', copy / 'odd.key', '--passphrase', **odd)
    assert 'who learns what' in tree_privacy('inspect', copy / 'cloud', '--key', copy / 'odd.key', **odd).stdout
    refuses('--passphrase', 2, 'index', copy / 'photos', *places(copy), *QUICK, '--passphrase', **composed)
    refuses('is a folder', 2, 'grant', '--key', copy / 'mine.key', '--out', copy)
    tree_privacy('index', copy / 'photos', '--index', copy / 'new', '--key', copy / 'own.key', *QUICK, '--passphrase',
                 **composed)
    assert 'will not be' in tree_privacy('rotate', '--index', copy / 'new', '--key', copy / 'own.key', '--new-key',
                                         copy / 'open.key', **composed).stderr


def test_output_that_nobody_takes(copy):
    "A full or closed standard output: no traceback, and nothing false about the index."
    rotate = f'{COMMAND} rotate --index {copy}/cloud --key {copy}/mine.key --new-key {copy}/next.key'
    done = subprocess.run(rotate + ' > /dev/full', shell=True, capture_output=True, text=True)
    assert 'Traceback' not in done.stderr
    assert 'as it was' not in done.stderr
    assert 'No space left' in done.stderr
    assert 'who learns what' in tree_privacy('inspect', copy / 'cloud', '--key', copy / 'next.key').stdout
    done = subprocess.run(f'{COMMAND} inspect {copy}/cloud >&-', shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr


def test_the_installed_command(world):
    "The entry point passes on what a command prints and the exit code of its error."
    done = run_installed('inspect', world / 'cloud')
    assert (done.returncode, done.stderr) == (0, '') and 'who learns what' in done.stdout
    done = run_installed('inspect', world / 'missing')
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, '', 1)


@pytest.mark.parametrize('n', [1, 4])
def test_attack_on_next_to_nothing(tmp_path, n):
    "One photograph, or four equal ones: rows without figures say why, and the JSON is one."
    (tmp_path / 'photos').mkdir()
    for i in range(n):
        Image.new('RGB', (40, 30), 'red').save(tmp_path / f'photos/{i}.png')
    tree_privacy('index', tmp_path / 'photos', *places(tmp_path), *QUICK, *TREE)
    rows = printed('attack', tmp_path / 'cloud', '--key', tmp_path / 'mine.key', '--queries', 5, '--only',
                   'neighbours, exact distances,independent bits')['rows']
    assert len(rows) == 3
    assert all(r['recovered'] is None and 'different codes' in r['why'] for r in rows)


def untrusted(home):
    "What lies in a folder, but for trust files."
    return {name: content for name, content in snapshot(home).items() if not name.endswith('.trust')}


def test_attack(world, tmp_path):
    "A row with figures or a reason for each; exact distances fall without a known photograph; nothing is written."
    before = untrusted(world)
    found = printed('attack', world / 'cloud', '--key', world / 'mine.key', '--queries', 70, '--seconds', 2)
    assert set(found) == {'rows'} and len(found['rows']) == 19
    for row in found['rows']:
        assert {'attack', 'lock', 'd', 'n', 'needs', 'recovered', 'guessing', 'low', 'high', 'seconds'} <= set(row)
        assert (row['lock'], row['d'], row['n']) == ('split', 64, 24)
        assert row['why'] if row['recovered'] is None else 0 <= row['low'] <= row['recovered'] <= row['high'] <= 1
    only = printed('attack', world / 'cloud', '--key', world / 'mine.key', '--queries', 9, '--known-pairs', 0, '--only',
                   'exact distances,known plaintext')['rows']
    assert only[0]['recovered'] > .95 > 5 * only[0]['guessing']
    assert only[1]['recovered'] is None
    assert 'no photograph is known' in only[1]['why']
    text = tree_privacy('attack', world / 'cloud', '--key', world / 'mine.key', '--queries', 9, '--only',
                        'exact distances,known plaintext').stdout
    assert 'exact distances' in text and 'not applicable' in text
    refuses('there is no attack', 2, 'attack', world / 'cloud', '--key', world / 'mine.key', '--only', 'magic')
    refuses('--queries 0', 2, 'attack', world / 'cloud', '--key', world / 'mine.key', '--queries', 0)
    tree_privacy('grant', '--key', world / 'mine.key', '--out', tmp_path / 'friend.key')
    refuses('may search but not write', 6, 'attack', world / 'cloud', '--key', tmp_path / 'friend.key')
    assert untrusted(world) == before


@pytest.mark.parametrize('asked, lock', [([], 'sealed'),
                                         (['--lock', 'homomorphic', '--fetch', 'private'], 'homomorphic'),
                                         (['--lock', 'random-matrix'], 'split')])
def test_attack_under_other_locks(asked, lock, worlds):
    """The index as it is, and the same codes under another lock: rows name it; what is fetched in the open is seen, and
    nothing is where nothing shows.
    """
    world = worlds['sealed']
    before = untrusted(world)
    rows = printed('attack', world / 'cloud', '--key', world / 'mine.key', '--queries', 8, '--seconds', 1, '--only',
                   'exact distances,fetched together,repeated requests,siblings,intersection', *asked)['rows']
    by = {r['attack']: r for r in rows}
    assert len(by) == 5 and {r['lock'] for r in rows} == {lock}
    assert (by['fetched together']['recovered'] is None) == ('--fetch' in asked)
    assert (by['exact distances']['recovered'] is not None) == (lock == 'split')
    assert by['siblings']['recovered'] is None
    assert by['intersection']['recovered'] is None
    assert untrusted(world) == before


@pytest.mark.parametrize('lock, photos', [('random-matrix', 'full'), ('random-matrix', 'none'), ('sealed', 'thumbs')])
def test_a_new_lock(copy, lock, photos):
    "Under a new key all is found and fetched as before, no byte of the old index is left, the old key opens nothing."
    at = ['--index', copy / 'new', '--key', copy / 'old.key']
    tree_privacy('index', copy / 'photos', *at, *QUICK, '--photos', photos, '--lock', lock)
    tree_privacy('grant', '--key', copy / 'old.key', '--out', copy / 'friend.key')
    old = {p.read_bytes() for p in (copy / 'new').rglob('*') if p.is_file() and p.stat().st_size}
    asked = ['search', copy / 'photos/a/03.png', '--k', 24, '--nodes', 100]
    before = printed(*asked, *at)
    tree_privacy('rotate', *at, '--new-key', copy / 'next.key')
    assert not old & {p.read_bytes() for p in (copy / 'new').rglob('*') if p.is_file()}
    for key in ('old.key', 'friend.key'):
        refuses('is not the key of this index', 6, 'search', copy / 'photos/a/03.png', '--index', copy / 'new', '--key',
                copy / key)
    at = ['--index', copy / 'new', '--key', copy / 'next.key']
    after = printed(*asked, *at)
    assert after['lock'] == before['lock'] == lock and len(after['results']) == 24
    same = [{(r['photo'], r['distance']) for r in found['results']} for found in (before, after)]
    assert same[0] == same[1]
    said = tree_privacy('inspect', copy / 'new', '--verify', '--key', copy / 'next.key').stdout
    assert 'every file is as the manifest says' in said
    if photos != 'none':
        path = tree_privacy('fetch', after['results'][0]['id'], *at, '--out', copy / 'found').stdout.splitlines()[0]
        if photos == 'full':
            assert Path(path).read_bytes() == (copy / 'photos/a/03.png').read_bytes()
    refuses('not overwritten', 2, 'rotate', *at, '--new-key', copy / 'old.key')
    refuses('which the cloud gets', 2, 'rotate', *at, '--new-key', copy / 'new/x.key')


# Codes in a file, hash layers, and the cache


def rows(cache):
    "{digest of a picture: number of its row} in the cache of a folder, where there is one."
    for file in cache.glob('*.sqlite'):
        with closing(sqlite3.connect(file, timeout=60)) as db:
            if db.execute("select 1 from sqlite_master where name = 'features'").fetchone():
                return dict(db.execute('select picture, rowid from features'))
    return {}


@pytest.fixture(scope='module')
def encoded(world):
    "A file of the codes of the photographs."
    found = printed('encode', world / 'photos', '--out', world / 'photos.codes', *QUICK)
    assert found == dict(photographs=24, bits=32, binariser='itq', distinct=found['distinct'],
                         file=str(world / 'photos.codes'))
    assert 20 < found['distinct'] <= 24
    return world / 'photos.codes'


def test_encode(encoded, world, tmp_path):
    "Names and codes of all are in the file, which is for its owner alone; the encoder in it makes the same codes."
    found = load_codes(encoded.read_bytes())
    assert found.names == folder(world / 'photos').names and found.codes.shape == (24, 4)
    assert (found.encoder.transform(folder(world / 'photos'))[0] == found.codes).all()
    assert stat.S_IMODE(encoded.stat().st_mode) == 0o600
    done = tree_privacy('encode', world / 'photos', '--out', tmp_path / 'again', *QUICK, '--seed', 0)
    assert (tmp_path / 'again').read_bytes() == encoded.read_bytes()
    assert done.stdout.startswith('24 codes of 32 bits')
    assert 'not encrypted' in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ['again']


def test_encode_like_an_earlier_file(encoded, world, tmp_path):
    """The earlier encoder is taken as it is, whatever else is asked for: codes of both files can be compared. A file
    that is there is replaced.
    """
    for i in (3, 7):
        draw(tmp_path / 'more' / f'{i}.png', i)
    draw(tmp_path / 'more/new.png', 77)
    (tmp_path / 'more.codes').write_text('something else')
    found = printed('encode', tmp_path / 'more', '--like', encoded, '--out', tmp_path / 'more.codes', '--bits', 8,
                    '--seed', 9, '--binariser', 'lsh')
    assert (found['photographs'], found['bits'], found['binariser']) == (3, 32, 'itq')
    old, new = load_codes(encoded.read_bytes()), load_codes((tmp_path / 'more.codes').read_bytes())
    assert new.names == ['3.png', '7.png', 'new.png']
    assert new.encoder.to_bytes() == old.encoder.to_bytes()
    apart = hamming(new.codes, old.codes)
    assert apart[0, old.names.index('a/03.png')] == apart[1, old.names.index('b/07.png')] == 0 < apart[2].min()


def test_encode_with_a_hash_layer(world, tmp_path):
    "Labels are the names of folders, or several of a table: those that share labels have codes near each other."
    names, table = folder(world / 'photos').names, tmp_path / 'several.csv'
    table.write_text('name,label\n' +
                     ''.join(f'{n},{n[0]}\n{n},{"odd" if int(n[2:4]) % 2 else "even"}\n' for n in names))
    kind, odd = np.array([n[0] for n in names]), np.array([int(n[2:4]) % 2 for n in names])
    same, alike = kind[:, None] == kind, odd[:, None] == odd
    for labels in ('folders', table):
        assert printed('encode', world / 'photos', '--out', tmp_path / 'x', *QUICK, '--binariser', 'hash', '--labels',
                       labels)['binariser'] == 'hash'
        found = load_codes((tmp_path / 'x').read_bytes()).codes
        apart = hamming(found, found)
        assert apart[same].mean() < apart[~same].mean() / 1.5, 'codes of a category are not together'
    means = [apart[pairs].mean() for pairs in (same & alike, ~same & alike, ~same & ~alike)]
    assert means[0] < means[1] < means[2], 'the second label was not learned'


def test_index_with_a_hash_layer(world, tmp_path):
    "An index with such codes is searched as any other, and the category of what is asked for comes first."
    tree_privacy('index', world / 'photos', *places(tmp_path), *QUICK, '--binariser', 'hash')
    found = printed('search', world / 'photos/b/04.png', *places(tmp_path), '--k', 24)['results']
    assert len(found) == 24
    assert found[0]['distance'] == 0
    assert 'b/04.png' in {r['photo'] for r in found if r['distance'] == 0}
    apart = {kind: np.mean([r['distance'] for r in found if r['photo'][0] == kind]) for kind in 'abc'}
    assert apart['b'] < min(apart['a'], apart['c'])


def test_evaluate_with_a_hash_layer(world, tmp_path):
    "The table says which binariser it is about; a hash layer finds the categories that it learned."
    album(tmp_path / 'train', 18)
    album(tmp_path / 'test', 6)
    asked = [
        'evaluate', tmp_path / 'train', tmp_path / 'test', '--size', 32, '--bits', 16, '--nodes', '3', '--categories',
        '3', '--seeds', '0', '--binariser', 'hash']
    found = printed(*asked)
    assert {'dataset', 'n', 'd', 'binariser', 'rows', 'summary'} <= set(found)
    assert (found['binariser'], found['n'], found['d']) == ('hash', 18, 16)
    assert [r['accuracy'] for r in found['rows'] if r['rule'] == 'exhaustive'] > [.8]


def test_no_cache(world, tmp_path):
    "Nothing is written but the file that was asked for."
    tree_privacy('encode', world / 'photos', '--out', tmp_path / 'x', *QUICK, '--no-cache',
                 TREE_PRIVACY_CACHE=str(tmp_path / 'cache'))
    assert [p.name for p in tmp_path.iterdir()] == ['x']


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='this test makes a pipe')
def test_a_killed_encode_goes_on(tmp_path):
    "SIGKILL leaves no file of codes, and the features so far; the next run computes what is missing and no more."
    for i in range(1024):
        draw(tmp_path / f'photos/{i:04}.png', i)
    os.mkfifo(tmp_path / 'photos/late.png')  # a picture that never comes: the run is sure to be killed before its end
    cache = tmp_path / 'cache'
    asked = ['encode', tmp_path / 'photos', '--out', tmp_path / 'x', *map(str, QUICK)]
    running = subprocess.Popen([COMMAND, *asked], env=dict(os.environ, TREE_PRIVACY_CACHE=str(cache)), stdout=-1,
                               stderr=-1)
    end = time.monotonic() + 90
    while len(rows(cache)) < 1024 and running.poll() is None and time.monotonic() < end:
        time.sleep(.05)
    running.kill()
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    assert sorted(p.name for p in tmp_path.iterdir()) == ['cache', 'photos']
    before = rows(cache)
    assert len(before) == 1024
    assert all(p.stat().st_mode & 0o77 == 0 for p in [cache, *cache.iterdir()])
    (tmp_path / 'photos/late.png').unlink()
    draw(tmp_path / 'photos/late.png', 5000)
    done = tree_privacy(*asked, TREE_PRIVACY_CACHE=str(cache))
    after = rows(cache)
    assert done.stdout.startswith('1025 codes')
    assert len(after) == 1025
    assert {k: after[k] for k in before} == before
    assert load_codes((tmp_path / 'x').read_bytes()).codes.shape == (1025, 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['cache', 'photos', 'x']


@pytest.mark.parametrize('command', COMMANDS)
def test_help_has_an_example(command):
    text = tree_privacy(command, '--help').stdout
    assert f'example: tree-privacy {command}' in text and len(text) > 150


def test_help_and_version():
    text = tree_privacy('--help').stdout
    assert all(command in text for command in COMMANDS)
    assert tree_privacy('--version').stdout.startswith('tree-privacy ')


@pytest.mark.parametrize('command', [['--help'], ['search', '--help'], ['inspect']])
def test_help_and_inspect_do_without_torch(command, world):
    "What must answer in half a second imports no neural network."
    if command == ['inspect']:
        command = ['inspect', str(world / 'cloud')]
    code = f"""import sys
from tree_privacy.cli.main import main
try:
    main({command!r})
except SystemExit:
    pass
print('torch' in sys.modules, file=sys.stderr)"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stderr.strip() == 'False'
