"Tests keep features in a folder of their own, never in the cache of whoever runs them."
import os
import tempfile

import pytest


@pytest.fixture(scope='session', autouse=True)
def own_cache():
    with tempfile.TemporaryDirectory() as place:
        os.environ['TREE_PRIVACY_CACHE'] = place
        yield place
