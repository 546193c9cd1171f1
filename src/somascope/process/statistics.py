"""Statistics of a volume or a region as findings, and of data larger than the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, TypeAlias

import numpy as np

from somascope.core import QUIET, Code, Image, Mask, Measurement, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.process import histogram as whole
from somascope.process.counting import binned, extremes, powers, words
from somascope.process.entries import inside, is_colour
from somascope.process.histogram import Histogram, Statistics
from somascope.process.measured import measured
from somascope.process.median import key_order, key_values

Parts: TypeAlias = Callable[[], Iterable[Array]]
"""Gives the values part by part, from the start each time it is called."""

_CODES = {
    "Mean": Code("373098007", "SCT", "Mean"),
    "Standard deviation": Code("386136009", "SCT", "Standard deviation"),
    "Minimum": Code("255605001", "SCT", "Minimum"),
    "Maximum": Code("56851009", "SCT", "Maximum"),
    "Median": Code("373099004", "SCT", "Median"),
    "Mode": Code("370114008", "SCT", "Mode"),
}


@operation("process.statistics")
def statistics(
    image: Image,
    *masks: Mask,
    segment: Annotated[
        int, Param("Segment of the mask; 0: all of them together", minimum=0, maximum=65535)
    ] = 0,
    percentiles: Annotated[
        tuple[float, ...], Param("Which, in per cent", unit="%", minimum=0.0, maximum=100.0)
    ] = (5.0, 25.0, 75.0, 95.0),
    bins: Annotated[
        int, Param("Of the histogram that mode, width and entropy are told from", minimum=2,
                   maximum=65536)
    ] = 256,
    progress: Progress = QUIET,
) -> list[Measurement]:  # fmt: skip
    """Measure the values of an image, or of a region of it.

    Number of voxels and their volume (ml), mean, standard deviation (with n), minimum, maximum,
    median, percentiles, skewness, excess kurtosis, mode, full width at half maximum, and entropy
    (bit). Values keep the image's unit; missing and infinite ones are left out and counted.
    """
    if is_colour(image):
        raise ParameterError("process.statistics measures single values, not colours")
    if len(masks) > 1:
        raise ParameterError(f"process.statistics takes one mask and was given {len(masks)}")
    progress(0.1, "reading")
    found = whole.statistics(
        image, mask=masks[0] if masks else None, segment=segment or None,
        percentiles=percentiles, bins=bins,
    )  # fmt: skip
    progress(1.0, "measured")
    unit = image.unit
    voxels = inside(masks[0], segment or None).sum() if masks else np.prod(image.grid.shape)
    rows: list[tuple[str, float, str]] = [
        ("Voxels", found.count, "{voxels}"),
        ("Voxels without a value", found.missing, "{voxels}"),
        ("Volume", float(voxels) * image.grid.voxel_volume / 1000.0, "ml"),
        ("Mean", found.mean, unit),
        ("Standard deviation", found.sd, unit),
        ("Minimum", found.minimum, unit),
        ("Maximum", found.maximum, unit),
        ("Median", found.median, unit),
        *(
            (f"Percentile {share:g}", value, unit)
            for share, value in found.percentiles.items()
            if share in percentiles
        ),
        ("Skewness", found.skewness, "1"),
        ("Excess kurtosis", found.kurtosis, "1"),
        ("Mode", found.mode, unit),
        ("Full width at half maximum", found.fwhm, unit),
        ("Entropy", found.entropy, "bit"),
    ]
    return [measured(image, n, v, u, code=_CODES.get(n)) for n, v, u in rows]


def streamed(
    parts: Parts,
    *,
    percentiles: Iterable[float] = (5.0, 25.0, 50.0, 75.0, 95.0),
    bins: int = 256,
    unit: str = "1",
    progress: Progress = QUIET,
) -> tuple[Statistics, Histogram]:
    """Statistics and histogram of values that are never in memory together.

    ``parts`` is called once for integers of 8 and 16 bits, up to six times for other types; what it
    gives are arrays of one dtype and any shapes. Results are those of `histogram.statistics` on the
    whole, percentiles included (of float64 and 64 bit integers as float32: to 7 digits).

    Raises
    ------
    ParameterError
        No finite value, complex values, or parts that differ between two calls.
    """  # fmt: skip
    wanted = sorted({50.0, *map(float, percentiles)})
    first = next(iter(parts()), np.empty(0))
    if first.dtype.kind == "c":
        raise ParameterError("statistics need real values; give magnitudes")
    if first.dtype.kind in "biu" and first.dtype.itemsize <= 2:
        return _counted(parts, first.dtype, wanted, bins, unit, progress)
    progress(0.0, "range")
    low, high, total, finite = np.inf, -np.inf, 0, 0
    for values in _flat(parts):
        total += values.size
        good = values[np.isfinite(values)]
        finite += good.size
        if good.size:
            a, b = extremes(good)
            low, high = min(low, a), max(high, b)
    if not finite:
        raise ParameterError("no finite value in the data")
    progress(0.25, "mean")
    middle = 0.5 * (low + high)
    start = sum((powers(v, middle) for v in _flat(parts)), np.zeros(5))
    mean = middle + start[1] / start[0]
    edges = _edges(low, high, bins)
    progress(0.5, "moments and histogram")
    sums, counts = np.zeros(5), np.zeros(bins + 3, np.int64)
    for values in _flat(parts):
        sums += powers(values, mean)
        counts += binned(values, edges)
    if int(sums[0]) != finite:
        raise ParameterError("the parts gave other values the second time")
    made = Histogram(counts[1:-2], edges, unit, 0, 0, total - finite)
    progress(0.75, "percentiles")
    found = _quantiles(parts, wanted, finite)
    progress(1.0, "measured")
    return _statistics(sums, mean, low, high, total - finite, wanted, found, made, unit), made


def _flat(parts: Parts) -> Iterable[Array]:
    for part in parts():
        values = np.ascontiguousarray(part).reshape(-1)
        if values.dtype.kind in "iu" or values.dtype.itemsize not in (4, 8):
            values = values.astype(np.float64 if values.dtype.itemsize > 2 else np.float32)
        yield values


def _edges(low: float, high: float, bins: int) -> Float:
    if not high > low:
        low, high = low - 0.5, low + 0.5
    return np.linspace(low, high, bins + 1)


def _counted(
    parts: Parts, dtype: np.dtype, wanted: list[float], bins: int, unit: str, progress: Progress
) -> tuple[Statistics, Histogram]:
    """All from how often each of the 65536 values occurs."""
    which, counts = np.empty(0), np.zeros(0, np.int64)
    for part in parts():
        if part.dtype != dtype:
            raise ParameterError(f"parts of {part.dtype} among parts of {dtype}; give one dtype")
        values = np.ascontiguousarray(part).reshape(-1)
        which, more = words(values.view(np.uint8) if dtype.kind == "b" else values)
        counts = more if not counts.size else counts + more
    used = counts > 0
    which, counts = which[used].astype(np.float64), counts[used]
    if not counts.size:
        raise ParameterError("no finite value in the data")
    progress(0.9, "counted")
    n = float(counts.sum())
    mean = float(which @ counts / n)
    moved = which - mean
    sums = np.array([n, moved @ counts, *(moved**k @ counts for k in (2, 3, 4))])
    edges = _edges(which[0], which[-1], bins)
    found, _ = np.histogram(which, bins=edges, weights=counts)
    made = Histogram(np.rint(found).astype(np.int64), edges, unit)
    upto = np.cumsum(counts)
    places = np.array(wanted) / 100 * (n - 1)
    below = np.floor(places).astype(np.int64)
    a = which[np.searchsorted(upto, below, side="right")]
    b = which[np.searchsorted(upto, np.minimum(below + 1, int(n) - 1), side="right")]
    values = [float(v) for v in a + (places - below) * (b - a)]
    progress(1.0, "measured")
    return (
        _statistics(sums, mean, which[0], which[-1], 0, wanted, values, made, unit),
        made,
    )


def _quantiles(parts: Parts, wanted: list[float], finite: int) -> list[float]:
    """Radix selection over 16 and again 16 bits of float32 in the order of its keys."""
    places = np.array(wanted) / 100 * (finite - 1)
    below = np.floor(places).astype(np.int64)
    ranks = np.unique(np.concatenate([below, np.minimum(below + 1, finite - 1)]))

    def keys() -> Iterable[Array]:
        for values in _flat(parts):
            yield key_order(values[np.isfinite(values)].astype(np.float32))

    high = np.zeros(65536, np.int64)
    for key in keys():
        high += np.bincount(key >> np.uint32(16), minlength=65536)
    upto = np.cumsum(high)
    tops = np.searchsorted(upto, ranks, side="right")
    low = {int(t): np.zeros(65536, np.int64) for t in np.unique(tops)}
    for key in keys():
        word = key >> np.uint32(16)
        for top in low:
            low[top] += np.bincount(key[word == top] & np.uint32(0xFFFF), minlength=65536)
    selected = np.empty(ranks.size, np.uint32)
    for i, (rank, top) in enumerate(zip(ranks, tops, strict=True)):
        before = int(upto[top - 1]) if top else 0
        rest = int(np.searchsorted(np.cumsum(low[int(top)]), rank - before, side="right"))
        selected[i] = np.uint32(int(top) << 16 | rest)
    values = key_values(selected, np.dtype(np.float32)).astype(np.float64)
    a = values[np.searchsorted(ranks, below)]
    b = values[np.searchsorted(ranks, np.minimum(below + 1, finite - 1))]
    return [float(v) for v in a + (places - below) * (b - a)]


def _statistics(
    sums: Float, mean: float, low: float, high: float, missing: int, wanted: list[float],
    found: list[float], made: Histogram, unit: str,
) -> Statistics:  # fmt: skip
    n, _, m2, m3, m4 = (float(v) for v in sums)
    sd = float(np.sqrt(m2 / n))
    return Statistics(
        count=int(n), missing=missing, minimum=float(low), maximum=float(high), mean=mean, sd=sd,
        skewness=m3 / n / sd**3 if sd > 0 else 0.0,
        kurtosis=m4 / n / sd**4 - 3.0 if sd > 0 else 0.0,
        percentiles=dict(zip(wanted, found, strict=True)),
        mode=made.mode, fwhm=made.fwhm, entropy=made.entropy, unit=unit,
    )  # fmt: skip
