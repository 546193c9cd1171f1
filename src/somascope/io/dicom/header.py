"""The one minimal header pass over a DICOM instance: what it is, and where its frames are.

`scan` walks the elements of a data set up to its end by their lengths (PS3.5 section 7), decodes the
few attributes of an index and never reads pixels. Every declared length is compared with the bytes
that are there before anything is allocated, so a file that is truncated, text, or claims four
gigabytes is refused with its reason: `CorruptFile` or `UnsupportedFormat`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.io.dicom import header_frames, header_text
from somascope.io.dicom.header_frames import Frames
from somascope.io.dicom.header_json import bulk, metadata
from somascope.io.dicom.header_tables import (
    ALL_VRS,
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    GE_PRIVATE,
    IMPLICIT,
    INDEX,
    LONG_VRS,
    Wanted,
    needs_pixels,
    wanted,
)
from somascope.io.dicom.header_window import FileWindow, InflateWindow, WholeWindow, Window

__all__ = ["INDEX", "Frames", "Header", "Wanted", "bulk", "metadata", "scan", "wanted"]

UNDEFINED = 0xFFFFFFFF
MOST_DEPTH = 64
MOST_VALUE = 1 << 16
"""Longest value that is decoded; a longer one is no index text."""
MOST_TABLE = 1 << 25
"""Longest offset table that is read: four million frames."""

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = {0x7FE00010: 0, 0x7FE00008: 32, 0x7FE00009: 64}
_BASIC_SEQUENCE_KINDS = (b"SQ", b"UN")
_PLAIN = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UR"])
_FORMS = {vr: 12 if vr in LONG_VRS else 8 for vr in ALL_VRS}
"""Bytes of tag, VR and length for each VR in explicit encoding."""
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}


@dataclass(frozen=True)
class Header:
    """What one pass over an instance found.

    ``attributes`` maps DICOM keywords to text as stored (values parted by a backslash, padding
    removed, decoded by its character set) or, for US, SS, UL, SL, FL and FD, to a number (a tuple where there are several).
    ``dataset_offset`` is the byte where the data set starts (0 without a Part 10 wrapper),
    ``size`` the number of bytes of the source, ``warnings`` what was odd and harmless.
    """

    transfer_syntax: str
    dataset_offset: int
    size: int
    attributes: Mapping[str, Any]
    frames: Frames | None
    meta: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def part10(self) -> bool:
        """Whether the source carries File Meta Information (PS3.10 section 7)."""
        return bool(self.meta)

    def text(self, keyword: str, default: str = "") -> str:
        """The attribute as text, ``default`` where it is absent."""
        value = self.attributes.get(keyword)
        return default if value is None else str(value)

    def integer(self, keyword: str, default: int = 0) -> int:
        """The first value of a US or IS attribute, ``default`` where it is absent or no number."""
        return _integer(self.attributes.get(keyword), default)

    @property
    def sop_class(self) -> str:
        """SOP Class UID (0008,0016)."""
        return self.text("SOPClassUID")

    @property
    def sop_uid(self) -> str:
        """SOP Instance UID (0008,0018)."""
        return self.text("SOPInstanceUID")

    @property
    def series(self) -> str:
        """Series Instance UID (0020,000E)."""
        return self.text("SeriesInstanceUID")

    @property
    def study(self) -> str:
        """Study Instance UID (0020,000D)."""
        return self.text("StudyInstanceUID")


def _integer(value: Any, default: int) -> int:
    if isinstance(value, tuple):
        value = value[0] if value else None
    try:
        return int(str(value).split("\\")[0].strip())
    except ValueError:
        return default


def scan(
    source: bytes | bytearray | memoryview | Path,
    *,
    transfer_syntax: str | None = None,
    wanted: Wanted = INDEX,
    name: str = "",
) -> Header:
    """Look at an instance without reading its pixels.

    Parameters
    ----------
    source
        A Part 10 file in memory or on disk (of which only what is needed is read), or a bare data
        set as C-STORE delivers it.
    transfer_syntax
        UID of a bare data set's transfer syntax; ``None``: a Part 10 file (one without preamble,
        and a bare data set that begins with group 0008, are recognised).
    wanted
        Attributes to decode, see `wanted`.
    name
        What messages call it; default the file's name.

    Raises
    ------
    CorruptFile
        Truncated, empty, or a length that does not agree with the bytes.
    UnsupportedFormat
        No DICOM, or an unknown transfer syntax.
    """
    if isinstance(source, Path):
        name = name or source.name
        try:
            descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise CorruptFile(f"{name}: cannot be opened: {error.strerror}") from error
        try:
            return _scan(FileWindow(descriptor), transfer_syntax, wanted, name)
        except IsADirectoryError as error:
            raise UnsupportedFormat(f"{name}: is a folder; name a file in it") from error
        finally:
            os.close(descriptor)
    data = source if isinstance(source, (bytes, memoryview)) else memoryview(source)
    return _scan(WholeWindow(data), transfer_syntax, wanted, name or "the instance")


def _scan(window: Window, syntax: str | None, wanted: Wanted, name: str) -> Header:
    size, start, meta, warnings = window.total(), 0, {}, []
    if size == 0:
        raise CorruptFile(f"{name}: is empty (0 bytes); send or copy it again")
    if syntax is None:
        window.load(0, 132)
        head = bytes(window.buf[:132])
        if head[128:132] == b"DICM":
            start, meta = _meta(window, 132, name)
        elif head[:2] == b"\x02\x00" and head[4:6] in ALL_VRS:
            start, meta = _meta(window, 0, name)
            warnings.append("has no preamble")
        else:
            syntax = _guess(head)
            if syntax is None:
                raise UnsupportedFormat(
                    f"{name}: is no DICOM: no 'DICM' at byte 128, begins with {head[:16]!r}"
                )
            warnings.append("has no File Meta Information; its transfer syntax was guessed")
    if meta or syntax is None:
        syntax = meta.get("TransferSyntaxUID") or None
        if syntax is None:
            window.load(start, 8)
            at = start - window.base
            syntax = _guess(bytes(window.buf[at : at + 8])) or IMPLICIT
            warnings.append("File Meta Information has no Transfer Syntax UID; it was guessed")
    if not syntax.startswith("1.2.840.10008.1.2") and syntax != GE_PRIVATE:
        raise UnsupportedFormat(
            f"{name}: transfer syntax {syntax!r} is not one of DICOM's; convert the file first"
        )
    deflated = syntax == DEFLATED
    if deflated:
        window, begin = InflateWindow(window, start, name=name), 0
    else:
        begin = start
    walk = _Walk(window, syntax, wanted, name, warnings)
    walk.dataset(begin)
    frames = walk.frames(inflated=deflated)
    return Header(syntax, start, size, walk.attributes, frames, meta, tuple(warnings))


def _guess(head: bytes) -> str | None:
    """The transfer syntax of a bare data set that begins with group 0008, or ``None``."""
    if head[:2] == b"\x08\x00" and head[3:4] == b"\x00":
        return EXPLICIT if head[4:6] in ALL_VRS else IMPLICIT
    if head[:3] == b"\x00\x08\x00" and head[4:6] in ALL_VRS:
        return BIG_ENDIAN
    return None


_META = {
    0x0002: "MediaStorageSOPClassUID",
    0x0003: "MediaStorageSOPInstanceUID",
    0x0010: "TransferSyntaxUID",
    0x0016: "SourceApplicationEntityTitle",
}


def _meta(window: Window, at: int, name: str) -> tuple[int, dict[str, str]]:
    """Group 0002 (explicit little endian): where it ends, and its texts."""
    found = {"": ""}
    while True:
        window.load(at, 12)
        p = at - window.base
        head = bytes(window.buf[p : p + 12])
        if head[:2] != b"\x02\x00":
            if len(head) == 0:
                raise CorruptFile(f"{name}: ends after its File Meta Information, at byte {at}")
            return at, found
        if len(head) < 8 or head[4:6] not in ALL_VRS:
            raise CorruptFile(f"{name}: File Meta Information is damaged at byte {at}")
        element, vr = int.from_bytes(head[2:4], "little"), head[4:6]
        wide = vr in LONG_VRS
        length = int.from_bytes(head[8:12] if wide else head[6:8], "little")
        at += 12 if wide else 8
        if not window.reaches(at + length):
            raise CorruptFile(
                f"{name}: File Meta Information element (0002,{element:04x}) declares {length} "
                f"bytes, {max(window.total() - at, 0)} are there; the file is truncated"
            )
        if element in _META and length <= 128:
            window.load(at, length)
            p = at - window.base
            value = bytes(window.buf[p : p + length])
            key = _META[element]
            if key.endswith("UID"):
                found[key] = header_text.uid(value, keyword=key, name=name)
            else:
                found[key] = header_text.plain(value)
        at += length


class _Walk:
    """One walk over a data set; holds what it found."""

    def __init__(
        self, window: Window, syntax: str, wanted: Wanted, name: str, warnings: list[str]
    ) -> None:
        self.window, self.syntax, self.wanted, self.name = window, syntax, wanted, name
        self.warnings = warnings
        self.attributes: dict[str, Any] = {}
        self.order = ">" if syntax == BIG_ENDIAN else "<"
        self.endian: Literal["big", "little"] = "big" if self.order == ">" else "little"
        self.explicit = syntax not in (IMPLICIT, GE_PRIVATE)
        self.pixels: tuple[int, int, int] | None = None  # offset, length, bits of float pixels
        self.fragments: tuple[int, list[int], list[bytes], tuple[int, ...]] | None = None
        self.extended: tuple[int, ...] = ()

    def dataset(self, at: int) -> None:
        """Walk the elements from byte ``at`` to the end of the source."""
        window, explicit, wanted = self.window, self.explicit, dict(self.wanted)
        forms = _FORMS
        wide = struct.Struct(self.order + "HH2sH").unpack_from
        narrow = struct.Struct(self.order + "HHI").unpack_from
        long = struct.Struct(self.order + "I").unpack_from
        window.load(at, 12)
        buf, base = window.buf, window.base
        n, p = len(buf), at - base
        if explicit and p + 8 <= n and bytes(buf[p + 4 : p + 6]) not in ALL_VRS:
            if _guess(bytes(buf[p : p + 8])) == IMPLICIT:
                explicit = self.explicit = False
                self.warnings.append(f"transfer syntax {self.syntax} is claimed, it is implicit VR")
        while True:
            if p + 12 > n:
                at = base + p
                window.load(at, 12)
                buf, base = window.buf, window.base
                n, p = len(buf), at - base
                if p == n:
                    return
                if p + 8 > n:
                    self._rest(at)
                    return
            if explicit:
                group, element, vr, length = wide(buf, p)
                form = forms.get(vr)
                if form == 8:
                    p += 8
                elif form == 12:
                    if p + 12 > n:
                        raise self._short(group << 16 | element, base + p, 12, n - p)
                    (length,) = long(buf, p + 8)
                    p += 12
                else:
                    if group == element == 0:
                        self._rest(base + p)
                        return
                    raise CorruptFile(
                        f"{self.name}: element ({group:04x},{element:04x}) at byte {base + p} has "
                        f"VR {vr!r}; no such VR: the file is damaged or not {self.syntax}"
                    )
            else:
                group, element, length = narrow(buf, p)
                vr = b""
                if group == element == 0:
                    self._rest(base + p)
                    return
                p += 8
            tag = group << 16 | element
            end = p + length
            if end <= n and tag not in wanted and tag < 0x7FE00000:
                p = end  # the common case: not asked for
                continue
            if length == UNDEFINED:
                at = self._undefined(tag, vr, base + p)
                window.load(at, 12)
                buf, base = window.buf, window.base
                n, p = len(buf), at - base
                continue
            keep = length <= MOST_VALUE and tag in wanted
            if end > n:
                if keep:  # a forward-only window must show the value before it passes it
                    at = base + p
                    window.load(at, length)
                    buf, base = window.buf, window.base
                    n, p = len(buf), at - base
                    end = p + length
                if end > n and not window.reaches(base + end):
                    raise self._short(tag, base + p, length, window.total() - base - p)
            if keep:
                self._value(tag, vr, bytes(buf[p:end]))
            elif tag in _PIXELS:
                self.pixels = (base + p, length, _PIXELS[tag])
            elif tag == 0x7FE00001 and length % 8 == 0 and length <= MOST_TABLE:
                self.extended = self._numbers(base + p, length, "Q")
            if window.buf is not buf:  # a forward-only window has moved
                at = base + end
                window.load(at, 12)
                buf, base = window.buf, window.base
                n, p = len(buf), at - base
            else:
                p = end

    def _short(self, tag: int, at: int, length: int, there: int) -> CorruptFile:
        return CorruptFile(
            f"{self.name}: element ({tag >> 16:04x},{tag & 0xFFFF:04x}) at byte {at} declares "
            f"{length} bytes, {max(there, 0)} are there; it is truncated, send or copy it again"
        )

    def _rest(self, at: int) -> None:
        """Behind the last element only zero padding is allowed."""
        window, begin = self.window, at
        while window.reaches(at + 1):
            window.load(at, 4096)
            p = at - window.base
            piece = bytes(window.buf[p:])
            if piece.strip(b"\0"):
                raise CorruptFile(
                    f"{self.name}: no element at byte {begin}, yet bytes that are not padding; the "
                    "file is truncated or damaged, send or copy it again"
                )
            at += len(piece)
        self.warnings.append(f"ends in {at - begin} bytes of padding")

    def _value(self, tag: int, vr: bytes, value: bytes) -> None:
        keyword, kind = self.wanted[tag]
        if kind in _PLAIN and value.isascii():
            self.attributes[keyword] = value.decode().strip(" \0")
        elif kind in _NUMBERS:
            size = struct.calcsize(_NUMBERS[kind])
            if len(value) % size or (vr and vr not in (kind.encode(), b"UN")):
                raise CorruptFile(
                    f"{self.name}: {keyword} has VR {vr.decode()} and {len(value)} bytes; "
                    f"it must be {kind}"
                )
            if len(value) == 2 and kind == "US":
                self.attributes[keyword] = int.from_bytes(value, self.endian)
            elif value:
                numbers = struct.unpack(f"{self.order}{len(value) // size}{_NUMBERS[kind]}", value)
                self.attributes[keyword] = numbers[0] if len(numbers) == 1 else numbers
        elif kind == "UI":
            self.attributes[keyword] = header_text.uid(value, keyword=keyword, name=self.name)
        elif kind in ("LO", "PN", "SH", "LT", "ST", "UC", "UT"):
            charset = self.attributes.get("SpecificCharacterSet", "")
            self.attributes[keyword] = header_text.text(value, charset, person=kind == "PN")
        elif kind in ("SQ", "OB", "OW", "UN"):
            self.attributes[keyword] = value
        else:
            self.attributes[keyword] = header_text.plain(value)

    def _head(self, at: int, explicit: bool, order: str) -> tuple[int, bytes, int, int]:  # noqa: FBT001
        """Tag, VR, length and value position of the element at ``at`` (within a sequence)."""
        window = self.window
        window.load(at, 12)
        p = at - window.base
        head = bytes(window.buf[p : p + 12])
        if len(head) < 8:
            raise CorruptFile(
                f"{self.name}: a sequence is not closed when the file ends at byte {at + len(head)}; "
                "it is truncated, send or copy it again"
            )
        group, element, length = struct.unpack_from(order + "HHI", head)
        tag = group << 16 | element
        if not explicit or group == 0xFFFE:
            return tag, b"", length, at + 8
        vr = head[4:6]
        if vr in LONG_VRS:
            if len(head) < 12:
                raise self._short(tag, at, 12, len(head))
            return tag, vr, struct.unpack_from(order + "I", head, 8)[0], at + 12
        if vr not in ALL_VRS:
            raise CorruptFile(
                f"{self.name}: element ({group:04x},{element:04x}) at byte {at} has VR {vr!r}"
            )
        return tag, vr, struct.unpack_from(order + "H", head, 6)[0], at + 8

    def _undefined(self, tag: int, vr: bytes, at: int) -> int:
        """Skip an element of undefined length whose value begins at ``at``; where it ends."""
        if tag == 0x7FE00010 and vr not in _BASIC_SEQUENCE_KINDS:
            return self._fragments(at)
        if vr and vr not in (b"SQ", b"UN", b"OB", b"OW"):
            raise CorruptFile(
                f"{self.name}: element ({tag >> 16:04x},{tag & 0xFFFF:04x}) with VR {vr.decode()} "
                "declares an undefined length, which only sequences may"
            )
        # (inside an item?, explicit?, order); UN of undefined length is implicit (PS3.5 6.2.2)
        inner = (False, "<") if vr == b"UN" else (self.explicit, self.order)
        stack: list[tuple[bool, bool, str]] = [(False, *inner)]
        while stack:
            item, explicit, order = stack[-1]
            tag, vr, length, value = self._head(at, explicit, order)
            at = value
            if tag == (_ITEM_END if item else _SEQUENCE_END):
                stack.pop()
                continue
            if not item and tag != _ITEM:
                raise CorruptFile(
                    f"{self.name}: ({tag >> 16:04x},{tag & 0xFFFF:04x}) at byte {at} where a "
                    "sequence must have an item or its end"
                )
            if length != UNDEFINED:
                if not self.window.reaches(at + length):
                    raise self._short(tag, at, length, self.window.total() - at)
                at += length
            elif item:
                stack.append((False, False, "<") if vr == b"UN" else (False, explicit, order))
            else:
                stack.append((True, explicit, order))
            if len(stack) > MOST_DEPTH:
                raise CorruptFile(
                    f"{self.name}: sequences are nested more than {MOST_DEPTH // 2} deep; refused"
                )
        return at

    def _fragments(self, at: int) -> int:
        """Note the fragments of encapsulated Pixel Data (PS3.5 A.4); where it ends."""
        tag, _, length, at = self._head(at, False, self.order)
        if tag != _ITEM or not self.window.reaches(at + length) or length == UNDEFINED:
            raise CorruptFile(
                f"{self.name}: encapsulated Pixel Data has no Basic Offset Table item"
            )
        readable = length % 4 == 0 and length <= MOST_TABLE
        basic = self._numbers(at, length, "I") if readable else ()
        at += length
        first, lengths, heads = at, [], []
        while True:
            tag, _, length, value = self._head(at, False, self.order)
            at = value
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM or length == UNDEFINED:
                raise CorruptFile(
                    f"{self.name}: ({tag >> 16:04x},{tag & 0xFFFF:04x}) at byte {at - 8} where "
                    "encapsulated Pixel Data must have a fragment or its end"
                )
            if not self.window.reaches(at + length):
                raise self._short(tag, at, length, self.window.total() - at)
            p = at - self.window.base
            heads.append(bytes(self.window.buf[p : p + 4]))
            lengths.append(length)
            at += length
        self.fragments = (first, lengths, heads, basic)
        return at

    def _numbers(self, at: int, length: int, code: str) -> tuple[int, ...]:
        """An offset table."""
        self.window.load(at, length)
        p = at - self.window.base
        raw = bytes(self.window.buf[p : p + length])
        return struct.unpack(f"{self.order}{length // struct.calcsize(code)}{code}", raw)

    def frames(self, *, inflated: bool) -> Frames | None:
        """Where the frames are, from what the walk found."""
        a, warn = self.attributes, self.warnings.append
        count = _integer(a.get("NumberOfFrames") or 1, 1)
        if self.fragments is not None:
            first, lengths, heads, basic = self.fragments
            return header_frames.encapsulated(
                name=self.name, offset=first, lengths=lengths, first_bytes=heads, basic=basic,
                extended=self.extended, count=count, syntax=self.syntax, warn=warn,
            )  # fmt: skip
        if self.pixels is None:
            if needs_pixels(a.get("SOPClassUID", "")) and not a.get("PixelDataProviderURL"):
                raise CorruptFile(
                    f"{self.name}: an image (SOP class {a['SOPClassUID']}) without Pixel Data; it is "
                    "truncated before its pixels, send or copy it again"
                )
            return None
        offset, length, bits = self.pixels
        return header_frames.native(
            name=self.name, offset=offset, length=length,
            rows=_integer(a.get("Rows"), 0), columns=_integer(a.get("Columns"), 0),
            samples=_integer(a.get("SamplesPerPixel"), 1),
            allocated=bits or _integer(a.get("BitsAllocated"), 0),
            photometric=a.get("PhotometricInterpretation", ""),
            count=count, inflated=inflated, warn=warn,
        )  # fmt: skip
