"""Values become DICOM data elements, and data elements become Part 10 bytes (PS3.5, PS3.10)."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian

from somascope.core.errors import ParameterError, WriteError
from somascope.core.finding import Code
from somascope.io.dicom import uid

LENGTHS = {"AE": 16, "CS": 16, "LO": 64, "SH": 16, "ST": 1024, "LT": 10240, "PN": 64}
"""Longest value in characters (PS3.5 table 6.2-1); for PN of each component group."""

PATTERNS = {
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9_ ]{0,16}"),
    "DA": re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"),
    "DT": re.compile(r"\d{4,14}(\.\d{1,6})?([+-]\d{4})?"),
    "DS": re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
    "IS": re.compile(r"[+-]?\d{1,11}"),
}
_RANGES = {"US": (0, 2**16), "SS": (-(2**15), 2**15), "UL": (0, 2**32), "SL": (-(2**31), 2**31)}
_TEXT = ("LO", "SH", "PN", "UC")
_PROSE = ("ST", "LT", "UT")


def allows(multiplicity: str, count: int) -> bool:
    """Whether ``count`` values fit a value multiplicity such as ``1``, ``2-2n`` or ``1-3``."""
    low, _, high = multiplicity.partition("-")
    if not high:
        return count == int(low)
    if high == "n":
        return count >= int(low)
    if high.endswith("n"):
        return count >= int(low) and count % int(high[:-1]) == 0
    return int(low) <= count <= int(high)


def number(value: float) -> str:
    """``value`` as a decimal string of at most 16 characters, as exact as that allows."""
    if float(value) == round(float(value)) and abs(value) < 1e15:
        return str(round(value))
    for digits in range(17, 0, -1):
        text = f"{float(value):.{digits}g}"
        if len(text) <= 16 and math.isfinite(float(text)):
            return text
    raise WriteError(f"{value!r} has no decimal string of 16 characters")


def clean(value: Any, vr: str) -> Any:
    """One value made to fit ``vr``, or None where it cannot."""
    try:
        return None if value is None else _fitted(value, vr)
    except (TypeError, ValueError, OverflowError):
        return None


def _fitted(value: Any, vr: str) -> Any:
    if vr in ("DS", "FD", "FL"):
        if isinstance(value, str):
            text = value.strip()
            if not PATTERNS["DS"].fullmatch(text):
                return None
            if vr == "DS" and len(text) <= 16:
                return text
            value = text
        value = float(value)
        if not math.isfinite(value) or (vr == "FL" and abs(value) > 3.4e38):
            return None
        return number(value) if vr == "DS" else value
    if vr in ("IS", *_RANGES):
        text = str(value).strip()
        if not PATTERNS["DS"].fullmatch(text):
            return None
        whole = round(float(text))
        low, high = _RANGES.get(vr, (-(2**31), 2**31))
        return whole if low <= whole < high else None
    if vr == "UI":
        # Real archives hold UIDs with leading zeros; to drop one would tear a study apart.
        return str(value) if uid.is_usable(str(value)) else None
    if vr in _TEXT:
        text = "".join(c for c in str(value) if c.isprintable()).replace("\\", "/").strip()
        return _person(text) if vr == "PN" else text[: LENGTHS.get(vr)]
    if vr in _PROSE:
        text = "".join(c for c in str(value) if c.isprintable() or c in "\r\n\t\f")
        return text[: LENGTHS.get(vr)]
    text = str(value).strip()
    if vr in PATTERNS:
        return text if PATTERNS[vr].fullmatch(text) else None
    if vr == "AE":
        return text[:16]
    return None


def _person(text: str) -> str:
    return "=".join(group[:64] for group in text.split("=")[:3])


def element(keyword: str, value: Any) -> DataElement:
    """The data element for ``keyword``; what does not fit its representation is left out.

    ``value`` is a number, text, a list of them, or (for a sequence) a list of datasets or
    mappings from keywords to values.
    """
    tag = tag_for_keyword(keyword) if keyword else None
    if tag is None:
        raise ParameterError(f"{keyword!r} is not a DICOM keyword (PS3.6)")
    vr = dictionary_VR(tag)
    if vr == "SQ":
        items = [value] if isinstance(value, (Dataset, Mapping)) else list(value or ())
        sequence = Items(i if isinstance(i, Dataset) else dataset(i) for i in items)
        return DataElement(tag, "SQ", sequence, validation_mode=config.IGNORE)
    if isinstance(value, bytes):
        return DataElement(tag, vr if " " not in vr else "OW", value)
    if vr == "AT":
        return DataElement(tag, vr, value, validation_mode=config.IGNORE)
    vr = "US" if vr == "US or SS" else vr
    several = dictionary_VM(tag) != "1"
    if several and isinstance(value, str) and "\\" in value and vr not in _PROSE:
        value = value.split("\\")
    if isinstance(value, Iterable) and not isinstance(value, str):
        values = [clean(v, vr) for v in cast("Iterable[Any]", value)]
        if not several:
            values = values[:1]
        blank = "" if vr in ("CS", "LO", "SH") else None
        kept = [blank if v is None else v for v in values]
        fits = blank == "" or all(v is not None for v in kept)
        result = (kept[0] if len(kept) == 1 else kept) if kept and fits else None
    else:
        result = clean(value, vr)
    return DataElement(tag, vr, result, validation_mode=config.IGNORE)


def dataset(values: Mapping[str, Any]) -> Dataset:
    """A dataset from keywords and values."""
    result = Dataset()
    put(result, values)
    return result


def put(target: Dataset, values: Mapping[str, Any]) -> None:
    """Set keywords of ``target``."""
    for keyword, value in values.items():
        target.add(element(keyword, value))


def typed(keyword: str, vr: str, value: Any) -> DataElement:
    """An element whose representation depends on the pixels (US or SS)."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return DataElement(tag, vr, value, validation_mode=config.IGNORE)


def coded(code: Code) -> Dataset:
    """The item of a code sequence (PS3.3 section 8)."""
    value = "CodeValue" if len(code.value) <= 16 else "LongCodeValue"
    return dataset(
        {
            value: code.value,
            "CodingSchemeDesignator": code.scheme,
            "CodeMeaning": code.meaning,
        }
    )


def encode(source: Dataset) -> dict[int, bytes]:
    """Each element of a dataset as bytes, explicit VR little endian, UTF-8."""
    result: dict[int, bytes] = {}
    for item in source:
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_data_element(buffer, item, ["utf-8"])
        result[int(item.tag)] = buffer.getvalue()
    return result


def encode_sequence(tag: int, items: Iterable[Mapping[int, bytes]]) -> bytes:
    """A sequence whose items are elements already encoded."""
    parts: list[bytes] = []
    for item in items:
        body = b"".join(item[t] for t in sorted(item))
        parts += (struct.pack("<HHI", 0xFFFE, 0xE000, len(body)), body)
    size = sum(map(len, parts))
    if size > 0xFFFFFFFE:
        raise WriteError(f"{size} bytes of functional groups do not fit one DICOM instance")
    return b"".join((struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, size), *parts))


class Encoder:
    """Encodes instances that share most attributes; the shared ones are encoded once.

    Explicit VR little endian, UTF-8.
    """

    def __init__(self, shared: Dataset, *, encoded: Mapping[int, bytes] | None = None) -> None:
        self._shared = {**encode(shared), **(encoded or {})}

    def part10(
        self, own: Dataset, pixels: Sequence[memoryview | bytes], *, keyword: str = "PixelData"
    ) -> bytes:
        """The file: shared attributes, ``own`` (which win), then ``pixels`` one after the other.

        No ``pixels``, no pixel data: a report.
        """
        elements = {**self._shared, **encode(own)}
        head = DicomBytesIO()
        head.is_little_endian, head.is_implicit_VR = True, False
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = _text(elements[0x00080016])
        meta.MediaStorageSOPInstanceUID = _text(elements[0x00080018])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.ImplementationClassUID = UID(uid.IMPLEMENTATION)
        meta.ImplementationVersionName = "SOMASCOPE"
        write_file_meta_info(head, meta, enforce_standard=True)
        size = sum(len(p) for p in pixels)
        if size > 0xFFFFFFFE:
            raise WriteError(
                f"{size} bytes of {keyword} do not fit one DICOM instance (at most 4294967294); "
                "write single frames, or crop the image"
            )
        tag, vr = {
            "PixelData": (0x7FE00010, b"OW"),
            "FloatPixelData": (0x7FE00008, b"OF"),
            "DoubleFloatPixelData": (0x7FE00009, b"OD"),
            "RawData": (0x53531003, b"OB"),
        }[keyword]
        bits = elements.get(0x00280100, b"")[-2:]
        if keyword == "PixelData" and bits in (b"\x01\x00", b"\x08\x00"):
            vr = b"OB"
        header = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, size + size % 2)
        header = header if pixels else b""
        return b"".join(
            (
                bytes(128),
                b"DICM",
                head.getvalue(),
                *(elements[t] for t in sorted(elements)),
                header,
                *pixels,
                b"\0" * (size % 2),
            )
        )


def _text(encoded: bytes) -> UID:
    return UID(encoded[8:].rstrip(b"\0").decode())
