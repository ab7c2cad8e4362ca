"`tree-privacy notebooks` and `tree-privacy lab`: copies of the notebooks, and JupyterLab on them."
import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from browser import free_port
from commands import COMMAND, run_installed, tree_privacy
from dying import KILLED, die_at
from fakes import child, ended
from pictures import snapshot

from tree_privacy import __version__, core
from tree_privacy.cli import notebooks as command
from tree_privacy.cli.main import main

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = [
    p for p in ROOT.glob('nbs/**/*') if p.suffix in ('.ipynb', '.svg', '.png') and '.ipynb_checkpoints' not in p.parts]
FILES = {p.relative_to(ROOT / 'nbs').as_posix() for p in SHIPPED} | {'pyproject.toml'}
AS_ROOT = ['--allow-root'] if hasattr(os, 'geteuid') and os.geteuid() == 0 else []


def names(folder):
    return {p.relative_to(folder).as_posix() for p in Path(folder).rglob('*') if p.is_file()}


@pytest.mark.parametrize('there', [None, [], ['notes.txt', 'more/data.csv']])
def test_copies(there, tmp_path):
    "Into a new folder, an empty one, and one with other files: all of them, byte for byte, and what was there stays."
    to = tmp_path / 'tutorial'
    for name in there or []:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_text('mine')
    if there == []:
        to.mkdir()
    said = tree_privacy('notebooks', to).stdout
    assert said.startswith(f'{sum(n.endswith(".ipynb") for n in FILES)} notebooks of tree_privacy {__version__} are in')
    assert 'open index.ipynb first' in said
    assert names(to) == FILES | set(there or [])
    assert all((to / name).read_text() == 'mine' for name in there or [])
    assert all((to / name).read_bytes() == (ROOT / 'nbs' / name).read_bytes() for name in FILES - {'pyproject.toml'})
    assert sorted(p.name for p in tmp_path.iterdir()) == ['tutorial'], 'something is left beside it'


def test_copies_to_where_one_is(tmp_path, monkeypatch):
    "`.` is a folder like any other, and so is one whose name is odd."
    for place in ('here', "Ünïcode & 'quotes' $HOME"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        assert main(['notebooks', '.']) == 0 and names('.') == FILES


def test_nbdev_runs_a_copy(tmp_path):
    "nbdev-test works there and leaves out slow cells; other cells are run."
    tree_privacy('notebooks', tmp_path / 'tutorial')

    def nbdev_test(name, *sources):
        cells = [
            dict(cell_type='code', id=f'c{i}', metadata={}, source=s, outputs=[], execution_count=None)
            for i, s in enumerate(sources)]
        (tmp_path / 'tutorial' / name).write_text(
            json.dumps(
                dict(cells=cells,
                     metadata=dict(kernelspec=dict(name='python3', language='python', display_name='python3')),
                     nbformat=4, nbformat_minor=5)))
        return subprocess.run([COMMAND.with_name('nbdev-test'), name], cwd=tmp_path / 'tutorial', capture_output=True,
                              text=True, timeout=100)

    assert nbdev_test('quick.ipynb', *(f'#| {mark}\n1 / 0' for mark in ('slow', 'gpu', 'notest')),
                      '1 + 1').returncode == 0
    assert nbdev_test('wrong.ipynb', '1 / 0').returncode != 0


def test_nothing_is_overwritten(refused, tmp_path):
    "A second copy, one file of the reader, a link that leads nowhere: refused by name, and all of it stays."
    assert main(['notebooks', str(tmp_path / 'all')]) == 0
    refused('00_core.ipynb is there already', 'notebooks', tmp_path / 'all')
    for name in ('00_core.ipynb', 'pyproject.toml', 'images'):
        (tmp_path / f'with_{name}').mkdir()
        (tmp_path / f'with_{name}' / name).write_text('mine')
        refused(name, 'notebooks', tmp_path / f'with_{name}')
    (tmp_path / 'linked').mkdir()
    (tmp_path / 'linked/index.ipynb').symlink_to('nowhere')
    refused('index.ipynb is there already', 'notebooks', tmp_path / 'linked')


def test_folders_that_cannot_be_had(refused, tmp_path):
    (tmp_path / 'file').write_text('x')
    (tmp_path / 'link').symlink_to('nowhere')
    (tmp_path / 'loop').symlink_to('loop')
    for where, word in [('file', 'is a file'), ('link', 'leads nowhere'), ('loop', ''), ('a/b/c', 'make it first'),
                        ('file/c', 'make it first'), ('x' * 300, 'too long')]:
        for name in ('notebooks', 'lab'):
            refused(word, name, tmp_path / where)
    for where in ('', 'a\0b'):
        refused('wanted a name', 'notebooks', where)
    if Path('/proc/self').exists():
        refused('', 'notebooks', '/proc/tutorial')


@pytest.mark.skipif(os.name != 'posix' or os.geteuid() == 0, reason='permissions do not bind root')
@pytest.mark.parametrize('there', [False, True])
def test_a_folder_that_may_not_be_written(there, refused, tmp_path):
    home = tmp_path / 'home'
    home.mkdir(mode=0o500)
    try:
        refused('may not be written to', 'notebooks', home if there else home / 'tutorial')
    finally:
        home.chmod(0o700)


@pytest.fixture
def few(monkeypatch):
    "A notebook of each folder and a picture instead of all, no waiting for the disk; gives the names of copies."
    stored = command.stored_notebooks()
    by_folder = {(str(Path(name).parent), path.suffix): name for name, path in stored.items()}
    chosen = {name: stored[name] for name in [*by_folder.values(), 'index.ipynb']}
    monkeypatch.setattr(command, 'stored_notebooks', lambda: chosen)
    monkeypatch.setattr(os, 'fsync', lambda handle: None)
    assert any('/' in name for name in chosen) and any(name.endswith('.svg') for name in chosen)
    return {*chosen, 'pyproject.toml'}


@pytest.mark.parametrize('there', [False, True])
def test_a_full_disk_at_every_file(there, few, refused, tmp_path, monkeypatch):
    "Nothing is left, wherever it happens, and what was there stays; with room again it goes through."
    (tmp_path / 'beside').write_text('mine')
    if there:
        (tmp_path / 'tutorial').mkdir()
        (tmp_path / 'tutorial/notes').write_text('mine')
    real = core.write_new
    for last in range(1, len(few) + 1):
        left = [last]

        def full(path, data, *mode, left=left):
            left[0] -= 1
            if not left[0]:
                Path(path).write_bytes(data[:100])
                raise OSError(28, 'No space left on device', str(path))
            return real(path, data, *mode)

        monkeypatch.setattr(core, 'write_new', full)
        assert refused('make room and try again', 'notebooks', tmp_path / 'tutorial') == 2
    monkeypatch.setattr(core, 'write_new', real)
    assert main(['notebooks', str(tmp_path / 'tutorial')]) == 0
    assert few <= names(tmp_path / 'tutorial')


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this test forks')
def test_a_kill_at_any_moment(few, tmp_path):
    "There is a whole folder under the name or none, and the next try goes through."
    for step in range(1, 10 * len(few)):
        home = tmp_path / str(step)
        home.mkdir()

        def dying(step=step, home=home):
            die_at(step, ('mkdir', 'open', 'replace', 'rename'))
            command.copy_notebooks(home / 'tutorial')

        code = ended(child(dying))
        assert code in (0, KILLED) and (home / 'tutorial').exists() == (code == 0)
        assert all(p.name.startswith('.') for p in home.iterdir() if p.name != 'tutorial')
        if code == 0:
            break
        assert command.copy_notebooks(home / 'tutorial') and names(home / 'tutorial') == few
    assert names(home / 'tutorial') == few and step > 2 * len(few)


# lab


@pytest.fixture
def alone(tmp_path):
    "An environment in which JupyterLab finds no settings of whoever runs the tests, and a token."
    return dict(os.environ, JUPYTER_TOKEN='secret',
                **{f'JUPYTER_{kind}_DIR': str(tmp_path / 'jupyter' / kind)
                   for kind in ('CONFIG', 'DATA', 'RUNTIME')})


def fake(home, does):
    "An environment in which `python -m jupyterlab` is a line of Python."
    (home / 'fake/jupyterlab').mkdir(parents=True)
    (home / 'fake/jupyterlab/__init__.py').touch()
    (home / 'fake/jupyterlab/__main__.py').write_text(f'import os, signal, sys, time\n{does}\n')
    others = filter(None, [os.environ.get('PYTHONPATH')])
    return dict(PYTHONPATH=os.pathsep.join([str(home / 'fake'), *others]))


def fetched(url, seconds=300):
    "What an address gives, as soon as it gives something"
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as page:
                return page.read()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(.1)


@pytest.mark.parametrize('number', ['SIGINT', 'SIGTERM'])
def test_lab(number, alone, tmp_path):
    "The installed command copies the notebooks, serves index.ipynb, and ends when told to, as JupyterLab says."
    port = free_port()
    running = subprocess.Popen([COMMAND, 'lab', 'my tutorial', '--no-browser', '--port',
                                str(port), *AS_ROOT], cwd=tmp_path, env=alone, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        at = f'http://localhost:{port}'
        assert 'notebook' in json.loads(fetched(f'{at}/api/contents/index.ipynb?token=secret&content=0'))['type']
        assert b'jupyter' in fetched(f'{at}/lab/tree/index.ipynb?token=secret').lower()
        running.send_signal(getattr(signal, number))
        said = running.communicate(timeout=3000)[0]  # a loaded machine takes its time
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 0 and 'Traceback' not in said
    assert f'notebooks of tree_privacy {__version__} were copied to my tutorial' in said
    assert '/lab/tree/index.ipynb' in said
    assert names(tmp_path / 'my tutorial') == FILES
    with pytest.raises(OSError):
        fetched(at, 0)


def lab(*args, code, **env):
    "The installed command; what JupyterLab says goes to standard error."
    done = run_installed('lab', *args, env=env)
    assert done.returncode == code and 'Traceback' not in done.stderr and not done.stdout, done.stderr
    return done


def test_lab_passes_on(tmp_path):
    "Its options, and the exit status of JupyterLab; the folder is not copied again, and a reader's work stays."
    env = fake(tmp_path, 'print(sys.argv[1:]); sys.exit(7)')
    done = lab(tmp_path / 'tutorial', '--port', 9999, code=7, **env)
    assert 'were copied' in done.stderr
    assert '--ServerApp.port=9999' in done.stderr
    assert f'root_dir={tmp_path}/tutorial' in done.stderr
    assert '--no-browser' not in done.stderr and '--allow-root' not in done.stderr
    (tmp_path / 'tutorial/index.ipynb').write_text('mine')
    before = snapshot(tmp_path / 'tutorial')
    done = lab(tmp_path / 'tutorial', '--no-browser', '--allow-root', code=7, **env)
    assert len(done.stderr.splitlines()) == 1
    assert '--no-browser' in done.stderr
    assert '--allow-root' in done.stderr
    assert 'port' not in done.stderr
    assert snapshot(tmp_path / 'tutorial') == before
    project = tmp_path / 'tutorial/pyproject.toml'
    texts = [(project.read_text().replace(__version__, '0.0.7'), 'version 0.0.7'),
             ('[tool.tree_privacy]\nversion = "0.0.8\n', 'version unknown'), ('tool = 3', 'version unknown')]
    for text, word in texts:
        project.write_text(text)
        done = lab(tmp_path / 'tutorial', code=7, **env)
        assert word in done.stderr
        assert f'{__version__} is installed' in done.stderr
        assert len(done.stderr.splitlines()) == 2  # the last is what the fake JupyterLab says
        assert project.read_text() == text


def test_lab_as_json(tmp_path):
    "How JupyterLab ended, and nothing of what it said."
    done = run_installed('lab', tmp_path / 'tutorial', '--json', env=fake(tmp_path, 'print("hello"); sys.exit(3)'))
    assert done.returncode == 3 and 'hello' in done.stderr
    assert json.loads(done.stdout) == dict(folder=str(tmp_path / 'tutorial'), code=3)


def test_lab_that_was_killed(tmp_path):
    lab(tmp_path / 'tutorial', code=128 + 9, **fake(tmp_path, 'os.kill(os.getpid(), signal.SIGKILL)'))


def test_default_folder(tmp_path):
    env = dict(os.environ, **fake(tmp_path, 'sys.exit(0)'))
    assert subprocess.run([COMMAND, 'lab'], cwd=tmp_path, env=env, capture_output=True).returncode == 0
    assert names(tmp_path / 'tree-privacy-notebooks') == FILES


def test_without_jupyterlab(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(command.importlib.util, 'find_spec', lambda name: None)
    wanted = "jupyterlab is not installed: run pip install 'tree_privacy[lab]'"
    assert refused(wanted, 'lab', tmp_path / 'tutorial') == 8


@pytest.mark.parametrize('port', ['0', '65536', 'x', '-1', '1.5'])
def test_no_such_port(port, tmp_path):
    done = tree_privacy('lab', tmp_path / 'tutorial', f'--port={port}', code=2)
    assert 'wanted a number from 1 to 65535' in done.stderr and not list(tmp_path.iterdir())
