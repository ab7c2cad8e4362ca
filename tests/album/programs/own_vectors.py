import faiss
import numpy as np

from tree_privacy.bits import pack
from tree_privacy.tree.index import TreeIndex

rng = np.random.default_rng(0)
centres = rng.standard_normal((50, 64))
vectors = centres[rng.integers(0, 50, 5000)] + .5 * rng.standard_normal((5000, 64))
codes = pack(vectors > 0)
flat = faiss.IndexBinaryFlat(64)
flat.add(codes[:4900])
exact, _ = flat.search(codes[4900:], 10)
distances, ids = TreeIndex(codes[:4900]).search(codes[4900:], k=10, nodes=3)
print((distances <= exact[:, -1:]).mean().round(2))
