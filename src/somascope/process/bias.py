"""Slow shading of MR images taken out: nonparametric nonuniform intensity normalisation (N4).

Tustison et al., IEEE TMI 29 (2010), after Sled, Zijdenbos, Evans, IEEE TMI 17 (1998): the
histogram of the logarithm is sharpened, and what that moves is smoothed by a B-spline whose mesh
doubles from level to level. On a lattice the B-spline's fit (Lee, Wolberg, Shin, IEEE TVCG 3,
1997) is a product of small matrices, one to an axis.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numba
import numpy as np

from somascope.core import QUIET, Image, Mask, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.process.entries import inside, is_colour, real_values
from somascope.process.histogram import of_values
from somascope.process.thresholds import otsu

BINS = 200
PADDED = 512


def cubic(size: int, spans: int, *, of: int = 1, first: float = 0.0, step: float = 1.0) -> Float:
    """Values of the ``spans + 3`` cubic B-splines over ``0..of-1`` at ``size`` places.

    The i-th place is ``first + i step`` of an axis of ``of`` samples; shape ``(size, spans + 3)``.
    """
    place = np.clip((first + step * np.arange(size)) / max(of - 1, 1), 0, 1) * spans
    begin = np.minimum(np.floor(place).astype(int), spans - 1)
    t = place - begin
    values = (
        (1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6,
    )  # fmt: skip
    matrix = np.zeros((size, spans + 3))
    for k, v in enumerate(values):
        matrix[np.arange(size), begin + k] = v
    return matrix


def contracted(volume: Array, matrices: tuple[Float, Float, Float]) -> Float:
    """``sum_zyx volume[z, y, x] mz[z, a] my[y, b] mx[x, c]``, shape ``(a, b, c)``."""
    mz, my, mx = (m.astype(np.float32) for m in matrices)
    rows = volume.reshape(-1, volume.shape[2]) @ mx
    planes = np.einsum("zyc,yb->zbc", rows.reshape(*volume.shape[:2], -1), my, optimize=True)
    return np.einsum("zbc,za->abc", planes.astype(np.float64), mz.astype(np.float64), optimize=True)


def evaluated(lattice: Float, matrices: tuple[Float, Float, Float]) -> Array:
    """The B-spline of a lattice ``(a, b, c)`` at the places of the matrices, float32."""
    mz, my, mx = matrices
    planes = np.einsum("abc,za->zbc", lattice, mz, optimize=True)
    rows = np.einsum("zbc,yb->zyc", planes, my, optimize=True).astype(np.float32)
    return rows @ mx.T.astype(np.float32)


def sharpened(values: Array, *, fwhm: float, noise: float) -> tuple[Array, Array]:
    """What each log intensity is expected to be once a Gaussian is taken out of the histogram.

    Returns places and expectations ``(BINS,)``, to be interpolated linearly.
    """
    low, high = float(values.min()), float(values.max())
    if not high > low:  # nothing to sharpen
        places = low + np.arange(BINS) - BINS / 2
        return places, np.full(BINS, low)
    slope = (high - low) / (BINS - 1)
    counts = _shared(values, np.float32(low), np.float32(1 / slope))
    padded = np.zeros(PADDED)
    offset = (PADDED - BINS) // 2
    padded[offset : offset + BINS] = counts
    x = np.minimum(np.arange(PADDED), PADDED - np.arange(PADDED))
    width = fwhm / slope
    gauss = np.exp(-4 * np.log(2) * (x / width) ** 2) * 2 * np.sqrt(np.log(2) / np.pi) / width
    f = np.fft.rfft(gauss)
    wiener = np.conj(f) / (np.abs(f) ** 2 + noise)
    sharp = np.maximum(np.fft.irfft(np.fft.rfft(padded) * wiener, PADDED), 0)
    places = low + (np.arange(PADDED) - offset) * slope
    above = np.fft.irfft(np.fft.rfft(places * sharp) * f, PADDED)
    below = np.fft.irfft(np.fft.rfft(sharp) * f, PADDED)
    expected = np.divide(above, below, out=places.copy(), where=below > 1e-10 * below.max())
    part = slice(offset, offset + BINS)
    return places[part], expected[part]


# On one core: the volume is small by then, and waking the others would take longer.
@numba.njit(cache=True)
def _shared(values: Array, low: Any, scale: Any) -> Float:
    """Counts split between the two nearest bins."""
    counts = np.zeros((2, BINS))
    for i in range(values.size):
        t = (values[i] - low) * scale
        k = min(np.int32(t), BINS - 2)
        f = t - np.float32(k)
        counts[i & 1, k] += np.float32(1) - f
        counts[i & 1, k + 1] += f
    return counts[0] + counts[1]


@numba.njit(fastmath=True, cache=True)
def _moved(
    logs: Array, field: Array, mask: Array, low: Any, scale: Any, table: Array, out: Array
) -> None:
    """``out <- u - E[u]`` in the mask, with ``u = logs - field``; 0 outside."""
    top = np.float32(BINS - 1.001)
    for i in range(logs.size):
        u = logs[i] - field[i]
        t = min(max((u - low) * scale, np.float32(0)), top)
        k = np.int32(t)
        f = t - np.float32(k)
        e = table[k] + f * (table[k + 1] - table[k])
        out[i] = u - e if mask[i] else np.float32(0)


def log_field(
    volume: Array,
    mask: Array,
    *,
    spans: tuple[int, int, int],
    levels: int,
    iterations: int,
    tolerance: float = 1e-3,
    fwhm: float = 0.15,
    noise: float = 0.01,
    progress: Progress = QUIET,
) -> list[Float]:
    """Lattices whose B-splines add up to the logarithm of the shading.

    Parameters
    ----------
    volume, mask
        ``(nz, ny, nx)`` positive values, and where they count.
    spans
        Spans of the coarsest mesh along (z, y, x); they double ``levels - 1`` times.
    iterations, tolerance
        Of each level: it ends early where the shading changes by less than ``tolerance`` (the
        coefficient of variation of the change).
    fwhm, noise
        Of the Gaussian taken out of the histogram of logarithms, and of its Wiener filter.
    """
    logs = np.log(np.maximum(volume, np.float32(1e-6)), dtype=np.float32)
    weights = mask.astype(np.float32)
    field = np.zeros_like(logs)
    moved = np.empty_like(logs)
    lattices: list[Float] = []
    for level in range(levels):
        mesh = [s * 2**level if n > 1 else 1 for s, n in zip(spans, volume.shape, strict=True)]
        b = [cubic(n, m, of=n) for n, m in zip(volume.shape, mesh, strict=True)]
        cubes = [m**3 / (m**2).sum(axis=1, keepdims=True) for m in b]
        weight = contracted(weights, (b[0] ** 2, b[1] ** 2, b[2] ** 2))
        for i in range(iterations):
            u = (logs - field)[mask]
            places, expected = sharpened(u, fwhm=fwhm, noise=noise)
            scale = np.float32(1 / (places[1] - places[0]))
            table = expected.astype(np.float32)
            _moved(
                logs.reshape(-1), field.reshape(-1), mask.reshape(-1), np.float32(places[0]),
                scale, table, moved.reshape(-1),
            )  # fmt: skip
            sums = contracted(moved, (cubes[0], cubes[1], cubes[2]))
            lattice = np.divide(sums, weight, out=np.zeros_like(sums), where=weight > 1e-9)
            change = evaluated(lattice, (b[0], b[1], b[2]))
            field += change
            if lattices and lattices[-1].shape == lattice.shape:
                lattices[-1] = lattices[-1] + lattice
            else:
                lattices.append(lattice)
            ratio = np.exp(change[mask])
            progress((level + (i + 1) / iterations) / levels, f"level {level + 1} of {levels}")
            if float(ratio.std() / ratio.mean()) < tolerance:
                break
    return lattices


@operation("process.n4")
def n4(
    image: Image,
    *masks: Mask,
    output: Annotated[
        Literal["corrected", "field"], Param("The image without the shading, or the shading")
    ] = "corrected",
    levels: Annotated[
        int, Param("Finer and finer meshes of the shading", minimum=1, maximum=6)
    ] = 4,
    mesh: Annotated[
        float, Param("Edge of the coarsest mesh's cells", unit="mm", minimum=20.0, maximum=1000.0)
    ] = 200.0,
    iterations: Annotated[int, Param("At most, at each level", minimum=1, maximum=500)] = 50,
    working: Annotated[
        float, Param("Voxel edge the shading is found at", unit="mm", minimum=0.5, maximum=20.0)
    ] = 4.0,
    progress: Progress = QUIET,
) -> Image:
    """Take slow shading out of an MR image (N4 bias field correction).

    In the region of the mask, or where the values lie above Otsu's threshold. Values keep their
    scale: the shading has mean 1 there. One volume ``(1, ..., nz, ny, nx)`` of values of 0 and
    above; float32 out. The shading itself has unit ``1``.
    """
    volume, region = _prepared(image, masks)
    grid = image.grid
    step = [max(round(working / s), 1) if n > 1 else 1 for s, n in
            zip(grid.spacing, grid.shape, strict=True)]  # fmt: skip
    coarse = tuple(slice((n - 1) % k // 2, None, k) for n, k in zip(grid.shape, step, strict=True))
    if int(region[coarse].sum()) < 64:
        coarse, step = (slice(0, None, 1),) * 3, [1, 1, 1]
    small = _averaged(volume, region, coarse)
    extent = [n * s for n, s in zip(grid.shape, grid.spacing, strict=True)]
    sz, sy, sx = (max(round(e / mesh), 1) for e in extent)
    lattices = log_field(
        small, np.ascontiguousarray(region[coarse]), spans=(sz, sy, sx), levels=levels,
        iterations=iterations, progress=progress,
    )  # fmt: skip
    total = np.zeros(grid.shape, np.float32)
    for lattice in lattices:
        matrices = [
            cubic(n, m - 3, of=size, first=-(part.start or 0) / k, step=1 / k)
            for n, m, size, part, k in zip(
                grid.shape, lattice.shape, small.shape, coarse, step, strict=True
            )
        ]
        total += evaluated(lattice, (matrices[0], matrices[1], matrices[2]))
    np.exp(total, out=total)
    total /= float(total[region].mean())
    shape = image.data.shape
    if output == "field":
        return image.with_data(total.reshape(shape), unit="1")
    return image.with_data((volume / total).astype(np.float32, copy=False).reshape(shape))


def _averaged(volume: Array, region: Array, coarse: tuple[slice, ...]) -> Array:
    """Mean of the region's values around each working voxel, 0 where there is none.

    One value of many would have all of their noise, which the logarithm skews.
    """
    total = np.where(region, volume, 0).astype(np.float32)
    count = region.astype(np.float32)
    for axis, part in enumerate(coarse):
        n, step = volume.shape[axis], part.step
        centres = np.arange(n)[part]
        near = [np.clip(centres + d, 0, n - 1) for d in range(-(step // 2), (step + 1) // 2)]
        total, count = (
            np.sum([np.take(a, at, axis=axis) for at in near], axis=0, dtype=np.float32)
            for a in (total, count)
        )
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def _prepared(image: Image, masks: tuple[Mask, ...]) -> tuple[Array, Array]:
    real_values(image, "process.n4")
    wide = [(a.name, n) for a, n in zip(image.axes, image.data.shape, strict=False) if n > 1]
    if wide or is_colour(image):
        name = "channel" if is_colour(image) else wide[0][0]
        raise GeometryError(
            f"process.n4 corrects one volume and this image has an axis {name!r}; choose one with "
            f"image.at({name}=0)"
        )
    volume = image.data.reshape(image.grid.shape)
    if len(masks) > 1:
        raise ParameterError(f"process.n4 takes one mask and was given {len(masks)}")
    if masks and not masks[0].grid.allclose(image.grid):
        raise GeometryError(
            "process.n4: the mask lies on another grid than the image; resample it to the image's"
        )
    known = np.isfinite(volume) & (volume > 0)
    if not known.any():
        raise ParameterError(
            "process.n4: no value is above 0; shading is a factor, give magnitudes"
        )
    if masks:
        region = inside(masks[0]) & known
    else:
        cut = (
            otsu(of_values(np.ascontiguousarray(volume[known])))[0]
            if np.ptp(volume[known]) > 0
            else 0.0
        )
        region = known & (volume > cut)
    if not region.any():
        raise ParameterError("process.n4: the mask covers no value above 0")
    return volume, region
