"The script that CI runs in an environment of its own, here in a process from which the other packages are hidden."
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / 'cloud_alone.py'
HIDDEN = """
import runpy, sys
for name in ('torch', 'torchvision', 'matplotlib', 'ipywidgets', 'scipy', 'sklearn', 'PIL'):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def step(name, folder, *start):
    "Run one of the three steps."
    path = [str(SCRIPT.parents[1]), *filter(None, [os.environ.get('PYTHONPATH')])]
    return subprocess.run([sys.executable, *start, SCRIPT, name, folder], capture_output=True, text=True,
                          env=dict(os.environ, PYTHONPATH=os.pathsep.join(path)))


def test_the_three_steps(tmp_path):
    "Every lock is answered without the other packages; an answer that is changed, or missing, is noticed."
    done = step('make', tmp_path / 'made')
    assert done.returncode == 0, done.stderr
    locks = sorted(p.name for p in (tmp_path / 'made').iterdir())
    assert 'this environment has more than a cloud needs' in step('answer', tmp_path / 'made').stderr
    done = step('answer', tmp_path / 'made', '-c', HIDDEN)
    assert done.returncode == 0 and all(f'{lock}: ' in done.stdout for lock in locks), done.stderr
    done = step('compare', tmp_path / 'made')
    assert done.returncode == 0 and all(f'"{lock}": ' in done.stdout for lock in locks), done.stderr
    one = min((tmp_path / 'made' / 'sealed').glob('*.alone'))
    one.write_bytes((tmp_path / 'made/basic' / one.name).read_bytes())
    done = step('compare', tmp_path / 'made')
    wanted = f"sealed: other answers than in the full environment: ['{one.stem}.full']"
    assert done.returncode == 1 and wanted in done.stderr
    one.unlink()
    assert step('compare', tmp_path / 'made').returncode == 1
