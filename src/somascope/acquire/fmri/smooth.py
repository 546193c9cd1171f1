"""Gaussian smoothing of runs: all volumes, three passes each, without leaving the cache."""

from __future__ import annotations

from typing import Annotated

import numba
import numpy as np

from somascope.acquire.chunks import in_chunks
from somascope.acquire.fmri.runs import like_run
from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

SIGMA = float(1 / np.sqrt(8 * np.log(2)))
"""Standard deviation of a Gaussian whose full width at half maximum is 1."""
TRUNCATE = 4.0
_PIECE = 16
"""Volumes between two looks at progress."""


def kernel(fwhm: float, spacing: float) -> Array:
    """The right half of the sampled Gaussian, from the centre on, its whole sum 1; float32.

    It ends at four standard deviations, as in SciPy and nilearn.
    """
    sigma = fwhm * SIGMA / spacing
    if sigma <= 0:
        return np.ones(1, np.float32)
    half = np.exp(-0.5 * (np.arange(int(TRUNCATE * sigma + 0.5) + 1) / sigma) ** 2)
    return (half / (half[0] + 2 * half[1:].sum())).astype(np.float32)


@numba.njit(nogil=True, cache=True)
def _mirror(i: int, n: int) -> int:
    """Index mirrored at the outer voxel edges, any distance away."""
    i = i % (2 * n)
    return i if i < n else 2 * n - 1 - i


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _lines(source: Array, target: Array, k: Array) -> None:
    """Along the first axis of ``(n, m)``, all columns together."""
    n, m = source.shape
    for i in range(n):
        row, own = target[i], source[i]
        w = k[0]
        for x in range(m):
            row[x] = w * own[x]
        for j in range(1, k.size):
            w = k[j]
            before, after = source[_mirror(i - j, n)], source[_mirror(i + j, n)]
            for x in range(m):
                row[x] += w * (before[x] + after[x])


@numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _row(padded: Array, target: Array, k: Array) -> None:
    """Along one row, ``padded`` by the kernel's radius on both sides."""
    n, r = target.size, k.size - 1
    w = k[0]
    middle = padded[r : r + n]
    for x in range(n):
        target[x] = w * middle[x]
    for j in range(1, k.size):
        w = k[j]
        before, after = padded[r - j : r - j + n], padded[r + j : r + j + n]
        for x in range(n):
            target[x] += w * (before[x] + after[x])


@numba.njit(nogil=True, cache=True)
def smooth_into(
    volume: Array, kz: Array, ky: Array, kx: Array, scratch: Array, out: Array
) -> None:  # fmt: skip
    """Smooth ``(nz, ny, nx)`` into ``out``; ``scratch`` has the same shape."""
    nz, ny, nx = volume.shape
    r = kx.size - 1
    padded = np.empty(nx + 2 * r, np.float32)
    row = np.empty((ny, nx), np.float32)
    for z in range(nz):
        for y in range(ny):
            source = volume[z, y]
            for x in range(r):
                padded[x] = source[_mirror(x - r, nx)]
                padded[nx + r + x] = source[_mirror(nx + x, nx)]
            padded[r : r + nx] = source
            _row(padded, row[y], kx)
        _lines(row, scratch[z], ky)
    _lines(scratch.reshape(nz, ny * nx), out.reshape(nz, ny * nx), kz)


@numba.njit(nogil=True, cache=True)
def _volumes(
    start: int, stop: int, data: Array, kz: Array, ky: Array, kx: Array, out: Array
) -> None:  # fmt: skip
    scratch = np.empty(data.shape[1:], np.float32)
    for i in range(start, stop):
        smooth_into(data[i], kz, ky, kx, scratch, out[i])


def gaussian(
    data: Array, fwhm: float, spacing: tuple[float, float, float], *, progress: Progress = QUIET
) -> Array:
    """Smooth ``(n, nz, ny, nx)`` float32 by ``fwhm`` mm, mirrored at the outer voxel edges.

    Voxels that are not finite are left out of the averages of their neighbours and come back as
    they were (normalised convolution, Knutsson and Westin, CVPR 1993).
    """
    kernels = [kernel(fwhm if n > 1 else 0.0, s)
               for n, s in zip(data.shape[1:], spacing, strict=True)]  # fmt: skip
    out = np.empty_like(data)
    for first in progress.over(range(0, len(data), _PIECE), "smoothing"):
        part = slice(first, min(first + _PIECE, len(data)))
        in_chunks(_volumes, part.stop - first, data[part], *kernels, out[part])
    # A value that is not finite spreads, so the result tells cheaply whether there was one.
    if np.isfinite(out).all():
        return out
    return _without(data, kernels)


def _without(data: Array, kernels: list[Array]) -> Array:
    known = np.isfinite(data)
    return np.where(known, _weighted(data, known.astype(np.float32), kernels), data)


def _weighted(data: Array, weight: Array, kernels: list[Array]) -> Array:
    """Weighted averages; 0 where no weight is near."""
    values, weights = np.empty_like(data), np.empty_like(weight)
    given = np.where(weight > 0, data, np.float32(0)) * weight
    in_chunks(_volumes, len(data), given, *kernels, values)
    in_chunks(_volumes, len(weight), weight, *kernels, weights)
    return np.divide(values, weights, out=np.zeros_like(values), where=weights > 1e-6)


def within(
    data: Array, fwhm: float, spacing: tuple[float, float, float], *, mask: Array
) -> Array:  # fmt: skip
    """Smooth inside ``mask`` ``(nz, ny, nx)`` only: nothing leaks in from outside, which is 0."""
    kernels = [kernel(fwhm if n > 1 else 0.0, s)
               for n, s in zip(data.shape[1:], spacing, strict=True)]  # fmt: skip
    weight = mask.astype(np.float32)[None] * np.isfinite(data)
    return _weighted(data, weight.astype(np.float32), kernels) * mask


@operation("acquire.fmri.smooth")
def smooth(
    image: Image,
    *,
    fwhm: Annotated[
        float,
        Param("Full width at half maximum", unit="mm", minimum=0.0, maximum=50.0, step=0.5),
    ] = 6.0,
    inside: Annotated[
        bool, Param("Average within the head only, so that its edge is not darkened by air")
    ] = False,
    progress: Progress = QUIET,
) -> Image:
    """Smooth a run or a map with a Gaussian whose width is given in millimetres.

    Any leading axes; float32 out. Missing values (NaN) are left out of the averages and stay.
    With ``inside`` voxels outside the head (`runs.head_mask`) become 0.
    """
    from somascope.acquire.fmri.runs import head_mask

    if image.data.dtype.kind == "c":
        raise ParameterError("acquire.fmri.smooth needs real values; take the magnitude first")
    data = np.ascontiguousarray(image.data, np.float32).reshape(-1, *image.grid.shape)
    if inside:
        progress(0.0, "smoothing")
        mask = head_mask(data if len(data) > 1 else data[0])
        made = within(data, fwhm, image.grid.spacing, mask=mask)
        progress(1.0, "smoothed")
    else:
        made = gaussian(data, fwhm, image.grid.spacing, progress=progress)
    return like_run(image, made.reshape(image.shape), "smoothed")
