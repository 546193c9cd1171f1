"""Speckle filters: `process.lee`, `.kuan`, `.frost` and `.srad`.

Speckle multiplies: where nothing changes, its standard deviation is a fixed share of the mean
(0.52 for the envelope of fully developed speckle, ``1 / sqrt(looks)`` for intensities). Each
filter averages where the local spread is no more than that, and less where there is more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.chunks import sealed
from somascope.process.entries import each_volume, is_colour, like, real_values

Size: TypeAlias = Annotated[
    Literal[3, 5, 7, 9, 11, 13, 15], Param("Edge of the window in pixels, in each slice")
]
Noise: TypeAlias = Annotated[
    float | None,
    Param(
        "Speckle: standard deviation over mean where nothing changes; measured if not given",
        minimum=0.001, maximum=10.0, step=0.01,
    ),
]  # fmt: skip

ENOUGH = 1 << 15
"""Pixels from which the usual amount of speckle is told."""


def local(volume: Array, size: int) -> tuple[Array, Array]:
    """Mean and variance in squares of ``size`` pixels; ``(nz, ny, nx)`` float32 each."""
    from somascope.process.speckle_kernels import moments

    mean, variance = np.empty_like(volume), np.empty_like(volume)
    moments(sealed(volume), size // 2, mean, variance)
    return mean, variance


def contrast(mean: Array, variance: Array) -> Array:
    """Squared coefficient of variation; 0 where the mean is not positive."""
    positive = mean > 0
    return np.where(positive, variance / np.where(positive, mean, 1) ** 2, 0).astype(np.float32)


def speckle_of(mean: Array, variance: Array) -> float:
    """The speckle's own coefficient of variation: the median over what is not empty.

    Of large images a regular part of `ENOUGH` pixels or a few more is looked at.
    """
    step = max(mean.size // ENOUGH, 1)
    some, spread = mean.reshape(-1)[::step], variance.reshape(-1)[::step]
    there = some > 0.01 * np.nanmax(some, initial=0.0)
    found = np.sqrt(contrast(some[there], spread[there]))
    return max(float(np.median(found)), 1e-3) if found.size else 1e-3


def _shrunk(
    volume: Array, mean: Array, variance: Array, *, own: float, gain: float = 1.0,
    relative: bool = True,
) -> Array:  # fmt: skip
    from somascope.process.speckle_kernels import shrunk

    out = np.empty_like(volume)
    volume = sealed(volume)
    shrunk(volume, mean, variance, np.float32(own), np.float32(gain), int(relative), out)  # type: ignore[arg-type]
    return out


def lee_(volume: Array, *, size: int, noise: float | None, additive: bool = False) -> Array:
    """Local linear minimum mean square error: ``m + W (x - m)`` (Lee, IEEE TPAMI 2, 1980).

    ``W = max(0, 1 - Cu^2 / C^2)`` with the speckle's and the window's coefficients of variation;
    additive: ``W = max(0, 1 - s^2 / variance)`` with s the median spread in windows.
    """
    mean, variance = local(volume, size)
    if additive:
        step = max(variance.size // ENOUGH, 1)
        usual = float(np.nanmedian(variance.reshape(-1)[::step])) if noise is None else noise**2
        return _shrunk(volume, mean, variance, own=usual, relative=False)
    cu = speckle_of(mean, variance) if noise is None else noise
    return _shrunk(volume, mean, variance, own=cu * cu)


def kuan_(volume: Array, *, size: int, noise: float | None) -> Array:
    """As Lee's, without his linearisation: ``W = (1 - Cu^2 / C^2) / (1 + Cu^2)``.

    Kuan et al., IEEE TPAMI 7, 1985.
    """
    mean, variance = local(volume, size)
    cu = speckle_of(mean, variance) if noise is None else noise
    return _shrunk(volume, mean, variance, own=cu * cu, gain=1 / (1 + cu * cu))


def frost_(volume: Array, spacing: tuple[float, float], *, size: int, damping: float) -> Array:
    """Mean weighted with ``exp(-damping C^2 d)``: Frost et al., IEEE TPAMI 4, 1982.

    The distance d counts in the smaller of the two pixel edges.
    """
    from somascope.process.speckle_kernels import exponential

    mean, variance = local(volume, size)
    out = np.empty_like(volume)
    unit = min(spacing)
    steep = (np.float32(damping) * contrast(mean, variance)).astype(np.float32)
    exponential(sealed(volume), size // 2, steep, spacing[0] / unit, spacing[1] / unit, out)
    return out


def srad_(
    volume: Array, spacing: tuple[float, float], *, iterations: int, step: float,
    noise: float | None, decay: float, progress: Progress = QUIET,
) -> Array:  # fmt: skip
    """Speckle reducing anisotropic diffusion: Yu and Acton, IEEE TIP 11, 2002.

    The speckle's scale falls as ``q0 exp(-decay t)`` with the time t of the diffusion.
    """
    from somascope.process.speckle_kernels import conduction, diffused

    if np.nanmin(volume, initial=0.0) < 0:
        raise ParameterError(
            f"process.srad: values down to {np.nanmin(volume):g}; speckle multiplies, so it needs "
            "values of 0 and more (an envelope or a display value, not decibels below 0)"
        )
    top = float(np.nanmax(volume, initial=0.0))
    if top <= 0:
        return volume.copy()
    q0 = speckle_of(*local(volume, 7)) if noise is None else noise
    unit = min(spacing)
    weight_y, weight_x = ((unit / s) ** 2 for s in spacing)
    now = volume / np.float32(top)
    c, other = np.empty_like(now), np.empty_like(now)
    for k in progress.over(range(iterations), "diffusing"):
        conduction(now, q0 * np.exp(-decay * step * k), weight_y, weight_x, c)
        diffused(now, c, step, weight_y, weight_x, other)
        now, other = other, now
    return now * np.float32(top)


def _each(image: Image, name: str, function: Callable[[Array], Array], progress: Progress) -> Image:
    real_values(image, name)
    if is_colour(image):
        raise ParameterError(f"{name}: a colour image has no speckle of its own; filter it before")

    def single(volume: Array) -> Array:
        return function(volume.astype(np.float32, copy=False))

    data = each_volume(image, single, progress=progress, message="reducing speckle")
    return image.with_data(like(data, image.data.dtype))


@operation("process.lee")
def lee(
    image: Image,
    *,
    size: Size = 7,
    noise: Noise = None,
    model: Annotated[
        Literal["multiplicative", "additive"],
        Param("Speckle of an envelope multiplies; after a logarithm it is added"),
    ] = "multiplicative",
    progress: Progress = QUIET,
) -> Image:
    """Reduce speckle by Lee's filter: averages where nothing but speckle is, keeps what is more.

    Shape ``(*leading, nz, ny, nx)`` and dtype as they came (float64 becomes float32), slice by
    slice; NaN stays NaN. With the additive model ``noise`` is the standard deviation itself.
    """
    additive = model == "additive"
    return _each(
        image, "process.lee", lambda v: lee_(v, size=size, noise=noise, additive=additive), progress
    )


@operation("process.kuan")
def kuan(image: Image, *, size: Size = 7, noise: Noise = None, progress: Progress = QUIET) -> Image:
    """Reduce speckle by Kuan's filter: the linear estimate without Lee's approximation.

    Shape ``(*leading, nz, ny, nx)`` and dtype as they came (float64 becomes float32), slice by
    slice; NaN stays NaN.
    """
    return _each(image, "process.kuan", lambda v: kuan_(v, size=size, noise=noise), progress)


@operation("process.frost")
def frost(
    image: Image,
    *,
    size: Size = 5,
    damping: Annotated[
        float, Param("How fast the weights fall where there is detail", minimum=0.0, maximum=100.0)
    ] = 2.0,
    progress: Progress = QUIET,
) -> Image:
    """Reduce speckle by Frost's filter: a mean whose reach shrinks where there is detail.

    Shape ``(*leading, nz, ny, nx)`` and dtype as they came (float64 becomes float32), slice by
    slice; NaN stays NaN.
    """
    spacing = image.grid.spacing[1:]
    return _each(
        image, "process.frost", lambda v: frost_(v, spacing, size=size, damping=damping), progress
    )


@operation("process.srad")
def srad(
    image: Image,
    *,
    iterations: Annotated[int, Param("Steps of diffusion", minimum=1, maximum=1000)] = 30,
    step: Annotated[
        float, Param("Time of each step; stable up to 1", minimum=0.001, maximum=1.0, step=0.05)
    ] = 0.5,
    noise: Noise = None,
    decay: Annotated[
        float, Param("How fast the speckle is taken to fall", minimum=0.0, maximum=10.0)
    ] = 0.17,
    progress: Progress = QUIET,
) -> Image:
    """Reduce speckle by anisotropic diffusion that stops at edges as speckle shows them (SRAD).

    Values of 0 and more. Shape ``(*leading, nz, ny, nx)`` and dtype as they came (float64 becomes
    float32), slice by slice; NaN stays NaN.
    """
    spacing = image.grid.spacing[1:]
    return _each(
        image, "process.srad",
        lambda v: srad_(v, spacing, iterations=iterations, step=step, noise=noise, decay=decay),
        progress,
    )  # fmt: skip
