"""Where the current image holds what the prior one did not: subtraction that forgives misfits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Grid
from somascope.process.components import label as components
from somascope.process.distance import distance

REACH = 14.0
"""mm within which a new body has to end, around the place that has changed."""

SLACK = 0.5
"""mm of misfit beyond the tolerance that count as noise where the prior image is steep."""
STRAY = 10.0
"""mm by which a registration may have missed a body that it is then taken to know."""
RIM = 4.0
"""mm around a body that are compared with it."""
UNLIKE = 0.35
"""Share of the variance of a body and its rim that a known one may differ by."""

Polarity: TypeAlias = Literal["brighter", "darker", "both"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A place that has changed: its voxels ``(nz, ny, nx)`` bool, volume in mm3, strongest z."""

    inside: Array
    volume: float
    strength: float


def noise(values: Array, inside: Array) -> float:
    """Standard deviation of the noise: robust, from differences of neighbours along x.

    The second difference of white noise has six times its variance; edges are outliers to the
    median.
    """
    second = values[..., 2:] - 2 * values[..., 1:-1] + values[..., :-2]
    good = inside[..., 2:] & inside[..., 1:-1] & inside[..., :-2]
    kept = second[good]
    if kept.size < 16:
        return 0.0
    return float(1.4826 * np.median(np.abs(kept - np.median(kept))) / np.sqrt(6))


def newness(
    current: Array,
    carried: Array,
    grid: Grid,
    *,
    tolerance: float = 4.0,
    blur: float = 1.5,
    polarity: Polarity = "both",
    least: float = 0.0,
) -> Array:
    """How many standard deviations of noise (z) the images differ by beyond any misfit, float32.

    A misfit of up to ``tolerance`` mm explains nothing away that is larger than it.

    Both images are smoothed (``blur`` mm); a voxel counts only by how far it lies above the highest
    (or below the lowest) value that the prior image has within ``tolerance`` of its place. That is
    divided by the noise of the smoothed current image and, beside edges, `SLACK` mm of their slope.
    Positive where the current image is brighter, negative where darker; 0 where the prior image
    does not reach.

    Parameters
    ----------
    current, carried
        ``(nz, ny, nx)`` in one unit; ``carried``: the prior image on the current grid, NaN outside.
    least
        Noise is taken to be no less, in the images' unit: for images without any.
    """
    from scipy.ndimage import gaussian_filter, grey_dilation, grey_erosion

    known = np.isfinite(carried) & np.isfinite(current)
    if not known.any():
        raise ParameterError("the prior image does not reach into the current one: nothing to say")
    sigma = [blur / d if n > 1 else 0.0 for d, n in zip(grid.spacing, grid.shape, strict=True)]
    one = np.where(known, current, np.median(current[known])).astype(np.float32)
    two = np.where(known, carried, np.median(current[known])).astype(np.float32)
    one, two = (gaussian_filter(v, sigma, mode="nearest") for v in (one, two))
    spread = max(noise(one, known), noise_after(current, known, sigma), least, 1e-6)
    ball = _ball(grid, tolerance)
    high = grey_dilation(two, footprint=ball, mode="nearest")
    low = grey_erosion(two, footprint=ball, mode="nearest")
    # Beside steep edges a misfit beyond the tolerance is worth more than the noise.
    slopes = [np.gradient(two, d, axis=a) for a, d in enumerate(grid.spacing) if two.shape[a] > 1]
    steep = np.sqrt(np.sum([s**2 for s in slopes], axis=0))
    spread = np.hypot(spread, SLACK * grey_dilation(steep, footprint=ball, mode="nearest"))
    found = np.zeros(grid.shape, np.float32)
    if polarity in ("brighter", "both"):
        found += np.maximum(one - high, 0) / spread
    if polarity in ("darker", "both"):
        found -= np.maximum(low - one, 0) / spread
    found[_edge(known, ball)] = 0
    return found


def noise_after(values: Array, known: Array, sigma: list[float]) -> float:
    """The noise that is left of white noise after smoothing by ``sigma`` voxels."""
    left = noise(np.asarray(values, np.float32), known)
    for s in sigma:
        if s > 0:
            x = np.arange(-int(4 * s + 1), int(4 * s + 2))
            w = np.exp(-0.5 * (x / s) ** 2)
            left *= float(np.sqrt((w**2).sum()) / w.sum())
    return left


def candidates(
    z: Array,
    current: Array,
    carried: Array,
    grid: Grid,
    *,
    threshold: float = 6.0,
    minimum: float = 113.0,
    tolerance: float = 4.0,
) -> list[Candidate]:
    """Bodies that are new, the largest first: each whole, outlined by half of its contrast.

    Where z is beyond ``threshold`` something has changed. It is a new body where it ends within
    `REACH` of there (an organ or a wall that was met elsewhere goes on), is no smaller than
    ``minimum`` mm3, and where no body of its size has left a place nearby: that one has moved.
    """
    found: list[Candidate] = []
    known = np.isfinite(carried)
    filled = np.where(known, carried, current)
    for sign in (1.0, -1.0):
        labels, counts = components(sign * z > threshold)
        one, two = sign * current, sign * filled
        for i in range(len(counts)):
            if counts[i] * grid.voxel_volume < minimum / 8:
                break  # the largest come first
            box = _around(labels == i + 1, grid, REACH)
            core = labels[box] == i + 1
            strong = core & (sign * z[box] >= 0.5 * (sign * z[box])[core].max())
            body = _body(strong, one[box], two[box], grid, tolerance)
            # Beside where an image ends it may have come from beyond.
            if body is not None and _at_end(body, known[box], box, grid):
                continue
            if body is None or body.sum() * grid.voxel_volume < minimum:
                continue
            inside = np.zeros(grid.shape, bool)
            inside[box] = body
            if any((inside & c.inside).any() for c in found):
                continue
            strength = float((sign * z[box])[core].max())
            found.append(Candidate(inside, float(body.sum()) * grid.voxel_volume, strength))
    return sorted(found, key=lambda c: -c.volume)


def _at_end(body: Array, known: Array, box: tuple[slice, ...], grid: Grid) -> bool:
    at = np.argwhere(body)
    low, high = at.min(axis=0), at.max(axis=0)
    ends = [
        n > 1 and (b.start + int(p) == 0 or b.start + int(q) == n - 1)
        for n, b, p, q in zip(grid.shape, box, low, high, strict=True)
    ]
    return any(ends) or bool((away(~known, grid)[body] <= STRAY).any())


def _body(
    core: Array, current: Array, carried: Array, grid: Grid, tolerance: float
) -> Array | None:
    """The body that ``core``, its brightest part, is of; None where it is no new one."""
    limit = 0.5 * (float(np.median(current[core])) + float(np.median(carried[core])))
    near = away(core, grid)
    is_, was = current > limit, carried > limit
    labels, _ = components(is_ & (near <= REACH))
    body = np.isin(labels, np.unique(labels[core & is_])) & (labels > 0)
    if not body.any() or (body & (near > REACH - 1.5 * max(grid.spacing[1:]))).any():
        return None
    left = was & (away(is_, grid) > tolerance)
    if (left & (near <= REACH)).sum() >= 0.3 * body.sum():
        return None
    # What was there before, within the tolerance, is no more than half of it.
    old = body & (away(was, grid) <= tolerance)
    if old.sum() > 0.6 * body.sum() or _elsewhere(body, current, carried, grid):
        return None
    return body


def _elsewhere(body: Array, current: Array, carried: Array, grid: Grid) -> bool:
    """Whether the prior image shows the same body and its rim at a place within `STRAY`.

    A registration that misses by that much is a likelier reason than a new body: the best shift
    leaves less than `UNLIKE` of the variance that is there.
    """
    near = away(body, grid) <= RIM
    at = np.argwhere(near)
    low, high = at.min(axis=0), at.max(axis=0) + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    weight = near[box].astype(np.float64)
    values = current[box].astype(np.float64)
    total = weight.sum()
    spread = float((weight * values**2).sum() / total - ((weight * values).sum() / total) ** 2)
    more = [
        min(int(np.ceil(STRAY / d)), int(a), int(n - b)) if n > 1 else 0
        for d, n, a, b in zip(grid.spacing, near.shape, low, high, strict=True)
    ]
    wide = tuple(slice(int(a) - m, int(b) + m) for a, b, m in zip(low, high, more, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(carried[wide], values.shape)
    # One shift at a time: all of them at once are the body a thousand times over.
    for at_shift in np.ndindex(windows.shape[:3]):
        apart = windows[at_shift] - values
        weighted = weight * apart
        mean = weighted.sum() / total
        if float((weighted * apart).sum() / total - mean**2) < UNLIKE * spread:
            return True
    return False


def _around(inside: Array, grid: Grid, by: float) -> tuple[slice, ...]:
    box: list[slice] = []
    for axis, (n, d) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
        used = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        more = int(np.ceil(by / d)) + 1
        box.append(slice(max(0, int(used[0]) - more), min(n, int(used[-1]) + 1 + more)))
    return tuple(box)


def away(inside: Array, grid: Grid) -> Array:
    """Distance in mm of each voxel from the nearest one of ``inside``; infinite without any."""
    if not inside.any():
        return np.full(inside.shape, np.inf)
    return np.asarray(distance(~inside, grid.spacing))


def _ball(grid: Grid, radius: float) -> Array:
    reach = [
        int(np.ceil(radius / d)) if n > 1 else 0
        for d, n in zip(grid.spacing, grid.shape, strict=True)
    ]
    axes = np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij")
    away = np.einsum("ij,jzyx->izyx", grid.affine[:3, :3], np.stack(axes).astype(np.float64))
    # At least the neighbours: a misfit of less than a voxel is a misfit too.
    return np.linalg.norm(away, axis=0) <= max(radius, *grid.spacing[1:])


def _edge(known: Array, ball: Array) -> Array:
    """Where the prior image ends within the tolerance: nothing can be said there."""
    from scipy.ndimage import binary_erosion

    return np.logical_not(binary_erosion(known, structure=ball, border_value=1))
