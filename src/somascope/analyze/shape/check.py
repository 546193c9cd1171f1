"""Is this shape plausible: how far from the mean, in which mode, and how far off the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from somascope.analyze.shape.bodies import surfaces
from somascope.analyze.shape.correspond import Elastic, corresponding
from somascope.analyze.shape.model import ShapeModel, fitted
from somascope.core import Mask
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

REMARKABLE = 2.5
"""Standard deviations from which on a mode is named."""


@dataclass(frozen=True, eq=False)
class Check:
    """What a shape is, measured against a model.

    Parameters
    ----------
    deviations
        ``(k,)``: each mode in standard deviations.
    distance
        Mahalanobis distance of the modes.
    limit
        The distance that a new shape of the same kind exceeds with the probability asked for.
    probability
        With which it would be as far or farther.
    off
        mm (root mean square) from the nearest shape of the model, and ``off_limit`` what is usual.
    size
        Standard deviations of the logarithm of its scale.
    """

    deviations: Float
    distance: float
    limit: float
    probability: float
    off: float
    off_limit: float
    size: float
    points: Float

    @property
    def plausible(self) -> bool:
        """Within all limits."""
        return self.distance <= self.limit and self.off <= self.off_limit and abs(self.size) <= 4

    def words(self) -> str:
        """Which modes are unusual and how far; the largest first."""
        order = np.argsort(-np.abs(self.deviations))
        named = [
            f"mode {k + 1} at {self.deviations[k]:+.1f} sd"
            for k in order[:4] if abs(self.deviations[k]) >= REMARKABLE
        ]  # fmt: skip
        if not named and len(order) and self.distance > self.limit:
            named = [f"mode {order[0] + 1} at {self.deviations[order[0]]:+.1f} sd, the farthest"]
        said = [
            f"distance {self.distance:.1f} of at most {self.limit:.1f} (p = {self.probability:.2g})"
        ]
        said += named
        beyond = "beyond" if self.off > self.off_limit else "within"
        said.append(f"{self.off:.2f} mm off the model, {beyond} the usual {self.off_limit:.2f} mm")
        if abs(self.size) > REMARKABLE:
            said.append(f"size at {self.size:+.1f} sd")
        return "; ".join(said)


def limits(modes: int, shapes: int, *, level: float) -> tuple[float, float]:
    """The Mahalanobis distance that a new shape exceeds with probability ``1 - level``.

    Returns it and the factor that makes a squared distance an F of ``modes`` and
    ``shapes - modes`` degrees of freedom: Hotelling's prediction region, as mean and variances
    are estimated themselves. For many shapes its square is the chi-squared limit of ``modes``
    degrees of freedom.
    """
    if not 0 < level < 1:
        raise ParameterError(f"level is {level}; give a probability between 0 and 1")
    if shapes <= modes:
        return float(np.sqrt(stats.chi2.ppf(level, modes))), float("nan")
    factor = shapes * (shapes - modes) / (modes * (shapes**2 - 1))
    return float(np.sqrt(stats.f.ppf(level, modes, shapes - modes) / factor)), factor


def checked(
    model: ShapeModel, points: Float, *, level: float = 0.99, weights: Array | None = None
) -> Check:
    """Corresponding points ``(n, d)`` held against the model."""
    k = len(model.variances)
    near = fitted(model, points, weights=weights, limit=np.inf, noise=0.0)
    deviations = near.b / model.deviations
    distance = float(np.sqrt((deviations**2).sum()))
    limit, factor = limits(k, model.card.shapes, level=level)
    square = distance**2
    if np.isfinite(factor):
        probability = float(stats.f.sf(square * factor, k, model.card.shapes - k))
    else:
        probability = float(stats.chi2.sf(square, k))
    off = float(np.sqrt(((near.points - points) ** 2).sum(axis=1).mean())) / near.pose.scale
    mean, spread = model.card.log_size
    size = (float(np.log(near.pose.scale)) - mean) / max(spread, 1e-6)
    return Check(deviations, distance, limit, probability, off, model.card.off_limit, size, points)


def points_of(model: ShapeModel, mask: Mask, numbers: tuple[int, ...]) -> Float:
    """The model's points ``(n, d)`` on a mask's segments."""
    model.demand(mask.grid, "the mask")
    if len(numbers) != len(model.card.segments):
        raise ParameterError(
            f"the shape model {model.card.name!r} is of {len(model.card.segments)} segments and "
            f"{len(numbers)} are given; name as many, in its order"
        )
    return corresponding(Elastic(model.mesh(model.mean)), surfaces(mask, numbers))
