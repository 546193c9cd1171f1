"""Dense diffeomorphic registration: Gauss-Newton steps of a stationary velocity field.

Both images are taken to the middle, ``fixed o exp(-v/2)`` and ``moving o A o exp(v/2)``, so that
neither is favoured, and compared by a linear fit in a Gaussian window around each node: the
residual of that fit is what remains of the local correlation coefficient (LNCC), whatever the
contrast's scale, offset or sign. Its variance weights the window, which makes the sum the local
mutual information of Gaussian variables. Each step solves the normal equations of all nodes
together with the prior (Gauss-Newton; no step length to choose).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.analyze.register import field_kernels as kernels
from somascope.analyze.register.features import mind
from somascope.analyze.register.field import Smoothness, exponential, nodes, solve
from somascope.analyze.register.marks import Marks
from somascope.analyze.register.sharing import shared
from somascope.core.grid import Array, Float, Grid
from somascope.core.progress import QUIET, Progress
from somascope.process.resample import taps
from somascope.process.separable import convolve_into, gaussians, prepared

ONE = np.ones((1, 1, 1), np.float32)
WIDE = 4
"""Voxels between nodes from which on a straight line from one to the next is too coarse."""


@dataclass(frozen=True)
class Dense:
    """How a dense registration goes on.

    ``levels``: voxel edge of each level in mm, coarse to fine; ``cells``: voxels per node and
    axis at each; ``iterations``: most steps at each; ``membrane``, ``bending`` (mm2): weights of
    the prior per voxel; ``window``: standard deviation of the comparison window in voxels;
    ``patches``: descriptors (`features.mind`) are compared instead of values.
    """

    levels: tuple[float, ...]
    cells: tuple[int, ...]
    iterations: tuple[int, ...]
    membrane: float = 0.5
    bending: float = 2.0
    window: float = 2.5
    floor: float = 0.1
    patches: bool = False
    solver: int = 12


@dataclass(eq=False)
class Level:
    """Two volumes of one resolution, each on its grid; ``weight`` on the fixed one's, or one 1."""

    fixed: Array
    fixed_grid: Grid
    moving: Array
    moving_grid: Grid
    weight: Array


def descend(
    level: Level, v: Array, cell: Array, matrix: Float, how: Dense, *, iterations: int,
    marks: Marks | None = None,
) -> Array:  # fmt: skip
    """Improve the velocity ``v`` ``(3, lz, ly, lx)`` (mm, new array) at one level.

    ``matrix`` is the 4x4 affine part from the fixed to the moving frame.
    """
    spacing = np.asarray(level.fixed_grid.spacing)
    distance = spacing * cell
    per_mm = (1.0 / spacing).astype(np.float32)
    volume = float(np.prod([c for c, n in zip(cell, level.fixed.shape, strict=True) if n > 1]))
    prior = Smoothness(v.shape[1:], distance, how.membrane * volume, how.bending * volume)
    into = (np.linalg.inv(level.moving_grid.affine) @ matrix @ level.fixed_grid.affine)[:3]
    into = np.ascontiguousarray(into, np.float32)
    own = np.eye(4, dtype=np.float32)[:3]
    shape = v.shape[1:]
    f, m = np.empty_like(level.fixed), np.empty_like(level.fixed)
    ones, twos = [level.fixed], [level.moving]
    if how.patches:
        # On the fixed grid, so that "the next voxel to the left" is the same in both.
        nowhere = np.zeros((*nodes(level.fixed.shape, cell), 3), np.float32)
        kernels.warp(level.moving, nowhere, cell, per_mm, into, m)
        ones, twos, into = list(mind(level.fixed)), list(mind(m)), own
    sums = np.empty((6, *shape), np.float32)
    blocks, right = np.empty((6, *shape), np.float32), np.empty((3, *shape), np.float32)
    cost = np.empty(shape[:2])
    sigma = [how.window / c if n > 1 else 0.0 for c, n in zip(cell, shape, strict=True)]
    limit = 0.5 * float(distance[np.array(shape) > 1].min()) if max(shape) > 1 else 0.0
    last = np.inf
    close = between(cell)
    for _ in range(iterations):
        smoother = finer(v, cell, level.fixed_grid, level.fixed_grid, close)
        there = exponential(smoother, spacing * close, factor=0.5)
        back = exponential(smoother, spacing * close, factor=-0.5)
        total, whole_right = np.zeros_like(blocks), np.zeros_like(right)
        for one, two in zip(ones, twos, strict=True):
            kernels.warp(two, there, close, per_mm, into, m)
            kernels.warp(one, back, close, per_mm, own, f)
            kernels.moments(f, m, level.weight, cell, sums)
            fit = _plain(sums, len(ones)) if how.patches else _fit(sums, sigma, how.floor)
            kernels.normal_equations(f, m, level.weight, cell, per_mm, fit, blocks, right, cost)
            total += blocks
            whole_right += right
        blocks, right = total, whole_right
        if marks is not None:
            whole = exponential(smoother, spacing * close)
            grid = level.fixed_grid
            marks.pull(blocks, right, grid, cell, (whole, close), prior.diagonal)
        right -= prior.gradient(v)
        step = solve(blocks, right, prior, iterations=how.solver)
        size = np.abs(step).max(initial=0.0)
        if not np.isfinite(size):
            break
        if size > limit > 0:
            step *= np.float32(limit / size)
        v = v + step
        moved = float(np.sqrt((step**2).sum(axis=0).mean()))
        if moved < 0.01 * float(spacing.min()) or moved > 2.0 * last:
            break
        last = min(last, moved)
    return v


def _plain(sums: Array, channels: int) -> Array:
    """The same for descriptors, compared as they are: one weight for all, 1 / mean square."""
    square = float((sums[3] + sums[4] - 2 * sums[5]).sum()) / max(float(sums[0].sum()), 1e-6)
    out = np.zeros((3, *sums.shape[1:]), np.float32)
    out[0] = 1
    out[2] = 1 / (channels * max(square, 1e-6))
    return out


def between(cell: Array) -> Array:
    """Cell of the lattice on which a field of nodes ``cell`` apart is followed.

    Half of a wide one: cubic between the nodes and linear from there on.
    """
    return np.where(cell >= WIDE, cell // 2, cell)


def _fit(sums: Array, sigma: list[float], floor: float) -> Array:
    """Slope, level and weight of ``m ~ slope f + level`` in each node's window."""
    calm = np.empty_like(sums)
    how = prepared(sums.shape[1:], gaussians(sums.shape[1:], tuple(sigma)), np.float32)

    def some(start: int, stop: int) -> None:
        for k in range(start, stop):
            convolve_into(sums[k], *how, calm[k])

    shared(some, 6, sums.size)
    out = np.empty((3, *sums.shape[1:]), np.float32)
    # How much there is to explain: the mean local variance of either image.
    kernels.fitted(calm, np.float32(floor * floor), out)
    return out


def finer(v: Array, cell: Array, old: Grid, grid: Grid, new_cell: Array) -> Array:
    """The velocity of one lattice on another, of a grid with the same middle and directions."""
    shape = nodes(grid.shape, new_cell)
    index: list[Array] = []
    weight: list[Array] = []
    for a in range(3):
        at = np.arange(shape[a]) * new_cell[a] + (new_cell[a] - 1) / 2
        # Levels share centre and directions: a shift and a scale.
        mm = (at - (grid.shape[a] - 1) / 2) * grid.spacing[a]
        there = mm / old.spacing[a] + (old.shape[a] - 1) / 2
        place = np.clip((there - (cell[a] - 1) / 2) / cell[a], 0, v.shape[1 + a] - 1)
        i, w = taps(place, v.shape[1 + a], order="cubic")
        index.append(i.astype(np.int32))
        weight.append(w.astype(np.float32))
    out = np.empty((3, *shape), np.float32)
    kernels.refine(v, index, weight, out)
    return out


def dense(
    levels: list[Level], matrix: Float, how: Dense, *, marks: Marks | None = None,
    progress: Progress = QUIET,
) -> tuple[Array, Array, Grid]:  # fmt: skip
    """Velocity ``(3, lz, ly, lx)`` in mm, the cell of its lattice, the finest level's grid."""
    v: Array | None = None
    cell = np.ones(3, np.int64)
    grid = levels[0].fixed_grid
    for k, level in enumerate(levels):
        progress(k / len(levels), f"level {k + 1} of {len(levels)}")
        new = np.array([min(how.cells[k], n) for n in level.fixed.shape], np.int64)
        v = (
            np.zeros((3, *nodes(level.fixed.shape, new)), np.float32)
            if v is None
            else finer(v, cell, grid, level.fixed_grid, new)
        )
        cell, grid = new, level.fixed_grid
        v = descend(level, v, cell, matrix, how, iterations=how.iterations[k], marks=marks)
    assert v is not None
    return finer(v, cell, grid, grid, between(cell)), between(cell), grid
