"Commands, called in this process as the command line calls them, or as the installed command."
import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

COMMAND = Path(sys.executable).with_name('tree-privacy')


@dataclass(frozen=True)
class Done:
    "What a command left behind."
    returncode: int
    stdout: str
    stderr: str


def run(*args, env=None):
    "Run a command line in this process."
    from tree_privacy.cli.main import main
    out, err = io.TextIOWrapper(io.BytesIO(), 'utf-8', write_through=True), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch.dict(os.environ, env or {}):
        with warnings.catch_warnings():
            warnings.simplefilter('always')
            try:
                code = main([str(arg) for arg in args])
            except SystemExit as end:  # argparse
                code = end.code or 0
    return Done(code, out.buffer.getvalue().decode(), err.getvalue())


def run_installed(*args, env=None):
    "Run the installed command in a process of its own."
    done = subprocess.run([COMMAND, *map(str, args)], capture_output=True, text=True, env={**os.environ, **(env or {})})
    return Done(done.returncode, done.stdout, done.stderr)


def tree_privacy(*args, code=0, **env):
    "A command that ends with this exit code; gives what it wrote."
    done = run(*args, env=env)
    assert done.returncode == code, f'exit code {done.returncode}, wanted {code}: {done.stderr}'
    assert 'Traceback' not in done.stderr
    return done


def printed(*args, **more):
    "The one JSON object that a command prints to standard output."
    lines = tree_privacy(*args, '--json', **more).stdout.splitlines()
    assert len(lines) == 1, 'something else than one JSON object is on standard output'
    return json.loads(lines[0])


def refusal(code, out, err, keyword):
    "One line on standard error besides warnings, an exit code of an error's class, and a word that helps."
    shown = [line for line in err.split('\r')[-1].splitlines() if line.startswith('tree-privacy:')]
    lines = [line for line in shown if 'warning:' not in line]
    assert code in range(2, 9) and len(lines) == 1 and not out, f'exit code {code}: {out}{err}'
    assert 'Traceback' not in err and 'should not have happened' not in err
    assert keyword.lower() in lines[0].lower(), lines[0]
