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

    A blade is straight and dark: going inwards, the line integral falls by more than ``threshold``
    within three pixels, at the same place in nearly every row. No contour of a body does that. The
    edge itself is where the signal, averaged along it, passes half way. A side without such an edge
    is open to the border.
    """
    plane = np.asarray(log, np.float64)
    ny, nx = plane.shape
    left, right, top, bottom = 0.0, float(nx), 0.0, float(ny)
    # The second pass looks along the edges within the field only, where nothing covers them.
    for share in (0.5, 0.85):
        y0, y1 = round(top), round(bottom)
        left, right = _pair(plane[y0:y1], threshold, share)
        x0, x1 = round(left), round(right)
        top, bottom = _pair(plane[:, x0:x1].T, threshold, share)
    return Field(top, bottom, left, right)


def _pair(plane: Float, threshold: float, share: float) -> tuple[float, float]:
    from scipy.ndimage import uniform_filter1d

    n = plane.shape[1]
    if n < 16 or plane.shape[0] < 8:
        return 0.0, float(n)
    calm = uniform_filter1d(plane, 9, axis=0, mode="nearest")
    left = _edge(plane, calm, threshold, share)
    right = n - _edge(plane[:, ::-1], calm[:, ::-1], threshold, share)
    return (left, right) if right - left > 0.05 * n else (0.0, float(n))


def _edge(plane: Float, calm: Float, threshold: float, share: float) -> float:
    """Distance in pixels from the left border to the innermost blade's edge; 0 for none."""
    step, n = 3, plane.shape[1]
    fall = calm[:, :-step] - calm[:, step:]
    often = (fall > threshold).mean(axis=0)
    often[n // 2 :] = 0.0
    candidates = np.flatnonzero(often >= share)
    if not len(candidates):
        return 0.0
    steepest = np.median(fall[:, candidates], axis=0)
    best = int(candidates[np.argmax(steepest)])
    low, high = max(best - 4, 0), min(best + step + 5, n)
    profile = np.exp(-plane[:, low:high])
    # Each row counts the same, whatever the body lets through there.
    profile = np.median(profile / np.maximum(profile[:, -3:].mean(axis=1), 1e-12)[:, None], axis=0)
    half = 0.5 * (profile[: max(best - low, 1)].min() + profile[-3:].mean())
    for k in range(len(profile) - 1):
        if profile[k] <= half < profile[k + 1]:
            return low + k + 0.5 + (half - profile[k]) / (profile[k + 1] - profile[k])
    return best + 0.5 + step / 2
