"Three short programs, as a reader would write them: an album, three parties, a tree beside faiss."
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pictures import album, draw

PROGRAMS = Path(__file__).parent / 'programs'


def lines(name):
    "Lines of a program that are not empty."
    return [line for line in (PROGRAMS / name).read_text().splitlines() if line.strip()]


def start(name, folder):
    "Start a program in a folder."
    return subprocess.Popen([sys.executable, PROGRAMS / name], cwd=folder, stdout=-1, stderr=-1, text=True)


def ended(program):
    "What a program printed; it must end well."
    out, err = program.communicate(timeout=300)
    assert program.returncode == 0, err
    return out


@pytest.fixture
def folder(tmp_path):
    "A folder with photographs in Photos, and one to ask about."
    album(tmp_path / 'Photos', 12)
    draw(tmp_path / 'cat.png', 3)
    return tmp_path


def test_an_album_in_five_lines(folder):
    assert len(lines('five_lines.py')) <= 5
    out = ended(start('five_lines.py', folder))
    assert len(out.splitlines()) == 3 and all('bits differ' in line for line in out.splitlines())
    assert len(list((folder / 'found').rglob('*.jpg'))) == 3


def test_three_parties(folder):
    assert sum(len(lines(name)) for name in ('owner.py', 'cloud.py', 'friend.py')) <= 25
    ended(start('owner.py', folder))
    cloud = start('cloud.py', folder)
    try:
        while not (folder / 'cloud.socket').exists():
            assert cloud.poll() is None, cloud.communicate()
            time.sleep(.05)
        out = ended(start('friend.py', folder))
        ended(cloud)
    finally:
        cloud.kill()  # where the friend failed it would wait for ever
    distances = [int(line.split()[0]) for line in out.splitlines()]
    assert len(distances) == 3 and distances == sorted(distances) and '.png' in out


def test_own_vectors_beside_faiss(tmp_path):
    pytest.importorskip('faiss')
    assert len(lines('own_vectors.py')) <= 15
    assert float(ended(start('own_vectors.py', tmp_path))) > .8
