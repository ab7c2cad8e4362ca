"Every scheme for private retrieval keeps the promise of `pir.base`: the rows come back, and the rest is refused."
import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tree_privacy.core import InputError, TreePrivacyError
from tree_privacy.pir.base import MAX_ROWS, PIR, PirClient, PirServer, check_count, pir_client, pir_server

every = pytest.mark.parametrize('scheme', PIR)
SECRET, OTHER = b'r' * 32, b's' * 32
seeds = st.integers(0, 2 ** 32 - 1)
# sizes at which a polynomial of a scheme may be just full
sizes = st.one_of(st.integers(1, 300), st.sampled_from([1, 2, 4096, 8191, 8192, 8193, 24_576]))


def few(examples):
    return settings(deadline=None, max_examples=examples)


@dataclass
class Halves:
    "Both halves of a scheme; the server's setup is made once."
    scheme: str
    setup: dict = field(default_factory=dict)

    def client(self, table, secret=SECRET):
        return pir_client(self.scheme)(secret, *table.shape)

    def server(self, table):
        if not self.setup:
            self.setup.update(self.client(np.zeros((1, 1), np.uint8)).setup())
        return pir_server(self.scheme)(self.setup, table)


HALVES = {scheme: Halves(scheme) for scheme in PIR}


def carried(arrays):
    "Named arrays as a message carries them: copies, read-only."
    assert all(isinstance(a, np.ndarray) and a.dtype != object for a in arrays.values())
    copies = {name: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) for name, a in arrays.items()}
    return copies


def fetched(halves, table, wanted):
    "The rows, with everything between the halves taken through bytes."
    client = halves.client(table)
    arrays, state = client.query(wanted)
    reply = halves.server(table).answer(carried(arrays))
    return client.decrypt(carried(reply), json.loads(json.dumps(state)))


@every
def test_classes(scheme):
    assert issubclass(pir_client(scheme), PirClient) and issubclass(pir_server(scheme), PirServer)


@every
@few(25)
@given(st.integers(1, 700), sizes, st.integers(1, 3), seeds, st.booleans())
def test_rows_come_back(scheme, rows, size, m, seed, full):
    "Any table, any rows, the same one twice included: exactly those bytes; another key gives others."
    rng = np.random.default_rng(seed)
    rows = min(rows, 1 + 2 ** 20 // size)
    table = np.full((rows, size), 255, np.uint8) if full else rng.integers(0, 256, (rows, size), np.uint8)
    halves, wanted = HALVES[scheme], rng.integers(0, rows, m).tolist()
    client = halves.client(table)
    arrays, state = client.query(wanted)
    reply = halves.server(table).answer(arrays)
    found = client.decrypt(reply, state)
    assert found.dtype == np.uint8 and (found == table[wanted]).all()
    assert client.reply_size(m) == sum(a.nbytes for a in reply.values())
    if size >= 16:
        assert (halves.client(table, OTHER).decrypt(reply, state) != table[wanted]).any()


@every
@pytest.mark.parametrize('rows, size, first', [
    (1, 1, 0), (3, 10, 0), (300, 20, 0), (600, 900, 0), (1, 24_576, 8192), (4, 5000, 3000), (1, 8193, 8192)])
def test_rows_of_zeros(scheme, rows, size, first):
    "Tables that hold nothing but zeros, or nothing else from some column on, are tables as well."
    table = np.zeros((rows, size), np.uint8)
    table[:, :first] = 7
    assert (fetched(HALVES[scheme], table, [rows - 1]) == table[-1:]).all()


@every
def test_everything_goes_through_bytes(scheme):
    "Setup, question, answer and state are arrays and JSON; a client that was made again reads the answer."
    table = np.random.default_rng(0).integers(0, 256, (200, 30), np.uint8)
    halves = HALVES[scheme]
    assert (fetched(halves, table, [0, 199, 0]) == table[[0, 199, 0]]).all()
    arrays, state = halves.client(table).query([5])
    setup = carried(halves.client(np.zeros((1, 1), np.uint8)).setup())
    reply = pir_server(scheme)(setup, table).answer(arrays)
    assert (halves.client(table).decrypt(reply, state) == table[[5]]).all()


@every
def test_a_table_that_is_no_array(scheme):
    "Its shape, its type and slices are enough: a file that is mapped, or rows put together when wanted."
    table = np.random.default_rng(1).integers(0, 256, (300, 40), np.uint8)

    class Rows:
        shape, dtype = table.shape, table.dtype

        def __len__(self):
            return len(table)

        def __getitem__(self, some):
            assert isinstance(some, slice)
            return table[some]

    halves = HALVES[scheme]
    arrays, state = halves.client(table).query([299, 7])
    assert (halves.client(table).decrypt(halves.server(Rows()).answer(arrays), state) == table[[299, 7]]).all()


@every
def test_nothing_repeats(scheme):
    "Equal questions share no array of any length; sizes are those of every other question of as many rows."
    table = np.zeros((200, 30), np.uint8)
    client = HALVES[scheme].client(table)
    asked = [client.query([7, 7])[0] for _ in range(20)] + [client.query([199, 0])[0]]
    assert len({json.dumps({name: a.shape for name, a in x.items()}) for x in asked}) == 1
    for name in asked[0]:
        assert len({x[name].tobytes() for x in asked}) == 21
        rows = [row.tobytes() for x in asked for row in x[name]] if asked[0][name].ndim > 1 else []
        assert len(set(rows)) == len(rows)


@every
def test_an_old_answer_does_not_fit_a_new_question(scheme):
    "Sent again, it is noise: so a cloud learns nothing from whether the user is content."
    table = np.random.default_rng(2).integers(0, 256, (200, 30), np.uint8)
    halves = HALVES[scheme]
    client, server = halves.client(table), halves.server(table)
    old, _ = client.query([5])
    new, state = client.query([5])
    assert (client.decrypt(server.answer(new), state) == table[[5]]).all()
    assert (client.decrypt(server.answer(old), state) != table[[5]]).mean() > .5


@every
@few(10)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), seeds)
def test_one_question_after_the_other(scheme, wanted, seed):
    "A server that has answered answers again; each answer is read with its own state, in any order."
    table = np.random.default_rng(seed).integers(0, 256, (5, 12), np.uint8)
    halves = HALVES[scheme]
    client, server = halves.client(table), halves.server(table)
    questions = [client.query([row]) for row in wanted]
    answers = [(row, server.answer(arrays), state) for row, (arrays, state) in zip(wanted, questions, strict=True)]
    for row, reply, state in reversed(answers):
        assert (client.decrypt(reply, state) == table[[row]]).all()


@every
def test_many_threads(scheme):
    "Four questions at once, the first ones that this server gets."
    from concurrent.futures import ThreadPoolExecutor
    table = np.random.default_rng(3).integers(0, 256, (300, 400), np.uint8)
    halves = HALVES[scheme]
    client, server = halves.client(table), halves.server(table)
    questions = [client.query([row]) for row in (1, 2, 3, 299)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda question: server.answer(question[0]), questions))
    found = [client.decrypt(reply, state)[0] for reply, (_, state) in zip(answers, questions, strict=True)]
    assert (np.array(found) == table[[1, 2, 3, 299]]).all()


@every
@pytest.mark.parametrize('wanted', [[], [-1], [10], [0, 10], [2 ** 62], [float('nan')], [1.], ['1'], [None], [True]])
def test_rows_out_of_range(scheme, wanted):
    with pytest.raises(InputError, match='wanted one or more of 0 to 9'):
        HALVES[scheme].client(np.zeros((10, 20), np.uint8)).query(wanted)


@every
def test_the_number_of_rows_is_limited(scheme):
    "As many as are allowed come back; one more is refused by the client, and by the server before it works."
    table = np.random.default_rng(4).integers(0, 256, (40, 3), np.uint8)
    halves, wanted = HALVES[scheme], list(range(MAX_ROWS))
    assert MAX_ROWS == 32 and (fetched(halves, table, wanted) == table[:MAX_ROWS]).all()
    client = halves.client(table)
    with pytest.raises(InputError, match='at most 32'):
        client.query([0] * (MAX_ROWS + 1))
    one, _ = client.query([0] * MAX_ROWS)
    more = {name: np.concatenate([a, a[:1]]) if a.ndim > 1 and len(a) == MAX_ROWS else a for name, a in one.items()}
    assert any(len(more[name]) > len(one[name]) for name in one)
    with pytest.raises(InputError, match='at most 32'):
        halves.server(table).answer(more)
    with pytest.raises(InputError, match='several requests'):
        check_count(33)


@every
@pytest.mark.parametrize('table', [
    np.zeros((0, 5), np.uint8), np.zeros((5, 0), np.uint8), np.zeros(5, np.uint8), np.zeros((5, 5)),
    np.zeros((5, 5), np.int8), np.zeros((1, 5, 5), np.uint8)])
def test_tables_that_are_none(scheme, table):
    with pytest.raises(InputError, match='wanted'):
        HALVES[scheme].server(table)


def misshapen(arrays):
    "Arrays like these that are none: other shapes and types, and each one left out."
    for name, a in arrays.items():
        yield {n: x for n, x in arrays.items() if n != name}
        other_types = [a.astype(kind) for kind in (np.int16, bool, float)]
        for wrong in (a[:-1], a[..., :-1], a[None], a[0], *other_types, np.zeros(0, np.uint8), a[:0]):
            yield arrays | {name: wrong}


@every
def test_misshapen_questions(scheme):
    "Refused by the package's own error; a question of fewer rows is a question."
    table = np.random.default_rng(5).integers(0, 256, (10, 50), np.uint8)
    halves = HALVES[scheme]
    arrays, _ = halves.client(table).query([3])
    server = halves.server(table)
    for wrong in misshapen(arrays):
        with pytest.raises(TreePrivacyError):
            server.answer(wrong)


@every
def test_misshapen_answers(scheme):
    table = np.random.default_rng(6).integers(0, 256, (10, 50), np.uint8)
    halves = HALVES[scheme]
    client = halves.client(table)
    arrays, state = client.query([3, 4])
    reply = halves.server(table).answer(arrays)
    assert (client.decrypt(reply, state) == table[[3, 4]]).all()
    for wrong in misshapen(reply):
        with pytest.raises(TreePrivacyError):
            client.decrypt(wrong, state)


@every
def test_misshapen_setups(scheme):
    "What the server is made with may be damaged, too."
    setup = HALVES[scheme].client(np.zeros((1, 1), np.uint8)).setup()
    for wrong in misshapen(setup):
        with pytest.raises(TreePrivacyError):
            pir_server(scheme)(wrong, np.ones((3, 5), np.uint8))


def test_schemes_that_there_are_not():
    for name in ('', 'BFV', 'none', 'tree_privacy.pir.bfv'):
        for half in (pir_client, pir_server):
            with pytest.raises(InputError, match='wanted one of bfv'):
                half(name)
