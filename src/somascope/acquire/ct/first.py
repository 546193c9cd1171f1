"""A first image and its projections: what corrections by reprojection are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.ct.fbp import fbp
from somascope.acquire.ct.system import rays_along
from somascope.core import Acquisition
from somascope.core.grid import Array


def first_image(acquisition: Acquisition) -> Array:
    """Attenuation in 1/mm ``(nz, ny, nx)`` on the scan's grid, by the method of its geometry."""
    scan: Any = acquisition.operator
    if scan.kind == "ct.cone":
        from somascope.acquire.ct.fdk import fdk

        return np.asarray(fdk(acquisition, unit="1/mm").data)
    return np.asarray(fbp(acquisition, unit="1/mm").data)


def projected(acquisition: Acquisition, image: Array) -> Array:
    """Line integrals of ``image`` (1/mm) along the rays of the scan, float32, never negative."""
    scan: Any = acquisition.operator
    return np.maximum(rays_along(scan).forward(np.ascontiguousarray(image, np.float32)), 0)
