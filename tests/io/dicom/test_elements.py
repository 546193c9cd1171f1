"""The lazy data set finds what pydicom finds, and says what is damaged."""

from __future__ import annotations

import struct
import warnings

import pydicom
import pytest

from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.io.dicom.attributes import ATTRIBUTES
from somascope.io.dicom.elements import PIXELS
from somascope.io.dicom.opening import parse


def test_tags_numbers_and_items_are_pydicoms(pydicom_files):
    compared = numbers = 0
    for path in sorted(p for p in pydicom_files.rglob("*") if p.is_file()):
        try:
            elements, *_ = parse(path)
        except ReadError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        theirs = {int(t) for t in dataset.keys()}  # noqa: SIM118 - elements stay unread
        assert {t for t in elements if t not in PIXELS} == {t for t in theirs if t < min(PIXELS)}, (
            path
        )
        compared += 1
        if "DICOMDIR" in path.name:
            continue
        for keyword, (tag, vr) in ATTRIBUTES.items():
            if tag not in dataset or tag >= min(PIXELS):
                continue
            if vr == "SQ":
                assert len(elements.items(keyword)) == len(dataset[tag].value), (path, keyword)
            elif vr in ("DS", "US", "FD", "FL") and "Palette" not in keyword:
                value = dataset[tag].value
                if value is None or isinstance(value, bytes) or keyword.startswith("PixelPadding"):
                    continue
                many = list(value) if dataset[tag].VM > 1 else [value]
                assert elements.numbers(keyword) == pytest.approx([float(v) for v in many])
                numbers += 1
    assert compared > 100
    assert numbers > 800


def test_a_header_longer_than_the_first_read(dicom, tmp_path):
    import numpy as np

    big = "x" * 60000
    data = dicom(
        np.arange(12, dtype=np.uint16).reshape(3, 4),
        tag_00091010=("UT", big),
        tag_00090010=("LO", "A"),
    )
    path = tmp_path / "big.dcm"
    path.write_bytes(data)
    elements, *_ = parse(path)
    assert len(elements.text(0x00091010)) == 60000
    assert elements.numbers("Rows") == (3,)


def element(group, number, vr, value, length=None):
    head = struct.pack("<HH2s", group, number, vr)
    size = len(value) if length is None else length
    long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return head + (struct.pack("<HI", 0, size) if long else struct.pack("<H", size)) + value


UID = element(8, 0x16, b"UI", b"1.2.3\0")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (UID + element(9, 0x10, b"OB", b"\0" * 8, length=0xFFFFFFF0), "claims 4294967280 bytes"),
        (UID + element(9, 0x10, b"LO", b"ab", length=900), "claims 900 bytes"),
        (UID + element(9, 0x10, b"SQ", b"", length=0xFFFFFFFF), "does not end"),
        (UID + element(9, 0x10, b"OB", b"", length=0xFFFFFFFF), "has no length"),
        (UID + b"\xfe\xff\x00\xe0\x04\0\0\0abcd", "belongs to no sequence"),
        (UID + b"\x09\x00\x10", "ends inside"),
    ],
)
def test_lengths_that_lie(data, words):
    with pytest.raises(CorruptFile, match=words):
        parse(data)


def test_sequences_without_end_are_not_followed():
    deep = b""
    for _ in range(200):
        deep += element(9, 0x10, b"SQ", b"", length=0xFFFFFFFF) + struct.pack(
            "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
        )
    with pytest.raises(CorruptFile, match="nested"):
        parse(UID + deep)


def test_other_files_are_told():
    with pytest.raises(UnsupportedFormat, match="no DICOM"):
        parse(b"II*\0" + bytes(200))
    with pytest.raises(CorruptFile, match="empty"):
        parse(b"")
