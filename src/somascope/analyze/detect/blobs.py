"""`detect.blobs`: bright or dark bodies of any size, where they are and how large.

The Laplacian of a Gaussian times the square of its width is largest in the middle of a ball when
the width is its radius over the root of the number of dimensions (Lindeberg, IJCV 30 (1998)
79-116). Responses are given as the contrast that a ball of that size would have, in the image's
unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.analyze.segment.seeds import on_grid, volume_of
from somascope.core import (
    QUIET,
    Box,
    Code,
    Image,
    Mask,
    Measurement,
    Param,
    Progress,
    Tracking,
    operation,
)
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.io.dicom import uid
from somascope.process.entries import inside as covered
from somascope.process.filters import smooth
from somascope.process.measured import measured
from somascope.process.morphology import extreme

_NAME = "detect.blobs"

Method: TypeAlias = Literal["log", "dog", "hessian"]
Triple: TypeAlias = tuple[float, float, float]

BLOB = Code("BLOB", "99SOMASCOPE", "Blob")
DIAMETER = Code("81827009", "SCT", "Diameter")
CONTRAST = Code("BLOB_CONTRAST", "99SOMASCOPE", "Contrast to the surroundings")

_AT_ONCE = 1 << 14
"""Tops that are refined together."""

FINEST = 0.7
"""Narrowest Gaussian in voxels: narrower ones are no Gaussians on the voxels any more."""


@dataclass(frozen=True, eq=False)
class Blobs:
    """Places ``(n, 3)`` in fractional (z, y, x) indices, diameters in mm, contrasts; best first."""

    index: Float
    diameter: Float
    contrast: Float

    def __len__(self) -> int:
        return len(self.diameter)

    def kept(self, which: Array) -> Blobs:
        """Some of them."""
        return Blobs(self.index[which], self.diameter[which], self.contrast[which])


def widths_for(smallest: float, largest: float, step: float, dimensions: int) -> Float:
    """Widths in mm of the scale space, one beyond each end so that ends can be tops."""
    low, high = (d / 2 / math.sqrt(dimensions) for d in (smallest, largest))
    n = max(math.ceil(math.log(high / low) / math.log(step)), 1)
    return np.asarray(low * step ** np.arange(-1, n + 2), np.float64)


def response(values: Array, spacing: Triple, width: float, *, method: Method, step: float) -> Array:
    """Response to bright balls at one width (mm), as the contrast of the ball that fits it.

    ``values`` ``(nz, ny, nx)`` float32; a single slice is taken in its plane.
    """
    deep = sum(n > 1 for n in values.shape)
    sigma: Triple = tuple(  # pyright: ignore[reportAssignmentType]
        width / s if n > 1 else 0.0 for s, n in zip(spacing, values.shape, strict=True)
    )
    if method == "dog":
        # Of two widths around this one; their mean square is that of the Laplacian between.
        t = 2 * math.log(step) * step**2 / (step**2 - 1)
        narrow = 1 / math.sqrt(t)
        z, y, x = (s * narrow for s in sigma)
        radius = math.sqrt(deep * t)
        share = _within(radius, deep) - _within(radius / step, deep)
        return (
            smooth(values, (z, y, x)) - smooth(values, (z * step, y * step, x * step))
        ) / np.float32(share)
    blurred = smooth(values, sigma)
    axes = [a for a, n in enumerate(values.shape) if n > 1]
    slopes = {a: np.gradient(blurred, spacing[a], axis=a) for a in axes} if method != "log" else {}
    curves = {a: _second(blurred, a, spacing[a]) for a in axes}
    # Of a ball of contrast 1 whose radius is the width times the root of the dimensions.
    half = deep / 2
    full = 2 * half**half * math.exp(-half) / math.gamma(half)
    scale = np.float32(width**2 / full)
    if method == "log":
        return -scale * sum(curves.values())  # pyright: ignore[reportReturnType]
    found = _determinant(curves, slopes, spacing, axes)
    bright = np.logical_and.reduce([c < 0 for c in curves.values()])
    size = np.where(bright, np.maximum(found, 0), 0) ** np.float32(1 / deep)
    return (scale * np.float32(deep)) * size


def _within(radius: float, dimensions: int) -> float:
    """Share of a normal distribution of width 1 within ``radius``."""
    from scipy.special import gammainc

    return float(gammainc(dimensions / 2, radius**2 / 2))


def _second(v: Array, axis: int, edge: float) -> Array:
    """Second difference along an axis; 0 in the outermost voxels."""
    out = np.zeros_like(v)
    at = [slice(None)] * 3
    ahead, behind = at.copy(), at.copy()
    at[axis], ahead[axis], behind[axis] = slice(1, -1), slice(2, None), slice(0, -2)
    out[tuple(at)] = (v[tuple(ahead)] - 2 * v[tuple(at)] + v[tuple(behind)]) / np.float32(edge**2)
    return out


def _determinant(
    curves: dict[int, Array], slopes: dict[int, Array], spacing: Triple, axes: list[int]
) -> Array:
    """Of minus the Hessian."""
    mixed = {
        (a, b): np.gradient(slopes[a], spacing[b], axis=b) for a in axes for b in axes if a < b
    }
    if len(axes) == 1:
        return -curves[axes[0]]
    if len(axes) == 2:
        a, b = axes
        return curves[a] * curves[b] - mixed[a, b] ** 2
    zz, yy, xx = (curves[a] for a in axes)
    zy, zx, yx = mixed[0, 1], mixed[0, 2], mixed[1, 2]
    return -(zz * (yy * xx - yx**2) - zy * (zy * xx - yx * zx) + zx * (zy * yx - yy * zx))


def find(
    values: Array,
    spacing: Triple,
    *,
    smallest: float,
    largest: float,
    contrast: float,
    method: Method = "log",
    step: float = 1.25,
    inside: Array | None = None,
    most: int | None = None,
    progress: Progress = QUIET,
) -> Blobs:
    """Bright blobs of ``smallest`` to ``largest`` mm in diameter, the strongest first.

    A blob is a top of the response among its neighbours in space and scale, at least ``contrast``
    high; place and size are those of the paraboloid through them. Of two whose middles lie within
    the larger one's radius the stronger is kept; ``most`` are told.
    """
    deep = sum(n > 1 for n in values.shape)
    widths = widths_for(smallest, largest, step, deep)
    radius: tuple[int, int, int] = tuple(int(n > 1) for n in values.shape)  # pyright: ignore[reportAssignmentType]
    layers: list[tuple[Array, Array]] = []
    rows: list[Array] = []
    for k, width in enumerate(widths):
        progress(k / len(widths), f"width {width:.3g} mm")
        made = np.ascontiguousarray(
            response(values, spacing, float(width), method=method, step=step), np.float32
        )
        layers.append((made, extreme(made, radius, largest=True)))
        if len(layers) < 3:
            continue
        (low, low_top), (here, here_top), (high, high_top) = layers
        top = (here >= here_top) & (here > low_top) & (here >= high_top) & (here >= contrast)
        if inside is not None:
            top &= inside
        rows.append(_refined((low, here, high), np.argwhere(top), k - 1))
        layers.pop(0)
    found = np.concatenate(rows)
    diameters = 2 * math.sqrt(deep) * widths[0] * step ** found[:, 3]
    order = np.lexsort((*found[:, :3].T, -found[:, 4]))
    made_ = Blobs(found[:, :3], diameters, found[:, 4]).kept(order)
    return made_.kept(_apart(made_, spacing, most))


def _refined(layers: tuple[Array, Array, Array], places: Array, k: int) -> Float:
    """Place, number of the width, and height of the paraboloid's top about each of ``(n, 3)``."""
    parts = [_tops(layers, places[i : i + _AT_ONCE], k) for i in range(0, len(places), _AT_ONCE)]
    return np.concatenate(parts) if parts else np.empty((0, 5))


def _tops(layers: tuple[Array, Array, Array], places: Array, k: int) -> Float:
    shape = np.array(layers[1].shape)
    around = places[:, :, None] + np.arange(-1, 2)
    z, y, x = np.moveaxis(np.clip(around, 0, shape[:, None] - 1), 1, 0)
    at = (z[:, :, None, None], y[:, None, :, None], x[:, None, None, :])
    block = np.stack([v[at] for v in layers], axis=-1).astype(np.float64)
    middle = block[:, 1, 1, 1, 1]
    unit = np.eye(4, dtype=int)

    def of(offset: Array) -> Float:
        a, b, c, d = 1 + offset
        return block[:, a, b, c, d]

    inside = (places > 0) & (places < shape - 1)
    free = np.concatenate([inside, np.ones((len(places), 1), bool)], axis=1)
    slope = np.zeros((len(places), 4))
    curve = np.zeros((len(places), 4, 4))
    for a in range(4):
        slope[:, a] = 0.5 * (of(unit[a]) - of(-unit[a]))
        curve[:, a, a] = of(unit[a]) - 2 * middle + of(-unit[a])
        for b in range(a + 1, 4):
            both, apart = unit[a] + unit[b], unit[a] - unit[b]
            curve[:, a, b] = curve[:, b, a] = 0.25 * (of(both) - of(apart) - of(-apart) + of(-both))
    # At the image's border a top does not move across: the axis goes by itself, with no slope.
    slope[~free] = 0
    curve *= free[:, :, None] & free[:, None, :]
    curve[:, range(4), range(4)] -= ~free * np.maximum(np.abs(middle), 1)[:, None]
    moved = np.zeros((len(places), 4))
    round_ = np.linalg.eigvalsh(curve)[:, -1] < -1e-12 * np.abs(middle)
    found = np.linalg.solve(curve[round_], slope[round_][:, :, None])[:, :, 0]
    moved[round_] = np.clip(-found, -1, 1)
    height = middle + 0.5 * (slope * moved).sum(axis=1)
    return np.column_stack([places + moved[:, :3], k + moved[:, 3], height])


def _apart(blobs: Blobs, spacing: Triple, most: int | None = None) -> Array:
    """Numbers of the (at ``most``) strongest blobs that no stronger one covers."""
    from scipy.spatial import KDTree

    if not len(blobs):
        return np.empty(0, np.int64)
    places = blobs.index * np.asarray(spacing)
    tree = KDTree(places)
    gone = np.zeros(len(blobs), bool)
    kept: list[int] = []
    half = 0.5 * blobs.diameter
    reach = float(half.max())
    for k in range(len(blobs)):
        if gone[k]:
            continue
        kept.append(k)
        if most is not None and len(kept) >= most:
            break
        near = np.asarray(tree.query_ball_point(places[k], reach), np.int64)
        near = near[near > k]
        away = np.linalg.norm(places[near] - places[k], axis=1)
        gone[near[away < np.maximum(half[near], half[k])]] = True
    return np.asarray(kept, np.int64)


@operation(_NAME)
def blobs(
    image: Image,
    *within: Mask,
    smallest: Annotated[
        float, Param("Smallest diameter", unit="mm", minimum=0.1, maximum=500.0)
    ] = 4.0,
    largest: Annotated[
        float, Param("Largest diameter", unit="mm", minimum=0.1, maximum=500.0)
    ] = 20.0,
    contrast: Annotated[
        float | None,
        Param("Least difference to the surroundings, in the image's unit; none: a quarter of the "
              "strongest", minimum=0.0),
    ] = None,
    side: Annotated[Literal["bright", "dark"], Param("Brighter or darker than around")] = "bright",
    method: Annotated[
        Method, Param("Laplacian of a Gaussian, difference of Gaussians, or the Hessian's "
                      "determinant, which answers less to edges and tubes")
    ] = "log",
    most: Annotated[int, Param("How many are told, the strongest first", minimum=1,
                               maximum=10000)] = 100,
    label: Annotated[str, Param("Name of each")] = "Blob",
    progress: Progress = QUIET,
) -> list[Box | Measurement]:  # fmt: skip
    """Find blobs: where each is, how large, and how much it stands out.

    For each a box about the ball that fits it, its diameter (mm) and its contrast (the
    image's unit), which share a tracking identifier; the strongest first. Places are finer than a
    voxel. Only blobs whose middle lies within the mask, if one is given, are told. Nothing found
    is an empty list.

    Raises
    ------
    GeometryError
        The mask lies on another grid.
    ParameterError
        The image is constant, ``smallest`` is above ``largest``, or too small for the voxels.
    """
    values, known = volume_of(image, _NAME)
    spacing = image.grid.spacing
    deep = sum(n > 1 for n in values.shape)
    if smallest >= largest:
        raise ParameterError(
            f"{_NAME}: smallest is {smallest:g} and largest {largest:g} mm; give a range"
        )
    edge = max(s for s, n in zip(spacing, values.shape, strict=True) if n > 1)
    least = 2 * math.sqrt(deep) * FINEST * edge
    if largest < least:
        raise ParameterError(
            f"{_NAME}: blobs of {largest:g} mm are too small for voxels of {edge:g} mm; look for "
            f"{least:.3g} mm or more, or resample the image"
        )
    mask = on_grid(image, within, _NAME)
    inside = known if mask is None else known & covered(mask)
    up = values if side == "bright" else -values
    if not known.all():
        up[~known] = float(np.median(up[known]))
    found = find(
        up, spacing, smallest=max(smallest, least), largest=largest, contrast=contrast or 0.0,
        method=method, inside=inside, most=most, progress=progress,
    )  # fmt: skip
    if contrast is None and len(found):
        found = found.kept(found.contrast >= 0.25 * found.contrast[0])
    progress(1.0, f"{len(found)} blobs")
    return [m for k in range(min(len(found), most)) for m in _findings(image, found, k, label)]


def _findings(image: Image, found: Blobs, k: int, label: str) -> list[Box | Measurement]:
    names = [s.name for s in image.provenance.sources] or ["unnamed"]
    place = ",".join(f"{v:.3f}" for v in found.index[k])
    tracking = Tracking(uid.derive("blob", *names, place), f"{label} {k + 1}")
    half = 0.5 * found.diameter[k] / np.asarray(image.grid.spacing)
    half = np.where(np.array(image.grid.shape) > 1, half, 0)
    low = np.maximum(found.index[k] - half, -0.5)
    high = np.minimum(found.index[k] + half, np.array(image.grid.shape) - 0.5)
    a, b, c = (float(v) for v in low)
    d, e, f = (float(v) for v in high)
    box = Box(
        concept=BLOB, confidence=float(min(found.contrast[k] / max(found.contrast[0], 1e-30), 1.0)),
        grid=image.grid, lower=(a, b, c), upper=(d, e, f),
        on=tuple(u for s in image.provenance.sources for u in s.uids), tracking=tracking,
        provenance=image.provenance, attributes=dict(image.attributes),
    )  # fmt: skip
    numbers = [
        measured(image, code.meaning, value, unit, code=code)
        for code, value, unit in (
            (DIAMETER, found.diameter[k], "mm"), (CONTRAST, found.contrast[k], image.unit)
        )
    ]  # fmt: skip
    return [box, *(replace(m, tracking=tracking) for m in numbers)]
