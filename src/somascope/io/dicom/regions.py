"""Regions of an ultrasound picture (PS3.3 C.8.5.5): what its pixels mean, and where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from somascope.io.dicom.elements import Elements

SPECTRAL = 3
"""Region Spatial Format of a spectrum: seconds across, velocity up."""
_MOST_MM = 1e5
_CENTIMETRE = 3
_REFERENCES = ((0x00186018, 0x00186020, 0x00186028), (0x0018601A, 0x00186022, 0x0018602A))
"""Region Location Min, Reference Pixel, Reference Pixel Physical Value; along X and Y."""
_WHOLE = {
    "RegionSpatialFormat": (0x00186012, "US"), "RegionDataType": (0x00186014, "US"),
    "RegionFlags": (0x00186016, "UL"), "RegionLocationMinX0": (0x00186018, "UL"),
    "RegionLocationMinY0": (0x0018601A, "UL"), "RegionLocationMaxX1": (0x0018601C, "UL"),
    "RegionLocationMaxY1": (0x0018601E, "UL"), "ReferencePixelX0": (0x00186020, "SL"),
    "ReferencePixelY0": (0x00186022, "SL"), "PhysicalUnitsXDirection": (0x00186024, "US"),
    "PhysicalUnitsYDirection": (0x00186026, "US"),
}  # fmt: skip
_REAL = {
    "ReferencePixelPhysicalValueX": 0x00186028, "ReferencePixelPhysicalValueY": 0x0018602A,
    "PhysicalDeltaX": 0x0018602C, "PhysicalDeltaY": 0x0018602E,
    "DopplerCorrectionAngle": 0x00186034,
}  # fmt: skip


def calibrated(elements: Elements) -> tuple[Elements, tuple[float, float]] | None:
    """The first region whose pixels are lengths both ways, and their size in mm (x, y)."""
    for region in elements.items("SequenceOfUltrasoundRegions"):
        units = region.integer("PhysicalUnitsXDirection"), region.integer("PhysicalUnitsYDirection")
        dx, dy = region.number("PhysicalDeltaX"), region.number("PhysicalDeltaY")
        flat = region.integer("RegionSpatialFormat") in (0, 1)
        lengths = flat and units == (_CENTIMETRE, _CENTIMETRE)
        if lengths and dx and dy and 1e-7 < abs(dx) < _MOST_MM > abs(dy) > 1e-7:
            return region, (abs(dx) * 10, abs(dy) * 10)
    return None


def origin(
    elements: Elements, orientation: tuple[float, ...] | None
) -> tuple[float, float, float] | None:
    """Where the first pixel lies, LPS mm, as the calibrated region says.

    The reference pixel (counted from the region's corner) and its physical value, 0 where not
    stated, give the distance along rows and columns: mostly from the middle of the probe's face.
    Without an orientation rows run along L and columns along P. None where the region counts
    against the pixels (a negative Physical Delta): its axes are not those of the picture.
    """
    found = calibrated(elements)
    if found is None or not all(tags[1] in found[0] for tags in _REFERENCES):
        return None
    region, sizes = found
    if min(region.number(tag) or 0.0 for tag in ("PhysicalDeltaX", "PhysicalDeltaY")) < 0:
        return None
    along: list[float] = []
    for (corner, reference, stated), size in zip(_REFERENCES, sizes, strict=True):
        pixel = region.integer(corner, vr="UL") + region.integer(reference, vr="SL")
        value = region.number(stated, vr="FD") or 0.0
        along.append(10 * value - pixel * size)
    if not all(abs(a) < _MOST_MM for a in along):
        return None
    row, column = (orientation[:3], orientation[3:]) if orientation else ((1, 0, 0), (0, 1, 0))
    x, y, z = (along[0] * r + along[1] * c for r, c in zip(row, column, strict=True))
    return x, y, z


def spectra(elements: Elements) -> list[dict[str, Any]]:
    """The spectral regions of a picture under their keywords; a grid cannot say what they mean."""
    found: list[dict[str, Any]] = []
    for region in elements.items("SequenceOfUltrasoundRegions"):
        if region.integer("RegionSpatialFormat") != SPECTRAL:
            continue
        record: dict[str, Any] = {k: region.integer(t, vr=vr) for k, (t, vr) in _WHOLE.items()}
        numbers = {k: region.number(t, vr="FD") for k, t in _REAL.items() if t in region}
        found.append(record | {k: v for k, v in numbers.items() if v is not None})
    return found


def spectrum_of(
    attributes: Mapping[str, Any], shape: tuple[int, int, int]
) -> list[Mapping[str, Any]]:
    """The spectral region among the attributes that is the whole of a picture of this shape."""
    given = attributes.get("SequenceOfUltrasoundRegions")
    whole = (0, 0, shape[2] - 1, shape[1] - 1)
    corners = [f"RegionLocation{c}" for c in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
    return [
        r for r in (given if isinstance(given, (list, tuple)) else ())
        if isinstance(r, Mapping) and r.get("RegionSpatialFormat") == SPECTRAL
        and tuple(r.get(c) for c in corners) == whole
    ]  # fmt: skip
