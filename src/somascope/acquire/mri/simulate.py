"""Scan an image: coils, trajectory, skipped lines, noise, motion; every choice from one seed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from somascope.acquire.mri import fourier
from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.motion import moved_kspace
from somascope.acquire.mri.noncartesian import NonCartesianScan
from somascope.acquire.mri.sensitivity import loop_sensitivities
from somascope.acquire.mri.trajectory import radial, spiral
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

NOISE_SAMPLES = 4096
"""Samples per coil of the noise scan that comes with every simulation."""


@operation("acquire.mri.simulate")
def simulate(
    image: Image,
    *,
    trajectory: Annotated[
        Literal["cartesian", "radial", "spiral", "epi"], Param("Path through k-space")
    ] = "cartesian",
    coils: Annotated[int, Param("Receive coils around the field", minimum=1, maximum=64)] = 8,
    snr: Annotated[
        float | None,
        Param("Mean signal over noise of a voxel at full sampling; none: no noise", minimum=0.1),
    ] = 50.0,
    correlation: Annotated[
        float, Param("Noise correlation of neighbouring coils", minimum=0.0, maximum=0.9)
    ] = 0.0,
    acceleration: Annotated[
        int, Param("Every how many phase encodings (or arms) is measured", minimum=1, maximum=16)
    ] = 1,
    calibration: Annotated[
        int, Param("Fully sampled central phase encodings", unit="lines", minimum=0, maximum=256)
    ] = 24,
    pattern: Annotated[
        Literal["regular", "random"], Param("How phase encodings are skipped")
    ] = "regular",
    partial: Annotated[
        float, Param("Share of the phase encodings up to the last", minimum=0.5, maximum=1.0)
    ] = 1.0,
    oversampling: Annotated[
        int, Param("Readout oversampling", minimum=1, maximum=4, advanced=True)
    ] = 1,
    shots: Annotated[
        int | None, Param("Spokes or spiral arms before skipping; none: full", minimum=1)
    ] = None,
    motion: Annotated[
        float, Param("Wandering of the patient in the plane", unit="mm", minimum=0.0, maximum=50.0)
    ] = 0.0,
    delay: Annotated[
        float,
        Param("Shift of odd against even EPI lines", unit="sample", minimum=-4.0, maximum=4.0),
    ] = 0.25,
    seed: Annotated[int, Param("Of noise, pattern and motion", minimum=0)] = 0,
    progress: Progress = QUIET,
) -> Acquisition:
    """Measure k-space of an image as a scanner would.

    The image (real or complex, leading axes kept) is multiplied with coil sensitivities,
    transformed along the trajectory and sampled; complex Gaussian noise follows. ``calibration``
    of the result holds ``noise`` (a noise scan), ``sensitivities`` (the true ones) and, for EPI,
    the ``navigator`` lines, their ``navigator_polarity`` and the ``polarity`` of each line.
    """
    rng = np.random.default_rng(seed)
    grid, truth = image.grid, _truth(image)
    progress(0.0, "coils")
    maps = loop_sensitivities(grid, coils)
    leading = {a.name: list(a.values) or list(range(n)) for a, n in zip(image.axes, truth.shape)}  # noqa: B905
    extra: dict[str, Array] = {}
    progress(0.2, "transform")
    if trajectory in ("cartesian", "epi"):
        mask = sampling_mask(
            grid.shape[1], acceleration, calibration, pattern=pattern, partial=partial, rng=rng
        )
        matrix = (*grid.shape[:2], grid.shape[2] * oversampling)
        scan: CartesianScan | NonCartesianScan = CartesianScan(
            grid, coils=coils, mask=mask[:, None], matrix=matrix, leading=leading
        )
        if motion > 0:
            samples = moved_kspace(truth, maps, scan, motion=motion, rng=rng)
        else:
            samples = scan.with_sensitivities(maps).forward(truth)
        if trajectory == "epi":
            extra = _epi(samples, mask, delay, scan)
    else:
        if motion > 0:
            raise ParameterError(
                f"motion is simulated for Cartesian scans, and trajectory is {trajectory!r}"
            )
        size = max(grid.shape[1:])
        full = round(size * np.pi / 2) if trajectory == "radial" else max(size // 8, 1)
        count = full if shots is None else shots
        paths, density = (radial if trajectory == "radial" else spiral)(size, count)
        paths, density = paths[::acceleration], density[::acceleration] * acceleration
        paths = paths * (np.array(grid.shape[1:]) / size)
        density = density * np.prod(np.array(grid.shape[1:]) / size)
        scan = NonCartesianScan(
            grid, trajectory=paths, coils=coils, density=density, leading=leading
        )
        samples = scan.with_sensitivities(maps).forward(truth)
    progress(0.8, "noise")
    samples = samples.astype(np.complex64)
    covariance = coil_covariance(coils, correlation)
    sigma = 0.0 if snr is None else _signal(truth) / snr
    if sigma > 0:
        samples += _noise(rng, covariance, sigma, samples.shape, axis=_coil_axis(scan))
        extra = {k: v + _navigator_noise(k, v, rng, covariance, sigma) for k, v in extra.items()}
        if isinstance(scan, CartesianScan):
            samples = scan.sampled(samples)
    noise = _noise(rng, covariance, sigma or 1e-6, (coils, NOISE_SAMPLES), axis=0)
    return Acquisition(
        samples=samples.astype(np.complex64),
        operator=scan,
        modality="MR",
        calibration={"noise": noise, "sensitivities": maps, **extra},
        provenance=image.provenance,
        attributes={**image.attributes, **_facts(image, trajectory)},
    )


def sampling_mask(
    lines: int,
    acceleration: int,
    calibration: int,
    *,
    pattern: str = "regular",
    partial: float = 1.0,
    rng: np.random.Generator | None = None,
) -> Array:
    """Which of ``lines`` phase encodings are measured, bool ``(lines,)``.

    ``regular`` takes every ``acceleration``-th through the centre, ``random`` as many, denser
    towards the centre; the central ``calibration`` ones always; ``partial`` drops the first lines
    until that share of all is left.

    Raises
    ------
    ParameterError
        ``partial`` that does not reach beyond the centre.
    """
    centre = lines // 2
    mask = np.zeros(lines, bool)
    if pattern == "regular":
        mask[centre % acceleration :: acceleration] = True
    else:
        assert rng is not None
        distance = np.abs(np.arange(lines) - centre) / max(centre, 1)
        weight = (1.02 - np.minimum(distance, 1)) ** 2
        count = max(lines // acceleration, 1)
        mask[rng.choice(lines, count, replace=False, p=weight / weight.sum())] = True
    half = min(calibration, lines) // 2
    mask[centre - half : centre - half + min(calibration, lines)] = True
    dropped = round((1 - partial) * lines)
    if dropped >= centre:
        raise ParameterError(
            f"partial {partial} leaves {lines - dropped} of {lines} lines, not past the centre; "
            "give more than 0.5"
        )
    mask[:dropped] = False
    return mask


def coil_covariance(coils: int, correlation: float) -> Array:
    """Noise covariance of a ring of coils with unit variance, falling with their distance."""
    steps = np.abs(np.subtract.outer(np.arange(coils), np.arange(coils)))
    steps = np.minimum(steps, coils - steps)
    phase = np.exp(0.5j * np.sign(np.subtract.outer(np.arange(coils), np.arange(coils))))
    matrix = np.where(steps == 0, 1.0, correlation**steps * phase)
    values, vectors = np.linalg.eigh((matrix + matrix.conj().T) / 2)
    values = np.maximum(values, 1e-3)  # a ring with phases need not be positive
    matrix = (vectors * values) @ vectors.conj().T
    scale = 1 / np.sqrt(np.real(np.diag(matrix)))
    return matrix * scale[:, None] * scale[None, :]


def _truth(image: Image) -> Array:
    data = np.asarray(image.data)
    if not np.isfinite(data).all():
        raise ParameterError("the image has values that are not finite; it cannot be scanned")
    return data.astype(np.complex64)


def _signal(truth: Array) -> float:
    """Mean magnitude of the voxels above a tenth of the greatest."""
    size = np.abs(truth)
    peak = float(size.max())
    return float(size[size > 0.1 * peak].mean()) if peak > 0 else 0.0


def _coil_axis(scan: CartesianScan | NonCartesianScan) -> int:
    return len(scan.axes)


def _noise(
    rng: np.random.Generator, covariance: Array, sigma: float, shape: tuple[int, ...], *, axis: int
) -> Array:
    """Complex noise of that covariance; real and imaginary part have ``sigma`` each."""
    white = rng.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]
    factor = (np.linalg.cholesky(covariance) * sigma).astype(np.complex64)
    mixed = np.tensordot(factor, np.moveaxis(white, axis, 0), axes=1)
    return np.moveaxis(mixed, 0, axis)


def _navigator_noise(
    name: str, value: Array, rng: np.random.Generator, covariance: Array, sigma: float
) -> Array:
    if name != "navigator":
        return np.zeros_like(value)
    return _noise(rng, covariance, sigma, value.shape, axis=value.ndim - 4)


def _epi(
    samples: Array, mask: Array, delay: float, scan: CartesianScan
) -> dict[str, Array]:  # fmt: skip
    """Alternate the readouts (in place) and measure three navigator lines through the centre.

    Backward lines lag by ``delay`` samples and carry a constant phase of 0.3 rad, as eddy currents
    make them.
    """
    measured = np.flatnonzero(mask)
    polarity = np.zeros(len(mask), np.int8)
    polarity[measured] = np.where(np.arange(len(measured)) % 2 == 0, 1, -1)
    nx = scan.matrix[2]
    x = np.arange(nx) - nx // 2
    lag = np.exp(2j * np.pi * delay * x / nx + 0.3j).astype(np.complex64)

    def backward(lines: Array) -> Array:
        return fourier.to_kspace(fourier.to_image(lines, axes=(-1,)) * lag, axes=(-1,))

    centre = samples[..., len(mask) // 2, :].copy()
    odd = polarity == -1
    samples[..., odd, :] = backward(samples[..., odd, :])
    navigator = np.stack([backward(centre), centre, backward(centre)], axis=-2)
    return {
        "polarity": polarity,
        "navigator": navigator.astype(np.complex64),
        "navigator_polarity": np.array([-1, 1, -1], np.int8),
    }


def _facts(image: Image, trajectory: str) -> dict[str, Any]:
    named: dict[str, Any] = {
        "ScanningSequence": ["EP"] if trajectory == "epi" else ["GR"],
        "MRAcquisitionType": "3D" if image.grid.shape[0] > 1 else "2D",
    }
    return {k: v for k, v in named.items() if k not in image.attributes}
