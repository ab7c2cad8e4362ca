"Protocols: what is drawn, split and judged."
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_codes import few, seeds

from tree_privacy.core import InputError
from tree_privacy.evaluate.measures import (
    average_precision,
    average_precision_in_stored_order,
    distance_histogram,
    precision,
)
from tree_privacy.evaluate.protocols import HEADER, Split, evaluate_binariser, format_row, sample_per_class, splits
from tree_privacy.images.binarisers import PCA
from tree_privacy.images.hash_layer import HashLayer


@st.composite
def categories(draw, least=1, most=12):
    "Labels of two to six categories, shuffled, with so many photographs each."
    rng, kinds = np.random.default_rng(draw(seeds)), draw(st.integers(2, 6))
    return rng.permutation(np.repeat([f'kind {i}' for i in range(kinds)], rng.integers(least, most + 1, kinds)))


@few(60)
@given(categories(), st.integers(0, 8), st.integers(0, 5))
def test_sampling(labels, each, seed):
    "So many of each category, all others in the rest, both in order; too few are refused."
    count = dict(zip(*np.unique(labels, return_counts=True), strict=True))
    if min(count.values()) <= each:
        with pytest.raises(InputError, match=f'wanted at least {each + 1}'):
            sample_per_class(labels, each, seed)
        return
    drawn, others = sample_per_class(labels, each, seed)
    assert sorted([*drawn, *others]) == list(range(len(labels)))
    assert (np.diff(drawn) > 0).all() and (np.diff(others) > 0).all()
    assert {k: (labels[drawn] == k).sum() for k in count} == dict.fromkeys(count, each)
    again = sample_per_class(list(labels), each, seed)
    assert all((a == b).all() for a, b in zip((drawn, others), again, strict=True))


def test_other_seeds_draw_others():
    labels = ['a', 'b'] * 50
    assert len({tuple(sample_per_class(labels, 10, seed)[0]) for seed in range(20)}) == 20
    ever = set(np.concatenate([sample_per_class(labels, 10, seed)[0] for seed in range(60)]))
    assert ever == set(range(100)), 'some are never drawn'


@few(40)
@given(categories(8, 20), st.integers(1, 3), st.integers(1, 4), st.integers(0, 5))
def test_splits(labels, queries, shots, seed):
    "Nothing that is asked is in the collection; what is learned from is in it, or apart, as the protocol says."
    asked = np.repeat(np.unique(labels), 3)
    both, n, kinds = np.concatenate([labels, asked]), len(labels), np.unique(labels)
    made, again = (splits(labels, asked, seed, queries, shots) for _ in range(2))
    assert list(made) == ['seen, all', 'seen, sampled', 'seen, half', 'unseen', 'new categories']
    for name, s in made.items():
        parts = [s.learned, s.collection, s.asked]
        sets = [set(p.tolist()) for p in parts]
        assert not sets[2] & (sets[0] | sets[1]) and all(0 <= i < len(both) for p in sets for i in p)
        assert sets[0] <= sets[1] if name.startswith('seen') else not sets[0] & sets[1]
        assert all((p == q).all() for p, q in zip(parts, vars(again[name]).values(), strict=True))
        if name != 'new categories' or len(kinds) > 2:
            assert all(len(p) == len(q) > 0 for p, q in zip(sets, parts, strict=True))
    every, sampled, half, unseen, new = made.values()
    assert (half.learned == unseen.learned).all() and (half.learned == half.collection).all()
    assert (half.asked == unseen.asked).all()
    assert every.collection.tolist() == list(range(n))
    assert every.asked.tolist() == unseen.asked.tolist() == list(range(n, len(both)))
    assert {k: (both[sampled.asked] == k).sum() for k in kinds} == dict.fromkeys(kinds, queries)
    assert {k: (both[sampled.learned] == k).sum() for k in kinds} == dict.fromkeys(kinds, shots)
    assert len(sampled.asked) + len(sampled.collection) == len(both)
    assert len(unseen.learned) + len(unseen.collection) == n
    names = set(both[new.collection])
    assert names == set(both[new.asked]) and not names & set(both[new.learned])
    assert len(names) == max(2, len(kinds) // 5) and len(new.learned) + len(new.collection) == n


def test_judging_a_split():
    "A judgement is what the measures give by themselves, one value a query; a row stands under the header."
    rng = np.random.default_rng(0)
    labels = np.repeat(['a', 'b', 'c'], 40)
    centres = rng.standard_normal((3, 16))[np.repeat(range(3), 40)]
    features = (centres + rng.standard_normal((120, 16))).astype(np.float32)
    drawn, others = sample_per_class(labels, 10)
    split = Split(others, others, drawn)
    found = evaluate_binariser(PCA(8), features, labels, split)
    b = PCA(8).fit(features[others])
    given = b.transform(features[others]), labels[others], b.transform(features[drawn]), labels[drawn]
    counts = distance_histogram(*given)
    assert (found.accuracy == precision(counts)).all() and found.seconds > 0
    assert (found.average_precision == average_precision(counts)).all()
    assert (found.stored_order == average_precision_in_stored_order(*given)).all()
    layer = evaluate_binariser(HashLayer(8, hidden=0, epochs=2), features, labels, split)
    assert layer.average_precision.shape == (30,)
    text = format_row('PCA', [found, found])
    assert text.startswith('PCA ') and f'{found.average_precision.mean():.3f}' in text
    assert abs(len(text) - len(HEADER)) < 12
