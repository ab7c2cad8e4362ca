"The hash layer: what it learns, labels of every form, labels that teach nothing, centres."

import numpy as np
import pytest
import torch

from tree_privacy.bits import hamming
from tree_privacy.core import InputError
from tree_privacy.images.binarisers import ITQ
from tree_privacy.images.hash_layer import HashLayer, hash_centres, label_targets

from .made import BAD_LABELS, clusters


def test_a_hash_layer_learns_its_labels():
    "Codes tell the category of unseen features, where it shows in one direction only and ITQ hardly sees it."
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 32)).astype(np.float32)
    y = np.where(x[:, 0] > 0, 'right', 'left')

    def right(b):
        return (y[:300][hamming(b.transform(x[300:]), b.transform(x[:300])).argmin(1)] == y[300:]).mean()

    assert right(HashLayer(16, hidden=64).fit(x[:300], y[:300])) > max(0.75, right(ITQ(16).fit(x[:300])) + 0.1)


def test_the_hash_layer_does_not_depend_on_the_threads():
    "The same seed gives the same bits, however many threads torch happens to use."
    (x, y), before, made = clusters(100), torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            made.append(HashLayer(16, epochs=2).fit(x, y))
        finally:
            torch.set_num_threads(before)
    assert (made[0].weight_ == made[1].weight_).all() and (made[0].hidden_weight_ == made[1].hidden_weight_).all()


@pytest.mark.parametrize('several', [list, tuple, set, np.array])
def test_several_labels(several):
    "Several labels in any kind of collection; one in a set is one label, and a table of yes and no says the same."
    x, y = clusters(60)
    labels = [several(['all', k, *(['first'] if i < 30 else [])]) for i, k in enumerate(y)]
    table = np.array([[True, i < 30, *(k == c for c in '012')] for i, k in enumerate(y)])[:, [2, 3, 4, 0, 1]]
    layer = HashLayer(16, hidden=32).fit(x, labels)
    assert (layer.weight_ == HashLayer(16, hidden=32).fit(x, table).weight_).all()
    one = HashLayer(16, hidden=32).fit(x, [several([k]) for k in y])
    assert (one.weight_ == HashLayer(16, hidden=32).fit(x, y).weight_).all() and not (
        one.weight_ == layer.weight_
    ).all()


@pytest.mark.parametrize('how', BAD_LABELS)
def test_labels_that_cannot_be_learned_from(how):
    "Each is refused with what is wrong."
    wrong, keyword = BAD_LABELS[how]
    x, y = clusters(60)
    with pytest.raises(InputError, match=keyword):
        HashLayer(16, hidden=0, epochs=1).fit(x, wrong(y))
    with pytest.raises(InputError, match=keyword):
        label_targets(wrong(y), 60)


def test_centres_of_categories():
    "Words of +1 and -1 with at least so many bits between any two; more categories than words are refused."
    for c, bits, least in (
        (2, 8, 6),
        (10, 16, 6),
        (32, 16, 4),
        (10, 64, 28),
        (100, 64, 22),
        (5, 24, 11),
        (300, 64, 18),
    ):
        words = hash_centres(c, bits)
        assert words.shape == (c, bits) and (np.abs(words) == 1).all() and (words == hash_centres(c, bits)).all()
        assert ((bits - words @ words.T) / 2 + bits * np.eye(c)).min() >= least
    assert (
        not (hash_centres(9, 16, 1) == hash_centres(9, 16, 2)).all()
        and len(np.unique(hash_centres(200, 8), axis=0)) == 200
    )
    with pytest.raises(InputError, match='300 categories are too many for 8 bits'):
        hash_centres(300, 8)
