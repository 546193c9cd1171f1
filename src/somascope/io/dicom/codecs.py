"""One compressed frame to samples, by transfer syntax; the codecs are those of `imagecodecs`.

What a codestream says of its own size is compared with Rows, Columns and Samples per Pixel before
anything is decoded, so that a small frame cannot unfold into a large array.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.core.grid import Array
from somascope.io.dicom.colour import rgb_from_ybr

_BASE = "1.2.840.10008.1.2."
RLE = _BASE + "5"
JPEG = frozenset(_BASE + f"4.{n}" for n in (*range(50, 67), 70))
JPEG_LS = frozenset(_BASE + f"4.{n}" for n in (80, 81))
JPEG_2000 = frozenset(_BASE + f"4.{n}" for n in (90, 91, 92, 93))
HTJ2K = frozenset(_BASE + f"4.{n}" for n in (201, 202, 203))
JPEG_XL = frozenset(_BASE + f"4.{n}" for n in (110, 111, 112))
VIDEO = frozenset(_BASE + f"4.{n}" for n in range(100, 109))
GIVES_RGB = JPEG | JPEG_2000 | HTJ2K
"""Their frames come out of `decode` as RGB."""
SUPPORTED = frozenset({RLE}) | JPEG | JPEG_LS | JPEG_2000 | HTJ2K | JPEG_XL
"""Encapsulated transfer syntaxes that are decoded."""


@dataclass(frozen=True)
class Shape:
    """What a codestream says of itself; 0 where it does not say."""

    rows: int
    columns: int
    components: int
    bits: int = 0
    lossless: bool = False
    ycc: bool | None = None
    """Whether the stream itself says that it holds YCbCr; ``None`` where it does not say."""


def encapsulated(transfer_syntax: str) -> bool:
    """Whether frames of this transfer syntax are wrapped in fragments (PS3.5 A.4)."""
    return transfer_syntax == RLE or transfer_syntax.startswith(_BASE + "4.")


def jpeg_shape(data: bytes) -> Shape | None:
    """Read the frame header (SOF) of a JPEG or JPEG-LS stream (ISO 10918-1 B.2.2)."""
    at, ycc = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at += 1
            continue
        marker = data[at + 1]
        if marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        length = struct.unpack_from(">H", data, at + 2)[0]
        if marker == 0xE0 and data[at + 4 : at + 8] == b"JFIF" and ycc is None:
            ycc = True
        if marker == 0xEE and data[at + 4 : at + 9] == b"Adobe" and length >= 14:
            ycc = data[at + 15] == 1
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            if at + 10 > len(data):
                return None
            bits, rows, columns, components = struct.unpack_from(">BHHB", data, at + 4)
            return Shape(rows, columns, components, bits, marker in (0xC3, 0xF7), ycc)
        if marker in (0xD9, 0xDA):
            return None
        at += 2 + length
    return None


def j2k_shape(data: bytes) -> Shape | None:
    """Read the SIZ marker of a JPEG 2000 or HTJ2K codestream (ISO 15444-1 A.5.1)."""
    at = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if at < 0 or at + 42 > len(data):
        return None
    x1, y1, x0, y0 = struct.unpack_from(">IIII", data, at + 8)
    components, depth = struct.unpack_from(">HB", data, at + 40)
    marker, ycc = at + 4 + struct.unpack_from(">H", data, at + 4)[0], None
    while marker + 9 <= len(data) and data[marker] == 0xFF and data[marker + 1] != 0x90:
        if data[marker + 1] == 0x52:  # COD: whether the components were transformed
            ycc = data[marker + 8] == 1
            break
        marker += 2 + struct.unpack_from(">H", data, marker + 2)[0]
    return Shape(y1 - y0, x1 - x0, components, (depth & 0x7F) + 1, ycc=ycc)


def decode(
    data: bytes,
    transfer_syntax: str,
    *,
    rows: int,
    columns: int,
    samples: int,
    bits: int,
    photometric: str,
    name: str,
) -> Array:
    """Decode one frame.

    Parameters
    ----------
    bits
        Bits Allocated.
    photometric
        Photometric Interpretation; believed where the stream does not say what it holds.

    Returns
    -------
    Array
        ``(rows, columns)`` or ``(rows, columns, samples)``, unsigned or (JPEG 2000) signed
        samples; colour of JPEG and JPEG 2000 is RGB already, of the others as stored.
    """
    if transfer_syntax not in SUPPORTED:
        kind = "video" if transfer_syntax in VIDEO else "this transfer syntax"
        raise UnsupportedFormat(
            f"{name}: {kind} ({transfer_syntax}) is not decoded; convert it first"
        )
    shape = None
    if transfer_syntax in JPEG or transfer_syntax in JPEG_LS:
        shape = jpeg_shape(data)
        if shape is None:
            raise CorruptFile(f"{name}: a JPEG frame has no frame header; it is damaged")
    elif transfer_syntax in JPEG_2000 or transfer_syntax in HTJ2K:
        shape = j2k_shape(data)
        if shape is None:
            raise CorruptFile(f"{name}: a JPEG 2000 frame has no SIZ marker; it is damaged")
    if shape is not None and (shape.rows, shape.columns, shape.components) != (
        rows,
        columns,
        samples,
    ):
        raise CorruptFile(
            f"{name}: the codestream is {shape.rows} x {shape.columns} x {shape.components}, the "
            f"header says {rows} x {columns} x {samples}; one of them is damaged"
        )
    try:
        frame = _run(
            data,
            transfer_syntax,
            shape,
            size=(rows, columns, samples),
            bits=bits,
            photometric=photometric,
        )
    except (MemoryError, UnsupportedFormat, CorruptFile):
        raise
    except Exception as error:  # each codec has exceptions of its own, all mean damaged bytes
        raise CorruptFile(f"{name}: a frame cannot be decoded: {error}") from error
    wanted = (rows, columns) if samples == 1 else (rows, columns, samples)
    if frame.shape != wanted:
        raise CorruptFile(
            f"{name}: a frame decodes to {frame.shape}, the header says {wanted}; it is damaged"
        )
    return frame


def _run(
    data: bytes,
    syntax: str,
    shape: Shape | None,
    *,
    size: tuple[int, int, int],
    bits: int,
    photometric: str,
) -> Array:
    import imagecodecs

    if syntax == RLE:
        return _rle(data, *size, bits=bits)
    if syntax in JPEG:
        assert shape is not None
        if size[2] != 3:
            return imagecodecs.jpeg8_decode(data)
        if shape.lossless:  # no transform exists for it; libjpeg would guess one from the markers
            return imagecodecs.jpeg8_decode(data, colorspace="RGB", outcolorspace="RGB")
        stored_ycc = photometric.startswith("YBR") if shape.ycc is None else shape.ycc
        space = "YCBCR" if stored_ycc else "RGB"
        return imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace="RGB")
    if syntax in JPEG_LS:
        return imagecodecs.jpegls_decode(data)
    if syntax in JPEG_2000 or syntax in HTJ2K:
        decode_stream = imagecodecs.htj2k_decode if syntax in HTJ2K else imagecodecs.jpeg2k_decode
        frame = decode_stream(data, planar=False)
        assert shape is not None
        if size[2] == 3 and photometric in ("YBR_FULL", "YBR_FULL_422") and not shape.ycc:
            return rgb_from_ybr(frame)  # stored as YBR without the codec's own transform
        return frame
    return imagecodecs.jpegxl_decode(data)


def _rle(data: bytes, rows: int, columns: int, samples: int, *, bits: int) -> Array:
    """PS3.5 annex G: one PackBits segment per byte plane, most significant byte first."""
    import imagecodecs

    width, plane = bits // 8, rows * columns
    if len(data) < 64:
        raise CorruptFile("an RLE frame is shorter than its header of 64 bytes")
    count, *offsets = struct.unpack_from("<16I", data)
    if count != samples * width:
        raise CorruptFile(f"{count} RLE segments for {samples} samples of {width} bytes")
    ends = [*offsets[1:count], len(data)]
    result = np.empty((rows, columns, samples), f"<u{width}")
    planes = result.view(np.uint8).reshape(plane, samples, width)
    for i, (start, end) in enumerate(zip(offsets, ends, strict=False)):
        if not 64 <= start <= end <= len(data):
            raise CorruptFile(f"RLE segment {i} lies at {start}..{end} of {len(data)} bytes")
        if (end - start) * 64 + 128 < plane:
            raise CorruptFile(f"RLE segment {i} of {end - start} bytes cannot hold {plane} samples")
        segment = imagecodecs.packbits_decode(data[start:end])
        if len(segment) < plane:
            raise CorruptFile(f"RLE segment {i} holds {len(segment)} of {plane} samples")
        values = np.frombuffer(segment, np.uint8, plane)
        planes[:, i // width, width - 1 - i % width] = values
    return result[..., 0] if samples == 1 else result
