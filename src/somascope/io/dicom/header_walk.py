"""The walk of `header.scan` over the elements of one data set (PS3.5 section 7)."""

from __future__ import annotations

import struct
from typing import Any, Literal

from somascope.core.errors import CorruptFile
from somascope.io.dicom import header_frames, header_text
from somascope.io.dicom.header_frames import Frames
from somascope.io.dicom.header_tables import (
    ALL_VRS,
    BIG_ENDIAN,
    EXPLICIT,
    GE_PRIVATE,
    IMPLICIT,
    LONG_VRS,
    Wanted,
    needs_pixels,
)
from somascope.io.dicom.header_window import Window

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


def integer(value: Any, default: int) -> int:
    """The first number of a US or IS value, ``default`` where there is none."""
    if isinstance(value, tuple):
        value = value[0] if value else None
    try:
        return int(str(value).split("\\")[0].strip())
    except ValueError:
        return default


def guess(head: bytes) -> str | None:
    """The transfer syntax of a bare data set that begins with group 0008, or ``None``."""
    if head[:2] == b"\x08\x00" and head[3:4] == b"\x00":
        return EXPLICIT if head[4:6] in ALL_VRS else IMPLICIT
    if head[:3] == b"\x00\x08\x00" and head[4:6] in ALL_VRS:
        return BIG_ENDIAN
    return None


class Walk:
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
        if explicit and guess(bytes(buf[p : p + 8])) == IMPLICIT:
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
                f"{self.name}: a sequence is not closed when the file ends at byte "
                f"{at + len(head)}; it is truncated, send or copy it again"
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
        stack: list[tuple[bool, bool, str]] = [(False, self.explicit, self.order)]
        if vr == b"UN":
            stack = [(False, False, "<")]
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
        count = integer(a.get("NumberOfFrames") or 1, 1)
        if self.fragments is not None:
            first, lengths, heads, basic = self.fragments
            return header_frames.encapsulated(
                name=self.name, offset=first, lengths=lengths, first_bytes=heads, basic=basic,
                extended=self.extended, count=count, syntax=self.syntax, warn=warn,
            )  # fmt: skip
        if self.pixels is None:
            if needs_pixels(a.get("SOPClassUID", "")) and not a.get("PixelDataProviderURL"):
                raise CorruptFile(
                    f"{self.name}: an image (SOP class {a['SOPClassUID']}) without Pixel Data; it "
                    "is truncated before its pixels, send or copy it again"
                )
            return None
        offset, length, bits = self.pixels
        return header_frames.native(
            name=self.name, offset=offset, length=length,
            rows=integer(a.get("Rows"), 0), columns=integer(a.get("Columns"), 0),
            samples=integer(a.get("SamplesPerPixel"), 1),
            allocated=bits or integer(a.get("BitsAllocated"), 0),
            photometric=a.get("PhotometricInterpretation", ""),
            count=count, inflated=inflated, warn=warn,
        )  # fmt: skip
