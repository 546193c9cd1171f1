"""Where every frame of an instance lies in its file: PS3.5 sections 8 and A.4.

`Frames` is small enough to be kept in the index for every instance: five numbers for native
pixels, the fragment lengths for encapsulated ones.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from somascope.core.errors import CorruptFile, NotFound, ParameterError

_HEAD = struct.Struct("<BBQQQQ")
_NATIVE, _FRAGMENTS = 1, 2
VIDEO = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in range(100, 109))
"""MPEG2, MPEG-4 AVC and HEVC: one stream, its frames have no place of their own."""


@dataclass(frozen=True)
class Frames:
    """Byte ranges of frames, numbered from 1.

    Native pixels: frame ``n`` begins ``(n - 1) * bits`` bits after ``offset`` (1-bit frames need
    not begin on a byte). Encapsulated: ``lengths`` holds the fragments' lengths in the file's
    order; the first item header is at ``offset``, each next one right behind its predecessor;
    ``starts[i]`` is the first fragment of frame ``i + 1`` (empty: fragment ``i``).
    ``inflated`` says that offsets count in the inflated data set (deflated transfer syntax).
    """

    count: int
    offset: int
    bits: int = 0
    lengths: Sequence[int] = field(default=(), repr=False)
    starts: Sequence[int] = field(default=(), repr=False)
    inflated: bool = False

    @property
    def encapsulated(self) -> bool:
        """Whether frames are fragments."""
        return self.bits == 0

    def ranges(self, number: int) -> tuple[tuple[int, int], ...]:
        """``(offset, length)`` in bytes of each piece of frame ``number`` (from 1)."""
        if not 1 <= number <= self.count:
            raise NotFound(f"no frame {number}; the instance has frames 1 to {self.count}")
        if not self.encapsulated:
            first = self.offset + (number - 1) * self.bits // 8
            end = self.offset + -(-number * self.bits // 8)
            return ((first, end - first),)
        begin, end = number - 1, number
        if self.starts:
            begin = self.starts[number - 1]
            end = self.starts[number] if number < self.count else len(self.lengths)
        at = self.offset + 8 * begin + sum(self.lengths[:begin])
        pieces: list[tuple[int, int]] = []
        for length in self.lengths[begin:end]:
            pieces.append((at + 8, length))
            at += 8 + length
        return tuple(pieces)

    def shift(self, number: int) -> int:
        """Bits of the first byte that belong to the frame before; 0 but for 1-bit frames."""
        return ((number - 1) * self.bits) % 8

    def pack(self) -> bytes:
        """As bytes for the index; `unpack` reads it."""
        kind = _FRAGMENTS if self.encapsulated else _NATIVE
        head = _HEAD.pack(
            kind, self.inflated, self.count, self.offset, self.bits, len(self.lengths)
        )
        if kind == _NATIVE:
            return head
        numbers = array("Q", [*self.lengths, *self.starts])
        return head + zlib.compress(numbers.tobytes(), 6)

    @classmethod
    def unpack(cls, packed: bytes) -> Frames:
        """Read what `pack` wrote."""
        kind, inflated, count, offset, bits, n = _HEAD.unpack_from(packed)
        if kind not in (_NATIVE, _FRAGMENTS):
            raise ParameterError(f"not a packed frame table: kind {kind}")
        if kind == _NATIVE:
            return cls(count, offset, bits, inflated=bool(inflated))
        numbers = array("Q", zlib.decompress(packed[_HEAD.size :]))
        return cls(count, offset, 0, numbers[:n], numbers[n:])


def native(
    *, name: str, offset: int, length: int, rows: int, columns: int, samples: int, allocated: int,
    photometric: str, count: int, inflated: bool, warn: Callable[[str], None],
) -> Frames | None:  # fmt: skip
    """Frames of native pixels; refuses fewer bytes than Rows, Columns and the others ask for."""
    samples = max(samples, 1)
    full = rows * columns * samples * allocated
    bits = full
    if samples == 3 and photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        bits = full * 2 // 3
    elif samples == 3 and photometric == "YBR_PARTIAL_420":
        bits = full // 2
    if not bits or count < 1:
        warn("has Pixel Data but no Rows, Columns, Bits Allocated; its frames cannot be told apart")
        return None
    if bits != full and length - -(-full * count // 8) in (0, 1):
        bits = full  # declared subsampled, stored in full
    expected = -(-bits * count // 8)
    if length < expected:
        raise CorruptFile(
            f"{name}: Pixel Data holds {length} bytes; {count} frame(s) of {rows} x {columns} "
            f"x {samples} with {allocated} bits need {expected}; send or copy it again"
        )
    if length > expected + 1:
        warn(f"Pixel Data holds {length} bytes where its frames need {expected}")
    return Frames(count, offset, bits, inflated=inflated)


def encapsulated(
    *, name: str, offset: int, lengths: Sequence[int], first_bytes: Sequence[bytes],
    basic: Sequence[int], extended: Sequence[int], count: int, syntax: str,
    warn: Callable[[str], None],
) -> Frames:  # fmt: skip
    """Assign fragments to frames (PS3.5 A.4): one to one, then offset tables, then markers."""
    n = len(lengths)
    if n == 0:
        raise CorruptFile(f"{name}: encapsulated Pixel Data has no fragment; send or copy it again")
    if syntax in VIDEO:
        return Frames(1, offset, 0, lengths, (0,) if n > 1 else ())
    count = max(count, 1)
    if n < count:
        raise CorruptFile(
            f"{name}: Number of Frames is {count}, there are {n} fragments; frames are missing, "
            "send or copy it again"
        )
    if n == count:
        return Frames(count, offset, 0, lengths)
    if count == 1:
        return Frames(1, offset, 0, lengths, (0,))
    for title, table in (("Extended", extended), ("Basic", basic)):
        starts = _starts(lengths, table, count)
        if starts is not None:
            return Frames(count, offset, 0, lengths, starts)
        if len(table):
            warn(f"{title} Offset Table does not point at fragments; it was not used")
    starts = [i for i, head in enumerate(first_bytes) if _begins_frame(head)]
    if len(starts) == count and starts[0] == 0:
        return Frames(count, offset, 0, lengths, starts)
    raise CorruptFile(
        f"{name}: {n} fragments for {count} frames, no valid offset table, and {len(starts)} "
        "fragments begin a picture; the frames cannot be told apart"
    )


def _starts(lengths: Sequence[int], table: Sequence[int], count: int) -> list[int] | None:
    if len(table) != count or table[0] != 0:
        return None
    at, where = 0, {}
    for i, length in enumerate(lengths):
        where[at] = i
        at += 8 + length
    starts = [where.get(t, -1) for t in table]
    return starts if min(starts) >= 0 and sorted(set(starts)) == starts else None


def _begins_frame(head: bytes) -> bool:
    """JPEG and JPEG-LS start of image, JPEG 2000 and HTJ2K start of codestream, JPEG XL, JP2."""
    return head[:2] in (b"\xff\xd8", b"\xff\x0a") or head in (
        b"\xff\x4f\xff\x51",
        b"\x00\x00\x00\x0c",
    )
