"""Values of scans without a unit made comparable: z-score, white stripe, landmarks of Nyul.

MR images have no unit: the same tissue differs between scanners, and between today and tomorrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.core import QUIET, Image, Mask, Measurement, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.process.entries import each_volume, inside, is_colour, real_values
from somascope.process.histogram import of_values, quantiles
from somascope.process.measured import measured
from somascope.process.thresholds import otsu

SHARES = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)
"""Percentages of the landmarks (Nyul, Udupa and Zhang 2000: L4, deciles between two ends)."""

SCALE = (0.0, 100.0)
"""Values that the first and the last landmark get where nothing else is said."""


def foreground(image: Image, masks: Sequence[Mask], name: str) -> Array:
    """The finite values that count, 1-D: in the mask, or where they lie above Otsu's threshold.

    Raises
    ------
    GeometryError
        The mask lies on another grid.
    ParameterError
        Complex or colour data, several masks, or no finite value in the region.
    """
    real_values(image, name)
    if is_colour(image):
        raise ParameterError(f"{name} needs single values and this image is in colour")
    if len(masks) > 1:
        raise ParameterError(f"{name} takes one mask and was given {len(masks)}")
    if masks:
        if not masks[0].grid.allclose(image.grid):
            raise GeometryError(
                f"{name}: the mask lies on another grid than the image; resample it to the image's"
            )
        values = image.data[..., inside(masks[0])].reshape(-1)
    else:
        values = np.ascontiguousarray(image.data).reshape(-1)
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not masks and values.size and values.min() < values.max():
        values = values[values > otsu(of_values(values))[0]]
    if not values.size:
        raise ParameterError(
            f"{name}: no finite value in the region; choose a mask that covers some of the image"
        )
    return np.ascontiguousarray(values)


def landmarks_at(image: Image, *, masks: Sequence[Mask] = (), name: str = "process.nyul") -> Float:
    """Values of the image at the percentages of `SHARES`, ascending, float64.

    Raises `ParameterError` where first and last are equal: a constant image has no landmarks.
    """
    values = foreground(image, masks, name)
    found = np.array(quantiles(values, [s / 100 for s in SHARES]))
    if not found[-1] > found[0]:
        raise ParameterError(
            f"{name}: all values of the region are {found[0]:g}; landmarks need different ones"
        )
    return found


def standard(
    images: Sequence[Image], *, scale: tuple[float, float] = SCALE, name: str = "process.nyul"
) -> Float:
    """The standard of several images: the mean of their landmarks, each set on ``scale`` first."""
    if not scale[1] > scale[0]:
        raise ParameterError(f"{name}: the scale goes from {scale[0]:g} to {scale[1]:g}")
    if not images:
        raise ParameterError(f"{name}: a standard needs at least one image")
    total = np.zeros(len(SHARES))
    for image in images:
        own = landmarks_at(image, name=name)
        total += scale[0] + (own - own[0]) * ((scale[1] - scale[0]) / (own[-1] - own[0]))
    return total / len(images)


def landmarks_of(findings: Sequence[Measurement]) -> tuple[float, ...]:
    """The standard that `process.nyul_standard` measured, as `process.nyul` takes it."""
    return tuple(m.value for m in findings if m.concept.value.startswith("NYUL_"))


@operation("process.nyul_standard")
def nyul_standard(
    *images: Image,
    lower: Annotated[float, Param("Value that the first landmark gets")] = SCALE[0],
    upper: Annotated[float, Param("Value that the last landmark gets")] = SCALE[1],
    progress: Progress = QUIET,
) -> list[Measurement]:
    """Learn a standard scale of intensities from images of one kind (Nyul and Udupa 2000).

    One measurement for each landmark: the mean over the images of the value at 1, 10, 20 ... 90 and
    99 per cent of the foreground (above Otsu's threshold), after ``lower`` and ``upper`` were put
    at the ends. Its values in order are the ``landmarks`` that `process.nyul` takes.
    """
    if not images:
        raise ParameterError("process.nyul_standard: a standard needs at least one image")
    progress(0.1, "landmarks")
    found = standard(images, scale=(lower, upper), name="process.nyul_standard")
    progress(1.0, "learnt")
    return [
        measured(images[0], f"Nyul {share:02.0f} per cent", value, "1")
        for share, value in zip(SHARES, found, strict=True)
    ]


@operation("process.nyul")
def nyul(
    image: Image,
    *references: Image,
    landmarks: Annotated[
        tuple[float, ...],
        Param("A standard learnt before (process.nyul_standard): 11 rising values; it replaces "
              "the references"),
    ] = (),
    lower: Annotated[float, Param("Value that the first landmark gets")] = SCALE[0],
    upper: Annotated[float, Param("Value that the last landmark gets")] = SCALE[1],
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Bring an image to a standard scale of intensities (Nyul, Udupa and Zhang, IEEE TMI 19, 2000).

    The landmarks of its foreground (above Otsu's threshold) are mapped to those of the standard,
    linearly between them, and beyond the ends by the outer slopes. The standard is given, or learnt
    from the references (of the same kind of scan). float32, unit ``1``; missing values stay.
    """
    own = landmarks_at(image)
    if len(landmarks):
        target = np.asarray(landmarks, np.float64)
        if target.size != len(SHARES) or not (np.diff(target) > 0).all():
            raise ParameterError(
                f"process.nyul: landmarks are {list(landmarks)}; give {len(SHARES)} rising values, "
                "as process.nyul_standard measures them"
            )
    elif references:
        target = standard(references, scale=(lower, upper))
    else:
        raise ParameterError("process.nyul needs landmarks, or reference images to learn them from")
    # Landmarks that coincide would make the map two-valued: the mean of their targets.
    place, which = np.unique(own, return_inverse=True)
    level = np.bincount(which, target) / np.bincount(which)

    def run(volume: Array) -> Array:
        found = np.interp(volume, place, level)
        low, high = volume < place[0], volume > place[-1]
        first = (level[1] - level[0]) / (place[1] - place[0])
        last = (level[-1] - level[-2]) / (place[-1] - place[-2])
        with np.errstate(invalid="ignore"):
            found = np.where(low, level[0] + (volume - place[0]) * first, found)
            found = np.where(high, level[-1] + (volume - place[-1]) * last, found)
        return np.where(np.isnan(volume), np.nan, found).astype(np.float32)

    data = each_volume(image, run, progress=progress, message="standardising")
    return _relative(image, data)


@operation("process.zscore")
def zscore(image: Image, *masks: Mask) -> Image:
    """Subtract the mean and divide by the standard deviation of the foreground or of a mask.

    The foreground lies above Otsu's threshold; its (or the mask's) mean becomes 0 and its deviation
    1. float32, unit ``1``; missing values stay missing.
    """
    values = foreground(image, masks, "process.zscore").astype(np.float64)
    mean, sd = float(values.mean()), float(values.std())
    if not sd > 0:
        raise ParameterError(
            f"process.zscore: all values of the region are {mean:g}; a deviation needs different "
            "ones"
        )
    return _relative(image, ((image.data - mean) / sd).astype(np.float32))


def stripe(values: Float, *, peak: str, width: float) -> tuple[float, float]:
    """Mean and deviation of the white stripe: the values around white matter's peak.

    ``peak`` is ``last`` (T1: white matter is the brightest tissue) or ``largest`` (T2, FLAIR). The
    stripe are the values whose rank lies within ``width`` (a share) of the peak's.
    """
    high = quantiles(values, [0.99])[0]
    bins = 500
    counted = of_values(values, bins=bins, upper=max(high, float(values.min()) + 1e-30))
    smooth = _smoothed(counted.counts.astype(np.float64), bins / 40)
    if peak == "largest":
        at = int(np.argmax(smooth))
    else:
        inner = smooth[1:-1]
        tops = np.flatnonzero((inner > smooth[:-2]) & (inner >= smooth[2:])) + 1
        tops = tops[smooth[tops] > 0.1 * smooth.max()]
        at = int(tops[-1]) if tops.size else int(np.argmax(smooth))
    mode = float(counted.centres[at])
    share = float((values < mode).mean())
    low, top = quantiles(values, [max(share - width, 0.0), min(share + width, 1.0)])
    inside = values[(values >= low) & (values <= top)]
    if not inside.size:
        raise ParameterError(
            f"process.white_stripe: {values.size} values are too few for a stripe; give a larger "
            "region, or a larger width"
        )
    return float(inside.mean()), float(inside.std())


def _smoothed(counts: Float, sigma: float) -> Float:
    reach = int(3 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(np.convolve(np.pad(counts, reach), kernel / kernel.sum(), "valid"), float)


@operation("process.white_stripe")
def white_stripe(
    image: Image,
    *masks: Mask,
    contrast: Annotated[
        Literal["t1", "t2"],
        Param("White matter is the brightest peak (t1), or the largest one (t2, FLAIR, PD)"),
    ] = "t1",
    width: Annotated[
        float, Param("Half width of the stripe, as a share of the ranks", minimum=0.005,
                     maximum=0.3)
    ] = 0.05,
) -> Image:  # fmt: skip
    """Scale a brain image by its normal-appearing white matter (Shinohara et al. 2014).

    The stripe of values around white matter's peak gets mean 0 and deviation 1. Over the brain (a
    mask), or the values above Otsu's threshold. float32, unit ``1``; missing values stay missing.
    """
    values = foreground(image, masks, "process.white_stripe").astype(np.float64)
    mean, sd = stripe(values, peak="last" if contrast == "t1" else "largest", width=width)
    if not sd > 0:
        raise ParameterError(
            f"process.white_stripe: the stripe at {mean:g} has no spread; the image is constant "
            "there, or width is too small"
        )
    return _relative(image, ((image.data - mean) / sd).astype(np.float32))


def _relative(image: Image, data: Array) -> Image:
    attributes = {
        k: v
        for k, v in image.attributes.items()
        if not k.startswith("Window") and k != "VOILUTFunction"
    }
    return replace(image, data=data.astype(np.float32, copy=False), unit="1", attributes=attributes)
