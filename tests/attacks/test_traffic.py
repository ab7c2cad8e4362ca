"Requests, lengths, fetches and decoys."
from dataclasses import replace

import numpy as np
import pytest

from tree_privacy.attacks.evidence import GroundTruth, Knowledge, NotApplicable, Observation
from tree_privacy.attacks.observe import observe_scheme
from tree_privacy.attacks.traffic import (
    buckets_right,
    fetched_together,
    files_right,
    graph_right,
    intersection,
    linear_distinguisher,
    link_requests,
    match_lengths,
    requests_right,
    siblings,
)
from tree_privacy.crypto.random_matrix import MatrixKey
from tree_privacy.crypto.sealing import step_size

from .scenes import BITS, clouds, fetched, share, tree, truth


@pytest.mark.parametrize('form', ['basic', 'split'])
def test_repeated_requests(form):
    "Every verdict is right, for repeated searches and for new ones."
    right, guessing = requests_right(link_requests(clouds[form]), truth)
    assert right.mean() == 1 and guessing < .95


def test_repeats_are_not_made_up():
    "Without repeats, and on random numbers, none is claimed that guessing would not beat by 2 %."
    right, guessing = requests_right(link_requests(clouds['control']), truth)
    assert right.mean() < guessing + .02
    lone = replace(clouds['split'], trapdoors=clouds['split'].trapdoors[:200])
    assert (link_requests(lone) < 0).mean() > .95


def test_known_files():
    "Found by lengths where boxes are not padded; in steps of full photographs a class; of thumbnails, guessing."
    rng = np.random.default_rng(0)
    size = rng.permutation(np.arange(5000, 400_000))[:300]
    ids, told = np.arange(100), Knowledge(file_sizes=size[:100])

    def chance(boxes):
        seen = Observation(np.zeros((1, 1)), 1, BITS, lengths=dict(enumerate(boxes.tolist())))
        return files_right(match_lengths(seen, told), GroundTruth(truth.codes[:1], file_ids=ids), 300)

    assert share(chance(size + 36)) == 1
    right, guessing = chance(np.array([step_size(int(s)) + 36 for s in size]))
    assert 5 * guessing < right.mean() < .3
    right, guessing = chance(np.full(300, 2 ** 19 + 36))
    assert right.mean() == pytest.approx(guessing)
    with pytest.raises(NotApplicable, match='no photographs'):
        match_lengths(clouds['basic'], told)
    with pytest.raises(NotApplicable, match='no file is known'):
        match_lengths(Observation(np.zeros((1, 1)), 1, BITS, lengths={0: 1}), Knowledge())


def test_fetched_together():
    "What is fetched together is alike; what is fetched at random says no more than twice guessing."
    right, guessing = graph_right(fetched_together(clouds['split']), truth, clouds['split'])
    assert right.mean() > 10 * guessing
    rng = np.random.default_rng(0)
    at_random = [rng.permutation(2500)[:10].tolist() for _ in fetched]
    blind = observe_scheme(MatrixKey.generate(BITS), tree, fetched=at_random)
    right, guessing = graph_right(fetched_together(blind), truth, blind)
    assert right.mean() < 2 * guessing + .005
    with pytest.raises(NotApplicable, match='fetched together'):
        fetched_together(clouds['control'])


def searches(m, decoys, rng):
    "What searches for three neighbouring buckets of a hundred mean, and what they fetch"
    meant = [{int(b + i) % 100 for i in range(3)} for b in rng.integers(0, 100, m)]
    others = [np.setdiff1d(np.arange(100), list(some)) for some in meant]
    pairs = zip(meant, others, strict=True)
    return meant, [some | set(rng.permutation(rest)[:3 * decoys].tolist()) for some, rest in pairs]


def test_siblings_are_neighbours():
    "The more searches, the more is seen through; decoys at random, meant by nobody, give nothing."
    rng = np.random.default_rng(0)
    meant, sets = searches(1000, 3, rng)
    shares = []
    for m in (30, 1000):
        view = Observation(np.zeros((1, 1)), 1, 8, buckets=sets[:m], meant=3)
        right, guessing = buckets_right(siblings(view), GroundTruth(np.zeros((1, 8)), buckets=meant[:m]), view)
        assert guessing == .25
        shares.append(right.mean())
    assert shares[1] > shares[0] and shares[1] > .6
    drawn = [set(rng.permutation(100)[:12].tolist()) for _ in range(1000)]
    nobody = [set(list(some)[:3]) for some in drawn]
    view = Observation(np.zeros((1, 1)), 1, 8, buckets=drawn, meant=3)
    assert abs(share(buckets_right(siblings(view), GroundTruth(np.zeros((1, 8)), buckets=nobody), view)) - .25) < .03


def test_intersection_of_repeats():
    "Two searches for one picture share what they mean, and now and then a decoy; a third leaves hardly any."
    rng = np.random.default_rng(0)
    meant, _ = searches(50, 3, rng)
    others = [np.setdiff1d(np.arange(100), list(some)) for some in meant]
    for times, least in ((2, .7), (3, .9)):
        pairs = [pair for pair in zip(meant, others, strict=True) for _ in range(times)]
        sets = [some | set(rng.permutation(rest)[:9].tolist()) for some, rest in pairs]
        view = Observation(np.zeros((1, 1)), 1, 8, buckets=sets, meant=3)
        told = Knowledge(repeats=[list(range(times * i, times * i + times)) for i in range(50)])
        true = GroundTruth(np.zeros((1, 8)), buckets=[some for some in meant for _ in range(times)])
        guess = intersection(view, told)
        assert all(set(some) <= g for some, g in zip(true.buckets, guess, strict=True))
        assert share(buckets_right(guess, true, view)) > least
    with pytest.raises(NotApplicable, match='in the open'):
        intersection(clouds['basic'], told)


def test_telling_requests_apart():
    "Coins are not told apart by more than chance; a number that differs is enough."
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal((400, 50))
    right, wide_by = linear_distinguisher(numbers)
    assert abs(right - .5) < 2.5 * wide_by and wide_by == pytest.approx(1.96 * .5 / 200 ** .5)
    numbers[::2, 7] += 6
    assert linear_distinguisher(numbers)[0] > .95
