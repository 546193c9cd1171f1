"""Frames come out as they went in: against pydicom, and against arrays we encode ourselves."""

from __future__ import annotations

import struct
import warnings
import zlib

import imagecodecs
import numpy as np
import pydicom
import pytest

from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.io.dicom import pixels
from somascope.io.dicom.overlay import overlays

BASE = "1.2.840.10008.1.2"
RNG = np.random.default_rng(3)
SMOOTH = (np.add.outer(np.arange(33), np.arange(47)) * 11 + RNG.integers(0, 9, (33, 47))).astype(
    np.uint16
)
COLOUR = np.stack([SMOOTH >> 3, SMOOTH.T.reshape(33, 47) >> 4, 200 - (SMOOTH >> 3)], -1).astype(
    np.uint8
)


def rle(frame):
    """Annex G with the plainest packets there are: literal runs."""
    planes = frame.reshape(*frame.shape[:2], -1)
    segments = []
    for s in range(planes.shape[-1]):
        data = np.ascontiguousarray(planes[..., s].astype(planes.dtype.newbyteorder(">")))
        every = data.view(np.uint8).reshape(-1, planes.dtype.itemsize)
        for byte in range(planes.dtype.itemsize):
            raw, packed = every[:, byte].tobytes(), b""
            for i in range(0, len(raw), 128):
                packed += bytes([len(raw[i : i + 128]) - 1]) + raw[i : i + 128]
            segments.append(packed + b"\x80" * (len(packed) % 2))
    at, offsets = 64, []
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(offsets))) + b"".join(
        segments
    )


@pytest.mark.parametrize("syntax", [BASE, BASE + ".1", BASE + ".2", BASE + ".1.99"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_native(dicom, syntax, kind):
    truth = RNG.integers(np.iinfo(kind).min, np.iinfo(kind).max, (3, 5, 7)).astype(kind)
    if syntax == BASE + ".2" and truth.dtype.itemsize == 1:
        syntax = BASE + ".1"  # 8 bits in big endian words are tested on pydicom's file
    data = dicom(truth, syntax=syntax)
    np.testing.assert_array_equal(np.stack(list(pixels.frames(data))), truth)
    np.testing.assert_array_equal(pixels.frame(data, 2), truth[1])
    assert pixels.frame(data).dtype.isnative


def test_native_frames_are_views(dicom):
    data = dicom(SMOOTH)
    frame = pixels.frame(data)
    assert not frame.flags.owndata
    assert not frame.flags.writeable


CODECS = {
    "4.57": imagecodecs.ljpeg_encode,
    "4.70": imagecodecs.ljpeg_encode,
    "4.80": imagecodecs.jpegls_encode,
    "4.81": lambda a: imagecodecs.jpegls_encode(a, level=0),
    "4.90": lambda a: imagecodecs.jpeg2k_encode(a, level=0, codecformat="j2k", reversible=True),
    "4.91": lambda a: imagecodecs.jpeg2k_encode(a, level=0, codecformat="jp2", reversible=True),
    "4.201": lambda a: imagecodecs.htj2k_encode(a, reversible=True),
    "4.202": lambda a: imagecodecs.htj2k_encode(a, reversible=True),
    "4.203": lambda a: imagecodecs.htj2k_encode(a, reversible=True),
    "4.110": lambda a: imagecodecs.jpegxl_encode(a, lossless=True),
    "4.112": lambda a: imagecodecs.jpegxl_encode(a, lossless=True),
    "5": rle,
}


@pytest.mark.parametrize("syntax", CODECS)
@pytest.mark.parametrize("signed", [False, True])
def test_compressed_without_loss(dicom, syntax, signed):
    truth = SMOOTH.astype(np.int16) - 300 if signed else SMOOTH
    coded = SMOOTH if not signed else truth.view(np.uint16)
    encode = CODECS[syntax]
    frames = [encode(np.ascontiguousarray(coded)), encode(np.ascontiguousarray(coded[::-1]))]
    data = dicom(np.stack([truth, truth[::-1]]), syntax=f"{BASE}.{syntax}", frames=frames)
    np.testing.assert_array_equal(pixels.frame(data, 1), truth)
    np.testing.assert_array_equal(pixels.frame(data, 2), truth[::-1])
    instance = pixels.open_instance(data)
    again = pixels.decode_frame(instance.data(2), instance, instance.transfer_syntax)
    np.testing.assert_array_equal(again, truth[::-1])


@pytest.mark.parametrize("syntax", ["4.80", "4.90", "4.201", "4.110", "5"])
def test_compressed_colour(dicom, syntax):
    photometric = "YBR_RCT" if syntax in ("4.90", "4.201") else "RGB"
    data = dicom(
        COLOUR,
        syntax=f"{BASE}.{syntax}",
        frames=[CODECS[syntax](COLOUR)],
        PhotometricInterpretation=photometric,
    )
    np.testing.assert_array_equal(pixels.frame(data), COLOUR)


@pytest.mark.parametrize("syntax", ["4.90", "4.201"])
def test_jpeg_2000_of_ybr_with_and_without_its_own_transform(dicom, syntax):
    """The codestream says whether it transformed; Photometric Interpretation may be mistaken."""
    smooth = np.stack([np.add.outer(np.arange(32), np.arange(48)) * k % 200 for k in (1, 2, 3)], -1)
    truth = (smooth + 20).astype(np.uint8)
    if syntax == "4.90":
        plain = imagecodecs.jpeg2k_encode(
            truth, level=0, codecformat="j2k", reversible=True, mct=False
        )
        mixed = imagecodecs.jpeg2k_encode(
            truth, level=0, codecformat="j2k", reversible=True, mct=True
        )
    else:
        plain = imagecodecs.htj2k_encode(truth, reversible=True, rgb=False)
        mixed = imagecodecs.htj2k_encode(truth, reversible=True, rgb=True)
    facts = {"syntax": f"{BASE}.{syntax}", "PhotometricInterpretation": "YBR_FULL"}
    np.testing.assert_array_equal(pixels.frame(dicom(truth, frames=[mixed], **facts)), truth)
    converted = pixels.frame(dicom(truth, frames=[plain], **facts)).astype(int)
    y, cb, cr = (truth[..., k].astype(float) for k in range(3))
    red = np.clip(np.rint(y + 1.402 * (cr - 128)), 0, 255)
    blue = np.clip(np.rint(y + 1.772 * (cb - 128)), 0, 255)
    assert np.abs(converted[..., 0] - red).max() <= 1
    assert np.abs(converted[..., 2] - blue).max() <= 1


def test_jpeg_extended_of_12_bits(dicom):
    truth = (SMOOTH * 3).clip(0, 4095)
    coded = imagecodecs.jpeg8_encode(truth, level=100, bitspersample=12)
    frame = pixels.frame(
        dicom(truth, syntax=BASE + ".4.51", frames=[coded], BitsStored=12, HighBit=11)
    )
    assert frame.dtype == np.uint16
    assert np.abs(frame.astype(int) - truth).max() <= 4


def test_jpeg_baseline_colour_becomes_rgb(dicom):
    smooth = np.stack([np.add.outer(np.arange(32), np.arange(48)) * k % 250 for k in (1, 2, 3)], -1)
    truth = (smooth // 25 * 8 + 20).astype(np.uint8)
    coded = imagecodecs.jpeg8_encode(
        truth, level=100, colorspace="RGB", outcolorspace="YCBCR", subsampling="444"
    )
    data = dicom(truth, syntax=BASE + ".4.50", frames=[coded], PhotometricInterpretation="YBR_FULL")
    assert np.abs(pixels.frame(data).astype(int) - truth).max() <= 6


def test_fragments_of_one_frame_without_offset_table(dicom):
    coded = CODECS["4.80"](SMOOTH)
    coded += b"\0" * (len(coded) % 2)
    third = len(coded) // 3 & ~1
    whole = dicom(SMOOTH, syntax=BASE + ".4.80", frames=[coded])
    head = whole[: whole.rindex(coded) - 8]
    head = head[: head.rindex(b"\xfe\xff\x00\xe0")] + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    parts = [coded[:third], coded[third : 2 * third], coded[2 * third :]]
    items = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(p)) + p for p in parts)
    split = head + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    np.testing.assert_array_equal(pixels.frame(split), SMOOTH)


@pytest.mark.parametrize("signed", [0, 1])
def test_unused_bits_are_removed_and_the_sign_extended(dicom, signed):
    truth = RNG.integers(-2048 if signed else 0, 2047 if signed else 4095, (6, 8))
    rubbish = RNG.integers(0, 16, (6, 8)) << 12
    stored = (truth & 0xFFF | rubbish).astype(np.uint16)
    data = dicom(stored, BitsStored=12, HighBit=11, PixelRepresentation=signed)
    np.testing.assert_array_equal(pixels.frame(data), truth)
    upper = ((truth & 0xFFF) << 4 | rubbish >> 12).astype(np.uint16)
    data = dicom(upper, BitsStored=12, HighBit=15, PixelRepresentation=signed)
    np.testing.assert_array_equal(pixels.frame(data), truth)


def test_one_bit_frames_need_not_begin_on_a_byte(dicom):
    truth = RNG.integers(0, 2, (3, 5, 7)).astype(np.uint8)
    packed = np.packbits(truth.ravel(), bitorder="little").tobytes()
    packed += b"\0" * (len(packed) % 2)
    data = dicom(truth, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed)
    np.testing.assert_array_equal(np.stack(list(pixels.frames(data))), truth)
    instance = pixels.open_instance(data)
    again = pixels.decode_frame(instance.data(3), instance, instance.transfer_syntax, 3)
    np.testing.assert_array_equal(again, truth[2])


def test_twelve_bits_allocated(dicom):
    truth = RNG.integers(0, 4096, (4, 6)).astype(np.uint16)
    packed = bytearray()
    for a, b in truth.reshape(-1, 2).tolist():
        packed += bytes([a & 255, a >> 8 | (b & 15) << 4, b >> 4])
    data = dicom(truth, BitsAllocated=12, BitsStored=12, HighBit=11, PixelData=bytes(packed))
    np.testing.assert_array_equal(pixels.frame(data), truth)


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_float_pixels(dicom, kind):
    truth = RNG.normal(size=(2, 4, 5)).astype(kind)
    frames = np.stack(list(pixels.frames(dicom(truth))))
    assert frames.dtype == np.dtype(kind)
    np.testing.assert_array_equal(frames, truth)


def test_planar_configuration(dicom):
    data = dicom(COLOUR, PlanarConfiguration=1, PixelData=COLOUR.transpose(2, 0, 1).tobytes())
    np.testing.assert_array_equal(pixels.frame(data), COLOUR)


def test_ybr_full_of_known_colours(dicom):
    # PS3.3 C.7.6.3.1.2 solved for pure red, green, blue, white, black
    ybr = np.array(
        [[[76, 85, 255], [150, 44, 21], [29, 255, 107], [255, 128, 128], [0, 128, 128]]], np.uint8
    )
    rgb = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]]])
    frame = pixels.frame(dicom(ybr, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(frame.astype(int) - rgb).max() <= 2


def test_palette_with_an_offset(dicom):
    index = np.array([[9, 10, 11], [12, 13, 200]], np.uint8)
    facts = {}
    tables = {"Red": [0, 10, 20, 30], "Green": [1, 2, 3, 4], "Blue": [255, 0, 255, 0]}
    for colour, table in tables.items():
        facts[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 10, 16]
        facts[f"{colour}PaletteColorLookupTableData"] = (np.array(table, "<u2") << 8).tobytes()
    frame = pixels.frame(dicom(index, PhotometricInterpretation="PALETTE COLOR", **facts))
    expected = [[tables[c][min(max(i - 10, 0), 3)] for c in tables] for i in index.ravel().tolist()]
    np.testing.assert_array_equal(frame, np.array(expected).reshape(2, 3, 3))


def test_segmented_palette(dicom):
    index = np.arange(10, dtype=np.uint8).reshape(2, 5)
    # discrete 2 values, then a line of 4 steps to 1000, then the first segment again
    words = [0, 2, 100, 200, 1, 4, 1000, 0, 2, 7, 8, 2, 1, 0, 0]
    facts = {}
    for colour in ("Red", "Green", "Blue"):
        facts[f"{colour}PaletteColorLookupTableDescriptor"] = [10, 0, 16]
        facts[f"Segmented{colour}PaletteColorLookupTableData"] = np.array(words, "<u2").tobytes()
    frame = pixels.frame(dicom(index, PhotometricInterpretation="PALETTE COLOR", **facts))
    assert frame[..., 0].ravel().tolist() == [100, 200, 400, 600, 800, 1000, 7, 8, 100, 200]


def test_monochrome1_keeps_its_values(dicom):
    np.testing.assert_array_equal(
        pixels.frame(dicom(SMOOTH, PhotometricInterpretation="MONOCHROME1")), SMOOTH
    )


def test_overlays_of_their_own_and_in_unused_bits(dicom):
    mask = RNG.integers(0, 2, (33, 47)).astype(bool)
    bits = np.packbits(mask.ravel(), bitorder="little").tobytes()
    own = dicom(
        SMOOTH,
        tag_60000010=("US", 33),
        tag_60000011=("US", 47),
        tag_60000040=("CS", "G"),
        tag_60000050=("SS", [3, -1]),
        tag_60000100=("US", 1),
        tag_60000102=("US", 0),
        tag_60003000=("OW", bits + b"\0" * (len(bits) % 2)),
    )
    (found,) = overlays(pixels.open_instance(own))
    np.testing.assert_array_equal(found.planes[0], mask)
    assert (found.group, found.origin, found.kind) == (0x6000, (2, -2), "G")
    inside = dicom(
        SMOOTH % 4096 | mask.astype(np.uint16) << 13,
        BitsStored=12,
        HighBit=11,
        tag_60020010=("US", 33),
        tag_60020011=("US", 47),
        tag_60020100=("US", 16),
        tag_60020102=("US", 13),
    )
    instance = pixels.open_instance(inside)
    (found,) = overlays(instance)
    np.testing.assert_array_equal(found.planes[0], mask)
    np.testing.assert_array_equal(instance.frame(), SMOOTH % 4096)


def test_the_files_of_pydicom_agree_with_pydicom(pydicom_files):
    compared, refused = 0, {}
    for path in sorted(pydicom_files.glob("*.dcm")):
        try:
            instance = pixels.open_instance(path)
            if not instance.has_pixels:
                continue
            ours = np.stack([instance.frame(n + 1) for n in range(instance.form.frames)])
        except ReadError as error:
            refused[path.name] = str(error)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=True)
            if "TransferSyntaxUID" not in dataset.file_meta:
                continue
            try:
                theirs = dataset.pixel_array
            except (RuntimeError, NotImplementedError):
                continue  # no decoder of pydicom's is installed for it
            if dataset.PhotometricInterpretation == "PALETTE COLOR":
                theirs = pydicom.pixels.apply_color_lut(theirs, dataset) >> 8
        theirs = theirs.reshape(ours.shape)
        if theirs.dtype == np.uint32 and ours.dtype == np.uint16:
            theirs = theirs >> 16  # colour of 32 bits keeps its upper half
        difference = np.abs(ours.astype(np.float64) - theirs).max()
        assert difference <= (1 if instance.form.photometric.startswith("YBR_FULL") else 0), (
            path.name
        )
        compared += 1
    assert compared >= 45
    pictures = {name for name, reason in refused.items() if "no picture" not in reason}
    assert pictures == set(BROKEN)


BROKEN = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "its SIZ says 3.7e9 columns",
    "MR_truncated.dcm": "62 bytes of pixels are missing",
    "badVR.dcm": "Number of Frames is 1A",
    "no_meta.dcm": "begins with a stray byte",
    "rtplan_truncated.dcm": "cut in a sequence",
}


@pytest.mark.parametrize("cut", [1, 100, 1000, 8192, 8500])
def test_truncated_pixels_are_refused(pydicom_files, cut):
    data = (pydicom_files / "MR_small.dcm").read_bytes()
    trailing = len(data) - (data.rindex(b"\xe0\x7f\x10\x00OW") + 12 + 8192)
    with pytest.raises(CorruptFile, match=r"truncated|Pixel Data"):
        pixels.open_instance(data[: len(data) - trailing - cut])


def test_every_truncation_of_a_compressed_file_is_refused(dicom):
    data = dicom(SMOOTH, syntax=BASE + ".5", frames=[rle(SMOOTH)])
    for size in range(0, len(data) - 8, 37):
        with pytest.raises(ReadError):
            pixels.frame(data[:size])


def test_damage_raises_read_errors_and_nothing_else(pydicom_files):
    rng = np.random.default_rng(11)
    names = (
        "MR_small_RLE.dcm",
        "JPEG2000.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "CT_small.dcm",
        "examples_palette.dcm",
        "image_dfl.dcm",
    )
    refused = 0
    for name in names:
        original = bytearray((pydicom_files / name).read_bytes())
        for _ in range(25):
            data = bytearray(original)
            for at in rng.integers(132, len(data), 6):
                data[at] = rng.integers(0, 256)
            try:
                for frame in pixels.frames(bytes(data)):
                    assert frame.size
            except ReadError:
                refused += 1
    assert refused > 20


def test_memory_bombs_are_refused(dicom):
    small = imagecodecs.jpeg2k_encode(np.zeros((8, 8), np.uint16), codecformat="j2k")
    zeros = np.zeros((8, 8), np.uint16)
    bomb = dicom(
        np.zeros((8, 8), np.uint16),
        syntax=BASE + ".4.90",
        frames=[small],
        Rows=60000,
        Columns=60000,
    )
    with pytest.raises(CorruptFile, match="memory bomb"):
        pixels.open_instance(bomb)
    lie = dicom(zeros, syntax=BASE + ".4.90", frames=[small], Rows=512, Columns=512)
    with pytest.raises(CorruptFile, match="codestream is 8 x 8"):
        pixels.frame(lie)
    large = imagecodecs.jpegls_encode(np.zeros((3000, 3000), np.uint16))
    hidden = dicom(zeros, syntax=BASE + ".4.80", frames=[large])
    with pytest.raises(CorruptFile, match="codestream is 3000"):
        pixels.frame(hidden)
    short = dicom(np.zeros((8, 8), np.uint16), NumberOfFrames=1000)
    with pytest.raises(CorruptFile, match="need"):
        pixels.open_instance(short)


def test_a_deflate_bomb_is_refused(dicom):
    whole = dicom(np.zeros((16, 16), np.uint8), syntax=BASE + ".1.99")
    start = 132 + 12 + struct.unpack_from("<I", whole, 140)[0]
    squeeze = zlib.compressobj(6, wbits=-15)
    body = struct.pack("<HH2sHI", 0x0009, 0x0010, b"OB", 0, 64 << 20)
    packed = squeeze.compress(body + bytes(64 << 20)) + squeeze.flush()
    with pytest.raises(CorruptFile, match="bomb"):
        pixels.open_instance(whole[:start] + packed)


def test_video_and_unknown_syntaxes_are_said(dicom):
    video = dicom(COLOUR, syntax=BASE + ".4.102", frames=[b"\0\0\1\x09" * 10])
    with pytest.raises(UnsupportedFormat, match="video"):
        pixels.frame(video)
    odd = dicom(np.zeros((4, 4), np.uint16), BitsAllocated=24, BitsStored=24, HighBit=23)
    with pytest.raises(UnsupportedFormat, match="24"):
        pixels.open_instance(odd)
