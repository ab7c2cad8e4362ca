"What is installed: the source distribution, the wheel made from it, the command."

import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from configparser import ConfigParser
from email import message_from_bytes
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

import tree_privacy

root = Path(__file__).resolve().parent.parent.parent
config = ConfigParser(delimiters=['='])
config.read(root / 'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']


def shipped():
    "The notebooks and their pictures, by their place below nbs."
    files = [p for p in (root / 'nbs').rglob('*') if p.suffix in ('.ipynb', '.svg', '.png')]
    return {p.relative_to(root / 'nbs').as_posix() for p in files if '.ipynb_checkpoints' not in p.parts}


def build(kind, source, to):
    "Let setuptools build a `kind` (sdist or wheel) of `source`, without a network; returns its path."
    code = f'import sys, setuptools.build_meta as b; print(b.build_{kind}(sys.argv[1]), file=sys.stderr)'
    done = subprocess.run([sys.executable, '-c', code, str(to)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return to / done.stderr.splitlines()[-1]


@pytest.fixture(scope='module')
def sdist(tmp_path_factory):
    "The source distribution of a copy of the checkout."
    source = tmp_path_factory.mktemp('source')
    for n in ('settings.ini', 'setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE', 'README.md'):
        copy(root / n, source)
    for n in ('nbs', 'tree_privacy'):
        copytree(root / n, source / n, ignore=ignore_patterns('__pycache__', '.*'))
    return build('sdist', source, tmp_path_factory.mktemp('sdist'))


@pytest.fixture(scope='module')
def wheel(sdist, tmp_path_factory):
    "The wheel, made from the unpacked source distribution."
    to = tmp_path_factory.mktemp('unpacked')
    with tarfile.open(sdist) as tar:
        tar.extraction_filter = getattr(tarfile, 'data_filter', None)  # not in Python 3.11.2
        tar.extractall(to)
    return build('wheel', next(to.iterdir()), tmp_path_factory.mktemp('wheel'))


def test_sdist(sdist):
    with tarfile.open(sdist) as tar:
        names = {n.partition('/')[2] for n in tar.getnames()}
    notebooks = {f'nbs/{n}' for n in shipped()}
    assert {
        'settings.ini',
        'setup.py',
        'pyproject.toml',
        'README.md',
        'LICENSE',
        'tree_privacy/py.typed',
        *notebooks,
    } <= names


def test_wheel_files(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    start = f'{cfg["lib_name"]}-{tree_privacy.__version__}'
    notebooks = {f'{start}.data/data/share/tree_privacy/notebooks/{n}' for n in shipped()}
    modules = {p.relative_to(root).as_posix() for p in (root / 'tree_privacy').rglob('*.py')} | {
        'tree_privacy/py.typed'
    }
    assert notebooks and modules and notebooks | modules <= names
    assert not [n for n in names if n.startswith(('nbs/', 'tests/'))]


def test_wheel_metadata(wheel):
    z, start = zipfile.ZipFile(wheel), f'{cfg["lib_name"]}-{tree_privacy.__version__}.dist-info'
    meta = message_from_bytes(z.read(f'{start}/METADATA'))
    assert meta['Name'] == cfg['lib_name'] and meta['Version'] == tree_privacy.__version__
    assert meta['Summary'] == cfg['description'] and meta['Requires-Python'] == f'>={cfg["min_python"]}'
    assert 'Apache-2.0' in (meta['License-Expression'], meta['License'])
    needs = meta.get_all('Requires-Dist')
    assert [n for n in needs if ';' not in n] == cfg['requirements'].split()
    assert set(meta.get_all('Provides-Extra')) == {'cloud', 'photos', 'lab', 'dev', 'all'}

    def extra(e):
        return {n.partition(';')[0].strip() for n in needs if f'extra == "{e}"' in n}

    assert extra('cloud') < extra('photos') < extra('lab') < extra('dev') and extra('all') == extra('lab')
    entries = z.read(f'{start}/entry_points.txt').decode()
    assert 'tree-privacy = tree_privacy.cli.main:run' in entries and 'tree_privacy = tree_privacy._modidx:d' in entries


HEAVY = {'torch', 'torchvision', 'scikit-learn', 'scipy', 'matplotlib', 'ipywidgets', 'pillow', 'jupyterlab', 'nbdev'}
USED = {  # who uses the package, and some of what that takes
    'requirements': {'numpy', 'cryptography', 'safetensors', 'fastcore', 'tqdm', 'shtab'},
    'cloud_requirements': {'seal-python', 'numba'},
    'photos_requirements': {'torch', 'pillow', 'pillow-heif', 'pathspec', 'matplotlib', 'scikit-learn', 'scipy'},
    'lab_requirements': {'jupyterlab', 'nbdev', 'ipywidgets'},
    'dev_requirements': {'pytest', 'hypothesis'},
}


def test_light_installations_stay_light():
    "A user with codes, and a cloud, install no network, no pictures and no notebooks."
    listed = {key: {re.split('[<>=]', r)[0] for r in cfg[key].split()} for key in USED}
    assert all(some <= listed[key] for key, some in USED.items())
    assert listed['requirements'] == USED['requirements'] and listed['cloud_requirements'] == USED['cloud_requirements']
    assert not HEAVY & (listed['requirements'] | listed['cloud_requirements'])


def test_wheel_installs(wheel, tmp_path):
    command = [
        sys.executable,
        '-m',
        'pip',
        'install',
        '--quiet',
        '--no-deps',
        '--no-index',
        '--target',
        str(tmp_path),
        str(wheel),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = 'import tree_privacy; print(tree_privacy.__file__, tree_privacy.__version__)'
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == [str(tmp_path / 'tree_privacy' / '__init__.py'), tree_privacy.__version__], (
        done.stderr
    )
    share = tmp_path / 'share/tree_privacy/notebooks'
    assert {p.relative_to(share).as_posix() for p in share.rglob('*') if p.is_file()} == shipped()


@pytest.mark.parametrize('way', ['target', 'venv'])
def test_notebooks_of_an_installed_wheel(wheel, way, tmp_path):
    "They are found by pip's record, or beside the package; a damaged installation is said, and nothing is written."
    there, here = tmp_path / 'there', tmp_path / 'there/share/tree_privacy/notebooks'
    if way == 'venv':
        venv.create(there)
    into, to = (
        (['--python', str(there / 'bin/python')], []) if way == 'venv' else ([], ['--target', str(there)])
    )  # never the environment of the tests
    subprocess.run(
        [sys.executable, '-m', 'pip', *into, 'install', '--quiet', '--no-deps', '--no-index', *to, str(wheel)],
        check=True,
    )
    site = next(there.rglob('tree_privacy/core.py')).parent.parent

    def notebooks(to):
        code = (f'import sys; sys.path.insert(0, {str(site)!r}); from tree_privacy.cli.main import main; '
                f'sys.exit(main(["notebooks", {to!r}]))')
        return subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)

    done = notebooks('mine')
    assert done.returncode == 0 and str(sum(n.endswith('.ipynb') for n in shipped())) in done.stdout.split(), (
        done.stderr
    )
    assert {
        p.relative_to(tmp_path / 'mine').as_posix() for p in (tmp_path / 'mine').rglob('*') if p.is_file()
    } == shipped() | {'pyproject.toml'}
    assert all((tmp_path / 'mine' / n).read_bytes() == (here / n).read_bytes() for n in shipped())
    (here / 'tree/22_estimator.ipynb').unlink()
    done = notebooks('other')
    assert (
        done.returncode == 3
        and done.stderr.startswith('tree-privacy: tree/22_estimator.ipynb is missing')
        and len(done.stderr.splitlines()) == 1
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ['mine', 'there']


def test_help_is_quick():
    "`tree-privacy --help` prints its usage without loading torch, which takes seconds."
    code = '''
import sys
sys.argv = ['tree-privacy', '--help']
from tree_privacy.cli.main import main
try: status = main()
except SystemExit as e: status = e.code
heavy = {'torch', 'torchvision', 'timm', 'sklearn', 'matplotlib'} & set(sys.modules)
assert not heavy, f'--help imports {heavy}'
sys.exit(status)
'''
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.lower().startswith('usage: tree-privacy')


def test_unknown_command_is_an_error():
    code = ("import sys; sys.argv = ['tree-privacy', 'no-such-command']; "
            'from tree_privacy.cli.main import main; sys.exit(main())')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=root)
    assert done.returncode not in (0, None) and 'no-such-command' in done.stderr
