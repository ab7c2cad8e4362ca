"""Work in a process of its own, forked from one that has torch, scikit-learn and matplotlib imported already.

A fresh Python needs seven seconds of CPU for those imports. A fork of a prepared process needs none, and still shares
nothing with the fork before. The limit is CPU seconds, so that a loaded machine changes nothing.
"""

import multiprocessing
import os
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PREPARED = [
    'torch',
    'torchvision',
    'sklearn.decomposition',
    'sklearn.linear_model',
    'sklearn.datasets',
    'scipy.optimize',
    'matplotlib.pyplot',
    'numba',
    'IPython',
    'execnb.shell',
    'nbdev.test',
    'nbdev.clean',
]
context = multiprocessing.get_context('forkserver')
context.set_forkserver_preload(PREPARED)


@dataclass(frozen=True)
class Ended:
    "A process that has ended."

    code: int  # exit code, or minus the signal that ended it
    output: str  # standard output and standard error together


def _child(work, args, log, cpu_seconds, folder, environment):
    "What runs in the fork: standard output and error go to a file, and a limit holds."
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout = os.fdopen(1, 'w', buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, 'w', buffering=1, closefd=False)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    os.chdir(folder)
    os.environ.update(environment)
    try:
        code = work(*args) or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_forked(
    work: Callable,  # a function of a module that can be imported; its result is the exit code
    *args,  # its arguments
    cpu_seconds: int = 120,  # after which the process is ended
    folder: Path | str = '.',  # to work in
    environment: dict | None = None,  # variables that are set first
) -> Ended:  # exit code and output
    "Run a function in a process of its own, and wait for it."
    with tempfile.TemporaryDirectory() as home:
        log = Path(home, 'log')
        process = context.Process(
            target=_child, args=(work, args, str(log), cpu_seconds, str(folder), environment or {})
        )
        process.start()
        process.join()
        return Ended(process.exitcode, log.read_text(errors='replace') if log.exists() else '')
