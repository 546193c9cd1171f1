"""`segment.grow`: region growing that learns what it grows in, and says where it would leak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from somascope.analyze.segment.choices import Name, Neighbours, Points
from somascope.analyze.segment.cut import neighbours
from somascope.analyze.segment.flood_kernels import eased
from somascope.analyze.segment.models import noise
from somascope.analyze.segment.seeds import marked, region, volume_of
from somascope.core import QUIET, Box, Code, Image, Label, Mask, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.components import fill_holes as filled
from somascope.process.components import label as components
from somascope.process.distance import distance

_NAME = "segment.grow"

LEAK = Code("GROWTH_LEAK", "99SOMASCOPE", "Leak that growth was stopped at")

LEVELS = 1000
"""Tolerances that are told apart."""

_JUDGED = 1.0
"""Standard deviations below which a region is not yet itself: jumps there are its own."""

_REACH = 2.0
"""Voxels about the marks whose values are learned first."""


@dataclass(frozen=True, eq=False)
class Leak:
    """Voxels ``(n, 3)`` of the passage, what lies beyond (bool), and the tolerance it opens at."""

    passage: Array
    beyond: Array
    tolerance: float


def flood(cost: Array, seeds: Array, *, connectivity: int = 6) -> tuple[Array, Array]:
    """Level that every voxel is reached at from ``seeds`` when the easiest way is gone first.

    Parameters
    ----------
    cost
        ``(nz, ny, nx)`` int32, at most `LEVELS` - 1, or -1 for a wall.
    seeds
        bool.

    Returns
    -------
    tuple
        Levels int32 (-1: not reached), and the flat index of each one's gate: the voxel that
        needed this level and through which it was reached.
    """
    steps, _ = neighbours(cost.shape, (1.0, 1.0, 1.0), connectivity)
    wide = np.pad(cost, 1, constant_values=-1).reshape(-1)
    level = np.pad(np.where(seeds, 0, -1).astype(np.int32), 1, constant_values=-1)
    gate = np.full(level.shape, -1, np.int32)
    eased(wide, steps, level.reshape(-1), gate.reshape(-1), LEVELS)
    inner = (slice(1, -1), slice(1, -1), slice(1, -1))
    # From the padded volume's numbers to the volume's.
    z, y, x = (i - 1 for i in np.unravel_index(np.maximum(gate[inner], 0), gate.shape))
    _, ny, nx = cost.shape
    return level[inner], np.where(gate[inner] >= 0, (z * ny + y) * nx + x, -1)


def leaking(level: Array, gate: Array, *, first: int, share: float) -> tuple[int, int]:
    """The lowest level from ``first`` on with a gate behind which there is more than ``share`` of
    the region so far; and that gate. -1, -1: none.
    """
    reached = level >= 0
    before = np.concatenate([[0], np.cumsum(np.bincount(level[reached], minlength=LEVELS))])
    gates, sizes = np.unique(gate[reached], return_counts=True)
    at = level.reshape(-1)[gates]
    leaks = (at >= first) & (sizes > share * np.maximum(before[at], 1))
    if not leaks.any():
        return -1, -1
    k = int(np.argmin(np.where(leaks, at, LEVELS)))
    return int(at[k]), int(gates[k])


@operation(_NAME)
def grow(
    image: Image,
    *scribbles: Mask,
    points: Points = (),
    lower: Annotated[
        float | None, Param("Smallest value inside, in the image's unit; none: no limit")
    ] = None,
    upper: Annotated[
        float | None, Param("Largest value inside, in the image's unit; none: no limit")
    ] = None,
    tolerance: Annotated[
        float, Param("Standard deviations from the region's mean that still belong to it, where "
                     "no limits are given", minimum=0.1, maximum=20.0)
    ] = 2.5,
    rounds: Annotated[
        int, Param("Times mean and deviation are learned again from the region", minimum=0,
                   maximum=50, advanced=True)
    ] = 3,
    leak: Annotated[
        Literal["stop", "ignore"],
        Param("Stop where the region would suddenly become much larger, or do not mind"),
    ] = "stop",
    jump_share: Annotated[
        float, Param("How much larger at once is a leak: share of the region so far", minimum=0.01,
                     maximum=100.0, advanced=True)
    ] = 0.5,
    neck: Annotated[
        float, Param("Passages narrower than this are closed; 0: none", unit="mm", minimum=0.0,
                     maximum=100.0, step=0.5)
    ] = 0.0,
    fill_holes: Annotated[bool, Param("Add what is enclosed")] = False,
    connectivity: Neighbours = 6,
    label: Name = "Region",
    progress: Progress = QUIET,
) -> list[Mask | Box | Label]:  # fmt: skip
    """Grow a region from points or scribbles over what is like it, and stop where it leaks.

    Without limits the mean and deviation are learned from the marks and then from the region,
    round by round. The flood goes the easiest way first: the step of tolerance at which the region
    suddenly becomes much larger is a leak, and the region ends before it. With ``neck`` narrow
    passages are closed, within limits too. The mask is followed, for each leak, by a box about
    the passage and a label that says where it is and what would have been added.

    Raises
    ------
    GeometryError
        The scribbles lie on another grid.
    ParameterError
        Nothing is marked, a mark lies outside of the image or of the limits, or the image is
        constant.
    """
    values, known = volume_of(image, _NAME)
    if lower is not None and upper is not None and lower > upper:
        raise ParameterError(f"{_NAME}: lower {lower:g} is above upper {upper:g}")
    seeds = marked(image, scribbles, known, operation=_NAME, points=points, label=label).labels > 0
    progress(0.05, "learning")
    least = noise(values, known)
    limits = lower is not None or upper is not None
    leaks: list[Leak] = []
    if limits:
        low, high = (-np.inf if lower is None else lower), (np.inf if upper is None else upper)
        allowed = known & (values >= np.float32(low)) & (values <= np.float32(high))
        if not (allowed & seeds).any():
            raise ParameterError(
                f"{_NAME}: no mark has a value from {low:g} to {high:g} {image.unit}; move the "
                "marks or widen the limits"
            )
        inside = _joined(allowed, seeds, connectivity)
        note = f"{low:g}..{high:g} {image.unit}"
    else:
        mean, sd = _around(values, seeds, known, least)
        inside = seeds
        for turn in range(rounds + 1):
            cost = _cost(values, known, mean, sd, tolerance, seeds)
            level, gate = flood(cost, seeds, connectivity=connectivity)
            at, way = -1, -1
            if leak == "stop":
                first = int(_JUDGED / tolerance * LEVELS)
                at, way = leaking(level, gate, first=first, share=jump_share)
            inside = (level >= 0) & (level < at) if at >= 0 else level >= 0
            progress(0.1 + 0.7 * (turn + 1) / (rounds + 1), f"round {turn + 1}")
            leaks = []
            if at >= 0:
                passage = np.array(np.unravel_index(way, level.shape))[None]
                leaks = [Leak(passage, gate == way, tolerance * at / LEVELS)]
            again = _moments(values[inside], least)
            if np.allclose(again, (mean, sd), rtol=1e-3, atol=1e-3 * sd):
                break
            mean, sd = again
        note = f"mean {mean:.6g} sd {sd:.4g} {image.unit}"
    if neck > 0:
        inside, closed = _necked(inside, seeds, image.grid.spacing, neck)
        leaks += [Leak(p, b, np.nan) for p, b in closed]
    if fill_holes:
        inside = filled(inside)
    progress(0.95, f"{len(leaks)} leaks")
    made: list[Mask | Box | Label] = [region(image, inside, label, f"{_NAME} {note}")]
    for one in leaks:
        made += _said(image, one, label)
    progress(1.0, "grown")
    return made


def _around(values: Array, seeds: Array, known: Array, least: float) -> tuple[float, float]:
    """Mean and deviation at the marks and next to them."""
    from somascope.process.morphology import dilated

    near = dilated(seeds, (1.0, 1.0, 1.0), _REACH) & known
    some = values[near]
    # A mark at a border has both sides around it; its own side is nearer to its value.
    middle = float(np.median(values[seeds]))
    spread = max(1.4826 * float(np.median(np.abs(some - middle))), least)
    return _moments(some[np.abs(some - middle) <= 3 * spread], least)


def _moments(values: Array, least: float) -> tuple[float, float]:
    return float(values.mean(dtype=np.float64)), max(float(values.std(dtype=np.float64)), least)


def _cost(
    values: Array, known: Array, mean: float, sd: float, tolerance: float, seeds: Array
) -> Array:
    """Level that each voxel needs: its deviation in parts of the tolerance; -1 beyond."""
    away = np.abs(values - np.float32(mean)) * np.float32(LEVELS / (tolerance * sd))
    cost = np.where(known & (away < LEVELS), away, -1).astype(np.int32)
    cost[seeds] = 0
    return cost


def _joined(allowed: Array, seeds: Array, connectivity: Literal[6, 18, 26]) -> Array:
    parts, counts = components(allowed, connectivity=connectivity)
    kept = np.zeros(counts.size + 1, bool)
    kept[parts[seeds & allowed]] = True
    kept[0] = False
    return kept[parts]


def _necked(
    inside: Array, seeds: Array, spacing: tuple[float, float, float], neck: float
) -> tuple[Array, list[tuple[Array, Array]]]:
    """What is reached from the marks through no passage narrower than ``neck``.

    What balls of that width can reach from the marks, and what is nearer to it than their radius.
    With it, for every part left out: the voxels where it joins, and the part.
    """
    # Half a voxel lies between the centre of the last voxel and the wall.
    edges = [s for s, n in zip(spacing, inside.shape, strict=True) if n > 1]
    half = 0.5 * min(edges)
    pad = [(1, 1) if n > 1 else (0, 0) for n in inside.shape]
    inner = tuple(slice(a, n + a) for (a, _), n in zip(pad, inside.shape, strict=True))
    deep = np.asarray(distance(np.pad(inside, pad), spacing))[inner] - half
    core = deep >= 0.5 * neck
    if not core.any():
        return inside, []
    start = core & seeds
    if not start.any():  # marked in a thin place: the nearest thick one
        away = np.where(core, np.asarray(distance(~(seeds & inside), spacing)), np.inf)
        start = away == away.min()
    parts, counts = components(core)
    kept = np.zeros(counts.size + 1, bool)
    kept[np.unique(parts[start])] = True
    kept[0] = False
    main = kept[parts]
    near = np.asarray(distance(~main, spacing)) <= 0.5 * neck + half
    found = _joined(inside & near, main, 26) | (seeds & inside)
    rest, sizes = components(inside & ~found)
    least = np.pi / 6 * neck ** sum(n > 1 for n in inside.shape)
    volume = float(np.prod(edges))
    closed: list[tuple[Array, Array]] = []
    touching = np.asarray(distance(~found, spacing)) <= 1.01 * max(edges)
    for k in range(1, sizes.size + 1):
        if sizes[k - 1] * volume < least:
            # Rests in corners that no ball reaches belong to the region.
            found |= rest == k
            continue
        beyond = rest == k
        closed.append((np.argwhere(beyond & touching), beyond))
    return found, closed


def _said(image: Image, leak: Leak, label: str) -> list[Box | Label]:
    low, high = leak.passage.min(axis=0), leak.passage.max(axis=0)
    l, p, s = image.grid.to_world(leak.passage.mean(axis=0))
    volume = np.count_nonzero(leak.beyond) * image.grid.voxel_volume / 1000
    why = (
        "through a passage narrower than the neck" if np.isnan(leak.tolerance)
        else f"at {leak.tolerance:.2f} standard deviations"
    )  # fmt: skip
    text = (
        f"{label} was stopped {why} at L {l:.1f}, P {p:.1f}, S {s:.1f} mm: beyond lie {volume:.2f} "
        "ml more"
    )
    facts = dict(image.attributes)
    on = tuple(u for s in image.provenance.sources for u in s.uids)
    a, b, c = (float(v) for v in low)
    d, e, f = (float(v) for v in high)
    return [
        Box(concept=LEAK, confidence=1.0, grid=image.grid, lower=(a, b, c), upper=(d, e, f), on=on,
            provenance=image.provenance, attributes=facts),
        Label(concept=LEAK, confidence=1.0, on=on, text=text, provenance=image.provenance,
              attributes=facts),
    ]  # fmt: skip
