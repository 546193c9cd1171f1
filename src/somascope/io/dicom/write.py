"""Images become DICOM Part 10 files (PS3.3 A, PS3.10).

Which object an image becomes is `iods.choose`'s answer: CT, MR, PT, NM, US, DX and CR images of
their own kind, everything else Secondary Capture with its modality kept; Enhanced multi-frame on
request. All identifiers are derived from the content and its history, so that a replay gives the
same bytes.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import pairwise, product
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from somascope.core.grid import Array
from somascope.core.image import Image
from somascope.io.dicom import (
    axes,
    carry,
    compose,
    enhanced,
    iods,
    lut,
    modality,
    nuclear,
    pet,
    radiograph,
    run_facts,
    suv,
    validate,
)
from somascope.io.dicom.axes import Leading
from somascope.io.dicom.compose import Series, Titles
from somascope.io.dicom.encode import Encoder, dataset, put
from somascope.io.dicom.indexed import indexed
from somascope.io.dicom.iods import Kind
from somascope.io.dicom.plane import Planes, is_placed, planes, thickness
from somascope.io.dicom.provenance import sources
from somascope.io.dicom.quantise import Stored, quantise
from somascope.io.dicom.units import real_world, rescale_type
from somascope.io.dicom.window import window

_FEW_SOURCES = 16
_LONG = 1000


def instances(
    image: Image,
    *,
    series_description: str | None = None,
    series_number: int | None = None,
    multiframe: bool | None = None,
    created: datetime | None = None,
) -> list[bytes]:
    """Part 10 files of ``image``, one series, ready to be stored or sent.

    Patient, study and frame of reference come from ``image.attributes`` and its grid; an image
    without a patient (a phantom, a NIfTI file) gets one of the name ``Somascope^<source>``.
    Integers are kept exactly; other numbers are rounded to 16 bits with Rescale Slope and
    Intercept, the error at most half a step. Leading axes ``t``, ``echo`` and ``b`` become
    Temporal Position, Echo Time and Diffusion b-value; ``channel`` becomes RGB, or PALETTE COLOR
    where the attributes hold a palette (`lut.stated`) that has every colour; the axes of nuclear
    medicine (``energy``, ``detector``, ``rotation``...) the vectors of NM. Slices keep their
    true positions for any grid, tilted and left-handed ones included. An image whose attributes
    say MONOCHROME1 is written so, its values as they are, but for PET, NM, films and Enhanced
    objects, which know MONOCHROME2 alone. The first and the last
    file are judged by `validate.demand`; those between differ from them in number, position, axis
    values and pixels alone.

    Parameters
    ----------
    image
        Any image; complex values and values that are not finite are refused.
    series_description, series_number
        Defaults say what was done to which series.
    multiframe
        One Enhanced CT, MR or PET (or Multi-frame Secondary Capture) instance with functional
        groups instead of one instance per slice. Left open, it is chosen for runs of MR volumes
        over time with more than a thousand slices.
    created
        Time to write as the instances' creation. Left out by default: then equal input gives
        equal bytes.

    Raises
    ------
    WriteError
        The image cannot be expressed (axes without a place, sheared rows, values that are not
        finite), or the result breaks a rule of `validate.check`.
    """
    if image.modality == "PR":
        # Not the values but how they are shown.
        from somascope.io.dicom import presentation

        return presentation.instances(
            image, series_description=series_description, series_number=series_number,
            created=created,
        )  # fmt: skip
    if _is_quantity(image) and not multiframe:
        # A map of numbers (t, z, per cent) keeps its floating-point pixels.
        from somascope.io.dicom import pm

        return pm.instances(
            image, series_description=series_description, series_number=series_number,
            created=created,
        )  # fmt: skip
    titles = Titles(series_description, series_number, created)
    moments = pet.frame_facts(image)
    table = lut.table_of(image.attributes)
    facts = {**carry.tidy(image.attributes), **run_facts.kept(image.attributes)}
    image = replace(image, attributes=facts)
    kind = iods.choose(image, multiframe=_is_long_run(image) if multiframe is None else multiframe)
    if kind.layout == "nuclear" and not planes(image.grid).upright:
        kind = iods.SC
    if kind.layout == "nuclear" and not planes(image.grid).right_handed:
        image = _reversed(image)
    inner = nuclear.form(image) if kind.layout == "nuclear" else None
    if inner is not None:
        image = nuclear.ordered(image, inner)
    lead = axes.leading(image, apart=inner.names if inner is not None else ())
    numbers = indexed(image, table) if kind.colour and kind.layout == "single" else None
    stored = numbers or quantise(image.data, rules=kind.rules)
    place = planes(image.grid)
    content = compose.identity(
        image.data, image.grid, image.unit, [(a.name, a.values, a.unit) for a in image.axes]
    )
    series = compose.begin(
        kind=kind,
        modality=image.modality or "OT",
        attributes=image.attributes,
        record=image.provenance,
        grid=image.grid,
        content=content,
        titles=titles,
        source_class=iods.choose(image).sop_class,
    )
    put(series.shared, pixel_facts(image, stored, kind))
    if numbers is not None and table is not None:
        # Long tables of bytes are allowed, but readers look 8 bits far into them.
        for element in lut.elements(table, bits=8 if len(table) <= 256 else 16):
            series.shared.add(element)
    frames = _frames(image, stored)
    if kind.layout == "functional":
        files = [
            enhanced.instance(
                image, stored=stored, pixels=frames, series=series, kind=kind, place=place
            )
        ]
    else:
        put(series.shared, modality.facts(image, kind=kind, planes=place))
        _place(series, image, kind, place)
        _values(series.shared, image, stored, kind)
        carry.complete(series.shared, kind.iod)
        if kind.layout == "single":
            files = _single(image, frames, series, place, lead, moments)
        elif kind.layout == "cine":
            files = [_film(frames, series, lead, kind)]
        else:
            files = _nuclear(frames, series, lead)
    for file in {id(f): f for f in (files[0], files[-1])}.values():
        validate.demand(file, f"the {kind.iod} made of {image!r}")
    return files


def _is_quantity(image: Image) -> bool:
    """Whether the image says of itself that it is a parametric map (PS3.3 C.8.32.2.1)."""
    kept = image.attributes.get("ImageType") or ()
    values = kept.split("\\") if isinstance(kept, str) else list(kept)
    return values[3:4] == ["QUANTITY"] and image.data.dtype.kind == "f"


def _is_long_run(image: Image) -> bool:
    names = [a.name for a in image.axes]
    slices = image.data.size // (image.grid.shape[1] * image.grid.shape[2])
    return image.modality == "MR" and names == ["t"] and slices > _LONG


def _reversed(image: Image) -> Image:
    """The same voxels at the same places, slices in the opposite order."""
    nz = image.grid.shape[0]
    affine = image.grid.affine.copy()
    affine[:3, 3] += (nz - 1) * affine[:3, 0]
    affine[:3, 0] *= -1
    return replace(image, data=image.data[..., ::-1, :, :], grid=replace(image.grid, affine=affine))


def _frames(image: Image, stored: Stored) -> Array:
    """Stored values as ``(*leading, nz, ny, nx)`` or, in colour, ``(*leading, nz, ny, nx, 3)``."""
    names = [a.name for a in image.axes]
    values = stored.values
    if "channel" in names and values.ndim == image.data.ndim:
        values = np.moveaxis(values, names.index("channel"), -1)
    return np.ascontiguousarray(values)


def _is_colour(image: Image) -> bool:
    return any(a.name == "channel" for a in image.axes)


def pixel_facts(image: Image, stored: Stored, kind: Kind) -> dict[str, Any]:
    """The Image Pixel module (PS3.3 C.7.6.3)."""
    colour = stored.values.ndim == image.data.ndim and _is_colour(image)
    grey = "MONOCHROME1" if iods.inverse(image) and kind in iods.INVERSE else "MONOCHROME2"
    if _is_colour(image):
        grey = "PALETTE COLOR"
    bits = radiograph.detector_bits(image, stored) if kind.iod == iods.DX.iod else stored.bits
    return {
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else grey,
        **({"PlanarConfiguration": 0} if colour else {}),
        "Rows": image.grid.shape[1],
        "Columns": image.grid.shape[2],
        "BitsAllocated": stored.bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(stored.signed),
    }


def _place(series: Series, image: Image, kind: Kind, place: Planes) -> None:
    spacing = {"PixelSpacing": place.spacing}
    if image.modality == "DX" and kind.iod == iods.DX.iod and not is_placed(image.grid):
        spacing = {} if not image.attributes.get("PixelSpacing") else spacing
    elif kind in (iods.SC, iods.US) and not is_placed(image.grid):
        # A picture without a known resolution: 1 mm is what its grid says for want of better.
        known = image.attributes.get("PixelSpacing") or place.spacing != (1.0, 1.0)
        spacing = spacing if known else {}
    put(series.shared, spacing)
    put(series.shared, {"SliceThickness": thickness(image, place)})
    if image.grid.shape[0] > 1 and kind.layout == "single":
        put(series.shared, {"SpacingBetweenSlices": place.distance})
    if not is_placed(image.grid) and kind.iod not in (iods.CT.iod, iods.MR.iod, iods.PT.iod):
        return
    put(series.shared, {"FrameOfReferenceUID": series.frame})
    if "PositionReferenceIndicator" not in series.shared:
        put(series.shared, {"PositionReferenceIndicator": None})
    if kind.layout != "nuclear":
        put(series.shared, {"ImageOrientationPatient": place.orientation})
    if kind.layout == "cine":
        # No module of a film has it, but a film stays where it was taken (PS3.4 B.4.1, extended).
        put(series.shared, {"ImagePositionPatient": place.positions[0]})


def _values(shared: Dataset, image: Image, stored: Stored, kind: Kind) -> None:
    if _is_colour(image):
        return
    plain = stored.slope == 1 and stored.intercept == 0
    if kind.rescale or kind.iod == iods.DX.iod:
        slope, intercept = (stored.slope, stored.intercept) if kind.rescale else (1, 0)
        facts: dict[str, Any] = {"RescaleIntercept": intercept, "RescaleSlope": slope}
        if kind is not iods.PT:
            facts["RescaleType"] = rescale_type(image.unit) if kind.rescale else "US"
        put(shared, facts)
    centre, width = window(image.data, modality=image.modality, attributes=image.attributes)
    if not kind.rescale:
        centre, width = (centre - stored.intercept) / stored.slope, width / stored.slope
    if kind is not iods.DX_RAW:  # a window is for presentation alone (PS3.3 C.8.11.3)
        put(shared, {"WindowCenter": centre, "WindowWidth": width})
        if width < 1 or not stored.exact:
            put(shared, {"VOILUTFunction": "LINEAR_EXACT"})
    # Where a CT says nothing, or "unspecified", Hounsfield units are understood.
    if image.unit != "1" or kind is iods.CT or not (plain or kind.rescale):
        item = real_world(
            suv.code_of(image.unit) if image.modality == "PT" else image.unit,
            slope=stored.slope,
            intercept=stored.intercept,
            ends=(int(stored.values.min()), int(stored.values.max())),
            vr="SS" if stored.signed else "US",
        )
        put(shared, {"RealWorldValueMappingSequence": [item]})


def _single(
    image: Image,
    frames: Array,
    series: Series,
    place: Planes,
    lead: Leading,
    moments: list[dict[str, Any]],
) -> list[bytes]:
    nz = image.grid.shape[0]
    placed = "ImageOrientationPatient" in series.shared
    total = int(np.prod(lead.sizes, dtype=int)) * nz
    pairwise = len(series.sources) == total
    if 0 < len(series.sources) <= _FEW_SOURCES and not pairwise:
        put(series.shared, {"SourceImageSequence": sources(list(series.sources))})
    normal = np.cross(place.orientation[:3], place.orientation[3:])
    encoder = Encoder(series.shared)
    files: list[bytes] = []
    options = str(image.attributes.get("ScanOptions") or "")
    gated = image.modality == "MR" and any(o in options for o in ("CG", "PPG"))
    for index in product(*map(range, lead.sizes)):
        apart = axes.labels(lead, index, gated=gated)
        if moments:
            apart |= moments[axes.moment(lead, index) - 1]
        for z in range(nz):
            number = len(files)
            own = dataset(
                {"SOPInstanceUID": series.sop(number), "InstanceNumber": number + 1, **apart}
            )
            if placed:
                position = place.positions[z]
                put(own, {"ImagePositionPatient": position})
                put(own, {"SliceLocation": round(float(position @ normal), 4)})
            if image.modality == "PT":
                put(own, {"ImageIndex": number + 1})
            if pairwise:
                put(own, {"SourceImageSequence": sources([series.sources[number]])})
            elif number == 0 and len(series.sources) > _FEW_SOURCES:
                put(own, {"SourceImageSequence": sources(list(series.sources))})
            files.append(encoder.part10(own, [frames[(*index, z)].data.cast("B")]))
    return files


def _film(frames: Array, series: Series, lead: Leading, kind: Kind) -> bytes:
    """All times of a flat image in one instance, with their Frame Time."""
    if series.sources:
        put(series.shared, {"SourceImageSequence": sources(list(series.sources))})
    times = axes.seconds(lead.axes[0])
    steps = [b - a for a, b in pairwise(times)]
    own: dict[str, Any] = {
        "SOPInstanceUID": series.sop(0),
        "InstanceNumber": 1,
        "NumberOfFrames": lead.sizes[0],
    }
    mean = sum(steps) / len(steps) if steps else 0.04
    if not times and kind is not iods.US_FILM:
        own |= {"FrameIncrementPointer": 0x00182001}
        own["PageNumberVector"] = list(range(1, lead.sizes[0] + 1))
    elif all(abs(s - mean) <= 1e-3 * abs(mean) for s in steps):
        own |= {"FrameIncrementPointer": 0x00181063, "FrameTime": mean * 1e3}
    else:
        own |= {"FrameIncrementPointer": 0x00181065}
        own["FrameTimeVector"] = [0.0, *(s * 1e3 for s in steps)]
    return Encoder(series.shared).part10(dataset(own), [frames.data.cast("B")])


def _nuclear(frames: Array, series: Series, lead: Leading) -> list[bytes]:
    """One instance per entry of the leading axes that are no vectors of NM."""
    if series.sources:
        put(series.shared, {"SourceImageSequence": sources(list(series.sources))})
    encoder = Encoder(series.shared)
    files: list[bytes] = []
    for index in product(*map(range, lead.sizes)):
        own = {
            "SOPInstanceUID": series.sop(len(files)),
            "InstanceNumber": len(files) + 1,
            **axes.labels(lead, index),
        }
        volume = np.ascontiguousarray(frames[index])
        files.append(encoder.part10(dataset(own), [volume.data.cast("B")]))
    return files
