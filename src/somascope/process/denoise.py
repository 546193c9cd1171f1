"""Noise removal that keeps edges: bilateral filter and non-local means."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.core.tensors import is_tensor
from somascope.process.blockwise import nonlocal_blocks
from somascope.process.choices import Dimensions
from somascope.process.chunks import in_chunks
from somascope.process.entries import each_volume, is_colour, like, real_values
from somascope.process.neighbours import LOG2E, MISSING, OUTSIDE, bands
from somascope.process.neighbours import bilateral as _bilateral
from somascope.process.neighbours import nonlocal_means as _nonlocal_means

SAMPLES = 1 << 20
"""Voxels are enough to tell the noise."""


def noise(volume: Array) -> float:
    """Standard deviation of white noise in a volume ``(nz, ny, nx)``, in its unit.

    The median size of the second differences of Immerkaer (CVIU 64, 1996), which cancel planes and
    edges along an axis; within slices, so that thick ones do no harm. 0 for fewer than 3 x 3
    voxels in a slice; NaN is left out. Correlated (resampled, compressed) noise is underrated.
    """
    _, ny, nx = volume.shape
    if ny < 3 or nx < 3:
        return 0.0
    step = max(volume.size // SAMPLES, 1)
    v = np.asarray(volume[::step], np.float64)
    a = v[:, :-2] - 2 * v[:, 1:-1] + v[:, 2:]
    b = np.abs(a[..., :-2] - 2 * a[..., 1:-1] + a[..., 2:])
    b = b[np.isfinite(b) & (b > 0)]  # exact zeros are padding, not tissue
    return float(np.median(b)) / (0.6745 * 6.0) if b.size else 0.0


def bilateral(
    volume: Array, *, space: tuple[float, float, float], value: float, reach: float = 2.5
) -> Array:
    """Bilateral filter (Tomasi and Manduchi, ICCV 1998) of a volume.

    Parameters
    ----------
    volume
        ``(nz, ny, nx)``; computed in float32. NaN has no weight and stays NaN.
    space
        Standard deviations in voxels ``(z, y, x)``; 0 leaves an axis out.
    value
        Standard deviation of the differences in value.
    reach
        The window is an ellipsoid that ends at this many standard deviations, rounded up to voxels.
        Borders are mirrored at the outer voxel edges.
    """
    if is_tensor(volume):
        from somascope.process.neighbourhood import gpu

        tensor: Any = volume
        return gpu.bilateral(tensor, space=space, value=value, reach=reach)
    radius, logs = window(space, reach)
    scale = np.float32(np.sqrt(LOG2E / 2) / value)
    # Differences, not values, are what single precision must resolve.
    out, origin, missing = centred(volume)
    out *= scale
    padded = np.pad(out, [(r, r) for r in radius], mode="symmetric")
    if missing is not None:
        np.copyto(padded, np.float32(MISSING), where=np.isnan(padded))
    in_chunks(_bilateral, bands(out), padded, np.array(radius), logs.astype(np.float32), out)
    out *= 1 / scale
    return _finished(out, volume, origin, missing)


def _finished(out: Array, volume: Array, origin: float, missing: Array | None) -> Array:
    """What `centred` took away, put back."""
    out += np.float32(origin)
    if missing is not None:
        out[missing] = volume[missing]
    return out


def window(space: tuple[float, float, float], reach: float) -> tuple[list[int], Array]:
    """Radii in voxels, and the logarithm to base 2 of every neighbour's weight in space.

    Shape ``(2 rz + 1, 2 ry + 1, 2 rx + 1)``; `OUTSIDE` beyond the ellipsoid of these radii.
    """
    radius = [int(np.ceil(reach * s)) if s > 0 else 0 for s in space]
    steps = [np.arange(-r, r + 1) for r in radius]
    logs, far = np.zeros(()), np.zeros(())
    for x, r, s in zip(steps, radius, space, strict=True):
        logs = logs[..., None] - (0.5 * LOG2E * (x / s) ** 2 if r else 0 * x)
        far = far[..., None] + (x / max(r, 1)) ** 2
    return radius, np.where(far > 1 + 1e-9, OUTSIDE, logs)


def centred(volume: Array) -> tuple[Array, float, Array | None]:
    """``volume`` less its mean in float32, the mean, and where it is not finite (None: nowhere).

    What is not finite becomes NaN; the mean of no finite value is 0.
    """
    missing = ~np.isfinite(volume)
    whole = not missing.any()
    if whole:
        origin = float(volume.mean(dtype=np.float64)) if volume.size else 0.0
    else:
        known = volume[~missing]
        origin = float(known.mean(dtype=np.float64)) if known.size else 0.0
    out = np.empty(volume.shape, np.float32)
    np.subtract(volume, origin, out=out, casting="same_kind")
    if whole:
        return out, origin, None
    out[missing] = np.nan
    return out, origin, missing


def nonlocal_means(
    volume: Array,
    *,
    search: tuple[int, int, int],
    patch: tuple[int, int, int],
    h: float,
    sigma: float = 0.0,
    blocks: bool = False,
) -> Array:
    """Non-local means (Buades, Coll, Morel, CVPR 2005) of a volume.

    The weight of a voxel in the window is ``exp(-max(d2 - 2 sigma^2, 0) / h^2)``, with ``d2`` the
    mean squared difference of the patches around it and around the centre.

    Parameters
    ----------
    volume
        ``(nz, ny, nx)``; computed in float32. Missing values count as the mean and stay missing.
    search, patch
        Radii in voxels ``(z, y, x)``.
    h
        How fast the weight falls, in the volume's unit.
    sigma
        Standard deviation of the noise, whose share of ``d2`` is taken away.
    blocks
        Average whole patches about every ``patch + 1``-th voxel instead of single voxels (Coupe et
        al. 2008, `blockwise`): about half the time. Arrays only; a tensor is handled voxel by
        voxel.
    """
    if is_tensor(volume):
        from somascope.process.neighbourhood import gpu

        tensor: Any = volume
        return gpu.nonlocal_means(tensor, search=search, patch=patch, h=h, sigma=sigma)
    out, origin, missing = centred(volume)
    if missing is not None:
        out[missing] = 0
    n = float(np.prod([2 * p + 1 for p in patch]))
    slope, bias = np.float32(-LOG2E / (h * h * n)), np.float32(2 * sigma * sigma * n)
    if blocks:
        nonlocal_blocks(out, np.array(search), np.array(patch), float(slope), float(bias), out)
        return _finished(out, volume, origin, missing)
    pad = [(s + p, s + p) for s, p in zip(search, patch, strict=True)]
    padded = np.pad(out, pad, mode="symmetric")
    _nonlocal_means(padded, np.array(search), np.array(patch), slope, bias, out)
    return _finished(out, volume, origin, missing)


@operation("process.bilateral")
def bilateral_(
    image: Image,
    *,
    sigma: Annotated[
        float, Param("Width in space", unit="mm", minimum=0.05, maximum=20.0, step=0.1)
    ] = 1.5,
    contrast: Annotated[
        float | None,
        Param(
            "Differences above this are edges, in the image's unit; none: three times the noise",
            minimum=0.0,
        ),
    ] = None,
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:
    """Smooth within regions, not across edges (bilateral filter).

    Every voxel becomes the mean of its neighbours, weighted by how near they are and how like in
    value. Shape ``(*leading, nz, ny, nx)`` as it came, float32 out (colour keeps its type).
    Missing values have no weight and stay missing.
    """  # fmt: skip
    real_values(image, "process.bilateral")
    dz, dy, dx = image.grid.spacing
    deep = dimensions == "volume" and image.grid.shape[0] > 1
    space = (sigma / dz if deep else 0.0, sigma / dy, sigma / dx)
    taps = float(np.prod([2 * np.ceil(2.5 * s) + 1 for s in space]))
    if taps > 100_000:
        raise ParameterError(
            f"process.bilateral: sigma {sigma:g} mm spans {taps:.0f} voxels of "
            f"{dz:g} x {dy:g} x {dx:g} mm; choose a smaller sigma"
        )

    def run(volume: Array) -> Array:
        value = 3.0 * noise(volume) if contrast is None else contrast
        return bilateral(volume, space=space, value=value) if value > 0 else volume

    data = each_volume(image, run, progress=progress, message="bilateral")
    return image.with_data(like(data, image.data.dtype) if is_colour(image) else data)


@operation("process.nlm")
def nlm(
    image: Image,
    *,
    strength: Annotated[
        float,
        Param(
            "Smoothing, in standard deviations of the noise", minimum=0.05, maximum=5.0, step=0.05
        ),
    ] = 0.8,
    sigma: Annotated[
        float | None,
        Param("Standard deviation of the noise, in the image's unit; none: estimated", minimum=0.0),
    ] = None,
    search: Annotated[
        int, Param("Radius of the window looked through, in voxels", minimum=1, maximum=15)
    ] = 3,
    patch: Annotated[
        int, Param("Radius of the patches compared, in voxels", minimum=1, maximum=5)
    ] = 1,
    method: Annotated[
        Literal["voxels", "blocks"],
        Param("Average voxel by voxel, or whole patches, which takes about half the time"),
    ] = "voxels",
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:
    """Average the places that look alike (non-local means).

    Keeps fine repeated structure that smoothing would lose; ``blocks`` averages the patches of
    every ``patch + 1``-th voxel (Coupe et al., IEEE TMI 27, 2008). Shape
    ``(*leading, nz, ny, nx)`` as it came, float32 out (colour keeps its type). Missing values stay
    missing.
    """  # fmt: skip
    real_values(image, "process.nlm")
    deep = dimensions == "volume" and image.grid.shape[0] > 1

    def run(volume: Array) -> Array:
        level = noise(volume) if sigma is None else sigma
        if not level > 0:
            return volume
        return nonlocal_means(
            volume, search=(search if deep else 0, search, search),
            patch=(patch if deep else 0, patch, patch), h=strength * level, sigma=level,
            blocks=method == "blocks",
        )  # fmt: skip

    data = each_volume(image, run, progress=progress, message="non-local means")
    return image.with_data(like(data, image.data.dtype) if is_colour(image) else data)
