"An album to search, and one to change."
import shutil

import pytest
from made_albums import make_album

from tree_privacy import Album


@pytest.fixture(scope='session')
def made(tmp_path_factory):
    "An album of twelve pictures, made once."
    home = tmp_path_factory.mktemp('album')
    make_album(home)
    return home


@pytest.fixture
def home(made, tmp_path):
    "A copy that a test may change."
    shutil.copytree(made, tmp_path / 'home')
    return tmp_path / 'home'


@pytest.fixture
def album(home):
    return Album.open(home / 'cloud', home / 'mine.key')
