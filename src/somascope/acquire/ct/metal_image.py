"""`acquire.ct.reduce_metal`: metal artefacts taken out of slices whose raw data are gone."""

from __future__ import annotations

import numpy as np

from somascope.acquire.ct.arrange import arrange
from somascope.acquire.ct.first import first_image
from somascope.acquire.ct.hounsfield import HU, mu_water
from somascope.acquire.ct.metal import Bone, Margin, Method, Threshold, Tissue, bridged
from somascope.core import QUIET, Acquisition, Grid, Image, Progress, operation
from somascope.core.errors import UnitError
from somascope.core.grid import Array

VIEWS = 1.6
"""Views for each pixel of a side: pi / 2 sample a disc evenly."""


@operation("acquire.ct.reduce_metal")
def reduce_metal(
    image: Image,
    *,
    method: Method = "normalised",
    threshold: Threshold = 2500.0,
    tissue: Tissue = -500.0,
    bone: Bone = 350.0,
    margin: Margin = 1,
    progress: Progress = QUIET,
) -> Image:
    """Reduce metal artefacts in CT slices: projected again, without the raw data.

    They are projected along parallel rays, the shadow of what is brighter than
    ``threshold`` is replaced as by ``acquire.ct.metal`` (Meyer et al. 2010; Kalender 1987), and
    what that changes is reconstructed and added: slices without metal, and sharpness away from it,
    stay as they are. Shape ``(*leading, nz, ny, nx)`` in HU, float32; missing values stay missing
    and count as air. Metal keeps its values. With the raw data, ``acquire.ct.metal`` does it
    better: scanners cut off bright values.

    Raises
    ------
    UnitError
        The image is not in Hounsfield units.
    ParameterError
        In some slice most rays pass what is taken for metal.
    """
    if image.unit != HU or image.data.dtype.kind not in "iuf":
        raise UnitError(
            f"acquire.ct.reduce_metal takes CT slices in {HU}; the image is in {image.unit!r} "
            f"({image.data.dtype})"
        )
    _, ny, nx = image.grid.shape
    # Projected by itself: neither the patient's position nor the table's tilt matters.
    grid = Grid.from_spacing((1, ny, nx), image.grid.spacing)
    scan = arrange(grid, "parallel", views=max(round(VIEWS * max(ny, nx)), 90))
    water = mu_water()
    out = np.array(image.data, np.float32)
    for plane in progress.over(out.reshape(-1, ny, nx), "slices with metal"):
        known = np.isfinite(plane)
        found = known & (plane > threshold)
        if not found.any():
            continue
        # Some scanners pad beyond their field with less than air.
        values = np.maximum(np.where(known, plane, -1000), -1000)
        mu = (values + np.float32(1000)) * np.float32(water / 1000)
        first = Acquisition(scan.forward(mu[None]), scan, "CT", "1")
        mended, _ = bridged(
            first, found[None], water=water, method=method, tissue=tissue, bone=bone,
            margin=margin,
        )  # fmt: skip
        change: Array = first_image(first.with_samples(mended - first.samples))[0]
        plane[known & ~found] += change[known & ~found] * np.float32(1000 / water)
    return image.with_data(out)
