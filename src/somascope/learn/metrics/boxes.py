"""How well boxes were found: average precision (Everingham et al., VOC 2010, all points), FROC.

Rows of finds are the ``2 d`` corners (`models.detect`), class and score; rows of truth corners and
class; one array for each image, of pictures or volumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from somascope.core.grid import Array, Float
from somascope.models.detect import overlap

Rule: TypeAlias = Literal["overlap", "centre"]
"""When a find is right: its box overlaps a true one, or its centre lies in the ellipsoid that the
true box holds (LUNA16: Setio et al., Medical Image Analysis 42, 2017)."""
FALSE = (0.125, 0.25, 0.5, 1, 2, 4, 8)
"""False finds per image at which FROC is read; the mean of its seven values is the CPM."""


@dataclass(frozen=True)
class Hits:
    """Of one image and class: which finds are right ``(n,)``, their scores, and how many there
    were; the surest find first.
    """

    right: Array
    score: Float
    total: int


def hits(
    found: Float, truth: Float, *, kind: int, least: float = 0.5, rule: Rule = "overlap"
) -> Hits:
    """Match the finds of one image; every true box is found once, by the surest find that fits.

    ``least`` is the overlap from which a find is right; ``rule`` ``centre`` knows none. A second
    find of an object that is found already is wrong for ``overlap`` and does not count at all for
    ``centre``, as LUNA16 has it.
    """
    ends = truth.shape[1] - 1
    mine = found[found[:, ends] == kind]
    mine = mine[np.argsort(-mine[:, ends + 1], kind="stable")]
    there = truth[truth[:, ends] == kind, :ends]
    right = np.zeros(len(mine), bool)
    counted = np.ones(len(mine), bool)
    taken = np.zeros(len(there), bool)
    if len(there) and len(mine):
        fits = overlap(mine[:, :ends], there) if rule == "overlap" else _inside(mine, there)
        bar = least if rule == "overlap" else 0.0
        for n, row in enumerate(fits):
            best = int(row.argmax())
            good = bool(row[best] >= bar) if rule == "overlap" else bool(row[best] > bar)
            right[n] = good and not taken[best]
            counted[n] = right[n] or not good or rule == "overlap"
            taken[best] |= good
    return Hits(right[counted], mine[counted, ends + 1], len(there))


def _inside(found: Float, truth: Float) -> Float:
    """1 in the middle of the ellipsoid in a true box, 0 on its surface and beyond: ``(n, m)``."""
    d = truth.shape[1] // 2
    centre = (found[:, None, :d] + found[:, None, d : 2 * d]) / 2
    middle, half = (truth[:, :d] + truth[:, d:]) / 2, (truth[:, d:] - truth[:, :d]) / 2
    far = np.sqrt((((centre - middle) / np.maximum(half, 1e-9)) ** 2).sum(axis=-1))
    return np.maximum(1 - far, 0.0)


def merged(several: Sequence[Hits]) -> Hits:
    """Those of several images as one, in falling order of score."""
    right = np.concatenate([h.right for h in several])
    score = np.concatenate([h.score for h in several])
    order = np.argsort(-score, kind="stable")
    return Hits(right[order], score[order], sum(h.total for h in several))


def precision_area(found: Hits) -> float:
    """Area under precision over recall, precision made to fall; NaN where nothing was there."""
    if not found.total:
        return float("nan")
    count = np.cumsum(found.right)
    precision = count / np.arange(1, len(count) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.append(0.0, count / found.total)
    return float((np.diff(recall) * precision).sum())


def sensitivities(found: Hits, images: int, *, at: Sequence[float] = FALSE) -> Float:
    """Sensitivity at numbers of false finds per image."""
    false = np.cumsum(~found.right) / max(images, 1)
    share = np.cumsum(found.right) / max(found.total, 1)
    return np.array([float(share[false <= a].max(initial=0.0)) for a in at])


def matched(
    found: Sequence[Float],
    truth: Sequence[Float],
    *,
    kind: int,
    least: float = 0.5,
    rule: Rule = "overlap",
) -> tuple[Array, Float, int]:
    """Which finds of all images are right, the surest first; scores; how many there were."""
    every = merged([
        hits(f, t, kind=kind, least=least, rule=rule) for f, t in zip(found, truth, strict=True)
    ])  # fmt: skip
    return every.right, every.score, every.total


def average_precision(
    found: Sequence[Float], truth: Sequence[Float], *, kind: int, least: float = 0.5
) -> float:
    """Area under precision over recall, precision made to fall; NaN where nothing was there."""
    return precision_area(Hits(*matched(found, truth, kind=kind, least=least)))


def froc(
    found: Sequence[Float],
    truth: Sequence[Float],
    *,
    kind: int,
    least: float = 0.5,
    rule: Rule = "overlap",
    at: Sequence[float] = FALSE,
) -> Float:
    """Sensitivity at numbers of false finds per image (their mean is the CPM of LUNA16)."""
    every = Hits(*matched(found, truth, kind=kind, least=least, rule=rule))
    return sensitivities(every, len(truth), at=at)


def platt(score: Float, right: Array) -> tuple[float, float]:
    """Temperature ``t`` and offset ``b`` so that ``sigmoid(logit(score) / t + b)`` is a frequency.

    Right and wrong are drawn a little to the middle, as Platt (1999) has it, so that few finds that
    are all right do not make certainty. Order is kept: ``t`` is positive.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    p = np.clip(score.astype(np.float64), 1e-6, 1 - 1e-6)
    z = np.log(p / (1 - p))
    yes, no = int(right.sum()), int((~right).sum())
    aim = np.where(right, (yes + 1) / (yes + 2), 1 / (no + 2))

    def cost(x: Float) -> tuple[float, Float]:
        u = z * np.exp(-x[0]) + x[1]
        value = float((np.logaddexp(0, u) - aim * u).sum())
        off = expit(u) - aim
        return value, np.array([-(off * z).sum() * np.exp(-x[0]), off.sum()])

    bounds = [(np.log(0.1), np.log(10.0)), (-10.0, 10.0)]
    best = minimize(cost, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(np.exp(best.x[0])), float(best.x[1])


def operating(found: Hits) -> float:
    """The score at which twice the hits, over finds and objects together (F1), is largest.

    Half way to the next lower score, so that what was right by a hair stays in.
    """
    if not len(found.score) or not found.right.any():
        return 0.5
    count = np.cumsum(found.right)
    f1 = 2 * count / (np.arange(1, len(count) + 1) + found.total)
    best = int(f1.argmax())
    below = found.score[best + 1] if best + 1 < len(found.score) else 0.0
    return float(np.clip((found.score[best] + below) / 2, 0.05, 0.95))


def calibration_error(score: Float, right: Array, *, bins: int = 10) -> float:
    """How far scores are from how often finds of that score are right: mean over ``bins``.

    Source: Naeini et al., AAAI 2015, of finds in place of cases.
    """
    if not len(score):
        return float("nan")
    which = np.minimum((score * bins).astype(int), bins - 1)
    gaps = np.bincount(which, weights=right - score, minlength=bins)
    return float(np.abs(gaps).sum() / len(score))
