"""The collimated field of a radiograph: four straight edges, found by a Radon-like search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.core.grid import Array, Float


@dataclass(frozen=True)
class Field:
    """An upright field: pixels ``top <= y < bottom``, ``left <= x < right`` (edges, fractional)."""

    top: float
    bottom: float
    left: float
    right: float

    def mask(self, shape: tuple[int, ...]) -> Array:
        """Pixels whose centre lies inside, bool."""
        y, x = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
        return (
            (y >= self.top - 0.5) & (y < self.bottom - 0.5)
            & (x >= self.left - 0.5) & (x < self.right - 0.5)
        )  # fmt: skip


def find_field(log: Array, *, threshold: float = 0.35) -> Field:
    """The field of view of the collimator on line integrals ``(ny, nx)``, dense is high.

    Behind the blades the beam is weaker by orders of magnitude along a whole straight edge. For
    every candidate edge the profile across it is the median along it, which a body or a bone does
    not move; an edge is taken where that profile falls towards the inside by more than
    ``threshold`` (in line integral) within three pixels and the strip outside is dark and even
    throughout. No edge on a side: the field reaches the border there.
    """
    plane = np.asarray(log, np.float64)
    ny, nx = plane.shape
    left, right, top, bottom = 0.0, float(nx), 0.0, float(ny)
    # Two passes: the second looks along the edges within the field only, where they are cleanest.
    for _ in range(2):
        y0, y1 = round(top), round(bottom)
        left, right = _pair(plane[y0:y1], threshold)
        x0, x1 = round(left), round(right)
        top, bottom = _pair(plane[:, x0:x1].T, threshold)
    return Field(top, bottom, left, right)


def _pair(plane: Float, threshold: float) -> tuple[float, float]:
    n = plane.shape[1]
    left = _edge(plane, threshold)
    right = n - _edge(plane[:, ::-1], threshold)
    return (left, right) if right - left > 0.05 * n else (0.0, float(n))


def _edge(plane: Float, threshold: float) -> float:
    """Distance in pixels from the left border to the innermost blade's edge; 0 for none."""
    n = plane.shape[1]
    low = np.percentile(plane, 20, axis=0)
    middle = np.median(plane, axis=0)
    reach = n // 2
    step = 2
    # The lower fifth along the edge: the body covers part of it, open beam or lung the rest.
    fall = low[: reach - step] - low[step:reach]
    dark = np.minimum.accumulate(low)[: reach - step]
    inside = np.percentile(plane[:, n // 4 : -(n // 4) or None], 80)
    candidates = np.flatnonzero(
        (fall > threshold) & (dark > inside) & (middle[: reach - step] > inside)
    )
    if not len(candidates):
        return 0.0
    best = int(candidates[np.argmax(fall[candidates])])
    lo, hi = max(best - 3, 0), min(best + 6, n)
    profile = np.median(np.exp(-(plane[:, lo:hi] - plane[:, lo:hi].min())), axis=0)
    half = 0.5 * (profile[: max(best - lo, 1)].mean() + profile[best - lo + 3 :].mean())
    for k in range(len(profile) - 1):
        if profile[k] <= half <= profile[k + 1] and profile[k + 1] > profile[k]:
            return lo + k + (half - profile[k]) / (profile[k + 1] - profile[k]) + 0.5
    return best + 1.5
