"""Gaussian smoothing of runs: all volumes, one to a core, planes kept in its cache."""

from __future__ import annotations

from typing import Annotated

import numba
import numpy as np

from somascope.acquire.fmri.runs import like_run
from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.chunks import in_chunks, sealed
from somascope.process.separable import convolve_into, gaussians, prepared

SIGMA = float(1 / np.sqrt(8 * np.log(2)))
"""Standard deviation of a Gaussian whose full width at half maximum is 1."""
_PIECE = 16
"""Volumes between two looks at progress."""


@numba.njit(nogil=True, cache=True)
def _volumes(
    start: int, stop: int, data: Array, kz: Array, ky: Array, kx: Array, bz: Array, by: Array,
    bx: Array, out: Array,
) -> None:  # fmt: skip
    for i in range(start, stop):
        convolve_into(data[i], kz, ky, kx, bz, by, bx, out[i])


def _kernels(shape: tuple[int, ...], fwhm: float, spacing: tuple[float, ...]) -> tuple[Array, ...]:
    sigma = tuple(fwhm * SIGMA / s for s in spacing)
    return prepared(shape, gaussians(shape, sigma), np.float32)


def gaussian(
    data: Array, fwhm: float, spacing: tuple[float, float, float], *, progress: Progress = QUIET
) -> Array:
    """Smooth ``(n, nz, ny, nx)`` float32 by ``fwhm`` mm, mirrored at the outer voxel edges.

    Voxels that are not finite are left out of the averages of their neighbours and come back as
    they were (normalised convolution, Knutsson and Westin, CVPR 1993).
    """
    kernels = _kernels(data.shape[1:], fwhm, spacing)
    out = np.empty_like(data)
    for first in progress.over(range(0, len(data), _PIECE), "smoothing"):
        part = slice(first, min(first + _PIECE, len(data)))
        in_chunks(_volumes, part.stop - first, sealed(data[part]), *kernels, out[part])
    # A value that is not finite spreads, so the result tells cheaply whether there was one.
    if np.isfinite(out).all():
        return out
    return _without(data, kernels)


def _without(data: Array, kernels: tuple[Array, ...]) -> Array:
    known = np.isfinite(data)
    return np.where(known, _weighted(data, known.astype(np.float32), kernels), data)


def _weighted(data: Array, weight: Array, kernels: tuple[Array, ...]) -> Array:
    """Weighted averages; 0 where no weight is near."""
    values, weights = np.empty_like(data), np.empty_like(weight)
    given = np.where(weight > 0, data, np.float32(0)) * weight
    in_chunks(_volumes, len(data), sealed(given), *kernels, values)
    in_chunks(_volumes, len(weight), sealed(weight), *kernels, weights)
    return np.divide(values, weights, out=np.zeros_like(values), where=weights > 1e-6)


def within(
    data: Array, fwhm: float, spacing: tuple[float, float, float], *, mask: Array
) -> Array:  # fmt: skip
    """Smooth inside ``mask`` ``(nz, ny, nx)`` only: nothing leaks in from outside, which is 0."""
    kernels = _kernels(data.shape[1:], fwhm, spacing)
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
