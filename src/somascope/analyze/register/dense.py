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
from typing import Any

import numpy as np

from somascope.analyze.register import field_kernels as kernels
from somascope.analyze.register.field import Smoothness, exponential, nodes, solve
from somascope.analyze.register.marks import Marks
from somascope.analyze.register.patches import Patches, described, onto
from somascope.analyze.register.sharing import shared
from somascope.core.grid import Array, Float, Grid
from somascope.core.progress import QUIET, Progress
from somascope.core.tensors import is_tensor
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


class Values:
    """The two volumes of a level, compared by a linear fit in each window."""

    def __init__(self, level: Level, matrix: Float, window: float, floor: float) -> None:
        self.level, self.window, self.floor = level, window, floor
        into = np.linalg.inv(level.moving_grid.affine) @ matrix @ level.fixed_grid.affine
        self.into = np.ascontiguousarray(into[:3], np.float32)
        self.own = np.eye(4, dtype=np.float32)[:3]

    def equations(
        self, there: Array, back: Array, close: Array, cell: Array
    ) -> tuple[Array, Array]:
        """`patches.Patches.equations` of the values."""
        level = self.level
        per_mm = (1.0 / np.asarray(level.fixed_grid.spacing)).astype(np.float32)
        shape = nodes(level.fixed.shape, cell)
        f, m = np.empty_like(level.fixed), np.empty_like(level.fixed)
        kernels.warp(level.moving, there, close, per_mm, self.into, m)
        kernels.warp(level.fixed, back, close, per_mm, self.own, f)
        sums = np.empty((6, *shape), np.float32)
        kernels.moments(f, m, level.weight, cell, sums)
        sigma = [self.window / c if n > 1 else 0.0 for c, n in zip(cell, shape, strict=True)]
        fit = _fit(sums, sigma, self.floor)
        blocks, right = np.empty((6, *shape), np.float32), np.empty((3, *shape), np.float32)
        cost = np.empty(shape[:2])
        kernels.normal_equations(f, m, level.weight, cell, per_mm, fit, blocks, right, cost)
        return blocks, right


def descend(
    compared: Values | Patches, grid: Grid, v: Array, cell: Array, how: Dense, *, iterations: int,
    marks: Marks | None = None,
) -> Array:  # fmt: skip
    """Improve the velocity ``v`` ``(3, lz, ly, lx)`` (mm, new array) at one level, of ``grid``."""
    spacing = np.asarray(grid.spacing)
    distance = spacing * cell
    volume = float(np.prod([c for c, n in zip(cell, grid.shape, strict=True) if n > 1]))
    prior = Smoothness(v.shape[1:], distance, how.membrane * volume, how.bending * volume)
    shape = v.shape[1:]
    limit = 0.5 * float(distance[np.array(shape) > 1].min()) if max(shape) > 1 else 0.0
    last = np.inf
    close = between(cell)
    for _ in range(iterations):
        smoother = finer(v, cell, grid, grid, close)
        there = exponential(smoother, spacing * close, factor=0.5)
        back = exponential(smoother, spacing * close, factor=-0.5)
        blocks, right = compared.equations(there, back, close, cell)
        if marks is not None:
            whole = exponential(smoother, spacing * close)
            blocks, right = marks.pulled(blocks, right, grid, cell, (whole, close), prior.diagonal)
        right -= prior.gradient(v)
        step = solve(blocks, right, prior, iterations=how.solver)
        size = float(abs(step).max())
        if not np.isfinite(size):
            break
        if size > limit > 0:
            step *= float(limit / size)
        v = v + step
        moved = float((step**2).sum(0).mean()) ** 0.5
        if moved < 0.01 * float(spacing.min()) or moved > 2.0 * last:
            break
        last = min(last, moved)
    return v


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
    if is_tensor(v):
        from somascope.analyze.register import gpu

        return gpu.refine(v, index, weight)  # pyright: ignore
    out = np.empty((3, *shape), np.float32)
    kernels.refine(v, index, weight, out)
    return out


def dense(
    levels: list[Level], matrix: Float, how: Dense, *, marks: Marks | None = None,
    device: str | None = None, progress: Progress = QUIET,
) -> tuple[Array, Array, Grid]:  # fmt: skip
    """Velocity ``(3, lz, ly, lx)`` in mm, the cell of its lattice, the finest level's grid.

    ``matrix`` is the 4x4 affine part from the fixed to the moving frame; ``device``: torch's, or
    None for the processor and arrays.
    """
    v: Array | None = None
    cell = np.ones(3, np.int64)
    grid = levels[0].fixed_grid
    for k, compared in enumerate(_compared(levels, matrix, how, device)):
        progress(k / len(levels), f"level {k + 1} of {len(levels)}")
        here = levels[k].fixed_grid
        new = np.array([min(how.cells[k], n) for n in here.shape], np.int64)
        v = (
            _still((3, *nodes(here.shape, new)), device)
            if v is None
            else finer(v, cell, grid, here, new)
        )
        cell, grid = new, here
        v = descend(compared, grid, v, cell, how, iterations=how.iterations[k], marks=marks)
    assert v is not None
    smoother = finer(v, cell, grid, grid, between(cell))
    if is_tensor(smoother):
        smoother = smoother.cpu().numpy()  # pyright: ignore
    return smoother, between(cell), grid


def _still(shape: tuple[int, ...], device: str | None) -> Array:
    """Zeros where the work is done."""
    still = np.zeros(shape, np.float32)
    if device is None:
        return still
    from somascope.analyze.register import gpu

    return gpu.placed(still, device)  # pyright: ignore[reportReturnType]


def _compared(levels: list[Level], matrix: Float, how: Dense, device: str | None) -> list[Any]:
    """How the images are compared at each level."""
    if device is None:
        if how.patches:
            return described(levels, matrix)
        return [Values(level, matrix, how.window, how.floor) for level in levels]
    from somascope.analyze.register import gpu

    if how.patches:
        return gpu.described(levels[-1].fixed, onto(levels[-1], matrix), levels, device)
    return [gpu.Values(level, matrix, how.window, how.floor, device) for level in levels]
