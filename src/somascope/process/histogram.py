"""Histogram analysis: how often which value occurs, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somascope.core import Image, Mask
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.core.tensors import is_tensor
from somascope.process.counting import binned, extremes, ordered, pairs, powers, words
from somascope.process.entries import inside, real_values
from somascope.process.median import key_order, key_values

TINY = 1e-290
"""The narrowest range that bins can divide."""

FEW = 20
"""Ranks that are found faster one by one than by sorting."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of values in even bins.

    Parameters
    ----------
    counts
        ``(bins,)`` int64.
    edges
        ``(bins + 1,)``, in ``unit``; a value on an edge counts above it, on the last one below.
    below, above, missing
        Values outside the edges, and NaN.
    """

    counts: Array
    edges: Float
    unit: str = "1"
    below: int = 0
    above: int = 0
    missing: int = 0

    @property
    def centres(self) -> Float:
        """Middles of the bins, ``(bins,)``."""
        return 0.5 * (self.edges[:-1] + self.edges[1:])

    @property
    def total(self) -> int:
        """Values in the bins."""
        return int(self.counts.sum())

    @property
    def mode(self) -> float:
        """The middle of the fullest bin, the first of equals."""
        return float(self.centres[int(np.argmax(self.counts))])

    @property
    def fwhm(self) -> float:
        """Full width of the highest peak at half its height, between linearly joined counts."""
        n = self.counts.astype(np.float64)
        top = int(np.argmax(n))
        half = n[top] / 2
        left, right = top, top
        while left > 0 and n[left] > half:
            left -= 1
        while right < n.size - 1 and n[right] > half:
            right += 1
        c = self.centres
        a = c[0] if n[left] > half else np.interp(half, [n[left], n[left + 1]], c[left : left + 2])
        b = c[-1] if n[right] > half else np.interp(
            half, [n[right], n[right - 1]], [c[right], c[right - 1]]
        )  # fmt: skip
        return float(b - a)

    @property
    def entropy(self) -> float:
        """Shannon's, in bits, of the share of each bin."""
        p = self.counts[self.counts > 0] / max(self.total, 1)
        return float(-(p * np.log2(p)).sum())

    @property
    def cumulative(self) -> Float:
        """Share of the values below each edge, ``(bins + 1,)`` from 0 to 1."""
        return np.concatenate([[0.0], np.cumsum(self.counts) / max(self.total, 1)])


@dataclass(frozen=True)
class Statistics:
    """What the values of a volume or a region amount to; NaN and infinities are left out.

    ``sd`` is that of the values themselves (n in the denominator), ``kurtosis`` that in excess of
    the normal distribution. ``percentiles`` maps the percentage to the value.
    """

    count: int
    missing: int
    minimum: float
    maximum: float
    mean: float
    sd: float
    skewness: float
    kurtosis: float
    percentiles: dict[float, float]
    mode: float
    fwhm: float
    entropy: float
    unit: str = "1"

    @property
    def median(self) -> float:
        """The 50th percentile."""
        return self.percentiles[50.0]


def region(image: Image, mask: Mask | None, *, segment: int | None = None) -> Array:
    """The values of ``image`` in a mask (all of its segments, or one), 1-D.

    A mask holds for every entry of the leading axes. Raises `GeometryError` where it lies on
    another grid.
    """
    real_values(image, "a histogram")
    if mask is None:
        return np.ascontiguousarray(image.data).reshape(-1)
    if not mask.grid.allclose(image.grid):
        raise GeometryError(
            f"the mask lies on a grid of {mask.grid.shape} voxels and the image on one of "
            f"{image.grid.shape}, or at another place; resample the mask to the image's grid"
        )
    return np.ascontiguousarray(image.data[..., inside(mask, segment)]).reshape(-1)


def histogram(
    image: Image,
    *,
    bins: int = 256,
    lower: float | None = None,
    upper: float | None = None,
    mask: Mask | None = None,
) -> Histogram:
    """Histogram of a whole image or of the region of a mask.

    Parameters
    ----------
    bins
        Number of even bins from ``lower`` to ``upper``.
    lower, upper
        In the image's unit; by default the smallest and largest finite value.
    """
    return of_values(region(image, mask), bins=bins, lower=lower, upper=upper, unit=image.unit)


def of_values(
    values: Array,
    *,
    bins: int = 256,
    lower: float | None = None,
    upper: float | None = None,
    unit: str = "1",
) -> Histogram:
    """`histogram` of a 1-D array."""
    if not 1 <= bins <= 1 << 20:
        raise ParameterError(f"a histogram of {bins} bins; give 1 to {1 << 20}")
    stored = np.dtype(str(values.dtype).removeprefix("torch."))
    small = stored.kind in "biu" and stored.itemsize <= 2
    if stored.kind == "b" and not is_tensor(values):
        values = values.view(np.uint8)
    numbers = words(values) if small else None
    low, high = _range(values, numbers) if lower is None or upper is None else (0.0, 0.0)
    low = low if lower is None else float(lower)
    high = high if upper is None else float(upper)
    if not high > low:
        if lower is not None and upper is not None:
            raise ParameterError(f"histogram: lower {low:g} is not below upper {high:g}")
        low, high = low - 0.5, low + 0.5
    elif high - low < TINY:
        high = low + TINY
    edges = np.linspace(low, high, bins + 1)
    if numbers is not None:
        which, counts = numbers
        used = counts > 0
        which, counts = which[used], counts[used]
        inside = (which >= low) & (which <= high)
        found, _ = np.histogram(which[inside], bins=edges, weights=counts[inside])
        return Histogram(
            np.rint(found).astype(np.int64), edges, unit,
            int(counts[which < low].sum()), int(counts[which > high].sum()),
        )  # fmt: skip
    found = binned(values, edges)
    return Histogram(found[1:-2], edges, unit, int(found[0]), int(found[-2]), int(found[-1]))


def _range(values: Array, numbers: tuple[Array, Array] | None) -> tuple[float, float]:
    if numbers is not None:
        used = numbers[0][numbers[1] > 0]
        return (float(used[0]), float(used[-1])) if used.size else (0.0, 0.0)
    return extremes(values)


def statistics(
    image: Image,
    *,
    mask: Mask | None = None,
    segment: int | None = None,
    percentiles: Sequence[float] = (5.0, 25.0, 50.0, 75.0, 95.0),
    bins: int = 256,
) -> Statistics:
    """Statistics of a whole image or of a region of it.

    Exact, percentiles included (linear between neighbours in order, as NumPy's); mode, full width
    at half maximum and entropy are those of the histogram of ``bins`` bins. The values are read in
    place: nothing is sorted or copied but the region itself.

    Raises
    ------
    GeometryError
        The mask lies on another grid.
    ParameterError
        No finite value lies in the region.
    """
    values = region(image, mask, segment=segment)
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    finite = values
    with np.errstate(invalid="ignore"):  # infinities of both signs
        whole = values.dtype.kind != "f" or np.isfinite(np.sum(values, dtype=np.float64))
    if not whole:
        finite = values[np.isfinite(values)]
    if not finite.size:
        raise ParameterError(
            "no finite value in this region; choose a mask that covers some of the image"
        )
    found = of_values(finite, bins=bins, unit=image.unit)
    low, high = _range(finite, None)
    start = powers(finite, 0.5 * (low + high))
    mean = 0.5 * (low + high) + start[1] / start[0]
    n, _, m2, m3, m4 = powers(finite, mean)
    sd = float(np.sqrt(m2 / n))
    wanted = sorted({50.0, *map(float, percentiles)})
    return Statistics(
        count=int(n),
        missing=int(values.size - finite.size),
        minimum=low,
        maximum=high,
        mean=float(mean),
        sd=sd,
        skewness=float(m3 / n / sd**3) if sd > 0 else 0.0,
        kurtosis=float(m4 / n / sd**4 - 3.0) if sd > 0 else 0.0,
        percentiles=dict(zip(wanted, quantiles(finite, [p / 100 for p in wanted]), strict=True)),
        mode=found.mode,
        fwhm=found.fwhm,
        entropy=found.entropy,
        unit=image.unit,
    )


def quantiles(values: Array, shares: Sequence[float]) -> list[float]:
    """Quantiles of a 1-D array of finite values, linear between neighbours in order.

    Integers of 8 and 16 bits from their counts, a few of float32 and other integers of 32 bits by
    radix selection, everything else by NumPy.
    """
    places = np.clip(np.asarray(shares, np.float64), 0, 1) * (values.size - 1)
    below = np.floor(places).astype(np.int64)
    ranks = np.unique(np.concatenate([below, np.minimum(below + 1, values.size - 1)]))
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        which, counts = words(values)
        found = which[np.searchsorted(np.cumsum(counts), ranks, side="right")].astype(np.float64)
    elif values.dtype.itemsize == 4 and ranks.size <= FEW:
        found = key_values(ordered(key_order(values), ranks), values.dtype).astype(np.float64)
    else:
        found = np.partition(values, ranks)[ranks].astype(np.float64)
    a = found[np.searchsorted(ranks, below)]
    b = found[np.searchsorted(ranks, np.minimum(below + 1, values.size - 1))]
    return [float(v) for v in a + (places - below) * (b - a)]


@dataclass(frozen=True, eq=False)
class JointHistogram:
    """How often which pair of values occurs: ``counts`` ``(bins of a, bins of b)`` int64."""

    counts: Array
    edges_a: Float
    edges_b: Float

    @property
    def mutual_information(self) -> float:
        """In bits: ``H(a) + H(b) - H(a, b)`` (Viola and Wells 1997; Maes et al. 1997)."""
        a, b, both = self._entropies()
        return a + b - both

    @property
    def normalised_mutual_information(self) -> float:
        """``(H(a) + H(b)) / H(a, b)``, 1 to 2 (Studholme, Hill, Hawkes 1999)."""
        a, b, both = self._entropies()
        return (a + b) / both if both > 0 else 2.0

    @property
    def joint_entropy(self) -> float:
        """``H(a, b)`` in bits."""
        return self._entropies()[2]

    def _entropies(self) -> tuple[float, float, float]:
        p = self.counts / max(int(self.counts.sum()), 1)
        return tuple(
            float(-(q[q > 0] * np.log2(q[q > 0])).sum())
            for q in (p.sum(axis=1), p.sum(axis=0), p.reshape(-1))
        )  # pyright: ignore[reportReturnType]


def joint(a: Image, b: Image, *, bins: int = 64, mask: Mask | None = None) -> JointHistogram:
    """Joint histogram of two images on one grid, over the finite range of each.

    Raises `GeometryError` where the grids differ: resample one to the other first.
    """
    if a.shape != b.shape or not a.grid.allclose(b.grid):
        raise GeometryError(
            f"the images have shapes {a.shape} and {b.shape}, or lie at different places; resample "
            "one to the grid of the other"
        )
    x, y = region(a, mask), region(b, mask)
    ends = [_range(v, None) for v in (x, y)]
    (ea, eb) = (np.linspace(low, high if high > low else low + 1.0, bins + 1) for low, high in ends)
    return JointHistogram(pairs(x, y, ea, eb), ea, eb)
