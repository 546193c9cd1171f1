"""The views of a turning source in the order of their angles, however they were taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float

_FEWEST = 8
_GAP = np.deg2rad(5.0)
"""A gap of more than this, and of eight usual steps, is a piece of the turn that is missing."""


@dataclass(frozen=True, eq=False)
class Turn:
    """Views by rising angle.

    Attributes
    ----------
    order
        Numbers of the views by rising angle.
    angles
        Their angles in radians, rising without jumps.
    step
        Mean distance of neighbours in radians.
    full
        Whether they fill one whole turn.
    share
        Radians that each view stands for, half the gaps to both neighbours, as the views were
        given.
    """

    order: Array
    angles: Float
    step: float
    full: bool
    share: Float

    @property
    def arc(self) -> float:
        """From the first to the last view in radians."""
        return float(self.angles[-1] - self.angles[0])

    def place(self, angle: Float) -> Float:
        """Fractional number (by rising angle) of the view at ``angle``; beyond the ends, too.

        Between two views it is linear in the angle; a full turn closes on itself.
        """
        count, known = len(self.angles), self.angles - self.angles[0]
        if self.full:
            beyond = np.mod(angle - self.angles[0], 2 * np.pi)
            return np.interp(beyond, np.append(known, 2 * np.pi), np.arange(count + 1))
        half = 0.5 * self.step
        beyond = np.mod(angle - self.angles[0] + half, 2 * np.pi) - half
        at = np.interp(beyond, known, np.arange(count))
        at = np.where(beyond < 0, beyond / self.step, at)
        return np.where(beyond > known[-1], count - 1 + (beyond - known[-1]) / self.step, at)


def turn_of(angles: Float) -> Turn:
    """The turn of views at ``angles`` (radians): evenly spaced or not, in any order.

    Raises
    ------
    GeometryError
        Fewer than eight views, two of one angle, or a gap that no interpolation bridges.
    """
    angles = np.asarray(angles, np.float64)
    if len(angles) < _FEWEST:
        raise GeometryError(f"{len(angles)} views are too few; give at least {_FEWEST}")
    rising = np.unwrap(angles)
    order = np.arange(len(angles))
    if rising[-1] < rising[0]:
        order, rising = order[::-1], rising[::-1]
    if np.diff(rising).min() <= 0 or rising[-1] - rising[0] > 2.5 * np.pi:
        order, rising = _sorted(angles)
    gaps = np.diff(rising)
    step = float(gaps.mean())
    if gaps.min() < 1e-6 * step:
        raise GeometryError("two views have one angle; keep one of them, or their mean")
    closing = 2 * np.pi - float(rising[-1] - rising[0])
    full = 1e-3 * step < closing <= 1.6 * max(step, float(gaps.max()))
    widest = int(np.argmax(gaps))
    if gaps[widest] > max(_GAP, 8 * float(np.median(gaps))):
        a, b = np.rad2deg(rising[widest : widest + 2])
        raise GeometryError(
            f"no view was taken between {a:.1f} and {b:.1f} degrees; analytic reconstruction needs "
            "views without gaps: reconstruct iteratively (acquire.ct.sirt, acquire.ct.tv)"
        )
    ends = (closing, closing) if full else (gaps[0], gaps[-1])
    share = np.empty(len(angles))
    share[order] = 0.5 * (np.append(ends[0], gaps) + np.append(gaps, ends[1]))
    return Turn(order, rising, step, full, share)


def _sorted(angles: Float) -> tuple[Array, Float]:
    """Order and angles on the circle, cut at the widest gap."""
    circle = np.mod(angles, 2 * np.pi)
    order = np.argsort(circle, kind="stable")
    gaps = np.diff(np.append(circle[order], circle[order[0]] + 2 * np.pi))
    order = np.roll(order, -(int(np.argmax(gaps)) + 1))
    return order, np.unwrap(circle[order])
