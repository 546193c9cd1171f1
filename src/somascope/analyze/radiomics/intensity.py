"""Statistics of a region's values, and of its grey levels."""

from __future__ import annotations

import numba
import numpy as np

from somascope.analyze.radiomics.levels import Levels
from somascope.core.grid import Array


def _ratio(a: float, b: float) -> float:
    return a / b if b else 0.0


@numba.njit(cache=True)
def _sums(values: Array, mean: float, median: float, low: float, high: float) -> Array:
    """Means of the powers 2, 3 and 4 about the mean, of distances from mean and median, and of
    distances from their own mean of the values from ``low`` to ``high``.
    """
    found = np.zeros(6)
    n, middle = 0, 0.0
    for v in values:
        d = v - mean
        found[0] += d * d
        found[1] += d * d * d
        found[2] += d * d * d * d
        found[3] += abs(d)
        found[4] += abs(v - median)
        if low <= v <= high:
            n += 1
            middle += v
    middle /= n
    for v in values:
        if low <= v <= high:
            found[5] += abs(v - middle)
    found[:5] /= values.size
    found[5] /= n
    return found


def _spread(values: Array) -> dict[str, float]:
    """What both families have. Percentiles are linear between neighbours in order."""
    ordered = np.sort(values)
    places = np.array([0, 0.1, 0.25, 0.5, 0.75, 0.9, 1]) * (values.size - 1)
    below = places.astype(np.int64)
    above = np.minimum(below + 1, values.size - 1)
    low, p10, p25, median, p75, p90, high = (
        float(v) for v in ordered[below] + (places - below) * (ordered[above] - ordered[below])
    )
    mean = float(values.mean())
    m2, m3, m4, apart, centred, robust = (float(v) for v in _sums(ordered, mean, median, p10, p90))
    return {
        "Minimum": low, "10Percentile": p10, "90Percentile": p90, "Maximum": high,
        "Mean": mean, "Median": median, "InterquartileRange": p75 - p25, "Range": high - low,
        "MeanAbsoluteDeviation": apart, "RobustMeanAbsoluteDeviation": robust,
        "MedianAbsoluteDeviation": centred,
        "Variance": m2, "Skewness": _ratio(m3, m2**1.5), "Kurtosis": _ratio(m4, m2**2),
        "ExcessKurtosis": _ratio(m4, m2**2) - 3 if m2 else 0.0,
        "CoefficientOfVariation": _ratio(m2**0.5, mean),
        "QuartileCoefficientOfDispersion": _ratio(p75 - p25, p75 + p25),
    }  # fmt: skip


def first_order(values: Array, levels: Levels, *, voxel_volume: float) -> dict[str, float]:
    """Of the values ``(n,)`` float64; entropy and uniformity are those of their levels.

    ``Kurtosis`` is 3 for the normal distribution, as in pyradiomics; IBSI's is ``ExcessKurtosis``.
    Variance has n in the denominator.
    """
    found = _spread(values)
    energy = float(values @ values)
    shares = np.bincount(levels.index)[1:] / values.size
    return found | {
        "Energy": energy, "TotalEnergy": energy * voxel_volume,
        "RootMeanSquared": float(np.sqrt(energy / values.size)),
        "StandardDeviation": float(np.sqrt(found["Variance"])),
        "Entropy": float(-(shares * np.log2(shares)).sum()), "Uniformity": float(shares @ shares),
    }  # fmt: skip


def histogram(levels: Levels) -> dict[str, float]:
    """IBSI's intensity histogram features, of the grey levels.

    Of two levels that occur equally often the one nearer to the mean is the mode. A histogram of
    one level has no gradient.
    """
    each = levels.each.astype(np.float64)
    found = _spread(each)
    del found["Kurtosis"]
    counts = np.zeros(levels.count)
    counts[levels.grey - 1] = np.bincount(levels.index)[1:]
    most = np.flatnonzero(counts == counts.max()) + 1
    found["Mode"] = float(most[np.argmin(np.abs(most - found["Mean"]))])
    slope = np.gradient(counts) if counts.size > 1 else np.zeros(1)
    return found | {
        "MaximumGradient": float(slope.max()), "MaximumGradientLevel": float(slope.argmax() + 1),
        "MinimumGradient": float(slope.min()), "MinimumGradientLevel": float(slope.argmin() + 1),
    }  # fmt: skip
