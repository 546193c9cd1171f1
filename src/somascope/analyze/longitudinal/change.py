"""From two sizes to what has changed, and whether it is more than the uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from somascope.analyze.longitudinal.lesions import Size

SURE = 1.96
"""Standard uncertainties a change has to be away from nothing: 95 % of a normal distribution."""


@dataclass(frozen=True)
class Change:
    """Relative changes in per cent, differences in mm, each with its standard uncertainty.

    ``doubling``: days in which the volume doubles at this rate (negative: halves), where the days
    between the examinations are known and the volume has changed.
    """

    volume: float
    volume_spread: float
    long: float
    long_spread: float
    mean: float
    mean_spread: float
    doubling: float | None = None

    @property
    def course(self) -> str:
        """``grown``, ``shrunk`` or ``stable``: by volume, against its uncertainty."""
        if abs(self.volume) <= SURE * self.volume_spread:
            return "stable"
        return "grown" if self.volume > 0 else "shrunk"


def change(prior: Size, current: Size, *, days: int | None = None) -> Change:
    """How a lesion has changed; the uncertainties of both examinations are independent."""
    ratio = current.volume / prior.volume
    relative = np.hypot(current.volume_spread / current.volume, prior.volume_spread / prior.volume)
    doubling = None
    if days and abs(np.log2(ratio)) > 1e-9:
        doubling = float(days / np.log2(ratio))
    both = float(np.hypot(prior.spread, current.spread))
    return Change(
        volume=100 * (ratio - 1),
        volume_spread=float(100 * ratio * relative),
        long=100 * (current.long / prior.long - 1),
        long_spread=float(
            100 * current.long / prior.long
            * np.hypot(prior.spread / prior.long, current.spread / current.long)
        ),
        mean=current.mean - prior.mean,
        mean_spread=both / np.sqrt(2),
        doubling=doubling,
    )  # fmt: skip


def days_between(prior: str, current: str) -> int | None:
    """Days from one DICOM date to another; None where one is no date."""
    try:
        one, two = (date.fromisoformat(t.replace(".", "")) for t in (prior, current))
    except ValueError:
        return None
    return (two - one).days
