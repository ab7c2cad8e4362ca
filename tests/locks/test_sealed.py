"Boxes of codes and names: any name of up to the room comes back, and no name changes the length."
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tree_privacy.core import FormatError
from tree_privacy.crypto.keys import OwnerKey
from tree_privacy.crypto.sealing import Sealer
from tree_privacy.locks.sealed import open_codes, seal_codes
from tree_privacy.store.manifest import Collection
from tree_privacy.store.records import name_bytes, name_room
from tree_privacy.wire import pack_arrays

SEALER = Sealer(OwnerKey.generate(), '0' * 16)
names_of_files = st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), max_size=90)


@settings(max_examples=40, deadline=None)
@given(st.lists(names_of_files, min_size=1, max_size=9))
def test_names_come_back(names):
    "Whatever is in them; the box is as long as one of other names of the same room."
    room = name_room(names)
    assert room >= 64 and room & (room - 1) == 0 and max(len(name_bytes(name)) for name in names) <= room
    some = Collection(np.arange(len(names)), np.zeros((len(names), 2), np.uint8), names)
    box = seal_codes(SEALER, 3, 0, some, room)['box']
    assert open_codes(SEALER, 'codes-000003-00000', box).names == names
    others = Collection(some.ids, some.codes, ['a'] * len(names))
    assert len(seal_codes(SEALER, 3, 0, others, room)['box']) == len(box)


def test_boxes_of_an_earlier_version():
    "Compressed names are refused by name, not by a crash."
    names = np.frombuffer(zlib.compress(b'a\0b'), np.uint8)
    old = pack_arrays(dict(ids=np.arange(2), codes=np.zeros((2, 2), np.uint8), names=names))
    box = np.frombuffer(SEALER.seal('codes', 0, 3, old), np.uint8)
    with pytest.raises(FormatError, match='earlier version'):
        open_codes(SEALER, 'codes-000003-00000', box)
