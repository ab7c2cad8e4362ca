"What is BFV's own: layouts of tables, sizes of messages, keys for expanding, and numbers that are none."
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tree_privacy.core import FormatError, InputError, TreePrivacyError
from tree_privacy.crypto.ring import unpack_numbers
from tree_privacy.pir import bfv
from tree_privacy.pir.base import MAX_ROWS
from tree_privacy.pir.bfv import (
    CELL_BYTES,
    LEVELS,
    POLYNOMIAL_BYTES,
    BfvPirClient,
    BfvPirServer,
    TableLayout,
    table_layout,
)

SECRET = b'r' * 32
SETUP = BfvPirClient(SECRET, 1, 1).setup()
KEYS = SETUP['galois_keys']


def few(examples):
    return settings(deadline=None, max_examples=examples)


def a_table(rows, size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, size), np.uint8)


@few(200)
@given(st.integers(1, 10 ** 6), st.integers(1, 10 ** 5))
def test_layouts(rows, size):
    "All rows have a place, cells can be chosen with one request, and no polynomial is spared or left over."
    p = table_layout(rows, size)
    assert p.per_cell * p.cells >= rows > p.per_cell * (p.cells - 1) and p.cells <= 2 ** LEVELS
    assert 2 ** p.levels >= p.cells > (2 ** p.levels) // 2 * (p.levels > 0)
    assert (p.chunks - 1) * CELL_BYTES < p.per_cell * size <= p.chunks * CELL_BYTES


def test_layouts_are_the_cheapest():
    "Compared with every number of rows a cell may have."
    for rows, size in ((5, 10), (300, 20), (600, 900), (1000, 8192), (256, 46_700)):
        all_of_them = [TableLayout(per, -(-rows // per), -(-per * size // CELL_BYTES)) for per in range(1, rows + 1)]
        possible = [p for p in all_of_them if p.cells <= 2 ** LEVELS and per_power(rows, p)]
        assert table_layout(rows, size).cost == min(p.cost for p in possible)


def per_power(rows, layout):
    "Whether a layout has as many rows a cell as some power of two of cells makes necessary."
    return layout.per_cell in {-(-rows // 2 ** levels) for levels in range(LEVELS + 1)}


def test_layouts_that_are_none():
    for rows, size in ((0, 5), (5, 0), (-1, 5), (5, -1), (1.5, 5), (5, '5'), (None, 5), ([], 5), (True, 5)):
        with pytest.raises(InputError, match='wanted whole numbers'):
            table_layout(rows, size)
        with pytest.raises(InputError, match='wanted whole numbers'):
            BfvPirClient(SECRET, rows, size)


def test_sizes_of_messages():
    "They depend on the number of rows and on the table's shape alone; 32 rows are a request of 1.15 MB."
    client = BfvPirClient(SECRET, 600, 900)
    asked = [client.query([row] * m)[0] for row in (0, 599) for m in (1, 3)]
    assert [x['c0'].shape for x in asked] == 2 * [(1, 2, POLYNOMIAL_BYTES), (3, 2, POLYNOMIAL_BYTES)]
    assert all(x['seed'].shape == (32,) and x['c0'].dtype == x['seed'].dtype == np.uint8 for x in asked)
    assert MAX_ROWS * 2 * POLYNOMIAL_BYTES == 1_146_880
    reply = BfvPirServer(SETUP, a_table(600, 900)).answer(asked[1])
    assert reply['cells'].shape == (3, client.layout.chunks, 2, POLYNOMIAL_BYTES)
    assert client.reply_size(3) == reply['cells'].nbytes


def test_the_client_and_the_server_hold_what_they_should():
    "The server has no object that decrypts and no number of the client's key."
    client, server = BfvPirClient(SECRET, 10, 50), BfvPirServer(SETUP, a_table(10, 50))
    assert set(vars(server)) == {'table', 'layout', '_galois_keys', '_kept', '_lock'}
    server.answer(client.query([3])[0])
    held = np.concatenate([block.ravel() for _, _, block in server._kept])
    secret = client._key.values[:2].ravel()
    keys = np.frombuffer(KEYS[len(KEYS) % 8:].tobytes(), '<u8')
    assert not np.isin(secret, held).any() and np.isin(secret, keys).mean() < .001


@pytest.mark.parametrize('how', ['kept', 'made again'])
def test_blocks(how, monkeypatch):
    "More polynomials than a block has, and a table that is too large to be kept: the same rows."
    if how == 'made again':
        monkeypatch.setattr(bfv, '_KEEP', 0)
    monkeypatch.setattr(bfv, '_BLOCK', 2)
    monkeypatch.setattr(bfv, '_GROUP', 2)
    table = a_table(3, 5 * CELL_BYTES + 7)
    client, server = BfvPirClient(SECRET, *table.shape), BfvPirServer(SETUP, table)
    wanted = [2, 0, 1, 1, 2]
    for _ in range(2):
        arrays, state = client.query(wanted)
        assert (client.decrypt(server.answer(arrays), state) == table[wanted]).all()
    assert (server._kept is None) == (how == 'made again')


def test_room_for_noise():
    "In the worst table there is, of numbers near the half of t, and for every byte of ones."
    for value in (127, 128, 255):
        full = np.full((256, CELL_BYTES), value, np.uint8)
        client = BfvPirClient(SECRET, *full.shape)
        arrays, state = client.query([77])
        reply = BfvPirServer(SETUP, full).answer(arrays)
        assert (client.decrypt(reply, state) == value).all()
        parts = unpack_numbers(reply['cells'], 35)[0, 0][:, None]
        ciphertext = client._key.ring.ciphertext_from(parts, ntt=False, last=True)
        assert client._key._decryptor.invariant_noise_budget(ciphertext) >= 5


def test_numbers_beyond_the_modulus():
    "In a request and in a reply."
    table = a_table(10, 50)
    client, server = BfvPirClient(SECRET, 10, 50), BfvPirServer(SETUP, table)
    arrays, state = client.query([3, 4])
    with pytest.raises(FormatError, match='no ciphertext'):
        server.answer(dict(arrays, c0=np.full_like(arrays['c0'], 255)))
    reply = server.answer(arrays)['cells']
    with pytest.raises(FormatError, match='no ciphertext'):
        client.decrypt(dict(cells=np.full_like(reply, 255)), state)
    zeros = client.decrypt(dict(cells=np.zeros_like(reply)), state)
    assert (zeros == 0).all()  # nothing says that rows are true: that is what seals are for


def test_too_many_rows_are_refused_before_any_work(monkeypatch):
    "Before a single number is unpacked."
    server = BfvPirServer(SETUP, a_table(10, 50))
    monkeypatch.setattr(bfv, 'unpack_numbers', None)
    monkeypatch.setattr(bfv, '_expand', None)
    arrays = dict(seed=np.zeros(32, np.uint8), c0=np.zeros((MAX_ROWS + 1, 2, POLYNOMIAL_BYTES), np.uint8))
    with pytest.raises(InputError, match='at most 32'):
        server.answer(arrays)


def test_the_server_does_the_same_for_every_request(monkeypatch):
    "The calls of SEAL, one after the other, do not depend on the row."
    table = a_table(40, 900)
    client, server = BfvPirClient(SECRET, *table.shape), BfvPirServer(SETUP, table)
    assert client.layout.cells > 2
    server.answer(client.query([0])[0])  # the first one brings the table into NTT form

    class Watched:
        def __init__(self):
            self.calls = []

        def __getattr__(self, name):
            self.calls.append(name)
            return getattr(real, name)

    real, seen = bfv._ring().evaluator, []
    for row in (0, 7, 39):
        watched = Watched()
        monkeypatch.setattr(bfv._ring(), 'evaluator', watched)
        asked = client.query([row])[0]
        watched.calls.clear()
        server.answer(asked)
        seen.append(watched.calls)
        monkeypatch.setattr(bfv._ring(), 'evaluator', real)
    assert seen[0] == seen[1] == seen[2] and len(seen[0]) > 10


@few(40)
@given(st.integers(0, 10 ** 9), st.integers(0, 7), st.booleans())
def test_damaged_keys_for_expanding(at, bit, early):
    "One bit anywhere: refused, or the cloud answers as if nothing were wrong, and the row is another or the same."
    wrong = KEYS.copy()
    wrong[at % (300 if early else len(wrong))] ^= 1 << bit
    table = a_table(40, 900)
    client = BfvPirClient(SECRET, 40, 900)
    arrays, state = client.query([3])
    try:
        reply = BfvPirServer(dict(galois_keys=wrong), table).answer(arrays)
    except TreePrivacyError:
        return
    assert client.decrypt(reply, state).shape == (1, 900)


def test_keys_for_something_else_than_expanding():
    "Sound keys, but not those that a request needs: refused when the server is made, not when it is asked."
    keys = np.frombuffer(BfvPirClient(SECRET, 1, 1)._key.galois_keys([3]), np.uint8)
    with pytest.raises(FormatError, match='something else than expanding'):
        BfvPirServer(dict(galois_keys=keys), np.ones((3, 5), np.uint8))


@pytest.mark.parametrize('keys', [
    KEYS[:0], KEYS[:1], KEYS[:100], KEYS[:-1], np.zeros_like(KEYS), np.full(10_000, 255, np.uint8), KEYS[::-1].copy(),
    np.zeros(0, np.float64), KEYS.astype(np.int16), KEYS[None], None, b'bytes'])
def test_keys_for_expanding_that_are_none(keys):
    with pytest.raises(FormatError, match='no keys for expanding'):
        BfvPirServer(dict(galois_keys=keys), np.ones((3, 5), np.uint8))
