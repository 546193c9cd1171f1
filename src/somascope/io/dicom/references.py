"""What a derived object was made on: instances, their planes, their patient and study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from somascope.core.grid import Grid
from somascope.core.provenance import Provenance
from somascope.io.dicom import iods
from somascope.io.dicom.carry import CONTEXT, facts
from somascope.io.dicom.plane import Planes

Reference = tuple[str, str]
"""SOP class and SOP instance UID."""

_PLACE = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
)
_CLASSIC = {"CT": iods.CT, "MR": iods.MR, "PT": iods.PT, "NM": iods.NM, "US": iods.US}


@dataclass(frozen=True, eq=False)
class Sources:
    """The source instances: all of them, those in the plane of each slice, and their context."""

    references: tuple[Reference, ...]
    by_slice: tuple[tuple[Reference, ...], ...]
    attributes: Mapping[str, Any]
    series: str = ""
    frame: str = ""

    @property
    def uids(self) -> tuple[str, ...]:
        """SOP Instance UIDs."""
        return tuple(u for _, u in self.references)

    def framed(self, grid: Grid) -> Grid:
        """``grid`` in the frame of reference of the sources where it names none."""
        if grid.frame_of_reference or not self.frame:
            return grid
        return replace(grid, frame_of_reference=self.frame)

    def series_references(self) -> dict[str, Any]:
        """The Common Instance Reference module (PS3.3 C.12.2)."""
        if not (self.references and self.series):
            return {}
        instances = [
            {"ReferencedSOPClassUID": c, "ReferencedSOPInstanceUID": u} for c, u in self.references
        ]
        return {
            "ReferencedSeriesSequence": [
                {"SeriesInstanceUID": self.series, "ReferencedInstanceSequence": instances}
            ]
        }


def sources_of(
    on: Sequence[str],
    record: Provenance,
    attributes: Mapping[str, Any],
    datasets: Sequence[Dataset],
    place: Planes,
) -> Sources:
    """Collect what is known of the sources; the datasets win, then ``on``, then ``record``."""
    if datasets:
        return _from_datasets(datasets, place)
    origin = next((s for s in record.sources if s.kind == "dicom" and s.uids), None)
    series = str(attributes.get("SeriesInstanceUID") or "")
    listed = tuple(on)
    if origin is not None and (
        not listed or listed == (origin.name,) or set(listed) <= set(origin.uids)
    ):
        series = origin.name
        listed = listed if set(listed) <= set(origin.uids) and listed else origin.uids
    elif len(listed) == 1 and listed[0] == series:
        listed = ()
    modality = str(attributes.get("Modality") or "")
    sop_class = str(attributes.get("SOPClassUID") or "")
    if not sop_class and modality in _CLASSIC:
        sop_class = _CLASSIC[modality].sop_class
    if not listed or not sop_class:
        return Sources((), (), {}, series)
    references = tuple((sop_class, u) for u in listed)
    each = tuple((r,) for r in references) if len(references) == len(place.positions) else ()
    return Sources(references, each, {}, series)


def headers(paths: Sequence[Path]) -> list[Dataset]:
    """What a reference to each file needs: its identity, place, patient and study, no pixels."""
    tags = [*_PLACE, *CONTEXT]
    return [dcmread(p, stop_before_pixels=True, specific_tags=tags) for p in paths]


def _from_datasets(datasets: Sequence[Dataset], place: Planes) -> Sources:
    references = [(str(d.SOPClassUID), str(d.SOPInstanceUID)) for d in datasets]
    normal = np.cross(place.orientation[:3], place.orientation[3:])
    depths = place.positions @ normal
    slices: list[list[Reference]] = [[] for _ in depths]
    for dataset, reference in zip(datasets, references, strict=True):
        position = dataset.get("ImagePositionPatient")
        cosines = dataset.get("ImageOrientationPatient")
        if position is None or cosines is None:
            continue
        other = np.cross([float(v) for v in cosines[:3]], [float(v) for v in cosines[3:]])
        if abs(abs(other @ normal) - 1) > 1e-3:
            continue
        depth = float(np.array([float(v) for v in position]) @ normal)
        nearest = int(np.abs(depths - depth).argmin())
        if abs(depths[nearest] - depth) < max(0.05 * place.distance, 1e-3):
            slices[nearest].append(reference)
    first = datasets[0]
    return Sources(
        references=tuple(references),
        by_slice=tuple(tuple(s) for s in slices) if any(slices) else (),
        attributes={
            k: v
            for k, v in facts(first).items()
            if k
            not in (
                "Manufacturer",
                "ManufacturerModelName",
                "DeviceSerialNumber",
                "SoftwareVersions",
            )
        },
        series=str(first.get("SeriesInstanceUID") or ""),
        frame=str(first.get("FrameOfReferenceUID") or ""),
    )
