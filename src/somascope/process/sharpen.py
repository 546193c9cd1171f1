"""Contrast by size: unsharp masking, and a contrast law over the scales of a pyramid."""

from __future__ import annotations

from typing import Annotated

import numba
import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.grid import Array
from somascope.process.choices import Dimensions, Triple, deep, widths
from somascope.process.entries import each_volume, like, real_values
from somascope.process.filters import smooth
from somascope.process.missing import filled, restored
from somascope.process.pyramid import decompose, rebuild


@numba.njit(parallel=True, fastmath={"contract", "nsz"}, cache=True)
def _sharpened(volume: Array, blurred: Array, amount: float, threshold: float) -> None:
    """``volume + amount * shrunk(volume - blurred)``, put into ``blurred``."""
    nz, ny, nx = volume.shape
    a, t = np.float32(amount), np.float32(threshold)
    for j in numba.prange(nz * ny):
        row, out = volume[j // ny, j % ny], blurred[j // ny, j % ny]
        for x in range(nx):
            d = row[x] - out[x]
            out[x] = row[x] + a * (d - min(max(d, -t), t))


def unsharp_(volume: Array, sigma: Triple, *, amount: float, threshold: float = 0.0) -> Array:
    """``v + amount (v - G v)``; differences shrink by ``threshold`` first. Missing voxels stay.

    ``volume`` is ``(nz, ny, nx)``, ``sigma`` in voxels (z, y, x). float32.
    """
    values, known = filled(volume)
    blurred = smooth(values, sigma)
    if blurred is values:
        blurred = values.copy()
    _sharpened(values, blurred, amount, threshold)
    return restored(blurred, volume, known)


@numba.njit(parallel=True, cache=True)
def _law(band: Array, largest: float, power: float, noise: float, gain: float) -> None:
    nz, ny, nx = band.shape
    share, exponent = np.float32(1.0 / largest), np.float32(power - 1.0)
    quiet, most = np.float32(noise), np.float32(noise ** (power - 1.0))
    factor, one = np.float32(gain), np.float32(1.0)
    for j in numba.prange(nz * ny):
        row = band[j // ny, j % ny]
        for x in range(nx):
            size = abs(row[x]) * share
            # Beyond the largest usual difference (metal, a marker) nothing falls below itself.
            raised = max(size**exponent, one) if size > quiet else most
            row[x] *= raised * factor


SAMPLES = 65536
"""Of each band are enough to tell its greatest usual difference."""


def equalised(
    volume: Array,
    *,
    power: float = 0.7,
    edges: float = 0.5,
    latitude: float = 0.7,
    noise: float = 0.01,
    levels: int = 8,
    spacing: Triple = (1.0, 1.0, 1.0),
    along_z: bool = False,
) -> Array:
    """A contrast law on every band of a pyramid (Vuylsteke and Schoeters, SPIE 2167:551, 1994).

    Per band ``b``: ``g_b M sign(b) |b / M|^power``, straight below ``noise M``, with ``M`` the
    99.9 percentile of all bands' magnitudes; above ``M`` the slope stays one. Fine bands are raised
    by ``edges`` more, coarse ones and what is left lowered to ``latitude``.

    Parameters
    ----------
    volume
        ``(nz, ny, nx)`` float32 without missing values.
    spacing, along_z
        As `somascope.process.pyramid.decompose` has them.
    """
    bands, halvings = decompose(volume, levels, spacing=spacing, deep=along_z)
    magnitude = [np.abs(b.reshape(-1)[:: max(1, b.size // SAMPLES)]) for b in bands[:-1]]
    largest = float(np.percentile(np.concatenate(magnitude), 99.9)) if magnitude else 0.0
    if largest <= 0:
        return np.array(volume, np.float32)
    count = len(bands) - 1
    for k, band in enumerate(bands[:-1]):
        fine = 1.0 + edges * max(0.0, 1.0 - k / 3.0)
        coarse = 1.0 - (1.0 - latitude) * max(0.0, (k + 1) / count - 0.5) * 2.0
        _law(band, largest, power, noise, fine * coarse)
    rest = bands[-1]
    middle = rest.mean(axis=None if along_z else (1, 2), keepdims=True, dtype=np.float64)
    middle = middle.astype(np.float32)
    bands[-1] = middle + np.float32(latitude) * (rest - middle)
    return rebuild(bands, halvings)


@operation("process.unsharp")
def unsharp(
    image: Image,
    *,
    radius: Annotated[
        float, Param("Width of what is sharpened", unit="mm", minimum=0.05, maximum=50.0, step=0.1)
    ] = 1.5,
    amount: Annotated[
        float, Param("How much of the difference to the blurred image is added", minimum=0.0,
                     maximum=20.0, step=0.1)
    ] = 1.0,
    threshold: Annotated[
        float, Param("Differences below stay as they are, in the image's unit", minimum=0.0)
    ] = 0.0,
    dimensions: Dimensions = "slice",
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Sharpen: add what a Gaussian would take away (unsharp mask).

    Shape ``(*leading, nz, ny, nx)`` and dtype as they came (integers are rounded and clipped);
    missing values stay missing and reach no neighbour.
    """
    real_values(image, "process.unsharp")
    width = widths(image, radius, dimensions, operation="process.unsharp")
    data = each_volume(
        image, lambda v: unsharp_(v, width, amount=amount, threshold=threshold),
        progress=progress, message="sharpening",
    )  # fmt: skip
    return image.with_data(like(data, image.data.dtype))


@operation("process.multiscale")
def multiscale(
    image: Image,
    *,
    power: Annotated[
        float, Param("Exponent of the contrast law; 1 changes nothing", minimum=0.3, maximum=1.0,
                     step=0.05)
    ] = 0.7,
    edges: Annotated[
        float, Param("Extra gain of the finest bands", minimum=0.0, maximum=5.0, step=0.1)
    ] = 0.3,
    latitude: Annotated[
        float, Param("Gain of the coarsest bands and of what is left", minimum=0.1, maximum=1.0,
                     step=0.05)
    ] = 0.8,
    noise: Annotated[
        float,
        Param("Differences below this share of the largest are noise", minimum=1e-4, maximum=0.5),
    ] = 0.02,
    levels: Annotated[int, Param("Bands", minimum=1, maximum=12, advanced=True)] = 8,
    dimensions: Dimensions = "slice",
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Even out contrast over scales: faint detail of every size comes up, large steps go down.

    A power law in every band of a Laplacian pyramid. Shape ``(*leading, nz, ny, nx)`` and dtype as
    they came, in the image's unit; missing values stay missing.
    """
    real_values(image, "process.multiscale")
    spacing, along_z = image.grid.spacing, deep(image, dimensions)

    def run(volume: Array) -> Array:
        values, known = filled(volume)
        found = equalised(
            values, power=power, edges=edges, latitude=latitude, noise=noise, levels=levels,
            spacing=spacing, along_z=along_z,
        )  # fmt: skip
        return restored(found, volume, known)

    data = each_volume(image, run, progress=progress, message="evening out")
    return image.with_data(like(data, image.data.dtype))
