"Owner, cloud and user together, by bytes alone, find what the owner's tree finds in the clear."
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_codes import a_query, clustered, collections, few, near_duplicates

from security.albums import unseen
from tree_privacy.client.transport import run
from tree_privacy.tree.index import TreeIndex


def check(album, query, k, nodes, fill):
    "The messages give what the plain search gives, the right names, and as many visits."
    found = run(album.user.search(query, k, nodes, fill), album.line)
    true = TreeIndex(album.tree, album.created.ids).walk(query, k, nodes, fill)
    assert [(hit.id, hit.distance) for hit in found.hits] == list(zip(true.ids, true.distances, strict=True))
    assert found.visits == true.visits
    place = {int(id): at for at, id in enumerate(album.created.ids)}
    assert [hit.name for hit in found.hits] == [album.photos.names[place[hit.id]] for hit in found.hits]


@pytest.mark.parametrize('variant', ['basic', 'split'])
def test_a_thousand_queries_through_messages(variant, tmp_path):
    "The ids of the plain search, in the same order, for 1,000 queries at 64 bits."
    rng = np.random.default_rng(64)
    codes = clustered(rng, 1500, 8)
    album = unseen(variant, tmp_path / 'index', codes)
    for i, query in enumerate(near_duplicates(rng, codes, 1000)):
        check(album, query, 1 + i % 15, 1 + i % 4, i % 2 == 0)


@few(12)
@given(collections(most=30, widths=st.sampled_from([1, 2, 4, 8])), st.sampled_from(['original', 'checked']),
       st.sampled_from(['basic', 'split']), st.integers(1, 40), st.integers(1, 4), st.booleans())
def test_small_collections_through_messages(tmp_path_factory, c, rule, variant, k, nodes, fill):
    "One photograph, equal photographs, short codes."
    album = unseen(variant, tmp_path_factory.mktemp('small') / 'index', c.codes, rule=rule)
    check(album, a_query(c), k, nodes, fill)
