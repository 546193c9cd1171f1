"""Procrustes: shapes laid on one another by moving, turning and scaling them, never by mirroring.

Gower, Psychometrika 40 (1975) 33-51; Umeyama, PAMI 13 (1991) 376-380.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float


@dataclass(frozen=True, eq=False)
class Similarity:
    """``x -> scale rotation x + shift`` in d dimensions."""

    scale: float
    rotation: Float
    shift: Float

    @classmethod
    def identity(cls, d: int) -> Similarity:
        """The one that moves nothing."""
        return cls(1.0, np.eye(d), np.zeros(d))

    def __call__(self, points: Float) -> Float:
        """Points ``(..., d)`` where they are taken to."""
        return self.scale * points @ self.rotation.T + self.shift

    def inverse(self) -> Similarity:
        """The way back."""
        turned = self.rotation.T
        return Similarity(1 / self.scale, turned, -turned @ self.shift / self.scale)


def superimposed(
    points: Float, target: Float, weights: Array | None = None, *, scaled: bool = True
) -> Similarity:
    """The least-squares similarity from ``points`` ``(n, d)`` to ``target``; ``weights`` ``(n,)``.

    Without ``scaled`` a rigid map.
    """
    w = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
    total = float(w.sum())
    if total <= 0:
        raise ParameterError("superimposed: every weight is 0; there is nothing to lay on")
    a, b = w @ points / total, w @ target / total
    p, q = points - a, target - b
    u, s, vt = np.linalg.svd((q * w[:, None]).T @ p)
    sign = np.ones(len(s))
    sign[-1] = np.sign(np.linalg.det(u @ vt)) or 1.0
    rotation = (u * sign) @ vt
    spread = float((w * (p**2).sum(axis=1)).sum())
    scale = float((s * sign).sum()) / spread if scaled and spread > 0 else 1.0
    return Similarity(scale, rotation, b - scale * rotation @ a)


def size(points: Float) -> float:
    """Centroid size: root of the mean squared distance from the centroid, mm."""
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))


@dataclass(frozen=True, eq=False)
class Aligned:
    """Shapes ``(s, n, d)`` laid on their ``mean`` ``(n, d)``, and the maps that took each there."""

    shapes: Float
    mean: Float
    maps: tuple[Similarity, ...]


def aligned(shapes: Float, *, rounds: int = 30, tolerance: float = 1e-10) -> Aligned:
    """Generalised Procrustes analysis of shapes ``(s, n, d)`` in mm.

    The mean is centred, has the mean centroid size of the shapes, and lies as they do on the
    average.
    """
    if shapes.ndim != 3 or len(shapes) < 2:
        raise ParameterError(f"shapes have shape {shapes.shape}; give two or more as (s, n, d)")
    unit = float(np.mean([size(s) for s in shapes]))
    if not unit > 0:
        raise ParameterError("all points of the shapes are at one place; there is no shape")
    mean = (shapes[0] - shapes[0].mean(axis=0)) * unit / size(shapes[0])
    maps: list[Similarity] = []
    for _ in range(rounds):
        maps = [superimposed(s, mean) for s in shapes]
        new = np.mean([m(s) for m, s in zip(maps, shapes, strict=True)], axis=0)
        new -= new.mean(axis=0)
        new *= unit / size(new)
        new = superimposed(new, mean, scaled=False)(new)
        moved, mean = float(np.abs(new - mean).max()), new
        if moved < tolerance * unit:
            break
    # As the shapes lie: the mean turned by the mean of the rotations back.
    u, _, vt = np.linalg.svd(np.sum([m.rotation.T for m in maps], axis=0))
    sign = np.ones(len(u))
    sign[-1] = np.sign(np.linalg.det(u @ vt)) or 1.0
    mean = mean @ ((u * sign) @ vt).T
    maps = [superimposed(s, mean) for s in shapes]
    laid = np.stack([m(s) for m, s in zip(maps, shapes, strict=True)])
    return Aligned(laid, mean, tuple(maps))
