"""Curves from value to value: gamma, sigmoid, equalisation, local normalisation, a reference."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError, UnitError
from somascope.core.grid import Array, Float
from somascope.process.choices import Dimensions
from somascope.process.counting import extremes
from somascope.process.entries import each_volume, is_colour, like, real_values
from somascope.process.filters import smooth
from somascope.process.histogram import of_values, quantiles

LEVELS = 4096
"""Of a histogram that stands for a distribution."""


def _limits(
    image: Image, name: str, lower: float | None, upper: float | None
) -> tuple[float, float]:
    """The range worked on: as given, or that of the finite values of the whole image."""
    real_values(image, name)
    least, most = extremes(np.ascontiguousarray(image.data).reshape(-1))
    low = least if lower is None else lower
    high = most if upper is None else upper
    if lower is not None and upper is not None and not lower < upper:
        raise ParameterError(f"{name}: lower {lower:g} is not below upper {upper:g}")
    return low, max(high, low)


def _curved(
    image: Image, name: str, curve: Float, low: float, high: float, progress: Progress
) -> Image:
    """Values from ``low`` to ``high`` through a curve of even steps, the others as they are.

    8 and 16 bit integers are looked up, everything else is interpolated.
    """
    places = np.linspace(low, high, curve.size)
    if image.data.dtype.kind in "iu" and image.data.dtype.itemsize <= 2:
        info = np.iinfo(image.data.dtype)
        every = np.arange(info.min, info.max + 1)
        table = np.where((every >= low) & (every <= high), np.interp(every, places, curve), every)
        progress(1.0, name)
        table = np.roll(like(table, image.data.dtype), int(info.min))
        unsigned = np.dtype(f"u{image.data.dtype.itemsize}")
        return image.with_data(table[np.ascontiguousarray(image.data).view(unsigned)])

    def run(volume: Array) -> Array:
        mapped = np.interp(volume, places, curve).astype(volume.dtype)
        return np.where((volume >= low) & (volume <= high), mapped, volume)

    data = each_volume(image, run, progress=progress, message=name)
    return image.with_data(like(data, image.data.dtype) if image.data.dtype.kind in "iu" else data)


@operation("process.gamma")
def gamma(
    image: Image,
    *,
    gamma: Annotated[
        float, Param("Exponent: below 1 brightens the dark", minimum=0.05, maximum=20.0, step=0.05)
    ] = 0.7,
    lower: Annotated[float | None, Param("Values below stay; none: from the smallest")] = None,
    upper: Annotated[float | None, Param("Values above stay; none: to the largest")] = None,
    progress: Progress = QUIET,
) -> Image:
    """Brighten or darken the middle values by a power law.

    Values stay in their unit, between ``lower`` and ``upper``. Shape and dtype as they came;
    missing values stay missing.
    """
    low, high = _limits(image, "process.gamma", lower, upper)
    curve = low + (high - low) * np.linspace(0, 1, LEVELS) ** gamma
    return _curved(image, "process.gamma", curve, low, high, progress)


@operation("process.sigmoid")
def sigmoid(
    image: Image,
    *,
    centre: Annotated[
        float | None, Param("Value that stays, in the image's unit; none: the middle")
    ] = None,
    gain: Annotated[
        float, Param("Steepness; towards 0 it changes nothing", minimum=0.01, maximum=100.0)
    ] = 6.0,
    lower: Annotated[float | None, Param("Values below stay; none: from the smallest")] = None,
    upper: Annotated[float | None, Param("Values above stay; none: to the largest")] = None,
    progress: Progress = QUIET,
) -> Image:
    """Raise contrast around a value by an S-shaped curve, less and less away from it.

    Values stay in their unit, between ``lower`` and ``upper``, whose ends stay. Shape and dtype
    as they came; missing values stay missing.
    """
    low, high = _limits(image, "process.sigmoid", lower, upper)
    middle = 0.5 * (low + high) if centre is None else centre
    x = (np.linspace(low, high, LEVELS) - middle) / max(high - low, 1e-30)
    s = np.tanh(0.5 * gain * x)
    curve = low + (high - low) * (s - s[0]) / max(float(s[-1] - s[0]), 1e-30)
    return _curved(image, "process.sigmoid", curve, low, high, progress)


@operation("process.equalise")
def equalise(
    image: Image,
    *,
    strength: Annotated[
        float, Param("0 changes nothing, 1 equalises", minimum=0.0, maximum=1.0, step=0.05)
    ] = 1.0,
    lower: Annotated[float | None, Param("Values below stay; none: from the smallest")] = None,
    upper: Annotated[float | None, Param("Values above stay; none: to the largest")] = None,
    progress: Progress = QUIET,
) -> Image:
    """Spread the values so that every brightness occurs equally often (histogram equalisation).

    One curve for the whole image; values stay in their unit, between ``lower`` and ``upper``.
    Shape and dtype as they came; missing values stay missing.
    """
    low, high = _limits(image, "process.equalise", lower, upper)
    if not high > low:
        return image.with_data(image.data)
    values = np.ascontiguousarray(image.data).reshape(-1)
    counted = of_values(values, bins=LEVELS, lower=low, upper=high)
    even = np.linspace(0, 1, LEVELS + 1)
    curve = low + (high - low) * ((1 - strength) * even + strength * counted.cumulative)
    return _curved(image, "process.equalise", curve, low, high, progress)


@operation("process.match")
def match(
    image: Image,
    reference: Image,
    *,
    points: Annotated[
        int, Param("Quantiles at which the distributions are made equal", minimum=2, maximum=4096)
    ] = 256,
    progress: Progress = QUIET,
) -> Image:
    """Give an image the distribution of values of another one (histogram specification).

    A rising curve through equal quantiles. The images may have any shapes; they must share their
    unit. Shape as it came, float32 (integers stay integers); missing values stay missing.
    """
    real_values(image, "process.match")
    real_values(reference, "process.match")
    if image.unit != reference.unit:
        raise UnitError(
            f"process.match: the image is in {image.unit!r} and the reference in "
            f"{reference.unit!r}; convert one of them first"
        )
    shares = np.linspace(0, 1, points).tolist()
    ends = []
    for which in (image, reference):
        values = np.ascontiguousarray(which.data).reshape(-1)
        finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if not finite.size:
            raise ParameterError("process.match: an image without a finite value")
        ends.append(np.array(quantiles(finite, shares)))
    source, target = ends
    # Equal quantiles of many equal values: one place, the middle of its targets.
    place, which_ = np.unique(source, return_inverse=True)
    level = np.bincount(which_, target) / np.bincount(which_)

    def run(volume: Array) -> Array:
        mapped = np.interp(volume, place, level).astype(volume.dtype)
        return np.where(np.isnan(volume), volume, mapped)

    data = each_volume(image, run, progress=progress, message="matching")
    return image.with_data(like(data, image.data.dtype) if image.data.dtype.kind in "iu" else data)


@operation("process.local_normalise")
def local_normalise(
    image: Image,
    *,
    size: Annotated[
        float, Param("Width of the neighbourhood", unit="mm", minimum=0.1, maximum=500.0)
    ] = 20.0,
    floor: Annotated[
        float,
        Param(
            "Least local deviation, as a share of the whole image's",
            minimum=0.001,
            maximum=1.0,
            advanced=True,
        ),
    ] = 0.05,
    dimensions: Dimensions = "volume",
    progress: Progress = QUIET,
) -> Image:
    """Subtract the local mean and divide by the local standard deviation.

    Evens out shading and contrast: every neighbourhood gets mean 0 and deviation about 1. Shape
    ``(*leading, nz, ny, nx)``, float32, unit ``1``; missing values stay missing.
    """  # fmt: skip
    real_values(image, "process.local_normalise")
    if is_colour(image):
        raise ParameterError(
            "process.local_normalise needs single values and this image is in colour"
        )
    dz, dy, dx = image.grid.spacing
    half = size / 2.3548
    width = (half / dz if dimensions == "volume" else 0.0, half / dy, half / dx)

    def run(volume: Array) -> Array:
        known = np.isfinite(volume)
        least = floor * float(volume[known].std()) if known.any() else 1.0
        centred = volume - (volume[known].mean() if known.any() else 0)
        centred[~known] = np.nan
        mean = smooth(centred, width)
        variance = np.maximum(smooth(centred * centred, width) - mean * mean, 0)
        return (centred - mean) / np.maximum(np.sqrt(variance), max(least, 1e-30))

    data = each_volume(image, run, progress=progress, message="normalising")
    return image.with_data(data.astype(np.float32, copy=False), unit="1")
