"""`analyze.suv`: how much tracer a lesion takes up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.acquire.pet.suv import suv as standardised
from somascope.analyze.measure import codes
from somascope.analyze.measure.regions import (
    Chosen,
    Region,
    Separate,
    finding,
    on_one_grid,
    regions,
    tight,
)
from somascope.analyze.measure.surface import volume_uncertainty
from somascope.core import QUIET, Image, Mask, Measurement, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Grid
from somascope.io.dicom.suv import type_of
from somascope.process.choices import one_volume

Rule: TypeAlias = Literal["percent", "value", "percist", "segment"]

RADIUS = (3 * 1000 / (4 * math.pi)) ** (1 / 3)
"""Of a sphere of 1 ml, in mm."""

_PARTS = 5
"""Points per edge by which a voxel's share of the sphere is told."""

_NAME = "analyze.suv"


@dataclass(frozen=True)
class Uptake:
    """Of one lesion: values in the image's unit, ``volume`` in ml above ``threshold``."""

    maximum: float
    peak: float
    mean: float
    threshold: float
    volume: float
    uncertainty: float

    @property
    def glycolysis(self) -> float:
        """Mean times volume."""
        return self.mean * self.volume


def ball(grid: Grid) -> Array:
    """Share of every voxel about the middle one in a sphere of 1 ml, sum 1: ``(2a+1, 2b+1, 2c+1)``.

    At any angle of the axes. In an image of one slice the sphere is a disc of its radius.
    """
    matrix = grid.affine[:3, :3]
    # Rows of the inverse are as long as the sphere of 1 mm is wide in index space.
    reach = np.linalg.norm(np.linalg.inv(matrix), axis=1) * RADIUS
    half = np.where(np.asarray(grid.shape) > 1, np.ceil(reach - 0.5), 0).astype(int)
    fine = (np.arange(_PARTS) + 0.5) / _PARTS - 0.5
    axes = [
        (np.arange(-h, h + 1)[:, None] + (fine if n > 1 else 0 * fine)).reshape(-1)
        for h, n in zip(half, grid.shape, strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    squared = sum((matrix[i, 0] * z + matrix[i, 1] * y + matrix[i, 2] * x) ** 2 for i in range(3))
    within = np.asarray(squared <= RADIUS**2, np.float64)
    sides = [v for h in half for v in (2 * int(h) + 1, _PARTS)]
    share = within.reshape(sides).mean(axis=(1, 3, 5))
    return share / share.sum()


def peak(volume: Array, inside: Array, grid: Grid) -> float:
    """The highest mean of a sphere of 1 ml about a voxel of ``inside``, both ``(nz, ny, nx)``.

    The sphere may leave the lesion; of one that leaves the image the part within counts.
    """
    from scipy.signal import fftconvolve

    weights = ball(grid)
    held = tight(inside)
    assert held is not None
    reach = [n // 2 for n in weights.shape]
    box = tuple(slice(max(b.start - r, 0), b.stop + r) for b, r in zip(held, reach, strict=True))
    part = volume[box].astype(np.float64)
    known = np.isfinite(part)
    # Symmetric, so convolution is correlation.
    total = fftconvolve(np.where(known, part, 0.0), weights, mode="same")
    share = fftconvolve(known.astype(np.float64), weights, mode="same")
    means = total / np.maximum(share, 1e-3)
    return float(means[inside[box]].max())


def uptake(
    volume: Array, region: Region, whole: Array, grid: Grid, *, threshold: float, share: bool
) -> Uptake:
    """Of a region: ``threshold`` is a value, or with ``share`` a part of the maximum.

    ``volume`` and ``whole`` (the region's voxels) ``(nz, ny, nx)`` lie on ``grid``.
    """
    values = region.box(volume).astype(np.float64)
    inside = region.inside & np.isfinite(values)
    if not inside.any():
        raise ParameterError(
            f"{_NAME}: the image has no finite value in {region.segment.label!r}; choose another"
        )
    highest = float(values[inside].max())
    limit = highest * threshold if share else threshold
    hot = inside & (values >= limit)
    return Uptake(
        maximum=highest,
        peak=peak(volume, whole, grid),
        mean=float(values[hot].mean()) if hot.any() else 0.0,
        threshold=limit,
        volume=float(np.count_nonzero(hot)) * grid.voxel_volume / 1000,
        uncertainty=volume_uncertainty(hot, region.grid) / 1000 if hot.any() else 0.0,
    )


@operation(_NAME)
def suv(
    image: Image,
    mask: Mask,
    *,
    rule: Annotated[
        Rule, Param("What of a segment is lesion: above a share of its maximum; above a value; "
                    "above 1.5 times the liver's mean and two standard deviations; all of it")
    ] = "percent",
    percent: Annotated[
        float, Param("Of the maximum, by that rule", unit="%", minimum=1.0, maximum=100.0)
    ] = 41.0,
    value: Annotated[
        float, Param("SUV, by that rule", unit="g/ml", minimum=0.0, maximum=1000.0)
    ] = 4.0,
    liver: Annotated[
        int, Param("Segment in the liver (PERCIST: a sphere of 3 cm); 0: none. It is not measured "
                   "as a lesion", minimum=0, maximum=65535)
    ] = 0,
    segment: Chosen = 0,
    separate: Separate = False,
    progress: Progress = QUIET,
) -> list[Measurement]:  # fmt: skip
    """Measure the uptake of every segment: SUV maximum, peak and mean, volume, glycolysis.

    The peak is the highest mean of a sphere of 1 ml about a voxel of the segment (PERCIST 1.0: Wahl
    et al., J Nucl Med 50 (2009) Suppl 1, 122S-150S). Mean, metabolic volume (ml) and total lesion
    glycolysis (mean times volume) are those above the threshold: 41 % of the maximum is EANM's
    (Boellaard et al., Eur J Nucl Med 42 (2015) 328-354). An image in Bq/ml becomes SUV by body
    weight first.

    Raises
    ------
    UnitError
        The image cannot be made SUV.
    ParameterError
        The rule needs the liver's segment and there is none.
    """
    scaled = image if type_of(image.unit) else standardised(image)
    volume = one_volume(scaled, _NAME)
    on_one_grid(scaled, mask)
    threshold = {"percent": percent / 100, "value": value, "segment": -math.inf}.get(rule)
    if threshold is None:
        threshold = _above_liver(volume, mask, liver)
    listed = regions(mask, segment=segment, separate=separate)
    chosen = [r for r in listed if r.segment.number != liver]
    if not chosen:
        raise ParameterError(f"{_NAME}: the mask has no segment but the liver's; add the lesions")
    found: list[Measurement] = []
    for region in progress.over(chosen, "segments"):
        whole = np.zeros(volume.shape, bool)
        region.box(whole)[...] = region.inside
        told = uptake(
            volume, region, whole, scaled.grid, threshold=threshold, share=rule == "percent"
        )
        glycolysis = scaled.unit.replace("/ml", "", 1)
        rows = [
            (codes.SUV_MAX, told.maximum, scaled.unit, None),
            (codes.SUV_PEAK, told.peak, scaled.unit, None),
            (codes.SUV_MEAN, told.mean, scaled.unit, None),
            (codes.METABOLIC_VOLUME, told.volume, "ml", told.uncertainty),
            (codes.GLYCOLYSIS, told.glycolysis, glycolysis, told.mean * told.uncertainty),
        ]
        if rule != "segment":
            rows.append((codes.THRESHOLD, told.threshold, scaled.unit, None))
        found += [
            finding(image, region.segment, c.meaning, v, u, code=c, uncertainty=spread)
            for c, v, u, spread in rows
        ]
    return found


def _above_liver(volume: Array, mask: Mask, liver: int) -> float:
    """PERCIST's threshold of a lesion that can be measured."""
    if not liver:
        raise ParameterError(f"{_NAME}: by PERCIST's rule, say which segment lies in the liver")
    (region,) = regions(mask, segment=liver)
    values = region.box(volume)[region.inside].astype(np.float64)
    return 1.5 * float(values.mean()) + 2 * float(values.std())
