"Codes in clusters, and what a cloud has of them under each lock: shared by the tests of attacks."
import numpy as np

from tree_privacy.attacks.evidence import GroundTruth, Observation, some_known
from tree_privacy.attacks.observe import observe_scheme
from tree_privacy.bits import pack, signs
from tree_privacy.crypto.random_matrix import MatrixKey
from tree_privacy.locks.random_matrix import random_node_order
from tree_privacy.tree.estimator import MergeTree
from tree_privacy.tree.index import TreeIndex

BITS = 64
CHANCE = .03  # shares of bits may differ from guessing by this much where nothing is learned


def clustered(n, bits=BITS, kinds=20, flip=.2, seed=0):
    "Codes in clusters, so that their bits depend on one another."
    rng = np.random.default_rng(seed)
    centres = rng.random((kinds, bits)) < .5
    return pack(centres[rng.integers(0, kinds, n)] ^ (rng.random((n, bits)) < flip))


def random_numbers(nodes, leaves, searches):
    "What a cloud holds under a lock that hides everything: noise."
    rng = np.random.default_rng(5)
    table, trapdoors = rng.standard_normal((nodes, BITS + 1)), rng.standard_normal((searches, BITS + 1))
    return Observation(table, leaves, BITS, 'control', trapdoors=trapdoors)


def share(score):
    return score.values.mean()


codes = clustered(2700)
tree = MergeTree().fit(codes[:2500])
tree = tree.renumbered(random_node_order(tree))  # as in an index: the numbers of nodes tell nothing
asked = codes[np.r_[2500:2700, 2500:2520]]
truth = GroundTruth(tree.feature_[:tree.n_leaves_], signs(asked), tree.parent_)
known = some_known(truth, 1000)
fetched = TreeIndex(tree, np.arange(2500)).walk(asked, k=10, nodes=3).ids.tolist()
clouds = {form: observe_scheme(MatrixKey.generate(BITS, form=form), tree, asked, fetched=fetched)
          for form in ('basic', 'split', 'noisy')}
clouds['control'] = random_numbers(len(tree.size_), tree.n_leaves_, len(asked))
