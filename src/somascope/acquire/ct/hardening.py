"""`acquire.ct.beam_hardening`: line integrals of a spectrum become those of one energy.

A spectrum's mean energy rises with depth, so that ``-ln(I / I0)`` grows slower than the path.
Measured values are mapped to the path that explains them, and that to what one energy would have
measured.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.ct.fbp import line_integrals
from somascope.acquire.ct.first import first_image, projected
from somascope.acquire.ct.hounsfield import ENERGY, mu_water
from somascope.acquire.ct.simulate import materials, transmitted
from somascope.core import QUIET, Acquisition, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

LONGEST = 14.0
"""Largest line integral that is tabulated: a transmitted share of a millionth."""


def water_table(kvp: float, *, energy: float = ENERGY) -> tuple[Float, Float]:
    """What the spectrum measures, and what one energy would, for the same depths of water."""
    path = np.linspace(0, 2 * LONGEST, 1200)
    measured = -np.log(transmitted({"water": path}, kvp, reference=energy)[0])
    return measured, path


def harden_water(samples: Array, kvp: float, *, energy: float = ENERGY) -> Array:
    """Line integrals of water at ``energy`` keV that the spectrum would measure as ``samples``."""
    measured, path = water_table(kvp, energy=energy)
    slope = path[1] / measured[1]
    out = np.interp(samples, measured, path)
    # Noise below zero goes straight on, so that air stays zero on average.
    return np.where(samples < 0, samples * slope, out).astype(np.float32)


def harden_two(samples: Array, bone: Array, kvp: float, *, energy: float = ENERGY) -> Array:
    """As `harden_water`, with the part ``bone`` of the path (at ``energy``) known.

    Joseph and Spital 1978. For each ray the water path is looked up that, together with the bone,
    gives the measured value; the sum of both is returned.
    """
    depth = np.linspace(0, 2 * LONGEST, 400)
    bones = np.linspace(0, max(float(bone.max()), 1e-3), 48)
    table = np.empty((bones.size, depth.size))
    for k, b in enumerate(bones):
        paths: dict[str, Array] = {"water": depth, "bone": np.full_like(depth, b)}
        table[k] = -np.log(transmitted(paths, kvp, reference=energy)[0])
    # Water path as a function of (bone path, measured value), on a regular lattice of the latter.
    values = np.linspace(0, LONGEST, 800)
    water = np.stack([
        np.interp(values, row, depth, left=np.nan) for row in table
    ])  # fmt: skip
    for k, row in enumerate(table):
        below = values < row[0]
        slope = (depth[1] - depth[0]) / (row[1] - row[0])
        water[k, below] = (values[below] - row[0]) * slope
    from scipy.ndimage import map_coordinates

    place = np.stack([
        bone.ravel() / bones[-1] * (bones.size - 1),
        np.clip(samples.ravel(), 0, LONGEST) / LONGEST * (values.size - 1),
    ])  # fmt: skip
    found = map_coordinates(water, place, order=1, mode="nearest").reshape(samples.shape)
    total = np.where(samples < 0, samples, found + bone)
    return total.astype(np.float32)


@operation("acquire.ct.beam_hardening")
def beam_hardening(
    acquisition: Acquisition,
    *,
    kvp: Annotated[
        float | None,
        Param("Tube voltage; the acquisition's own (KVP) if not given", unit="kV", minimum=40.0,
              maximum=150.0),
    ] = None,
    model: Annotated[
        Literal["water", "water and bone"],
        Param("What hardens the beam: water alone, or bone found in a first image as well"),
    ] = "water",
    iterations: Annotated[
        int, Param("How often the bone is found again", minimum=1, maximum=5, advanced=True)
    ] = 1,
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Correct line integrals for beam hardening: no cupping, no dark bands between bones.

    The result is what a beam of 70 keV would measure, and ``mu_water`` is that of 70 keV.
    """
    samples = line_integrals(acquisition, operation_name="acquire.ct.beam_hardening")
    voltage = kvp if kvp is not None else acquisition.attributes.get("KVP")
    if voltage is None:
        raise ParameterError(
            "the acquisition does not say its tube voltage (KVP); give kvp, such as 120"
        )
    water = mu_water(ENERGY)
    measured = samples
    corrected = harden_water(samples, float(voltage))
    if samples.max() > LONGEST:
        raise ParameterError(
            f"line integrals reach {float(samples.max()):.3g}, beyond {LONGEST:g}: correct "
            "rays without signal first (acquire.ct.normalise)"
        )
    kept = {**acquisition.calibration, "mu_water": np.array(water)}
    result = replace(acquisition.with_samples(corrected), calibration=kept)
    progress(0.1, "water")
    if model == "water":
        return result
    for k in range(iterations):
        mu = np.maximum(first_image(result), 0)
        # Bone by its share at each pixel, as the simulation of a body divides it.
        bone = materials(mu / np.float32(water))["bone"] * np.float32(water)
        progress((k + 0.5) / iterations, "projecting bone")
        corrected = harden_two(measured, projected(acquisition, bone), float(voltage))
        result = replace(acquisition.with_samples(corrected), calibration=kept)
    return result
