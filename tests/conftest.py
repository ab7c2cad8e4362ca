"Tests keep features in a folder of their own, never in the cache of whoever runs them."
import os
import tempfile

import pytest

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # threads that wait leave their core to the process beside them
os.environ.setdefault('OPENBLAS_THREAD_TIMEOUT', '4')


@pytest.fixture(scope='session', autouse=True)
def own_cache():
    with tempfile.TemporaryDirectory() as place:
        os.environ['TREE_PRIVACY_CACHE'] = place
        yield place
