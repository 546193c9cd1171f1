"""Images as Parametric Maps: floating-point pixels with their unit (PS3.3 A.75, C.7.6.24)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from somascope import __version__
from somascope.core.errors import ReadError, UnsupportedFormat, WriteError
from somascope.core.grid import Array
from somascope.core.image import Image
from somascope.io.dicom import axes, carry, compose, enhanced, iods, lut, validate
from somascope.io.dicom.compose import Titles
from somascope.io.dicom.encode import Encoder, put
from somascope.io.dicom.functional import arrange, derivation
from somascope.io.dicom.plane import planes, thickness
from somascope.io.dicom.units import real_world
from somascope.io.dicom.window import window

_SAID = "Parametric map. Not for clinical use."


def instances(
    image: Image,
    *,
    series_description: str | None = None,
    series_number: int | None = None,
    created: datetime | None = None,
) -> list[bytes]:
    """Part 10 files of ``image``: one Parametric Map in a new series of the same study.

    Values are kept exactly: float32 (and all that fits it) as Float Pixel Data, float64 and wider
    integers as Double Float Pixel Data; NaN and infinity are allowed. The unit is in the Real
    World Value Mapping. Leading axes as in `write.instances`, without colour. Attributes that hold
    a palette and its range (`lut.stated`) become Pixel Presentation COLOR_RANGE; a Content
    Description among them is kept.

    Raises
    ------
    WriteError
        Complex or colour images, axes without a place, rows and columns that are not at right
        angles, or a result that breaks a rule of `validate.check`.
    """
    colours = lut.range_facts(image.attributes)
    said = str(image.attributes.get("ContentDescription") or _SAID)
    image = replace(image, attributes=carry.tidy(image.attributes))
    lead = axes.leading(image)
    if image.data.dtype.kind == "c" or any(a.name == "channel" for a in image.axes):
        raise WriteError(
            "a parametric map holds one real number per voxel; write the magnitude, or one channel"
        )
    pixels = _floats(image.data)
    place = planes(image.grid)
    series = compose.begin(
        kind=iods.PARAMETRIC_MAP,
        modality=image.modality or "OT",
        attributes=image.attributes,
        record=image.provenance,
        grid=image.grid,
        content=compose.identity(
            image.data, image.grid, image.unit, [(a.name, a.values, a.unit) for a in image.axes]
        ),
        titles=Titles(series_description, series_number, created),
        source_class=iods.choose(image).sop_class,
    )
    date, time = carry.when(image.attributes)
    own = Dataset()
    put(
        own,
        {
            "SOPInstanceUID": series.sop(0),
            "InstanceNumber": 1,
            "ImageType": ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"],
            "ContentDate": date,
            "ContentTime": time,
            "ContentQualification": "RESEARCH",
            "ContentLabel": "PARAMETRIC_MAP",
            "ContentDescription": said[:64],
            "ContentCreatorName": "Somascope",
            "Manufacturer": "Somascope",
            "ManufacturerModelName": "Somascope",
            "DeviceSerialNumber": "0",
            "SoftwareVersions": __version__,
            "BurnedInAnnotation": "NO",
            "RecognizableVisualFeatures": "NO",
            "LossyImageCompression": image.attributes.get("LossyImageCompression") or "00",
            "PresentationLUTShape": "IDENTITY",
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": image.grid.shape[1],
            "Columns": image.grid.shape[2],
            "BitsAllocated": pixels.dtype.itemsize * 8,
            "Laterality": image.attributes.get("Laterality"),
            **compose.referenced(image.provenance, series.source_class),
            **colours.top,
        },
    )
    for item in colours.tables:
        own.add(item)
    known = pixels[np.isfinite(pixels)]
    known = known if known.size else np.zeros(1, pixels.dtype)
    centre, width = window(known, modality=image.modality, attributes=image.attributes)
    ends = float(known.min()), float(known.max())
    dimensions, frames = enhanced.layout(image, lead, place)
    encoded = arrange(
        own,
        series,
        place=place,
        thickness=thickness(image, place),
        dimensions=dimensions,
        frames=frames,
        shared={
            **derivation(image.provenance, series.sources),
            **colours.shared,
            "ParametricMapFrameTypeSequence": [{"FrameType": own["ImageType"].value}],
            "FrameVOILUTSequence": [
                {"WindowCenter": centre, "WindowWidth": width, "VOILUTFunction": "LINEAR_EXACT"}
            ],
            # Without it readers that know no real world values would find no slope at all.
            "PixelValueTransformationSequence": [
                {"RescaleIntercept": 0, "RescaleSlope": 1, "RescaleType": "US"}
            ],
            "RealWorldValueMappingSequence": [
                real_world(image.unit, slope=1.0, intercept=0.0, ends=ends, vr="FD")
            ],
        },
    )
    merged = Dataset()
    merged.update(series.shared)
    merged.update(own)
    carry.complete(merged, iods.PARAMETRIC_MAP.iod)
    keyword = "FloatPixelData" if pixels.dtype.itemsize == 4 else "DoubleFloatPixelData"
    file = Encoder(merged, encoded=encoded).part10(
        Dataset(), [pixels.data.cast("B")], keyword=keyword
    )
    validate.demand(file, "the parametric map")
    return [file]


def _floats(data: Array) -> Array:
    small = data.dtype.itemsize <= (4 if data.dtype.kind == "f" else 2)
    if data.dtype.kind in "iu" and not small and data.size:
        small = abs(int(data.min())) <= 2**24 and abs(int(data.max())) <= 2**24
        if max(abs(int(data.min())), abs(int(data.max()))) > 2**53:
            raise WriteError("integers above 2**53 are not exact in any parametric map")
    return np.ascontiguousarray(data, "<f4" if small else "<f8")


def read(source: bytes | memoryview | Path) -> Image:
    """The image in a Parametric Map, with the unit of its Real World Value Mapping.

    Raises
    ------
    UnsupportedFormat
        Not a parametric map.
    ReadError
        Damaged, or frames that are no single volume.
    """
    from somascope.io.dicom.header import scan
    from somascope.io.dicom.series import volumes

    sop_class = str(scan(source).attributes.get("SOPClassUID", ""))
    if sop_class != iods.PARAMETRIC_MAP.sop_class:
        raise UnsupportedFormat(f"SOP class {sop_class!r} is not a parametric map")
    images, problems = volumes([source])
    if len(images) != 1:
        said = "; ".join(p.reason for p in problems) or f"it holds {len(images)} volumes"
        raise ReadError(f"the parametric map cannot be read as one image: {said}")
    return images[0]
