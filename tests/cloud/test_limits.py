"Limits: what is too large is refused before an array is made."
import numpy as np
import pytest
from contract.lock_variants import crowded
from parties import index_of, rewritten

import tree_privacy.cloud.service as service_module
from tree_privacy.cloud.limits import KINDS, LIMITS, Limits, check_limits
from tree_privacy.core import FormatError, InputError
from tree_privacy.wire import read_message, write_message


def request(kind='search', header=None, **arrays):
    return write_message(kind, dict(index='00' * 8, version=1) | (header or {}),
                         dict(token=np.zeros(16, np.uint8)) | arrays)


def rows(m):
    return dict(seed=np.zeros(32, np.uint8), c0=np.zeros((m, 2, 17920), np.uint8))


TOO_MUCH = {
    'a search of more than 4 MiB': (request(x=np.zeros(2 ** 22, np.uint8)), 'bytes, and 4,194,304 is the most'),
    'a private fetch of more than 1.25 MiB': (request('rows', **rows(32), x=np.zeros(2 ** 18, np.uint8)), '1,310,720'),
    'a long request for a file': (request('file', dict(name='x' * 2 ** 14)), '16,384 is the most'),
    'a long greeting': (request('describe', dict(files=['x' * 2 ** 12])), '4,096 is the most'),
    'a long token': (request(token=np.zeros(4097, np.uint8)), '4,097 bytes of token, and 4,096 is the most'),
    'a long token of numbers': (request(token=np.zeros(513, np.float64)), '4,104 bytes of token'),
    'many ids': (request('fetch', ids=np.zeros(1001, np.int64)), '1,001 photographs, and 1,000 is the most'),
    'many ids in a table': (request('fetch', ids=np.zeros((2, 501), np.int64)), '1,002 photographs'),
    'many rows': (request('rows', **rows(33)), '33 rows, and 32 is the most'),
    'many rows of nothing': (request('rows', c0=np.zeros((2 ** 16, 0, 1), np.uint8)), '65,536 rows'),
    'many results': (request(header=dict(k=1001, nodes=3)), 'k is 1001, and 1,000 is the most'),
    'very many results': (request(header=dict(k=2 ** 70, nodes=3)), 'k is 1180591620717411303424'),
    'many nodes': (request(header=dict(k=10, nodes=10 ** 9)), 'nodes is 1000000000, and 1,000 is the most'),
}


@pytest.mark.parametrize('what', TOO_MUCH)
def test_too_much_is_refused_before_anything_is_unpacked(what, monkeypatch, tmp_path):
    "By the limits, and by a cloud, which does not come to reading the arrays."
    data, said = TOO_MUCH[what]
    with pytest.raises(InputError, match=said):
        check_limits(data)
    w = index_of('sealed', tmp_path / 'index', crowded(1, 9, 16))
    monkeypatch.setattr(service_module, 'unpack_message', None)
    with pytest.raises(InputError, match=said):
        w.cloud.handle(data)


def test_the_most_is_allowed():
    "Exactly at each limit."
    for data in (request('rows', **rows(32)), request(token=np.zeros(4096, np.uint8)),
                 request(header=dict(k=1000, nodes=1000)), request('fetch', ids=np.zeros(1000, np.int64)),
                 write_message('describe', dict(files=['encoder']))):
        check_limits(data)


@pytest.mark.parametrize('bits, variant', [(256, 'encrypted'), (256, 'public'), (512, 'split'), (128, 'walk'),
                                           (128, 'decoys')])
def test_what_users_send_is_allowed(bits, variant, tmp_path):
    "The longest codes, the most results and rows that a user asks for."
    codes = crowded(1, 40, bits)
    w = index_of(variant, tmp_path / 'index', codes)
    assert len(w.search(codes[0], 10 ** 6, 30)) >= 1
    assert read_message(w.cloud.handle(w.user.ask(codes[0], 10 ** 6, 30))).kind == 'found'
    if variant != 'split':
        assert len(w.fetch(w.ids[:32], 'private')) == 32
    assert len(w.fetch(w.ids, 'decoys')) == 40


@pytest.mark.parametrize('k', [0, -1, '5', 1.5, None, True, [], float('inf')], ids=repr)
def test_what_is_no_number_is_the_locks_business(k, tmp_path):
    "Limits let it through, and the lock refuses it."
    w = index_of('split', tmp_path / 'index', crowded(1, 9, 16))
    asked = next(w.user.search(np.zeros(2, np.uint8)))
    with pytest.raises((InputError, FormatError)):
        w.cloud.handle(rewritten(asked, dict(k=k)))


def test_there_is_a_limit_for_every_kind():
    assert set(LIMITS.size) == set(KINDS) and isinstance(LIMITS, Limits)
    with pytest.raises(FormatError, match='message'):
        check_limits(request('found'))
    small = Limits(dict.fromkeys(KINDS, 300), 16, 1, 1, 1)
    with pytest.raises(InputError, match='300 is the most'):
        check_limits(request(x=np.zeros(99, np.uint8)), small)
