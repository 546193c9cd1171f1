"""Pixel Data to arrays: every frame of an instance, whatever its transfer syntax.

`open_instance` finds the frames and checks every size against the bytes; `Instance.frame` decodes
one. Values are stored values: sign extended, unused bits removed, not rescaled; colour is RGB.
MONOCHROME1 keeps its values, to invert it is a matter of display.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from somascope.core.errors import CorruptFile, NotFound, UnsupportedFormat
from somascope.core.grid import Array
from somascope.io.dicom import codecs, colour, header_frames
from somascope.io.dicom.elements import UNDEFINED, Blob, Elements, parse
from somascope.io.dicom.header_tables import GE_PRIVATE

FREE = 256 << 20
"""Decoded bytes that any instance may have; beyond, `MOST_RATIO` holds."""
MOST_RATIO = 1000
"""Decoded bytes per compressed byte that are believed beyond `FREE`."""

_KINDS = {0x7FE00010: "int", 0x7FE00008: "float", 0x7FE00009: "double"}


@dataclass(frozen=True)
class PixelFormat:
    """How pixels are stored: the Image Pixel module (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    frames: int
    kind: str = "int"
    """``int``, ``float`` (Float Pixel Data) or ``double``."""

    @classmethod
    def of(cls, elements: Elements, *, kind: str = "int") -> PixelFormat:
        """Read it from a data set; refuses what contradicts itself."""
        name = elements.name
        rows, columns = elements.integer("Rows"), elements.integer("Columns")
        samples = elements.integer("SamplesPerPixel", 1) or 1
        allocated = elements.integer("BitsAllocated", {"float": 32, "double": 64}.get(kind, 0))
        if kind != "int":
            allocated = 32 if kind == "float" else 64
        stored = elements.integer("BitsStored", allocated) or allocated
        high = elements.integer("HighBit", stored - 1)
        frames = int(elements.number("NumberOfFrames", 1) or 1)
        photometric = elements.text("PhotometricInterpretation").upper()
        if rows < 1 or columns < 1:
            raise CorruptFile(f"{name}: Rows x Columns is {rows} x {columns}; it has no picture")
        if allocated not in (1, 8, 12, 16, 32, 64):
            raise UnsupportedFormat(f"{name}: Bits Allocated is {allocated}; 1, 8, 12, 16, 32 and 64 are read")  # fmt: skip
        if samples not in (1, 3, 4) or frames < 1:
            raise UnsupportedFormat(f"{name}: {samples} samples per pixel, {frames} frames; 1, 3 or 4 samples are read")  # fmt: skip
        if not 1 <= stored <= allocated:
            raise CorruptFile(f"{name}: Bits Stored is {stored} of {allocated} allocated")
        if not stored - 1 <= high < allocated:
            high = stored - 1
        return cls(
            rows, columns, samples, photometric, elements.integer("PlanarConfiguration"), allocated,
            stored, high, elements.integer("PixelRepresentation") == 1, frames, kind,
        )  # fmt: skip

    @property
    def dtype(self) -> np.dtype:
        """Type of the decoded samples, native byte order."""
        if self.kind != "int":
            return np.dtype(np.float32 if self.kind == "float" else np.float64)
        width = max(8, 16 if self.allocated == 12 else self.allocated) // 8
        return np.dtype(f"{'i' if self.signed else 'u'}{width}")

    @property
    def colour(self) -> bool:
        """Whether frames come out as RGB."""
        return self.samples >= 3 or self.photometric == "PALETTE COLOR"

    @property
    def subsampled(self) -> bool:
        """Whether native frames hold half the chroma."""
        return self.samples == 3 and self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422")


@dataclass(frozen=True, eq=False)
class Overlay:
    """A 60xx overlay (PS3.3 C.9.2): ``planes`` bool ``(n, rows, columns)``.

    ``origin`` is the (row, column) of its first point on the picture, from 0.
    """

    group: int
    planes: Array
    origin: tuple[int, int]
    label: str = ""
    kind: str = ""


class Instance:
    """An instance whose frames can be decoded one by one."""

    def __init__(
        self, elements: Elements, transfer_syntax: str, blob: Blob, form: PixelFormat | None,
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
        data = self.data(number)
        if self.encapsulated:
            frame = self._compressed(bytes(data))
        else:
            if self._swapped:
                data = self._unswapped(number)
            frame = self._native(data, self.frames.shift(number))
        frame = settled(frame, form)
        return self._coloured(frame)

    def into(self, number: int, target: Array) -> None:
        """Decode frame ``number`` into ``target``, an array of the shape and type of a frame."""
        if self.plain and target.flags.c_contiguous and target.dtype == self.form.dtype:
            ((offset, length),) = self.frames.ranges(number)
            if self.blob.into(offset, memoryview(target).cast("B")) != length:
                raise CorruptFile(
                    f"{self.elements.name}: its file became shorter while it was read"
                )
            settle(target, self.form)
        else:
            target[...] = self.frame(number)

    def _native(self, data: bytes | memoryview, shift: int) -> Array:
        form = self.form
        count = form.rows * form.columns * form.samples
        shape = (form.rows, form.columns) if form.samples == 1 else (form.rows, form.columns, form.samples)  # fmt: skip
        if form.allocated == 1:
            bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
            return bits[shift : shift + count].reshape(shape)
        if form.allocated == 12:
            return _twelve(np.frombuffer(data, np.uint8), count, shift).reshape(shape)
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
            bits=form.allocated, ycc=form.photometric.startswith("YBR"), name=self.elements.name,
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
        done = self.transfer_syntax in codecs.JPEG  # the codec made RGB of it
        full = form.photometric in ("YBR_FULL", "YBR_FULL_422")
        partial = form.photometric.startswith("YBR_PARTIAL")
        if (full or partial) and not done:
            frame = colour.rgb_from_ybr(frame[..., :3], partial=partial)
        return frame[..., :3]

    def overlays(self) -> list[Overlay]:
        """The instance's overlay planes, also those in unused bits of the pixels."""
        elements, found = self.elements, []
        for group in range(0x6000, 0x6020, 2):
            base = group << 16
            rows = elements.integer(base | 0x0010, vr="US")
            columns = elements.integer(base | 0x0011, vr="US")
            if rows < 1 or columns < 1:
                continue
            frames = max(elements.integer(base | 0x0015, 1), 1)
            origin = elements.numbers(base | 0x0050, "SS") or (1, 1)
            count = frames * rows * columns
            data = elements.raw(base | 0x3000)
            if data:
                if len(data) * 8 < count:
                    raise CorruptFile(
                        f"{elements.name}: overlay {group:04X} holds {len(data)} bytes, {rows} x {columns} "
                        f"x {frames} bits need {-(-count // 8)}"
                    )
                if not elements.little and (elements.place(base | 0x3000) or ("",))[0] == "OW":
                    data = (
                        np.frombuffer(data[: len(data) & ~1], "u1")
                        .reshape(-1, 2)[:, ::-1]
                        .tobytes()
                    )
                planes = np.unpackbits(
                    np.frombuffer(data, np.uint8), count=count, bitorder="little"
                )
            elif (rows, columns) == (self.form.rows, self.form.columns) and not self.encapsulated:
                bit = elements.integer(base | 0x0102, vr="US")
                if bit >= self.form.allocated:
                    raise CorruptFile(
                        f"{elements.name}: overlay {group:04X} in bit {bit} of {self.form.allocated}"
                    )
                raw = [self._native(self.data(n), 0) for n in range(1, self.form.frames + 1)]
                frames = len(raw)
                planes = (np.stack(raw) >> bit) & 1
            else:
                continue
            found.append(
                Overlay(
                    group, planes.reshape(frames, rows, columns).astype(bool),
                    (int(origin[0]) - 1, int(origin[1]) - 1 if len(origin) > 1 else 0),
                    elements.text(base | 0x1500), elements.text(base | 0x0040),
                )
            )  # fmt: skip
        return found


def settle(frame: Array, form: PixelFormat) -> None:
    """Remove unused bits and extend the sign, in place (PS3.5 8.1.1)."""
    if form.kind != "int" or form.allocated in (1, 12):
        return
    width = frame.dtype.itemsize * 8
    below = form.high_bit + 1 - form.stored
    if form.stored >= width:
        return
    if frame.dtype.kind == "i":
        np.left_shift(frame, width - form.high_bit - 1, out=frame)
        np.right_shift(frame, width - form.stored, out=frame)
        return
    if below:
        np.right_shift(frame, below, out=frame)
    mask = frame.dtype.type((1 << form.stored) - 1)
    np.bitwise_and(frame, mask, out=frame)


def settled(frame: Array, form: PixelFormat) -> Array:
    """`frame` in the format's type with unused bits removed; a view where nothing changes."""
    if form.kind != "int":
        return frame
    target = form.dtype
    if frame.dtype.newbyteorder("=") != target:
        if frame.dtype.itemsize == target.itemsize:
            native = frame.astype(frame.dtype.newbyteorder("="), copy=False)
            frame = native.view(target)
        else:
            frame = frame.astype(target)  # a codec's narrower or wider type; bits are kept
    if form.allocated in (1, 12) or form.stored >= target.itemsize * 8:
        return frame
    frame = np.array(frame, dtype=target)
    settle(frame, form)
    return frame


def _twelve(data: Array, count: int, shift: int) -> Array:
    """12 bits allocated: two samples in three bytes (PS3.5 D, retired)."""
    nibbles = np.empty((len(data), 2), np.uint8)
    nibbles[:, 0] = data & 15
    nibbles[:, 1] = data >> 4
    parts = nibbles.ravel()[shift // 4 :][: 3 * count].reshape(count, 3).astype(np.uint16)
    return parts[:, 0] | parts[:, 1] << 4 | parts[:, 2] << 8


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
    return Instance(elements, syntax, blob, None, None, "")


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
            raise CorruptFile(f"{name}: {held} compressed bytes claim to be {decoded}; refused as a memory bomb")  # fmt: skip
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
    return Instance(elements, syntax, blob, form, frames, vr)


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
                f"{name}: a fragment claims {length} bytes at byte {at}, {size - at - 8} are there; it is truncated"
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
    instance = Instance(
        base, transfer_syntax, Blob(data), form, None, (base.place("PixelData") or ("OW",))[0]
    )
    if codecs.encapsulated(transfer_syntax):
        picture = instance._compressed(bytes(data))
    else:
        bits = form.rows * form.columns * form.samples * form.allocated
        if form.subsampled and len(data) * 8 < bits:
            bits = bits * 2 // 3
        if len(data) * 8 < bits:
            raise CorruptFile(
                f"{base.name}: a frame of {len(data)} bytes; it needs {-(-bits // 8)}"
            )
        picture = instance._native(data[: -(-bits // 8) + 1], ((number - 1) * bits) % 8)
    return instance._coloured(settled(picture, form))
