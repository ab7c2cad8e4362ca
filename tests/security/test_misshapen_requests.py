"Requests that make no sense: the cloud gives the package's own error, and goes on answering."
import hashlib

import numpy as np
import pytest
from contract.lock_variants import ASKING, MATRIX, VARIANTS
from made_once import made_once
from parties import raw_message, rewritten
from safetensors.numpy import save

from security.albums import HOLDING, made
from tree_privacy.client.user import describe_request
from tree_privacy.core import FormatError, InputError
from tree_privacy.wire import read_message, write_message

every, asking = (pytest.mark.parametrize('variant', some) for some in (VARIANTS, ASKING))


@pytest.fixture(scope='module')
def albums(tmp_path_factory):
    "One index for each variant, not to be changed."
    return made_once(made, tmp_path_factory.mktemp('albums'))


def refused(album, request, match=None):
    with pytest.raises((InputError, FormatError), match=match):
        album.cloud.handle(request)


PLACES = [dict(version=2), dict(version=None), dict(version='1'), dict(version=...), dict(index='00' * 8),
          dict(index=None), dict(index=7), dict(index=...)]


@asking
def test_misshapen_searches_are_refused_clearly(variant, albums):
    "Another index or version, no token, arrays that are none."
    album = albums(variant)
    request = next(album.user.search(album.codes[0]))
    for header in PLACES:
        refused(album, rewritten(request, header), 'ask again|another index')
    refused(album, rewritten(request, token=None), 'lacks its token')
    m = read_message(request)
    for name in set(m.arrays) - {'token'}:
        for wrong in (None, np.zeros(3), m.arrays[name][None], m.arrays[name][:0]):
            refused(album, rewritten(request, **{name: wrong}))
    assert read_message(album.cloud.handle(request)).kind == 'found'


@pytest.mark.parametrize('variant', MATRIX)
def test_numbers_in_searches_are_refused_clearly(variant, albums):
    "Results and nodes that are none or too many, and trapdoors that are no numbers, of another type or shape."
    album = albums(variant)
    request = next(album.user.search(album.codes[0]))
    for header in (dict(k=0), dict(k='5'), dict(nodes=-1), dict(nodes=1.5), dict(k=2 ** 70), dict(nodes=2 ** 70),
                   dict(k=None), dict(k=1001), dict(nodes=1001), dict(fill='x')):
        refused(album, rewritten(request, header))
    t = read_message(request).arrays['trapdoor']
    for wrong in (None, np.zeros(3), np.zeros((2, len(t))), np.full(len(t), np.nan), np.zeros(len(t), np.float32)):
        refused(album, rewritten(request, trapdoor=wrong))
    assert read_message(album.cloud.handle(request)).kind == 'found'


@pytest.mark.parametrize('size', [1e300, 1e308, np.inf, np.nan])
@pytest.mark.parametrize('variant', MATRIX)
def test_no_trapdoor_leads_the_walk_astray(variant, size, albums):
    "Numbers so large that scores overflow are refused before the compiled walk sees them."
    request = next(albums(variant).user.search(albums(variant).codes[0]))
    t = read_message(request).arrays['trapdoor']
    refused(albums(variant), rewritten(request, trapdoor=np.where(np.arange(len(t)) % 2, size, -size)), 'trapdoor')


@every
def test_misshapen_fetches_are_refused_clearly(variant, albums):
    "Unknown ids, ids that are no whole numbers or given twice, too many, and requests without a token."
    album = albums(variant)
    request = next(album.user.fetch([0], 'direct'))
    for ids in (np.array([99]), np.array([-1]), np.array([0.]), np.zeros((1, 1), np.int64), np.array([1, 1]),
                np.array([2 ** 62]), np.array([0], np.int32), np.array(0), np.arange(1001)):
        refused(album, rewritten(request, ids=ids))
    refused(album, rewritten(request, token=None), 'lacks its token')
    for header in (dict(index='00' * 8), dict(index=None), dict(index=...)):
        refused(album, rewritten(request, header), 'another index')
    assert read_message(album.cloud.handle(request)).arrays['ids'].tolist() == [0]


@every
def test_files_that_are_none(variant, albums):
    "Names of files that the index has not, paths to elsewhere, and other values."
    album = albums(variant)
    place = dict(index=album.manifest.index, version=1)
    token = dict(token=np.zeros(16, np.uint8))
    for name in ('x', '', '../manifest', 'manifest.json', '/etc/passwd', '../../key', None, 3, ['records'], {}):
        refused(album, write_message('file', place | dict(name=name), token), 'there is no file')
    refused(album, write_message('file', place, token))
    good = album.cloud.handle(write_message('file', place | dict(name='records'), token))
    assert read_message(good).arrays['data'].tobytes() == album.cloud.reader.file_bytes('records')
    for wanted in ('encoder', ['encoder'] * 3, [3], {}, None):
        refused(album, write_message('describe', dict(files=wanted)))
    assert album.cloud.handle(describe_request()) == album.greeting


@pytest.mark.parametrize('variant', HOLDING)
def test_misshapen_private_fetches(variant, albums):
    "Of other shapes, for another version, with too many rows, or with whole tables wanted as photographs."
    album = albums(variant)
    request = next(album.user.fetch([0, 3], 'private'))
    m = read_message(request)
    for header in PLACES:
        refused(album, rewritten(request, header), 'ask again|another index')
    for name in m.arrays:
        for wrong in (None, np.zeros(3), np.zeros(0, np.uint8), m.arrays[name].astype(np.float64)):
            if name != 'token' or wrong is None:
                refused(album, rewritten(request, **{name: wrong}))
    many = np.zeros((33, *m.arrays['c0'].shape[1:]), np.uint8)
    refused(album, rewritten(request, c0=many), 'is the most')
    assert read_message(album.cloud.handle(request)).kind == 'rows'


@pytest.mark.parametrize('variant', MATRIX)
def test_private_fetches_where_there_are_none(variant, albums):
    "Under random matrices."
    request = next(albums('sealed').user.fetch([0], 'private'))
    place = dict(index=albums(variant).manifest.index)
    refused(albums(variant), rewritten(request, place), 'nothing to be fetched privately')


@asking
def test_too_much_is_refused(variant, albums):
    "Tokens and requests that are too long, before anything is done with them."
    album = albums(variant)
    request = next(album.user.search(album.codes[0]))
    refused(album, rewritten(request, token=np.zeros(4097, np.uint8)), 'bytes of token')
    refused(album, rewritten(request, more=np.zeros(2 ** 22, np.uint8)), 'is the most')
    refused(album, rewritten(next(album.user.fetch([0], 'direct')), more=np.zeros(2 ** 16, np.uint8)), 'is the most')
    longest = rewritten(request, token=np.zeros(4096, np.uint8))
    assert read_message(album.cloud.handle(longest)).arrays['token'].nbytes == 4096


@every
def test_what_is_no_request(variant, albums):
    "Nothing at all, replies, unknown kinds, and bytes cut short or flipped."
    album, rng = albums(variant), np.random.default_rng(1)
    request = next(album.user.fetch([0], 'direct'))
    reply = album.cloud.handle(request)
    for data in (b'', b'TREE', reply, album.greeting, request + b'\0',
                 raw_message('', {}, {}), raw_message('delete', {}, read_message(request).arrays)):
        refused(album, data)
    for _ in range(40):
        wrong = bytearray(request)
        wrong[rng.integers(len(wrong))] ^= 1 << rng.integers(8)
        refused(album, bytes(wrong))
        refused(album, request[:rng.integers(len(request))])
    assert album.cloud.handle(request) == reply


def test_deeply_nested_headers_are_refused_clearly(albums):
    "A header of a hundred thousand brackets gives the package's own error, to users and to the cloud."
    body = save({'a': np.zeros(1, np.uint8)}, {'header': '[' * 100_000})
    data = write_message('x', {})[:5] + hashlib.sha256(body).digest()[:16] + body
    with pytest.raises(FormatError, match='damaged'):
        read_message(data, 'found')
    refused(albums('split'), data)
