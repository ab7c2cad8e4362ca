"Every attack opens what it breaks, and is no better than guessing where a lock, or a twin with padding, hides the thing."
import inspect, json

import numpy as np
import pytest

from tree_privacy.data import Images, from_arrays
from tree_privacy.leakage import (ATTACKS, Known, NothingToWorkOn, ScaleAndPerturb, Seen, Truth, bits_by_sign, bits_right, category_sizes,
                                  columns_found, distances_right, fetched_together, fewer_pairs, fewest_known, files_right, filled, graph_right,
                                  independent_bits, known_ciphertexts, known_plaintext, link_requests, links_right, match_lengths, neighbours,
                                  neighbours_right, placed, play, queries_from_known, requests_right, score_grid, see, sign_iteration, sizes_right,
                                  some_known, stage, table, tree_links, truth_of, watched)
from tree_privacy.measures import pack, signs
from tree_privacy.random_matrix import FORMS, MatrixKey
from tree_privacy.retrieval import PlainIndex
from tree_privacy.roles import Cloud, Owner, OwnerKey, User, hello, leakage, node_order, stepped
from tree_privacy.tree import MergeTree

BITS, CHANCE = 64, .03  # shares of bits may differ from guessing by this much where nothing is learned


def clustered(n, bits=BITS, kinds=20, flip=.2, seed=0):
    "Codes in clusters, so that their bits depend on one another."
    rng = np.random.default_rng(seed)
    centres = rng.random((kinds, bits)) < .5
    return pack(centres[rng.integers(0, kinds, n)] ^ (rng.random((n, bits)) < flip))


codes = clustered(2700)
tree = MergeTree().fit(codes[:2500])
tree = tree.renumbered(node_order(tree))  # as in an index: the numbers of nodes tell nothing
asked = codes[np.r_[2500:2700, 2500:2520]]
truth = Truth(tree.feature_[:tree.n_leaves_].astype(float), signs(asked), tree.parent_)
known = some_known(truth, 1000)
fetched = PlainIndex(tree).search(asked).ids.tolist()


def random_numbers():
    "What a cloud holds under a lock that hides everything: noise."
    rng = np.random.default_rng(5)
    return Seen(rng.standard_normal((len(tree.size_), BITS + 1)), tree.n_leaves_, BITS, 'control', rng.standard_normal((len(asked), BITS + 1)))


clouds = {'basic': watched(MatrixKey.generate(BITS, form='basic'), tree, asked, fetched=fetched),
          'split': watched(MatrixKey.generate(BITS, form='split'), tree, asked, fetched=fetched),
          'noisy': watched(MatrixKey.generate(BITS, form='noisy'), tree, asked, fetched=fetched), 'control': random_numbers()}
open_forms = pytest.mark.parametrize('form', ['basic', 'split'])


def share(scored): return scored[0].mean()


@open_forms
def test_known_plaintext(form):
    "d + 1 pairs give at least 99.9 % of the bits of all other photographs; guessing about half."
    few = known.first(BITS + 1)
    right, guessing = bits_right(known_plaintext(clouds[form], few), truth, few)
    assert right.mean() >= .999 and guessing < .6


def test_known_plaintext_wants_pairs_and_searches():
    "With d pairs, with no search, or with too few of them, it says so."
    with pytest.raises(NothingToWorkOn, match='65 known'): known_plaintext(clouds['basic'], known.first(BITS))
    with pytest.raises(NothingToWorkOn, match='no search'): known_plaintext(Seen(clouds['basic'].table, tree.n_leaves_, BITS), known)
    with pytest.raises(NothingToWorkOn, match='independent searches'):
        known_plaintext(Seen(clouds['basic'].table, tree.n_leaves_, BITS, trapdoors=clouds['basic'].trapdoors[:20]), known)


def test_known_plaintext_gives_searches():
    "The codes of all searches, from the split form."
    queries, r = queries_from_known(clouds['split'], known.first(BITS + 1))
    assert (queries == truth.queries).all() and (r > 0).all()


@pytest.mark.parametrize('form', ['basic', 'split', 'noisy'])
def test_known_ciphertexts(form):
    "A linear map from ciphertexts to codes needs no search, and noise in extra coordinates does not disturb it."
    seen = Seen(clouds[form].table, tree.n_leaves_, BITS, form)
    few = known.first(200)
    assert share(bits_right(known_ciphertexts(seen, few), truth, few)) > .999
    with pytest.raises(NothingToWorkOn, match='known photographs are needed'): known_ciphertexts(seen, known.first(40))


@pytest.mark.parametrize('attack', [known_plaintext, known_ciphertexts])
def test_known_pairs_are_no_help_against_random_numbers(attack):
    "On the control, within 3 % of guessing."
    few = known.first(200)
    right, guessing = bits_right(attack(clouds['control'], few), truth, few)
    assert abs(right.mean() - .5) < CHANCE and abs(guessing - .5) < .1


@open_forms
def test_exact_distances(form):
    "All distances of at least 95 % of the searches, with no pair known."
    right, guessing = distances_right(score_grid(clouds[form])[0], truth)
    assert (right == 1).mean() >= .95 and guessing < .2


@pytest.mark.parametrize('form', ['noisy', 'control'])
def test_no_grid_no_distances(form):
    "Scores that lie on no grid give nothing, rather than something wrong; so does the attack that builds on them."
    with pytest.raises(NothingToWorkOn, match='no grid'): score_grid(clouds[form])
    with pytest.raises(NothingToWorkOn, match='no grid'): fewer_pairs(clouds[form], known.first(39))


@open_forms
def test_fewer_pairs(form):
    "0.6 d pairs are enough; three are not."
    few = known.first(39)
    assert share(bits_right(fewer_pairs(clouds[form], few), truth, few)) > .999
    with pytest.raises(NothingToWorkOn): fewer_pairs(clouds[form], known.first(3))


@pytest.mark.parametrize('bits', [16, 32])
def test_independent_bits(bits):
    "Every column, with nothing known, where bits are independent."
    free = MergeTree().fit(np.random.default_rng(bits).integers(0, 256, (2000, bits//8), dtype=np.uint8))
    seen = watched(MatrixKey.generate(bits, form='basic'), free, [])
    assert share(columns_found(independent_bits(seen), Truth(free.feature_[:free.n_leaves_].astype(float)))) == 1


@open_forms
def test_sign_iteration(form):
    "Nearly every column of clustered codes with nothing known, and nothing false among them; a few photographs order and sign them."
    columns = sign_iteration(clouds[form], seconds=20)
    found = columns_found(columns, truth)[0]
    assert found.mean() > .9 and columns.shape[1] == found.sum()
    few = known.first(fewest_known(columns, known))
    assert len(few.leaf) < BITS/2
    right, guessing = bits_right(filled(placed(columns, few), few), truth, few)
    assert right.mean() > .95 and guessing < .6


def test_columns_are_not_placed_by_too_few():
    "Two photographs cannot tell 64 columns apart, and the attack claims none that is wrong."
    columns = truth.codes[:, ::-1] * np.random.default_rng(0).choice([-1, 1], BITS)
    with pytest.raises(NothingToWorkOn, match='do not place'): fewest_known(columns, known.first(2))
    for k in (2, 5, 10, 30):
        guess = placed(columns, known.first(k))
        assert (guess[guess != 0] == truth.codes[guess != 0]).all()
    assert (placed(columns, known.first(60)) == truth.codes).all()


@pytest.mark.parametrize('attack', [independent_bits, lambda seen: sign_iteration(seen, seconds=3)])
def test_random_numbers_hold_no_columns(attack):
    "Nothing is accepted by its residual where there is nothing."
    with pytest.raises(NothingToWorkOn): attack(clouds['control'])


def test_noise_is_averaged_away():
    "Four percent of the bits wrong at most with 1,000 pairs, and more pairs are better; the control stays within 3 % of guessing."
    shares = [share(bits_right(known_plaintext(clouds['noisy'], known.first(k)), truth, known.first(k))) for k in (130, 1000)]
    assert shares[1] > .96 and shares[1] > shares[0]
    right, guessing = bits_right(known_plaintext(clouds['control'], known), truth, known)
    assert abs(right.mean() - .5) < CHANCE


def hidden(seen): return Seen(seen.table, seen.leaves, seen.bits, seen.lock, seen.trapdoors, members=seen.members)


@open_forms
def test_tree_links(form):
    "Most links, though they are withheld, and hardly a false one."
    guess = tree_links(hidden(clouds[form]))
    right, guessing = links_right(guess, truth)
    assert right.mean() > .7 and right.mean() > .95*(guess >= 0)[:-1].mean() and guessing < .01


def test_tree_links_of_the_split_form_want_searches():
    "Shares of nodes are no means; only scores are."
    with pytest.raises(NothingToWorkOn, match='65 searches'): tree_links(Seen(clouds['split'].table, tree.n_leaves_, BITS, 'split', clouds['split'].trapdoors[:64]))


@pytest.mark.parametrize('form', ['noisy', 'control'])
def test_no_links_in_noise(form):
    "Where parents are no means, at most one link in a hundred comes out, which is guessing."
    try: assert share(links_right(tree_links(hidden(clouds[form])), truth)) < .01
    except NothingToWorkOn as why: assert 'mean' in str(why)


def test_neighbours_and_condition():
    "A rotation leaves all neighbours readable; a large condition number few; the split form with much noise no more than twice guessing."
    def leak(**options): return neighbours_right(neighbours(watched(MatrixKey.generate(BITS, **options), tree, [])), truth)
    guessing = leak(form='basic')[1]
    assert share(leak(form='basic', condition=1.)) > .9 > share(leak(form='basic', condition=256.)) > 10*guessing
    assert share(leak(form='split', noise=30.)) < 2*guessing + .005 and share(neighbours_right(neighbours(clouds['control']), truth)) < 2*guessing + .005


@open_forms
def test_repeated_requests(form):
    "Every verdict is right, for repeated searches and for new ones."
    right, guessing = requests_right(link_requests(clouds[form]), truth)
    assert right.mean() == 1 and guessing < .95


def test_repeats_are_not_made_up():
    "Without repeats, and on random numbers, none is claimed that guessing would not beat by 2 %."
    right, guessing = requests_right(link_requests(clouds['control']), truth)
    assert right.mean() < guessing + .02
    lone = Seen(clouds['split'].table, tree.n_leaves_, BITS, trapdoors=clouds['split'].trapdoors[:200])
    assert (link_requests(lone) < 0).mean() > .95


def test_category_sizes():
    "Exact from a tree with one subtree a folder; on the package's own rules within 5 % of guessing or worse."
    want = np.array([150, 120, 90, 60, 40, 40])
    folders = np.repeat(np.arange(6), want)
    rows = [np.flatnonzero(folders == k) for k in range(6)] + [500 + np.arange(6)]
    children = np.full((7, 150), -1)
    for i, row in enumerate(rows): children[i, :len(row)] = row
    about = Truth(truth.codes[:1], sizes=want)
    twin = Seen(np.zeros((507, 1)), 500, BITS, children=children)
    assert (category_sizes(twin, Known(categories=6)) == want).all() and share(sizes_right(want, about)) == 1
    for rule in ('balanced', 'tagged', 'checked'):
        own = watched(MatrixKey.generate(BITS, form='basic'), MergeTree(rule).fit(clustered(500, kinds=6, seed=3), [str(k) for k in folders] if rule == 'tagged' else None), [])
        right, guessing = sizes_right(category_sizes(own, Known(categories=6)), about)
        assert right.mean() < guessing + .05
    with pytest.raises(NothingToWorkOn, match='withheld'): category_sizes(hidden(twin), Known(categories=6))
    with pytest.raises(NothingToWorkOn, match='number of categories'): category_sizes(twin, Known())


def test_known_files():
    "Found by their lengths where boxes are not padded; in steps of full photographs a class; by thumbnails' boxes guessing exactly."
    rng = np.random.default_rng(0)
    size = rng.permutation(np.arange(5000, 400_000))[:300]
    ids, told = np.arange(100), Known(files=size[:100])
    def chance(boxes):
        seen = Seen(np.zeros((1, 1)), 1, BITS, lengths=dict(enumerate(boxes.tolist())))
        return files_right(match_lengths(seen, told), Truth(truth.codes[:1], files=ids), 300)
    assert share(chance(size + 36)) == 1
    right, guessing = chance(np.array([stepped(int(s)) + 36 for s in size]))
    assert 5*guessing < right.mean() < .3
    right, guessing = chance(np.full(300, 2**19 + 36))
    assert right.mean() == pytest.approx(guessing)
    with pytest.raises(NothingToWorkOn, match='no photographs'): match_lengths(clouds['basic'], told)


def test_fetched_together():
    "What is fetched together is alike; what is fetched at random says no more than twice guessing."
    right, guessing = graph_right(fetched_together(clouds['split']), truth, clouds['split'])
    assert right.mean() > 10*guessing
    rng = np.random.default_rng(0)
    blind = watched(MatrixKey.generate(BITS), tree, [], fetched=[rng.permutation(2500)[:10].tolist() for _ in fetched])
    right, guessing = graph_right(fetched_together(blind), truth, blind)
    assert right.mean() < 2*guessing + .005
    with pytest.raises(NothingToWorkOn, match='fetched together'): fetched_together(clouds['control'])


@pytest.mark.parametrize('beta, low, high', [(.354, 1, 1), (2., .95, 1), (100., .45, .55)])
def test_scale_and_perturb_shows_bits(beta, low, high):
    "Signs are bits at every setting of use; where they are not, points are moved so far that nothing is found."
    view = Seen(ScaleAndPerturb(BITS, beta).encrypt(truth.codes), len(truth.codes), BITS, 'scale-and-perturb')
    assert low <= share(bits_right(bits_by_sign(view), truth, Known())) <= high
    with pytest.raises(NothingToWorkOn, match='no bits'): bits_by_sign(clouds['basic'])


def test_scale_and_perturb_moves_by_a_quarter_of_beta():
    "Ciphertexts lie within scale * beta / 4 of the scaled points, and never in the same place twice."
    lock = ScaleAndPerturb(BITS, 2.)
    a, b = lock.encrypt(truth.codes), lock.encrypt(truth.codes)
    away = np.linalg.norm(a - lock.scale*truth.codes/8, axis=1)/lock.scale
    assert away.max() <= .5 and away.mean() > .48 and not np.isclose(a, b).all(1).any()


def test_rows():
    "Every attack gives a row of the same shape that JSON can hold; where there is nothing to work on, it says why."
    plain = MergeTree().fit(clustered(600, 32))
    true = Truth(plain.feature_[:plain.n_leaves_].astype(float), signs(clustered(60, 32, seed=1)), plain.parent_)
    for lock in (MatrixKey.generate(32), MatrixKey.generate(32, form='noisy')):
        seen = watched(lock, plain, clustered(60, 32, seed=1))
        rows = json.loads(json.dumps(play(seen, some_known(true, 130), true, seconds=1)))
        assert [r['attack'] for r in rows] == list(ATTACKS)
        for r in rows:
            assert {'attack', 'lock', 'd', 'n', 'needs', 'recovered', 'guessing', 'low', 'high', 'seconds'} <= r.keys()
            if r['recovered'] is None: assert r['why'] and r['low'] is None
            else: assert 0 <= r['low'] <= r['recovered'] <= r['high'] <= 1 and 'why' not in r
    assert len(table(rows).splitlines()) == len(ATTACKS) + 1


@pytest.mark.parametrize('form', FORMS)
def test_what_leakage_says(form):
    "Where the table says all, the attack that it names reads all; where it says part, it reads more than guessing; an attack that it leaves out has nothing to work on."
    rows = leakage(form=form)
    assert {name for r in rows for name in r['attacks']} <= set(ATTACKS)
    for r in rows:
        for name in r['attacks']:
            row, = play(clouds[form], Known(known.leaf, known.codes, categories=10), truth, [name], seconds=20)
            if 'all' in r['cloud'].values() and name in ('exact distances', 'repeated requests'): assert row['recovered'] > .99, name
            else: assert row['recovered'] > row['guessing'], name
    if form == 'noisy': assert play(clouds[form], known, truth, ['exact distances'])[0]['recovered'] is None


def test_no_attack_is_given_the_truth():
    "Attacks take what was seen, what is known and a time; the truth has no way in."
    for name, (_, run, score) in ATTACKS.items():
        assert len(inspect.signature(run).parameters) == 3 and 'truth' not in inspect.signature(run).parameters, name


@open_forms
def test_a_real_index(tmp_path, form):
    "From a folder and its key: what the attacks get is what the cloud has, and they read it."
    rng = np.random.default_rng(0)
    pictures = from_arrays(rng.integers(0, 256, (400, 8, 8), np.uint8), None, 'x')
    images = Images([f'{"ab"[i % 2]}/{n}' for i, n in enumerate(pictures.names)], None, pictures.opener, pictures.reader)
    key = OwnerKey.generate()
    some = clustered(400, 32)
    Owner(key).create(tmp_path/'index', images, some, b'encoder', lock='random-matrix', photos='full', form=form)
    seen, told, true = stage(tmp_path/'index', key, known_pairs=40, queries=60)
    cloud, opened = Cloud(tmp_path/'index'), Owner(key).open(tmp_path/'index')
    assert (seen.table == cloud.searcher.tree['table']).all() and seen.lengths.keys() == set(cloud.ids.tolist()) and len(seen.trapdoors) == len(seen.fetched) == 60
    by_id = dict(zip(opened.ids.tolist(), signs(opened.codes)))
    for i, leaf in zip(seen.ids.tolist(), np.repeat(np.arange(seen.leaves), np.diff(seen.members))): assert (by_id[i] == true.codes[leaf]).all()
    got = {r['attack']: r for r in play(seen, told, true, seconds=5)}
    for name in ('known plaintext', 'exact distances'): assert got[name]['recovered'] > .99, name
    assert got['known files']['recovered'] is not None and got['fetched together']['recovered'] > got['fetched together']['guessing']
    assert sorted(true.sizes.tolist()) == [200, 200]
    user = User(key.grant(), cloud.answer(hello()))
    view = see(cloud, [user.query(some[0]).request])
    assert truth_of(opened, view, some[:1]).queries.shape == (1, 32)
