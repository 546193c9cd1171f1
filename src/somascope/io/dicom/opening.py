"""Open an instance: its bytes in memory or on disk, its encoding, its elements up to the pixels."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.io.dicom.elements import LONG, PIXELS, Beyond, Elements
from somascope.io.dicom.header_tables import BIG_ENDIAN, DEFLATED, GE_PRIVATE, IMPLICIT
from somascope.io.dicom.header_window import InflateWindow, WholeWindow

HEAD = 1 << 14
"""Bytes of a file that are read at first; more only where the header is longer."""


class Blob:
    """Bytes in memory or in a file, read by position."""

    __slots__ = ("data", "name", "path", "size")

    def __init__(self, source: bytes | bytearray | memoryview | Path | str, name: str = "") -> None:
        if isinstance(source, (str, Path)):
            self.path: str | None = os.fspath(source)
            self.name = name or Path(source).name
            self.data: bytes | memoryview = b""
            self.size = -1
        else:
            self.path = None
            self.name = name or "the instance"
            self.data = source if isinstance(source, bytes) else memoryview(source)
            self.size = len(self.data)

    def _open(self) -> int:
        assert self.path is not None
        try:
            return os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise CorruptFile(f"{self.name}: cannot be opened: {error.strerror}") from error

    def head(self, length: int) -> bytes:
        """The first bytes; learns the size."""
        if self.path is None:
            return bytes(self.data[:length]) if length < self.size else bytes(self.data)
        descriptor = self._open()
        try:
            self.size = os.fstat(descriptor).st_size
            return os.pread(descriptor, min(length, self.size), 0)
        except IsADirectoryError as error:
            raise UnsupportedFormat(f"{self.name}: is a folder; name a file in it") from error
        except OSError as error:
            raise CorruptFile(f"{self.name}: cannot be read: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def read(self, *ranges: tuple[int, int]) -> bytes | memoryview:
        """``(offset, length)`` pieces, joined; short where the source ended meanwhile."""
        if self.path is None:
            if len(ranges) == 1:
                offset, length = ranges[0]
                return memoryview(self.data)[offset : offset + length]
            return b"".join(bytes(self.data[o : o + n]) for o, n in ranges)
        descriptor = self._open()
        try:
            pieces = [os.pread(descriptor, n, o) for o, n in ranges]
        finally:
            os.close(descriptor)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def into(self, offset: int, target: memoryview) -> int:
        """Fill ``target`` from ``offset``; how many bytes came."""
        if self.path is None:
            piece = memoryview(self.data)[offset : offset + len(target)]
            target[: len(piece)] = piece
            return len(piece)
        descriptor = self._open()
        try:
            done = 0
            while done < len(target):
                got = os.preadv(descriptor, [target[done:]], offset + done)
                if got == 0:
                    break
                done += got
            return done
        finally:
            os.close(descriptor)


def _guess(head: bytes) -> str | None:
    """Transfer syntax of a data set without File Meta Information that begins with group 8."""
    if len(head) < 8:
        return None
    if head[:2] in (b"\x08\x00", b"\x02\x00", b"\x04\x00"):
        return "1.2.840.10008.1.2.1" if head[4:6].isalpha() else IMPLICIT
    if head[:2] in (b"\x00\x08", b"\x00\x02"):
        return BIG_ENDIAN if head[4:6].isalpha() else None
    return None


def parse(
    source: bytes | bytearray | memoryview | Path | str, *, name: str = ""
) -> tuple[Elements, str, Blob, int]:
    """Find the elements of an instance up to its pixels.

    Returns
    -------
    elements, transfer_syntax, blob, start
        The data set; its transfer syntax UID; the bytes that offsets count in (the inflated data
        set where it was deflated); where in them the data set starts.

    Raises
    ------
    CorruptFile, UnsupportedFormat
    """
    blob = Blob(source, name)
    want = HEAD
    buffer = blob.head(want)
    while True:
        try:
            return _parse(buffer, blob)
        except Beyond as beyond:
            want = max(beyond.end, want * 8)
            grown = blob.head(want)
            if len(grown) <= len(buffer):
                raise CorruptFile(f"{blob.name}: is truncated at byte {len(buffer)}") from None
            buffer = grown
        except struct.error as error:
            raise CorruptFile(f"{blob.name}: ends inside an element; it is truncated") from error
        except RecursionError as error:
            raise CorruptFile(f"{blob.name}: sequences are nested too deep") from error


def _parse(buffer: bytes, blob: Blob) -> tuple[Elements, str, Blob, int]:
    size, name, start, syntax = blob.size, blob.name, 0, ""
    if size == 0:
        raise CorruptFile(f"{name}: is empty (0 bytes); send or copy it again")
    if buffer[128:132] == b"DICM":
        start = 132
    if start or (buffer[:2] == b"\x02\x00" and buffer[4:6].isalpha()):
        meta = Elements(buffer, explicit=True, little=True, name=name)
        at = start
        while buffer[at : at + 2] == b"\x02\x00":
            form = struct.unpack_from("<HH2sH", buffer, at)
            long = form[2] in LONG
            length = struct.unpack_from("<I", buffer, at + 8)[0] if long else form[3]
            begin = at + (12 if long else 8)
            if begin + length > len(buffer):
                raise CorruptFile(
                    f"{name}: its File Meta Information claims more bytes than are there"
                )
            meta.note(0x00020000 | form[1], form[2], begin, length)
            at = begin + length
        start, syntax = at, meta.text("TransferSyntaxUID")
    syntax = syntax or _guess(buffer[start : start + 8]) or (IMPLICIT if start else "")
    if not syntax:
        raise UnsupportedFormat(
            f"{name}: is no DICOM: no 'DICM' at byte 128, begins with {buffer[:16]!r}"
        )
    if not syntax.startswith("1.2.840.10008.1.2") and syntax != GE_PRIVATE:
        raise UnsupportedFormat(
            f"{name}: transfer syntax {syntax!r} is not one of DICOM's; convert it first"
        )
    if syntax == DEFLATED:
        window = InflateWindow(WholeWindow(bytes(blob.read((0, size)))), start, name=name)
        window.load(0, 1 << 62)
        blob, buffer, start = Blob(bytes(window.buf), name), bytes(window.buf), 0
        size = len(buffer)
    explicit = syntax not in (IMPLICIT, GE_PRIVATE)
    if explicit and size > start + 8 and not buffer[start + 4 : start + 6].isalpha():
        explicit = False  # declared explicit, written implicit
    elements = Elements(buffer, explicit=explicit, little=syntax != BIG_ENDIAN, name=name)
    end = elements.walk(start, size, size=size)
    last = elements.extent() if any(tag in elements for tag in PIXELS) else end
    if last > len(buffer):
        raise Beyond(last)
    elements.declare("")
    return elements, syntax, blob, start
