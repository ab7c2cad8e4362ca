"The same codes give the same trees, byte for byte, and the same features the same codes, whatever the processor: OpenBLAS, numpy and numba are told to behave as on others."
import json, os, signal, sys
from pathlib import Path

import pytest
from limits import limited
from numpy._core._multiarray_umath import __cpu_dispatch__

ROOT = Path(__file__).resolve().parent.parent
PROCESSORS = {'as it is': {}, **{name: dict(OPENBLAS_CORETYPE=name) for name in ('Nehalem', 'Sandybridge', 'Haswell', 'SkylakeX')},
              'no vectors in numpy': dict(NPY_DISABLE_CPU_FEATURES=' '.join(__cpu_dispatch__)), 'any processor in numba': dict(NUMBA_CPU_NAME='generic', NUMBA_CPU_FEATURES='')}

CHILD = '''
import hashlib, json, sys
import numpy as np
from threadpoolctl import threadpool_info
from tree_privacy.codes import ITQ, PCA, RandomProjection
from tree_privacy.measures import pack
from tree_privacy.tree import MergeTree

rng = np.random.default_rng(0)

def clustered(n, bits):
    centre = rng.integers(0, 2, (max(4, n // 100), bits), dtype=np.uint8)
    return pack(centre[rng.integers(0, len(centre), n)] ^ (rng.random((n, bits)) < .2))

def said(tree):
    whole = hashlib.sha256()
    for name in ('children_', 'parent_', 'feature_', 'size_', 'height_', 'leaf_', 'count_'):
        a = np.ascontiguousarray(getattr(tree, name))
        whole.update(f'{name} {a.dtype} {a.shape}'.encode() + a.tobytes())
    whole.update(tree.vectors().tobytes())
    return whole.hexdigest()

codes, other, queries = clustered(2500, 64), rng.integers(0, 256, (700, 32), dtype=np.uint8), clustered(60, 64)
tags = [None if t == 7 else f'tag {t}' for t in rng.integers(0, 8, len(codes))]
sizes = rng.integers(1, 1000, len(codes))
out = {}
for name, tree, given in [('balanced', MergeTree(), (codes,)), ('balanced, sizes', MergeTree(), (codes, None, sizes)), ('balanced, tags', MergeTree(), (codes, tags)),
                          ('balanced, heavy tags', MergeTree(tag_weight=1), (codes, tags, sizes)), ('balanced, 256 bits', MergeTree(), (other,)),
                          ('original', MergeTree('original'), (codes,)), ('checked', MergeTree('checked'), (codes,)), ('checked, sizes', MergeTree('checked'), (codes, None, sizes)),
                          ('tagged', MergeTree('tagged'), (codes, tags)), ('checked, 256 bits', MergeTree('checked'), (other,)),
                          ('balanced, 1,600 bits', MergeTree(), (rng.integers(0, 256, (300, 200), dtype=np.uint8),))]:
    out[name] = said(tree.fit(*given))
tree = MergeTree().fit(codes[:60])
for i in range(60, 2500, 61): tree.insert(codes[i:i + 61])
out['insert'] = said(tree)
out['refresh'] = said(tree.refresh())
out['remove'] = said(tree.remove(range(0, 2500, 3)))
out['score'] = [tree.score(queries, nodes) for nodes in (1, 3)]
features = (rng.standard_normal((20, 48))[rng.integers(0, 20, 900)] + .6 * rng.standard_normal((900, 48))).astype(np.float32)
for coder in (ITQ(32), PCA(32), RandomProjection(48)): out[type(coder).__name__] = hashlib.sha256(coder.fit(features[:800]).transform(features).tobytes()).hexdigest()
print(json.dumps(dict(trees=out, blas=sorted({lib.get('architecture') for lib in threadpool_info() if lib['internal_api'] == 'openblas'}))))
'''


def child(processor):
    "What the trees are on a processor, or None where this one cannot do as if it were that"
    env = dict(os.environ, PYTHONPATH=str(ROOT), OPENBLAS_NUM_THREADS='1', TQDM_DISABLE='1', **PROCESSORS[processor])
    done = limited([sys.executable, '-c', CHILD], env=env, capture_output=True, text=True)
    if done.returncode == -signal.SIGILL: return None
    assert not done.returncode, done.stderr
    said = json.loads(done.stdout)
    asked = PROCESSORS[processor].get('OPENBLAS_CORETYPE')
    return said['trees'] if asked is None or said['blas'] == [asked] else None


@pytest.fixture(scope='module')
def here(): return child('as it is')


@pytest.mark.parametrize('processor', list(PROCESSORS)[1:])
def test_the_same(processor, here):
    there = child(processor)
    if there is None: pytest.skip(f'this processor, or this numpy, cannot do as if it were {processor}')
    assert there == here, f'on {processor}, other trees: {[name for name in here if here[name] != there[name]]}'
