"""Where values change: gradient, Laplacian, difference of Gaussians, Canny's edges."""

from __future__ import annotations

from typing import Annotated, Literal

import numba
import numpy as np

from somascope.core import QUIET, Image, Mask, Param, Progress, Segment, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.choices import (
    Dimensions,
    Triple,
    deep,
    mask_of,
    one_volume,
    single_values,
    widths,
)
from somascope.process.components import label
from somascope.process.derivatives import (
    COMPONENTS,
    MAGNITUDE,
    SOBEL,
    SUM,
    derived,
    gaussian_pair,
)
from somascope.process.entries import each_volume
from somascope.process.filters import smooth
from somascope.process.missing import emptied, filled


def gradient_size(volume: Array, spacing: Triple, sigma: Triple, *, flat: bool = False) -> Array:
    """Length of the gradient per mm: derivatives of Gaussians of ``sigma`` voxels (z, y, x).

    A ``sigma`` of 0 takes central differences along its axis. Missing voxels make no edge and come
    out as NaN. float32, shape as it came.
    """
    values, known = filled(volume)
    a, b, c = (gaussian_pair(s, 1) for s in sigma)
    weights = (1 / spacing[0], 1 / spacing[1], 1 / spacing[2])
    found = derived(
        values, (a, b, c), weights, kind=MAGNITUDE, deep=not flat and volume.shape[0] > 1
    )
    return emptied(found, known)


def sobel_components(volume: Array, spacing: Triple, *, flat: bool = False) -> Array:
    """Sobel's slopes per mm along (z, y, x): ``(3, nz, ny, nx)`` float32; no missing voxels."""
    weights = (1 / spacing[0], 1 / spacing[1], 1 / spacing[2])
    pairs = (SOBEL, SOBEL, SOBEL)
    return derived(volume, pairs, weights, kind=COMPONENTS, deep=not flat and volume.shape[0] > 1)


def laplacian_(volume: Array, spacing: Triple, sigma: Triple, *, flat: bool = False) -> Array:
    """Laplacian of a Gaussian of ``sigma`` voxels, per mm2; missing voxels come out as NaN."""
    values, known = filled(volume)
    a, b, c = (gaussian_pair(s, 2) for s in sigma)
    weights = (1 / spacing[0] ** 2, 1 / spacing[1] ** 2, 1 / spacing[2] ** 2)
    found = derived(values, (a, b, c), weights, kind=SUM, deep=not flat and volume.shape[0] > 1)
    return emptied(found, known)


@numba.njit(inline="always")
def _between(
    size: Array, z: int, p: int, y: int, q: int, x: int, r: int, a: float, b: float, c: float
) -> float:
    """Trilinear between a voxel and the one ``p, q, r`` away, at the shares ``a, b, c``."""
    u, v, w = 1.0 - a, 1.0 - b, 1.0 - c
    near = v * (w * size[z, y, x] + c * size[z, y, r]) + b * (w * size[z, q, x] + c * size[z, q, r])
    far = v * (w * size[p, y, x] + c * size[p, y, r]) + b * (w * size[p, q, x] + c * size[p, q, r])
    return u * near + a * far


@numba.njit(parallel=True, cache=True)
def _thinned(
    slope: Array, size: Array, inverse: Array, low: float, high: float, out: Array
) -> None:
    """1 where the slope is a crest along its own direction and at least ``low``, 2 from ``high``.

    The two neighbours along the gradient lie where it leaves the cube of 26 neighbours; their
    slopes are interpolated on its face.
    """
    nz, ny, nx = size.shape
    for j in numba.prange(nz * ny):
        z = j // ny
        y = j - z * ny
        if y == 0 or y == ny - 1:
            continue
        for x in range(1, nx - 1):
            s = size[z, y, x]
            if not (s >= low and s > 0):
                continue
            dz = np.float64(slope[0, z, y, x]) * inverse[0]
            dy = np.float64(slope[1, z, y, x]) * inverse[1]
            dx = np.float64(slope[2, z, y, x]) * inverse[2]
            up, down, right = 1 if dz >= 0 else -1, 1 if dy >= 0 else -1, 1 if dx >= 0 else -1
            dz, dy, dx = abs(dz), abs(dy), abs(dx)
            share = 1.0 / max(dz, dy, dx)
            a, b, c = dz * share, dy * share, dx * share
            p, q = min(max(z + up, 0), nz - 1), min(max(z - up, 0), nz - 1)
            if _between(size, z, p, y, y + down, x, x + right, a, b, c) > s:
                continue
            if _between(size, z, q, y, y - down, x, x - right, a, b, c) <= s:
                out[z, y, x] = 2 if s >= high else 1


def _sizes(slope: Array) -> Array:
    size = slope[0] * slope[0]
    for k in range(1, len(slope)):
        size += slope[k] * slope[k]
    return np.sqrt(size, out=size)


def crests(slope: Array, spacing: Triple, *, low: float, high: float, flat: bool = False) -> Array:
    """Canny's last two steps: thin lines of greatest slope, kept where they reach ``high``.

    ``slope`` is ``(3, nz, ny, nx)`` per mm. bool ``(nz, ny, nx)``; none on the outer rows and
    columns, as the gradient there has one side only.
    """
    marked = np.zeros(slope.shape[1:], np.uint8)
    _thinned(slope, _sizes(slope), 1 / np.asarray(spacing), low, high, marked)
    parts = [marked[z : z + 1] for z in range(len(marked))] if flat else [marked]
    kept: list[Array] = []
    for part in parts:
        labels, counts = label(part > 0)
        strong = np.zeros(counts.size + 1, bool)
        strong[labels[part == 2]] = True
        strong[0] = False
        kept.append(strong[labels])
    return np.concatenate(kept)


@operation("process.gradient")
def gradient(
    image: Image,
    *,
    sigma: Annotated[
        float,
        Param("Scale: width of the Gaussian; 0: plain differences", unit="mm", minimum=0.0,
              maximum=50.0, step=0.1),
    ] = 1.0,
    method: Annotated[
        Literal["gaussian", "sobel"],
        Param("Derivatives of a Gaussian, or Sobel's 3 x 3 (x 3) differences without a scale"),
    ] = "gaussian",
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Bring out edges: the size of the gradient, per millimetre.

    Shape ``(*leading, nz, ny, nx)``, float32, in the image's unit per mm; missing values stay
    missing and are no edge.
    """
    single_values(image, "process.gradient")
    spacing = image.grid.spacing
    flat = not deep(image, dimensions)
    width = widths(image, sigma, dimensions, operation="process.gradient")

    def run(volume: Array) -> Array:
        if method == "gaussian":
            return gradient_size(volume, spacing, width, flat=flat)
        values, known = filled(volume)
        weights = (1 / spacing[0], 1 / spacing[1], 1 / spacing[2])
        found = derived(values, (SOBEL, SOBEL, SOBEL), weights, kind=MAGNITUDE, deep=not flat)
        return emptied(found, known)

    data = each_volume(image, run, progress=progress, message="gradient")
    return image.with_data(data, unit=_per(image.unit, "mm"))


@operation("process.laplacian")
def laplacian(
    image: Image,
    *,
    sigma: Annotated[
        float, Param("Scale: width of the Gaussian", unit="mm", minimum=0.0, maximum=50.0, step=0.1)
    ] = 1.5,
    normalised: Annotated[
        bool, Param("Times the square of the scale: blobs of any size answer alike")
    ] = False,
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:
    """Bring out blobs and both sides of edges: the Laplacian of a Gaussian.

    Negative in bright blobs, zero on edges. Shape ``(*leading, nz, ny, nx)``, float32, in the
    image's unit per mm2 (its own unit if normalised); missing values stay missing.
    """
    single_values(image, "process.laplacian")
    if normalised and sigma <= 0:
        raise ParameterError("process.laplacian: sigma is 0; normalised needs a positive scale")
    spacing = image.grid.spacing
    flat = not deep(image, dimensions)
    width = widths(image, sigma, dimensions, operation="process.laplacian")
    scale = np.float32(sigma**2 if normalised else 1.0)
    data = each_volume(
        image, lambda v: laplacian_(v, spacing, width, flat=flat) * scale,
        progress=progress, message="Laplacian",
    )  # fmt: skip
    return image.with_data(data, unit=image.unit if normalised else _per(image.unit, "mm2"))


@operation("process.dog")
def dog(
    image: Image,
    *,
    sigma: Annotated[
        float, Param("Detail kept: width of the narrow Gaussian; 0: all", unit="mm", minimum=0.0,
                     maximum=50.0, step=0.1)
    ] = 1.0,
    ratio: Annotated[
        float, Param("Width of the wide Gaussian, in narrow ones", minimum=1.01, maximum=20.0)
    ] = 1.6,
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Keep one band of sizes: the difference of two Gaussians.

    What is finer than ``sigma`` and coarser than ``ratio * sigma`` goes away. Shape
    ``(*leading, nz, ny, nx)``, float32, the image's unit; missing values stay missing.
    """
    single_values(image, "process.dog")
    narrow = widths(image, sigma, dimensions, operation="process.dog")
    broad = widths(image, max(sigma, 0.5) * ratio, dimensions, operation="process.dog")

    def run(volume: Array) -> Array:
        values = np.where(np.isfinite(volume), volume, np.float32(np.nan)).astype(np.float32)
        return smooth(values, narrow) - smooth(values, broad)

    return image.with_data(each_volume(image, run, progress=progress, message="bands"))


@operation("process.canny")
def canny(
    image: Image,
    *,
    sigma: Annotated[
        float, Param("Width of the Gaussian before", unit="mm", minimum=0.0, maximum=50.0, step=0.1)
    ] = 1.5,
    high: Annotated[
        float | None,
        Param("Slope where an edge begins, in the image's unit per mm; none: that of the steepest "
              "tenth of the voxels", minimum=0.0),
    ] = None,
    low: Annotated[
        float | None,
        Param("Slope down to which it is followed; none: 0.4 of the high one", minimum=0.0),
    ] = None,
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Mask:  # fmt: skip
    """Mark edges: thin lines or sheets where the value changes fastest (Canny).

    Gaussian, Sobel's gradient, crests along its direction, and hysteresis between two slopes
    (IEEE TPAMI 8, 1986), in two or three dimensions. Leading axes must be of length one; the mask
    is a labelmap ``(nz, ny, nx)``. Missing values make no edge.
    """
    volume = one_volume(image, "process.canny")
    if low is not None and high is not None and low > high:
        raise ParameterError(f"process.canny: low {low:g} is above high {high:g}")
    spacing = image.grid.spacing
    flat = not deep(image, dimensions)
    values, known = filled(volume)
    progress(0.1, "smoothing")
    width = widths(image, sigma, dimensions, operation="process.canny")
    slope = sobel_components(smooth(values, width), spacing, flat=flat)
    progress(0.5, "crests")
    if high is None:
        some = _sizes(slope.reshape(3, 1, 1, -1)[..., :: max(slope[0].size >> 20, 1)])
        high = max(float(np.quantile(some, 0.9)), low or 0.0, 1e-30)
    low = 0.4 * high if low is None else low
    found = crests(slope, spacing, low=low, high=high, flat=flat)
    if known is not None:
        found &= known
    progress(1.0, "edges")
    note = f"process.canny {low:.4g}..{high:.4g} {image.unit}/mm"
    return mask_of(image, found.astype(np.uint8), (Segment(1, "Edges", algorithm=note),))


def _per(unit: str, length: str) -> str:
    """UCUM of ``unit`` per length; what has none stays without."""
    return f"/{length}" if unit == "1" else f"{unit}/{length}"
