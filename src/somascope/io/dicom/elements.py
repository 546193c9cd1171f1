"""A data set read on demand: tags are found by their lengths, values decoded when asked for.

The image reader needs sequences (functional groups, LUTs, private CSA headers) of thousands of
instances, so `Elements` keeps the place of each value instead of its value (PS3.5 section 7).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from somascope.core.errors import CorruptFile
from somascope.io.dicom import header_text
from somascope.io.dicom.attributes import ATTRIBUTES

UNDEFINED = 0xFFFFFFFF
PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)
MOST_DEPTH = 32

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_NUMBERS = {
    "US": "H",
    "SS": "h",
    "UL": "I",
    "SL": "i",
    "FL": "f",
    "FD": "d",
    "UV": "Q",
    "SV": "q",
    "OW": "H",
    "OF": "f",
    "OD": "d",
    "OL": "I",
    "OV": "Q",
    "AT": "H",
}


class Beyond(Exception):
    """No error: the walk needs more of the source than the buffer holds."""

    def __init__(self, end: int) -> None:
        super().__init__()
        self.end = end


class Elements:
    """One data set, or one item of a sequence.

    Values are asked for by keyword (of `attributes.ATTRIBUTES`) or by tag number; a missing or
    empty value gives the default, one that cannot be decoded raises `CorruptFile`.
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

    def walk(self, at: int, end: int, *, size: int, depth: int = 0) -> int:
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
                raise Beyond(at + 12)
            if explicit:
                group, number, vr, length = short(buffer, at)
                if group == 0xFFFE:
                    vr, start = b"", at + 8
                    length = long(buffer, at + 4)[0]
                elif vr in LONG:
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
                children, after = self._items(
                    start, -1, size=size, depth=depth + 1, unknown=vr == b"UN"
                )
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
        self, at: int, end: int, *, size: int, depth: int, unknown: bool
    ) -> tuple[list[Elements], int]:
        if depth > MOST_DEPTH:
            raise CorruptFile(f"{self.name}: sequences are nested more than {MOST_DEPTH} deep")
        buffer, have, stop = self._buffer, len(self._buffer), size if end < 0 else end
        head = struct.Struct(self._order + "HHI").unpack_from
        children: list[Elements] = []
        while at + 8 <= stop:
            if at + 8 > have:
                raise Beyond(at + 8)
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
                buffer,
                explicit=self._explicit and not unknown,
                little=self._order == "<",
                name=self.name,
            )
            child.charset = self.charset
            if length != UNDEFINED:
                if start + length > stop:
                    raise CorruptFile(
                        f"{self.name}: an item claims {length} bytes at byte {at}, {stop - start} "
                        "are there; it is truncated or damaged"
                    )
                if start + length > have:
                    raise Beyond(start + length)
                at = child.walk(start, start + length, size=size, depth=depth)
            else:
                at = child.walk(start, -1, size=size, depth=depth)
            children.append(child)
        if end < 0:
            raise CorruptFile(f"{self.name}: a sequence does not end; it is truncated")
        return children, at

    def note(self, tag: int, vr: bytes, start: int, length: int) -> None:
        """Note one element, found by somebody else."""
        self._index[tag] = (vr, start, length)

    def extent(self) -> int:
        """Where the last value ends, pixels not counted."""
        return max((s + n for t, (_, s, n) in self._index.items() if t not in PIXELS), default=0)

    def declare(self, charset: str) -> None:
        """Set the character set, inherited by items that name none."""
        self.charset = self.text("SpecificCharacterSet") or charset
        for children in self._children.values():
            for child in children:
                child.declare(self.charset)

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
        if vr in _NUMBERS:
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
        children, _ = self._items(
            start, start + length, size=start + length, depth=1, unknown=vr == b"UN"
        )
        for child in children:
            child.declare(self.charset)
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
