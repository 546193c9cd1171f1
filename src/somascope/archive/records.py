"""What the archive takes and gives: plain frozen records."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from somascope.core.errors import CorruptFile, WriteError
from somascope.io.dicom.header import Frames

Level = Literal["PATIENT", "STUDY", "SERIES", "INSTANCE"]
Outcome = Literal["stored", "duplicate", "conflict"]


class OutOfSpace(WriteError):
    """The disk is full, or fuller than the reserve allows: HTTP 507, DIMSE 0xA700."""


@dataclass(frozen=True)
class Stored:
    """The answer to a store: durable when it is returned.

    ``conflict`` means kept apart in quarantine for ``reason``, never merged or overwritten.
    """

    outcome: Outcome
    study: str
    series: str
    sop_uid: str
    sop_class: str
    reason: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Instance:
    """One instance and where it is: a Part 10 file whose data set begins at ``offset``."""

    study: str
    series: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    number: int | None
    frames: int
    path: Path
    offset: int
    size: int
    """Bytes of the whole file."""
    sha256: str
    """Of the data set: preamble and File Meta Information are not part of it."""
    damaged: bool = False
    """Found by `Archive.verify` to differ from what was stored."""

    def read(self) -> bytes:
        """The whole Part 10 file."""
        if self.damaged:
            raise CorruptFile(f"instance {self.sop_uid} is damaged on disk; restore it from a copy")
        return self.path.read_bytes()

    def dataset(self) -> bytes:
        """The data set without File Meta Information: what C-STORE sends."""
        if self.damaged:
            raise CorruptFile(f"instance {self.sop_uid} is damaged on disk; restore it from a copy")
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read()


@dataclass(frozen=True)
class FrameRange:
    """Where one frame is. ``offset, length`` span it; ``pieces`` leave fragment headers out."""

    path: Path
    pieces: tuple[tuple[int, int], ...]
    transfer_syntax: str
    shift: int = 0
    """Bits of the first byte that belong to the frame before (1-bit pixels)."""
    bits: int = 0
    """Bits of a native frame, 0 for encapsulated ones."""
    deflated_at: int | None = None
    """Offsets count in the data set that is inflated from this byte of the file."""

    @property
    def offset(self) -> int:
        """First byte."""
        return self.pieces[0][0]

    @property
    def length(self) -> int:
        """Number of bytes of the frame."""
        return sum(n for _, n in self.pieces)

    def read(self) -> bytes:
        """The frame: native pixels, or one complete compressed stream."""
        with self.path.open("rb") as file:
            if self.deflated_at is not None:
                return self._align(self._inflate(file.fileno(), self.deflated_at))
            found = b"".join(os.pread(file.fileno(), n, o) for o, n in self.pieces)
        if len(found) != self.length:
            raise CorruptFile(f"{self.path.name}: {len(found)} bytes of a frame of {self.length}")
        return self._align(found)

    def _inflate(self, descriptor: int, start: int) -> bytes:
        (first, length), at, position = self.pieces[0], start, 0
        inflate, kept = zlib.decompressobj(-15), bytearray()
        while len(kept) < length and not inflate.eof:
            raw = os.pread(descriptor, 1 << 16, at)
            if not raw:
                break
            at += len(raw)
            while raw and len(kept) < length:
                piece = inflate.decompress(raw, 1 << 18)
                raw = inflate.unconsumed_tail
                begin = max(first - position, 0)
                kept += piece[begin : begin + length - len(kept)]
                position += len(piece)
        if len(kept) != length:
            raise CorruptFile(f"{self.path.name}: {len(kept)} bytes of a frame of {length}")
        return bytes(kept)

    def _align(self, found: bytes) -> bytes:
        if not self.bits % 8 and not self.shift:
            return found
        whole = (int.from_bytes(found, "little") >> self.shift) & ((1 << self.bits) - 1)
        return whole.to_bytes(-(-self.bits // 8), "little")

    @classmethod
    def of(cls, instance: Instance, frames: Frames, number: int) -> FrameRange:
        """Frame ``number`` (from 1) of an instance."""
        return cls(
            instance.path,
            frames.ranges(number),
            instance.transfer_syntax,
            frames.shift(number),
            frames.bits,
            instance.offset if frames.inflated else None,
        )


@dataclass(frozen=True)
class Change:
    """One event, in the order of commits: ``seq`` grows."""

    seq: int
    kind: Literal["stored", "quarantined"]
    study: str
    series: str
    instance: str
    time: datetime


@dataclass(frozen=True)
class Quarantined:
    """An object that was kept apart, and why."""

    sop_uid: str
    study: str
    series: str
    reason: str
    origin: str
    path: Path
    time: datetime


@dataclass(frozen=True)
class Query:
    """A question in the semantics of QIDO-RS (PS3.18 8.3.4) and C-FIND (PS3.4 C.2.2.2).

    ``match`` maps keywords or tags (``"PatientID"``, ``"00100020"``) to values: single value, wild
    cards ``*`` and ``?``, ranges ``a-b``, ``a-``, ``-b`` of dates and times, lists of UIDs parted
    by a backslash or comma; ``""`` or ``"*"`` match everything. Person names match without regard
    to case, with ``fuzzy`` also word by word and by sound. ``combined_datetime`` joins a date and
    a time range to one. ``fields`` names attributes to return beyond the level's own, or
    ``("all",)``.
    """

    level: Level = "STUDY"
    match: Mapping[str, str] = field(default_factory=dict[str, str])
    fields: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0
    fuzzy: bool = False
    combined_datetime: bool = False


@dataclass(frozen=True)
class Listed:
    """One file that an import did not take, and why.

    ``kind`` is ``"corrupt"``, ``"other"`` (no DICOM: an image in another format, or anything else),
    ``"conflict"`` or ``"refused"`` (a bomb, a path that leaves its folder).
    """

    name: str
    kind: Literal["corrupt", "other", "conflict", "refused"]
    reason: str
    path: Path | None = None


@dataclass(frozen=True)
class ImportReport:
    """What an import did."""

    stored: int
    duplicates: int
    problems: tuple[Listed, ...]
    studies: tuple[str, ...]
    series: tuple[str, ...]

    @property
    def conflicts(self) -> int:
        """Instances in quarantine."""
        return sum(p.kind == "conflict" for p in self.problems)


@dataclass(frozen=True)
class Stats:
    """Totals of the archive."""

    patients: int
    studies: int
    series: int
    instances: int
    bytes: int
    quarantined: int
    last_change: int


@dataclass(frozen=True)
class Verification:
    """What a scrub found: SOP Instance UIDs."""

    checked: int
    damaged: tuple[str, ...]
    missing: tuple[str, ...]
    unindexed: tuple[Path, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every instance is what was stored."""
        return not (self.damaged or self.missing)
