"What every transport promises; a new one is added to `TRANSPORTS`."
import numpy as np
import pytest

from tree_privacy.client.transport import Exchange, Local, Recorded, one_round, run
from tree_privacy.core import FormatError, TransportError
from tree_privacy.wire import read_message, write_message


class Cloud:
    "Answers with the request turned round, and counts requests."
    def __init__(self):
        self.requests = []

    def handle(self, request):
        self.requests.append(request)
        if request == b'break':
            raise TransportError('the cloud broke off: ask again')
        return request[::-1]


TRANSPORTS = {'local': Local, 'recorded': lambda cloud: Recorded(Local(cloud)),
              'recorded twice': lambda cloud: Recorded(Recorded(Local(cloud)))}


@pytest.fixture(params=TRANSPORTS)
def line(request):
    "A cloud and a transport to it."
    cloud = Cloud()
    return cloud, TRANSPORTS[request.param](cloud)


def ask_all(*requests, closed=None):
    "A conversation of several requests; notes when it ends."
    replies = []
    try:
        for request in requests:
            replies.append((yield request))
    finally:
        if closed is not None:
            closed.append(True)
    return replies


def test_bytes_come_back_unchanged(line):
    "Empty, zero bytes, and two megabytes; the cloud sees exactly what was sent."
    cloud, transport = line
    for data in (b'', b'\0\xff', bytes(range(256)) * 8192):
        assert transport.send(data) == data[::-1] and type(transport.send(data)) is bytes
        assert cloud.requests[-1] == data


def test_a_conversation_is_carried_to_its_end(line):
    "Request and reply alternate, and the result is what the conversation returns."
    cloud, transport = line
    assert run(ask_all(b'ab', b'cd'), transport) == [b'ba', b'dc']
    assert cloud.requests == [b'ab', b'cd']


def test_a_conversation_without_requests_sends_nothing(line):
    cloud, transport = line
    assert run(ask_all(), transport) == [] and not cloud.requests


def test_errors_of_the_cloud_end_the_conversation(line):
    "They go through as they are; nothing more is asked, and the conversation is closed."
    cloud, transport = line
    closed = []
    with pytest.raises(TransportError, match='broke off'):
        run(ask_all(b'ab', b'break', b'cd', closed=closed), transport)
    assert cloud.requests == [b'ab', b'break'] and closed == [True]


def test_errors_of_the_conversation_go_through(line):
    "Also one that a loop over a generator could take for its end."
    _, transport = line

    def wrong():
        yield b'x'
        raise FormatError('no')

    with pytest.raises(FormatError, match='no'):
        run(wrong(), transport)

    class Stops:
        def send(self, request):
            raise StopIteration('not the end of the conversation')

    with pytest.raises(StopIteration):
        run(ask_all(b'ab'), Stops())


def test_two_conversations_share_a_transport(line):
    "Their rounds may alternate: the state is in the conversations."
    _, transport = line
    first, second = ask_all(b'1', b'2'), ask_all(b'3', b'4')
    requests = [next(first), next(second)]
    again = [one.send(transport.send(request)) for one, request in zip((first, second), requests, strict=True)]
    assert again == [b'2', b'4']


def test_a_recorder_keeps_what_was_sent():
    recorded = Recorded(Local(Cloud()))
    assert run(ask_all(b'ab', b'c'), recorded) == [b'ba', b'c']
    assert [(x.request, x.reply) for x in recorded.exchanges] == [(b'ab', b'ba'), (b'c', b'c')]
    assert all(type(x) is Exchange and x.seconds >= 0 for x in recorded.exchanges)
    with pytest.raises(TransportError):
        recorded.send(b'break')
    assert len(recorded.exchanges) == 2


class Cheat:
    "Answers a round with changes."
    def __init__(self, kind='found', header=None, **arrays):
        self.kind, self.header, self.arrays = kind, header or {}, arrays

    def handle(self, request):
        asked = read_message(request, 'search')
        arrays = {k: v for k, v in (dict(token=asked.arrays['token']) | self.arrays).items() if v is not None}
        return write_message(self.kind, dict(index='ab') | self.header, arrays)


def one(cloud):
    return run(one_round('search', dict(index='ab'), dict(x=np.arange(2)), 'found'), Local(cloud))


@pytest.mark.parametrize('cheat, said', [
    (Cheat('photos'), 'wanted a found message'), (Cheat(token=None), 'another request'),
    (Cheat(token=np.zeros(16, np.uint8)), 'another request'), (Cheat(token=np.zeros(0)), 'another request'),
    (Cheat(header=dict(index='cd')), 'another index'), (Cheat(header=dict(index=None)), 'another index')])
def test_a_round_refuses_replies_to_something_else(cheat, said):
    with pytest.raises(FormatError, match=said):
        one(cheat)


def test_a_round_has_a_fresh_token_each_time():
    recorded = Recorded(Local(Cheat()))
    for _ in range(50):
        run(one_round('search', dict(index='ab'), {}, 'found'), recorded)
    tokens = {read_message(x.request).arrays['token'].tobytes() for x in recorded.exchanges}
    assert len(tokens) == 50 and {len(token) for token in tokens} == {16}
