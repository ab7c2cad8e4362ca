"The album: made, searched, changed, kept in step with its folder, shared, restored."
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import refusal, run, tree_privacy
from made_albums import small_encoder
from pictures import draw, picture, snapshot
from PIL import Image

from tree_privacy import Album
from tree_privacy.album import album as album_module
from tree_privacy.album.results import Result, SearchResults
from tree_privacy.client.transport import Local, Recorded
from tree_privacy.cloud.service import CloudService
from tree_privacy.core import AccessError, InputError, NotFoundError, RollbackError
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.images.photos import folder
from tree_privacy.wire import read_message


def names_in(album):
    "Names that the owner finds in an index."
    return sorted(album.owner().open(album.folder).collection.names)


# Searching


def test_what_can_be_asked_with(album, home):
    "A path, a picture and a code give the same results; the picture itself comes first."
    path = home / 'Photos/a/00.png'
    by_path, by_picture = album.search(path, k=4), album.search(Image.open(path), k=4)
    code = album.encoder().transform(folder(home / 'Photos'), False)[0][0]
    by_code = album.search(code, k=4)
    assert by_path.names[0] == 'a/00.png' and by_path.distances[0] == 0
    assert by_path.names == by_picture.names == by_code.names
    assert by_code.query is None and by_path.query[:2] == b'\xff\xd8'


def test_results_are_a_sequence(album, home):
    found = album.search(home / 'Photos/a/00.png', k=99)
    assert len(found) == 12 and found.distances == sorted(found.distances)
    assert list(found)[3] == found[3] == found.results[3] and isinstance(found[2:5], SearchResults)
    assert found[2:5].names == found.names[2:5]
    assert [p.size for p in found[:2].pictures] == [(40, 30)] * 2


def test_a_grid_in_a_notebook(album, home):
    "Every picture with its file name and distance; a name that is no text for a page is escaped."
    page = album.search(home / 'Photos/a/00.png', k=3)._repr_html_()
    assert page.count('<img') == 4 and page.count('bits') == 6 and '00.png' in page
    file = io.BytesIO()
    picture(1).save(file, 'JPEG')
    bad = SearchResults((Result('<img src=x>.jpg', 3, 0),), 'sealed', 'none',
                        bring=lambda results: [file.getvalue()])
    bare = SearchResults(bad.results, 'sealed', 'none')  # without pictures
    for page in (bad._repr_html_(), bare._repr_html_()):
        assert '<img src=x' not in page and '&lt;img src=x&gt;.jpg' in page


def test_titles_are_file_names(album, home):
    row = album.search(home / 'Photos/a/00.png', k=2).row()
    assert row.titles[0] == 'a/00.png\n0 bits' and len(row.pictures) == 2 and row.query.size == (40, 30)


@pytest.mark.parametrize('lock', ['homomorphic', 'private-walk', 'random-matrix', 'decoy-walk'])
def test_names_come_under_every_lock(lock, home):
    album = Album.create(home / 'Photos', home / 'other', home / 'other.key', encoder=small_encoder(), lock=lock,
                         cache=False)
    found = album.search(home / 'Photos/b/01.png', k=2, nodes=12)
    assert found.names[0] == 'b/01.png' and len(found.pictures) == 2


def test_saving(album, home):
    found = album.search(home / 'Photos/a/00.png', k=3)
    written = found.save(home / 'found')
    assert {p.relative_to(home / 'found').as_posix() for p in written} == {f'{name}.jpg' for name in found.names}
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in written)
    before = snapshot(home / 'found')
    with pytest.raises(InputError, match='not overwritten'):
        found.save(home / 'found')
    assert snapshot(home / 'found') == before
    found.draw(home / 'found.png')
    assert Image.open(home / 'found.png').size[0] > 300 and (home / 'found.png').stat().st_mode & 0o777 == 0o600


def test_originals_instead_of_fetching(home, monkeypatch):
    "With the folder at hand no picture is fetched: the cloud is asked for the codes only."
    monkeypatch.setenv('TREE_PRIVACY_CACHE', str(home / 'cache'))
    album = Album.open(home / 'cloud', home / 'mine.key', originals=home / 'Photos')
    transport = Recorded(album.connection().transport)
    album._connected = (album._connected[0], type(album._connected[1])(album.connection().user, transport))
    found = album.search(home / 'Photos/a/00.png', k=2)
    assert found.files[0] == (home / 'Photos/a/00.png').read_bytes() and transport.exchanges
    assert {read_message(exchange.request).kind for exchange in transport.exchanges} <= {'file'}


def test_an_album_without_photographs(home):
    album = Album.create(home / 'Photos', home / 'bare', home / 'bare.key', encoder=small_encoder(), keep='none',
                         cache=False)
    found = album.search(home / 'Photos/a/00.png', k=2)
    with pytest.raises(InputError, match='holds no photographs'):
        found.show()
    with pytest.raises(InputError, match='nothing to restore'):
        album.restore(home / 'back')
    assert '<pre>' in found._repr_html_()


def test_a_line_to_a_cloud(home):
    "An album that is reached by a transport is searched, and not changed."
    line = Local(CloudService(home / 'cloud'))
    album = Album.open(line, home / 'mine.key')
    assert album.search(home / 'Photos/a/00.png', k=1).names == ['a/00.png'] and len(album) == 12
    for change in (lambda: album.add(home / 'Photos'), lambda: album.remove(['a/00.png']),
                   lambda: album.rotate(home / 'new.key'), lambda: album.attack()):
        with pytest.raises(InputError, match='reached by a line to a cloud'):
            change()


# Changing


def test_sync_follows_a_folder(album, home):
    "New, replaced, renamed and removed in one version; a second time nothing is left to do."
    version, photos = album.manifest.version, home / 'Photos'
    ids = dict(zip(album.owner().open(album.folder).collection.names, album.owner().open(album.folder).collection.ids,
                   strict=True))
    draw(photos / 'new/99.png', 99)
    draw(photos / 'a/00.png', 98)
    (photos / 'b/01.png').rename(photos / 'b/one.png')
    (photos / 'c/02.png').unlink()
    done = album.sync(photos, yes=True, cache=False)
    assert (done.added, done.replaced, done.renamed, done.removed) == (
        ['new/99.png'], ['a/00.png'], {'b/01.png': 'b/one.png'}, ['c/02.png'])
    assert album.manifest.version == version + 1
    assert names_in(album) == sorted(p.relative_to(photos).as_posix() for p in photos.rglob('*.png'))
    now = album.owner().open(album.folder).collection
    assert ids['b/01.png'] == now.ids[now.names.index('b/one.png')]
    again = album.sync(photos, cache=False)
    assert again.nothing and album.manifest.version == version + 1


def test_a_rename_uploads_no_photograph(album, home):
    "The files of photographs stay as they were."
    def packs():
        return {name: entry.sha256 for name, entry in album.manifest.files.items() if name.startswith('photos')}
    before = packs()
    (home / 'Photos/a').rename(home / 'Photos/z')
    done = album.sync(home / 'Photos', cache=False)
    assert len(done.renamed) == 4 and not done.added and packs() == before
    assert album.search(home / 'Photos/z/00.png', k=1).names == ['z/00.png']


def test_sync_asks_before_it_removes(album, home, monkeypatch):
    (home / 'Photos/a/00.png').unlink()
    draw(home / 'Photos/a/50.png', 50)
    with pytest.raises(InputError, match='1 of 12 photographs in the album are not in this folder.*add --yes.*--keep'):
        album.sync(home / 'Photos', cache=False)
    assert len(album) == 12
    monkeypatch.setattr(album_module, 'can_ask', lambda: True)
    monkeypatch.setattr('builtins.input', lambda question: 'n')
    done = album.sync(home / 'Photos', cache=False)
    assert done.added == ['a/50.png'] and done.kept == ['a/00.png'] and not done.removed and len(album) == 13
    monkeypatch.setattr('builtins.input', lambda question: 'y')
    assert album.sync(home / 'Photos', cache=False).removed == ['a/00.png']


def test_a_photograph_that_got_damaged_stays(album, home):
    "A file that cannot be read any more does not replace the picture that was indexed."
    (home / 'Photos/a/00.png').write_bytes(b'no picture')
    (home / 'Photos/a/77.png').write_bytes(b'')
    with pytest.warns(UserWarning, match='cannot be read'):
        done = album.sync(home / 'Photos', cache=False)
    assert done.nothing and sorted(done.unreadable) == ['a/00.png', 'a/77.png'] and len(album) == 12
    assert any('could not be read' in note for note in done.notes())


def test_add_says_what_it_leaves_alone(album, home):
    more = home / 'More'
    shutil.copytree(home / 'Photos/a', more / 'a')
    draw(more / 'a/00.png', 97)
    shutil.copy(home / 'Photos/b/01.png', more / 'copy.png')
    draw(more / 'new.png', 96)
    done = album.add(more, cache=False)
    assert done.added == ['new.png'] and len(album) == 13
    [changed] = [names for why, names in done.left_alone.items() if why.startswith('another picture has this name')]
    assert changed == ['a/00.png']
    assert done.left_alone['in the album already, under another name'] == ['copy.png']
    assert len(done.left_alone['in the album already']) == 3


def test_removing(album):
    done = album.remove('a/00.png')
    assert done.removed == ['a/00.png'] and done.photographs == len(album) == 11
    with pytest.raises(NotFoundError, match='nothing was changed'):
        album.remove(['a/00.png', 'a/03.png'])
    assert len(album) == 11


# Sharing, restoring


def test_a_friend_and_a_new_key(album, home):
    album.grant(home / 'friend.key')
    friend = Album.open(home / 'cloud', home / 'friend.key')
    assert friend.search(home / 'Photos/a/00.png', k=1).names == ['a/00.png']
    for change in (lambda: friend.sync(home / 'Photos'), lambda: friend.grant(), lambda: friend.remove(['a/00.png'])):
        with pytest.raises(AccessError, match='may search but not write'):
            change()
    album.rotate(home / 'new.key')
    assert len(album.search(home / 'Photos/a/00.png', k=1)) == 1
    with pytest.raises(AccessError):
        Album.open(home / 'cloud', home / 'friend.key')


def test_restore_brings_the_files_back(home):
    "With keep='full' every file comes back as it was; a run that was stopped goes on; nothing is overwritten."
    album = Album.create(home / 'Photos', home / 'whole', home / 'whole.key', encoder=small_encoder(), keep='full',
                         cache=False)
    album.restore(home / 'back')
    assert snapshot(home / 'back') == snapshot(home / 'Photos')
    (home / 'back/a/00.png').unlink()
    assert [p.name for p in album.restore(home / 'back')] == ['00.png']
    (home / 'back/a/00.png').write_bytes(b'mine')
    with pytest.raises(InputError, match='not overwritten'):
        album.restore(home / 'back')
    assert (home / 'back/a/00.png').read_bytes() == b'mine'


def test_an_old_album_put_back(album, home):
    shutil.copytree(home / 'cloud', home / 'old')
    album.remove(['a/00.png'])
    with pytest.raises(RollbackError):
        Album.open(home / 'old', home / 'mine.key')


# Making


def test_no_key_is_left_where_no_index_was_made(home):
    with pytest.raises(InputError):
        Album.create(home / 'Photos', home / 'x', home / 'x.key', encoder=small_encoder(), lock='padlock')
    (home / 'taken').mkdir()
    (home / 'taken/mine.txt').write_text('mine')
    with pytest.raises(InputError, match='holds no index'):
        Album.create(home / 'Photos', home / 'taken', home / 'x.key', encoder=small_encoder())
    assert not (home / 'x.key').exists() and not (home / 'x').exists()


@pytest.mark.parametrize('at', ['s3://bucket/x', 'https://cloud.example/x', '', 'a\0b', 'file://elsewhere/x'])
def test_places_that_are_no_folder(at, home):
    with pytest.raises(InputError, match='wanted'):
        Album.open(at, home / 'mine.key')


@pytest.mark.parametrize('key', [7, None, b'key', 'nobody.key'])
def test_keys_that_are_none(key, home):
    with pytest.raises((InputError, NotFoundError)):
        Album.open(home / 'cloud', key)


@pytest.mark.parametrize('photo', [7, None, 'nobody.jpg', '.', np.zeros(3, np.uint8), np.zeros((2, 4)), b'x'])
def test_questions_that_are_none(photo, album):
    with pytest.raises((InputError, NotFoundError)):
        album.search(photo)


def test_importing_loads_little():
    "`from tree_privacy import Album` and all that needs no picture load no torch."
    code = ('import sys; from tree_privacy import Album, SearchResults; '
            'print([m for m in ("torch", "PIL", "matplotlib", "sklearn", "scipy", "numba") if m in sys.modules])')
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'


def test_a_key_object(home):
    key = OwnerKey.generate()
    album = Album.create(home / 'Photos', home / 'o', key, encoder=small_encoder(), cache=False)
    assert len(Album.open(f'file://{home}/o', key.grant()).search(home / 'Photos/a/00.png', k=2)) == 2
    assert repr(album) == f'Album(12 photographs at {home}/o, lock sealed)'


# Studying


def test_leakage_attack_costs(album):
    assert 'codes of photographs' in repr(album.leakage()) and len(album.leakage('none')) == len(album.leakage())
    [row] = album.attack(['exact distances'], queries=5)
    assert row.recovered is None and 'not applicable: exact distances' in repr(album.attack(['exact distances']))
    [cost] = album.costs(['sealed'], 3)
    assert cost.recall_10.mean() == 1 and cost.n == 12


# The command line


def test_pictures_without_fetching(home):
    "--fetch none brings nothing to draw: that is said, in one line."
    done = run('search', home / 'Photos/a/00.png', '--index', home / 'cloud', '--key', home / 'mine.key',
               '--fetch', 'none', '--picture', home / 'x.png')
    refusal(done.returncode, done.stdout, done.stderr, 'brings no photographs to draw')
    assert not (home / 'x.png').exists()


def test_sync_and_restore_as_commands(home):
    places = ['--index', home / 'cloud', '--key', home / 'mine.key']
    (home / 'Photos/a/00.png').unlink()
    done = run('sync', home / 'Photos', *places)
    refusal(done.returncode, done.stdout, done.stderr, 'add --yes')
    assert '1 removed; 11 photographs' in tree_privacy('sync', home / 'Photos', *places, '--yes').stdout
    found = json.loads(tree_privacy('sync', home / 'Photos', *places, '--json').stdout)
    assert found['photographs'] == 11 and found['added'] == []
    out = tree_privacy('restore', *places, '--out', home / 'back')
    assert out.stdout == '11 files written\n' and 'thumbnails' in out.stderr


def test_read_fetches_names(home):
    places = ['--index', home / 'hom', '--key', home / 'hom.key']
    Album.create(home / 'Photos', home / 'hom', home / 'hom.key', encoder=small_encoder(), lock='homomorphic',
                 cache=False)
    tree_privacy('ask', home / 'Photos/a/00.png', *places, '--out', home / 'request')
    tree_privacy('answer', home / 'request', '--index', home / 'hom', '--out', home / 'reply')
    bare = tree_privacy('read', home / 'reply', '--key', home / 'hom.key')
    assert 'a/00.png' not in bare.stdout and 'add --index DIR' in bare.stderr
    assert 'a/00.png' in tree_privacy('read', home / 'reply', '--key', home / 'hom.key', '--index', home / 'hom').stdout


def test_ask_refuses_before_torch(home):
    "Under the default lock there is nothing to ask: that is said without loading a network."
    code = ('import sys; from tree_privacy.cli.main import main; '
            f'code = main(["ask", "{home}/Photos/a/00.png", "--index", "{home}/cloud", "--key", "{home}/mine.key", '
            f'"--out", "{home}/x"]); print(code, "torch" in sys.modules)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == '2 False' and 'use `search`' in done.stderr


def test_a_second_search_gets_no_encoder(home, tmp_path, monkeypatch):
    "The encoder is fetched once and kept sealed."
    monkeypatch.setenv('TREE_PRIVACY_CACHE', str(tmp_path / 'cache'))
    sent = []
    real = CloudService.handle

    def handle(self, request):
        reply = real(self, request)
        sent.append(len(reply))
        return reply
    monkeypatch.setattr(CloudService, 'handle', handle)
    received = []
    for _ in range(2):
        sent.clear()
        Album.open(home / 'cloud', home / 'mine.key').search(home / 'Photos/a/00.png', k=1)
        received.append(sum(sent))
    size = Album.open(home / 'cloud', home / 'mine.key').manifest.files['encoder'].bytes
    assert received[0] > size > received[1]


def test_hidden_files_stay_out(home):
    "What a folder leaves out is counted, and not indexed."
    draw(home / 'Photos/@eaDir/a.png', 1)
    draw(home / 'Photos/.hidden/b.png', 2)
    Path(home, 'Photos/.treeignore').write_text('c/\n')
    done = run('index', home / 'Photos', '--index', home / 'new', '--key', home / 'new.key', '--bits', '32',
               '--binariser', 'lsh', '--size', '32', '--no-cache')
    assert done.returncode == 0 and '8 photographs are in' in done.stdout
    assert '1 in @eaDir' in done.stderr and '4 by .treeignore' in done.stderr and 'hidden' in done.stderr
