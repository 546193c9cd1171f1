"""A front that moves through a volume until it rests: the engine of the level sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from somascope.analyze.segment.front_kernels import FAR, banded, moved
from somascope.core import QUIET, Progress
from somascope.core.grid import Array
from somascope.process.distance import distance

LAYERS = 4
"""Voxels that the band is wide on each side."""

TURN = 4
"""Steps between two times that the distance is made anew: less far than the band is wide."""

QUIET_SHARE = 1e-3
"""Of the band's voxels, how many may have changed sides from turn to turn while a front rests."""

_EMPTY = np.empty(0, np.float32)


@dataclass(frozen=True)
class Drive:
    """Speed outwards ``clip(slope values + shift, -1, 1)``; ``values`` float32 like the volume."""

    values: Array
    slope: float
    shift: float


@dataclass(frozen=True)
class Rest:
    """Where a front came to lie: ``inside`` bool, the signed distance in mm (negative inside,
    `front_kernels.FAR` away from the front), steps taken, and whether it rested.
    """

    inside: Array
    distance: Array
    steps: int
    rested: bool


def evolve(
    start: Array,
    spacing: tuple[float, float, float],
    drive: Callable[[Array, tuple[float, float]], Drive],
    *,
    bend: float,
    stop: Array | None = None,
    pull: float = 0.0,
    renew: int = TURN,
    rounds: int = 500,
    progress: Progress = QUIET,
) -> Rest:
    """Move the border of ``start`` (bool) until few voxels change sides, or ``rounds`` steps.

    Parameters
    ----------
    drive
        Asked every ``renew`` steps for the speed; is given the signed distance (float32, a view:
        negative inside) and how many voxels came inside since, and the sum of the driving values
        there.
    bend
        Speed per curvature, in mm: the sum of both principal curvatures in a volume.
    stop
        float32, 0 to 1: slows everything down; the front is pulled towards low values with the
        weight ``pull`` in mm.
    """
    shape = np.array(start.shape)
    edge = np.array([s if n > 1 else 1e3 for s, n in zip(spacing, start.shape, strict=True)])
    finest = float(edge.min())
    phi, near = _signed(start, spacing)
    flat = phi.reshape(-1)
    mark = np.zeros(flat.size, np.uint8)
    spare = np.empty(max(4 * near.size, 1024), np.int32)
    count, band = banded(flat, shape, edge, LAYERS, near, near.size, mark, spare)
    spare = np.empty(band.size, np.int32)
    change = np.empty(0)
    sums = np.zeros(2)
    brake = _EMPTY if stop is None else np.ascontiguousarray(stop, np.float32).reshape(-1)
    deep = int((shape > 1).sum())
    # Both the speed and the bending must not cross half a voxel at once.
    step = min(0.45 * finest, 0.45 * finest**2 / max(deep * bend, 1e-12))
    if pull > 0:
        step = min(step, 0.45 * finest / (1 + pull / finest))
    rested, quiet, taken = False, 0, 0
    force = drive(phi, (0.0, 0.0))
    before = phi < 0
    while taken < rounds and count:
        if change.size < count:
            change = np.empty(2 * count)
        moved(
            flat, shape, edge, band, count, force.values.reshape(-1), force.slope, force.shift,
            brake, bend, pull, step, change, sums,
        )  # fmt: skip
        taken += 1
        if taken % TURN == 0:
            count, fresh = banded(flat, shape, edge, LAYERS, band, count, mark, spare)
            band, spare = fresh, band
        if taken % renew == 0:
            force = drive(phi, (sums[0], sums[1]))
            sums[:] = 0
        if taken % (2 * TURN) == 0:
            # From turn to turn some voxels come and go: what counts is what has not come back.
            now = phi < 0
            recent = int(np.count_nonzero(now != before))
            before = now
            quiet = quiet + 1 if recent <= 1 + QUIET_SHARE * count else 0
            progress(min(taken / rounds, 0.99), f"step {taken}, {recent} voxels changed")
            if quiet >= 3:
                rested = True
                break
    return Rest(phi < 0, phi, taken, rested)


def _signed(inside: Array, spacing: tuple[float, float, float]) -> tuple[Array, Array]:
    """Signed distance to the border halfway between voxels near it, and the voxels near it."""
    phi = np.where(inside, -FAR, FAR).astype(np.float32)
    if not inside.any() or inside.all():
        return phi, np.empty(0, np.int32)
    edges = [s for s, n in zip(spacing, inside.shape, strict=True) if n > 1]
    away = np.asarray(distance(~inside, spacing)) - np.asarray(distance(inside, spacing))
    near = np.flatnonzero(np.abs(away) < 2.5 * max(edges)).astype(np.int32)
    half = np.float32(0.5 * min(edges))
    flat = away.reshape(-1)[near]
    phi.reshape(-1)[near] = np.where(flat < 0, flat + half, flat - half)
    return phi, near
