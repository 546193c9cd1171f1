"""`ShapeModel`: the mean of a kind of body and the ways in which it varies.

``x = mean + sum_k b_k mode_k``; the ``b_k`` of a shape are told in standard deviations
(Cootes, Taylor, Cooper and Graham, CVIU 61 (1995) 38-59).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from somascope.analyze.shape.mesh import Mesh
from somascope.analyze.shape.procrustes import Similarity, superimposed
from somascope.core import Card, Grid, Segment
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float

FEWEST = 5
"""Shapes that a model needs."""


@dataclass(frozen=True)
class ShapeCard(Card):
    """What a shape model is of.

    Parameters
    ----------
    segments
        One for each body, in the order of its parts.
    shapes
        How many it was learnt from.
    log_size
        Mean and standard deviation of the natural logarithm of the scale of a shape's pose.
    centre, around
        Where bodies lay in their images, as fractions of the extent along (z, y, x): mean and
        standard deviation.
    rest
        Variance per coordinate that the kept modes leave, mm2.
    kept
        Part of the variance that the modes hold.
    off_limit
        mm (root mean square over the points) that 99 % of shapes are off a model made of the
        others.
    compactness, generalisation, specificity
        For each number of modes from 1: part of the variance; mm by which a shape left out is
        missed; mm from a random shape of the model to the nearest it learnt from.
    step, levels, reach
        Of the search along normals: mm between samples at the finest level, how many levels, and
        samples looked at on each side; 0 levels where no images were given.
    sha256
        Of the arrays' file.
    """

    segments: tuple[Segment, ...] = ()
    shapes: int = 0
    log_size: tuple[float, float] = (0.0, 1.0)
    centre: tuple[float, float, float] = (0.5, 0.5, 0.5)
    around: tuple[float, float, float] = (0.1, 0.1, 0.1)
    rest: float = 0.0
    kept: float = 1.0
    off_limit: float = 0.0
    compactness: tuple[float, ...] = ()
    generalisation: tuple[float, ...] = ()
    specificity: tuple[float, ...] = ()
    step: float = 0.0
    levels: int = 0
    reach: int = 0
    sha256: str = ""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A shape of a model: ``pose(mean + sum b_k mode_k)``, and those points ``(n, d)`` in mm."""

    pose: Similarity
    b: Float
    points: Float


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """A point distribution model.

    Parameters
    ----------
    card
        What it is of.
    mean
        ``(n, d)`` mm, centred, lying as the shapes lay on the average.
    modes
        ``(k, n, d)``, orthonormal over ``n d``, the largest first.
    variances
        ``(k,)`` mm2.
    faces, parts
        As of a `Mesh`.
    evidence
        What the search along normals and the appearance model learnt, by name; empty without
        images.
    """

    card: ShapeCard
    mean: Float
    modes: Float
    variances: Float
    faces: Array
    parts: Array
    evidence: Mapping[str, Array] = field(default_factory=dict[str, Array])

    def __repr__(self) -> str:
        return (
            f"ShapeModel({self.card.name!r}, {self.card.shapes} shapes, {len(self.mean)} points in "
            f"{self.d}-D, {len(self.variances)} modes)"
        )

    @property
    def d(self) -> int:
        """Dimensions of its points."""
        return self.mean.shape[1]

    @property
    def deviations(self) -> Float:
        """Standard deviation of each mode, mm."""
        return np.sqrt(self.variances)

    def mesh(self, points: Float) -> Mesh:
        """The surface of these points."""
        return Mesh(points, self.faces, self.parts)

    def shape(self, b: Float) -> Float:
        """Points ``(n, d)`` in the model's own frame for ``b`` ``(k,)`` in mm."""
        return self.mean + np.tensordot(b, self.modes[: len(b)], axes=1)

    def posed(self, pose: Similarity, b: Float) -> Fitted:
        """The shape ``b`` at a pose."""
        return Fitted(pose, b, pose(self.shape(b)))

    def bounded(self, b: Float, limit: float) -> Float:
        """``b`` with each mode within ``limit`` standard deviations."""
        return np.clip(b, -limit * self.deviations, limit * self.deviations)

    def demand(self, grid: Grid, what: str) -> None:
        """Refuse a grid of other dimensions."""
        flat = grid.shape[0] == 1
        if flat != (self.d == 2):
            raise GeometryError(
                f"the shape model {self.card.name!r} is {self.d}-D and {what} is "
                f"{2 if flat else 3}-D {grid.shape}; choose a model made of "
                f"{'slices' if flat else 'volumes'}"
            )


def principal(shapes: Float, *, kept: float) -> tuple[Float, Float, Float, Float]:
    """Mean ``(n, d)``, modes ``(k, n, d)``, variances ``(k,)`` and all variances of ``(s, n, d)``.

    ``kept``: part of the variance that the modes hold; at least one, at most ``s - 1``. A mode's
    sign is that of its largest coordinate.
    """
    if not 0 < kept <= 1:
        raise ParameterError(f"principal: kept is {kept}; give a part of the variance, 0 to 1")
    s, n, d = shapes.shape
    mean = shapes.mean(axis=0)
    flat = (shapes - mean).reshape(s, n * d)
    _, values, vectors = np.linalg.svd(flat, full_matrices=False)
    variances = values[: s - 1] ** 2 / (s - 1)
    total = float(variances.sum())
    if total <= 0:
        raise ParameterError("all shapes are equal; there is nothing to learn from them")
    enough = np.cumsum(variances) / total >= kept - 1e-12
    k = int(enough.argmax()) + 1 if enough.any() else len(variances)
    k = min(k, int((variances > 1e-12 * variances[0]).sum()))
    modes = vectors[:k]
    strongest = np.abs(modes).argmax(axis=1)
    modes = modes * np.sign(modes[np.arange(k), strongest])[:, None]
    return mean, modes.reshape(k, n, d), variances[:k], variances


def fitted(
    model: ShapeModel,
    target: Float,
    *,
    weights: Array | None = None,
    limit: float = 3.0,
    noise: float | None = None,
    rounds: int = 12,
) -> Fitted:
    """The shape of the model nearest to corresponding points ``(n, d)``, posed onto them.

    Parameters
    ----------
    weights
        ``(n,)`` of the points.
    limit
        Standard deviations that no mode goes beyond.
    noise
        Standard deviation in mm with which a coordinate is known; by default what the model's
        modes leave. 0: plain projection.
    """
    w = np.ones(len(target)) if weights is None else np.asarray(weights, np.float64)
    variance = model.card.rest if noise is None else noise**2
    k = len(model.variances)
    flat = model.modes.reshape(k, -1)
    wide = np.repeat(w, model.d)
    gram = (flat * wide) @ flat.T
    b = np.zeros(k)
    pose = superimposed(model.mean, target, w)
    for _ in range(rounds):
        pose = superimposed(model.shape(b), target, w)
        local = (pose.inverse()(target) - model.mean).ravel()
        prior = np.diag(variance / pose.scale**2 / model.variances)
        free = np.linalg.solve(gram + prior, flat @ (wide * local))
        new = model.bounded(np.asarray(free, np.float64), limit)
        moved, b = float(np.abs((new - b) / model.deviations).max()), new
        if moved < 1e-6:
            break
    return model.posed(pose, b)
