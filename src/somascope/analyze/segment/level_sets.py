"""`segment.chan_vese` and `segment.geodesic`: borders that move until they rest."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.analyze.segment.choices import Edge, Name, Points, Rounding, Rounds
from somascope.analyze.segment.front import Drive, Rest, evolve
from somascope.analyze.segment.seeds import on_grid, region, volume_of, voxels
from somascope.core import QUIET, Image, Mask, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.edges import gradient_size
from somascope.process.entries import inside as covered
from somascope.process.filters import smooth
from somascope.process.histogram import of_values
from somascope.process.morphology import dilated
from somascope.process.thresholds import thresholds

_REGIONS, _EDGES = "segment.chan_vese", "segment.geodesic"

_FAINT = 0.1
"""Contrast, in standard deviations of the image, below which a border is driven less."""

_RENEW = 8
"""Steps between two times that local means are taken."""

Radius = Annotated[
    float,
    Param("Of the balls about the points that it starts from", unit="mm", minimum=0.1,
          maximum=200.0, step=0.5),
]  # fmt: skip


def _begun(
    image: Image, masks: tuple[Mask, ...], points: tuple[float, ...], radius: float, operation: str
) -> Array | None:
    """Where the front starts: a mask, balls about points; None where neither is given."""
    mask = on_grid(image, masks, operation)
    if mask is not None and points:
        raise ParameterError(f"{operation} starts from a mask or from points; give one of them")
    if mask is not None:
        start = covered(mask)
        if not start.any() or start.all():
            raise ParameterError(
                f"{operation}: the mask to start from covers {'all' if start.any() else 'none'} "
                "of the image and has no border; draw a part of it"
            )
        return start
    if not points:
        return None
    start = np.zeros(image.grid.shape, bool)
    start[tuple(voxels(image, points, name="points", operation=operation).T)] = True
    return dilated(start, image.grid.spacing, radius)


def _bend(image: Image, rounding: float) -> float:
    """Weight of the curvature (the sum of both in a volume) for a radius that gives way."""
    return rounding / max(sum(n > 1 for n in image.grid.shape) - 1, 1)


def _told(image: Image, found: Rest, known: Array, label: str, operation: str) -> Mask:
    state = "rested" if found.rested else "stopped before it rested,"
    return region(
        image, found.inside & known, label, f"{operation} {state} after {found.steps} steps"
    )


@operation(_REGIONS)
def chan_vese(
    image: Image,
    *start: Mask,
    points: Points = (),
    radius: Radius = 5.0,
    rounding: Rounding = 1.0,
    scale: Annotated[
        float | None,
        Param("Width of the Gaussian within which means are taken; none: one mean inside and one "
              "outside", unit="mm", minimum=0.1, maximum=200.0),
    ] = None,
    rounds: Rounds = 600,
    label: Name = "Object",
    progress: Progress = QUIET,
) -> Mask:  # fmt: skip
    """Part an image into two regions of even value with a smooth border (Chan and Vese).

    No edge is needed: the border moves until the values inside are nearer to their mean than to
    that of the outside (IEEE Trans Image Process 10 (2001) 266-277); with ``scale`` to means near
    by, for images of uneven brightness (region-scalable fitting, Li et al., IEEE Trans Image
    Process 17 (2008) 1940-1949). It starts from a mask, from balls about points, or from Otsu's
    threshold, and finds what its border can reach. The image's scale does not count.

    Raises
    ------
    GeometryError
        The mask lies on another grid.
    ParameterError
        The image is constant; the mask is empty or full; a point lies outside.
    """
    values, known = volume_of(image, _REGIONS)
    begun = _begun(image, start, points, radius, _REGIONS)
    if begun is None:
        (cut,) = thresholds(of_values(np.ascontiguousarray(values[known])))
        begun = values > cut
    begun = begun & known
    progress(0.0, "start")
    sd = float(values[known].std(dtype=np.float64))
    drive = (
        _Global(values, known, begun, (_FAINT * sd) ** 2)
        if scale is None
        else _Local(values, known, image.grid.spacing, scale, (_FAINT * sd) ** 2)
    )
    found = evolve(
        begun, image.grid.spacing, drive, bend=_bend(image, rounding), rounds=rounds,
        stop=None if known.all() else known.astype(np.float32),
        renew=1 if scale is None else _RENEW, progress=progress,
    )  # fmt: skip
    progress(1.0, "done")
    return _told(image, found, known, label, _REGIONS)


class _Global:
    """Towards the mean inside against that outside: 1 at the one, -1 at the other."""

    def __init__(self, values: Array, known: Array, begun: Array, least: float) -> None:
        self._values, self._least = values, least
        self._all = (int(known.sum()), float(values[known].sum(dtype=np.float64)))
        self._in = [float(begun.sum()), float(values[begun].sum(dtype=np.float64))]

    def __call__(self, _: Array, moved: tuple[float, float]) -> Drive:
        self._in[0] += moved[0]
        self._in[1] += moved[1]
        n, total = self._in
        out = self._all[0] - n
        if n < 1 or out < 1:
            return Drive(self._values, 0.0, 0.0)
        a, b = total / n, (self._all[1] - total) / out
        square = max((a - b) ** 2, self._least)
        return Drive(self._values, 2 * (a - b) / square, -(a + b) * (a - b) / square)


class _Local:
    """Towards means within a Gaussian of either side, of the voxels that have a value."""

    def __init__(
        self, values: Array, known: Array, spacing: tuple[float, float, float], scale: float,
        least: float,
    ) -> None:  # fmt: skip
        dz, dy, dx = spacing
        self._sigma = (scale / dz, scale / dy, scale / dx)
        self._known = known.astype(np.float32)
        self._values, self._least = values * self._known, np.float32(least)
        self._total = smooth(self._values, self._sigma)
        self._there = smooth(self._known, self._sigma)

    def __call__(self, phi: Array, _: tuple[float, float]) -> Drive:
        inside = (phi < 0) * self._known
        share = smooth(inside, self._sigma)
        part = smooth(self._values * inside, self._sigma)
        rest = self._there - share
        tiny = np.float32(1e-4)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(self._there > tiny, self._total / self._there, 0)
            a = np.where(share > tiny, part / share, mean)
            b = np.where(rest > tiny, (self._total - part) / rest, mean)
        contrast = smooth((a - b) * self._known, self._sigma)
        middle = smooth((a * a - b * b) * self._known, self._sigma)
        force = (2 * self._values * contrast - middle) / np.maximum(contrast**2, self._least)
        return Drive(np.ascontiguousarray(force, np.float32), 1.0, 0.0)


@operation(_EDGES)
def geodesic(
    image: Image,
    *start: Mask,
    points: Points = (),
    radius: Radius = 5.0,
    sigma: Edge = 1.0,
    edge: Annotated[
        float | None,
        Param("Slope at which the speed is halved, in the image's unit per mm; none: the mean one",
              minimum=0.0),
    ] = None,
    balloon: Annotated[
        float, Param("Outwards where nothing stops it; negative: inwards", minimum=-1.0,
                     maximum=1.0)
    ] = 1.0,
    rounding: Rounding = 1.0,
    attraction: Annotated[
        float, Param("How hard edges pull at the border", unit="mm", minimum=0.0, maximum=50.0)
    ] = 2.0,
    rounds: Rounds = 1000,
    label: Name = "Object",
    progress: Progress = QUIET,
) -> Mask:  # fmt: skip
    """Move a border until it lies on edges (geodesic active contour).

    From a mask or balls about points it grows (or shrinks, with a negative ``balloon``) where the
    image is even, slows down where it is steep, and is pulled into the edge (Caselles, Kimmel and
    Sapiro, IJCV 22 (1997) 61-79). Small gaps of an edge are bridged by the rounding.

    Raises
    ------
    GeometryError
        The mask lies on another grid.
    ParameterError
        Neither mask nor points; the mask is empty or full; the image is constant.
    """
    values, known = volume_of(image, _EDGES)
    begun = _begun(image, start, points, radius, _EDGES)
    if begun is None:
        raise ParameterError(f"{_EDGES}: give a mask to start from, or points")
    begun = begun & known
    progress(0.0, "edges")
    dz, dy, dx = image.grid.spacing
    values[~known] = np.nan
    width = (sigma / dz, sigma / dy, sigma / dx)
    slope = gradient_size(values, image.grid.spacing, width, flat=values.shape[0] == 1)
    half = float(slope[known].mean(dtype=np.float64)) if edge is None else edge
    if half <= 0:
        raise ParameterError(f"{_EDGES}: edge is 0; give the slope at which the speed is halved")
    stop = (1 / (1 + (slope / np.float32(half)) ** 2)).astype(np.float32)
    stop[~known] = 0
    drive = Drive(np.ones_like(stop), balloon, 0.0)
    found = evolve(
        begun, image.grid.spacing, lambda *_: drive, bend=_bend(image, rounding), stop=stop,
        pull=attraction, rounds=rounds, progress=progress,
    )  # fmt: skip
    progress(1.0, "done")
    return _told(image, found, known, label, _EDGES)
