"""Uptake of the hottest lesion by PERCIST: SUV by lean body mass, its peak and the glycolysis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from somascope.analyze.longitudinal import codes
from somascope.analyze.longitudinal.course import Followed
from somascope.analyze.longitudinal.lesions import Lesion
from somascope.core.errors import UnitError
from somascope.core.finding import Code
from somascope.core.grid import Array
from somascope.core.image import Image
from somascope.io.dicom.suv import suv_factor, type_of

UNIT = "g/ml{SUVlbm(Janma)}"
PEAK = 6.2035
"""mm, the radius of a sphere of 1 cm3 (Wahl et al. 2009: SULpeak)."""


def uptake(result: Followed) -> Iterator[tuple[Code, float, str, str]]:
    """Code, value, unit and ``then`` or ``now`` of what PERCIST asks for; nothing without SUV."""
    try:
        one, two = (_lean(i) for i in (result.prior, result.current))
    except UnitError:
        return
    before = [_peak(one, lesion) for lesion in result.before]
    after = [_peak(two, lesion) for lesion in result.after]
    if not before:
        return
    # The hottest of each examination: it need not be the same lesion (PERCIST 1.0).
    yield codes.SUL_PRIOR, max(before), UNIT, "now"
    if after:
        yield codes.SUL_PEAK, max(after), UNIT, "now"
    then, now = (_glycolysis(i, s) for i, s in ((one, result.before), (two, result.after)))
    yield codes.GLYCOLYSIS, then, "g{SUVlbm(Janma)}", "then"
    yield codes.GLYCOLYSIS, now, "g{SUVlbm(Janma)}", "now"
    if then > 0:
        yield codes.GLYCOLYSIS_CHANGE, 100 * (now / then - 1), "%", "now"


def _lean(image: Image) -> Image:
    """SUV by lean body mass (Janmahasatian)."""
    facts = dict(image.attributes)
    kind = type_of(image.unit)
    if image.unit == "Bq/ml":
        facts["Units"] = "BQML"
    elif kind is not None:
        facts |= {"Units": "CM2ML" if kind == "BSA" else "GML", "SUVType": kind}
    else:
        raise UnitError(f"a PET image in {image.unit!r} has no SUV")
    factor = suv_factor(facts, kind="LBMJANMA")
    return image.with_data((image.data * factor).astype(np.float32), unit=UNIT)


def _peak(image: Image, lesion: Lesion) -> float:
    """The highest mean over a sphere of 1 cm3 whose centre lies in the lesion."""
    from scipy.ndimage import convolve

    values = image.data.reshape(image.grid.shape)
    spacing = image.grid.spacing
    reach = [int(np.ceil(PEAK / d)) if n > 1 else 0
             for d, n in zip(spacing, image.grid.shape, strict=True)]  # fmt: skip
    weights = _sphere(spacing, reach)
    region = lesion.region
    box = tuple(
        slice(max(0, s - r), s + n + r)
        for s, n, r in zip(region.start, region.inside.shape, reach, strict=True)
    )
    mean = convolve(values[box].astype(np.float64), weights, mode="nearest")
    inner = tuple(
        slice(s - b.start, s - b.start + n)
        for s, n, b in zip(region.start, region.inside.shape, box, strict=True)
    )
    return float(mean[inner][region.inside].max())


def _sphere(spacing: Sequence[float], reach: Sequence[int]) -> Array:
    """How much of each voxel lies in the sphere, by 5 x 5 x 5 points in it; the sum is one."""
    inside = np.zeros([2 * r + 1 for r in reach])
    steps = (np.arange(5) - 2) / 5
    axes = np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij")
    for shift in np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3):
        squares = sum(
            ((a + (s if r else 0)) * d) ** 2
            for a, s, d, r in zip(axes, shift, spacing, reach, strict=True)
        )
        inside += squares <= PEAK**2
    return inside / inside.sum()


def _glycolysis(image: Image, lesions: Sequence[Lesion]) -> float:
    """Sum over the lesions of mean SUL times volume in ml."""
    values = image.data.reshape(image.grid.shape)
    return sum(
        float(lesion.region.box(values)[lesion.region.inside].mean()) * lesion.size.volume / 1000
        for lesion in lesions
    )
