"""Scan an activity: what a PET scanner counts of it, with a known seed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from somascope.acquire.pet import realism
from somascope.acquire.pet.attenuation import survival
from somascope.acquire.pet.decay import factor
from somascope.acquire.pet.model import scale
from somascope.acquire.pet.scanner import Scanner, named
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import QUIET, Acquisition, Grid, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array
from somascope.io.dicom.pet import half_life

_OF_IMAGES = (
    "CorrectedImage", "ReconstructionMethod", "AttenuationCorrectionMethod", "WindowCenter",
    "WindowWidth", "ScatterCorrectionMethod", "RandomsCorrectionMethod",
)  # fmt: skip
"""Facts of a reconstructed image that its raw data do not have."""


def centre_of(grid: Grid) -> tuple[float, float, float]:
    """LPS mm of the middle of a grid."""
    l, p, s = grid.to_world([(n - 1) / 2 for n in grid.shape])
    return float(l), float(p), float(s)


def measure(
    scan: SinogramScan,
    activity: Array,
    *,
    calibration: dict[str, Array],
    attributes: dict[str, Any],
    randoms: float = 0.0,
    seed: int | None = 0,
) -> tuple[Array, dict[str, Array]]:
    """Prompts of ``activity`` (Bq/ml) and the calibration with its expected randoms.

    ``randoms`` is the share of all expected prompts that are random, spread evenly over the
    lines. ``seed`` None gives expected counts.
    """
    plain = Acquisition(
        np.zeros(scan.range, np.float32), scan, "PT", unit="{counts}", calibration=calibration,
        attributes=attributes,
    )  # fmt: skip
    from somascope.acquire.pet.model import factors

    expected = scan.forward(activity) * factors(plain)
    found = dict(calibration)
    if "scatter" in found:
        expected = expected + found["scatter"]
    if randoms > 0:
        each = float(expected.sum(dtype=np.float64)) * randoms / (1 - randoms) / expected.size
        one = scan.multiplicity * found.get("normalisation", np.float32(1))
        one = one / float(one.mean())
        found["randoms"] = np.ascontiguousarray(one * np.float32(each), np.float32)
        expected = expected + found["randoms"]
    if seed is None:
        return expected.astype(np.float32), found
    return np.random.default_rng(seed).poisson(expected).astype(np.float32), found


def scan_for(
    grid: Grid, scanner: Scanner, *, span: int = 1, resolved: bool = False, psf: float = 0.0
) -> SinogramScan:
    """A scan of ``grid`` by a scanner about its middle; ``resolved`` keeps the TOF bins."""
    if scanner.tof_bins > 1 and not resolved:
        scanner = scanner.without_tof()
    return SinogramScan(grid=grid, scanner=scanner, centre=centre_of(grid), span=span, psf=psf)


@operation("acquire.pet.simulate")
def simulate(
    activity: Image,
    *mu: Image,
    scanner: Annotated[
        Literal["tiny", "brain", "body", "clinical"],
        Param("Generic scanner; the body lies in its middle"),
    ] = "clinical",
    duration: Annotated[
        float, Param("Length of the frame", unit="s", minimum=0.001, maximum=86400.0)
    ] = 600.0,
    tof: Annotated[bool, Param("Keep time-of-flight bins, where the scanner has them")] = False,
    span: Annotated[
        int, Param("Ring differences joined in one segment, odd", minimum=1, maximum=99)
    ] = 1,
    randoms: Annotated[
        float, Param("Share of the prompts that are random", minimum=0.0, maximum=0.9, step=0.05)
    ] = 0.0,
    resolution: Annotated[
        float, Param("Blur of the scanner, FWHM; 0 for none", unit="mm", minimum=0.0, maximum=30.0)
    ] = 0.0,
    scatter: Annotated[
        Literal["none", "single", "photons"],
        Param("No scatter, single scatter as computed, or of every order, from photons followed"),
    ] = "none",
    uneven: Annotated[
        float, Param("Standard deviation of the crystals' efficiencies; 0 for ideal ones",
                     minimum=0.0, maximum=0.5, step=0.05)
    ] = 0.0,
    dead_time: Annotated[
        float, Param("Of the coincidence processor, after each prompt", unit="us", minimum=0.0,
                     maximum=100.0, advanced=True)
    ] = 0.0,
    known: Annotated[
        bool, Param("Keep the true scatter and randoms beside the counts; else only what a "
                    "scanner measures, a delayed window")
    ] = True,
    noise: Annotated[bool, Param("Poisson counts; else expected counts")] = True,
    seed: Annotated[int, Param("Of the noise", minimum=0, maximum=2**31 - 1)] = 0,
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Scan an activity image in Bq/ml: the prompts a PET scanner counts.

    A second image gives the attenuation: a CT in Hounsfield units or a mu-map in 1/cm or 1/mm,
    brought to the first one's grid. Frames decay where the half life is known; their activity is
    meant at the frame's start. Everything needed to correct stays in the calibration.
    """
    if activity.unit != "Bq/ml":
        raise UnitError(f"the activity is in {activity.unit!r}; give an image in Bq/ml")
    if activity.axes:
        raise GeometryError(
            f"the image has leading axes {activity.axis_names[:-3]}; scan one frame, image.at(...)"
        )
    values = np.asarray(activity.data, np.float32)
    if not np.isfinite(values).all() or values.min() < 0:
        raise ParameterError("the activity is negative or not finite somewhere; mend it first")
    if len(mu) > 1:
        raise ParameterError(f"{len(mu)} attenuation images; give one, or none")
    scan = scan_for(activity.grid, named(scanner), span=span, resolved=tof)
    calibration: dict[str, Array] = {"sensitivity": np.array(scan.scanner.sensitivity)}
    progress(0.1, "projecting")
    if mu:
        lines = survival(scan, mu[0])
        calibration["attenuation"] = lines
    facts = {k: v for k, v in activity.attributes.items() if k not in _OF_IMAGES}
    facts["ActualFrameDuration"] = duration * 1e3
    half = half_life(activity)
    if half is not None:
        facts["DecayCorrection"] = "START"
        calibration["decay"] = np.array(1 / factor(half, start=0.0, duration=duration))
    progress(0.3, "scattering" if scatter != "none" else "projecting")
    calibration = realism.added(
        scan, values, mu[0] if mu else None, calibration=calibration, attributes=facts,
        kind=scatter, uneven=uneven, dead=dead_time * 1e-6, randoms=randoms, seed=seed,
    )  # fmt: skip
    progress(0.6, "projecting")
    blurred = scan.with_changes(psf=resolution) if resolution > 0 else scan
    samples, calibration = measure(
        blurred, values, calibration=calibration, attributes=facts, randoms=randoms,
        seed=seed if noise else None,
    )  # fmt: skip
    progress(1.0, "scanned")
    made = Acquisition(
        samples, scan, "PT", unit="{counts}", calibration=calibration,
        provenance=activity.provenance, attributes=facts,
    )  # fmt: skip
    return made if known else realism.as_measured(made, seed=seed)


__all__ = ["centre_of", "measure", "scale", "scan_for", "simulate", "survival"]
