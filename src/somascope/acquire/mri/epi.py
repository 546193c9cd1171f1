"""Echo planar imaging: samples taken on gradient ramps, and readouts that run back and forth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from somascope.acquire.mri.fourier import padded, to_image, to_kspace
from somascope.acquire.mri.samples import calibration, cartesian
from somascope.core import QUIET, Acquisition, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array

NAME = "acquire.mri.epi"


@operation("acquire.mri.epi")
def epi(acquisition: Acquisition, *, progress: Progress = QUIET) -> Acquisition:
    """Correct EPI readouts: even sampling along the ramps, and no ghost.

    Ramps: samples at ``calibration["readout"]`` (cycles per field) are solved for the image line
    they come from. Ghost: the phase by which backward readouts differ from forward ones is fitted
    as a constant and a slope along the line to ``calibration["navigator"]`` (Ahn and Cho 1987,
    Heid 1997) and removed from the backward ones, slice by slice, all coils together.
    """
    samples, scan = cartesian(acquisition, NAME)
    kept = dict(acquisition.calibration)
    polarity = np.asarray(
        calibration(acquisition, "polarity", remedy="it is no EPI scan, or was corrected before")
    )
    if polarity.shape != (scan.matrix[1],):
        raise GeometryError(
            f"calibration 'polarity' has shape {polarity.shape} for {scan.matrix[1]} lines"
        )
    navigator = calibration(
        acquisition, "navigator", remedy="the ghost is corrected from navigator lines"
    )
    signs = np.asarray(calibration(acquisition, "navigator_polarity", remedy="say how they ran"))
    if navigator.shape[-2:] != (len(signs), scan.matrix[2]) or not (
        (signs > 0).any() and (signs < 0).any()
    ):
        raise ParameterError(
            f"{NAME}: navigators of shape {navigator.shape} and polarity {signs.tolist()}; at "
            f"least one forward and one backward line of {scan.matrix[2]} samples are needed"
        )
    if "readout" in kept:
        progress(0.1, "ramps")
        matrix = regridding(kept.pop("readout"), scan.matrix[2], scan.grid.shape[2])
        samples = samples @ matrix.T
        navigator = navigator @ matrix.T
        if "reference" in kept:
            kept["reference"] = kept["reference"] @ matrix.T
    progress(0.4, "ghost")
    slope, constant = ghost_phase(navigator, signs)
    nx = scan.matrix[2]
    x = np.arange(nx) - nx // 2
    turn = np.exp(-1j * (slope[..., None] * x + constant[..., None]))  # (*leading, nz, nx)
    backward = np.flatnonzero(polarity < 0)
    hybrid = to_image(samples[..., backward, :], axes=(-1,))
    hybrid = hybrid * turn[..., None, :, None, :].astype(np.complex64)
    progress(0.8, "transform")
    samples = samples.copy()
    samples[..., backward, :] = to_kspace(hybrid, axes=(-1,))
    for used in ("polarity", "navigator", "navigator_polarity"):
        kept.pop(used)
    return replace(
        acquisition, samples=scan.sampled(samples).astype(np.complex64), calibration=kept
    )


def regridding(positions: Array, count: int, image: int) -> Array:
    """Matrix ``(count, count)`` from samples at ``positions`` to samples on the lattice.

    Least squares for a line that is zero outside the image's field (and a quarter of it more),
    which an oversampled readout determines well; a little damping for one that is not.

    Parameters
    ----------
    positions
        Cycles per encoded field, ``(count,)``, in any order.
    """
    positions = np.asarray(positions, np.float64)
    if positions.shape != (count,) or not np.isfinite(positions).all():
        raise GeometryError(
            f"calibration 'readout' has shape {positions.shape} for {count} samples; give one "
            "finite position per sample"
        )
    inner = min(count, image + 2 * (image // 8))
    n = np.arange(inner) - inner // 2
    model = np.exp(-2j * np.pi * np.outer(positions, n) / count) / np.sqrt(count)
    gram = model.conj().T @ model
    # Ramps crowd samples near the ends; the damping is far below the noise of any readout.
    gram += 1e-4 * np.trace(gram).real / inner * np.eye(inner)
    solve = np.linalg.solve(gram, model.conj().T)
    columns = padded(solve.T, (count,))
    return to_kspace(columns, axes=(-1,)).T.astype(np.complex64)


def ghost_phase(navigator: Array, signs: Array) -> tuple[Array, Array]:
    """Slope (rad per pixel) and constant (rad) of backward against forward navigators.

    Parameters
    ----------
    navigator
        k-space lines ``(*leading, coils, nz, lines, kx)``.
    signs
        1 forward, -1 backward, ``(lines,)``.

    Returns
    -------
    slope, constant
        Each ``(*leading, nz)``; the phase at pixel x is ``slope * (x - kx // 2) + constant``.
    """
    lines = to_image(np.asarray(navigator), axes=(-1,))
    forward = lines[..., signs > 0, :].mean(axis=-2)
    backward = lines[..., signs < 0, :].mean(axis=-2)
    product = (backward * forward.conj()).sum(axis=-3)  # (*leading, nz, kx), coils in phase
    slope = np.angle((product[..., 1:] * product[..., :-1].conj()).sum(axis=-1))
    n = product.shape[-1]
    x = np.arange(n) - n // 2
    flat = product * np.exp(-1j * slope[..., None] * x)
    return slope, np.angle(flat.sum(axis=-1))
