"Costs of locks: counts fit what is sent, and the choice is one of the locks that hold."
import json

import numpy as np
import pytest
from contract.lock_variants import EVERYTHING, VARIANTS, crowded

from tree_privacy.core import TreePrivacyError
from tree_privacy.evaluate.costs import choose_lock, cost_table, measure_lock, most_sealed
from tree_privacy.locks.base import LOCKS


@pytest.mark.parametrize('variant', ['split', 'encrypted', 'sealed', 'walk', 'decoys'])
def test_measuring_a_lock(variant):
    "Counts fit what is sent, scans miss nothing, and times are times."
    lock, options = VARIANTS[variant]
    codes, labels = crowded(3, 60, 16), [f'{i % 4}' for i in range(60)]
    nodes = 30 if variant == 'walk' else EVERYTHING
    row = measure_lock(codes, labels, codes[:5], labels[:5], lock, nodes=nodes, **options)
    assert (row.lock, row.n, row.bits) == (lock, 60, 16) and row.accuracy.shape == row.recall_10.shape == (5,)
    assert set(row.accuracy.tolist()) <= {0., 1.} and (row.recall_10 == 1).all()
    assert row.stored > 60 * 16 and row.once > 500
    assert 0 < row.user_s < 60 and 0 <= row.cloud_s < 60 and 0 < row.locking_s < 600
    if variant == 'sealed':
        assert row.sent == row.received == row.cloud_s == 0
    else:
        assert row.sent > 200 and row.received > 200
    text = cost_table([row, row])
    assert text.count(lock) == 2 and len(text.splitlines()) == 4
    means = json.loads(json.dumps(row.means()))
    assert means['recall_10'] == 1 and means['n'] == 60 and set(means) >= {'sent', 'received', 'once', 'stored'}


CODES, LABELS = crowded(3, 20, 16), ['a'] * 20


@pytest.mark.parametrize('wrong', [
    dict(labels=LABELS[:-1]), dict(query_labels=LABELS), dict(queries=CODES[:0], query_labels=[]),
    dict(queries=CODES[:2, :1]), dict(lock='x'), dict(form='split'), dict(k=0), dict(nodes=0),
    dict(lock='private-walk', capacity=0), dict(codes=CODES[:0], labels=[])], ids=lambda wrong: '-'.join(wrong))
def test_measuring_refuses(wrong):
    "Labels that are missing, no queries, no photographs, codes of other lengths, locks and options that there are not."
    good = dict(codes=CODES, labels=LABELS, queries=CODES[:2], query_labels=LABELS[:2], lock='sealed')
    with pytest.raises(TreePrivacyError):
        measure_lock(**good | wrong)


def test_choosing_a_lock():
    "The download as long as it is small, and never again once there are more photographs or bits."
    for bits in (8, 64, 256):
        chosen = [choose_lock(n, bits) for n in (1, 100, 10 ** 4, 10 ** 5, 10 ** 6, 10 ** 7, 10 ** 9)]
        assert chosen[0] == 'sealed' and chosen[-1] == 'private-walk' and chosen == sorted(chosen, reverse=True)
        assert set(chosen) <= set(LOCKS)
        assert [choose_lock(most_sealed(bits) + more, bits) for more in (0, 1)] == ['sealed', 'private-walk']
    assert [choose_lock(300_000, bits) for bits in (64, 1024)] == ['sealed', 'private-walk']


@pytest.mark.parametrize('n, bits', [(0, 64), (-1, 64), (10, 0), (10, -8), ('x', 64), (10, 'x'), (None, 64), (10, None),
                                     (float('nan'), 64), (10, 1.5)])
def test_choosing_a_lock_refuses(n, bits):
    with pytest.raises(TreePrivacyError):
        choose_lock(n, bits)


def test_the_table_tells_leaks():
    "How many things the cloud learns of, and the attacks that show them."
    rows = [measure_lock(CODES, LABELS, CODES[:1], LABELS[:1], lock) for lock in ('random-matrix', 'sealed')]
    first, second = cost_table(rows).splitlines()[2:]
    assert 'known plaintext' in first and '0 things' in second and 'with a direct fetch' in second
    assert np.isfinite(rows[0].accuracy).all()
