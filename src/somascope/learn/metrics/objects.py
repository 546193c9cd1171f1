"""Figures of a detector at its threshold, of its scores, and of volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from somascope.core.grid import Array, Float
from somascope.learn.metrics.boxes import (
    Hits,
    calibration_error,
    hits,
    merged,
    precision_area,
)
from somascope.models.card import NetworkCard

Figure: TypeAlias = Callable[[Array], float]
"""Of some cases, by their numbers; some of them repeated."""
LOOSE = 0.1
"""Overlap in volumes from which a find is of an object, however badly its box fits (nnDetection:
Baumgartner et al., MICCAI 2021). A box off by a third along every axis overlaps by a sixth."""


def figures(
    card: NetworkCard, found: Sequence[Float], truth: Sequence[Float]
) -> list[tuple[str, Figure]]:
    """By name: what is found at the card's threshold, and how honest the scores are.

    ``sensitivity`` and ``false_per_case``: of all finds at the threshold or above; ``score_ece``:
    how far scores from 0.05 up are from how often such finds are right; in volumes ``map10`` and
    ``ap10``, average precision at an overlap of a tenth. Right is what overlaps a true box of its
    class by a half, in volumes by a tenth.
    """
    solid = card.dimensions == 3
    least = LOOSE if solid else 0.5
    kinds = range(len(card.classes))
    table = [[hits(f, t, kind=k, least=least) for f, t in zip(found, truth, strict=True)]
             for k in kinds]  # fmt: skip
    made: list[tuple[str, Figure]] = []

    def area(cases: Array, k: int) -> float:
        return precision_area(merged([table[k][i] for i in cases]))

    def mean(cases: Array) -> float:
        each = [area(cases, k) for k in kinds]
        known = [v for v in each if np.isfinite(v)]
        return float(np.mean(known)) if known else float("nan")

    def all_of(cases: Array) -> Hits:
        return merged([table[k][i] for k in kinds for i in cases])

    def sensitivity(cases: Array) -> float:
        every = all_of(cases)
        right = every.right & (every.score >= card.threshold)
        return float(right.sum() / every.total) if every.total else float("nan")

    def false(cases: Array) -> float:
        every = all_of(cases)
        return float((~every.right & (every.score >= card.threshold)).sum() / len(cases))

    def error(cases: Array) -> float:
        every = all_of(cases)
        sure = every.score >= 0.05
        return calibration_error(every.score[sure], every.right[sure])

    if solid:
        made.append(("map10", mean))
        made += [
            (f"ap10 {c.name}", lambda cases, k=k: area(cases, k))
            for k, c in enumerate(card.classes)
        ]
    return [*made, ("sensitivity", sensitivity), ("false_per_case", false), ("score_ece", error)]
