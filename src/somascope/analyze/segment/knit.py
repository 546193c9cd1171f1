"""The random walker's system where weights differ much: groups that follow strong links.

Cells of voxels (`walk.levels_of`) join what a weak link parts, and where most links are weak, as
in noise under a large beta, the cycle on them hardly helps. Here nodes are paired along their
strongest links, and what hangs on a pair by hardly another link joins it; the groups' graph has the
sums of the weights, and so on (Notay, Electron. Trans. Numer. Anal. 37 (2010) 123-146; Koutis,
Miller and Tolliver, CVIU 115 (2011) 1638-1646). Every coarse system is solved by two steps of
flexible conjugate gradients, each with such a cycle (K-cycle): some ten steps do for even weights,
some tens where they reach over six orders of magnitude. Needs some 200 bytes per voxel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from somascope.analyze.segment.knit_kernels import (
    counted,
    gathered,
    linked,
    paired,
    product,
    relaxed,
    strongest,
    summed,
)
from somascope.core import QUIET, Progress
from somascope.core.grid import Array, Float

SMALLEST = 300
"""Nodes that are solved for at once."""
ENOUGH = 0.25
"""Of the residual, below which one inner step does."""


@dataclass(frozen=True, eq=False)
class Knot:
    """One graph, its diagonal (the pull of the marks included), and the next one's groups."""

    start: Array
    link: Array
    weight: Array
    diagonal: Float
    group: Array | None

    @property
    def inverse(self) -> Float:
        """1 over the diagonal."""
        return 1 / self.diagonal


class Knit:
    """A K-cycle on the nodes of ``number`` ``(nz, ny, nx)`` int32, -1 where there is none.

    ``weights`` ``(3, nz, ny, nx)`` lead to the next voxel; ``pull`` ``(n,)`` are those to marks,
    which every part of the graph needs. It is kept apart from the diagonal: of the sum of a weight
    and a millionth of it single precision forgets most of the latter.
    """

    def __init__(self, weights: Array, number: Array, pull: Float) -> None:
        from scipy.linalg import cho_factor

        start = np.empty(pull.size + 1, np.int64)
        counted(number, weights, start)
        link = np.empty(int(start[-1]), np.int32)
        weight = np.empty(link.size, np.float32)
        linked(number, weights, start[:-1].copy(), link, weight)
        levels: list[Knot] = []
        while True:
            diagonal = pull + _sums(start, weight)
            if diagonal.size <= SMALLEST:
                levels.append(Knot(start, link, weight, diagonal, None))
                break
            group, graph = _coarser((start, link, weight))
            levels.append(Knot(start, link, weight, diagonal, group))
            if graph[0].size - 1 > 0.9 * diagonal.size:
                break
            held = np.zeros(graph[0].size - 1)
            summed(group, pull, held)
            (start, link, weight), pull = graph, held
        self._levels = levels
        self._inverses = [v.inverse for v in levels]
        last = levels[-1]
        self._factor = None
        if last.diagonal.size <= SMALLEST:
            self._factor = cho_factor(_dense(last))

    def apply(self, x: Float) -> Float:
        """``A x`` on the nodes."""
        return self._times(0, x)

    def __call__(self, b: Float, at: int = 0) -> Float:
        """Near the solution of ``A x = b``."""
        knot, inverse = self._levels[at], self._inverses[at]
        if knot.group is None or at == len(self._levels) - 1:
            return self._least(b, at)
        x = np.zeros_like(b)
        graph = (knot.start, knot.link, knot.weight)
        relaxed(*graph, inverse, b, x, back=False)
        below = np.empty(self._levels[at + 1].diagonal.size)
        summed(knot.group, b - self._times(at, x), below)
        x += self._inner(below, at + 1)[knot.group]
        relaxed(*graph, inverse, b, x, back=True)
        return x

    def _least(self, b: Float, at: int) -> Float:
        if self._factor is not None:
            from scipy.linalg import cho_solve

            return cho_solve(self._factor, b)
        # Nodes that no link joins any more.
        x = b * self._inverses[at]
        knot = self._levels[at]
        for back in (False, True):
            relaxed(knot.start, knot.link, knot.weight, self._inverses[at], b, x, back=back)
        return x

    def _times(self, at: int, x: Float) -> Float:
        knot = self._levels[at]
        out = np.empty_like(x)
        product(knot.start, knot.link, knot.weight, knot.diagonal, x, out)
        return out

    def _inner(self, b: Float, at: int) -> Float:
        """Two steps of flexible conjugate gradients, one where that is enough."""
        c = self(b, at)
        if at == len(self._levels) - 1:
            return c
        v = self._times(at, c)
        size, along = float(c @ v), float(c @ b)
        if size <= 0:
            return c
        rest = b - (along / size) * v
        if np.linalg.norm(rest) <= ENOUGH * np.linalg.norm(b):
            return (along / size) * c
        d = self(rest, at)
        w = self._times(at, d)
        mixed, second, further = float(d @ v), float(d @ w), float(d @ rest)
        own = second - mixed**2 / size
        if own <= 0:
            return (along / size) * c
        return (along / size - mixed * further / (size * own)) * c + (further / own) * d


def _coarser(graph: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array, Array]]:
    """The groups of a graph's nodes, and their graph."""
    group = np.empty(graph[0].size - 1, np.int32)
    most = np.empty(group.size, np.float32)
    strongest(graph[0], graph[2], most)
    groups = paired(*graph, np.argsort(-most, kind="stable"), group)
    return group, gathered(*graph, group, groups)


def _sums(start: Array, weight: Array) -> Float:
    """Of every node's weights."""
    out = np.zeros(start.size - 1)
    some = np.flatnonzero(start[1:] > start[:-1])
    if some.size:
        out[some] = np.add.reduceat(weight.astype(np.float64), start[some])
    return out


def _dense(knot: Knot) -> Float:
    n = knot.diagonal.size
    matrix = np.diag(knot.diagonal)
    rows = np.repeat(np.arange(n), np.diff(knot.start))
    np.subtract.at(matrix, (rows, knot.link), knot.weight)
    # A hair more than it is: rounding may have left it singular.
    matrix[np.diag_indices(n)] *= 1 + 1e-9
    return matrix


def solved(
    knit: Knit, b: Float, x: Float, *, tolerance: float, iterations: int,
    progress: Progress = QUIET,
) -> tuple[Float, float]:  # fmt: skip
    """``A x = b`` from ``x`` on, by flexible conjugate gradients.

    It ends where the preconditioned residual is ``tolerance`` of that of 0, or after
    ``iterations``; the second value is what part of it is left.
    """
    start = float(b @ knit(b))
    if start <= 0:
        return x, 0.0
    r = b - knit.apply(x)
    z = knit(r)
    p = z
    rz, done = float(r @ z), 0.0
    for step in range(iterations):
        if rz <= start * tolerance**2:
            break
        q = knit.apply(p)
        alpha = rz / float(p @ q)
        x = x + alpha * p
        before = r
        r = r - alpha * q
        z = knit(r)
        fresh = float(r @ z)
        # Polak and Ribiere's: the cycle is not the same at every step.
        p = z + (max(fresh - float(before @ z), 0.0) / rz) * p
        rz = fresh
        left = max(rz / start, tolerance**2)
        done = max(done, min(math.log(left) / math.log(tolerance**2), 1.0))
        progress(done, f"strong links, step {step + 1}")
    return x, math.sqrt(max(rz, 0.0) / start)


def numbered(unknown: Array) -> Array:
    """Numbers of the true voxels from 0 in their order, -1 elsewhere; int32."""
    number = np.full(unknown.shape, -1, np.int32)
    number[unknown] = np.arange(int(unknown.sum()), dtype=np.int32)
    return number
