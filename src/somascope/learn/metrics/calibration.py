"""Whether probabilities are frequencies: what makes them so, how far off, conformal sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.core.grid import Array, Float
from somascope.learn.metrics.ranking import roc

MISCOVERAGE = 0.05
KNOWN = 0.5
"""How well it is known beforehand what the offsets of a network trained on balanced classes are:
the standard deviation from the logarithms of how frequent the classes are."""
BINS = 15


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


def affine(logits: Float, truth: Array) -> tuple[float, Float]:
    """Temperature ``t`` and offsets ``b`` so that ``softmax(logits / t + b)`` are frequencies.

    Of two classes it is Platt's scaling. Few cases say little of offsets, so they are drawn to what
    they are for a network that learned every class as if it were as frequent as the others: the
    logarithms of the frequencies, with a normal prior of deviation `KNOWN`. They add up to 0.

    Source: Platt 1999; Guo et al., ICML 2017, section 4.2 (vector scaling); Saerens et al., Neural
    Computation 14, 2002 (frequencies that differ from those in training).
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp, softmax

    n, k = logits.shape
    one = np.eye(k)[truth]
    usual = np.log((one.sum(axis=0) + 1) / (n + k))
    usual = usual - usual.mean()

    def cost(x: Float) -> tuple[float, Float]:
        z = logits / np.exp(x[0])
        u = z + x[1:]
        off = softmax(u, axis=1) - one
        nll = float((logsumexp(u, axis=1) - (u * one).sum(axis=1)).sum())
        far = (x[1:] - usual) / KNOWN
        slope = np.concatenate([[-(off * z).sum()], off.sum(axis=0) + far / KNOWN])
        return nll + 0.5 * float(far @ far), slope

    start = np.concatenate([[np.log(temperature(logits + usual, truth))], usual])
    bounds = [(np.log(0.1), np.log(10.0)), *[(None, None)] * k]
    found: Any = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds)
    offsets = found.x[1:] - found.x[1:].mean()
    return float(np.exp(found.x[0])), offsets


def ece(p: Float, truth: Array, *, bins: int = BINS, weights: Array | None = None) -> float:
    """Expected calibration error: how far confidence is from accuracy, in ``bins`` of equal width.

    Of few cases it is well above 0 whatever made the probabilities: see `ece_if_calibrated`.
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


def ece_if_calibrated(
    p: Float, *, bins: int = BINS, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """What `ece` would say of these cases if every probability were right: mean, and 95 % range.

    The truth is drawn from the probabilities themselves. An error within the range is no sign that
    they are wrong. Source: Broecker and Smith, Weather and Forecasting 22, 2007 (consistency
    resampling).
    """
    confidence = p.max(axis=1)
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    rng = np.random.default_rng(seed)
    right = rng.random((draws, len(p))) < confidence
    gaps = np.abs((right - confidence) @ np.eye(bins)[which]).sum(axis=1) / len(p)
    low, high = np.percentile(gaps, (2.5, 97.5))
    return float(gaps.mean()), float(low), float(high)


def rms_debiased(p: Float, truth: Array, *, bins: int = BINS) -> float:
    """Root of the mean squared distance of confidence to accuracy, freed of what chance adds.

    In ``bins`` of equally many cases (ten or more). The square has no bias, but where chance was
    kind it falls below 0 and 0 is said. Source: Kumar, Liang and Ma, Verified Uncertainty
    Calibration, NeurIPS 2019, section 5.
    """
    confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
    order = np.argsort(confidence, kind="stable")
    total = 0.0
    for part in np.array_split(order, max(min(bins, len(p) // 10), 1)):
        n, accuracy = len(part), float(right[part].mean())
        gap = accuracy - float(confidence[part].mean())
        total += n * (gap**2 - accuracy * (1 - accuracy) / max(n - 1, 1))
    return float(np.sqrt(max(total / len(p), 0.0)))


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
