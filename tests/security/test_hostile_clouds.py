"""Clouds that answer a search with something else, show old indexes, or rewrite their files.

What a hostile cloud sends to a fetch is in client/test_fetching, what the halves of locks bear by themselves in
contract/test_locks; greetings, versions and keys are in client/test_user.
"""
import json
import shutil

import numpy as np
import pytest
from contract.lock_variants import MATRIX, VARIANTS, WALKS
from made_once import made_once
from parties import Altered, rewrite_file, rewritten

from security.albums import made
from tree_privacy.bits import hamming, signs
from tree_privacy.client.owner import Owner
from tree_privacy.client.transport import Local, run
from tree_privacy.client.trust import TrustStore
from tree_privacy.client.user import User, describe_request
from tree_privacy.cloud.service import CloudService
from tree_privacy.core import (
    AccessError,
    ForgedReply,
    FormatError,
    RollbackError,
    SecurityError,
    SignatureError,
    TreePrivacyError,
)
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.store.manifest import Manifest
from tree_privacy.wire import read_message

every = pytest.mark.parametrize('variant', VARIANTS)
exact = pytest.mark.parametrize('variant', ['basic', 'split'])


@pytest.fixture(scope='module')
def albums(tmp_path_factory):
    "One index for each variant, not to be changed."
    return made_once(made, tmp_path_factory.mktemp('albums'))


# Replies to a search under random matrices, where the cloud has something to say about distances

def refusal(album, **changes):
    "A search whose reply was rewritten: the error that the user sees, who may ask again all the same."
    def alter(reply):
        arrays = read_message(reply).arrays
        return rewritten(reply, **{name: change(arrays[name]) for name, change in changes.items()})
    user = User(album.key.grant(), album.greeting)
    with pytest.raises(TreePrivacyError) as error:
        run(user.search(album.codes[3]), Altered(album.cloud, alter))
    assert run(user.search(album.codes[3]), album.line).hits[0].distance == 0
    return error.value


def swapped(a):
    a = a.copy()
    a[[0, 1]] = a[[1, 0]]
    return a


def twice(a):
    return np.concatenate([a, a[:1]])


@exact
def test_swapped_records_in_a_reply(variant, albums):
    "Records, ids or scores in another order, doubled, or moved are forged, which is no leak of the key."
    album = albums(variant)
    for changes in (dict(records=swapped), dict(ids=swapped)):
        error = refusal(album, **changes)
        assert isinstance(error, ForgedReply) and not error.key_is_exposed and 'cannot be opened' in str(error)
    assert 'do not fit' in str(refusal(album, scores=lambda a: a[np.argsort(-a)][::-1].copy()))
    assert 'do not fit' in str(refusal(album, ids=twice, records=twice, scores=twice))
    assert refusal(album, ids=lambda a: np.append(a, a[0] + .25), records=twice, scores=twice)


@exact
def test_lies_about_scores(variant, albums):
    "Scores that were scaled, turned, made up, or are no numbers are found."
    for lie in (lambda a: a * 2, lambda a: a * np.nan, lambda a: -a, lambda a: a - a + a[0]):
        assert refusal(albums(variant), scores=lie)


@exact
def test_scores_of_another_query_under_this_token(variant, albums):
    "The scores, ids and records of another question do not fit, even with the right token put in: r differs."
    album = albums(variant)
    theirs = read_message(album.cloud.handle(next(album.user.search(album.codes[20])))).arrays
    assert refusal(album, **{name: lambda a, name=name: theirs[name] for name in ('ids', 'scores', 'records')})


@exact
@pytest.mark.parametrize('name', ['ids', 'scores', 'records'])
def test_misshapen_search_replies_are_refused(variant, name, albums):
    "Whatever arrays a cloud sends, the user gets the package's own error, and never a result."
    shapes = [lambda a: None, lambda a: a[:0], lambda a: a[:-1], lambda a: np.concatenate([a, a[-1:]]),
              lambda a: a[None], lambda a: a.astype(np.float64) / 3]
    for shape in shapes:
        assert refusal(albums(variant), **{name: shape})


@exact
def test_empty_and_turned_replies_are_refused(variant, albums):
    "A walk always ends at some leaf: a reply without any is refused, and so are tables of ids and scores."
    album, names = albums(variant), ('ids', 'scores', 'records')
    assert refusal(album, **dict.fromkeys(names, lambda a: a[:0]))
    assert refusal(album, ids=lambda a: a[:, None])
    assert refusal(album, ids=lambda a: a[:, None], scores=lambda a: a[:, None])


@every
def test_missing_and_foreign_tokens(variant, albums):
    "A reply without its token, with another, to another question, or of another kind is refused; the true one is not."
    album = albums(variant)
    line = Altered(album.cloud, lambda reply: reply)

    def refused(alter, match='another request'):
        conversation = User(album.key.grant(), album.greeting).search(album.codes[3])
        with pytest.raises(FormatError, match=match):
            run(conversation, Altered(album.cloud, alter))

    other = album.cloud.handle(next(User(album.key.grant(), album.greeting).search(album.codes[3])))
    refused(lambda reply: rewritten(reply, token=None))
    refused(lambda reply: rewritten(reply, token=np.zeros(0, np.uint8)))
    refused(lambda reply: rewritten(reply, token=read_message(reply).arrays['token'][::-1].copy()))
    refused(lambda reply: other)
    photos = album.cloud.handle(next(album.user.fetch([1], 'direct')))
    refused(lambda reply: photos, 'wanted a')
    assert run(album.user.search(album.codes[3]), line).hits[0].distance == 0


@every
@pytest.mark.parametrize('index', [None, 'not a number', '00' * 8, 7, '', ...])
def test_replies_of_a_wrong_index_are_refused_clearly(variant, index, albums):
    "A reply that names another index, or none, is refused with the package's own error."
    album = albums(variant)
    with pytest.raises(FormatError, match='another index'):
        run(User(album.key.grant(), album.greeting).search(album.codes[3]),
            Altered(album.cloud, lambda reply: rewritten(reply, dict(index=index))))


# Old indexes, and manifests that the owner did not sign

@every
def test_an_old_version_is_refused(variant, tmp_path):
    "Who has seen version 2 does not accept version 1 again; who has not cannot know. The owner heeds it too."
    album = made(variant, tmp_path / 'index', 'none')
    shutil.copytree(album.folder, tmp_path / 'old')
    Owner(album.key).remove(album.folder, album.photos.names[:3])
    new, old, trust = Local(CloudService(album.folder)), Local(CloudService(tmp_path / 'old')), TrustStore()
    assert User.connect(album.key.grant(), old, trust).manifest.version == 1
    assert User.connect(album.key.grant(), new, trust).manifest.version == 2
    assert User.connect(album.key.grant(), new, trust).manifest.version == 2
    with pytest.raises(RollbackError, match='version 1 of the index, but version 2 was seen|put an old one back'):
        User.connect(album.key.grant(), old, trust)
    assert User.connect(album.key.grant(), old).manifest.version == 1
    owner = Owner(album.key, trust)
    for change in (owner.open, lambda folder: owner.remove(folder, album.photos.names[5:6])):
        with pytest.raises(RollbackError):
            change(tmp_path / 'old')
    assert len(Owner(album.key, trust).open(album.folder).collection) == 29


@every
def test_only_the_owner_can_sign(variant, albums):
    "A manifest that was altered, or altered and signed with another key, is refused."
    album = albums(variant)
    forger = OwnerKey(album.key.secret, OwnerKey.generate().signing)
    for change in (dict(version=9), dict(ids=[[1, 32]]), dict(record_size=9), dict(photos='none', photo_size=None),
                   dict(key=OwnerKey.generate().id)):
        altered = Manifest.from_json(album.manifest.to_json() | change, 'a test')
        for manifest in (altered, altered.signed_by(forger)):
            with pytest.raises((SignatureError, AccessError), match='altered|not the key of this index'):
                User(album.key.grant(), rewritten(album.greeting, dict(manifest=manifest.to_json())))
    for signature in ('', 'zz', '00' * 64, None, 5):
        with pytest.raises((SignatureError, FormatError)):
            User(album.key.grant(), rewritten(album.greeting, dict(
                manifest=album.manifest.to_json() | dict(signature=signature))))


def test_newer_formats_are_refused_by_users(albums):
    "A manifest of a format that this version does not know is refused, although the owner signed it."
    album = albums('split')
    data = album.manifest.to_json() | dict(format=99)
    unsigned = {name: value for name, value in data.items() if name != 'signature'}
    signed = json.dumps(unsigned, sort_keys=True).encode()  # as `signed_bytes` has it
    data['signature'] = album.key.sign(signed).hex()
    with pytest.raises(FormatError, match='upgrade'):
        User(album.key.grant(), rewritten(album.greeting, dict(manifest=data)))


# Files that the cloud rewrites

def swap_rows(name, rows=(0, 1)):
    "A change of a file: two rows of its table in each other's place."
    def change(arrays):
        array = 'records' if name == 'records' else 'table'
        table = arrays[array].copy()
        inner = table[0] if name == 'columns' else table
        inner[list(rows)] = inner[list(rows)[::-1]]
        return {array: table}
    return change


@every
def test_rewritten_manifests_are_noticed(variant, tmp_path):
    "A cloud that changes a file and shows the fitting manifest is found at the greeting."
    album = made(variant, tmp_path / 'index', 'none')
    rewrite_file(album.folder, 'records', swap_rows('records'))
    with pytest.raises(SignatureError, match='altered'):
        User(album.key.grant(), CloudService(album.folder).handle(describe_request()))
    with pytest.raises(SignatureError, match='altered'):
        Owner(album.key).open(album.folder)


@pytest.mark.parametrize('variant', ['small buckets', 'few decoys', 'encrypted', 'basic', 'split'])
def test_swapped_rows_of_tables_are_noticed(variant, tmp_path):
    """Buckets, columns of codes, or leaves in each other's place on the cloud's disk, under the owner's own manifest:
    what is found does not open, or does not verify; the alarm is raised where the key is exposed."""
    album, trust = made(variant, tmp_path / 'index', 'none'), TrustStore()
    name = 'buckets' if variant in WALKS else 'columns' if variant == 'encrypted' else 'tree'
    rows = album.tree.leaf_[[0, -1]].tolist() if variant in MATRIX else (0, 1)
    rewrite_file(album.folder, name, swap_rows(name, rows))
    user, cheat = User(album.key.grant(), album.greeting, trust), Local(CloudService(album.folder))
    differing = next(code for code in album.codes if len(set(signs(code)[:2].tolist())) == 2)
    code = album.codes[0] if variant in MATRIX else differing
    with pytest.raises(ForgedReply, match='do not fit its records' if variant in MATRIX else 'forged|cannot be opened'):
        run(user.search(code, len(album.photos), 40), cheat)
    if user.client.forgery_exposes_key:
        with pytest.raises(SecurityError):
            trust.check_alarm(album.manifest.index)
    else:
        trust.check_alarm(album.manifest.index)


# What the noisy form leaves to the user

def test_noisy_scores_end_in_true_distances(tmp_path):
    """The cloud's order is blurred; the user's distances are exact all the same, since they come from opened records.
    A reply for another query is refused."""
    album = made('noisy', tmp_path / 'index', 'none', each=30)
    true = dict(zip(album.created.ids.tolist(), album.codes, strict=True))
    for code in album.codes[:20]:
        album.heard.clear()
        hits = album.talk(album.user.search(code, 10, len(album.codes))).hits
        apart = hamming(code[None], np.stack([true[hit.id] for hit in hits]))[0]
        assert len(hits) == 10 and [hit.distance for hit in hits] == sorted(apart.tolist())
        reply = album.heard[-1]
        claimed = read_message(reply, 'found').arrays['scores']
        assert (np.diff(np.sort(claimed)) > 0).all()  # no two scores are equal, though distances are
        with pytest.raises(FormatError, match='another request'):
            run(album.user.search(album.codes[21]), Altered(album.cloud, lambda _, old=reply: old))
