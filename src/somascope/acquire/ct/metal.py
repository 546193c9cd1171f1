"""`acquire.ct.metal`: rays through metal are replaced by what their neighbours say."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.acquire.ct.fbp import line_integrals
from somascope.acquire.ct.first import first_image, projected
from somascope.acquire.ct.hounsfield import chosen_mu_water
from somascope.acquire.ct.normalise import bridge
from somascope.core import QUIET, Acquisition, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array


def prior_image(mu: Array, water: float, metal: Array, *, tissue: float, bone: float) -> Array:
    """Air is air, soft tissue is water, bone stays: the prior of Meyer et al. 2010.

    Thresholds in HU; metal becomes tissue. Smoothed a little first, against streaks.
    """
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(mu, (0, 1.0, 1.0))
    hu = 1000 * (smooth / water - 1)
    prior = np.where(hu > bone, mu, np.float32(water))
    prior = np.where(hu < tissue, 0, prior)
    return np.where(metal, np.float32(water), prior).astype(np.float32)


def spread(mask: Array, bins: int) -> Array:
    """``mask`` grown by ``bins`` along the last axis."""
    out = mask.copy()
    for k in range(1, bins + 1):
        out[..., k:] |= mask[..., :-k]
        out[..., :-k] |= mask[..., k:]
    return out


Method: TypeAlias = Annotated[
    Literal["normalised", "linear"],
    Param("Interpolate the samples, or their ratio to those of a prior image (NMAR)"),
]
Threshold: TypeAlias = Annotated[
    float, Param("What is brighter is metal", unit="HU", minimum=500.0, maximum=30000.0)
]
Tissue: TypeAlias = Annotated[
    float, Param("What is darker is air (normalised)", unit="HU", minimum=-1000.0, maximum=0.0,
                 advanced=True),
]  # fmt: skip
Bone: TypeAlias = Annotated[
    float, Param("What is brighter is bone (normalised)", unit="HU", minimum=50.0, maximum=2000.0,
                 advanced=True),
]  # fmt: skip
Margin: TypeAlias = Annotated[
    int, Param("Bins by which the metal's shadow is grown", minimum=0, maximum=20, advanced=True)
]


def bridged(
    acquisition: Acquisition,
    found: Array,
    *,
    water: float,
    method: str,
    tissue: float,
    bone: float,
    margin: int,
    limit: float = 0.5,
    progress: Progress = QUIET,
) -> tuple[Array, Array]:
    """The samples with the metal's shadow replaced, and where that is.

    ``found`` is the metal, bool on the scan's grid; the rest as in `metal`.

    Raises
    ------
    ParameterError
        More than the share ``limit`` of the rays pass metal.
    """
    samples = np.asarray(acquisition.samples)
    shadow = projected(acquisition, found.astype(np.float32))
    trace = spread(shadow > 0.25 * min(acquisition_spacing(acquisition)), margin)
    if trace.mean() > limit:
        raise ParameterError(
            f"{trace.mean():.0%} of all rays pass what is taken for metal; give a higher threshold"
        )
    out = bridge(samples, trace)
    if method == "normalised":
        rough = first_image(acquisition.with_samples(out))
        progress(0.6, "projecting the prior")
        prior = projected(acquisition, prior_image(rough, water, found, tissue=tissue, bone=bone))
        # Rays that miss the body have nothing to divide by.
        least = np.float32(0.02 * float(prior.max()))
        base = np.maximum(prior, least)
        out = bridge(samples / base, trace) * base
    return np.where(trace, out, samples).astype(np.float32), trace


@operation("acquire.ct.metal")
def metal(
    acquisition: Acquisition,
    *,
    method: Method = "normalised",
    threshold: Threshold = 2500.0,
    tissue: Tissue = -500.0,
    bone: Bone = 350.0,
    margin: Margin = 1,
    progress: Progress = QUIET,
) -> Acquisition:
    """Reduce metal artefacts: find the metal in a first image, replace its shadow in the sinogram.

    ``linear`` bridges the shadow along the detector (Kalender 1987); ``normalised`` does so after
    dividing by the projections of a segmented prior image, so that bone and outline survive
    (Meyer et al. 2010). ``calibration["metal"]`` keeps the metal (bool, on the grid);
    ``weights``, where there are any, become 0 in the shadow.
    """
    samples = line_integrals(acquisition, operation_name="acquire.ct.metal")
    water = chosen_mu_water(None, acquisition.calibration)
    progress(0.05, "first image")
    mu = first_image(acquisition)
    found = mu > water * (1 + threshold / 1000)
    if not found.any():
        raise ParameterError(
            f"nothing in the first image is brighter than {threshold:g} HU (its maximum is "
            f"{1000 * (float(mu.max()) / water - 1):.0f} HU): there is no metal to remove"
        )
    progress(0.3, "shadow of the metal")
    out, trace = bridged(
        acquisition.with_samples(samples), found, water=water, method=method, tissue=tissue,
        bone=bone, margin=margin, progress=progress,
    )  # fmt: skip
    kept = {**acquisition.calibration, "metal": found}
    if "weights" in kept:
        kept["weights"] = np.where(trace, 0, kept["weights"]).astype(np.float32)
    return replace(acquisition.with_samples(out), calibration=kept)


def acquisition_spacing(acquisition: Acquisition) -> tuple[float, float]:
    """Pixel spacing ``(dy, dx)`` of the scan's grid in mm."""
    grid = acquisition.operator.grid  # type: ignore[attr-defined]
    return grid.spacing[1], grid.spacing[2]
