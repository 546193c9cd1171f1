"""What all instances of a new series share: patient, study, series, equipment, derivation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset

from somascope import __version__
from somascope.core.grid import Array, Grid
from somascope.core.provenance import Provenance
from somascope.io.dicom import carry, provenance, run_facts, uid
from somascope.io.dicom.encode import put
from somascope.io.dicom.iods import Kind, mandatory


@dataclass(frozen=True, eq=False)
class Series:
    """A series about to be written: its UID and the attributes all its instances share."""

    uid: str
    frame: str
    shared: Dataset
    sources: tuple[tuple[str, str], ...]
    """(SOP class, SOP instance) of the images it was made from."""
    source_class: str = ""

    def sop(self, number: int) -> str:
        """SOP Instance UID of instance ``number``."""
        return uid.derive("instance", self.uid, str(number))


@dataclass(frozen=True)
class Titles:
    """What the caller says about a new series."""

    description: str | None = None
    number: int | None = None
    created: datetime | None = None


def identity(data: Array, grid: Grid, *facts: object) -> bytes:
    """A digest of everything that makes the bytes of a series what they are."""
    text = json.dumps([__version__, *facts], sort_keys=True, default=str)
    place = grid.affine.tobytes() + grid.frame_of_reference.encode()
    return uid.digest(data) + place + text.encode()


def begin(
    *,
    kind: Kind,
    modality: str,
    attributes: Mapping[str, Any],
    record: Provenance,
    grid: Grid,
    content: bytes,
    titles: Titles,
    source_class: str = "",
) -> Series:
    """Start a series of ``kind``; ``content`` is its `identity`."""
    made_up = carry.context(attributes, record)
    shared = carry.carried(attributes, kind.iod)
    put(shared, made_up)
    study = str(shared["StudyInstanceUID"].value)
    name = record.sources[0].name if record.sources else grid.affine.tobytes().hex()
    frame = (
        grid.frame_of_reference
        or str(attributes.get("FrameOfReferenceUID") or "")
        or uid.derive("frame", study, name)
    )
    facts = json.dumps(dict(attributes), sort_keys=True, default=str)
    texts = f"{titles.description}|{titles.number}|{titles.created}|{kind.sop_class}|{modality}"
    series = uid.derive("series", content, record.to_json(), facts, texts, study, frame)
    if "Manufacturer" not in shared:
        put(shared, {"Manufacturer": "Somascope", "SoftwareVersions": __version__})
        put(shared, {"ManufacturerModelName": "Somascope"})
    put(
        shared,
        {
            "SpecificCharacterSet": "ISO_IR 192",
            "SOPClassUID": kind.sop_class,
            "Modality": modality,
            "SeriesInstanceUID": series,
            "SeriesNumber": _number(attributes, record, titles),
            "SeriesDescription": _description(attributes, record, titles),
            **provenance.attributes(record),
        },
    )
    if titles.created is not None:
        put(
            shared,
            {
                "InstanceCreationDate": titles.created.strftime("%Y%m%d"),
                "InstanceCreationTime": titles.created.strftime("%H%M%S"),
            },
        )
    if "PatientOrientationCodeSequence" in mandatory(kind.iod) and "PatientPosition" in shared:
        del shared["PatientPosition"]  # PS3.3 C.7.3.1: only one of the two may be present
    if attributes.get("LossyImageCompression") == "01":
        keys = ("LossyImageCompression", "LossyImageCompressionRatio")
        for key in (*keys, "LossyImageCompressionMethod"):
            if attributes.get(key):
                put(shared, {key: attributes[key]})
    for item in (*provenance.block(record), *run_facts.block(attributes, grid)):
        shared.add(item)
    kept = str(attributes.get("SOPClassUID") or source_class)
    sources = tuple((kept, u) for s in record.sources if s.kind == "dicom" for u in s.uids)
    return Series(series, frame, shared, sources if kept else (), kept)


def referenced(record: Provenance, sop_class: str) -> dict[str, Any]:
    """The Common Instance Reference module (PS3.3 C.12.2) for the sources in a record."""
    items = [
        {
            "SeriesInstanceUID": source.name,
            "ReferencedInstanceSequence": [
                {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": u}
                for u in source.uids
            ],
        }
        for source in record.sources
        if source.kind == "dicom" and source.uids and uid.is_usable(source.name)
    ]
    return {"ReferencedSeriesSequence": items} if items and sop_class else {}


def evidence(record: Provenance, sop_class: str, study: str) -> dict[str, Any]:
    """Source Image Evidence Sequence of Enhanced images: the sources by study and series."""
    series = [
        {
            "SeriesInstanceUID": item["SeriesInstanceUID"],
            "ReferencedSOPSequence": item["ReferencedInstanceSequence"],
        }
        for item in referenced(record, sop_class).get("ReferencedSeriesSequence", ())
    ]
    if not series:
        return {}
    item = {"StudyInstanceUID": study, "ReferencedSeriesSequence": series}
    return {"SourceImageEvidenceSequence": [item]}


def _number(attributes: Mapping[str, Any], record: Provenance, titles: Titles) -> int:
    if titles.number is not None:
        return titles.number
    try:
        number = int(float(attributes.get("SeriesNumber") or 0))
    except (TypeError, ValueError):
        number = 0
    if not record.steps:
        return number or 1
    return max(number, 1) * 1000 + len(record.steps) if 0 <= number < 2_000_000 else number


def _description(attributes: Mapping[str, Any], record: Provenance, titles: Titles) -> str:
    if titles.description is not None:
        return titles.description[:64]
    base = str(attributes.get("SeriesDescription") or "")
    if not base and record.sources:
        base = record.sources[0].name[:32]
    if not record.steps:
        return base[:64]
    step = record.steps[-1]
    verb = f"{step.operation} {step.note}".strip()[:40].strip()
    base = base.split(" [")[0]
    return f"{base[: 61 - len(verb)]} [{verb}]".strip()


def image_type(
    record: Provenance, attributes: Mapping[str, Any], *, rest: Sequence[str], primary: bool
) -> list[str]:
    """Image Type (PS3.3 C.7.6.1.1.2): derived as soon as a step was applied.

    ``rest`` are the values from the third on; ``primary`` says that value 2 may only be PRIMARY.
    """
    kept = attributes.get("ImageType")
    values = kept.split("\\") if isinstance(kept, str) else list(kept or ())
    if not record.steps:
        simulated = any(s.kind in ("phantom", "raw") for s in record.sources)
        pixel = str(values[0]) if values else ("ORIGINAL" if simulated else "DERIVED")
        patient = str(values[1]) if len(values) > 1 else "PRIMARY" if simulated else "SECONDARY"
    else:
        pixel, patient = "DERIVED", "SECONDARY"
    return [pixel, "PRIMARY" if primary else patient, *rest]
