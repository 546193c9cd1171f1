"""Diffusion along structures: closes gaps in lines and vessels, leaves their edges sharp."""

from __future__ import annotations

from typing import Annotated

import numba
import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.grid import Array
from somascope.process.choices import Dimensions, Triple, deep, widths
from somascope.process.derivatives import COMPONENTS, derived, gaussian_pair
from somascope.process.diffusion import stable
from somascope.process.entries import each_volume, is_colour, like, real_values
from somascope.process.filters import smooth
from somascope.process.hessian import eigenvalues
from somascope.process.missing import filled, restored


@numba.njit(parallel=True, fastmath={"contract", "nsz"}, cache=True)
def _tensors(j: Array, strength: float, alpha: float, flat: int) -> None:
    """Structure tensors (zz, yy, xx, yx, zx, zy) become diffusion tensors, in place.

    Same axes; across a structure ``alpha``, along it up to 1. With coherence ``k = m1 - mi`` the
    share is ``alpha + (1 - alpha) exp(-strength^2 / k^2)``.
    """
    _, nz, ny, nx = j.shape
    for row in numba.prange(nz * ny):
        z, y = row // ny, row % ny
        for x in range(nx):
            yy, xx = np.float64(j[1, z, y, x]), np.float64(j[2, z, y, x])
            yx = np.float64(j[3, z, y, x])
            if flat:
                half, mean = 0.5 * (yy - xx), 0.5 * (yy + xx)
                root = np.sqrt(half * half + yx * yx)
                along, slope = alpha, 0.0
                if root > 0:
                    ratio = strength / (2.0 * root)
                    along += (1.0 - alpha) * np.exp(-min(ratio * ratio, 700.0))
                    slope = 0.5 * (along - alpha) / root
                # The direction of least change, where J is smallest, gets the larger share.
                base = 0.5 * (along + alpha) + slope * mean
                j[1, z, y, x], j[2, z, y, x] = base - slope * yy, base - slope * xx
                j[3, z, y, x] = -slope * yx
                continue
            zz, zx = np.float64(j[0, z, y, x]), np.float64(j[4, z, y, x])
            zy = np.float64(j[5, z, y, x])
            m3, m2, m1 = eigenvalues(xx, yy, zz, yx, zx, zy)
            f2 = _share(m1 - m2, strength, alpha)
            f3 = _share(m1 - m3, strength, alpha)
            # The matrix function through its values at m1, m2, m3: Newton's divided differences.
            tiny = 1e-12 * abs(m1) + 1e-300
            d12 = (f2 - alpha) / (m2 - m1) if m1 - m2 > tiny else 0.0
            d23 = (f3 - f2) / (m3 - m2) if m2 - m3 > tiny else 0.0
            d123 = (d23 - d12) / (m3 - m1) if m1 - m3 > tiny else 0.0
            a0, b0, c0 = zz - m1, yy - m1, xx - m1
            a1, b1, c1 = zz - m2, yy - m2, xx - m2
            j[0, z, y, x] = alpha + d12 * a0 + d123 * (a0 * a1 + zy * zy + zx * zx)
            j[1, z, y, x] = alpha + d12 * b0 + d123 * (zy * zy + b0 * b1 + yx * yx)
            j[2, z, y, x] = alpha + d12 * c0 + d123 * (zx * zx + yx * yx + c0 * c1)
            j[3, z, y, x] = d12 * yx + d123 * (zy * zx + b0 * yx + yx * c1)
            j[4, z, y, x] = d12 * zx + d123 * (a0 * zx + zy * yx + zx * c1)
            j[5, z, y, x] = d12 * zy + d123 * (a0 * zy + zy * b1 + zx * yx)


@numba.njit(inline="always")
def _share(k: float, strength: float, alpha: float) -> float:
    if k <= 0:
        return alpha
    ratio = strength / k
    return alpha + (1.0 - alpha) * np.exp(-min(ratio * ratio, 700.0))


@numba.njit(parallel=True, fastmath={"contract", "nsz"}, cache=True)
def _flowed(u: Array, d: Array, weights: Array, time: float, flat: int, out: Array) -> None:
    """``out <- u + time div(D grad u)``, nothing through the border."""
    nz, ny, nx = u.shape
    wz, wy, wx = weights[0], weights[1], weights[2]
    half, quarter = np.float32(0.5), np.float32(0.25)
    for row in numba.prange(nz * ny):
        z, y = row // ny, row % ny
        za, zb = max(z - 1, 0), min(z + 1, nz - 1)
        ya, yb = max(y - 1, 0), min(y + 1, ny - 1)
        for x in range(nx):
            xa, xb = max(x - 1, 0), min(x + 1, nx - 1)
            v = u[z, y, x]
            own = d[1, z, y, x]
            gain = (
                wy
                * wy
                * half
                * (
                    (own + d[1, z, yb, x]) * (u[z, yb, x] - v)
                    - (own + d[1, z, ya, x]) * (v - u[z, ya, x])
                )
            )
            own = d[2, z, y, x]
            gain += (
                wx
                * wx
                * half
                * (
                    (own + d[2, z, y, xb]) * (u[z, y, xb] - v)
                    - (own + d[2, z, y, xa]) * (v - u[z, y, xa])
                )
            )
            mixed = d[3, z, yb, x] * (u[z, yb, xb] - u[z, yb, xa])
            mixed -= d[3, z, ya, x] * (u[z, ya, xb] - u[z, ya, xa])
            mixed += d[3, z, y, xb] * (u[z, yb, xb] - u[z, ya, xb])
            mixed -= d[3, z, y, xa] * (u[z, yb, xa] - u[z, ya, xa])
            gain += quarter * wy * wx * mixed
            if not flat:
                own = d[0, z, y, x]
                gain += (
                    wz
                    * wz
                    * half
                    * (
                        (own + d[0, zb, y, x]) * (u[zb, y, x] - v)
                        - (own + d[0, za, y, x]) * (v - u[za, y, x])
                    )
                )
                mixed = d[4, zb, y, x] * (u[zb, y, xb] - u[zb, y, xa])
                mixed -= d[4, za, y, x] * (u[za, y, xb] - u[za, y, xa])
                mixed += d[4, z, y, xb] * (u[zb, y, xb] - u[za, y, xb])
                mixed -= d[4, z, y, xa] * (u[zb, y, xa] - u[za, y, xa])
                gain += quarter * wz * wx * mixed
                mixed = d[5, zb, y, x] * (u[zb, yb, x] - u[zb, ya, x])
                mixed -= d[5, za, y, x] * (u[za, yb, x] - u[za, ya, x])
                mixed += d[5, z, yb, x] * (u[zb, yb, x] - u[za, yb, x])
                mixed -= d[5, z, ya, x] * (u[zb, ya, x] - u[za, ya, x])
                gain += quarter * wz * wy * mixed
            out[z, y, x] = v + time * gain


def structure(volume: Array, spacing: Triple, *, sigma: Triple, rho: Triple, flat: bool) -> Array:
    """The structure tensor: products of slopes at ``sigma``, averaged over ``rho`` (voxels).

    Returns ``(6, nz, ny, nx)`` float32: zz, yy, xx, yx, zx, zy, per mm2.
    """
    a, b, c = (gaussian_pair(s, 1) for s in sigma)
    weights = (1 / spacing[0], 1 / spacing[1], 1 / spacing[2])
    out = np.zeros((6, *volume.shape), np.float32)
    derived(volume, (a, b, c), weights, kind=COMPONENTS, deep=not flat, out=out[:3])
    # Squares last: they take the place of the slopes.
    for k, (p, q) in ((3, (1, 2)), (4, (0, 2)), (5, (0, 1)), (0, (0, 0)), (1, (1, 1)), (2, (2, 2))):
        out[k] = 0 if flat and 0 in (p, q) else smooth(out[p] * out[q], rho)
    return out


def coherent(
    volume: Array,
    spacing: Triple,
    *,
    sigma: Triple,
    rho: Triple,
    iterations: int,
    time: float,
    strength: float = 0.1,
    alpha: float = 0.01,
    flat: bool = False,
    progress: Progress = QUIET,
) -> Array:
    """Coherence-enhancing diffusion (Weickert, IJCV 31, 1999) of ``(nz, ny, nx)``, float32.

    Parameters
    ----------
    sigma, rho
        Voxels: the scale of the slopes, and over how much their direction is agreed upon.
    iterations, time
        Explicit steps, and each one's time in mm2.
    strength
        How coherent a place must be, as a share of the mean squared slope of all.
    alpha
        What flows across structures anyway.
    flat
        Each slice by itself.
    """
    now, known = filled(volume)
    now = now.copy() if known is None else now
    other = np.empty_like(now)
    weights = (1 / np.asarray(spacing)).astype(np.float32)
    for _ in progress.over(range(iterations), "diffusing"):
        for part in [slice(z, z + 1) for z in range(len(now))] if flat else [slice(None)]:
            tensors = structure(now[part], spacing, sigma=sigma, rho=rho, flat=flat)
            usual = float(sum(tensors[k].mean(dtype=np.float64) for k in range(3)))
            if not usual > 0:
                other[part] = now[part]
                continue
            _tensors(tensors, strength * usual, alpha, int(flat))
            _flowed(now[part], tensors, weights, np.float32(time), int(flat), other[part])  # pyright: ignore[reportArgumentType]
            del tensors  # before there are others
        now, other = other, now
    return restored(now, volume, known)


@operation("process.coherence")
def coherence(
    image: Image,
    *,
    scale: Annotated[
        float, Param("Width of the slopes' Gaussian", unit="mm", minimum=0.0, maximum=20.0,
                     step=0.1)
    ] = 0.7,
    reach: Annotated[
        float, Param("Over how much the direction is agreed upon", unit="mm", minimum=0.1,
                     maximum=50.0, step=0.5)
    ] = 3.0,
    iterations: Annotated[int, Param("Steps of diffusion", minimum=1, maximum=500)] = 20,
    across: Annotated[
        float, Param("What flows across structures, of what flows along", minimum=0.0, maximum=1.0,
                     advanced=True)
    ] = 0.01,
    strength: Annotated[
        float, Param("How coherent a place must be, in mean squared slopes", minimum=1e-4,
                     maximum=100.0, advanced=True)
    ] = 0.1,
    dimensions: Dimensions = "slice",
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Smooth along lines, vessels and layers, not across (coherence-enhancing diffusion).

    Closes gaps in what is drawn out; leaves corners and blobs alone. Shape
    ``(*leading, nz, ny, nx)``, float32 out (colour keeps its type); missing values stay missing.
    """
    real_values(image, "process.coherence")
    spacing, flat = image.grid.spacing, not deep(image, dimensions)
    sigma = widths(image, scale, dimensions, operation="process.coherence")
    rho = widths(image, reach, dimensions, operation="process.coherence")
    time = 0.5 * stable(spacing, flat=flat)
    volumes = int(np.prod(image.data.shape[:-3]))

    def run(volume: Array) -> Array:
        return coherent(
            volume, spacing, sigma=sigma, rho=rho, iterations=iterations, time=time,
            strength=strength, alpha=across, flat=flat,
            progress=progress if volumes == 1 else QUIET,
        )  # fmt: skip

    data = each_volume(
        image, run, progress=QUIET if volumes == 1 else progress, message="diffusing"
    )
    return image.with_data(like(data, image.data.dtype) if is_colour(image) else data)
