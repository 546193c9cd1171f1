"""Windows of bytes over a file, a buffer or a deflate stream, for `header.scan`.

A window shows a part of its source in ``buf``, beginning at byte ``base``. Only what is looked at
is read; what a length field claims is compared with what is there (`Window.reaches`) before
anything is allocated.
"""

from __future__ import annotations

import os
import zlib
from typing import Protocol

from somascope.core.errors import CorruptFile

CHUNK = 1 << 18
"""Bytes read from a file, or inflated, at a time."""


class Window(Protocol):
    """A movable view: ``buf[i]`` is byte ``base + i`` of the source."""

    buf: bytes | memoryview
    base: int

    def load(self, at: int, need: int) -> None:
        """Make ``at .. at + need`` visible, or as much of it as there is; never goes back."""
        ...

    def reaches(self, end: int) -> bool:
        """Whether the source has at least ``end`` bytes."""
        ...

    def total(self) -> int:
        """How many bytes the source has."""
        ...


class WholeWindow:
    """A buffer that is in memory already; nothing is copied."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.buf = data
        self.base = 0

    def load(self, at: int, need: int) -> None:
        """Do nothing: all is visible."""

    def reaches(self, end: int) -> bool:
        """Compare with the buffer's length."""
        return end <= len(self.buf)

    def total(self) -> int:
        """The buffer's length."""
        return len(self.buf)


def _read_at(descriptor: int, size: int, at: int) -> bytes:
    """Bytes at a place of a file; Windows has no ``pread``."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, at)
    os.lseek(descriptor, at, os.SEEK_SET)
    return os.read(descriptor, size)


class FileWindow:
    """An open file, read by position in pieces; its pixels are never read."""

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor
        self._size = os.fstat(descriptor).st_size
        self.buf: bytes | memoryview = b""
        self.base = 0

    def load(self, at: int, need: int) -> None:
        """Read a piece that begins at ``at``; small after a long jump, as fragment headers are."""
        if self.base <= at and at + need <= self.base + len(self.buf):
            return
        near = at <= self.base + len(self.buf) + CHUNK
        want = max(need, CHUNK if near else 4096)
        self.buf = _read_at(self._fd, min(want, max(self._size - at, 0)), at)
        self.base = at

    def reaches(self, end: int) -> bool:
        """Compare with the file's size."""
        return end <= self._size

    def total(self) -> int:
        """The file's size."""
        return self._size


class InflateWindow:
    """A deflated data set (PS3.5 A.5), inflated piece by piece and forgotten behind.

    ``ratio`` and ``most`` bound what it may become: zlib reaches 1032 to 1, so that a megabyte can
    claim a gigabyte. The ratio counts once ``free`` bytes have come out.
    """

    def __init__(
        self,
        source: Window,
        start: int,
        *,
        name: str,
        ratio: int = 250,
        most: int = 2 << 30,
        free: int = 32 << 20,
    ) -> None:
        self._source, self._at, self._start = source, start, start
        self._name, self._ratio, self._most, self._free = name, ratio, most, free
        self._zlib = zlib.decompressobj(-15)
        self._pending = b""
        self.buf: bytes | memoryview = b""
        self.base = 0

    def _more(self) -> bytes:
        """The next piece, or ``b""`` at the end."""
        while not self._zlib.eof:
            if not self._pending:
                self._source.load(self._at, CHUNK)
                first = self._at - self._source.base
                self._pending = bytes(self._source.buf[first : first + CHUNK])
                self._at += len(self._pending)
                if not self._pending:
                    raise CorruptFile(
                        f"{self._name}: the deflated data set stops after {self._at - self._start} "
                        "bytes without its end mark; it is truncated, send or copy it again"
                    )
            try:
                piece = self._zlib.decompress(self._pending, CHUNK)
            except zlib.error as error:
                raise CorruptFile(
                    f"{self._name}: the deflated data set is damaged: {error}"
                ) from error
            self._pending = self._zlib.unconsumed_tail
            if piece:
                self._limit(self.base + len(self.buf) + len(piece))
                return piece
        return b""

    def _limit(self, inflated: int) -> None:
        eaten = max(self._at - self._start - len(self._pending), 1)
        if inflated > self._most or (inflated > self._free and inflated > self._ratio * eaten):
            raise CorruptFile(
                f"{self._name}: {eaten} deflated bytes become more than {inflated} "
                f"(limits: {self._ratio} to 1, {self._most} bytes); refused as a deflate bomb"
            )

    def load(self, at: int, need: int) -> None:
        """Inflate until ``at + need`` or the end; what lies before ``at`` is dropped."""
        held = len(self.buf)
        if self.base <= at and at + need <= self.base + held:
            return
        pieces = [bytes(self.buf[at - self.base :])] if at < self.base + held else []
        have = sum(map(len, pieces))
        edge = self.base + held
        while have < need:
            self.buf, self.base = b"", edge  # so that _limit counts from the right place
            piece = self._more()
            if not piece:
                break
            edge += len(piece)
            if edge > at:
                kept = piece[max(at - (edge - len(piece)), 0) :]
                pieces.append(kept)
                have += len(kept)
        self.buf = b"".join(pieces)
        self.base = edge - len(self.buf)

    def reaches(self, end: int) -> bool:
        """Inflate up to byte ``end`` to know."""
        if end > self.base + len(self.buf):
            self.load(max(end - 1, self.base), 1)
        return end <= self.base + len(self.buf)

    def total(self) -> int:
        """Inflate to the end and count."""
        while self.reaches(self.base + len(self.buf) + 1):
            pass
        return self.base + len(self.buf)
