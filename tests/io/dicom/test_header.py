"""The header pass against pydicom (the other implementation), and against damaged bytes."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import UID, UID_dictionary

from somascope.core.errors import CorruptFile, NotFound, ReadError, UnsupportedFormat
from somascope.io.dicom import header, header_meta, header_tables, header_window

ZOO = Path(pydicom.data.__file__).parent / "test_files"
REFUSED = {
    "MR_truncated.dcm": "8130 are there",
    "rtplan_truncated.dcm": "711 are there",
    "no_meta.dcm": "no DICOM",
}
FILES = sorted(p.name for p in ZOO.glob("*.dcm"))


def image(**attributes) -> Dataset:
    """A small secondary capture, 4 x 6 pixels of 16 bits."""
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.SOPInstanceUID = "1.2.3.4"
    ds.StudyInstanceUID = "1.2.3"
    ds.SeriesInstanceUID = "1.2.3.1"
    ds.PatientName = "Doe^Jane"
    ds.Modality = "OT"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = 4, 6, 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelData = np.arange(24, dtype="<u2").tobytes()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def part10(ds: Dataset, syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        ds["PixelData"].VR = "OB"
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def pydicom_read(path: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path, force=True)
        ds.decode()
        return ds


@pytest.mark.parametrize("name", FILES)
def test_agrees_with_pydicom(name):
    path = ZOO / name
    if name in REFUSED:
        with pytest.raises((CorruptFile, UnsupportedFormat), match=REFUSED[name]):
            header.scan(path)
        return
    found, peer = header.scan(path), pydicom_read(path)
    assert found == header.scan(path.read_bytes()) == header.scan(memoryview(path.read_bytes()))
    for keyword, value in found.attributes.items():
        other = peer[keyword].value
        if isinstance(value, int):
            assert value == other
        elif keyword in ("SpecificCharacterSet", "ImageType"):
            continue
        elif isinstance(other, (str, pydicom.valuerep.PersonName)) or other is None:
            assert value == str(other or "").strip(), keyword
        else:
            many = other if isinstance(other, pydicom.multival.MultiValue) else [other]
            texts = [getattr(o, "original_string", None) or str(o) for o in many]
            assert [v.strip() for v in value.split("\\")] == [t.strip() for t in texts], keyword
    missing = {k for k, _ in header.INDEX.values() if k in peer} - set(found.attributes)
    assert not missing
    if found.frames and found.frames.inflated:
        return
    if found.frames:
        raw = path.read_bytes()
        mine = [
            b"".join(raw[o : o + n] for o, n in found.frames.ranges(i + 1))
            for i in range(found.frames.count)
        ]
        if found.frames.encapsulated:
            count = int(peer.get("NumberOfFrames", 1) or 1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert mine == list(generate_frames(peer.PixelData, number_of_frames=count))
        else:
            pixels = peer.get("PixelData") or peer.get("FloatPixelData")
            assert pixels.startswith(b"".join(mine))
            assert len(pixels) - sum(map(len, mine)) <= 1 or found.warnings


@pytest.mark.parametrize("piece", [16, 64, 333])
@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "image_dfl.dcm", "MR_small_bigendian.dcm", "nested_priv_SQ.dcm",
             "SC_rgb_rle_2frame.dcm", "rtplan.dcm", "test-SR.dcm", "waveform_ecg.dcm"]
)  # fmt: skip
def test_any_window_size_gives_the_same(name, piece, monkeypatch):
    whole = header.scan((ZOO / name).read_bytes())
    monkeypatch.setattr(header_window, "CHUNK", piece)
    assert header.scan(ZOO / name) == whole


def test_every_truncation_is_refused():
    for raw in (
        part10(image()),
        part10(image(), "1.2.840.10008.1.2"),
        part10(image(), "1.2.840.10008.1.2.1.99"),
        part10(image(PixelData=encapsulate([b"\xff\xd8ab", b"\xff\xd8cd"]), NumberOfFrames=2),
               "1.2.840.10008.1.2.4.50"),
    ):  # fmt: skip
        header.scan(raw)
        pad = header.scan(raw).transfer_syntax.endswith(".99")
        for end in range(len(raw) - pad):  # a deflate stream may be padded to even length
            with pytest.raises(ReadError):
                header.scan(raw[:end])


def test_truncation_of_real_files_is_refused():
    dice = random.Random(3)
    for name in ("CT_small.dcm", "JPEG2000.dcm", "SC_rgb_rle_16bit_2frame.dcm", "image_dfl.dcm"):
        raw = (ZOO / name).read_bytes()
        tail = len(raw) - len(raw.rstrip(b"\0"))
        for end in sorted(dice.sample(range(len(raw) - tail - 1), 60)):
            try:
                found = header.scan(raw[:end])
            except ReadError:
                continue
            # only what comes after complete pixels may be missing
            assert found.frames == header.scan(raw).frames, (name, end)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", CorruptFile),
        (b"hello, this is text\n" * 30, UnsupportedFormat),
        (b"\0" * 4096, UnsupportedFormat),
        (b"\0" * 128 + b"DICM", CorruptFile),
        (b"PK\x03\x04" + b"\0" * 300, UnsupportedFormat),
    ],
)
def test_what_is_no_dicom_is_named(content, error, tmp_path):
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    for source in (content, path):
        with pytest.raises(error, match=r"x.dcm|the instance"):
            header.scan(source)
    with pytest.raises(UnsupportedFormat, match="folder"):
        header.scan(tmp_path)


@pytest.mark.parametrize("claim", [0xFFFFFFFE, 0x7FFFFFFF, 50])
def test_a_length_beyond_the_file_is_refused(claim):
    raw = part10(image())
    at = raw.index(struct.pack("<HH", 0x7FE0, 0x0010))
    with pytest.raises(CorruptFile, match="48 are there"):
        header.scan(raw[: at + 8] + struct.pack("<I", claim) + raw[at + 12 :])


def test_pixels_shorter_than_rows_and_columns_are_refused():
    with pytest.raises(CorruptFile, match="need 96"):
        header.scan(part10(image(NumberOfFrames=2)))
    longer = header.scan(part10(image(PixelData=bytes(60))))
    assert "60 bytes" in longer.warnings[0]


def test_us_sent_as_ul_is_refused():
    raw = part10(image())
    at = raw.index(struct.pack("<HH", 0x28, 0x10))
    bad = raw[: at + 4] + b"UL" + struct.pack("<HI", 4, 70000) + raw[at + 10 :]
    with pytest.raises(CorruptFile, match="Rows has VR UL"):
        header.scan(bad)


@pytest.mark.parametrize("value", ["1.2..3", "../../etc/passwd", "1" * 65, "1.2.a"])
def test_uid_grammar(value):
    raw = part10(image())
    old = struct.pack("<HH2sH", 0x20, 0xD, b"UI", 6) + b"1.2.3\0"
    padded = value.encode() + b"\0" * (len(value) % 2)
    assert old in raw
    new = struct.pack("<HH2sH", 0x20, 0xD, b"UI", len(padded)) + padded
    with pytest.raises(CorruptFile, match="StudyInstanceUID"):
        header.scan(raw.replace(old, new))


def test_deflate_bomb_is_refused_in_bounded_memory():
    bomb = zlib.compressobj(9, wbits=-15)
    ds = image()
    del ds.PixelData
    raw = part10(image(), "1.2.840.10008.1.2.1.99")
    start = header.scan(raw).dataset_offset
    plain = zlib.decompressobj(-15).decompress(raw[start:])
    at = plain.index(struct.pack("<HH", 0x7FE0, 0x0010))
    out = bomb.compress(plain[: at + 8] + struct.pack("<I", 0xF0000000))
    out += b"".join(bomb.compress(bytes(1 << 20)) for _ in range(300)) + bomb.flush()
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(CorruptFile, match="deflate bomb"):
        header.scan(raw[:start] + out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_nesting_is_limited_and_needs_no_recursion():
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    sequence = struct.pack("<HH2sHI", 0x40, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    raw = part10(image(Modality="OT"))
    at = raw.index(struct.pack("<HH", 0x7FE0, 0x0010))
    with pytest.raises(CorruptFile, match="nested"):
        header.scan(raw[:at] + (sequence + item) * 20000)


def test_undefined_lengths_nested_and_as_un():
    inner = Dataset()
    inner.PatientID = "inner"
    inner.ReferencedSOPSequence = Sequence([Dataset(), Dataset()])
    ds = image(PatientID="outer", ReferencedImageSequence=Sequence([inner]))
    ds["ReferencedImageSequence"].is_undefined_length = True
    inner.is_undefined_length_sequence_item = True
    inner["ReferencedSOPSequence"].is_undefined_length = True
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"):
        found = header.scan(part10(ds, syntax))
        assert found.text("PatientID") == "outer"
        assert found.frames is not None
        assert found.frames.ranges(1)[0][1] == 48
    implicit = struct.pack("<HHI", 0x8, 0x1150, 4) + b"1.2\0"
    un = struct.pack("<HH2sHI", 0x9, 0x1010, b"UN", 0, 0xFFFFFFFF)
    un += b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + implicit
    un += b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    raw = part10(image())
    at = raw.index(struct.pack("<HH", 0x10, 0x10))
    assert header.scan(raw[:at] + un + raw[at:]).text("PatientName") == "Doe^Jane"


def test_bare_data_set_as_c_store_brings_it():
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"):
        raw = part10(image(), syntax)
        whole = header.scan(raw)
        bare = header.scan(raw[whole.dataset_offset :], transfer_syntax=syntax)
        assert bare.attributes == whole.attributes
        assert not bare.part10
        assert bare.dataset_offset == 0
        assert header.scan(raw[whole.dataset_offset :]).transfer_syntax == syntax


def test_frames_from_tables_markers_and_bits():
    parts = [b"\xff\xd8" + bytes([i]) * n for i, n in enumerate((10, 21, 7))]
    joined = [encapsulate(parts, fragments_per_frame=2, has_bot=bot) for bot in (True, False)]
    for data in joined:
        raw = part10(image(PixelData=data, NumberOfFrames=3), "1.2.840.10008.1.2.4.50")
        frames = header.scan(raw).frames
        again = header.Frames.unpack(frames.pack())
        for i, part in enumerate(parts):
            pieces = again.ranges(i + 1)
            assert len(pieces) == 2
            assert b"".join(raw[o : o + n] for o, n in pieces).startswith(part)
    data, offsets, lengths = encapsulate_extended([p + b"\0" * (len(p) % 2) for p in parts])
    ds = image(PixelData=data, NumberOfFrames=3, ExtendedOffsetTable=offsets,
               ExtendedOffsetTableLengths=lengths)  # fmt: skip
    raw = part10(ds, "1.2.840.10008.1.2.4.50")
    frames = header.scan(raw).frames
    assert [raw[o : o + 2] for i in (1, 2, 3) for o, n in frames.ranges(i)] == [b"\xff\xd8"] * 3
    with pytest.raises(NotFound, match="frames 1 to 3"):
        frames.ranges(4)

    bits = np.random.default_rng(0).integers(0, 2, (3, 5, 7), dtype=np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    ds = image(Rows=5, Columns=7, BitsAllocated=1, BitsStored=1, HighBit=0, NumberOfFrames=3,
               PixelData=packed + b"\0" * (len(packed) % 2))  # fmt: skip
    raw = part10(ds)
    frames = header.Frames.unpack(header.scan(raw).frames.pack())
    for i in range(3):
        ((o, n),) = frames.ranges(i + 1)
        plane = np.unpackbits(np.frombuffer(raw[o : o + n], np.uint8), bitorder="little")
        assert np.array_equal(plane[frames.shift(i + 1) :][:35], bits[i].ravel())


@pytest.mark.parametrize(
    ("charset", "encoding", "name"),
    [
        ("ISO_IR 100", "latin-1", "Buc^Jérôme"),
        ("ISO_IR 192", "utf-8", "Wang^XiaoDong=王^小東"),
        ("ISO_IR 144", "iso8859_5", "Люкceмбypг"),
        ("GB18030", "gb18030", "Wang^XiaoDong=王^小东="),
        ("", "latin-1", "Müller^Ute"),
    ],
)
def test_character_sets(charset, encoding, name):
    ds = image()
    raw = part10(ds)
    value = name.encode(encoding)
    value += b" " * (len(value) % 2)
    old = struct.pack("<HH2sH", 0x10, 0x10, b"PN", 8) + b"Doe^Jane"
    raw = raw.replace(old, struct.pack("<HH2sH", 0x10, 0x10, b"PN", len(value)) + value)
    if charset:
        term = charset.encode() + b" " * (len(charset) % 2)
        at = raw.index(struct.pack("<HH", 0x8, 0x16))
        raw = raw[:at] + struct.pack("<HH2sH", 8, 5, b"CS", len(term)) + term + raw[at:]
    assert header.scan(raw).text("PatientName") == name


def test_iso_2022_name_of_the_standard():
    """PS3.5 H.3.1: Japanese with escape sequences."""
    value = b"Yamada^Tarou=\033$B;3ED\033(B^\033$BB@O:\033(B=\033$B$d$^$@\033(B^\033$B$?$m$&\033(B"
    raw = part10(image())
    padded = value + b" " * (len(value) % 2)
    old = struct.pack("<HH2sH", 0x10, 0x10, b"PN", 8) + b"Doe^Jane"
    raw = raw.replace(old, struct.pack("<HH2sH", 0x10, 0x10, b"PN", len(padded)) + padded)
    at = raw.index(struct.pack("<HH", 0x8, 0x16))
    raw = raw[:at] + struct.pack("<HH2sH", 8, 5, b"CS", 16) + b"\\ISO 2022 IR 87 " + raw[at:]
    assert header.scan(raw).text("PatientName") == "Yamada^Tarou=山田^太郎=やまだ^たろう"


def test_more_attributes_on_request():
    raw = part10(image(EchoTime="12.5", RepetitionTime="500"))
    more = header.wanted(["EchoTime"])
    assert header.scan(raw, wanted=more).attributes["EchoTime"] == "12.5"
    assert "RepetitionTime" not in header.scan(raw, wanted=more).attributes
    with pytest.raises(KeyError, match="NoSuchThing"):
        header.wanted(["NoSuchThing"])


def test_image_classes_agree_with_the_standards_names():
    odd = {"1.2.840.10008.5.1.4.1.1.481.2"}
    also = ("Segmentation Storage", "Parametric Map", "Thickness Map", "Enhanced US Volume")
    also = (*also, "B-scan Volume")
    for uid, (name, kind, *_) in UID_dictionary.items():
        if kind != "SOP Class" or "Storage" not in name or uid in odd:
            continue
        if not uid.startswith("1.2.840.10008.5.1.4.1.1."):
            continue
        pixels = "Image Storage" in name or any(a in name for a in also)
        assert header_tables.needs_pixels(uid) == (pixels and "Surface" not in name), name


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_files_raise_only_read_errors(data):
    name = data.draw(
        st.sampled_from(["CT_small.dcm", "JPEG2000.dcm", "test-SR.dcm", "image_dfl.dcm"])
    )
    raw = bytearray((ZOO / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, min(len(raw), 6000) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ReadError):
        header.scan(bytes(raw))


def test_metadata_is_the_json_model():
    raw = part10(image(ReferencedImageSequence=Sequence([Dataset()])))
    found = header.metadata(raw, bulk_uri="/x")
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}
    assert found["00280010"] == {"vr": "US", "Value": [4]}
    assert found["7FE00010"] == {"vr": "OW", "BulkDataURI": "/x/7FE00010"}
    assert header.bulk(raw, "7FE00010") == np.arange(24, dtype="<u2").tobytes()
    with pytest.raises(NotFound):
        header.bulk(raw, "00110010")
    start = header.scan(raw).dataset_offset
    bare = header.metadata(raw[start:], transfer_syntax="1.2.840.10008.1.2.1", bulk_uri="/x")
    assert bare == found


def _same(mine, peer, path=""):
    """DICOM JSON objects that say the same; numbers by value, absent and empty alike."""
    for tag in sorted(set(mine) | set(peer)):
        where = f"{path}/{tag}"
        if tag == "FFFCFFFC" or tag.endswith("0000"):
            continue
        assert tag in mine, where
        if tag not in peer:  # pydicom leaves out what it finds invalid
            assert tag in ("300C0002", "00280008"), where
            continue
        a, b = mine[tag], peer[tag]
        if "BulkDataURI" in a:
            assert "BulkDataURI" in b or "InlineBinary" in b or tag.startswith("7FE0"), where
            continue
        assert a["vr"] == b["vr"], where
        left, right = a.get("Value", []), b.get("Value", [])
        if a["vr"] == "SQ":
            assert len(left) == len(right), where
            for i, (x, y) in enumerate(zip(left, right, strict=True)):
                _same(x, y, f"{where}/{i}")
        elif a["vr"] in ("DS", "IS", "FL", "FD"):
            assert [float(v) for v in left if v is not None] == pytest.approx(
                [float(v) for v in right if v is not None]
            ), where
        elif a["vr"] in ("OB", "OW", "UN", "OF", "OD", "OL"):
            assert a.get("InlineBinary", "") == b.get("InlineBinary", ""), where
        elif a["vr"] in ("LT", "ST", "UT"):
            assert [v.strip() for v in left] == [v.strip() for v in right], where
        else:
            left, right = (
                [v.strip() if isinstance(v, str) else v for v in values] for values in (left, right)
            )
            assert [v or None for v in left] == [v or None for v in right], where


@pytest.mark.parametrize("name", sorted(set(FILES) - set(REFUSED)))
def test_metadata_agrees_with_pydicom(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = pydicom.dcmread(ZOO / name, force=True)
        other = peer.to_json_dict(
            bulk_data_threshold=1 << 40, bulk_data_element_handler=str, suppress_invalid_tags=True
        )
    mine = header.metadata(ZOO / name, bulk_uri="/b")
    json.dumps(mine, allow_nan=False)
    _same(mine, other)
    assert header.metadata((ZOO / name).read_bytes(), bulk_uri="/b") == mine


def test_a_delimiter_within_a_fragment_is_no_delimiter():
    """The bytes FFFE E0DD stand in the codestream of this file, in place of Rsiz and Xsiz.

    Its fragment is found whole; what no decoder can decode (OpenJPEG and Pillow neither)
    is the overwritten SIZ, which says 0xDDE00100 columns where the header says 256.
    """
    path = ZOO / "JPEG2000-embedded-sequence-delimiter.dcm"
    found = header.scan(path).frames
    assert found is not None
    ((offset, length),) = found.ranges(1)
    piece = path.read_bytes()[offset : offset + length]
    (theirs,) = generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    assert piece == theirs
    assert (len(piece), piece.count(b"\xfe\xff\xdd\xe0")) == (250, 1)
    assert piece[6:10] == b"\xfe\xff\xdd\xe0"


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "CT_small.dcm", "rtdose.dcm"])
def test_files_are_read_without_pread(name, monkeypatch):
    monkeypatch.setattr(header_window, "CHUNK", 512)
    truth = header.scan(ZOO / name)
    monkeypatch.delattr(header_window.os, "pread")
    assert header.scan(ZOO / name) == truth


def test_metadata_of_what_inflates_to_much_takes_little_memory():
    import tracemalloc

    raw = part10(image())
    start = header.scan(raw).dataset_offset
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, 1 << 18, np.uint8).tobytes()
    long = struct.pack("<HH2sHI", 0x0043, 0x1010, b"OB", 0, 96 << 20)
    body = raw[start : raw.index(struct.pack("<HH", 0x7FE0, 0x10))] + long
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(body) + b"".join(
        packer.compress(noise + bytes((1 << 20) - len(noise))) for _ in range(96)
    )
    packed += packer.compress(raw[raw.index(struct.pack("<HH", 0x7FE0, 0x10)) :]) + packer.flush()
    deflated = header_meta.wrap(
        sop_class="1.2.840.10008.5.1.4.1.1.4", sop_uid="1.2.3",
        transfer_syntax="1.2.840.10008.1.2.1.99",
    ) + packed  # fmt: skip
    tracemalloc.start()
    try:
        found = header.metadata(deflated, bulk_uri="/x")
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()
    assert found["00431010"] == {"vr": "OB", "BulkDataURI": "/x/00431010"}
    assert found["7FE00010"]["BulkDataURI"] == "/x/7FE00010"
    assert found["00280010"]["Value"] == [4]
