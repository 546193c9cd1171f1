"""Scan an image: what a CT of given geometry, dose and spectrum measures of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from somascope.acquire.ct.arrange import arrange
from somascope.acquire.ct.hounsfield import ENERGY, image_mu, mu_water
from somascope.acquire.ct.parallel import ParallelScan
from somascope.acquire.ct.spectrum import attenuation, effective_mu, tungsten
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float

BONE = (1.15, 1.60)
"""Relative attenuation at which tissue begins to hold bone, and from which it is all bone."""


def materials(relative: Array) -> dict[str, Array]:
    """Water- and bone-like parts of attenuation relative to water; they add up to it.

    Linear from none to all bone between the two values of `BONE`.
    """
    share = np.clip((relative - BONE[0]) / (BONE[1] - BONE[0]), 0, 1).astype(np.float32)
    return {"water": relative * (1 - share), "bone": relative * share}


def transmitted(
    paths: dict[str, Array], kvp: float, *, reference: float
) -> tuple[Array, Float, Float]:
    """Share of the detector's signal that passes ``paths``; the spectrum's energies and shares.

    ``paths`` are line integrals of attenuation at ``reference`` keV, per material (unit 1).
    """
    energy, share = tungsten(kvp)
    passed: Array = np.zeros(next(iter(paths.values())).shape)
    ratios = {m: attenuation(m, energy) / attenuation(m, np.array([reference])) for m in paths}  # pyright: ignore
    for k, weight in enumerate(share):
        total = sum(paths[m] * ratios[m][k] for m in paths)
        passed += weight * np.exp(-np.asarray(total, np.float64))
    return passed, energy, share


def counts_of(
    passed: Array, photons: float, *, electronic: float, seed: int, noisy: bool = True
) -> Array:
    """Detected photons per ray: Poisson of ``photons * passed`` and Gaussian ``electronic``."""
    mean = photons * np.asarray(passed, np.float64)
    if not noisy:
        return mean.astype(np.float32)
    rng = np.random.default_rng(seed)
    counts = rng.poisson(mean).astype(np.float64)
    if electronic > 0:
        counts += rng.normal(0.0, electronic, counts.shape)
    return counts.astype(np.float32)


def logarithm(counts: Array, photons: float, *, least: float = 0.5) -> Array:
    """Line integrals of counts; fewer than ``least`` photons count as that many."""
    return -np.log(np.maximum(counts, least) / photons).astype(np.float32)


def measure(
    scan: Any,
    mu: Array,
    *,
    water: float,
    photons: float | None,
    electronic: float,
    kvp: float | None,
    energy: float,
    seed: int,
    progress: Progress = QUIET,
) -> Array:
    """Signal per ray as a share of the unattenuated one times ``photons`` (1 where None)."""
    if kvp is None:
        progress(0.1, "projecting")
        passed: Array = np.exp(-scan.forward(mu).astype(np.float64))
    else:
        paths = {}
        for k, (name, part) in enumerate(materials(mu / np.float32(water)).items()):
            progress(0.1 + 0.4 * k, f"projecting {name}")
            # Both parts are held as attenuation at `energy`; their spectra differ.
            paths[name] = scan.forward(part * np.float32(water))
        passed = transmitted(paths, kvp, reference=energy)[0]
    progress(0.9, "detecting")
    return counts_of(
        passed, photons or 1.0, electronic=electronic, seed=seed, noisy=photons is not None
    )


@operation("acquire.ct.simulate")
def simulate(
    image: Image,
    *,
    geometry: Annotated[
        Literal["parallel", "fan", "cone", "helical"],
        Param("Parallel rays, a fan or a cone turning once, or a cone on a helix"),
    ] = "parallel",
    views: Annotated[
        int, Param("Projections; of one turn for a helix", minimum=1, maximum=20000)
    ] = 720,
    arc: Annotated[
        float | None, Param("Angle over which the views are spread; 180 for parallel beams, 360 "
                            "for others if not given; a helix covers the image",
                            unit="deg", minimum=1.0, maximum=360.0)
    ] = None,
    start: Annotated[
        float, Param("Angle of the first view", unit="deg", minimum=-360.0, maximum=360.0,
                     advanced=True)
    ] = 0.0,
    bins: Annotated[
        int | None, Param("Detector columns; as many as cover the image if not given",
                          minimum=8, maximum=16384)
    ] = None,
    rows: Annotated[
        int | None, Param("Detector rows of a cone or helix; as many as cover the image (64 for a "
                          "helix) if not given", minimum=1, maximum=16384)
    ] = None,
    spacing: Annotated[
        float | None, Param("Distance of detector columns at the isocentre; the pixel size if not "
                            "given", unit="mm", minimum=0.0001, maximum=20.0)
    ] = None,
    offset: Annotated[
        float, Param("Detector's centre off the central ray, at the isocentre (half-fan)",
                     unit="mm", minimum=-1000.0, maximum=1000.0, advanced=True)
    ] = 0.0,
    curved: Annotated[
        bool, Param("Detector on an arc about the source, as in clinical scanners; else flat")
    ] = True,
    source: Annotated[
        float, Param("Source to isocentre", unit="mm", minimum=10.0, maximum=10000.0)
    ] = 570.0,
    detector: Annotated[
        float, Param("Source to detector", unit="mm", minimum=10.0, maximum=20000.0)
    ] = 1040.0,
    pitch: Annotated[
        float, Param("Table feed per turn over the detector's height at the isocentre (helix)",
                     minimum=0.1, maximum=1.5, step=0.05)
    ] = 0.9,
    isocentre: Annotated[
        tuple[float, float, float] | None,
        Param("Centre of rotation (L, P, S); the image's centre if not given", unit="mm",
              advanced=True),
    ] = None,
    photons: Annotated[
        float | None, Param("Photons per ray without the patient: the dose; no noise if not given",
                            minimum=1.0, maximum=1e12)
    ] = None,
    electronic: Annotated[
        float, Param("Standard deviation of the electronics, in photons", minimum=0.0,
                     maximum=1e6, advanced=True)
    ] = 0.0,
    kvp: Annotated[
        float | None, Param("Tube voltage of a polychromatic beam; monochromatic if not given",
                            unit="kV", minimum=40.0, maximum=150.0)
    ] = None,
    values: Annotated[
        Literal["as declared", "HU"],
        Param("What the image's numbers are: as its unit says, or HU where its file lost the unit",
              advanced=True),
    ] = "as declared",
    energy: Annotated[
        float, Param("Energy of the monochromatic beam", unit="keV", minimum=20.0, maximum=150.0)
    ] = ENERGY,
    result: Annotated[
        Literal["line integrals", "counts"],
        Param("Counts keep the flat and the dark field beside them, uncorrected"),
    ] = "line integrals",
    seed: Annotated[int, Param("Of the noise", minimum=0, maximum=2**31 - 1)] = 0,
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Scan an image again: geometry, dose, detector noise and spectrum of your choice.

    The image is in HU, 1/mm, or relative to water. Rays are summed through it with linear
    interpolation (Joseph). ``I = Poisson(photons * sum_E share(E) exp(-path(E))) + N(0,
    electronic)``; line integrals are ``-ln(I / photons)``. With ``kvp``, attenuation above that of
    soft tissue is taken as bone. ``calibration["mu_water"]`` holds what water has in this beam, in
    1/mm.
    """
    if image.axes:
        raise GeometryError(
            f"the image has leading axes {image.axis_names[:-3]}; scan one volume, image.at(...)"
        )
    if photons is None and electronic > 0:
        raise ParameterError(
            f"electronic noise of {electronic} photons means nothing without a number of photons"
        )
    if result == "counts" and photons is None:
        raise ParameterError("counts need a number of photons per ray; give photons, such as 1e5")
    water = mu_water(energy)
    mu = image_mu(image, water, hounsfield=values == "HU")
    scan = arrange(
        image.grid, geometry, views=views, arc=arc, start=start, bins=bins, rows=rows,
        spacing=spacing, offset=offset, curved=curved, source=source, detector=detector,
        pitch=pitch, isocentre=isocentre,
    )  # fmt: skip
    rays = scan.with_changes(projector="joseph") if isinstance(scan, ParallelScan) else scan
    i0 = 1.0 if photons is None else photons
    signal = measure(
        rays, mu, water=water, photons=photons, electronic=electronic, kvp=kvp, energy=energy,
        seed=seed, progress=progress,
    )  # fmt: skip
    calibration: dict[str, Array] = {
        "mu_water": np.array(water if kvp is None else effective_mu("water", kvp))
    }
    samples = signal
    if result == "counts":
        row = scan.range[1:]
        calibration |= {"flat": np.full(row, i0, np.float32), "dark": np.zeros(row, np.float32)}
    else:
        samples = logarithm(signal, i0, least=1e-30 if photons is None else 0.5)
    progress(1.0, "scanned")
    return Acquisition(
        samples=samples,
        operator=scan,
        modality="CT",
        unit="{counts}" if result == "counts" else "1",
        calibration=calibration,
        provenance=image.provenance,
        attributes={**image.attributes, **({} if kvp is None else {"KVP": kvp})},
    )
