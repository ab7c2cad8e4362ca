"The experiment behind the claims: tasks, tuning, paired differences, and the table."
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tree_privacy.bits import exhaustive
from tree_privacy.core import InputError
from tree_privacy.evaluate.experiment import fitters, run_experiment
from tree_privacy.evaluate.results import CANDIDATES, at_equal_visits, claims, difference, sample_tasks, tune
from tree_privacy.evaluate.rivals import kmeans_tree
from tree_privacy.tree.estimator import MergeTree
from tree_privacy.tree.index import TreeIndex


def made_up(kinds, n, m, bits=32, noise=.2, seed=0):
    "Codes around one centre a category: labels and a function of a seed."
    rng = np.random.default_rng(seed)
    centre = rng.integers(0, 2, (kinds, bits))

    def some(k):
        return np.packbits(centre[k] ^ (rng.random((len(k), bits)) < noise), axis=1)

    labels, asked = np.arange(n) % kinds, np.arange(m) % kinds
    codes, queries = some(labels), some(asked)
    return dict(coded=lambda seed: (codes, queries), labels=labels.astype(str), asked_labels=asked.astype(str))


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 8), st.integers(1, 6), st.integers(0, 2), st.integers(0, 5))
def test_tasks(kinds, each, held, seed):
    "Tuning and measuring share no category; a task has all queries of its categories; the same seed draws the same."
    about = made_up(kinds, 10 * kinds, 4 * kinds)
    seeds, left, apart = [seed, seed + 1], kinds - held, set()
    if held:
        tuned = sample_tasks(categories=[held], seeds=seeds, held=held, tuning=True, **about)
        apart = {k for task in tuned for k in task[3]}
    wanted = dict(categories=[1, left], seeds=seeds, held=held, each=each, **about)
    measured, again = list(sample_tasks(**wanted)), list(sample_tasks(**wanted))
    assert len(apart) == held and not apart & {k for task in measured for k in task[3]}
    for c, s, codes, labels, queries, asked in measured:
        assert len(set(labels)) == c == len(set(asked)) and set(labels) == set(asked)
        assert len(codes) == len(labels) == each * c and len(queries) == len(asked) == 4 * c
        whole = {code.tobytes() for code in about['coded'](s)[0]}
        assert all(code.tobytes() in whole for code in codes)
    assert all((a[2] == b[2]).all() and (a[3] == b[3]).all() for a, b in zip(measured, again, strict=True))


def test_tuning_finds_the_best_candidate(monkeypatch):
    "The candidate that is chosen has the highest accuracy of all, measured by other means."
    some = list(sample_tasks(categories=[4], seeds=[0, 1], **made_up(6, 120, 60, noise=.3)))
    few = [dict(threshold=t, step=s, branching=b) for t in (.9, .6) for s in (.01, .5) for b in (2, 8)]
    monkeypatch.setitem(CANDIDATES, 'original', few)
    got = []
    for options in few:
        hits = []
        for _, _, codes, labels, queries, asked in some:
            index = TreeIndex(MergeTree('original', **options).fit(codes))
            for m in (1, 3):
                first = [labels[index.walk(q, 1, m, fill=False).ids[0]] for q in queries]
                hits.append(np.mean(np.array(first) == asked))
        got.append(np.mean(hits))
    tried = tune('original', some)
    assert tried[0].options == few[int(np.argmax(got))] and max(got) > min(got)
    assert [t.accuracy for t in tried] == sorted(got, reverse=True)


def test_candidates_are_fair():
    "About as many candidates for one rule as for the other, all of them options that a tree takes."
    assert abs(len(CANDIDATES['original']) - len(CANDIDATES['checked'])) <= 5
    codes = np.random.default_rng(0).integers(0, 256, (20, 2), dtype=np.uint8)
    for rule in ('original', 'checked'):
        for options in CANDIDATES[rule]:
            assert MergeTree(rule, **options).fit(codes).size_[-1] == 20


def test_differences_are_paired():
    "A difference is that of the means and its interval holds it; equal visits are kept."
    tasks = sample_tasks(categories=[3, 5], seeds=[0, 1, 2], **made_up(5, 300, 100, noise=.25))
    result = run_experiment(tasks, fitters(), nodes=(1, 3, 6, 20))
    values = result.values
    for c in (3, 5):
        d = difference(values, c, ('checked', 3), ('original', 3))
        mean = {r: np.mean([v.accuracy.mean() for v in values[c, r, 3]]) for r in ('checked', 'original')}
        assert d['mean'] == pytest.approx(mean['checked'] - mean['original'], abs=1e-4)
        assert d['low'] <= d['mean'] <= d['high']
        by_hand = []
        for i, v in enumerate(values[c, 'original', 1]):
            within = [m for m in (1, 3, 6, 20) if values[c, 'checked', m][i].visits.mean() <= v.visits.mean()]
            by_hand.append((values[c, 'checked', max(within, default=1)][i].accuracy - v.accuracy).mean())
        gained = at_equal_visits(values, c, 'checked', ('original', 1))
        assert gained['mean'] == pytest.approx(np.mean(by_hand), abs=1e-4)
    assert len(claims(result).splitlines()) == 3 and 'balanced' in claims(result)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 80), st.integers(2, 9), st.integers(0, 9), st.booleans())
def test_kmeans_tree(n, k, seed, alike):
    "The rival is a whole tree too: with all nodes followed it finds what exhaustive search finds."
    codes = np.random.default_rng(seed).integers(0, 2 if alike else 256, (n, 2), dtype=np.uint8)
    index = TreeIndex(kmeans_tree(codes, k, seed))
    for q in codes[:5]:
        ids, distance = exhaustive(codes, q, 10)
        found = index.walk(q, 10, nodes=n + 1)
        assert (found.distances == distance).all() and (found.ids == ids).all()


def test_tasks_refuse():
    "Nothing to draw, too many, or lengths that differ: refused by name."
    about = made_up(4, 40, 12)
    wrong = [(dict(categories=[5]), 'from 1 to 4'), (dict(categories=[0]), 'from 1 to 4'),
             (dict(categories=[]), 'from 1 to 4'), (dict(categories=[1.5]), 'from 1 to 4'),
             (dict(categories=[2], held=3), 'from 1 to 1'), (dict(categories=[2], each=0), 'each is 0'),
             (dict(categories=[2], held=-1), 'held -1'),
             (dict(categories=[2], labels=about['labels'][:-1]), 'wanted one each')]
    for given_, say in wrong:
        with pytest.raises(InputError, match=say):
            list(sample_tasks(**about | given_))
    for rule, tasks in (('original', []), ('balanced', sample_tasks(categories=[2], **about))):
        with pytest.raises(InputError, match='to tune'):
            tune(rule, tasks)
    result = run_experiment(sample_tasks(categories=[2], **about), fitters(['checked']), nodes=[1])
    for call in (lambda: claims(result), lambda: difference(result.values, 2, ('checked', 1), ('checked', 3)),
                 lambda: at_equal_visits(result.values, 2, 'balanced', ('checked', 1))):
        with pytest.raises(InputError, match='was not measured'):
            call()
    for bad in (dict(k=1), dict(k=2.5), dict(k=2 ** 40)):
        with pytest.raises(InputError, match='k is'):
            kmeans_tree(np.zeros((3, 2), np.uint8), **bad)


def test_tuning_takes_an_iterator():
    "An iterator of tasks serves all candidates, not the first one only."
    few = [dict(threshold=t) for t in (.9, .6)]
    tried = tune('original', sample_tasks(categories=[3], **made_up(4, 40, 12)), candidates=few)
    assert len(tried) == 2 and all(np.isfinite([t.accuracy, t.visits]).all() for t in tried)
