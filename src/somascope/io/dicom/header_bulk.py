"""Where one value of an instance lies in its file, so that it is served without being read whole.

The elements on the way to it are walked by their lengths (PS3.5 section 7) in a mapped file: of a
gigabyte of raw data in a private element only the pages with element heads are touched.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from somascope.core.errors import CorruptFile, NotFound
from somascope.io.dicom.header_tables import (
    ALL_VRS,
    BIG_ENDIAN,
    DEFLATED,
    GE_PRIVATE,
    IMPLICIT,
    LONG_VRS,
)

UNDEFINED = 0xFFFFFFFF
MOST_DEPTH = 64
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


@dataclass(frozen=True)
class Place:
    """``length`` bytes at ``offset`` of the file; ``vr`` is ``""`` in implicit encoding.

    ``word`` is the size of the numbers that have to be turned round (big endian), else 1.
    """

    vr: str
    offset: int
    length: int
    word: int = 1


def locate(path: Path, where: str) -> Place | None:
    """The place of the value at ``where`` (``TAG`` or ``TAG/item/TAG``, as `metadata` names it).

    ``None`` where it has no place of its own: the data set is deflated, or the value is in
    fragments (compressed pixels). Raises `NotFound` where there is no such value.
    """
    from somascope.io.dicom.header import scan

    steps = _steps(where)
    found = scan(path, wanted={})
    if found.transfer_syntax == DEFLATED:
        return None
    explicit = found.transfer_syntax not in (IMPLICIT, GE_PRIVATE)
    order = ">" if found.transfer_syntax == BIG_ENDIAN else "<"
    start = found.dataset_offset
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
    ):
        if explicit and bytes(view[start + 4 : start + 6]) not in ALL_VRS:
            explicit = False
        walk = _Walk(view, order)
        try:
            return walk.value(steps, start, len(view), where, explicit=explicit)
        except struct.error as error:
            raise CorruptFile(f"{path.name}: ends within an element: {error}") from error


def _steps(where: str) -> list[int]:
    """Tag, item, tag, item, ..., tag."""
    parts = where.strip("/").split("/")
    if len(parts) % 2 == 0 or len(parts) > 2 * MOST_DEPTH:
        raise NotFound(f"no bulk data at {where[:80]!r}; its path is TAG or TAG/item/TAG")
    steps: list[int] = []
    for n, part in enumerate(parts):
        digits = part.isascii() and (part.isdigit() if n % 2 else _hex(part))
        if not digits or len(part) > 8:
            raise NotFound(f"no bulk data at {where[:80]!r}; its path is TAG or TAG/item/TAG")
        steps.append(int(part, 10 if n % 2 else 16))
    return steps


def _hex(text: str) -> bool:
    return bool(text) and not set(text) - set("0123456789abcdefABCDEF")


class _Walk:
    """Element heads in one buffer."""

    def __init__(self, buf: memoryview, order: str) -> None:
        self._buf, self._order = buf, order
        self._narrow = struct.Struct(order + "HHI").unpack_from
        self._wide = struct.Struct(order + "HH2sH").unpack_from

    def value(
        self, steps: list[int], at: int, end: int, where: str, *, explicit: bool
    ) -> Place | None:
        """The element that ``steps`` lead to, in the elements of ``at .. end``."""
        for n in range(0, len(steps), 2):
            found = self._find(steps[n], at, end, explicit=explicit)
            if found is None:
                raise NotFound(f"no bulk data at {where!r} in this instance")
            vr, at, length = found
            if n == len(steps) - 1:
                if length == UNDEFINED:
                    if vr in ("", "SQ", "UN") and steps[n] >> 16 != 0x7FE0:
                        raise NotFound(f"{where!r} is a sequence, not a value")
                    return None
                word = _WORDS.get(vr, 1) if self._order == ">" else 1
                return Place(vr, at, length, word)
            explicit = explicit and vr != "UN"  # PS3.5 6.2.2 note 2
            found = self._item(steps[n + 1], at, length, end, explicit=explicit)
            if found is None:
                raise NotFound(f"no bulk data at {where!r} in this instance")
            at, end = found
        raise NotFound(f"no bulk data at {where!r} in this instance")

    def _head(self, at: int, *, explicit: bool) -> tuple[int, str, int, int]:
        """Tag, VR, length, and where the value begins."""
        if not explicit:
            group, element, length = self._narrow(self._buf, at)
            return group << 16 | element, "", length, at + 8
        group, element, vr, length = self._wide(self._buf, at)
        if group == 0xFFFE:
            return group << 16 | element, "", self._narrow(self._buf, at)[2], at + 8
        if vr in LONG_VRS:
            (length,) = struct.unpack_from(self._order + "I", self._buf, at + 8)
            return group << 16 | element, vr.decode(), length, at + 12
        if vr not in ALL_VRS:
            raise CorruptFile(f"element ({group:04x},{element:04x}) at byte {at} has VR {vr!r}")
        return group << 16 | element, vr.decode(), length, at + 8

    def _find(
        self, wanted: int, at: int, end: int, *, explicit: bool
    ) -> tuple[str, int, int] | None:
        while at + 8 <= end:
            tag, vr, length, start = self._head(at, explicit=explicit)
            if tag == wanted:
                if length != UNDEFINED and start + length > end:
                    raise CorruptFile(f"element {tag:08X} declares {length} bytes; truncated")
                return vr, start, length
            if tag in (_ITEM_END, _SEQUENCE_END):
                return None
            at = self._behind(vr, length, start, end, explicit=explicit)
        return None

    def _behind(
        self, vr: str, length: int, start: int, end: int, *, explicit: bool, depth: int = 0
    ) -> int:
        """Where the next element begins."""
        if length != UNDEFINED:
            return start + length
        if depth > MOST_DEPTH:
            raise CorruptFile(f"sequences are nested more than {MOST_DEPTH} deep; refused")
        explicit = explicit and vr != "UN"
        at = start
        while at + 8 <= end:
            tag, _, length, at = self._head(at, explicit=False)
            if tag != _ITEM:
                return at
            if length != UNDEFINED:
                at += length
                continue
            while at + 8 <= end:
                tag, inner, length, start = self._head(at, explicit=explicit)
                if tag == _ITEM_END:
                    at = start
                    break
                at = self._behind(inner, length, start, end, explicit=explicit, depth=depth + 1)
        return at

    def _item(
        self, number: int, at: int, length: int, end: int, *, explicit: bool
    ) -> tuple[int, int] | None:
        """Where item ``number`` (from 0) of a sequence begins and ends at the latest."""
        stop = end if length == UNDEFINED else min(at + length, end)
        while at + 8 <= stop:
            tag, _, size, start = self._head(at, explicit=False)
            if tag != _ITEM:
                return None
            if number == 0:
                return start, (stop if size == UNDEFINED else min(start + size, stop))
            number -= 1
            at = start + size
            if size == UNDEFINED:
                at = start
                while at + 8 <= stop:
                    tag, vr, size, begin = self._head(at, explicit=explicit)
                    if tag == _ITEM_END:
                        at = begin
                        break
                    at = self._behind(vr, size, begin, stop, explicit=explicit)
        return None
