"""STOW-RS with metadata and bulk data (PS3.18 10.5.2): DICOM JSON and its values, put together."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from somascope.core.errors import CorruptFile
from somascope.server.dicomweb.multipart import Part
from somascope.server.dicomweb.negotiation import EXPLICIT, IMAGE_TYPES, parse

if TYPE_CHECKING:
    from pydicom import Dataset

JSON_TYPES = ("application/dicom+json", "application/json")
MOST_METADATA = 64 << 20
MOST_BYTES = 1 << 30
"""Of one request: it is put together in memory; more is to be sent as Part 10 files."""
MOST_PARTS = 4096
_PLAIN = frozenset({EXPLICIT, "1.2.840.10008.1.2"})
_PIXELS = "7FE00010"


@dataclass(frozen=True)
class Assembled:
    """A bare data set and what C-STORE would say of it."""

    dataset: bytes
    sop_class: str
    sop_uid: str
    study: str
    transfer_syntax: str


def objects(text: bytes | bytearray | memoryview) -> list[dict[str, Any]]:
    """The data sets of a metadata part. Raises `CorruptFile` where it is no DICOM JSON."""
    try:
        found = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"the metadata part is no JSON: {error}") from error
    listed = found if isinstance(found, list) else [found]
    if not listed or not all(isinstance(o, dict) for o in listed):
        raise CorruptFile("the metadata part is no array of DICOM JSON objects (PS3.18 annex F)")
    return listed


def named(found: Mapping[str, Any], tag: str) -> str:
    """The first value of a UID attribute, ``""`` where there is none."""
    try:
        return str(found[tag]["Value"][0])[:64]
    except (KeyError, IndexError, TypeError):
        return ""


def assemble(found: Mapping[str, Any], bulk: Mapping[str, Part]) -> Assembled:
    """One instance from its metadata and the parts that its BulkDataURIs name.

    Texts are written as UTF-8, whatever character set the metadata names. Pixels are native
    (``application/octet-stream``), or one compressed frame of an image media type.

    Raises
    ------
    CorruptFile
        A BulkDataURI without its part, or values that do not fit their VR.
    """
    from pydicom import Dataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    syntax = _syntax(found, bulk)

    def value(_tag: str, _vr: str, uri: str) -> bytes:
        part = bulk.get(uri)
        if part is None:
            raise CorruptFile(f"no part has the Content-Location {uri[:100]!r}")
        return bytes(part.data)

    kept = {k: v for k, v in found.items() if not k.startswith("0002") and k != "00083002"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd is judged by the archive
        try:
            dataset = Dataset.from_json(kept, bulk_data_uri_handler=value)
            dataset.SpecificCharacterSet = "ISO_IR 192"
            if syntax not in _PLAIN:
                _encapsulate(dataset)
            out = DicomBytesIO()
            out.is_little_endian, out.is_implicit_VR = True, False
            write_dataset(out, dataset)
        except CorruptFile:
            raise
        except Exception as error:
            raise CorruptFile(f"the metadata cannot be written as DICOM: {error}") from error
    return Assembled(
        out.getvalue(), named(found, "00080016"), named(found, "00080018"),
        named(found, "0020000D"), syntax,
    )  # fmt: skip


def _syntax(found: Mapping[str, Any], bulk: Mapping[str, Part]) -> str:
    """The transfer syntax that the pixels' part has."""
    pixels = found.get(_PIXELS)
    part = bulk.get(str(pixels.get("BulkDataURI", ""))) if isinstance(pixels, dict) else None
    if part is None:
        return EXPLICIT
    choices = parse(part.headers.get("content-type", "") or "application/octet-stream")
    if not choices:
        return EXPLICIT
    choice = choices[0]
    wanted = choice.transfer_syntax
    if choice.media == "application/octet-stream":
        if wanted not in ("", *_PLAIN):
            raise CorruptFile(
                f"pixels as application/octet-stream in {wanted}; send them in {EXPLICIT}, or "
                "the whole instance as application/dicom"
            )
        return EXPLICIT
    allowed = IMAGE_TYPES.get(choice.media)
    if allowed is None or wanted not in ("", *allowed):
        raise CorruptFile(f"pixels as {choice.media} {wanted}; there is {', '.join(IMAGE_TYPES)}")
    return wanted or allowed[0]


def _encapsulate(dataset: Dataset) -> None:
    from pydicom.encaps import encapsulate

    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise CorruptFile("compressed pixels of several frames; send it as application/dicom")
    dataset.PixelData = encapsulate([dataset.PixelData])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


def location(part: Part) -> str:
    """The Content-Location of a part."""
    return part.headers.get("content-location", "").strip()
