"""Pseudo-Color Softcopy Presentation States: how stored images are shown, apart from them.

PS3.3 A.33.3 (IOD), C.11.2 (VOI), C.7.9 (palette), C.10.4 (displayed area), C.11.10, C.11.11.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from somascope.core.errors import CorruptFile, UnsupportedFormat, WriteError
from somascope.core.grid import Array
from somascope.core.image import Image
from somascope.io.dicom import carry, compose, iods, lut, validate
from somascope.io.dicom.compose import Titles
from somascope.io.dicom.encode import Encoder, dataset, put
from somascope.io.dicom.plane import is_placed, planes


@dataclass(frozen=True, eq=False)
class Presentation:
    """What a presentation state says.

    Parameters
    ----------
    palette
        Colours ``(n, 3)`` uint8 from black's end of the window to white's.
    centre, width, function
        The window, in the unit of the rescaled values (``slope * stored + intercept``).
    images
        ``(SOP class, SOP instance)`` it is made for, in ``series``.
    identifier
        Of the palette: a well-known one (PS3.6 B.1), or its own.
    """

    palette: Array
    centre: float
    width: float
    function: str
    slope: float
    intercept: float
    label: str
    description: str
    images: tuple[tuple[str, str], ...]
    series: str
    identifier: str = ""


def instances(
    image: Image,
    *,
    series_description: str | None = None,
    series_number: int | None = None,
    created: datetime | None = None,
) -> list[bytes]:
    """One presentation state for the stored images that ``image`` was read from.

    Palette, window (`SoftcopyVOILUTSequence`) and label are in its attributes, as
    `process.presentation_state` puts them; the values themselves are not written.

    Raises
    ------
    WriteError
        The image was not read from DICOM, has slices with scales of their own, or says no palette.
    """
    kept = image.attributes
    table = lut.table_of(kept)
    window = kept.get("SoftcopyVOILUTSequence")
    if table is None or not isinstance(window, (list, tuple)) or not window:
        raise WriteError(
            "an image of modality PR stands for a presentation state and this one says no palette "
            "and window; make it with process.presentation_state"
        )
    source = next((s for s in image.provenance.sources if s.kind == "dicom" and s.uids), None)
    sop_class = str(kept.get("SOPClassUID") or "")
    if source is None or not sop_class:
        raise WriteError(
            "a presentation state refers to stored DICOM images and this image was not read from "
            "any; write or import it first"
        )
    if "RescaleSlope" not in kept:
        raise WriteError(
            "the slices have scales of their own (Rescale Slope differs), which one presentation "
            "state cannot follow; store the image anew (any operation) and refer to that"
        )
    slope, intercept = float(kept["RescaleSlope"]), float(kept["RescaleIntercept"])
    references = [
        {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": u} for u in source.uids
    ]
    clean = replace(image, attributes=carry.tidy(kept))
    facts = [table.tolist(), dict(window[0]), list(source.uids)]
    series = compose.begin(
        kind=iods.PSEUDO_COLOUR,
        modality="PR",
        attributes=clean.attributes,
        record=image.provenance,
        grid=image.grid,
        content=compose.identity(table, image.grid, facts),
        titles=Titles(series_description, series_number, created),
    )
    date, time = carry.when(kept)
    if created is not None:
        date, time = created.strftime("%Y%m%d"), created.strftime("%H%M%S")
    label = re.sub(r"[^A-Z0-9_ ]", "_", str(kept.get("ContentLabel") or "PSEUDO COLOUR").upper())
    own = dataset(
        {
            "SOPInstanceUID": series.sop(0),
            "InstanceNumber": 1,
            "ContentLabel": label[:16],
            "ContentDescription": str(kept.get("ContentDescription") or "")[:64] or None,
            "PresentationCreationDate": date,
            "PresentationCreationTime": time,
            "ContentCreatorName": "Somascope",
            "ReferencedSeriesSequence": [
                {"SeriesInstanceUID": source.name, "ReferencedImageSequence": references}
            ],
            "DisplayedAreaSelectionSequence": [_area(image)],
            "RescaleIntercept": intercept,
            "RescaleSlope": slope,
            "RescaleType": "HU" if image.unit == "[hnsf'U]" else "US",
            "SoftcopyVOILUTSequence": [dict(window[0])],
            "PaletteColorLookupTableUID": kept.get("PaletteColorLookupTableUID"),
            "ICCProfile": lut.srgb(),
            "ColorSpace": "SRGB",
        }
    )
    if not kept.get("BodyPartExamined"):  # it may be one of a pair (Type 2C)
        put(own, {"Laterality": kept.get("Laterality")})
    for item in lut.elements(table):
        own.add(item)
    carry.complete(series.shared, iods.PSEUDO_COLOUR.iod)
    for word in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
        if word in series.shared:
            del series.shared[word]
    file = Encoder(series.shared).part10(own, [])
    validate.demand(file, "the presentation state")
    return [file]


def _area(image: Image) -> dict[str, Any]:
    _, rows, columns = image.grid.shape
    area: dict[str, Any] = {
        "DisplayedAreaTopLeftHandCorner": [1, 1],
        "DisplayedAreaBottomRightHandCorner": [columns, rows],
        "PresentationSizeMode": "SCALE TO FIT",
    }
    if is_placed(image.grid):
        area["PresentationPixelSpacing"] = planes(image.grid).spacing
    else:
        area["PresentationPixelAspectRatio"] = [1, 1]
    return area


def read(source: bytes | memoryview | Path) -> Presentation:
    """Read a Pseudo-Color Softcopy Presentation State, ours or another's.

    Raises
    ------
    UnsupportedFormat
        Another kind of object, or one with a table in place of a window.
    CorruptFile
        A palette, window or reference is missing.
    """
    raw = source if isinstance(source, Path) else BytesIO(bytes(source))
    try:
        found = dcmread(raw)
    except Exception as error:
        raise CorruptFile(f"the presentation state cannot be parsed: {error}") from error
    sop_class = str(found.get("SOPClassUID", ""))
    if sop_class != iods.PSEUDO_COLOUR.sop_class:
        raise UnsupportedFormat(
            f"SOP class {sop_class!r} is no Pseudo-Color Softcopy Presentation State"
        )
    series = found.get("ReferencedSeriesSequence")
    if not series:
        raise CorruptFile("the presentation state refers to no series (PS3.3 C.11.11)")
    images = tuple(
        (str(i.ReferencedSOPClassUID), str(i.ReferencedSOPInstanceUID))
        for i in series[0].get("ReferencedImageSequence", ())
    )
    window = _window(found)
    return Presentation(
        palette=lut.read_table(found),
        centre=window[0],
        width=window[1],
        function=window[2],
        slope=float(found.get("RescaleSlope") or 1),
        intercept=float(found.get("RescaleIntercept") or 0),
        label=str(found.get("ContentLabel", "")),
        description=str(found.get("ContentDescription", "") or ""),
        images=images,
        series=str(series[0].get("SeriesInstanceUID", "")),
        identifier=str(found.get("PaletteColorLookupTableUID", "") or ""),
    )


def _window(found: Dataset) -> tuple[float, float, str]:
    items = found.get("SoftcopyVOILUTSequence")
    if not items:
        raise CorruptFile("the presentation state has no Softcopy VOI LUT (PS3.3 C.11.8)")
    item: Dataset = items[0]
    if "WindowCenter" not in item or "WindowWidth" not in item:
        raise UnsupportedFormat("the presentation state has a VOI table; windows are read here")
    values: list[float] = []
    for word in ("WindowCenter", "WindowWidth"):
        value: Any = item[word].value
        values.append(float(value if isinstance(value, (str, int, float)) else value[0]))
    return values[0], values[1], str(item.get("VOILUTFunction", "") or "LINEAR")
