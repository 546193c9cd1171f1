"""From a fan to parallel rays: every line of a turning fan is a line of some parallel view.

In the convention of `geometry` the ray of column angle ``gamma`` at source angle ``beta`` is the
parallel ray ``theta = beta - gamma``, ``s = R sin gamma``; the line is measured again, backwards,
at ``theta + pi``, ``-s``. Both are read from cubic B-splines (Unser 1999), whose blur is far below
that of linear interpolation, and averaged with weights that fall smoothly to zero where the arc or
the detector ends: full, short (Parker 1982) and half-fan scans are then one formula.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike

from somascope.acquire.ct.turn import Turn, turn_of
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float

_PAD = 3


@dataclass(frozen=True)
class Fan:
    """What rebinning needs to know of a fan-beam scan.

    Attributes
    ----------
    angles
        Source angles in radians, in any order; spacing may vary (`turn_of`).
    bins, spacing, shift
        Columns; their distance at the detector in mm; detector offset in columns.
    source, detector
        Source to isocentre and to detector in mm.
    curved
        Columns at equal angles.
    """

    angles: Float
    bins: int
    spacing: float
    shift: float
    source: float
    detector: float
    curved: bool

    @property
    def step(self) -> float:
        """Angle between views in radians; signed. Refuses views that are not equally spaced."""
        steps = np.diff(np.unwrap(self.angles))
        step = float(np.mean(steps)) if steps.size else 0.0
        if step == 0 or np.abs(steps - step).max() > 0.05 * step:
            raise GeometryError(
                f"{len(self.angles)} views that are not equally spaced, or too few; a helix is "
                "rebinned with equal steps only: reconstruct iteratively, or resample the views"
            )
        return step

    @cached_property
    def turn(self) -> Turn:
        """The views by rising angle, equally spaced or not."""
        return turn_of(self.angles)

    def gamma(self, column: ArrayLike) -> Float:
        """Fan angle in radians of (fractional) columns."""
        t = (np.asarray(column, np.float64) - (self.bins - 1) / 2 + self.shift) * self.spacing
        return t / self.detector if self.curved else np.arctan(t / self.detector)

    def column(self, gamma: Float) -> Float:
        """The column that fan angles fall on."""
        t = np.asarray(gamma) if self.curved else np.tan(gamma)
        return t * self.detector / self.spacing + (self.bins - 1) / 2 - self.shift

    @property
    def edges(self) -> tuple[float, float]:
        """Fan angles of the detector's first and last column."""
        first, last = self.gamma(np.array([0.0, self.bins - 1.0]))
        return float(first), float(last)


@dataclass(frozen=True)
class Target:
    """The parallel scan that a fan becomes: ``angles`` over a half turn, ``bins`` about s = 0."""

    angles: Float
    bins: int
    spacing: float


def target(fan: Fan) -> Target:
    """Parallel views with the fan's mean angular step and its bin size at the isocentre."""
    turn = fan.turn
    views = max(round(np.pi / turn.step), 1)
    widest = max(abs(e) for e in fan.edges)
    spacing = fan.spacing * fan.source / fan.detector
    half = math.floor(fan.source * math.sin(widest) / spacing)
    first, last = fan.edges
    # The half turn in the middle of what the arc covers.
    spare = turn.arc - np.pi - (last - first)
    begin = 0.0 if turn.full else turn.angles[0] + max(spare, 0.0) / 2 - first
    angles = np.asarray(begin + np.arange(views) * (np.pi / views), np.float64)
    return Target(angles, 2 * half + 1, spacing)


def rebin(samples: Array, fan: Fan, to: Target) -> Array:
    """Parallel projections ``(slices, views, bins)`` of fan ones ``(slices, views, bins)``.

    Raises
    ------
    GeometryError
        The arc is shorter than a half turn and the fan, or the views leave a gap.
    """
    turn = fan.turn
    full, step, arc = turn.full, turn.step, turn.arc
    low, high = fan.edges
    s = (np.arange(to.bins) - (to.bins - 1) / 2) * to.spacing
    gamma = np.arcsin(np.clip(s / fan.source, -1, 1))
    column = fan.column(gamma)
    uneven = abs(abs(high) - abs(low)) > 1.5 * fan.spacing / fan.detector
    overlap = min(abs(low), abs(high))
    fade = min(0.5 * overlap, 0.15 * (high - low)) if uneven else 0.0
    reading = np.stack([column, column[::-1]])
    beside = np.stack([_fade(g, low, high, fade) for g in (gamma, -gamma)])
    spare = arc - np.pi
    if not full and spare < 0:
        raise GeometryError(
            f"the views cover {np.rad2deg(arc):.1f} degrees; fan-beam reconstruction needs 180 and "
            f"the fan ({np.rad2deg(high - low):.1f}): reconstruct iteratively"
        )
    at = turn.place(to.angles[:, None, None] + np.stack([gamma, np.pi - gamma]))
    if full:
        along = np.ones_like(at)
    else:
        end = len(fan.angles) - 1
        ends = np.minimum(at, end - at)
        width = max(min(0.25 * (arc - np.pi) / step, end / 4), 1.0)
        along = np.where(ends >= -0.5, _smooth(np.maximum(ends + 0.5, 0) / width), 0.0)
    weight = along * beside
    total = weight.sum(axis=1, keepdims=True)
    missing = float(np.mean(total <= 0))
    if missing > 0.005:
        raise GeometryError(
            f"the views cover {np.rad2deg(arc):.1f} degrees and leave {missing:.1%} of the lines "
            f"unseen; a short scan needs 180 degrees and the fan ({np.rad2deg(high - low):.1f})"
        )
    weight = (weight / np.where(total > 0, total, 1)).astype(np.float32)
    out = np.empty((len(samples), len(to.angles), to.bins), np.float32)
    for k, one in enumerate(samples):
        knots = knots_of(np.asarray(one[turn.order], np.float32), periodic=full)
        read_knots(knots, at.astype(np.float32), reading.astype(np.float32), weight, out[k])
    return out


def _smooth(x: Float) -> Float:
    x = np.clip(x, 0, 1)
    return 1e-6 + x * x * (3 - 2 * x)


def _fade(gamma: Float, low: float, high: float, width: float) -> Float:
    """1 inside the detector, falling to nothing at its ends over ``width``; 0 outside."""
    inside = np.minimum(gamma - low, high - gamma)
    tolerance = 1e-9 + 1e-6 * (high - low)
    return np.where(inside >= -tolerance, _smooth(inside / width) if width > 0 else 1.0, 0.0)


def knots_of(view: Array, *, periodic: bool) -> Array:
    """Cubic B-spline coefficients, with a border for the kernel's reach."""
    from scipy import ndimage

    prefilter: Any = ndimage.spline_filter1d
    mode = "grid-wrap" if periodic else "mirror"
    first = prefilter(view, 3, axis=0, output=np.float32, mode=mode)
    both = prefilter(first, 3, axis=1, output=np.float32, mode="mirror")
    both = np.pad(both, ((_PAD, _PAD), (0, 0)), mode="wrap" if periodic else "reflect")
    return np.ascontiguousarray(np.pad(both, ((0, 0), (_PAD, _PAD)), mode="reflect"))


@numba.njit(parallel=True, cache=True, fastmath=True, error_model="numpy", boundscheck=False)
def read_knots(knots: Array, at: Array, column: Array, weight: Array, out: Array) -> None:
    """Weighted sum of spline values at fractional views and columns, float32.

    ``at`` and ``weight`` are ``(views, readings, bins)``, ``column`` ``(readings, bins)``; ``out``
    ``(views, bins)``. Places outside the data take the outermost value.
    """
    rows, width = knots.shape
    flat = knots.reshape(-1)
    views, twins, bins = at.shape
    one = np.float32(1)
    sixth = np.float32(1 / 6)
    top = np.float32(rows - 2 * _PAD)
    right = np.float32(width - 2 * _PAD - 1)
    border = np.float32(_PAD)
    for v in numba.prange(views):
        for j in range(bins):
            total = np.float32(0)
            for twin in range(twins):
                w = weight[v, twin, j]
                if w == 0:
                    continue
                b = min(max(at[v, twin, j], -one), top) + border
                c = min(max(column[twin, j], np.float32(0)), right) + border
                ib, ic = np.uint32(b), np.uint32(c)
                f, g = b - np.float32(ib), c - np.float32(ic)
                e, h = one - f, one - g
                w0 = e * e * e * sixth
                w3 = f * f * f * sixth
                w1 = np.float32(2 / 3) - np.float32(0.5) * f * f * (np.float32(2) - f)
                w2 = one - w0 - w1 - w3
                x0 = h * h * h * sixth
                x3 = g * g * g * sixth
                x1 = np.float32(2 / 3) - np.float32(0.5) * g * g * (np.float32(2) - g)
                x2 = one - x0 - x1 - x3
                k = (ib - np.uint32(1)) * np.uint32(width) + ic - np.uint32(1)
                value = np.float32(0)
                for r in range(4):
                    line = (
                        x0 * flat[k]
                        + x1 * flat[k + np.uint32(1)]
                        + x2 * flat[k + np.uint32(2)]
                        + x3 * flat[k + np.uint32(3)]
                    )
                    value += line * (w0 if r == 0 else w1 if r == 1 else w2 if r == 2 else w3)
                    k += np.uint32(width)
                total += w * value
            out[v, j] = total
