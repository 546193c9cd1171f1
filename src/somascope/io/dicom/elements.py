"""A data set read on demand: tags are found by their lengths, values decoded when asked for.

The image reader needs sequences (functional groups, LUTs, private CSA headers) of thousands of
instances, so `Elements` keeps the place of each value instead of its value (PS3.5 section 7).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.io.dicom import header_text
from somascope.io.dicom.attributes import ATTRIBUTES
from somascope.io.dicom.header_tables import BIG_ENDIAN, DEFLATED, GE_PRIVATE, IMPLICIT
from somascope.io.dicom.header_window import InflateWindow, WholeWindow

UNDEFINED = 0xFFFFFFFF
PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)
HEAD = 1 << 14
"""Bytes of a file that are read at first; more only where the header is longer."""
MOST_DEPTH = 32

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))  # fmt: skip
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q", "OW": "H", "OF": "f", "OD": "d", "OL": "I", "OV": "Q", "AT": "H"}  # fmt: skip
_TEXT = frozenset(("DS", "IS", "CS", "UI", "DA", "TM", "DT", "LO", "SH", "PN", "LT", "ST", "UT", "AS", "AE", "UC", "UR"))  # fmt: skip


class _Beyond(Exception):  # noqa: N818 - not an error: more bytes are needed
    def __init__(self, end: int) -> None:
        super().__init__()
        self.end = end


class Elements:
    """One data set, or one item of a sequence.

    Values are asked for by keyword (of `attributes.ATTRIBUTES`) or by tag number; a missing or empty
    value gives the default, one that cannot be decoded raises `CorruptFile`.
    """

    __slots__ = ("_buffer", "_children", "_explicit", "_index", "_order", "charset", "name")

    def __init__(self, buffer: bytes, *, explicit: bool, little: bool, name: str) -> None:
        self._buffer = buffer
        self._explicit = explicit
        self._order = "<" if little else ">"
        self._index: dict[int, tuple[bytes, int, int]] = {}
        self._children: dict[int, list[Elements]] = {}
        self.charset = ""
        self.name = name

    # -- walking ---------------------------------------------------------------------------------

    def _walk(self, at: int, end: int, size: int, depth: int) -> int:
        """Note every element of ``at .. end`` (-1: until the item ends); the place behind it.

        ``size`` is how many bytes the source has, of which the buffer may hold only the first.
        """
        buffer, index, explicit = self._buffer, self._index, self._explicit
        have, stop = len(buffer), size if end < 0 else end
        order = self._order
        short = struct.Struct(order + "HH2sH").unpack_from
        implicit = struct.Struct(order + "HHI").unpack_from
        long = struct.Struct(order + "I").unpack_from
        while at + 8 <= stop:
            if at + 12 > have and have < size:
                raise _Beyond(at + 12)
            if explicit:
                group, number, vr, length = short(buffer, at)
                if group == 0xFFFE:
                    vr, start = b"", at + 8
                    length = long(buffer, at + 4)[0]
                elif vr in _LONG:
                    if at + 12 > have:
                        raise CorruptFile(f"{self.name}: ends inside an element at byte {at}")
                    start = at + 12
                    length = long(buffer, at + 8)[0]
                elif vr.isalpha():
                    start = at + 8
                else:  # written as if implicit, seen in the wild
                    start = at + 8
                    length = long(buffer, at + 4)[0]
                    vr = b""
            else:
                group, number, length = implicit(buffer, at)
                vr, start = b"", at + 8
            tag = group << 16 | number
            if tag == _ITEM_END and end < 0:
                return start
            if group == 0xFFFE:
                if tag in (_ITEM_END, _SEQUENCE_END):
                    at = start  # a stray delimiter carries nothing
                    continue
                raise CorruptFile(f"{self.name}: an item at byte {at} belongs to no sequence")
            if tag in PIXELS and depth == 0:
                index[tag] = (vr, start, length)
                return start
            if length == UNDEFINED:
                if vr not in (b"SQ", b"UN", b""):
                    raise CorruptFile(
                        f"{self.name}: ({group:04X},{number:04X}) {vr.decode('latin-1')} has no "
                        f"length at byte {at}; the file is damaged"
                    )
                children, after = self._items(start, -1, size, depth + 1, vr == b"UN")
                self._children[tag] = children
                index[tag] = (b"SQ", start, after - start)
                at = after
                continue
            if start + length > stop:
                raise CorruptFile(
                    f"{self.name}: ({group:04X},{number:04X}) claims {length} bytes at byte {at}, "
                    f"{max(stop - start, 0)} are there; it is truncated or damaged"
                )
            index[tag] = (vr, start, length)
            at = start + length
        if end < 0:
            raise CorruptFile(f"{self.name}: an item of a sequence does not end; it is truncated")
        if at < end and any(buffer[at:end]):
            raise CorruptFile(f"{self.name}: ends inside an element at byte {at}; it is truncated")
        return at

    def _items(
        self, at: int, end: int, size: int, depth: int, unknown: bool
    ) -> tuple[list[Elements], int]:
        if depth > MOST_DEPTH:
            raise CorruptFile(f"{self.name}: sequences are nested more than {MOST_DEPTH} deep")
        buffer, have, stop = self._buffer, len(self._buffer), size if end < 0 else end
        head = struct.Struct(self._order + "HHI").unpack_from
        children: list[Elements] = []
        while at + 8 <= stop:
            if at + 8 > have:
                raise _Beyond(at + 8)
            group, number, length = head(buffer, at)
            tag, start = group << 16 | number, at + 8
            if tag == _SEQUENCE_END:
                return children, start
            if tag != _ITEM:
                raise CorruptFile(
                    f"{self.name}: ({group:04X},{number:04X}) at byte {at} where an item of a "
                    "sequence should begin"
                )
            child = Elements(
                buffer, explicit=self._explicit and not unknown, little=self._order == "<", name=self.name
            )  # fmt: skip
            child.charset = self.charset
            if length != UNDEFINED:
                if start + length > stop:
                    raise CorruptFile(
                        f"{self.name}: an item claims {length} bytes at byte {at}, {stop - start} are "
                        "there; it is truncated or damaged"
                    )
                if start + length > have:
                    raise _Beyond(start + length)
                at = child._walk(start, start + length, size, depth)
            else:
                at = child._walk(start, -1, size, depth)
            children.append(child)
        if end < 0:
            raise CorruptFile(f"{self.name}: a sequence does not end; it is truncated")
        return children, at

    # -- asking ----------------------------------------------------------------------------------

    def __contains__(self, key: str | int) -> bool:
        entry = self._index.get(key if isinstance(key, int) else ATTRIBUTES[key][0])
        return entry is not None and entry[2] > 0

    def __iter__(self) -> Iterator[int]:
        return iter(self._index)

    def place(self, key: str | int) -> tuple[str, int, int] | None:
        """VR (``""`` where the file does not say), offset and length of a value."""
        entry = self._index.get(key if isinstance(key, int) else ATTRIBUTES[key][0])
        return None if entry is None else (entry[0].decode("latin-1"), entry[1], entry[2])

    def raw(self, key: str | int) -> bytes:
        """The bytes of a value, ``b""`` where it is absent."""
        entry = self._index.get(key if isinstance(key, int) else ATTRIBUTES[key][0])
        if entry is None:
            return b""
        return bytes(self._buffer[entry[1] : entry[1] + entry[2]])

    def _entry(self, key: str | int, vr: str) -> tuple[str, bytes]:
        tag, known = (key, vr) if isinstance(key, int) else ATTRIBUTES[key]
        entry = self._index.get(tag)
        if entry is None:
            return "", b""
        stored = entry[0].decode("latin-1")
        if stored in ("", "UN"):
            stored = known
        return stored, bytes(self._buffer[entry[1] : entry[1] + entry[2]])

    def text(self, key: str | int, default: str = "") -> str:
        """The value as text, all its parts, decoded by the character set."""
        vr, value = self._entry(key, "LO")
        if not value:
            return default
        if vr not in _TEXT:
            return "\\".join(f"{n:g}" for n in self.numbers(key))
        if value.isascii() and 0x1B not in value:
            return value.decode("ascii").strip(" \0").replace("\0", "") or default
        return header_text.text(value, self.charset, person=vr == "PN") or default

    def strings(self, key: str | int) -> tuple[str, ...]:
        """The parts of a text value."""
        text = self.text(key)
        return tuple(part.strip() for part in text.split("\\")) if text else ()

    def numbers(self, key: str | int, vr: str = "DS") -> tuple[float, ...]:
        """The value's numbers; ``vr`` is what an implicit file's private tag is read as."""
        stored, value = self._entry(key, vr)
        if not value:
            return ()
        form = _NUMBERS.get(stored)
        if form is not None:
            n = len(value) // struct.calcsize(form)
            return struct.unpack_from(f"{self._order}{n}{form}", value)
        try:
            text = value.decode("ascii").strip(" \0")
            return tuple([float(part) for part in text.split("\\") if part.strip(" \0")])
        except ValueError as error:
            label = key if isinstance(key, str) else f"({key >> 16:04X},{key & 0xFFFF:04X})"
            raise CorruptFile(
                f"{self.name}: {label} is {value[:60]!r}; it should be numbers"
            ) from error

    def number(
        self, key: str | int, default: float | None = None, *, vr: str = "DS"
    ) -> float | None:
        """The first number, ``default`` where there is none."""
        values = self.numbers(key, vr)
        return values[0] if values else default

    def integer(self, key: str | int, default: int = 0, *, vr: str = "IS") -> int:
        """The first number as a whole one; text that is no number gives the default."""
        try:
            values = self.numbers(key, vr)
            return int(values[0]) if values else default
        except (CorruptFile, OverflowError):
            return default

    def items(self, key: str | int) -> list[Elements]:
        """The items of a sequence, none where it is absent."""
        tag = key if isinstance(key, int) else ATTRIBUTES[key][0]
        if tag in self._children:
            return self._children[tag]
        entry = self._index.get(tag)
        if entry is None or not entry[2]:
            return []
        vr, start, length = entry
        if vr not in (b"SQ", b"UN", b""):
            return []
        children, _ = self._items(start, start + length, start + length, 1, vr == b"UN")
        self._children[tag] = children
        return children

    def first(self, key: str | int) -> Elements | None:
        """The first item of a sequence."""
        items = self.items(key)
        return items[0] if items else None

    @property
    def little(self) -> bool:
        """Whether numbers are little endian."""
        return self._order == "<"


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


def parse(source: bytes | bytearray | memoryview | Path | str, *, name: str = "") -> tuple[Elements, str, Blob, int]:  # fmt: skip
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
        except _Beyond as beyond:
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
            long = form[2] in _LONG
            length = struct.unpack_from("<I", buffer, at + 8)[0] if long else form[3]
            begin = at + (12 if long else 8)
            if begin + length > len(buffer):
                raise CorruptFile(
                    f"{name}: its File Meta Information claims more bytes than are there"
                )
            meta._index[0x00020000 | form[1]] = (form[2], begin, length)
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
    elements = Elements(buffer, explicit=explicit, little=syntax != BIG_ENDIAN, name=name)
    if explicit and size > start + 8 and not buffer[start + 4 : start + 6].isalpha():
        elements._explicit = False  # declared explicit, written implicit
    end = elements._walk(start, size, size, 0)
    if any(tag in elements._index for tag in PIXELS):
        last = max(s + n for t, (_, s, n) in elements._index.items() if t not in PIXELS) if len(elements._index) > 1 else 0  # fmt: skip
    else:
        last = end
    if last > len(buffer):
        raise _Beyond(last)
    elements.charset = elements.text("SpecificCharacterSet")
    for children in elements._children.values():
        _charset(children, elements.charset)
    return elements, syntax, blob, start


def _charset(children: list[Elements], charset: str) -> None:
    for child in children:
        child.charset = child.text("SpecificCharacterSet") or charset
        for inner in child._children.values():
            _charset(inner, child.charset)
