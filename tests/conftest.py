"Tests keep features in a folder of their own, never in the cache of whoever runs them, and one thread a process: there is a process for every core."
import os
import tempfile

import pytest

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(name, '1')


@pytest.fixture(scope='session', autouse=True)
def own_cache():
    with tempfile.TemporaryDirectory() as place:
        os.environ['TREE_PRIVACY_CACHE'] = place
        yield place
