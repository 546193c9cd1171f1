import hashlib
import uuid

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from somascope.io.dicom import uid


@given(st.lists(st.text(max_size=20), max_size=4))
def test_derived_uids_are_valid_and_repeat(parts):
    made = uid.derive(*parts)
    assert made == uid.derive(*parts)
    assert UID(made).is_valid
    assert uid.is_valid(made)
    number = uuid.UUID(int=int(made.removeprefix("2.25.")))
    assert number.version == 8
    assert number.variant == uuid.RFC_4122


def test_derived_uid_is_the_digest():
    raw = hashlib.sha256((3).to_bytes(8, "big") + b"abc").digest()[:16]
    number = int.from_bytes(raw, "big")
    mask = (0xF << 76) | (0b11 << 62)
    assert int(uid.derive("abc").split(".")[-1]) & ~mask == number & ~mask


def test_parts_are_told_apart():
    assert uid.derive("ab", "c") != uid.derive("a", "bc")


def test_digest_depends_on_values_shape_and_type():
    a = np.arange(6, dtype=np.int16)
    assert uid.digest(a.reshape(2, 3)) != uid.digest(a.reshape(3, 2))
    assert uid.digest(a) != uid.digest(a.astype(np.uint16))
    b = np.arange(24).reshape(2, 3, 4)
    assert uid.digest(b[:, :, ::-1]) == uid.digest(np.ascontiguousarray(b[:, :, ::-1]))


def test_grammar():
    assert uid.is_valid("1.2.840.10008.1.2")
    for bad in ("", "1.02", "1..2", "1.2.", "a.b", "1." + "2" * 63, "1", "1.2\0"):
        assert not uid.is_valid(bad), bad
    assert uid.is_valid(uid.IMPLEMENTATION)
