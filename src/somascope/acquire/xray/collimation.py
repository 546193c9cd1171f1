"""`acquire.xray.collimation`: where the collimator let the beam through."""

from __future__ import annotations

import numpy as np

from somascope.acquire.xray.facts import one_plane
from somascope.acquire.xray.fields import find_field
from somascope.acquire.xray.present import densities
from somascope.core import Image, Mask, Segment, operation


@operation("acquire.xray.collimation")
def collimation(image: Image) -> Mask:
    """Find the exposed field of a radiograph: four straight edges.

    Works on line integrals, counts or a linear image of one plane. The mask is 1 inside the field;
    its attributes carry the edges as DICOM has them (`CollimatorShape`,
    `CollimatorLeftVerticalEdge`... columns and rows from 1, PS3.3 C.8.7.3). Where a side has no
    blade the edge is the border of the image.
    """
    one_plane(image, "acquire.xray.collimation")
    field = find_field(densities(image))
    inside = field.mask(image.grid.shape[1:])
    return Mask(
        data=inside[None].astype(np.uint8),
        grid=image.grid,
        segments=(Segment(1, "Exposed field", algorithm="four straight edges"),),
        provenance=image.provenance,
        attributes={
            **image.attributes,
            "CollimatorShape": "RECTANGULAR",
            "CollimatorLeftVerticalEdge": round(field.left),
            "CollimatorRightVerticalEdge": round(field.right) + 1,
            "CollimatorUpperHorizontalEdge": round(field.top),
            "CollimatorLowerHorizontalEdge": round(field.bottom) + 1,
        },
    )
