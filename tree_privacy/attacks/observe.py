import numpy as np
from ..tree.structure import leaf_members
from .evidence import Observation
def observe_scheme(scheme, tree, queries=(), fetched=(), lengths=None):
    table, _ = scheme.store(scheme.encrypt_nodes(tree.vectors()))
    order, start = leaf_members(tree)
    trapdoors = np.array([scheme.encrypt_query(code)[0] for code in queries])
    return Observation(table, tree.n_leaves_, scheme.bits, scheme.form, trapdoors=trapdoors, children=tree.children_,
                       start=start, ids=order, fetched=tuple(fetched), lengths=lengths)
