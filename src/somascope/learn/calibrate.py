"""What unseen cases add to a card: temperature, offsets, threshold and conformal limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from somascope.core.grid import Array, Float
from somascope.learn.metrics.calibration import (
    MISCOVERAGE,
    affine,
    conformal,
)
from somascope.models.card import NetworkCard
from somascope.models.classify import softmax

if TYPE_CHECKING:
    from torch import nn

    from somascope.learn.tasks.sample import Sample


def calibrated(card: NetworkCard, network: nn.Module, held: Sequence[Sample]) -> NetworkCard:
    """The card with what the validation cases say of the network: see `fitted`."""
    if card.task != "classify":
        return card
    from somascope.learn.tasks.classify import predicted

    return fitted(card, predicted(network, held), np.array([s.label for s in held]))


def usual_threshold(truth: Array) -> float:
    """How frequent the second of two classes is, as one more case of each would have it."""
    return (float((truth == 1).sum()) + 1) / (len(truth) + 2)


def fitted(card: NetworkCard, logits: Float, truth: Array) -> NetworkCard:
    """The card with what logits ``(n, k)`` of unseen cases say: temperature, offsets, limits.

    Probabilities are frequencies where classes are as frequent as among these cases. Of two classes
    the second is said from its own frequency on: there sensitivity and specificity add up to the
    most, as for a network that learned both classes as if equally frequent.
    """
    if len(np.unique(truth)) < 2:
        return card
    t, offsets = affine(logits, truth)
    p = softmax(logits, temperature=t, offsets=offsets)
    return replace(
        card, temperature=t, offsets=tuple(float(b) for b in offsets),
        threshold=usual_threshold(truth) if len(card.classes) == 2 else card.threshold,
        conformal=(MISCOVERAGE, conformal(p, truth)),
    )  # fmt: skip
