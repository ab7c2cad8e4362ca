"Messages and files of arrays: what was written comes back, and nothing else is taken for it."

import hashlib
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load, save

from core.guards import hostile_files, refused_by
from tree_privacy import wire
from tree_privacy.core import FormatError, NotFoundError
from tree_privacy.wire import Message, map_arrays, pack_arrays, peek_message, read_message, unpack_arrays, write_message

KINDS = ('?', 'u1', 'i1', 'u2', 'i2', 'u4', 'i4', 'u8', 'i8', 'f2', 'f4', 'f8')
arrays = st.dictionaries(
    st.text(max_size=5),
    st.sampled_from(KINDS).flatmap(
        lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    max_size=4,
)
headers = st.dictionaries(
    st.text(max_size=5).filter(lambda name: name != 'kind'),
    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()),
    max_size=4,
)
posix = pytest.mark.skipif(not hasattr(os, 'fork'), reason='this test forks')


def few(examples):
    return settings(deadline=None, max_examples=examples)


def file_of(header, data=b''):
    "A file of arrays with any header."
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, 'little') + text + data


def summed(body):
    "A message with a right checksum around any body."
    return b'TREE\x01' + hashlib.sha256(body).digest()[:16] + body


def same(a, b):
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and a[n].tobytes() == b[n].tobytes() for n in a
    )


@few(150)
@given(arrays)
def test_arrays_come_back(some):
    "As copies of their own, aligned and writable; safetensors reads what we write, and we what it writes."
    some = {name: a for name, a in some.items() if name != '__metadata__'}
    data = pack_arrays(some)
    assert same(unpack_arrays(data), some) and same(load(data), some) and same(unpack_arrays(save(some)), some)
    assert all(a.flags.writeable and a.flags.aligned for a in unpack_arrays(data).values())


@few(100)
@given(headers, arrays)
def test_messages_come_back(header, some):
    some = {name: a for name, a in some.items() if name != '__metadata__'}
    data = write_message('search', header, some)
    m = read_message(data, 'search', 'fetch')
    assert isinstance(m, Message) and m.kind == 'search' and m.header == header and same(m.arrays, some)
    kind, again, places = peek_message(data, 'search')
    assert (kind, again) == ('search', header) and {n: (p.dtype, p.shape) for n, p in places.items()} == {
        n: (a.dtype, a.shape) for n, a in some.items()
    }


def test_kinds():
    "A message of another kind is refused; without kinds any is read."
    data = write_message('found', dict(k=3))
    assert read_message(data).kind == 'found'
    with pytest.raises(FormatError, match='this is a found message: wanted a search or fetch message'):
        read_message(data, 'search', 'fetch')


A_MESSAGE = write_message('search', dict(k=10), dict(code=np.arange(8, dtype=np.uint8), many=np.arange(20.0)))


@pytest.mark.parametrize('i', range(0, len(A_MESSAGE), 3))
def test_damage_and_truncation(i):
    "Any changed byte is noticed, and any missing one."
    for wrong in (
        A_MESSAGE[:i] + bytes([A_MESSAGE[i] ^ 1]) + A_MESSAGE[i + 1 :],
        A_MESSAGE[:i],
        A_MESSAGE[:i] + b'\0' + A_MESSAGE[i:],
    ):
        with pytest.raises(FormatError):
            read_message(wrong)


def test_limits_come_first(monkeypatch):
    "A message that is too long is not even hashed."
    monkeypatch.setattr(wire.hashlib, 'sha256', None)
    with pytest.raises(FormatError, match='has 1,000,000 bytes: wanted at most 999,999'):
        read_message(bytes(10**6), limit=999_999)


ENTRY = dict(dtype='U8', shape=[4], data_offsets=[0, 4])
LIES = dict(
    empty_and_huge=dict(a=dict(ENTRY, shape=[0, 2**40], data_offsets=[0, 0])),
    huge_and_empty=dict(a=dict(ENTRY, shape=[2**40, 0], data_offsets=[0, 0])),
    beyond_numpy=dict(a=dict(ENTRY, shape=[0, 2**62, 2**62], data_offsets=[0, 0])),
    many_dimensions=dict(a=dict(ENTRY, shape=[1] * 64 + [4])),
    outside=dict(a=dict(ENTRY, shape=[2**40], data_offsets=[0, 2**40])),
    negative=dict(a=dict(ENTRY, data_offsets=[-4, 0])),
    backwards=dict(a=dict(ENTRY, data_offsets=[4, 0])),
    overlapping=dict(a=ENTRY, b=ENTRY),
    a_hole=dict(a=dict(ENTRY, shape=[3], data_offsets=[1, 4])),
    unused=dict(a=dict(ENTRY, shape=[3], data_offsets=[0, 3])),
    other_size=dict(a=dict(ENTRY, shape=[5])),
    negative_shape=dict(a=dict(ENTRY, shape=[-4])),
    fractions=dict(a=dict(ENTRY, shape=[4.0])),
    truths=dict(a=dict(ENTRY, dtype='U8', shape=[True] * 2 + [4])),
    unknown=dict(a=dict(ENTRY, dtype='O')),
    no_entry=dict(a=3),
    no_shape=dict(a=dict(dtype='U8', data_offsets=[0, 4])),
    three_offsets=dict(a=dict(ENTRY, data_offsets=[0, 2, 4])),
    a_list=[ENTRY],
    a_number=b'3',
    no_json=b'{',
    nested=b'[' * 100_000,
    not_a_number=b'{"a": NaN}',
    no_text=b'\xff\xfe',
    nothing=b'',
)


@pytest.mark.parametrize('name', LIES)
def test_headers_that_lie(name, tmp_path):
    "Whatever a header says, the answer is one error, and no memory is asked for: not even for the shape (0, 2**40)."
    data = file_of(LIES[name], b'1234' if 'empty' not in name and 'beyond' not in name else b'')
    with pytest.raises(FormatError, match='damaged'):
        unpack_arrays(data)
    (tmp_path / 'file').write_bytes(data)
    with pytest.raises(FormatError, match='damaged'):
        map_arrays(tmp_path / 'file')
    with pytest.raises(FormatError, match='damaged'):
        read_message(summed(data))
    assert not tmp_path.joinpath('file').read_bytes() != data


@pytest.mark.parametrize('header', [None, 3, [], {}, dict(k=1), dict(kind=3), dict(kind=None), dict(kind=[])])
def test_messages_without_a_kind(header):
    with pytest.raises(FormatError, match='damaged'):
        read_message(summed(save({}, dict(header=json.dumps(header)))))
    with pytest.raises(FormatError, match='damaged'):
        read_message(summed(save({}, dict(other='x'))))


def test_headers_that_no_json_has():
    "Deeply nested headers, and numbers that are none, give the package's own error."
    for text in ('[' * 100_000, '{"kind": "found", "ms": NaN}', '{"kind": "found", "ms": -Infinity}'):
        with pytest.raises(FormatError, match='damaged'):
            read_message(summed(save({'a': np.zeros(1, np.uint8)}, {'header': text})), 'found')


@few(300)
@given(st.binary(max_size=60), st.integers(0, 200))
def test_any_bytes(data, at):
    "Whatever the bytes are, reading gives arrays or this error."
    good = pack_arrays(dict(code=np.arange(8, dtype=np.uint8), many=np.arange(4.0)), dict(header='{"kind": "x"}'))
    for wrong in (data, good[:at] + data + good[at:], good[:at] + data + good[at + len(data) :]):
        for read in (unpack_arrays, lambda body: read_message(summed(body))):
            try:
                read(wrong)
            except FormatError:
                pass


@few(150)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 2**64) | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3),
    ),
    st.sampled_from(['dtype', 'shape', 'data_offsets', 'whole']),
)
def test_any_entry(value, name):
    "Whatever stands in an entry of the header, reading gives arrays or this error."
    header = dict(a=value if name == 'whole' else ENTRY | {name: value})
    try:
        unpack_arrays(file_of(header, b'1234'))
    except FormatError:
        pass


@posix
@pytest.mark.parametrize('i', range(7))
def test_mapping_what_is_no_file(i, tmp_path):
    path = hostile_files(tmp_path)[i]
    assert refused_by(lambda: map_arrays(path)) == 'FormatError'


def test_mapped_arrays(tmp_path):
    some = dict(
        a=np.arange(5, dtype=np.float64), b=np.arange(6, dtype=np.uint8).reshape(2, 3), c=np.zeros((0, 4), np.int32)
    )
    (tmp_path / 'file').write_bytes(pack_arrays(some))
    mapped = map_arrays(tmp_path / 'file')
    assert same(mapped, some) and not mapped['a'].flags.writeable
    (tmp_path / 'empty').touch()
    with pytest.raises(FormatError, match='is empty'):
        map_arrays(tmp_path / 'empty')
    with pytest.raises(NotFoundError):
        map_arrays(tmp_path / 'none')


def test_small_files_keep_nothing_open(tmp_path):
    "An index that was changed a thousand times has a thousand packs, and a process may have so many files open."
    resource = pytest.importorskip('resource')
    path = tmp_path / 'file'
    path.write_bytes(pack_arrays(dict(a=np.arange(5))))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, before[0]), before[1]))
    try:
        mapped = [map_arrays(path) for _ in range(300)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    path.write_bytes(b'')  # a mapped file that is shortened would end the program
    assert all(same(one, dict(a=np.arange(5))) and not one['a'].flags.writeable for one in mapped)
