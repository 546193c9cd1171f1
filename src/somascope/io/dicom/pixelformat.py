"""How pixels are stored (PS3.3 C.7.6.3), and stored bits to values (PS3.5 8.1.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.core.grid import Array
from somascope.io.dicom.elements import Elements


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
            raise UnsupportedFormat(
                f"{name}: Bits Allocated is {allocated}; 1, 8, 12, 16, 32 and 64 are read"
            )
        if samples not in (1, 3, 4) or frames < 1:
            raise UnsupportedFormat(
                f"{name}: {samples} samples per pixel, {frames} frames; 1, 3 or 4 samples are read"
            )
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
    frame = frame.astype(frame.dtype.newbyteorder("="), copy=False)
    if form.kind != "int":
        return frame
    target = form.dtype
    if frame.dtype != target:
        if frame.dtype.itemsize == target.itemsize:
            frame = np.ascontiguousarray(frame).view(target)
        else:
            frame = frame.astype(target)  # a codec's narrower or wider type; bits are kept
    if form.allocated in (1, 12) or form.stored >= target.itemsize * 8:
        return frame
    frame = np.array(frame, dtype=target)
    settle(frame, form)
    return frame


def twelve(data: Array, count: int, shift: int) -> Array:
    """12 bits allocated: two samples in three bytes (PS3.5 D, retired)."""
    nibbles = np.empty((len(data), 2), np.uint8)
    nibbles[:, 0] = data & 15
    nibbles[:, 1] = data >> 4
    parts = nibbles.ravel()[shift // 4 :][: 3 * count].reshape(count, 3).astype(np.uint16)
    return parts[:, 0] | parts[:, 1] << 4 | parts[:, 2] << 8
