"""Identifiers of C-FIND, C-MOVE and C-GET as pydicom data sets, and back to bytes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

from somascope.core.errors import CorruptFile, ParameterError
from somascope.server.dimse.negotiate import BIG_ENDIAN, IMPLICIT

if TYPE_CHECKING:
    from pydicom import Dataset

    from somascope.server.dimse.upper_layer import Buffer

LONGEST_TEXT = 64 * 1024
"""Characters of one key; a UID list of a thousand UIDs has as many."""

log = logging.getLogger("somascope.dimse")

NOT_KEYS = frozenset(
    {
        "QueryRetrieveLevel",
        "QueryRetrieveView",
        "SpecificCharacterSet",
        "TimezoneOffsetFromUTC",
        "RetrieveAETitle",
        "InstanceAvailability",
        "StorageMediaFileSetID",
        "StorageMediaFileSetUID",
    }
)
"""Elements of an identifier that do not select anything by themselves."""


def trust_keys() -> None:
    """Let pydicom read keys that are no valid values (wild cards in UIDs), in all this process."""
    from pydicom import config

    config.settings.reading_validation_mode = config.IGNORE


def read(data: Buffer, *, transfer_syntax: str) -> Dataset:
    """Decode a small data set completely.

    Raises
    ------
    CorruptFile
        It cannot be read to its end: pydicom reads what it can, so the lengths are checked first.
    """
    from pydicom.filereader import read_dataset

    from somascope.io.dicom.header import scan

    scan(memoryview(data), transfer_syntax=transfer_syntax, name="the identifier", wanted={})
    try:
        dataset = read_dataset(
            BytesIO(bytes(data)),
            is_implicit_VR=transfer_syntax == IMPLICIT,
            is_little_endian=transfer_syntax != BIG_ENDIAN,
        )
        for element in dataset.iterall():  # converts every raw element, now and not later
            _ = element.value
    except Exception as error:  # any type is possible from hostile bytes
        raise CorruptFile(f"the identifier cannot be decoded: {error}") from error
    return dataset


def write(dataset: Dataset, *, transfer_syntax: str) -> bytes:
    """Encode a data set, implicit or explicit little endian."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    out = DicomBytesIO()
    out.is_little_endian = True
    out.is_implicit_VR = transfer_syntax == IMPLICIT
    write_dataset(out, dataset)
    return out.getvalue()


_NUMBERS = {"US": int, "SS": int, "UL": int, "SL": int, "FL": float, "FD": float}


def build(keys: Mapping[str, str]) -> Dataset:
    """An identifier in UTF-8 from keywords and texts; values are not validated: they are patterns.

    Raises
    ------
    ParameterError
        No such keyword, a sequence with a value, or a text where a number must be.
    """
    from pydicom import DataElement, Dataset, config
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword, text in keys.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise ParameterError(f"{keyword!r} is no DICOM keyword; write e.g. PatientID")
        vr = dictionary_VR(tag).split(" ")[0]
        value: Any = text.split("\\") if "\\" in text else text
        try:
            if vr in _NUMBERS:
                value = _NUMBERS[vr](text) if text else None
            elif vr in ("SQ", "IS", "DS") and not text:
                value = [] if vr == "SQ" else None
            dataset.add(DataElement(tag, vr, value, validation_mode=config.IGNORE))
        except (ValueError, TypeError) as error:
            raise ParameterError(f"key {keyword}={text!r} ({vr}): {error}") from error
    return dataset


def key_text(value: Any) -> str:
    """The text of a key: several values are joined by a backslash, a person name is whole."""
    from pydicom.multival import MultiValue

    if value is None:
        return ""
    if isinstance(value, (MultiValue, list, tuple)):
        return "\\".join(str(v) for v in value)
    return str(value)


def keys(dataset: Dataset) -> tuple[dict[str, str], list[str]]:
    """(keyword -> text of the keys with a value, keywords of all keys asked for)."""
    match: dict[str, str] = {}
    fields: list[str] = []
    for element in dataset:
        keyword = element.keyword
        if not keyword or keyword in NOT_KEYS or element.tag.element == 0:
            continue
        fields.append(keyword)
        if element.VR == "SQ":
            continue
        text = key_text(element.value).strip()
        if text and text != "*":
            match[keyword] = text[:LONGEST_TEXT]
    return match, fields


def from_json(found: Mapping[str, Any], request: Dataset) -> Dataset:
    """The response to ``request``: its keys, with the values of a DICOM JSON object or empty."""
    from pydicom import Dataset

    answer = Dataset()
    for element in request:
        if element.tag.element == 0 or element.tag.is_private:
            continue
        name = f"{element.tag:08X}"
        if name in found:
            try:
                answer.update(Dataset.from_json({name: found[name]}))
                continue
            except Exception as error:  # a stored value that is none, as a DS of letters
                log.info("%s of a match cannot be told: %s", name, error)
        answer.add_new(element.tag, element.VR, None if element.VR != "SQ" else [])
    return answer
