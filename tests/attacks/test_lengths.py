"""Attacks by length: how codes cluster, from what users download, and which names were added.

No lock lets them do better than guessing; they do succeed on twins with the lengths of before.
"""
import zlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from contract.lock_variants import VARIANTS, crowded
from parties import index_of

from tree_privacy.attacks import observe as stages
from tree_privacy.attacks.evidence import GroundTruth, Knowledge, Observation
from tree_privacy.attacks.observe import EVIDENCE, observe, stage_index
from tree_privacy.attacks.run import ATTACKS, evidence_needed, run_attacks
from tree_privacy.client.owner import Owner
from tree_privacy.client.user import User
from tree_privacy.crypto.sealing import step_size
from tree_privacy.images.photos import names_only

from .scenes import clustered

N, BITS = 200, 32
every = pytest.mark.parametrize('variant', VARIANTS)
LENGTHS = ['collection by lengths', 'names by lengths']


def collections():
    "Five collections of equal counts: all codes equal, most of them, random ones, tight clusters, two clusters"
    rng = np.random.default_rng(3)
    equal = np.repeat(rng.integers(0, 256, (1, BITS // 8), np.uint8), N, 0)
    most = equal.copy()
    most[::20] = rng.integers(0, 256, (N // 20, BITS // 8), np.uint8)
    some = rng.integers(0, 256, (N, BITS // 8), np.uint8)
    return [equal, most, some, clustered(N, BITS, 40, .02), clustered(N, BITS, 2, .05)]


def recovered(attack, seen, knowledge, truths):
    "Mean of what an attack recovers of several observations, and the same by guessing."
    rows = [run_attacks(one, knowledge, true, [attack])[0] for one, true in zip(seen, truths, strict=True)]
    assert all(row.recovered is not None for row in rows), rows
    return np.mean([row.recovered for row in rows]), np.mean([row.guessing for row in rows])


def bare(**lengths):
    "An observation of lengths and nothing else"
    return Observation(np.ones((3, 1)), 3, 8, **lengths)


def truths(count):
    return [GroundTruth(np.ones((3, 8)), collection=i, name_set=i) for i in range(count)]


@every
def test_how_codes_cluster_is_not_told(variant, tmp_path):
    "Which of five collections it is: the attack is right once in five, exactly, under every lock."
    worlds = [index_of(variant, tmp_path / str(i), codes) for i, codes in enumerate(collections())]
    seen = [observe(world.cloud) for world in worlds]
    told = Knowledge(collections=[one.downloads for one in seen])
    again = observe(index_of(variant, tmp_path / 'again', collections()[3]).cloud)
    assert again.downloads == seen[3].downloads
    alone = [bare(downloads=one.downloads) for one in seen]  # with equal codes there is but one ciphertext in a matrix
    assert recovered('collection by lengths', alone, told, truths(5)) == pytest.approx((.2, .2))


def added_names(variant, folder, names):
    "What a cloud sees when eight photographs of these names are added to forty"
    codes = crowded(3, 48, 16)
    world = index_of(variant, folder, codes[:40])
    Owner(world.key).add(folder, names_only(names), codes[40:])
    return observe(world.enter().cloud)


NAME_SETS = [[f'{i}' for i in range(8)], [f'{i}' * 60 for i in range(8)],
             [f'Holidays by the sea/IMG_20230{i}02_1234.jpg' for i in range(8)],
             [''.join(np.random.default_rng(i).choice(list('abcdefghijklmnop/'), 50)) + 'z' for i in range(8)]]


@every
def test_lengths_of_added_names_are_not_told(variant, tmp_path):
    "Which of four sets of names was added: the attack is right once in four, exactly, under every lock."
    seen = [added_names(variant, tmp_path / str(i), names) for i, names in enumerate(NAME_SETS)]
    told = Knowledge(name_sets=[one.named for one in seen])
    assert recovered('names by lengths', seen, told, truths(4)) == pytest.approx((.25, .25))


def test_a_name_of_another_class_is_told(tmp_path):
    "What the table of leaks says: a name of more than 64 bytes shows."
    sets = [NAME_SETS[0], [f'{i}' * 80 for i in range(8)]]
    seen = [added_names('sealed', tmp_path / str(i), names) for i, names in enumerate(sets)]
    told = Knowledge(name_sets=[one.named for one in seen])
    assert recovered('names by lengths', seen, told, truths(2)) == (1, .5)


OLD_TOPS = dict(most=7788, random=22_636, forty=57_452)  # bytes of `client-data` at n = 4,000 and d = 128 before
OLD_FORTY = 61_548  # of other codes in forty clusters


def test_the_old_tops_were_told():
    "A twin whose downloads follow the clusters, as they once did, is seen through."
    told = Knowledge(collections=[{'client-data': size} for size in OLD_TOPS.values()])
    sizes = OLD_TOPS | dict(forty=OLD_FORTY)
    seen = [bare(downloads={'client-data': size}) for size in sizes.values()]
    right, guessing = recovered('collection by lengths', seen, told, truths(3))
    assert right == 1 and guessing == pytest.approx(1 / 3, abs=1e-3)


def old_box(names):
    "Bytes of a box of names as it was sealed before: compressed, and padded to a step"
    return step_size(300 + len(zlib.compress(b'\0'.join(name.encode() for name in names)))) + 36


def test_compressed_names_were_told():
    "A twin that compresses names before it seals them is seen through, but for two sets in one step of padding."
    told = Knowledge(name_sets=[dict(codes=old_box(names)) for names in NAME_SETS])
    seen = [bare(named=dict(codes=old_box(names))) for names in NAME_SETS]
    right, guessing = recovered('names by lengths', seen, told, truths(4))
    assert right == .75 and guessing == .25


@pytest.fixture(scope='module')
def worlds(tmp_path_factory):
    "One index for each lock, not to be changed."
    home = tmp_path_factory.mktemp('lengths')
    return {variant: index_of(variant, home / variant, clustered(150, BITS, 8, .1))
            for variant in ('split', 'encrypted', 'sealed', 'walk', 'decoys')}


@pytest.mark.parametrize('variant', ['split', 'encrypted', 'sealed', 'walk', 'decoys'])
def test_a_staged_index(variant, worlds):
    "The stage has candidates for both attacks, the true ones first; neither is better than guessing."
    world = worlds[variant]
    stage = stage_index(world.folder, world.key, queries=3, fetch='none')
    assert len(stage.knowledge.collections) == 3 and len(stage.knowledge.name_sets) == 2
    assert stage.observation.downloads == stage.knowledge.collections[0]
    for row in run_attacks(*stage, LENGTHS):
        assert row.recovered == row.guessing, row
    seen = replace(stage.observation, downloads=stage.observation.downloads | {'client-data': 7})
    assert run_attacks(seen, stage.knowledge, stage.truth, LENGTHS[:1])[0].recovered is not None


def refuse(*args, **options):
    raise AssertionError('this is work that no attack uses')


IDLE = ['neighbours', 'exact distances', 'fewer pairs', 'independent bits', 'sign iteration: columns', 'tree links',
        'sign iteration: bits', 'known ciphertexts', 'category sizes', 'signs of ciphertexts']


@pytest.mark.parametrize('variant', ['encrypted', 'sealed', 'walk', 'decoys'])
def test_what_no_attack_uses_is_not_staged(variant, worlds, monkeypatch):
    "Under a cipher nobody searches or fetches for attacks on linear structure, and no index is made to compare with."
    for where, name in ((User, 'search'), (User, 'fetch'), (stages, '_own_index'), (stages, '_file_sizes')):
        monkeypatch.setattr(where, name, refuse)
    world = worlds[variant]
    stage = stage_index(world.folder, world.key, evidence=partial(evidence_needed, IDLE))
    rows = {row.attack: row for row in run_attacks(*stage, IDLE)}
    assert rows['neighbours'].recovered is not None and 'linear' in rows['exact distances'].why
    with pytest.raises(AssertionError, match='no attack uses'):
        stage_index(world.folder, world.key)


def test_searches_at_home_are_not_made_where_nothing_is_fetched(worlds, monkeypatch):
    "The cloud sees nothing of them."
    monkeypatch.setattr(User, 'search', refuse)
    stage = stage_index(worlds['sealed'].folder, worlds['sealed'].key, fetch='none')
    assert not stage.observation.fetched and not len(stage.truth.queries)


def test_what_is_needed_is_named():
    "Every attack asks for evidence that there is; all of them together for all."
    assert all(set(attack.evidence) <= EVIDENCE for attack in ATTACKS.values())
    for lock, options in (('random-matrix', dict(form='split')), ('private-walk', {}), ('sealed', {})):
        assert evidence_needed(list(ATTACKS), lock, options) == EVIDENCE
    assert evidence_needed(['exact distances'], 'homomorphic', dict(form='encrypted')) == frozenset()
    assert evidence_needed(['exact distances'], 'homomorphic', dict(form='public')) == {'searches'}
