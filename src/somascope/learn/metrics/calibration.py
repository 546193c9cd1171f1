"""Whether probabilities are frequencies: temperature, calibration error, conformal sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.core.grid import Array, Float
from somascope.learn.metrics.ranking import roc

MISCOVERAGE = 0.05


def temperature(logits: Float, truth: Array, *, weights: Array | None = None) -> float:
    """The number that divides logits ``(n, k)`` for the least negative log-likelihood.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    w = np.ones(len(truth)) if weights is None else weights

    def cost(log: float) -> float:
        z = logits / np.exp(log)
        nll = logsumexp(z, axis=1) - z[np.arange(len(truth)), truth]
        return float((w * nll).sum() / w.sum())

    found: Any = minimize_scalar(cost, bounds=(np.log(0.1), np.log(10.0)), method="bounded")
    return float(np.exp(found.x))


def ece(p: Float, truth: Array, *, bins: int = 15, weights: Array | None = None) -> float:
    """Expected calibration error: how far confidence is from accuracy, in ``bins`` of equal width.

    Source: Naeini et al., AAAI 2015.
    """
    confidence, said = p.max(axis=1), p.argmax(axis=1)
    right = (said == truth).astype(np.float64)
    w = np.ones(len(truth)) if weights is None else weights
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    total = 0.0
    for b in range(bins):
        here = which == b
        if here.any():
            total += abs(float((w[here] * (right[here] - confidence[here])).sum()))
    return total / float(w.sum())


def brier(p: Float, truth: Array) -> float:
    """Mean squared distance of the probabilities to the truth (Brier, 1950)."""
    one = np.eye(p.shape[1])[truth]
    return float(((p - one) ** 2).sum(axis=1).mean())


def conformal(p: Float, truth: Array, *, miscoverage: float = MISCOVERAGE) -> float:
    """The least probability a class needs to be in the prediction set.

    Split conformal prediction: the set holds the truth in at least 1 - ``miscoverage`` of new cases
    exchangeable with these. Source: Vovk et al. 2005; Angelopoulos and Bates, 2021, section 1.
    """
    score = np.sort(1 - p[np.arange(len(truth)), truth])
    rank = int(np.ceil((len(truth) + 1) * (1 - miscoverage)))
    if rank > len(score):
        return 0.0
    return float(max(1 - score[rank - 1], 0.0))


def prediction_sets(p: Float, least: float) -> Array:
    """Which classes ``(n, k)`` are in each set. An empty set says: like nothing seen before."""
    return p >= least - 1e-12


def operating_point(score: Float, truth: Array) -> float:
    """The probability of the second class where sensitivity plus specificity is largest (Youden).

    The middle of the widest stretch of thresholds within a hundredth of the best.
    """
    fpr, tpr, cut = roc(score, truth == 1)
    cut = np.clip(np.where(np.isfinite(cut), cut, 1.0), 0, 1)
    good = np.nonzero(tpr - fpr >= (tpr - fpr).max() - 0.01)[0]
    low = float(cut[good[-1] + 1]) if good[-1] + 1 < len(cut) else 0.0
    return float(np.clip((float(cut[good[0]]) + low) / 2, 0.02, 0.98))


def balanced_weights(truth: Array, classes: int) -> Array:
    """One weight a case, so that every class counts the same."""
    counts = np.bincount(truth, minlength=classes)
    return (len(truth) / np.maximum(counts, 1) / classes)[truth]


def reliability(p: Float, truth: Array, *, bins: int = 10) -> list[list[float]]:
    """Rows of mean confidence, accuracy and number of cases, for each bin that has any."""
    confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        [float(confidence[which == b].mean()), float(right[which == b].mean()),
         float((which == b).sum())]
        for b in range(bins)
        if (which == b).any()
    ]  # fmt: skip
