"Boxes: what was sealed is opened, in its own place, and nothing else is; nonces never repeat."
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tree_privacy.core import InputError, SealError
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.crypto.sealing import Sealer, step_size


def few(examples):
    return settings(deadline=None, max_examples=examples)


places = st.sampled_from(['record', 'photo', 'token']), st.integers(0, 2 ** 40), st.integers(1, 10 ** 6)


@few(60)
@given(st.binary(max_size=200), st.integers(0, 300), *places)
def test_seals_come_back(data, size, kind, number, version):
    "What was sealed is opened, whatever the padding; boxes of one size class are equally long."
    sealer = Sealer(OwnerKey.generate(), '00' * 8)
    if size and len(data) > size:
        with pytest.raises(InputError, match=f'wanted {size} or fewer'):
            sealer.seal(kind, number, version, data, size)
    else:
        box = sealer.seal(kind, number, version, data, size)
        assert sealer.open(kind, number, version, box) == data and len(box) == max(size, len(data)) + 36
        assert sealer.open(kind, number, version, np.frombuffer(box, np.uint8)) == data
        assert box != sealer.seal(kind, number, version, data, size)


@few(60)
@given(st.binary(min_size=1, max_size=40), st.data())
def test_any_flipped_bit_is_refused(data, draw):
    "A box with one bit changed, cut, moved to another place or opened with another key is not opened."
    key = OwnerKey.generate()
    sealer = Sealer(key, '00' * 8)
    box = sealer.seal('record', 7, 3, data, 64)
    at, bit = draw.draw(st.integers(0, len(box) - 1)), draw.draw(st.integers(0, 7))
    for wrong in (box[:at] + bytes([box[at] ^ 1 << bit]) + box[at + 1:], box[:at], box + b'\0'):
        with pytest.raises(SealError):
            sealer.open('record', 7, 3, wrong)
    for place in (('photo', 7, 3), ('record', 8, 3), ('record', 7, 4), ('record', '7', 3)):
        with pytest.raises(SealError):
            sealer.open(*place, box)
    for other in (Sealer(OwnerKey.generate(), '00' * 8), Sealer(key, '01' * 8)):
        with pytest.raises(SealError):
            other.open('record', 7, 3, box)


def test_every_bit_of_a_box_counts():
    "All single-bit changes of one box are found, with one and the same error."
    sealer, said = Sealer(OwnerKey.generate(), '00' * 8), set()
    box = sealer.seal('record', 1, 1, b'a name', 16)
    for i in range(8 * len(box)):
        wrong = bytearray(box)
        wrong[i // 8] ^= 1 << i % 8
        with pytest.raises(SealError) as caught:
            sealer.open('record', 1, 1, bytes(wrong))
        said.add(str(caught.value))
    for wrong in (b'', b'x', box[:12], box[:20], bytes(len(box))):
        with pytest.raises(SealError) as caught:
            sealer.open('record', 1, 1, wrong)
        said.add(str(caught.value))
    assert len(said) == 1


def test_nonces_never_repeat():
    "Thousands of boxes, by two sealers of one key and one place: all nonces and all contents differ."
    key = OwnerKey.generate()
    sealers = Sealer(key, '00' * 8), Sealer(key, '00' * 8), Sealer(key.grant(), '01' * 8)
    boxes = [sealer.seal('record', 1, 1, b'the same', 16) for sealer in sealers for _ in range(3000)]
    assert len({box[:12] for box in boxes}) == len({box[12:] for box in boxes}) == 9000


def test_a_user_opens_what_the_owner_sealed_and_the_reverse():
    key = OwnerKey.generate()
    owner, user = Sealer(key, 'ab' * 8), Sealer(key.grant(), 'ab' * 8)
    assert user.open('photo', 1, 2, owner.seal('photo', 1, 2, b'cat')) == b'cat'
    assert owner.open('token', 'x', 2, user.seal('token', 'x', 2, b'question')) == b'question'


@few(200)
@given(st.integers(1, 2 ** 40))
def test_steps(n):
    "A size class holds its data; eight steps a doubling waste at most an eighth."
    assert n <= step_size(n) <= n * 9 / 8 and step_size(step_size(n)) == step_size(n)


def test_eight_steps_a_doubling():
    assert len({step_size(n) for n in range(1025, 2049)}) == 8
