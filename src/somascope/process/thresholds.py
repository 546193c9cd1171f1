"""Thresholds told from a histogram alone: between classes of values.

Each takes a `Histogram` and gives the values between neighbouring classes, ascending: voxels above
the k-th threshold (``value > t[k]``) belong to a class after the k-th. They are the upper edges'
centres of bins, so that no counted value lies on the wrong side of the bin it was counted in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Float
from somascope.process.histogram import Histogram

Method: TypeAlias = Literal["otsu", "kapur", "li", "triangle", "kmeans", "mixture"]


@dataclass(frozen=True)
class Mixture:
    """Normal distributions whose weighted sum is a histogram; ascending means."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    sds: tuple[float, ...]

    def posterior(self, values: Float) -> Float:
        """Probability of each class at ``values`` (n,): shape ``(classes, n)``."""
        w, m, s = (np.array(v)[:, None] for v in (self.weights, self.means, self.sds))
        logs = np.log(w) - np.log(s) - 0.5 * ((values - m) / s) ** 2
        p = np.exp(logs - logs.max(axis=0))
        return p / p.sum(axis=0)


def thresholds(histogram: Histogram, *, method: Method = "otsu", classes: int = 2) -> list[float]:
    """``classes - 1`` ascending thresholds by one of the methods of this module.

    Raises `ParameterError` where the histogram has fewer occupied bins than classes, or the method
    knows two classes only (``li``, ``triangle``).
    """
    if classes < 2 or classes > 6:
        raise ParameterError(f"{classes} classes; give 2 to 6")
    if np.count_nonzero(histogram.counts) < classes:
        raise ParameterError(
            f"{classes} classes of values need at least {classes} different ones; this image or "
            "region is constant or nearly so. Give the limits instead"
        )
    if method in ("li", "triangle") and classes != 2:
        raise ParameterError(f"method {method!r} knows two classes, not {classes}")
    match method:
        case "otsu":
            return otsu(histogram, classes=classes)
        case "kapur":
            return kapur(histogram, classes=classes)
        case "li":
            return [li(histogram)]
        case "triangle":
            return [triangle(histogram)]
        case "kmeans":
            return kmeans(histogram, classes=classes)
        case "mixture":
            return borders(mixture(histogram, classes=classes))


def otsu(histogram: Histogram, *, classes: int = 2) -> list[float]:
    """Greatest variance between classes (Otsu, IEEE SMC 9, 1979; Liao et al., JISE 17, 2001)."""
    n, c = histogram.counts.astype(np.float64), histogram.centres
    zeroth, first = _sums(n), _sums(n * c)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Sum of squares over size, of the class of bins i..j-1: its share of the variance between.
        w = zeroth[None, :] - zeroth[:, None]
        gain = np.where(w > 0, (first[None, :] - first[:, None]) ** 2 / w, 0.0)
    return _best(gain, histogram, classes)


def kapur(histogram: Histogram, *, classes: int = 2) -> list[float]:
    """Greatest sum of the classes' entropies (Kapur, Sahoo, Wong, CVGIP 29, 1985)."""
    p = histogram.counts / histogram.total
    logs = np.zeros_like(p)
    np.log(p, out=logs, where=p > 0)
    mass, own = _sums(p), _sums(p * logs)
    with np.errstate(invalid="ignore", divide="ignore"):
        w = mass[None, :] - mass[:, None]
        gain = np.where(w > 1e-15, np.log(w) - (own[None, :] - own[:, None]) / w, 0.0)
    return _best(gain, histogram, classes)


def _sums(values: Float) -> Float:
    return np.concatenate([[0.0], np.cumsum(values)])


def _best(gain: Float, histogram: Histogram, classes: int) -> list[float]:
    """The cuts with the greatest total ``gain[i, j]`` of classes i..j-1: dynamic programming.

    Every class has an occupied bin.
    """
    bins = histogram.counts.size
    filled = _sums((histogram.counts > 0).astype(np.float64))
    usable = filled[None, :] > filled[:, None]
    gain = np.where(usable, gain, -np.inf)
    best = gain[0].copy()
    came: list[Float] = []
    for _ in range(classes - 1):
        total = best[:, None] + gain
        came.append(np.argmax(total, axis=0))
        best = total[came[-1], np.arange(bins + 1)]
    cuts: list[float] = []
    j = bins
    for back in reversed(came):
        j = int(back[j])
        cuts.append(float(histogram.centres[j - 1]))
    return cuts[::-1]


def li(histogram: Histogram, *, iterations: int = 1000) -> float:
    """Least cross entropy (Li and Lee 1993), by the iteration of Li and Tam (PRL 18, 1998)."""
    n, c = histogram.counts.astype(np.float64), histogram.centres
    low = float(histogram.edges[0])
    shifted = c - low  # the logarithmic means need positive values
    t = float((n * shifted).sum() / n.sum())
    step = float(c[1] - c[0]) if c.size > 1 else 1.0
    for _ in range(iterations):
        above = shifted > t
        if not n[above].sum() or not n[~above].sum():
            break
        a = (n * shifted)[~above].sum() / n[~above].sum()
        b = (n * shifted)[above].sum() / n[above].sum()
        new = float((b - a) / (np.log(b) - np.log(max(a, 1e-12))))
        if abs(new - t) < 0.5 * step * 1e-3:
            t = new
            break
        t = new
    return low + t


def triangle(histogram: Histogram) -> float:
    """Farthest below the line from the peak to the end of the tail (Zack et al. 1977)."""
    n, c = histogram.counts.astype(np.float64), histogram.centres
    used = np.flatnonzero(n)
    peak, left, right = int(np.argmax(n)), int(used[0]), int(used[-1])
    flip = peak - left > right - peak
    if flip:
        n, peak, right = n[::-1], n.size - 1 - peak, n.size - 1 - left
    x = np.arange(peak, right + 1)
    line = n[peak] + (n[right] - n[peak]) * (x - peak) / max(right - peak, 1)
    at = int(x[int(np.argmax(line - n[x]))])
    return float(c[n.size - 1 - at] if flip else c[at])


def kmeans(histogram: Histogram, *, classes: int = 2, iterations: int = 500) -> list[float]:
    """Halfway between the means of k-means classes (Lloyd), started at Otsu's."""
    n, c = histogram.counts.astype(np.float64), histogram.centres
    cuts = otsu(histogram, classes=classes)
    for _ in range(iterations):
        which = np.searchsorted(cuts, c, side="left")
        size = np.bincount(which, n, classes)
        if not size.all():
            break
        means = np.bincount(which, n * c, classes) / size
        new = (0.5 * (means[:-1] + means[1:])).tolist()
        if np.allclose(new, cuts, rtol=0, atol=1e-9 * float(np.ptp(c))):
            break
        cuts = new
    return [float(v) for v in cuts]


def mixture(histogram: Histogram, *, classes: int = 2, iterations: int = 2000) -> Mixture:
    """Gaussian mixture by expectation maximisation on the bins, started at Otsu's classes.

    No class becomes narrower than half a bin.
    """
    n, c = histogram.counts.astype(np.float64), histogram.centres
    which = np.searchsorted(otsu(histogram, classes=classes), c, side="left")
    floor = 0.5 * float(histogram.edges[1] - histogram.edges[0])
    share = np.eye(classes)[:, which]
    found, before = Mixture((), (), ()), -np.inf
    for _ in range(iterations):
        r = share * n
        size = np.maximum(r.sum(axis=1), 1e-12)
        means = (r * c).sum(axis=1) / size
        sds = np.sqrt((r * (c - means[:, None]) ** 2).sum(axis=1) / size + floor**2 / 3)
        sds = np.maximum(sds, floor)
        found = Mixture(
            tuple((size / n.sum()).tolist()), tuple(means.tolist()), tuple(sds.tolist())
        )
        w = size[:, None] / n.sum()
        density = w * np.exp(-0.5 * ((c - means[:, None]) / sds[:, None]) ** 2) / sds[:, None]
        total = np.maximum(density.sum(axis=0), 1e-300)
        share = density / total
        likelihood = float((n * np.log(total)).sum() / n.sum())
        if likelihood - before < 1e-10:
            break
        before = likelihood
    order = np.argsort(found.means)
    return Mixture(*(tuple(v[i] for i in order) for v in (found.weights, found.means, found.sds)))


def borders(found: Mixture) -> list[float]:
    """Where the next class becomes the likelier one, between neighbouring means."""
    cuts: list[float] = []
    for k in range(len(found.means) - 1):
        x = np.linspace(found.means[k], found.means[k + 1], 2001)
        p = found.posterior(x)
        later = p[k + 1] > p[k]
        cuts.append(float(x[int(np.argmax(later))]) if later.any() else float(x[-1]))
    return cuts
