"""`acquire.spect.simulate`: what a gamma camera counts on its way around a patient."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.acquire.mumap import coefficient
from somascope.acquire.spect.attenuation import mu_on
from somascope.acquire.spect.camera import (
    COLLIMATORS,
    Camera,
    Collimation,
    Window,
    dual_windows,
    triple_windows,
)
from somascope.acquire.spect.facts import camera_facts, emitter, examination
from somascope.acquire.spect.nuclides import NUCLIDES, Nuclide
from somascope.acquire.spect.orbit import body_contour, centre, circular
from somascope.acquire.spect.parallel import ParallelScan
from somascope.acquire.spect.scattering import effective_source, shares
from somascope.acquire.spect.system import SENSITIVITY
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array, Float


def activity_of(image: Image) -> Array:
    """Bq/ml as float32; refuses other units, negative values, several volumes."""
    if image.axes:
        raise GeometryError(
            f"the image has leading axes {image.axis_names[:-3]}; scan one volume, image.at(...)"
        )
    if image.unit != "Bq/ml":
        raise UnitError(
            f"acquire.spect.simulate needs activity in Bq/ml; this image is in {image.unit!r}"
        )
    data = np.asarray(image.data, np.float32)
    if not np.isfinite(data).all() or float(data.min()) < 0:
        raise UnitError("the activity holds values that are negative or not finite")
    return data


def windows_for(kind: str, kev: float) -> tuple[Window, ...]:
    """The energy windows of each choice, about ``kev``."""
    return {
        "photopeak": dual_windows(kev)[:1],
        "dual": dual_windows(kev),
        "triple": triple_windows(kev),
    }[kind]


def body_of(data: Array, mu: Array | None, *, kev: float) -> Array:
    """Where the patient is: more than a third of water's attenuation, or activity."""
    found = data > 1e-3 * max(float(data.max()), 1e-30)
    return found if mu is None else found | (mu > 0.033 * coefficient("water", kev))


def noisy(mean: Array, *, seed: int) -> Array:
    """Poisson counts of ``mean``, float32."""
    rng = np.random.default_rng(seed)
    return rng.poisson(np.asarray(mean, np.float64)).astype(np.float32)


def begin_times(views: int, seconds: float, heads: int) -> Float:
    """When each view begins, s after the first: every head covers its share of the arc at once."""
    if views % heads:
        raise ParameterError(
            f"{views} views cannot be shared by {heads} heads; give a multiple of {heads}"
        )
    return np.asarray(np.arange(views) % (views // heads), np.float64) * seconds


@operation("acquire.spect.simulate")
def simulate(
    *images: Image,
    views: Annotated[int, Param("Projections over the arc", minimum=1, maximum=2000)] = 120,
    arc: Annotated[
        float, Param("Angle over which the views are spread", unit="deg", minimum=1.0,
                     maximum=360.0)
    ] = 360.0,
    start: Annotated[
        float, Param("Where the camera begins: 0 at the patient's back, 90 at the left, 180 in "
                     "front", unit="deg", minimum=-360.0, maximum=360.0)
    ] = 180.0,
    clockwise: Annotated[
        bool, Param("Turn towards the patient's right first, seen from the feet", advanced=True)
    ] = False,
    orbit: Annotated[
        Literal["circular", "body contour"],
        Param("At one distance from the axis, or as near as the body allows in every view"),
    ] = "circular",
    radius: Annotated[
        float | None, Param("From the axis to the collimator's face; 3 cm off the body if not "
                            "given", unit="mm", minimum=20.0, maximum=600.0)
    ] = None,
    columns: Annotated[
        int | None, Param("Of the detector; as many as the image has if not given", minimum=8,
                          maximum=1024)
    ] = None,
    collimator: Annotated[Collimation, Param("Generic parallel-hole collimator")] = "LEHR",
    nuclide: Annotated[Nuclide, Param("What decays")] = "Tc-99m",
    seconds: Annotated[
        float, Param("Per view", unit="s", minimum=0.01, maximum=3600.0)
    ] = 20.0,
    heads: Annotated[
        int, Param("Detectors that count at the same time, evenly over the arc", minimum=1,
                   maximum=12)
    ] = 2,
    windows: Annotated[
        Literal["photopeak", "dual", "triple"],
        Param("Energy windows: the photopeak, one below it (DEW), or both sides of it (TEW)"),
    ] = "photopeak",
    scatter: Annotated[
        float, Param("Scattered photons in the photopeak per unscattered one; needs a CT",
                     minimum=0.0, maximum=3.0, step=0.05)
    ] = 0.0,
    intrinsic: Annotated[
        float, Param("Resolution of the crystal, FWHM", unit="mm", minimum=0.0, maximum=20.0,
                     advanced=True)
    ] = 3.8,
    resolution: Annotated[bool, Param("Blur by collimator and crystal", advanced=True)] = True,
    noise: Annotated[bool, Param("Poisson noise; else expected counts")] = True,
    seed: Annotated[int, Param("Of the noise", minimum=0, maximum=2**31 - 1)] = 0,
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Scan activity in Bq/ml with a rotating gamma camera: projections in counts.

    The first image is the activity at the start of the scan. A second one, a CT in HU or a mu-map,
    gives attenuation and scatter; it is brought onto the first one's grid. The activity decays
    during the scan. The attenuation stays in the scan's description, where reconstructions find it.
    """
    if not 1 <= len(images) <= 2:
        raise ParameterError(
            f"acquire.spect.simulate takes activity, and a CT or mu-map if there is one; "
            f"{len(images)} images given"
        )
    image = images[0]
    data, emits = activity_of(image), NUCLIDES[nuclide]
    mu = None if len(images) == 1 else mu_on(images[1], image.grid, kev=emits.kev)
    if scatter > 0 and mu is None:
        raise ParameterError(
            f"scatter of {scatter:g} needs a body to scatter in; give a CT or mu-map as well"
        )
    progress(0.1, "preparing")
    grid, angles = image.grid, circular(views, arc=arc, start=start, clockwise=clockwise)
    camera = Camera(
        COLLIMATORS[collimator], intrinsic=intrinsic, windows=windows_for(windows, emits.kev),
        photons=emits.photons,
    )  # fmt: skip
    far: Float = np.full(views, radius or 0.0)
    if radius is None or orbit == "body contour":
        near = body_contour(body_of(data, mu, kev=emits.kev), grid, angles, margin=30.0)
        far = near if orbit == "body contour" else np.full(views, near.max())
    if radius is not None:
        far = np.maximum(far, radius) if orbit == "circular" else np.minimum(far, radius)
    middle = centre(grid)
    scan = ParallelScan(
        grid=grid, angles=angles, radius=far, columns=columns or max(grid.shape[1:]),
        camera=camera, mu=mu, resolution=resolution,
        seconds=seconds, half_life=emits.half_life, begins=begin_times(views, seconds, heads),
        isocentre=(float(middle[0]), float(middle[1]), float(middle[2])),
    )  # fmt: skip
    counts = expected(scan, data, scatter=scatter, kev=emits.kev, progress=progress)
    progress(0.9, "counting")
    if noise:
        counts = noisy(counts, seed=seed)
    facts = {
        **examination(image.attributes), **emitter(emits, image.attributes),
        **camera_facts(camera), "ActualFrameDuration": round(1000 * seconds),
    }  # fmt: skip
    progress(1.0, "scanned")
    return Acquisition(
        samples=counts,
        operator=scan,
        modality="NM",
        unit="{counts}",
        calibration={SENSITIVITY: np.array(camera.cps_per_mbq)},
        provenance=image.provenance,
        attributes=facts,
    )


def expected(
    scan: ParallelScan, activity: Array, *, scatter: float = 0.0, kev: float = 140.5,
    progress: Progress = QUIET,
) -> Array:  # fmt: skip
    """Mean counts ``scan.range`` of ``activity`` in Bq/ml; ``scatter`` per primary in the peak."""
    progress(0.2, "projecting")
    counts = np.maximum(scan.forward(activity), 0)
    peak = int(np.argmax(scan.camera.shares))
    if counts.ndim == 4:
        leak = scan.camera.spill(peak).astype(np.float32)
        counts = leak[:, None, None, None] * counts[peak]
    if scatter <= 0 or scan.mu is None:
        return counts
    progress(0.6, "scattering")
    one = scan.with_changes(camera=scan.camera.with_changes(windows=(scan.camera.windows[peak],)))
    source = effective_source(activity, scan.mu, scan.grid.spacing, kev)
    cloud = np.maximum(one.forward(source), 0)
    whole = counts if counts.ndim == 3 else counts[peak]
    cloud *= np.float32(scatter * float(whole.sum()) / max(float(cloud.sum()), 1e-30))
    if counts.ndim == 3:
        return counts + cloud
    factors = shares(scan.camera, peak).astype(np.float32)
    return counts + factors[:, None, None, None] * cloud
