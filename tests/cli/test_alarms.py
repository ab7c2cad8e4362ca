"An alarm about a forged reply stops every command under the key, in later processes too, until the key is another one."
import numpy as np
import pytest
from commands import run_installed
from contract.lock_variants import crowded
from parties import Altered, index_of, rewritten, with_photos
from pictures import draw

from tree_privacy.album.places import connect, open_key, trust_beside
from tree_privacy.client.transport import run as converse
from tree_privacy.core import ForgedReply, RevokedError, RollbackError
from tree_privacy.crypto.keys import load_key, save_key
from tree_privacy.store.manifest import read_manifest
from tree_privacy.wire import read_message


@pytest.fixture(params=['encrypted', 'walk'])
def alarmed(request, tmp_path):
    "A folder with an index, its key, a photograph to ask with, and an alarm."
    w = index_of(request.param, tmp_path / 'index', crowded(3, 40, 32))
    save_key(w.key, tmp_path / 'mine.key')
    draw(tmp_path / 'photos' / 'query.png', 1)
    at = connect(tmp_path / 'index', open_key(tmp_path / 'mine.key'))

    def forge(reply):
        arrays = {name: np.roll(x, 53 * 35, axis=-1) for name, x in read_message(reply).arrays.items() if x.ndim > 1}
        return rewritten(reply, **arrays)  # numbers of 53 or 35 bits, in another order

    with pytest.raises(ForgedReply):
        converse(at.user.search(np.zeros(4, np.uint8)), Altered(w.cloud, forge))
    return tmp_path


def commands(home):
    "Commands that ask the cloud, hand out the key, or change the index."
    at = ['--index', home / 'index', '--key', home / 'mine.key']
    photo = home / 'photos' / 'query.png'
    return [['search', photo, *at], ['ask', photo, *at, '--out', home / 'request'],
            ['fetch', 0, *at, '--out', home / 'found'], ['add', home / 'photos', *at], ['remove', '0/000', *at],
            ['sync', home / 'photos', *at, '--yes'],
            ['attack', home / 'index', '--key', home / 'mine.key', '--queries', 2],
            ['costs', home / 'index', '--key', home / 'mine.key', '--queries', 2],
            ['grant', '--key', home / 'mine.key', '--out', home / 'friend.key'],
            ['index', home / 'photos', *at, '--bits', 32]]


def test_every_command_heeds_an_alarm(alarmed, refused):
    "With the exit code of a security error, and nothing written."
    for command in commands(alarmed):
        assert refused('forged', *command) == 5


def test_restoring_heeds_an_alarm(tmp_path, refused):
    w = with_photos('encrypted', tmp_path / 'index', 'thumbs')
    save_key(w.key, tmp_path / 'mine.key')
    trust_beside(tmp_path / 'mine.key').raise_alarm(w.manifest.index, 'a reply was forged')
    restore = ['restore', '--index', tmp_path / 'index', '--key', tmp_path / 'mine.key', '--out', tmp_path / 'back']
    assert refused('forged', *restore) == 5


def test_a_later_process_heeds_it(alarmed):
    done = run_installed(*commands(alarmed)[0])
    assert done.returncode == 5 and 'forged' in done.stderr and 'rotate' in done.stderr


@pytest.mark.parametrize('note', [b'', b'\xff\xfe damaged'])
def test_a_damaged_note_counts_as_an_alarm(note, alarmed, refused):
    (alarmed / 'mine.key.trust').write_bytes(note)
    for command in commands(alarmed):
        assert refused('.trust', *command) == 5


def test_a_new_key_goes_on(alarmed, works):
    "Rotating is allowed; the new key finds what was there, and the old one stays refused."
    works('rotate', '--index', alarmed / 'index', '--key', alarmed / 'mine.key', '--new-key', alarmed / 'new.key')
    at = connect(alarmed / 'index', open_key(alarmed / 'new.key'))
    assert converse(at.user.search(crowded(3, 40, 32)[0]), at.transport).hits[0].distance == 0
    works('grant', '--key', alarmed / 'new.key', '--out', alarmed / 'friend.key')
    with pytest.raises(RevokedError):
        trust_beside(alarmed / 'mine.key').check_alarm()
    assert load_key(alarmed / 'new.key').id == read_manifest(alarmed / 'index').key


def test_an_owner_may_lift_it(alarmed):
    "Deliberately, by a call; what was seen stays known."
    trust, manifest = trust_beside(alarmed / 'mine.key'), read_manifest(alarmed / 'index')
    trust.lift(manifest.index)
    assert connect(alarmed / 'index', open_key(alarmed / 'mine.key')).user.manifest == manifest
    with pytest.raises(RollbackError):
        trust.check(type(manifest)(**{**vars(manifest), 'photos': 'full'}))
