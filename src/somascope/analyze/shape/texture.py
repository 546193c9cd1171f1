"""Active appearance models: shape and the values inside it and around it, fitted together.

The fit is inverse compositional with the appearance projected out (Matthews and Baker, IJCV 60
(2004) 135-164): gradients and Hessian are those of the mean appearance and made once. Values are
told at lattice points of the mean shape, which the simplices (triangles; tetrahedra in 3-D) between
the shape's points carry along, so the same lines do for slices and volumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import Delaunay

from somascope.analyze.shape import kernels
from somascope.analyze.shape.evidence import blurred, volume_of
from somascope.analyze.shape.frame import Frame
from somascope.analyze.shape.model import Fitted, ShapeModel, fitted, principal
from somascope.analyze.shape.procrustes import Similarity
from somascope.core import QUIET, Image, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

RINGS = (0.5, 1.35, 1.7)
"""Copies of the surface, drawn to the middle or away from it: what is inside, and around."""

VALUES = {2: 2500, 3: 6000}
"""Lattice points of the appearance, about, by dimensions."""

CORNERS = {2: 96, 3: 160}
"""Points of the surface that simplices are made of, at most."""

KEPT = 0.95
"""Part of the variance of the appearance that its modes hold."""

STEPS = 40


@dataclass(frozen=True, eq=False)
class Lattice:
    """Points of the mean shape's space ``(t, d)``, and how they follow the surface's points.

    ``chosen`` are the surface points that simplices are made of; the corners are those, their
    rings and the middle, which are ``spread @ chosen points``; ``owner`` ``(t,)`` and ``shares``
    ``(t, d + 1)`` say which simplex a lattice point lies in, and where.
    """

    places: Float
    chosen: Array
    spread: Float
    simplices: Array
    owner: Array
    shares: Float
    cells: tuple[int, ...]
    index: Array
    spacing: float

    def carried(self, points: Float) -> Float:
        """Where the lattice points ``(t, d)`` go with surface points ``(n, d)``."""
        corners = self.spread @ points[self.chosen]
        return np.einsum("tc,tcd->td", self.shares, corners[self.simplices[self.owner]])


def lattice(mean: Float) -> Lattice:
    """The lattice over a mean shape ``(n, d)``."""
    n, d = mean.shape
    chosen = np.unique(np.linspace(0, n - 1, min(n, CORNERS[d])).round().astype(int))
    m = len(chosen)
    eye, middle = np.eye(m), np.full((m, m), 1.0 / m)
    spread = np.concatenate([eye, *(r * eye + (1 - r) * middle for r in RINGS), middle[:1]])
    corners = spread @ mean[chosen]
    parted = Delaunay(corners)
    low, high = corners.min(axis=0), corners.max(axis=0)
    spacing = float((np.prod(high - low) / VALUES[d]) ** (1 / d))
    axes = [np.arange(a, b, spacing) for a, b in zip(low, high, strict=True)]
    cells = tuple(len(a) for a in axes)
    every = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, d)
    owner = parted.find_simplex(every)
    kept = np.flatnonzero(owner >= 0)
    places, owner = every[kept], owner[kept]
    into = parted.transform[owner]
    first = np.einsum("tij,tj->ti", into[:, :d], places - into[:, d])
    shares = np.concatenate([first, 1 - first.sum(axis=1, keepdims=True)], axis=1)
    return Lattice(places, chosen, spread, parted.simplices, owner, shares, cells, kept, spacing)


def read(volume: Array, frame: Frame, places: Float) -> Float:
    """Values ``(t,)`` at places, of mean 0 and standard deviation 1."""
    out = np.empty((len(places), 1), np.float32)
    at = frame.index(places)
    kernels.lines(volume, at, np.zeros_like(at), out)
    values = out[:, 0].astype(np.float64)
    return (values - values.mean()) / max(float(values.std()), 1e-6)


def learn(
    model: ShapeModel, images: Sequence[Image], points: Float, *, progress: Progress = QUIET
) -> dict[str, Array]:
    """Mean and modes of the appearance from images and the points ``(s, n, d)`` on them.

    ``texture_mean`` ``(t,)``, ``texture_modes`` ``(a, t)``.
    """
    over = lattice(model.mean)
    seen: list[Float] = []
    for image, p in progress.over(list(zip(images, points, strict=True)), "learning appearance"):
        volume = _calm(image, over.spacing)
        seen.append(read(volume, Frame.of(image.grid), over.carried(p)))
    mean, modes, _, _ = principal(np.stack(seen)[..., None], kept=KEPT)
    return {
        "texture_mean": mean[:, 0].astype(np.float32),
        "texture_modes": modes[..., 0].astype(np.float32),
    }


def _calm(image: Image, spacing: float) -> Array:
    return blurred(volume_of(image), image.grid.spacing, spacing, levels=0)[0]


class Appearance:
    """What the fit needs of a model, made once."""

    def __init__(self, model: ShapeModel) -> None:
        if "texture_mean" not in model.evidence:
            raise ParameterError(
                f"the shape model {model.card.name!r} knows no appearance; train it with images "
                "and appearance, or search by boundary or profile"
            )
        self.model = model
        self.over = lattice(model.mean)
        self.mean = np.asarray(model.evidence["texture_mean"], np.float64)
        self.modes = np.asarray(model.evidence["texture_modes"], np.float64)
        if len(self.mean) != len(self.over.places):
            raise ParameterError(
                f"the shape model {model.card.name!r} has {len(self.mean)} values of appearance "
                f"for a lattice of {len(self.over.places)}; train it again"
            )

    @cached_property
    def ways(self) -> Float:
        """Displacements of the mean's points ``(q, n, d)``: shift, turn and growth, then modes."""
        mean, d = self.model.mean, self.model.d
        shifts = [np.broadcast_to(row, mean.shape) for row in np.eye(d)]
        turns = []
        for a in range(d):
            for b in range(a + 1, d):
                turn = np.zeros_like(mean)
                turn[:, a], turn[:, b] = -mean[:, b], mean[:, a]
                turns.append(turn)
        return np.stack([*shifts, *turns, mean, *self.model.modes])

    @cached_property
    def slopes(self) -> Float:
        """Steepest descent ``(t, q)``, with the modes of the appearance projected out."""
        over = self.over
        whole = np.zeros(int(np.prod(over.cells)))
        whole[over.index] = self.mean
        inside = np.zeros(len(whole), bool)
        inside[over.index] = True
        grid, known = whole.reshape(over.cells), inside.reshape(over.cells)
        slope = np.stack([_slope(grid, known, a) for a in range(grid.ndim)], axis=-1) / over.spacing
        slope = slope.reshape(-1, grid.ndim)[over.index]
        descent = np.stack([(slope * over.carried(w)).sum(axis=1) for w in self.ways], axis=1)
        return descent - self.modes.T @ (self.modes @ descent)

    @cached_property
    def solver(self) -> Float:
        """``(q, t)``: the step that the values' difference from the mean asks for."""
        rigid = len(self.ways) - len(self.model.variances)
        hessian = self.slopes.T @ self.slopes
        # Modes of shape are bounded by their own spread, at the noise of the values.
        noise = 0.1 * len(self.mean) / 100
        prior = np.r_[np.zeros(rigid), noise / self.model.variances]
        found = np.linalg.solve(hessian + np.diag(prior), self.slopes.T)
        return np.asarray(found, np.float64)

    def fit(self, image: Image, begin: Fitted, *, limit: float = 3.0) -> tuple[Fitted, float]:
        """The shape fitted from ``begin`` on, and what is left: root mean square of the values."""
        frame, over, model = Frame.of(image.grid), self.over, self.model
        volume = _calm(image, over.spacing * begin.pose.scale)
        now, best, least = begin, begin, np.inf
        damped = 1.0
        for _ in range(STEPS):
            values = read(volume, frame, over.carried(now.points))
            apart = values - self.mean
            apart -= self.modes.T @ (self.modes @ apart)
            left = float(np.sqrt((apart**2).mean()))
            if left < least:
                best, least = now, left
            elif damped < 0.2:
                break
            else:
                now, damped = best, damped / 2
                continue
            step = -damped * np.tensordot(self.solver @ apart, self.ways, axes=1)
            there = self._composed(now.points, step)
            new = fitted(model, there, limit=limit, noise=0.0, rounds=4)
            if float(np.abs(new.points - now.points).max()) < 0.02 * over.spacing:
                break
            now = new
        return best, least

    def _composed(self, points: Float, step: Float) -> Float:
        """Where the current warp takes the mean's points when they are moved by ``step``."""
        over = self.over
        before = over.spread @ self.model.mean[over.chosen]
        after = over.spread @ points[over.chosen]
        one, two = before[over.simplices], after[over.simplices]
        edges = np.swapaxes(one[:, 1:] - one[:, :1], 1, 2)
        bent = np.swapaxes(two[:, 1:] - two[:, :1], 1, 2)
        each = bent @ np.linalg.pinv(edges)
        # A point of the surface moves by the mean of the simplices that meet at its corner.
        d = points.shape[1]
        sums = np.zeros((len(before), d, d))
        count = np.zeros(len(before))
        for c in range(d + 1):
            np.add.at(sums, over.simplices[:, c], each)
            np.add.at(count, over.simplices[:, c], 1)
        mean = sums[: len(over.chosen)] / np.maximum(count[: len(over.chosen), None, None], 1)
        nearest = np.abs(np.arange(len(points))[:, None] - over.chosen).argmin(axis=1)
        return points + np.einsum("nij,nj->ni", mean[nearest], step)


def _slope(values: Float, known: Array, axis: int) -> Float:
    """Central differences where both neighbours are known, else to the one that is."""
    ahead, back = np.roll(values, -1, axis), np.roll(values, 1, axis)
    fore, aft = np.roll(known, -1, axis), np.roll(known, 1, axis)
    edge = [slice(None)] * values.ndim
    edge[axis] = slice(-1, None)
    fore[tuple(edge)] = False
    edge[axis] = slice(0, 1)
    aft[tuple(edge)] = False
    up = np.where(fore, ahead - values, 0.0)
    down = np.where(aft, values - back, 0.0)
    return (up + down) / np.maximum(fore.astype(float) + aft, 1)


def begun(model: ShapeModel, at: Fitted) -> Fitted:
    """The mean shape at another fit's place and size: where an appearance search may begin."""
    pose = Similarity(at.pose.scale, at.pose.rotation, at.pose.shift)
    return model.posed(pose, np.zeros(len(model.variances)))
