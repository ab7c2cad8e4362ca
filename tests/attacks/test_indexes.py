"Attacks on real indexes under every lock: they get what the cloud has, and read what a lock does not hide."
from dataclasses import replace

import numpy as np
import pytest
from contract.lock_variants import VARIANTS

from tree_privacy.attacks.evidence import GroundTruth, Knowledge, Observation
from tree_privacy.attacks.observe import ground_truth, observe, record_bits, stage_index
from tree_privacy.attacks.run import ATTACKS, run_attacks
from tree_privacy.bits import hamming, pack, signs
from tree_privacy.client.owner import Owner
from tree_privacy.client.transport import Local, Recorded, run
from tree_privacy.client.user import User
from tree_privacy.cloud.service import CloudService
from tree_privacy.core import InputError
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.images.photos import from_arrays, names_only
from tree_privacy.wire import read_message

from .scenes import clustered

MARGIN, D = .05, 32
KINDS = {name: VARIANTS[name] for name in ('basic', 'split', 'noisy', 'encrypted', 'public', 'sealed', 'decoys')}
KINDS['small buckets'] = ('private-walk', dict(capacity=20))


@pytest.fixture(scope='module')
def attacked(tmp_path_factory):
    "300 clustered codes of 32 bits, and what a cloud saw of an index: forty searches, four of them put twice."
    home, keys, kept = tmp_path_factory.mktemp('attacks'), {}, {}
    rng = np.random.default_rng(0)
    centres = rng.random((12, D)) < .5
    codes = pack(centres[rng.integers(0, 12, 300)] ^ (rng.random((300, D)) < .12))

    def staged(kind, fetch='none', queries=40):
        folder, at = home / kind.replace(' ', '-'), (kind, fetch, queries)
        if kind not in keys:
            lock, options = KINDS[kind]
            keys[kind] = OwnerKey.generate()
            names = names_only([f'{i % 3}/{i:03}' for i in range(300)])
            Owner(keys[kind]).create(folder, names, codes, b'encoder', lock=lock, photos='none', **options)
        if at not in kept:
            kept[at] = stage_index(folder, keys[kind], queries=queries, fetch=fetch)
        return kept[at]

    return staged


def by_name(rows):
    return {row.attack: row for row in rows}


def better_than_guessing(rows):
    return [row for row in rows if row.recovered is not None and row.low > row.guessing + MARGIN]


@pytest.mark.parametrize('kind', ['encrypted', 'sealed', 'small buckets'])
def test_attacks_on_locks_that_hide(kind, attacked):
    "Every attack on all that the cloud has before a fetch; some of them do come to a guess."
    rows = run_attacks(*attacked(kind), seconds=.3)
    assert not better_than_guessing(rows) and set(by_name(rows)) == set(ATTACKS)
    assert {row.attack for row in rows if row.recovered is not None} >= {'neighbours'}


@pytest.mark.parametrize('kind', ['encrypted', 'sealed', 'small buckets'])
def test_attacks_that_are_forced(kind, attacked):
    "A test for mistakes: attacks that look for linear structure find none under a cipher, where they are made to look."
    observation, knowledge, truth = attacked(kind)
    rows = run_attacks(replace(observation, linear=True), knowledge, truth, seconds=.3)
    assert not better_than_guessing(rows)
    assert by_name(rows)['sign iteration: columns'].why.startswith('no corner')


def test_known_photographs_are_no_help(attacked):
    "On as many columns as there are known photographs for, so that the linear attack does come to a guess."
    seen, known, truth = attacked('sealed')
    for first in (0, 12 * 8, seen.table.shape[1] - 100):
        some = replace(seen, table=seen.table[:, first:first + 100])
        row, = run_attacks(some, known, truth, ['known ciphertexts'])
        assert row.recovered is not None and row.low <= row.guessing + MARGIN
    row, = run_attacks(*attacked('encrypted'), ['known ciphertexts'])
    assert row.recovered is not None and row.low <= row.guessing + MARGIN


def test_attacks_on_records_in_the_clear(attacked):
    "The twin of the sealed lock: the same records, not encrypted."
    seen, known, truth = attacked('sealed')
    records = [bytes(12) + len(code).to_bytes(8, 'little') + code.tobytes() + f'{i:04}'.encode() + bytes(72)
               for i, code in enumerate(np.packbits(truth.codes > 0, axis=1))]
    bare = np.stack([np.frombuffer(record, np.uint8) for record in records])
    twin = Observation(record_bits(bare, D), seen.n_leaves, seen.bits, 'not sealed', ids=seen.ids)
    rows = by_name(run_attacks(twin, known, truth, ['known ciphertexts', 'neighbours']))
    assert rows['known ciphertexts'].low > .99 and rows['neighbours'].low > rows['neighbours'].guessing + .3


def with_norm(seen, trapdoors):
    "The homomorphic lock's evidence with -d / 2 in a last column, as attacks expect"
    table = np.c_[seen.table, np.full(seen.n_leaves, -D)]
    return Observation(table, seen.n_leaves, D, trapdoors=np.c_[trapdoors, np.ones(len(trapdoors))], ids=seen.ids)


def test_attacks_on_columns_in_the_clear(attacked):
    "The twin of the homomorphic lock: the same arrangement without masks and errors, of the table and of requests."
    names = ['known plaintext', 'known ciphertexts', 'exact distances', 'neighbours', 'repeated requests']
    names.append('fewer pairs')
    seen, known, truth = attacked('public', queries=120)  # of which 32 must be independent
    rows = by_name(run_attacks(with_norm(seen, np.repeat(truth.queries, 2, axis=1)), known, truth, names))
    for name in names:
        assert rows[name].recovered > .95 and rows[name].low > rows[name].guessing + MARGIN, name
    half = Observation(seen.table[:, :32], seen.n_leaves, 16, ids=seen.ids)
    row, = run_attacks(half, Knowledge(), GroundTruth(truth.codes[:, :16]), ['sign iteration: columns'], seconds=60)
    assert row.low > .5
    seen, known, truth = attacked('encrypted')
    assert not better_than_guessing(run_attacks(with_norm(seen, seen.trapdoors), known, truth, names))


@pytest.mark.parametrize('kind', ['encrypted', 'small buckets'])
def test_requests_that_are_sent_again_are_known_again(kind, attacked):
    "A twin whose requests are always the same for a code gives repeats away; fresh ones do not."
    seen, known, truth = attacked(kind)
    same = (truth.queries @ truth.queries.T) == D
    first = same.argmax(1)
    blank = np.zeros((seen.n_leaves, 1))
    row, = run_attacks(replace(seen, table=blank, trapdoors=seen.trapdoors[first]), known, truth, ['repeated requests'])
    assert row.recovered == 1 and row.guessing < .95
    row, = run_attacks(replace(seen, table=blank), known, truth, ['repeated requests'])
    assert row.low <= row.guessing + MARGIN


def test_decoys_are_seen_through(attacked):
    "The weak one of the locks: with some searches its attacks beat guessing, and nobody else's do."
    names = ['intersection', 'siblings', 'known ciphertexts', 'neighbours']
    rows = by_name(run_attacks(*attacked('decoys', queries=400), names, seconds=.3))
    assert all(rows[name].low > rows[name].guessing + MARGIN for name in names[:2])
    assert not better_than_guessing([rows[name] for name in names[2:]])


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_fetched_together(kind, attacked):
    "In the open it tells neighbours under all locks alike; where nothing is fetched it does not apply."
    row, = run_attacks(*attacked(kind, 'direct'), ['fetched together'])
    assert row.low > row.guessing + .1
    row, = run_attacks(*attacked(kind), ['fetched together'])
    assert row.recovered is None and 'fetched together' in row.why


@pytest.mark.parametrize('kind', ['encrypted', 'sealed', 'small buckets'])
def test_what_is_fetched_privately(kind, attacked):
    "The same stage with private fetching: the attack does not apply."
    row, = run_attacks(*attacked(kind, 'private', queries=10), ['fetched together'])
    assert row.recovered is None


@pytest.mark.parametrize('form', ['basic', 'split'])
def test_a_real_index(tmp_path, form):
    "From a folder and its key: what the attacks get is what the cloud has, and they read it."
    rng = np.random.default_rng(0)
    names = [f'{"ab"[i % 2]}/{i:03}.png' for i in range(400)]
    pictures = from_arrays(rng.integers(0, 256, (400, 8, 8), np.uint8), None, 'x')
    pictures.names = names
    key, some, folder = OwnerKey.generate(), clustered(400, 32), tmp_path / 'index'
    Owner(key).create(folder, pictures, some, b'encoder', lock='random-matrix', photos='full', form=form)
    seen, told, true = stage_index(folder, key, known_pairs=40, queries=60)
    service, opened = CloudService(folder), Owner(key).open(folder)
    assert (seen.table == service.reader.arrays('tree')['table']).all()
    assert seen.lengths.keys() == set(service.reader.ids.tolist())
    assert len(seen.trapdoors) == len(seen.fetched) == 60
    by_id = dict(zip(opened.collection.ids.tolist(), signs(opened.collection.codes), strict=True))
    leaf = np.repeat(np.arange(seen.n_leaves), seen.leaf_sizes)
    for i, place in zip(seen.ids.tolist(), leaf, strict=True):
        assert (by_id[i] == true.codes[place]).all()
    got = by_name(run_attacks(seen, told, true, seconds=5))
    for name in ('known plaintext', 'exact distances'):
        assert got[name].recovered > .99, name
    assert got['known files'].recovered is not None
    assert got['fetched together'].recovered > got['fetched together'].guessing
    assert sorted(true.category_sizes.tolist()) == [200, 200]
    transport = Recorded(Local(service))
    user = User.connect(key.grant(), transport)
    run(user.search(some[0]), transport)
    view = observe(service, [exchange.request for exchange in transport.exchanges])
    assert len(view.trapdoors) == 1 and ground_truth(opened, view, some[:1]).queries.shape == (1, 32)


def split_index(folder, n=150, bits=64, form='split'):
    "An index under the random matrix, its cloud and a user who is recorded"
    key, codes = OwnerKey.generate(), clustered(n, bits, seed=2)
    names = names_only([f'{i:03}' for i in range(n)])
    Owner(key).create(folder, names, codes, b'-', lock='random-matrix', photos='none', form=form)
    service = CloudService(folder)
    transport = Recorded(Local(service))
    return key, codes, service, transport, User.connect(key.grant(), transport)


def distances_and_factor(table, leaves, bits, trapdoor):
    "Exact distances and r from leaves' scores: neighbouring distances differ by one, which is two r in the score."
    scores = table[:leaves].astype(float) @ trapdoor
    gaps = np.diff(np.sort(scores))
    r = gaps[gaps > 1e-3 * np.ptp(scores)].min() / 2
    return np.round((bits / 2 - scores / r) / 2).astype(int), r


@pytest.mark.parametrize('form', ['basic', 'split'])
def test_one_request_gives_distances(tmp_path, form):
    "A cloud with the table and one request reads r and every distance: the lock does not hide them."
    key, codes, service, transport, user = split_index(tmp_path / 'index', form=form)
    opened = Owner(key).open(tmp_path / 'index')
    for query in codes[[0, 50, 100]] ^ np.uint8(1):
        run(user.search(query), transport)
        request = read_message(transport.exchanges[-1].request, 'search')
        seen = observe(service, [transport.exchanges[-1].request])
        guessed, r = distances_and_factor(seen.table, seen.n_leaves, seen.bits, request.arrays['trapdoor'])
        true = hamming(query[None], np.packbits(ground_truth(opened, seen).codes > 0, axis=1))[0]
        assert (guessed == true).all() and r > 0


def test_distances_give_a_query(tmp_path):
    "With distances from one request, 150 known codes give the code of an unknown query by solving linear equations."
    key, codes, service, transport, user = split_index(tmp_path / 'index')
    query = np.random.default_rng(9).integers(0, 256, 8, np.uint8)
    run(user.search(query), transport)
    seen = observe(service, [transport.exchanges[-1].request])
    apart, _ = distances_and_factor(seen.table, seen.n_leaves, 64, seen.trapdoors[0])
    known = ground_truth(Owner(key).open(tmp_path / 'index'), seen).codes
    guess = np.linalg.lstsq(known, 64 - 2. * apart, rcond=None)[0]
    assert (pack(guess[None] > 0) == query).all()


def test_requests_for_another_index_are_refused(tmp_path):
    "An observation is of one index."
    service, transport = split_index(tmp_path / 'a')[2], split_index(tmp_path / 'b')[3]
    other = split_index(tmp_path / 'c')
    run(other[4].search(other[1][0]), other[3])
    with pytest.raises(InputError, match='for another index'):
        observe(service, [other[3].exchanges[-1].request])
    assert len(transport.exchanges) == 1


@pytest.mark.parametrize('wrong, said', [(dict(queries=0), 'queries is 0'), (dict(known_pairs=-1), 'known photographs'),
                                         (dict(fetch='pigeon'), "fetch is 'pigeon'")])
def test_stages_that_are_none(wrong, said, tmp_path):
    key = split_index(tmp_path / 'index')[0]
    with pytest.raises(InputError, match=said):
        stage_index(tmp_path / 'index', key, **dict(queries=3) | wrong)
