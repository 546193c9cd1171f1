"""Masks become DICOM Segmentations and come back (PS3.3 A.51, C.8.20; Supplement 243)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from typing import Literal

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from somascope import __version__
from somascope.core.errors import WriteError
from somascope.core.finding import Mask
from somascope.core.grid import Array
from somascope.io.dicom import carry, compose, iods, segments, uid, validate
from somascope.io.dicom.compose import Series, Titles
from somascope.io.dicom.encode import Encoder, put
from somascope.io.dicom.functional import Frame, arrange, derivation
from somascope.io.dicom.plane import Planes, planes
from somascope.io.dicom.provenance import SEGMENTATION
from somascope.io.dicom.references import Sources, sources_of
from somascope.io.dicom.seg_read import read

__all__ = ["Kind", "instances", "read"]

Kind = Literal["binary", "fractional", "labelmap"]
_FULL = 255


def instances(
    mask: Mask,
    source_datasets: Sequence[Dataset | bytes] | None = None,
    *,
    kind: Kind | None = None,
    series_description: str | None = None,
    series_number: int | None = None,
    created: datetime | None = None,
) -> list[bytes]:
    """Part 10 files of ``mask``: one Segmentation in a new series of the same study.

    Binary and fractional objects hold frames only where a segment is (and the first and the last
    slice, so that a reader finds the whole grid again); a labelmap holds every slice. Binary and
    fractional segments are numbered from 1 in their order, as the standard wants; a labelmap keeps
    the numbers of ``mask.segments``.

    Parameters
    ----------
    mask
        Any mask: a labelmap, overlapping planes, or probabilities.
    source_datasets
        The instances it was drawn on (datasets or Part 10 bytes, pixels not needed): frames
        reference the instance in their plane, and patient, study and frame of reference come from
        them. Without it ``mask.on``, ``mask.provenance`` and ``mask.attributes`` are used.
    kind
        ``binary`` (the default; what viewers built on Cornerstone3D load), ``fractional`` (the
        default for probabilities; 8 bits, error at most 1/510), ``labelmap`` (Label Map
        Segmentation, Supplement 243: small and quick for many segments, younger than most
        viewers).
    series_description, series_number, created
        As in `write.instances`.

    Raises
    ------
    WriteError
        Segments that overlap in a labelmap, probabilities in a binary or labelmap object, or a
        result that breaks a rule of `validate.check`.
    """
    kind = kind or ("fractional" if mask.fractional else "binary")
    if mask.fractional and kind != "fractional":
        raise WriteError(
            f"the mask holds probabilities, which a {kind} segmentation cannot; threshold it "
            "first, or write kind='fractional'"
        )
    if not mask.segments:
        raise WriteError("the mask names no segments; a DICOM Segmentation describes at least one")
    mask = replace(mask, attributes=carry.tidy(mask.attributes))
    place = planes(mask.grid)
    datasets = [
        dcmread(BytesIO(s), stop_before_pixels=True) if isinstance(s, bytes) else s
        for s in source_datasets or ()
    ]
    found = sources_of(mask.on, mask.provenance, mask.attributes, datasets, place)
    storage = iods.LABELMAP if kind == "labelmap" else iods.SEGMENTATION
    series = compose.begin(
        kind=storage,
        modality="SEG",
        attributes={**found.attributes, **carry.without_equipment(mask.attributes)},
        record=mask.provenance,
        grid=found.framed(mask.grid),
        content=compose.identity(mask.data, mask.grid, kind, mask.segments, found.uids),
        titles=Titles(series_description or _title(mask), series_number, created),
    )
    own = _module(mask, kind, found, series)
    pixels, frames = _frames(mask, kind, found, place)
    encoded = arrange(
        own,
        series,
        place=place,
        thickness=place.distance,
        dimensions=(
            ["ImagePositionPatient"]
            if kind == "labelmap"
            else ["ReferencedSegmentNumber", "ImagePositionPatient"]
        ),
        frames=frames,
        shared={}
        if found.by_slice
        else derivation(mask.provenance, found.references, default=SEGMENTATION),
    )
    merged = Dataset()
    merged.update(series.shared)
    merged.update(own)
    carry.complete(merged, storage.iod)
    file = Encoder(merged, encoded=encoded).part10(Dataset(), pixels)
    validate.demand(file, "the segmentation")
    return [file]


def _title(mask: Mask) -> str:
    names = ", ".join(s.label for s in mask.segments[:4])
    return f"Segmentation: {names}{', ...' if len(mask.segments) > 4 else ''}"[:64]


def _module(mask: Mask, kind: Kind, found: Sources, series: Series) -> Dataset:
    date, time = carry.when({**found.attributes, **mask.attributes})
    bits = 1 if kind == "binary" else 8
    if kind == "labelmap" and max(s.number for s in mask.segments) > 255:
        bits = 16
    own = Dataset()
    put(
        own,
        {
            "SOPInstanceUID": series.sop(0),
            "InstanceNumber": 1,
            "ImageType": ["DERIVED", "PRIMARY"],
            "ContentDate": date,
            "ContentTime": time,
            "ContentLabel": "SEGMENTATION",
            "ContentDescription": "Segmentation. Not for clinical use.",
            "ContentCreatorName": "Somascope",
            "Manufacturer": "Somascope",
            "ManufacturerModelName": "Somascope",
            "DeviceSerialNumber": "0",
            "SoftwareVersions": __version__,
            "LossyImageCompression": found.attributes.get("LossyImageCompression") or "00",
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": mask.grid.shape[1],
            "Columns": mask.grid.shape[2],
            "BitsAllocated": bits,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": 0,
            "SegmentationType": kind.upper(),
            "SegmentsOverlap": "NO" if kind == "labelmap" or _apart(mask) else "YES",
            "SegmentSequence": [
                segments.item(
                    segment,
                    number=segment.number if kind == "labelmap" else i + 1,
                    record=mask.provenance,
                    tracking=uid.derive("tracking", series.uid, str(segment.number)),
                )
                for i, segment in enumerate(mask.segments)
            ],
            **found.series_references(),
        },
    )
    if kind == "fractional":
        put(own, {"SegmentationFractionalType": "PROBABILITY", "MaximumFractionalValue": _FULL})
    if kind == "labelmap":
        put(own, {"PixelPaddingValue": 0})
    return own


def _apart(mask: Mask) -> bool:
    if mask.data.ndim == 3:
        return True
    return not any(
        np.count_nonzero(mask.data[:, z], axis=0).max() > 1 for z in range(mask.grid.shape[0])
    )


def _frames(
    mask: Mask, kind: Kind, found: Sources, place: Planes
) -> tuple[list[memoryview | bytes], list[Frame]]:
    nz = mask.grid.shape[0]
    groups = [
        derivation(mask.provenance, found.by_slice[z], default=SEGMENTATION)
        if found.by_slice
        else {}
        for z in range(nz)
    ]
    if kind == "labelmap":
        labels = np.ascontiguousarray(_labelmap(mask))
        frames = [Frame(place.positions[z], (z + 1,), groups=groups[z]) for z in range(nz)]
        return [labels.data.cast("B")], frames
    frames, kept = [], []
    for i, segment in enumerate(mask.segments):
        plane = mask.plane(segment.number)
        ends = {0, nz - 1} if i == 0 else set[int]()
        identified = {"SegmentIdentificationSequence": [{"ReferencedSegmentNumber": i + 1}]}
        for z in range(nz):
            if z in ends or plane[z].any():
                own = groups[z] | identified
                frames.append(Frame(place.positions[z], (i + 1, z + 1), groups=own))
                kept.append(_encode(plane[z], kind))
    if kind == "fractional":
        return [frame.data.cast("B") for frame in kept], frames
    if kept[0].size % 8:  # frames follow each other without a gap, in the middle of a byte too
        kept = [np.stack(kept)]
    return [np.packbits(k.reshape(-1), bitorder="little").tobytes() for k in kept], frames


def _encode(plane: Array, kind: Kind) -> Array:
    if kind == "binary" or plane.dtype.kind == "b":
        return (plane != 0).astype(np.uint8) * (1 if kind == "binary" else _FULL)
    if not np.isfinite(plane).all() or plane.min() < 0 or plane.max() > 1:
        raise WriteError(
            f"the mask holds probabilities from {plane.min():g} to {plane.max():g}; a fractional "
            "segmentation needs values from 0 to 1"
        )
    return np.rint(plane * _FULL).astype(np.uint8)


def _labelmap(mask: Mask) -> Array:
    highest = max(s.number for s in mask.segments)
    low = min(s.number for s in mask.segments)
    if low < 1 or highest > 65535:
        raise WriteError(
            f"segment numbers {low} to {highest} do not fit a labelmap; use 1 to 65535"
        )
    dtype = np.uint8 if highest < 256 else np.uint16
    if mask.data.ndim == 3:
        known = {0, *(s.number for s in mask.segments)}
        strange = set(np.unique(mask.data).tolist()) - known
        if strange:
            raise WriteError(
                f"the labelmap holds {sorted(strange)[:8]}, which no segment describes"
            )
        return mask.data.astype(dtype)
    if not _apart(mask):
        raise WriteError(
            "segments of the mask overlap, which a labelmap cannot hold; write kind='binary'"
        )
    result = np.zeros(mask.grid.shape, dtype)
    for segment in mask.segments:
        result[mask.plane(segment.number)] = segment.number
    return result
