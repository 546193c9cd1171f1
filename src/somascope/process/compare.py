"""How differently two groups of values are distributed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from somascope.core import QUIET, Image, Mask, Measurement, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array, Float
from somascope.process.entries import is_colour
from somascope.process.histogram import joint, region
from somascope.process.measured import measured
from somascope.process.resample import resample_to

FEW = 4096
"""Values of a group that are drawn one by one; larger ones from a histogram of so many bins."""


@dataclass(frozen=True)
class Comparison:
    """Two groups, the first less the second where there is a sign.

    ``ks`` is the greatest distance of the distribution functions (Kolmogorov-Smirnov) and ``p``
    its probability for equal distributions of independent values; ``wasserstein`` the mean distance
    values would have to move, in their unit; ``cohen`` the difference of the means over the pooled
    standard deviation, with its 95 per cent interval by bootstrap.
    """

    ks: float
    p: float
    wasserstein: float
    cohen: float
    interval: tuple[float, float]
    counts: tuple[int, int]
    means: tuple[float, float]


def compare_values(
    first: Array, second: Array, *, resamples: int = 1000, seed: int = 0
) -> Comparison:
    """Compare two 1-D groups of values; those that are not finite are left out.

    The interval is the percentile interval of ``resamples`` bootstrap samples: of the values
    themselves up to `FEW` of them, above that of a histogram with as many bins.

    Raises `ParameterError` where a group has fewer than two finite values.
    """
    a, b = (np.sort(np.asarray(v, np.float64)[np.isfinite(v)]) for v in (first, second))
    if min(a.size, b.size) < 2:
        raise ParameterError(
            f"groups of {a.size} and {b.size} finite values; a comparison needs two of each"
        )
    every = np.concatenate([a, b])
    every.sort(kind="stable")
    below_a = np.searchsorted(a, every, side="right") / a.size
    below_b = np.searchsorted(b, every, side="right") / b.size
    gap = np.abs(below_a - below_b)
    ks = float(gap.max())
    moved = float((gap[:-1] * np.diff(every)).sum())
    from scipy.stats import kstwobign

    together = a.size * b.size / (a.size + b.size)
    p = float(kstwobign.sf(ks * np.sqrt(together)))
    draw = np.random.default_rng(seed)
    means_a, squares_a = _drawn(a, resamples, draw)
    means_b, squares_b = _drawn(b, resamples, draw)
    effects = _effect(means_a, squares_a, a.size, means_b, squares_b, b.size)
    low, high = np.percentile(effects, (2.5, 97.5))
    own = _effect(
        np.array([a.mean()]), np.array([a.var()]), a.size,
        np.array([b.mean()]), np.array([b.var()]), b.size,
    )  # fmt: skip
    return Comparison(
        ks, min(max(p, 0.0), 1.0), moved, float(own[0]), (float(low), float(high)),
        (a.size, b.size), (float(a.mean()), float(b.mean())),
    )  # fmt: skip


def _drawn(values: Float, resamples: int, draw: np.random.Generator) -> tuple[Float, Float]:
    """Mean and variance (n in the denominator) of bootstrap samples."""
    if values.size <= FEW:
        means, variances = np.empty(resamples), np.empty(resamples)
        for k in range(resamples):
            some = values[draw.integers(0, values.size, values.size)]
            means[k], variances[k] = some.mean(), some.var()
        return means, variances
    counts, edges = np.histogram(values, bins=FEW)
    centres = 0.5 * (edges[1:] + edges[:-1])
    used = counts > 0
    found = draw.multinomial(values.size, counts[used] / values.size, size=resamples)
    means = found @ centres[used] / values.size
    squares = found @ centres[used] ** 2 / values.size
    return means, np.maximum(squares - means**2, 0)


def _effect(ma: Float, va: Float, na: int, mb: Float, vb: Float, nb: int) -> Float:
    pooled = np.sqrt((na * va + nb * vb) / (na + nb - 2))
    return np.where(pooled > 0, (ma - mb) / np.where(pooled > 0, pooled, 1), 0.0)


@operation("process.compare")
def compare(
    first: Image,
    second: Image,
    *masks: Mask,
    segment_first: Annotated[
        int, Param("Segment of the first image's mask; 0: all of them", minimum=0, maximum=65535)
    ] = 0,
    segment_second: Annotated[
        int, Param("Segment of the second image's mask; 0: all of them", minimum=0, maximum=65535)
    ] = 0,
    resamples: Annotated[
        int, Param("Bootstrap samples", minimum=100, maximum=100000, advanced=True)
    ] = 1000,
    seed: Annotated[int, Param("Of the bootstrap", minimum=0, advanced=True)] = 0,
    progress: Progress = QUIET,
) -> list[Measurement]:
    """Compare the values of two images, or of two regions (give one image twice).

    Kolmogorov-Smirnov's distance with its probability, Wasserstein's distance in the images' unit,
    and Cohen's d with its 95 per cent bootstrap interval. No mask: all voxels; one: for both; two:
    one for each. Neighbouring voxels are not independent: probability and interval are those of so
    many independent values, a lower bound of what is uncertain.
    """
    if first.unit != second.unit:
        raise UnitError(
            f"process.compare: units {first.unit!r} and {second.unit!r}; convert one of them first"
        )
    if is_colour(first) or is_colour(second):
        raise ParameterError("process.compare needs single values and an image is in colour")
    if len(masks) > 2:
        raise ParameterError(f"process.compare takes up to two masks and was given {len(masks)}")
    own = masks[0] if masks else None
    other = masks[-1] if masks else None
    a = region(first, own, segment=segment_first or None)
    b = region(second, other, segment=segment_second or None)
    progress(0.2, "regions")
    found = compare_values(a, b, resamples=resamples, seed=seed)
    progress(1.0, "compared")
    low, high = found.interval
    rows = [
        ("Kolmogorov-Smirnov distance", found.ks, "1"),
        ("Kolmogorov-Smirnov probability", found.p, "1"),
        ("Wasserstein distance", found.wasserstein, first.unit),
        ("Cohen d", found.cohen, "1"),
        ("Cohen d lower 95 per cent", low, "1"),
        ("Cohen d upper 95 per cent", high, "1"),
        ("First mean", found.means[0], first.unit),
        ("Second mean", found.means[1], first.unit),
    ]
    return [measured(first, name, value, unit) for name, value, unit in rows]


@operation("process.mutual_information")
def mutual_information(
    first: Image,
    second: Image,
    *masks: Mask,
    bins: Annotated[int, Param("Of each image's values", minimum=2, maximum=1024)] = 64,
    progress: Progress = QUIET,
) -> list[Measurement]:
    """Measure how much two images tell of one another: mutual information of their values.

    ``H(a) + H(b) - H(a, b)`` in bits, the normalised one ``(H(a) + H(b)) / H(a, b)`` (Studholme
    1999; 1 to 2), the joint entropy and Pearson's correlation. The second image is brought to the
    grid of the first (linear); values beyond it do not count. In the region of the mask, if given.
    """
    if len(masks) > 1:
        raise ParameterError(
            f"process.mutual_information takes one mask and was given {len(masks)}"
        )
    if is_colour(first) or is_colour(second):
        raise ParameterError("process.mutual_information needs single values, not colours")
    there = second
    if not second.grid.allclose(first.grid):
        there = resample_to(
            second.with_data(second.data.astype(np.float32)), first.grid, fill=np.nan
        )
    if there.data.size != first.data.size:
        raise GeometryError(
            f"process.mutual_information: shapes {first.shape} and {second.shape}; give images of "
            "equal leading axes"
        )
    there = Image(there.data.reshape(first.shape), first.grid, unit=there.unit, axes=first.axes)
    progress(0.4, "together")
    mask = masks[0] if masks else None
    found = joint(first, there, bins=bins, mask=mask)
    x, y = (region(i, mask).astype(np.float64) for i in (first, there))
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 2:
        raise ParameterError("process.mutual_information: the images share no finite value")
    x, y = x[both] - x[both].mean(), y[both] - y[both].mean()
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    progress(1.0, "measured")
    entropy = found.joint_entropy
    return [
        measured(first, "Mutual information", found.mutual_information, "bit"),
        measured(first, "Normalised mutual information", found.normalised_mutual_information, "1"),
        measured(first, "Joint entropy", entropy, "bit"),
        measured(first, "Correlation coefficient", float(x @ y) / size if size else 0.0, "1"),
    ]
