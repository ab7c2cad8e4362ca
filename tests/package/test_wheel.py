"The notebooks, from the wheel, in a new environment and a folder outside the checkout, run as a reader runs them."
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import pytest
from package import test_package
from pictures import snapshot

HERE = Path(__file__).resolve().parent.parent
sdist, wheel = test_package.sdist, test_package.wheel  # fixtures


def run_all(python, folder, *names, env=None, script=HERE / 'run_all.py'):
    "Exit status and what was printed, which is shown as well."
    done = subprocess.run([str(python), str(script), str(folder), *names], env=env, cwd=folder, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    return done.returncode, done.stdout


def notebook(path, *cells):
    "A notebook of (source, what it has stored as printed)."

    def cell(i, source, text):
        outputs = [dict(output_type='stream', name='stdout', text=text)] if text else []
        return dict(cell_type='code', id=f'c{i}', metadata={}, source=source, execution_count=None, outputs=outputs)

    path.write_text(
        json.dumps(dict(cells=[cell(i, *c) for i, c in enumerate(cells)], metadata={}, nbformat=4, nbformat_minor=5)))


SLOW = "%%slow an hour, with photographs\n#| slow\nprint('it ran')"
SETUP = ('%load_ext tree_privacy.core\nrun_slow = False', '')


def test_what_differs_is_found(tmp_path):
    "Some notebooks are as stored, others each hold one thing that is not: those are named, and stay as they are."
    notebook(tmp_path / 'good.ipynb', SETUP, ('print(1)', '1\n'), ('#| varies\nprint(2)', '3\n'), (SLOW, 'it ran\n'),
             ('import matplotlib.pyplot as plt\nplt.plot([1, 2])\n7', None))
    stored = json.loads((tmp_path / 'good.ipynb').read_text())
    figure = {'text/plain': ['<Figure size 1x1 with 1 Axes>'], 'image/png': 'aa'}
    data = ('display_data', figure), ('execute_result', {'text/plain': ['7']})
    stored['cells'][-1]['outputs'] = [
        dict(output_type=kind, data=d, metadata={}, **(dict(execution_count=None) if kind == 'execute_result' else {}))
        for kind, d in data]
    (tmp_path / 'good.ipynb').write_text(json.dumps(stored))
    (tmp_path / 'tree').mkdir()
    notebook(tmp_path / 'tree/tampered.ipynb', ('print(1)', '1\n'), ('print("now")', 'then\n'))
    notebook(tmp_path / 'more.ipynb', ('print(1)', ''))
    notebook(tmp_path / 'less.ipynb', ('x = 1', '1\n'))
    notebook(tmp_path / 'ran.ipynb', (SETUP[0].replace('False', 'True'), ''), (SLOW, 'it ran\n'))
    notebook(tmp_path / 'raises.ipynb', ('print(1)', '1\n'), ('#| varies\nassert 1 > 2, "a bound"', ''),
             ('print(3)', '3\n'))
    before = snapshot(tmp_path)
    code, said = run_all(sys.executable, tmp_path)
    assert code == 1 and 'wrong: less, more, raises, ran, tree/tampered' in said
    assert '-then\n+now' in said
    assert 'a bound' in said
    assert 'wanted "not run: …"' in said
    assert before == snapshot(tmp_path)
    assert '\ngood: ' in '\n' + said and run_all(sys.executable, tmp_path, 'good')[0] == 0
    assert run_all(sys.executable, tmp_path, 'good', '--limit', '.01')[0] == 1
    assert run_all(sys.executable, tmp_path, 'absent')[0] == 2


@pytest.mark.slow
def test_every_notebook_from_the_wheel(wheel):
    """pip installs the wheel with the dev extra (several gigabytes with torch, which are removed again);
    `tree-privacy notebooks`; Run all in each.
    """
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        venv.create(home / 'venv', with_pip=True)
        own = ('PYTHON', 'JUPYTER', 'VIRTUAL_ENV', 'TREE_PRIVACY', 'IN_TEST', 'TQDM', 'MPL')
        env = {k: v for k, v in os.environ.items() if not k.startswith(own)}
        env |= {f'JUPYTER_{kind}_DIR': str(home / kind) for kind in ('CONFIG', 'DATA', 'RUNTIME')}
        env |= dict(IPYTHONDIR=str(home / 'ipython'), TREE_PRIVACY_CACHE=str(home / 'cache'))
        done = subprocess.run([home / 'venv/bin/pip', 'install', '--quiet', f'{wheel}[dev]'], env=env,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        (home / 'empty').mkdir()
        done = subprocess.run([home / 'venv/bin/tree-privacy', 'notebooks', 'tutorial'], cwd=home / 'empty', env=env,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for name in ('run_all.py', 'run_notebook.py'):
            shutil.copy(HERE / name, home)
        code, said = run_all(home / 'venv/bin/python', home / 'empty/tutorial', env=env, script=home / 'run_all.py')
    assert code == 0, said.splitlines()[-1]
