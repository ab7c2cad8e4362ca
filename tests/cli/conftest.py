"Commands that must work, and commands that must be refused and leave everything as it was."
import functools

import pytest
from commands import refusal
from commands import run as run_command
from pictures import snapshot

from tree_privacy.images import backbones


@pytest.fixture(autouse=True, scope='session')
def one_network():
    "Load the network once for all commands of these tests."
    real = backbones.efficientnet_lite0
    backbones.efficientnet_lite0 = functools.cache(real)
    yield
    backbones.efficientnet_lite0 = real


@pytest.fixture
def run():
    "Run a command: exit code, standard output, standard error."
    def call(*args):
        done = run_command(*args)
        return done.returncode, done.stdout, done.stderr
    return call


@pytest.fixture
def works(run):
    "The command must work: standard output and standard error."
    def call(*args):
        code, out, err = run(*args)
        assert code == 0 and 'Traceback' not in err, err
        return out, err
    return call


@pytest.fixture
def refused(run, tmp_path):
    "The command must refuse, say a keyword, and leave the test's folder as it was; gives its exit code."
    def call(keyword, *args):
        before = snapshot(tmp_path)
        code, out, err = run(*args)
        refusal(code, out, err, keyword)
        assert snapshot(tmp_path) == before, 'something was left behind'
        return code
    return call
