"""What the validation cases add to a card: temperature and conformal limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from somascope.learn.metrics.calibration import (
    MISCOVERAGE,
    balanced_weights,
    conformal,
    temperature,
)
from somascope.learn.tasks.sample import Sample
from somascope.models.card import NetworkCard
from somascope.models.classify import softmax


def calibrated(card: NetworkCard, network: nn.Module, held: Sequence[Sample]) -> NetworkCard:
    """The card with what the validation cases say: temperature, threshold, conformal limit."""
    if card.task != "classify":
        return card
    from somascope.learn.tasks.classify import predicted

    logits = predicted(network, held)
    truth = np.array([s.label for s in held])
    classes = len(card.classes)
    if len(np.unique(truth)) < 2:
        return card
    t = temperature(logits, truth, weights=balanced_weights(truth, classes))
    p = softmax(logits, temperature=t)
    # Trained and calibrated with balanced classes: one half is the operating point.
    return replace(card, temperature=t, conformal=(MISCOVERAGE, conformal(p, truth)))
