"""Intervals by drawing patients with replacement (Efron, 1979; percentile method, or centred)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from somascope.core.grid import Array

DRAWS = 500


def interval(
    figure: Callable[[Array], float],
    patients: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    centred: bool = False,
) -> tuple[float, float, float]:
    """A figure of all cases, and its 95 % interval.

    ``figure`` takes case numbers ``(n,)``, some of them repeated. All cases of a patient are drawn
    together. Draws in which the figure does not exist (one class only) are left out.

    ``centred`` is for errors that chance can only add to, as that of calibration: a draw has chance
    twice, in the cases and in the drawing, so that all draws may lie above the figure. They are
    moved by the bias this shows (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 10), their median onto the figure, and end at 0. What chance adds to the figure itself
    is not taken away.
    """
    names, which = np.unique(np.asarray(patients), return_inverse=True)
    members = [np.nonzero(which == i)[0] for i in range(len(names))]
    rng = np.random.default_rng(seed)
    value = figure(np.arange(len(patients)))
    found: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing: left out below
        for _ in range(draws if len(names) > 1 else 0):
            some = rng.integers(len(names), size=len(names))
            found.append(figure(np.concatenate([members[i] for i in some])))
    good = np.asarray(found)[np.isfinite(found)] if found else np.array([value])
    if not len(good):
        return value, float("nan"), float("nan")
    if centred:
        good = np.maximum(good - np.median(good) + value, 0.0)
    low, high = np.percentile(good, (2.5, 97.5))
    return value, float(low), float(high)
