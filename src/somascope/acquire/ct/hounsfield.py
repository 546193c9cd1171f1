"""Attenuation in 1/mm to Hounsfield units and back.

``HU = 1000 (mu - mu_water) / mu_water`` (ICRU, PS3.3 C.11.1.1.2): water is 0, nothing is -1000.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from somascope.core.errors import ParameterError, UnitError
from somascope.core.grid import Array
from somascope.core.image import Image

HU = "[hnsf'U]"
"""UCUM code of the Hounsfield unit."""

ENERGY = 70.0
"""keV: the effective energy that is taken where nothing is known."""


def mu_water(energy: float = ENERGY) -> float:
    """Linear attenuation of water at ``energy`` keV in 1/mm."""
    from somascope.acquire.ct.spectrum import attenuation

    return float(attenuation("water", np.array([energy]))[0])


def chosen_mu_water(given: float | None, calibration: Mapping[str, Array]) -> float:
    """What was given, else what was measured with the scan (``mu_water``), else that of 70 keV."""
    if given is not None:
        if not given > 0:
            raise ParameterError(f"mu_water is {given}; give a positive attenuation in 1/mm")
        return given
    if "mu_water" in calibration:
        return float(np.asarray(calibration["mu_water"]).reshape(-1)[0])
    return mu_water()


def to_hu(mu: Array, water: float) -> Array:
    """HU of ``mu`` in 1/mm, where water has ``water``."""
    scale = mu.dtype.type(1000 / water) if mu.dtype.kind == "f" else 1000 / water
    return mu * scale - mu.dtype.type(1000)


def from_hu(hu: Array, water: float) -> Array:
    """Attenuation in 1/mm of HU values, float32; below -1000 there is nothing to absorb: 0."""
    return np.maximum((np.asarray(hu, np.float32) + 1000) * np.float32(water / 1000), 0)


def image_mu(image: Image, water: float, *, hounsfield: bool = False) -> Array:
    """Attenuation in 1/mm of an image in HU, ``/mm``, ``/cm`` or ``1`` (relative to water).

    ``hounsfield``: its numbers are HU whatever its unit says (file formats may lose it).

    Raises
    ------
    UnitError
        The image is in another unit, or has negative attenuation.
    """
    data = image.data
    if not np.isfinite(data).all():
        raise UnitError("the image has values that are not finite; fill them before it is scanned")
    if hounsfield or image.unit == HU:
        return from_hu(data, water)
    scale = {"/mm": 1.0, "/cm": 0.1, "1": water}
    if image.unit not in scale:
        raise UnitError(
            f"the image is in {image.unit!r}; CT needs {HU}, /mm, /cm or 1 (relative to water)"
        )
    lowest = float(data.min())
    if lowest < -0.1 * float(np.abs(data).max()):
        raise UnitError(
            f"the image is in {image.unit!r} and reaches down to {lowest:g}, but attenuation is "
            "not negative; where its numbers are Hounsfield units, say values=HU"
        )
    return np.asarray(data, np.float32) * np.float32(scale[image.unit])


def calibrated(mu: Array, water: float, *, unit: str) -> tuple[Array, str, dict[str, Any]]:
    """``mu`` in ``HU`` or ``/mm``, its UCUM code, and the DICOM facts that say so."""
    if unit == "HU":
        return to_hu(mu, water), HU, {"RescaleType": "HU"}
    return mu, "/mm", {}
