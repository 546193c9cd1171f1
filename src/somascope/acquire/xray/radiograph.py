"""`acquire.xray.radiograph`: a corrected view becomes an image "for processing"."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from somascope.acquire.xray.correct import RAW, corrected
from somascope.acquire.xray.facts import geometry
from somascope.acquire.xray.projection import Projection
from somascope.core import Acquisition, Image, Param, operation
from somascope.core.errors import NotFound, ParameterError


@operation("acquire.xray.radiograph")
def radiograph(
    acquisition: Acquisition,
    *,
    view: Annotated[int, Param("Which exposure, from 0", minimum=0)] = 0,
) -> Image:
    """One exposure as an image on its detector, for processing.

    Raw counts are corrected first. The data is ``(1, rows, columns)`` float32: line integrals
    (unit ``1``, Pixel Intensity Relationship LOG, sign -1: dense is high), or, where the
    acquisition was corrected without the logarithm, counts (LIN, 1). The grid lies in the
    detector's plane in the patient's frame of reference.
    """
    return as_image(acquisition, view=view)


def as_image(acquisition: Acquisition, *, view: int = 0) -> Image:
    """What `radiograph` gives, without a step in the history."""
    projection = acquisition.operator
    if not isinstance(projection, Projection):
        raise ParameterError(
            f"a radiograph needs an xray.projection and this acquisition's operator is "
            f"{type(projection).__name__}"
        )
    count = projection.range[0]
    if not 0 <= view < count:
        raise NotFound(f"there is no exposure {view}; the acquisition has 0 to {count - 1}")
    raw = acquisition.unit == RAW and acquisition.samples.dtype.kind in "iu"
    samples = corrected(acquisition) if raw else acquisition.samples
    linear = acquisition.unit == RAW and not raw
    plane = np.asarray(samples[view], np.float32)[None]
    position = str(acquisition.attributes.get("ViewPosition", ""))
    attributes: dict[str, Any] = {
        **acquisition.attributes,
        **geometry(projection, view, position=position),
        "PixelIntensityRelationship": "LIN" if linear else "LOG",
        "PixelIntensityRelationshipSign": 1 if linear else -1,
        "PresentationIntentType": "FOR PROCESSING",
        "PositionerType": "COLUMN",
    }
    return Image(
        data=plane,
        grid=projection.detector(view),
        modality=acquisition.modality or "DX",
        unit=RAW if linear else "1",
        provenance=acquisition.provenance,
        attributes=attributes,
    )
