"""The one minimal header pass over a DICOM instance: what it is, and where its frames are.

`scan` walks the elements of a data set up to its end by their lengths (PS3.5 section 7), decodes
the few attributes of an index and never reads pixels. Every declared length is compared with the
bytes that are there before anything is allocated, so a file that is truncated, text, or claims
four gigabytes is refused with its reason: `CorruptFile` or `UnsupportedFormat`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.io.dicom import header_text
from somascope.io.dicom.header_frames import Frames
from somascope.io.dicom.header_json import bulk, metadata
from somascope.io.dicom.header_tables import (
    ALL_VRS,
    DEFLATED,
    GE_PRIVATE,
    IMPLICIT,
    INDEX,
    LONG_VRS,
    Wanted,
    wanted,
)
from somascope.io.dicom.header_walk import Walk, guess, integer
from somascope.io.dicom.header_window import FileWindow, InflateWindow, WholeWindow, Window

__all__ = ["INDEX", "Frames", "Header", "Wanted", "bulk", "metadata", "scan", "wanted"]


@dataclass(frozen=True)
class Header:
    """What one pass over an instance found.

    ``attributes`` maps DICOM keywords to text as stored (values parted by a backslash, padding
    removed, decoded by its character set) or, for US, SS, UL, SL, FL and FD, to a number (a
    tuple where there are several).
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
        return integer(self.attributes.get(keyword), default)

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
            syntax = guess(head)
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
            syntax = guess(bytes(window.buf[at : at + 8])) or IMPLICIT
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
    walk = Walk(window, syntax, wanted, name, warnings)
    walk.dataset(begin)
    frames = walk.frames(inflated=deflated)
    return Header(syntax, start, size, walk.attributes, frames, meta, tuple(warnings))


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
