"""Pixel Data to arrays: every frame of an instance, whatever its transfer syntax.

`open_instance` finds the frames and checks every size against the bytes; `Instance.frame` decodes
one. Values are stored values: sign extended, unused bits removed, not rescaled; colour is RGB.
MONOCHROME1 keeps its values, to invert it is a matter of display.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from somascope.core.errors import CorruptFile, NotFound, UnsupportedFormat
from somascope.core.grid import Array
from somascope.io.dicom import codecs, colour, header_frames
from somascope.io.dicom.elements import UNDEFINED, Elements
from somascope.io.dicom.header_tables import GE_PRIVATE
from somascope.io.dicom.opening import Blob, parse
from somascope.io.dicom.pixelformat import PixelFormat, settle, settled, twelve

FREE = 256 << 20
"""Decoded bytes that any instance may have; beyond, `MOST_RATIO` holds."""
MOST_RATIO = 1000
"""Decoded bytes per compressed byte that are believed beyond `FREE`."""

_KINDS = {0x7FE00010: "int", 0x7FE00008: "float", 0x7FE00009: "double"}


class Instance:
    """An instance whose frames can be decoded one by one."""

    def __init__(
        self,
        elements: Elements,
        *,
        transfer_syntax: str, blob: Blob, form: PixelFormat | None,
        frames: header_frames.Frames | None, vr: str,
    ) -> None:  # fmt: skip
        self.elements = elements
        self.transfer_syntax = transfer_syntax
        self.blob = blob
        self._form = form
        self._frames = frames
        self._vr = vr
        self._palette: colour.Palette | None = None

    @property
    def form(self) -> PixelFormat:
        """The pixel format; raises `UnsupportedFormat` where the instance has no pixels."""
        if self._form is None:
            raise UnsupportedFormat(f"{self.elements.name}: has no Pixel Data; it is no image")
        return self._form

    @property
    def frames(self) -> header_frames.Frames:
        """Where the frames are."""
        if self._frames is None:
            raise UnsupportedFormat(f"{self.elements.name}: has no Pixel Data; it is no image")
        return self._frames

    @property
    def has_pixels(self) -> bool:
        """Whether there is Pixel Data."""
        return self._form is not None

    @property
    def encapsulated(self) -> bool:
        """Whether frames are compressed."""
        return codecs.encapsulated(self.transfer_syntax)

    @property
    def plain(self) -> bool:
        """Whether a native frame's bytes are its array, so that it can be read in place."""
        form = self.form
        return (
            not self.encapsulated
            and form.samples == 1
            and form.photometric != "PALETTE COLOR"
            and form.allocated in (8, 16, 32, 64)
            and (form.allocated == 8 or self.elements.little)
            and not (self._swapped)
            and self.transfer_syntax != GE_PRIVATE
        )

    @property
    def _swapped(self) -> bool:
        """8-bit pixels in big endian words (OW) have their bytes swapped in pairs."""
        return not self.elements.little and self._vr == "OW" and self.form.allocated == 8

    def data(self, number: int) -> bytes | memoryview:
        """The stored bytes of frame ``number`` (from 1)."""
        ranges = self.frames.ranges(number)
        data = self.blob.read(*ranges)
        if len(data) != sum(n for _, n in ranges):
            raise CorruptFile(f"{self.elements.name}: its file became shorter while it was read")
        return data

    def frame(self, number: int = 1) -> Array:
        """Decode frame ``number`` (from 1).

        Returns
        -------
        Array
            ``(rows, columns)``, or ``(rows, columns, 3)`` RGB of uint8 or uint16. Native frames
            without colour are views of the bytes read, possibly read-only.

        Raises
        ------
        CorruptFile, UnsupportedFormat, NotFound
        """
        form = self.form
        if not 1 <= number <= form.frames:
            raise NotFound(
                f"{self.elements.name}: no frame {number}; it has frames 1 to {form.frames}"
            )
        data = self._unswapped(number) if self._swapped else self.data(number)
        return self.decoded(data, 0 if self.encapsulated else self.frames.shift(number))

    def decoded(self, data: bytes | memoryview, shift: int = 0) -> Array:
        """The frame whose stored bytes are ``data``; ``shift``: bits of the first byte to skip."""
        if self.encapsulated:
            frame = self._compressed(bytes(data))
        else:
            frame = self.native(data, shift)
        return self._coloured(settled(frame, self.form))

    def into(self, number: int, target: Array) -> None:
        """Decode frame ``number`` into ``target``, an array of the shape and type of a frame."""
        if self.plain and target.flags.c_contiguous and target.dtype == self.form.dtype:
            ((offset, length),) = self.frames.ranges(number)
            if self.blob.into(offset, memoryview(cast("Any", target)).cast("B")) != length:
                raise CorruptFile(
                    f"{self.elements.name}: its file became shorter while it was read"
                )
            settle(target, self.form)
        else:
            target[...] = self.frame(number)

    def native(self, data: bytes | memoryview, shift: int = 0) -> Array:
        """Samples of an uncompressed frame as they are stored, unused bits included."""
        form = self.form
        count = form.rows * form.columns * form.samples
        shape = (
            (form.rows, form.columns)
            if form.samples == 1
            else (form.rows, form.columns, form.samples)
        )
        if form.allocated == 1:
            bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
            return bits[shift : shift + count].reshape(shape)
        if form.allocated == 12:
            return twelve(np.frombuffer(data, np.uint8), count, shift).reshape(shape)
        order = "<" if self.elements.little and self.transfer_syntax != GE_PRIVATE else ">"
        if form.kind != "int":
            samples = np.frombuffer(data, order + ("f4" if form.kind == "float" else "f8"))
        else:
            samples = np.frombuffer(data, order + form.dtype.str[1:])
        if form.subsampled and len(samples) < count:
            return colour.upsampled_422(samples, form.rows, form.columns)
        if form.samples > 1 and form.planar == 1:
            return samples.reshape(form.samples, form.rows, form.columns).transpose(1, 2, 0)
        return samples.reshape(shape)

    def _unswapped(self, number: int) -> bytes:
        ((offset, length),) = self.frames.ranges(number)
        skip = (offset - self.frames.offset) % 2
        data = self.blob.read((offset - skip, skip + length + (skip + length) % 2))
        words = np.frombuffer(data, np.uint8)
        if len(words) % 2:
            raise CorruptFile(f"{self.elements.name}: big endian words of an odd number of bytes")
        return words.reshape(-1, 2)[:, ::-1].tobytes()[skip : skip + length]

    def _compressed(self, data: bytes) -> Array:
        form = self.form
        return codecs.decode(
            data, self.transfer_syntax, rows=form.rows, columns=form.columns, samples=form.samples,
            bits=form.allocated, photometric=form.photometric, name=self.elements.name,
        )  # fmt: skip

    def _coloured(self, frame: Array) -> Array:
        form = self.form
        if form.photometric == "PALETTE COLOR" and form.samples == 1:
            if self._palette is None:
                self._palette = colour.Palette(self.elements, signed=form.signed)
            return self._palette(frame)
        if form.samples < 3:
            return frame
        if frame.dtype.itemsize > 2:  # RGB is 8 or 16 bits in an Image: the upper half is kept
            frame = (frame >> (max(form.stored - 16, 0))).astype(np.uint16)
        done = self.transfer_syntax in codecs.GIVES_RGB
        full = form.photometric in ("YBR_FULL", "YBR_FULL_422")
        partial = form.photometric.startswith("YBR_PARTIAL")
        if (full or partial) and not done:
            frame = colour.rgb_from_ybr(frame[..., :3], partial=partial)
        return frame[..., :3]


def open_instance(
    source: bytes | bytearray | memoryview | Path | str, *, name: str = ""
) -> Instance:
    """Parse an instance and find its frames; no pixel is decoded.

    Raises
    ------
    CorruptFile
        Truncated, damaged, or claiming more than its bytes can hold.
    UnsupportedFormat
        No DICOM, or a pixel format or transfer syntax that is not read.
    """
    elements, syntax, blob, _ = parse(source, name=name)
    for tag, kind in _KINDS.items():
        place = elements.place(tag)
        if place is not None and place[2]:
            return _with_pixels(elements, syntax, blob, place, kind)
    if "Rows" in elements and "BitsAllocated" in elements:
        raise CorruptFile(
            f"{elements.name}: has Rows and Columns and no Pixel Data; it is truncated"
        )
    return Instance(elements, transfer_syntax=syntax, blob=blob, form=None, frames=None, vr="")


def _with_pixels(
    elements: Elements, syntax: str, blob: Blob, place: tuple[str, int, int], kind: str
) -> Instance:
    name, (vr, start, length) = elements.name, place
    form = PixelFormat.of(elements, kind=kind)
    decoded = form.rows * form.columns * form.samples * form.frames * form.dtype.itemsize
    if codecs.encapsulated(syntax):
        if length != UNDEFINED:
            raise CorruptFile(
                f"{name}: compressed Pixel Data with a length of its own; it should be in fragments"
            )
        frames = _fragments(elements, syntax, blob, start, form)
        held = sum(frames.lengths)
        if decoded > FREE and decoded > MOST_RATIO * held:
            raise CorruptFile(
                f"{name}: {held} compressed bytes claim to be {decoded}; refused as a memory bomb"
            )
    else:
        if length == UNDEFINED:
            raise CorruptFile(
                f"{name}: native Pixel Data in fragments; its transfer syntax {syntax} is wrong"
            )
        available = min(length, blob.size - start)
        if available < length:
            raise CorruptFile(
                f"{name}: Pixel Data claims {length} bytes, {available} are there; it is truncated"
            )
        found = header_frames.native(
            name=name, offset=start, length=length, rows=form.rows, columns=form.columns,
            samples=form.samples, allocated=form.allocated, photometric=form.photometric,
            count=form.frames, inflated=False, warn=lambda _: None,
        )  # fmt: skip
        if found is None:
            raise CorruptFile(f"{name}: its frames cannot be told apart")
        frames = found
    return Instance(elements, transfer_syntax=syntax, blob=blob, form=form, frames=frames, vr=vr)


def _fragments(
    elements: Elements, syntax: str, blob: Blob, start: int, form: PixelFormat
) -> header_frames.Frames:
    """Walk the items of encapsulated Pixel Data; refuses what runs over the end."""
    name, at, size = elements.name, start, blob.size
    pieces: list[tuple[int, int]] = []
    firsts: list[bytes] = []
    while True:
        head = bytes(blob.read((at, 12)))
        if len(head) < 8:
            if pieces[1:] and at == size:
                break  # the closing delimiter is missing and nothing else
            raise CorruptFile(
                f"{name}: Pixel Data ends inside a fragment at byte {at}; it is truncated"
            )
        group, number, length = struct.unpack_from("<HHI", head)
        if (group, number) == (0xFFFE, 0xE0DD):
            break
        if (group, number) != (0xFFFE, 0xE000):
            raise CorruptFile(
                f"{name}: ({group:04X},{number:04X}) among the fragments at byte {at}"
            )
        if at + 8 + length > size:
            raise CorruptFile(
                f"{name}: a fragment claims {length} bytes at byte {at}, {size - at - 8} are "
                "there; it is truncated"
            )
        pieces.append((at + 8, length))
        firsts.append(head[8:12])
        at += 8 + length
    if not pieces:
        raise CorruptFile(f"{name}: encapsulated Pixel Data is empty")
    table = bytes(blob.read(pieces[0]))
    basic = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
    extended = elements.raw("ExtendedOffsetTable")
    long = struct.unpack(f"<{len(extended) // 8}Q", extended[: len(extended) // 8 * 8])
    return header_frames.encapsulated(
        name=name, offset=pieces[0][0] + pieces[0][1], lengths=[n for _, n in pieces[1:]],
        first_bytes=firsts[1:], basic=basic, extended=long, count=form.frames, syntax=syntax,
        warn=lambda _: None,
    )  # fmt: skip


def frame(source: bytes | memoryview | Path | str, number: int = 1) -> Array:
    """Decode one frame of a Part 10 file, see `Instance.frame`."""
    return open_instance(source).frame(number)


def frames(source: bytes | memoryview | Path | str) -> Iterator[Array]:
    """Decode all frames of a Part 10 file, one at a time."""
    instance = open_instance(source)
    for number in range(1, instance.form.frames + 1):
        yield instance.frame(number)


def decode_frame(
    data: bytes | memoryview, elements: Elements | Instance, transfer_syntax: str, number: int = 1
) -> Array:
    """Decode bytes of one frame that were fetched by their range; the header is parsed already.

    ``elements`` describes the pixels (the instance, or its data set); ``number`` matters for 1-bit
    frames only, which need not begin on a byte.
    """
    base = elements.elements if isinstance(elements, Instance) else elements
    form = PixelFormat.of(base)
    vr = (base.place("PixelData") or ("OW",))[0]
    instance = Instance(
        base, transfer_syntax=transfer_syntax, blob=Blob(data), form=form, frames=None, vr=vr
    )
    if codecs.encapsulated(transfer_syntax):
        return instance.decoded(data)
    bits = form.rows * form.columns * form.samples * form.allocated
    if form.subsampled and len(data) * 8 < bits:
        bits = bits * 2 // 3
    if len(data) * 8 < bits:
        raise CorruptFile(f"{base.name}: a frame of {len(data)} bytes; it needs {-(-bits // 8)}")
    if form.allocated >= 8:
        data = data[: bits // 8]
    return instance.decoded(data, ((number - 1) * bits) % 8)
