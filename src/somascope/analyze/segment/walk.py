"""The system of the random walker and its solution, by conjugate gradients with a multigrid cycle.

Cells of two voxels each way are taken together with the sum of their weights, so that every coarser
system is a 7-point stencil too (aggregation; the factor that this overestimates smooth errors with,
after Braess, Computing 55 (1995) 379-393, is taken off the weights). Axes with large voxels
are joined later. Two damped Jacobi sweeps, their damping Chebyshev's for the upper three quarters
of the spectrum, go before and after; the cycle is symmetric, as conjugate gradients want it. Where
`PATIENCE` steps do not do, weights differ too much for cells of voxels, and `knit` goes on from
there with groups that follow strong links.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somascope.analyze.segment.knit import Knit, numbered, solved
from somascope.analyze.segment.walk_kernels import (
    applied,
    crossing,
    grounded,
    prolonged,
    restricted,
    swept,
    weighted,
)
from somascope.core import QUIET, Progress
from somascope.core.grid import Array, Float

DAMPING = (np.float32(1 / 1.7803), np.float32(1 / 0.7197))
"""One over Chebyshev's two nodes between 0.5 and 2."""

SMALLEST = 300
"""Unknowns that are solved for at once."""

PATIENCE = 40
"""Steps with cells of voxels before groups that follow strong links are made."""


def edge_weights(
    values: Array, inside: Array, spacing: Sequence[float], *, beta: float, least: float = 1e-6
) -> Array:
    """Weights ``(3, nz, ny, nx)`` to the next voxel along z, y, x: ``exp(-beta (dv / sd)^2)``.

    ``sd`` is the standard deviation of ``values`` (float32) ``inside``, so that neither scale nor
    offset of the values counts. Weights are divided by the squared distance of the two voxels in
    units of the shortest edge, as a discrete Laplacian wants it; none is below ``least`` of that:
    in single precision a sum of weights forgets those that are much smaller.
    """
    sd = float(values[inside].std(dtype=np.float64))
    near = min(s for s, n in zip(spacing, values.shape, strict=True) if n > 1)
    across = np.array([(near / s) ** 2 for s in spacing], np.float32)
    out = np.empty((3, *values.shape), np.float32)
    weighted(values, inside, np.float32(beta / sd**2), np.float32(least), across, out)
    return out


@dataclass(frozen=True, eq=False)
class Level:
    """One grid: weights ``(3, nz, ny, nx)``, diagonal, its inverse, and the cells of the next."""

    weights: Array
    diagonal: Array
    inverse: Array
    step: Array
    room: tuple[Array, Array]

    def apply(self, x: Array, out: Array) -> float:
        """``out <- A x``; gives ``x . A x``."""
        product = np.zeros(x.shape[0])
        wz, wy, wx = self.weights
        applied(x, wz, wy, wx, self.diagonal, out, product)
        return float(product.sum())

    def sweep(self, x: Array, b: Array, step: np.float32, out: Array) -> None:
        """``out <- x + step (b - A x) / diagonal``."""
        wz, wy, wx = self.weights
        swept(x, b, wz, wy, wx, self.inverse, step, out)


def levels_of(weights: Array, diagonal: Array, spacing: Sequence[float]) -> list[Level]:
    """The grid and its coarser ones, down to `SMALLEST` unknowns."""
    grids: list[Level] = []
    edge = [s if n > 1 else math.inf for s, n in zip(spacing, diagonal.shape, strict=True)]
    while True:
        shape = diagonal.shape
        step = np.array([2 if e < 1.9 * min(edge) else 1 for e in edge])
        last = diagonal.size <= SMALLEST
        with np.errstate(divide="ignore"):
            inverse = np.where(diagonal > 0, 1 / diagonal, 0).astype(np.float32)
        room = (np.empty(shape, np.float32), np.empty(shape, np.float32))
        grids.append(Level(weights, diagonal, inverse, step, room))
        if last:
            return grids
        # What a diagonal holds beyond the weights is the pull of the marks.
        pull = diagonal - _sum(weights)
        np.maximum(pull, 0, out=pull)
        coarse = tuple(-(-n // s) for n, s in zip(shape, step, strict=True))
        joined = np.empty((3, *coarse), np.float32)
        for axis in range(3):
            crossing(weights[axis], axis, step, joined[axis])
            joined[axis] /= np.float32(step[axis])
        held = np.empty(coarse, np.float32)
        restricted(pull, step, held)
        diagonal, weights = held + _sum(joined), joined
        edge = [e * s if n > 1 else math.inf for e, s, n in zip(edge, step, coarse, strict=True)]


def _sum(weights: Array) -> Array:
    """Of the weights on both sides of every voxel."""
    total = weights.sum(axis=0)
    for axis in range(3):
        after = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        before = tuple(slice(0, -1) if a == axis else slice(None) for a in range(3))
        total[after] += weights[axis][before]
    return total


@dataclass
class Grids:
    """Of one system: cells of voxels, and groups that follow strong links once they were needed."""

    cells: list[Level]
    knit: Knit | None = None


class Cycle:
    """A V-cycle as a preconditioner: ``cycle(b)`` is near the solution of ``A x = b``."""

    def __init__(self, grids: Sequence[Level]) -> None:
        from scipy.linalg import cho_factor

        self._grids = grids
        last = grids[-1]
        self._unknown = np.flatnonzero(last.diagonal.reshape(-1) > 0)
        matrix = _dense(last)[np.ix_(self._unknown, self._unknown)]
        # A hair more than it is: rounding may have left it singular.
        matrix[np.diag_indices(len(matrix))] *= 1 + 1e-6
        self._factor = cho_factor(matrix)

    def __call__(self, b: Array, at: int = 0) -> Array:
        """The result lies in room of its own that the next call overwrites."""
        grid = self._grids[at]
        x, other = grid.room
        if at == len(self._grids) - 1:
            from scipy.linalg import cho_solve

            x[...] = 0
            x.reshape(-1)[self._unknown] = cho_solve(self._factor, b.reshape(-1)[self._unknown])
            return x
        first, second = DAMPING
        np.multiply(b, grid.inverse, out=other)
        other *= first
        grid.sweep(other, b, second, x)
        grid.apply(x, other)
        np.subtract(b, other, out=other)
        below = self._grids[at + 1]
        coarse = np.empty(below.diagonal.shape, np.float32)
        restricted(other, grid.step, coarse)
        prolonged(self(coarse, at + 1), grid.step, x, grid.inverse)
        grid.sweep(x, b, second, other)
        grid.sweep(other, b, first, x)
        return x


def _dense(level: Level) -> Float:
    size = level.diagonal.size
    index = np.arange(size).reshape(level.diagonal.shape)
    matrix = np.diag(level.diagonal.reshape(-1).astype(np.float64))
    for axis in range(3):
        a = np.moveaxis(index, axis, 0)[:-1].reshape(-1)
        b = np.moveaxis(index, axis, 0)[1:].reshape(-1)
        w = np.moveaxis(level.weights[axis], axis, 0)[:-1].reshape(-1)
        matrix[a, b] -= w
        matrix[b, a] -= w
    return matrix


def potential(
    weights: Array,
    labels: Array,
    number: int,
    spacing: Sequence[float],
    *,
    tolerance: float = 1e-5,
    iterations: int = 500,
    grids: Grids | None = None,
    progress: Progress = QUIET,
) -> tuple[Array, Grids, float]:
    """Probability ``(nz, ny, nx)`` that a walker from each voxel meets ``number`` first.

    Parameters
    ----------
    weights
        `edge_weights`.
    labels
        int32: 0 unknown; what is not 0 holds, or is outside (with weights of 0).
    tolerance
        The error's size, told by the preconditioned residual, of that at the start. Voxels behind
        small weights count little in it: it has to be much smaller than the error allowed there.
    grids
        Of an earlier number with these weights and labels: they are the same.

    Returns
    -------
    tuple
        float32 in 0..1; the grids; and what part of the error is left, at most ``tolerance`` unless
        it was stopped by ``iterations``.
    """
    diagonal, b = (np.empty(labels.shape, np.float32) for _ in range(2))
    grounded(weights, labels, number, diagonal, b)
    if grids is None:
        grids = Grids(levels_of(_free(weights, labels), diagonal, spacing))
    top, cycle = grids.cells[0], Cycle(grids.cells)
    held = b.copy()
    x = np.zeros(labels.shape, np.float32)
    r, q = b, np.empty_like(b)
    z = cycle(r)
    p = z.copy()
    rz = start = _dot(r, z)
    done = 0.0
    for step in range(min(iterations, PATIENCE) if grids.knit is None else 0):
        if rz <= start * tolerance**2 or rz <= 0:
            break
        alpha = np.float32(rz / top.apply(p, q))
        x += alpha * p
        q *= alpha
        r -= q
        z = cycle(r)
        before, rz = rz, _dot(r, z)
        p *= np.float32(rz / before)
        p += z
        gone = math.log(max(rz / start, tolerance**2)) / math.log(tolerance**2)
        done = max(done, min(gone, 1.0))
        progress(done if gone >= 1 else 0.3 * done, f"step {step + 1}")
    left = math.sqrt(max(rz, 0.0) / start) if start > 0 else 0.0
    if left > tolerance and iterations > PATIENCE:
        unknown = diagonal > 0
        if grids.knit is None:
            free = grids.cells[0].weights
            pull = _sum(weights.astype(np.float64)) - _sum(free.astype(np.float64))
            grids.knit = Knit(free, numbered(unknown), np.maximum(pull[unknown], 0))
        x[unknown], left = solved(
            grids.knit, held[unknown].astype(np.float64), x[unknown].astype(np.float64),
            tolerance=tolerance, iterations=iterations - PATIENCE,
            progress=Progress(lambda f, m: progress(0.3 + 0.7 * f, m)),
        )  # fmt: skip
    np.clip(x, 0, 1, out=x)
    x[labels == number] = 1
    return x, grids, left


def _dot(a: Array, b: Array) -> float:
    """In double precision from plane to plane, in one order whatever the cores."""
    return float(
        sum(float(np.dot(u.reshape(-1), v.reshape(-1))) for u, v in zip(a, b, strict=True))
    )


def _free(weights: Array, labels: Array) -> Array:
    """The weights between unknowns alone."""
    unknown = labels == 0
    out = weights * unknown
    for axis in range(3):
        at = tuple(slice(0, -1) if a == axis else slice(None) for a in range(3))
        after = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        out[axis][at] *= unknown[after]
    return out
