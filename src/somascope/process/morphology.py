"""Morphology with structuring elements in millimetres: balls by distance, boxes by rows.

A binary dilation by a ball is the set of voxels nearer than its radius, so the exact distance
transform does it at a cost that does not grow with the radius. Grey boxes are three passes of van
Herk's and Gil and Werman's running extreme (PRL 13, 1992), three comparisons a voxel whatever the
size.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias

import numba
import numpy as np

from somascope.core import QUIET, Image, Mask, Param, Progress, Segment, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.core.tensors import is_tensor
from somascope.process.chunks import sealed
from somascope.process.components import fill_holes
from somascope.process.distance import distance
from somascope.process.entries import is_colour, real_values

Action: TypeAlias = Literal["dilate", "erode", "open", "close"]
Spacing: TypeAlias = tuple[float, float, float]


def dilated(mask: Array, spacing: Spacing, radius: float) -> Array:
    """Voxels whose centre lies within ``radius`` mm of a voxel centre of ``mask``, bool."""
    if not mask.any():
        return np.zeros(mask.shape, bool)
    return distance(~mask.astype(bool), spacing) <= radius * (1 + 1e-6)


def eroded(mask: Array, spacing: Spacing, radius: float) -> Array:
    """Voxels farther than ``radius`` mm from every voxel outside; beyond the grid is inside."""
    if mask.all():
        return np.ones(mask.shape, bool)
    return distance(mask.astype(bool), spacing) > radius * (1 + 1e-6)


def opened(mask: Array, spacing: Spacing, radius: float) -> Array:
    """What a ball of ``radius`` mm that fits into the mask can cover."""
    return dilated(eroded(mask, spacing, radius), spacing, radius)


def closed(mask: Array, spacing: Spacing, radius: float) -> Array:
    """The mask and the gaps that no ball of ``radius`` mm outside can enter.

    Computed on a grid widened by the radius, so that the border closes nothing.
    """
    pad = [int(np.ceil(radius / s)) + 1 if n > 1 else 0
           for s, n in zip(spacing, mask.shape, strict=True)]  # fmt: skip
    wide = np.pad(mask.astype(bool), [(p, p) for p in pad])
    found = eroded(dilated(wide, spacing, radius), spacing, radius)
    return found[tuple(slice(p, p + n) for p, n in zip(pad, mask.shape, strict=True))]


_ACTIONS = {"dilate": dilated, "erode": eroded, "open": opened, "close": closed}


@operation("process.morphology")
def morphology(
    mask: Mask,
    *,
    action: Annotated[Action, Param("Grow, shrink, drop thin parts, or close gaps")] = "close",
    radius: Annotated[
        float, Param("Of the ball", unit="mm", minimum=0.0, maximum=200.0, step=0.5)
    ] = 2.0,
    holes: Annotated[bool, Param("Also fill enclosed background")] = False,
    progress: Progress = QUIET,
) -> Mask:
    """Grow, shrink, open or close each segment of a mask by a ball in millimetres.

    Segments do not grow into one another in a labelmap: a voxel that two of them claim stays with
    the lower number. Probabilities are taken as inside from a half on.
    """
    act = _ACTIONS[action]
    spacing = mask.grid.spacing
    done: list[Array] = []
    for segment in progress.over(mask.segments, action):
        plane = mask.plane(segment.number)
        inside = plane >= 0.5 if mask.fractional else plane > 0
        found = act(inside, spacing, radius) if radius > 0 else inside.astype(bool)
        done.append(fill_holes(found) if holes else found)
    if mask.data.ndim == 4:
        return replace(mask, data=np.stack(done))
    data = np.zeros(mask.data.shape, mask.data.dtype)
    for segment, inside in reversed(list(zip(mask.segments, done, strict=True))):
        data[inside] = segment.number
    return replace(mask, data=data)


@numba.njit(cache=True)
def _running(lines: Array, radius: int, largest: int, out: Array) -> None:
    """Extreme over ``2 radius + 1`` samples along the first axis of ``(n, m)``, in place of rows.

    Beyond the ends nothing counts.
    """
    n, m = lines.shape
    width = 2 * radius + 1
    total = (n + 2 * radius + width - 1) // width * width
    forward = np.empty((total, m), lines.dtype)
    backward = np.empty((total, m), lines.dtype)
    for k in range(total):
        i = min(max(k - radius, 0), n - 1)
        if k % width == 0:
            forward[k] = lines[i]
        else:
            _extreme(forward[k - 1], lines[i], largest, forward[k])
    for k in range(total - 1, -1, -1):
        i = min(max(k - radius, 0), n - 1)
        if k % width == width - 1:
            backward[k] = lines[i]
        else:
            _extreme(backward[k + 1], lines[i], largest, backward[k])
    for i in range(n):
        _extreme(backward[i], forward[i + 2 * radius], largest, out[i])


@numba.njit(cache=True)
def _extreme(a: Array, b: Array, largest: int, out: Array) -> None:
    if largest:
        for x in range(a.size):
            out[x] = max(a[x], b[x])
    else:
        for x in range(a.size):
            out[x] = min(a[x], b[x])


@numba.njit(parallel=True, cache=True)
def _sweep(volume: Array, radius: int, largest: int, out: Array) -> None:
    """Along the middle axis of ``(planes, n, m)``, in columns that stay in the cache."""
    planes, _, m = volume.shape
    blocks = (m + 63) // 64
    for j in numba.prange(planes * blocks):
        p, x = j // blocks, (j % blocks) * 64
        wide = min(64, m - x)
        lines = volume[p, :, x : x + wide].copy()
        found = np.empty_like(lines)
        _running(lines, radius, largest, found)
        out[p, :, x : x + wide] = found


def extreme(volume: Array, radius: tuple[int, int, int], *, largest: bool) -> Array:
    """Largest (grey dilation) or smallest value in a box of ``2 r + 1`` voxels, dtype kept.

    ``volume`` is ``(nz, ny, nx)`` without NaN.
    """
    if is_tensor(volume):
        from somascope.process import gpu

        return gpu.extreme(volume, radius, largest=largest)  # pyright: ignore[reportArgumentType]
    out = np.ascontiguousarray(volume)
    nz, ny, nx = out.shape
    for axis, r in enumerate(radius):
        if r == 0 or out.shape[axis] == 1:
            continue
        shape = {0: (1, nz, ny * nx), 1: (nz, ny, nx), 2: (1, nx, nz * ny)}[axis]
        given = out.reshape(nz * ny, nx).T.copy() if axis == 2 else out
        found = np.empty(shape, out.dtype)
        _sweep(sealed(given.reshape(shape)), r, int(largest), found)
        out = found[0].T.copy().reshape(nz, ny, nx) if axis == 2 else found.reshape(nz, ny, nx)
    return out


@operation("process.grey_morphology")
def grey_morphology(
    image: Image,
    *,
    action: Annotated[
        Literal["dilate", "erode", "open", "close", "top_hat", "bottom_hat", "gradient"],
        Param("Largest or smallest neighbour, both in turn, or what they take away"),
    ] = "top_hat",
    size: Annotated[float, Param("Edge of the box", unit="mm", minimum=0.1, maximum=200.0)] = 9.0,
    dimensions: Annotated[
        Literal["volume", "slice"], Param("In three dimensions, or each slice by itself")
    ] = "volume",
    progress: Progress = QUIET,
) -> Image:
    """Take small bright or dark things out of an image, or show only them.

    ``open`` drops what is brighter and smaller than the box, ``close`` what is darker;
    ``top_hat`` and ``bottom_hat`` show what was dropped; ``gradient`` is dilation less erosion.
    Shape and dtype as they came (float64 becomes float32); missing values count for nothing and
    stay missing.
    """
    real_values(image, "process.grey_morphology")
    if is_colour(image):
        raise ParameterError(
            "process.grey_morphology needs single values and this image is in colour"
        )
    r = [max(round((size / s - 1) / 2), 0) for s in image.grid.spacing]
    radius = (r[0] if dimensions == "volume" else 0, r[1], r[2])
    volumes = image.data.reshape(-1, *image.grid.shape)
    done = [_acted(v, action, radius) for v in progress.over(volumes, action)]
    return image.with_data(np.stack(done).reshape(image.data.shape))


def _acted(volume: Array, action: str, radius: tuple[int, int, int]) -> Array:
    floating = volume.dtype.kind == "f"
    if floating:
        volume = volume.astype(np.float32, copy=False)
    missing = np.isnan(volume) if floating else None

    def swept(v: Array, *, largest: bool) -> Array:
        if missing is not None and missing.any():
            v = np.where(missing, np.float32(-np.inf if largest else np.inf), v)
        return extreme(v, radius, largest=largest)

    match action:
        case "dilate":
            found: Any = swept(volume, largest=True)
        case "erode":
            found = swept(volume, largest=False)
        case "open" | "top_hat":
            found = swept(swept(volume, largest=False), largest=True)
        case "close" | "bottom_hat":
            found = swept(swept(volume, largest=True), largest=False)
        case _:
            found = _less(swept(volume, largest=True), swept(volume, largest=False))
    if action == "top_hat":
        found = _less(volume, found)
    elif action == "bottom_hat":
        found = _less(found, volume)
    if missing is not None and missing.any():
        found = np.where(missing, np.float32(np.nan), found)
    return found


def _less(a: Array, b: Array) -> Array:
    """``a - b`` of values ``a >= b``, within what the type can hold."""
    if a.dtype.kind in "iu":
        wide = a.astype(np.int64) - b.astype(np.int64)
        return np.minimum(wide, np.iinfo(a.dtype).max).astype(a.dtype)
    with np.errstate(invalid="ignore"):
        # Infinities are extremes like any other: of two equal ones nothing is left.
        return np.where(a == b, np.float32(0), a.astype(np.float32) - b.astype(np.float32))


def skeleton(mask: Array) -> Array:
    """The centre lines of a bool volume ``(nz, ny, nx)``, one voxel wide (Lee et al. 1994).

    Every body keeps a line.
    """
    from scipy.ndimage import find_objects
    from skimage.morphology import skeletonize

    from somascope.process.components import label as components

    if mask.shape[0] == 1:
        return skeletonize(mask[0], method="lee")[None].astype(bool)
    out = skeletonize(mask).astype(bool)
    parts, counts = components(mask, connectivity=26)
    lost = np.ones(counts.size + 1, bool)
    lost[np.unique(parts[out])] = False
    if not lost[1:].any():
        return out
    # scikit-image deletes tubes of even width; halfway voxels make every width odd.
    for number, box in enumerate(find_objects(parts), start=1):
        if lost[number]:
            thin = skeletonize(np.pad(_halved(parts[box] == number), 1))
            out[box][tuple(((np.argwhere(thin) - 1) // 2).T)] = True
    return out


def _halved(body: Array) -> Array:
    """A bool volume with a voxel halfway between any two, inside where both are."""
    for axis in range(body.ndim):
        wide = np.moveaxis(body, axis, 0)
        finer = np.zeros((2 * len(wide) - 1, *wide.shape[1:]), bool)
        finer[::2] = wide
        finer[1::2] = wide[1:] & wide[:-1]
        body = np.moveaxis(finer, 0, axis)
    return np.ascontiguousarray(body)


@operation("process.skeleton")
def skeleton_(mask: Mask, *, progress: Progress = QUIET) -> Mask:
    """Thin every segment of a mask to its centre lines.

    By voxels, every body keeps a line: resample elongated voxels first. Branches whose width is an
    even number of voxels may come out shorter. One bool plane per segment.
    """
    planes = [
        skeleton(mask.plane(s.number) >= 0.5 if mask.fractional else mask.plane(s.number) > 0)
        for s in progress.over(mask.segments, "thinning")
    ]
    segments = tuple(
        Segment(s.number, f"{s.label} centre line"[:64], s.concept, "process.skeleton", s.colour)
        for s in mask.segments
    )
    return replace(mask, data=np.stack(planes), segments=segments)
