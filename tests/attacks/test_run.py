"The table of attacks: rows of one shape, no truth is given away, and no work where an attack does not apply."
import dataclasses
import inspect
import json
import time

import numpy as np
import pytest

from tree_privacy.attacks.evidence import GroundTruth, Knowledge, NotApplicable, Observation, some_known
from tree_privacy.attacks.observe import observe_scheme
from tree_privacy.attacks.run import ATTACKS, attack_table, check_attacks, run_attacks
from tree_privacy.bits import signs
from tree_privacy.core import InputError
from tree_privacy.crypto.random_matrix import FORMS, MatrixKey
from tree_privacy.locks.base import LOCKS
from tree_privacy.locks.leakage import leakage
from tree_privacy.tree.estimator import MergeTree

from .scenes import clouds, clustered, known, truth


def test_there_are_nineteen():
    assert len(ATTACKS) == 19


def test_rows():
    "Every attack gives a row of the same shape that JSON can hold; where it does not apply, the row says why."
    plain = MergeTree().fit(clustered(600, 32))
    asked = clustered(60, 32, seed=1)
    true = GroundTruth(plain.feature_[:plain.n_leaves_], signs(asked), plain.parent_)
    for lock in (MatrixKey.generate(32), MatrixKey.generate(32, form='noisy')):
        rows = run_attacks(observe_scheme(lock, plain, asked), some_known(true, 130), true, seconds=1)
        assert [row.attack for row in rows] == list(ATTACKS)
        for row in rows:
            about = json.loads(json.dumps(dataclasses.asdict(row)))
            names = {'attack', 'lock', 'd', 'n', 'needs', 'recovered', 'guessing', 'low', 'high', 'seconds', 'why'}
            assert about.keys() == names and (row.d, row.n) == (32, 600)
            if row.recovered is None:
                assert row.why and row.low is None
            else:
                assert 0 <= row.low <= row.recovered <= row.high <= 1 and row.why is None
        assert len(attack_table(rows).splitlines()) == len(ATTACKS) + 1
        assert len(attack_table(rows, times=True).splitlines()) == len(ATTACKS) + 1


def test_no_attack_is_given_the_truth():
    "Attacks take what was seen, what is known and a time; the truth has no way in."
    for name, attack in ATTACKS.items():
        parameters = inspect.signature(attack.run).parameters
        assert len(parameters) == 3 and 'truth' not in parameters, name
        assert 'truth' not in inspect.signature(attack.check).parameters, name


@pytest.mark.parametrize('form', FORMS)
def test_what_leakage_says(form):
    "Where the table says all, the attack it names reads all; where it says part, more than guessing."
    rows = leakage(form=form)
    assert {name for row in rows for name in row.attacks} <= set(ATTACKS)
    told = dataclasses.replace(known, n_categories=10)
    for leak in rows:
        for name in leak.attacks:
            row, = run_attacks(clouds[form], told, truth, [name], seconds=200)
            if 'all' in leak.cloud.amounts() and name in ('exact distances', 'repeated requests'):
                assert row.recovered > .99, name
            else:
                assert row.recovered > row.guessing, name
    if form == 'noisy':
        assert run_attacks(clouds[form], known, truth, ['exact distances'])[0].recovered is None


def test_every_named_attack_exists():
    "Whatever a lock says shows a leak is in the table of attacks."
    for lock in LOCKS:
        for fetch in ('direct', 'decoys', 'none'):
            assert {name for row in leakage(lock, fetch=fetch) for name in row.attacks} <= set(ATTACKS)


def sealed(n=20_000, bits=64):
    "What there is of a large index under a cipher: random bits, no searches"
    table = np.where(np.random.default_rng(0).random((n, 160 + bits)) < .5, -1., 1.)
    return Observation(table, n, bits, 'sealed', linear=False)


def test_what_does_not_apply_costs_nothing():
    "Under a cipher, the searches that used to run for minutes are not begun: 19 attacks take seconds of computing."
    seen = sealed()
    start = time.process_time()
    rows = run_attacks(seen, Knowledge(), GroundTruth(np.ones((20_000, 64))))
    assert time.process_time() - start < 10
    assert [row.attack for row in rows if row.recovered is not None] == ['neighbours']
    assert all(row.why for row in rows if row.recovered is None)


def test_what_applies_is_decided_without_work():
    "Of every attack that does not apply it is known at once, and running it says the same."
    for seen, told in ((sealed(200), Knowledge()), (clouds['control'], Knowledge()), (sealed(200), known)):
        for name, attack in ATTACKS.items():
            why = attack.why_not(seen, told)
            assert attack.applies(seen, told) == (why is None)
            if why is not None:
                with pytest.raises(NotApplicable) as told_again:
                    attack.run(seen, told, 1.)
                assert str(told_again.value) == why, name


def test_too_few_codes():
    "Two different codes are no collection to attack."
    rows = run_attacks(Observation(np.eye(3), 2, 8), Knowledge(), GroundTruth(np.ones((2, 8))))
    assert {row.why for row in rows} == {'there are 2 different codes: wanted three or more'}


@pytest.mark.parametrize('attacks, seconds, said', [
    (['telepathy'], 1, "there is no attack 'telepathy'"),
    ('known plaintext', 1, "no attack 'known plaintext' in a list"),
    (None, -1, 'seconds is -1'), (None, 'x', "seconds is 'x'"), ([], np.nan, 'seconds is nan')])
def test_names_and_times_are_checked(attacks, seconds, said):
    with pytest.raises(InputError, match=said):
        check_attacks(attacks, seconds)
    with pytest.raises(InputError, match=said):
        run_attacks(clouds['basic'], known, truth, attacks, seconds)
