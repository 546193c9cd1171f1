"""Provenance in DICOM: derivation, contributing equipment, and the exact record in a private block.

The record is JSON in group 5353, private creator ``SOMASCOPE``: element 01 as text, or element 02
deflated (zlib, PS3.5 has no compressed text) where it is long.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from pydicom import config, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from somascope import __version__
from somascope.core.errors import CorruptFile, ReadError
from somascope.core.finding import Code
from somascope.core.provenance import Provenance, Step
from somascope.io.dicom.encode import coded, dataset

GROUP = 0x5353
CREATOR = "SOMASCOPE"
_TEXT, _DEFLATED = 0x01, 0x02
_LONG = 4096
_MOST = 64 * 1024 * 1024

NOTICE = "Not for clinical use."

_PROCESSING = Code("109102", "DCM", "Processing Equipment")
_DERIVATIONS = {
    "gaussian": Code("113088", "DCM", "Gaussian blur"),
    "median": Code("113087", "DCM", "Smoothing"),
    "smooth": Code("113087", "DCM", "Smoothing"),
    "denoise": Code("113087", "DCM", "Smoothing"),
    "sharpen": Code("113086", "DCM", "Edge enhancement"),
    "unsharp": Code("113089", "DCM", "Unsharp mask"),
    "resample": Code("113085", "DCM", "Spatial resampling"),
    "straighten": Code("113085", "DCM", "Spatial resampling"),
    "reformat": Code("113072", "DCM", "Multiplanar reformatting"),
    "mip": Code("113078", "DCM", "Maximum intensity projection"),
    "minip": Code("113079", "DCM", "Minimum intensity projection"),
    "subtract": Code("113062", "DCM", "Pixel by pixel subtraction"),
    "add": Code("113042", "DCM", "Pixel by pixel addition"),
    "warp": Code("125027", "DCM", "Deformed for Registration"),
    "threshold": Code("113076", "DCM", "Segmentation"),
}
"""CID 7203, by the last word of an operation's name or its first (``segment``)."""

SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
SEGMENTATION = _DERIVATIONS["threshold"]


def derivations(provenance: Provenance) -> list[Code]:
    """The coded derivations (CID 7203) of the steps, each once, in order."""
    found: list[Code] = []
    for step in provenance.steps:
        words = step.operation.split(".")
        code = SEGMENTATION if words[0] == "segment" else _DERIVATIONS.get(words[-1])
        if code is not None and code not in found:
            found.append(code)
    return found


def describe(step: Step) -> str:
    """A step on one line: ``process.gaussian sigma=1.5``."""
    params = " ".join(f"{k}={json.dumps(v)}" for k, v in step.params.items() if v is not None)
    return f"{step.operation} {params}".strip()


def attributes(provenance: Provenance) -> dict[str, Any]:
    """Derivation Description, Derivation Code Sequence and Contributing Equipment Sequence."""
    result: dict[str, Any] = {}
    if provenance.steps:
        text = "; ".join(describe(s) for s in provenance.steps)
        result["DerivationDescription"] = text if len(text) <= 1024 else text[:1021] + "..."
        codes = derivations(provenance)
        if codes:
            result["DerivationCodeSequence"] = [coded(c) for c in codes]
    result["ContributingEquipmentSequence"] = [
        equipment(describe(s), s.version or __version__) for s in provenance.steps[-32:]
    ] or [equipment("converted to DICOM", __version__)]
    return result


def equipment(description: str, version: str) -> Dataset:
    """An item of Contributing Equipment Sequence for Somascope."""
    room = 1023 - len(NOTICE)
    return dataset(
        {
            "PurposeOfReferenceCodeSequence": [coded(_PROCESSING)],
            "Manufacturer": "Somascope",
            "ManufacturerModelName": "Somascope",
            "SoftwareVersions": version,
            "ContributionDescription": f"{description[:room]} {NOTICE}",
        }
    )


def block(provenance: Provenance) -> list[DataElement]:
    """The private elements that keep the record."""
    text = provenance.to_json()
    base = GROUP << 16
    creator = DataElement(base | 0x0010, "LO", CREATOR)
    raw = text.encode()
    if len(raw) <= _LONG:
        return [creator, DataElement(base | 0x1000 | _TEXT, "UT", text, config.IGNORE)]
    packed = zlib.compress(raw, 9)
    return [
        creator,
        DataElement(base | 0x1000 | _DEFLATED, "OB", packed + b"\0" * (len(packed) % 2)),
    ]


def read(source: Dataset | bytes | memoryview) -> Provenance:
    """The record in a dataset or in Part 10 bytes; an empty one where there is none.

    Raises
    ------
    CorruptFile
        The record is there and cannot be read.
    """
    if not isinstance(source, Dataset):
        try:
            source = dcmread(BytesIO(bytes(source)), stop_before_pixels=True)
        except Exception as error:
            raise ReadError(f"not a DICOM file: {error}; give Part 10 bytes") from error
    found = parts(source)
    if found is None:
        return Provenance()
    try:
        return Provenance.from_json(found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptFile(
            f"the provenance record (group {GROUP:04X}) is damaged: {error}; the image itself may "
            "still be good"
        ) from error


def parts(source: Dataset) -> str | None:
    """The JSON text of the record, or None."""
    for slot in range(0x10, 0x100):
        creator = source.get((GROUP, slot))
        if creator is None or str(creator.value).strip() != CREATOR:
            continue
        text = source.get((GROUP, slot << 8 | _TEXT))
        if text is not None:
            value = text.value
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        packed = source.get((GROUP, slot << 8 | _DEFLATED))
        if packed is not None:
            opener = zlib.decompressobj()
            try:
                raw = opener.decompress(packed.value, _MOST)
            except zlib.error as error:
                raise CorruptFile(
                    f"the provenance record (group {GROUP:04X}) is damaged: {error}; the image "
                    "itself may still be good"
                ) from error
            return raw.decode("utf-8", "replace")
    return None


def sources(items: list[tuple[str, str]]) -> list[Mapping[str, Any]]:
    """Items of Source Image Sequence from (SOP class, SOP instance) UIDs."""
    return [
        {
            "ReferencedSOPClassUID": sop_class,
            "ReferencedSOPInstanceUID": sop_uid,
            "PurposeOfReferenceCodeSequence": [coded(SOURCE_IMAGE)],
        }
        for sop_class, sop_uid in items
    ]
