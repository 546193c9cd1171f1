"""Whether one model is better than another on the same cases, or only luckier."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.learn.metrics.bootstrap import DRAWS
from somascope.learn.metrics.ranking import mean_ranks


@dataclass(frozen=True)
class Difference:
    """A figure of the first model minus that of the second: 95 % interval and two-sided p."""

    name: str
    first: float
    second: float
    low: float
    high: float
    p: float
    cases: int
    method: str

    @property
    def value(self) -> float:
        """First minus second."""
        return self.first - self.second


def paired(
    name: str,
    figures: tuple[Callable[[Array], float], Callable[[Array], float]],
    patients: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Difference:
    """Both figures on the same draws of patients (Efron, 1979): what differs is the models.

    ``figures`` take case numbers ``(n,)``, some repeated. ``p`` is twice the part of draws on the
    other side of no difference, and never less than two in ``draws``.
    """
    names, which = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        raise ParameterError("one patient cannot tell two models apart; give more cases")
    members = [np.nonzero(which == i)[0] for i in range(len(names))]
    rng = np.random.default_rng(seed)
    whole = np.arange(len(patients))
    first, second = (f(whole) for f in figures)
    found = np.empty(draws)
    for i in range(draws):
        some = np.concatenate([members[j] for j in rng.integers(len(names), size=len(names))])
        found[i] = figures[0](some) - figures[1](some)
    found = found[np.isfinite(found)]
    if not len(found):
        nan = float("nan")
        return Difference(name, first, second, nan, nan, nan, len(patients), "paired bootstrap")
    low, high = np.percentile(found, (2.5, 97.5))
    sides = (float((found <= 0).mean()), float((found >= 0).mean()))
    p = min(max(2 * min(sides), 2 / len(found)), 1.0)
    return Difference(
        name, first, second, float(low), float(high), p, len(patients), "paired bootstrap"
    )


def delong(first: Float, second: Float, positive: Array) -> Difference:
    """Two areas under ROC curves of the same cases, each case a patient of its own.

    Sources: DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988; the ranks of Sun and Xu, IEEE
    Signal Processing Letters 21, 2014. Where all placements are alike (both models part the cases
    perfectly, or one perfectly and one the wrong way round) there is no variance to judge by: two
    areas that differ then have neither a p nor an interval (NaN).

    Raises
    ------
    ParameterError
        Fewer than two cases of a kind.
    """
    positive = np.asarray(positive, bool)
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        raise ParameterError(
            f"{m} positive and {n} negative cases; DeLong's test needs two of each"
        )
    areas: list[float] = []
    parts: list[tuple[Float, Float]] = []
    for score in (np.asarray(first, np.float64), np.asarray(second, np.float64)):
        ranks = mean_ranks(score)
        yes = (ranks[positive] - mean_ranks(score[positive])) / n
        no = 1 - (ranks[~positive] - mean_ranks(score[~positive])) / m
        areas.append(float(yes.mean()))
        parts.append((yes, no))
    both = [np.cov(parts[0][k], parts[1][k]) / count for k, count in ((0, m), (1, n))]
    variance = both[0] + both[1]  # of both areas, 2 x 2
    wide = float(np.sqrt(max(variance[0, 0] + variance[1, 1] - 2 * variance[0, 1], 0.0)))
    apart = areas[0] - areas[1]
    # A variance that is there is far above rounding: placements are steps of 1 / m and 1 / n.
    if wide > 1e-12:
        p, reach = math.erfc(abs(apart) / wide / math.sqrt(2)), 1.959963984540054 * wide
    elif abs(apart) > 1e-12:
        p = reach = float("nan")
    else:
        p, reach = 1.0, 0.0
    return Difference("auc", areas[0], areas[1], apart - reach, apart + reach, p, m + n, "DeLong")
