"""What all tests share: a cache of their own, one thread a process, the longest first.

Features are kept in a folder of the run, never in the cache of whoever runs the tests. There is a process for every
core, so each takes one thread.
"""
import os
import tempfile

import pytest

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
    os.environ.setdefault(name, '1')

LONG = ('test_runs', 'test_wheel', 'test_lab', 'test_package', 'test_crash')


@pytest.fixture(scope='session', autouse=True)
def own_cache():
    "A folder for features that goes away."
    with tempfile.TemporaryDirectory() as place:
        os.environ['TREE_PRIVACY_CACHE'] = place
        yield place


def pytest_collection_modifyitems(items):
    "Long tests begin first, so that no worker is left with one at the end."
    def rank(item):
        return next((i for i, name in enumerate(LONG) if name in item.nodeid), len(LONG))
    items.sort(key=rank)
