"""`segment.graph_cut`: the border that is cheapest of all, after Boykov, Jolly and GrabCut."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.analyze.segment.choices import Background, Name, Neighbours, Outside, Points
from somascope.analyze.segment.cut import UNIT, minimum_cut
from somascope.analyze.segment.models import fitted, log_density, noise
from somascope.analyze.segment.seeds import OUTSIDE, marked, places, region, volume_of
from somascope.core import QUIET, Image, Mask, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

_NAME = "segment.graph_cut"

_CLEAR = 15.0
"""Of how much likelier one side may make a voxel, in logarithms."""

_FEW = 27
"""Marked voxels below which their neighbours speak for the values too."""


@operation(_NAME)
def graph_cut(
    image: Image,
    *scribbles: Mask,
    points: Points = (),
    outside: Outside = (),
    background: Background = 2,
    box: Annotated[
        tuple[float, ...],
        Param("Two opposite corners of a box that holds the object (L, P, S each), in place of "
              "scribbles or beside them", unit="mm"),
    ] = (),
    smoothness: Annotated[
        float, Param("What a border costs beside how likely the values are", minimum=0.0,
                     maximum=1000.0)
    ] = 4.0,
    components: Annotated[
        int, Param("Normal distributions of each side's values", minimum=1, maximum=6)
    ] = 3,
    rounds: Annotated[
        int, Param("Times the values of both sides are learned again from the cut", minimum=0,
                   maximum=50)
    ] = 4,
    connectivity: Neighbours = 26,
    label: Name = "Object",
    progress: Progress = QUIET,
) -> Mask:  # fmt: skip
    """Segment by a minimum cut from scribbles, points or a box (GrabCut), exact.

    Both sides' values are mixtures of normal distributions, learned from the marks and then from
    the cut itself, round by round (Rother, Kolmogorov and Blake, ACM TOG 23 (2004) 309-314). A
    border costs less where neighbours differ, and less per voxel the longer the way (Boykov and
    Jolly, ICCV 2001). Marks are kept; with a box nothing outside of it can belong to the object.
    Scribbles of several segments count as one object, that of ``background`` as outside. The
    image's scale does not count.

    Raises
    ------
    GeometryError
        The scribbles lie on another grid.
    ParameterError
        No mark on both sides and no box, a constant image, or a mark outside of the image.
    """
    values, known = volume_of(image, _NAME)
    within = _box(image, box)
    labels = np.zeros(image.grid.shape, np.int32)
    if scribbles or points or not box:
        labels = marked(
            image, scribbles, known, operation=_NAME, points=points, outside=outside,
            background=background, label=label,
        ).labels  # fmt: skip
    if within is None and not (labels == OUTSIDE).any():
        raise ParameterError(
            f"{_NAME}: nothing is marked as outside; scribble segment {background}, give points "
            "outside, or a box that holds the object"
        )
    if within is not None:
        if ((labels > 0) & ~within).any():
            raise ParameterError(f"{_NAME}: the object is marked outside of the box; enlarge it")
        labels[~within & known] = OUTSIDE
        if not (labels == OUTSIDE).any():
            raise ParameterError(f"{_NAME}: the box holds the whole image; leave a margin")
    least = noise(values, known)
    width = float(values[known].max() - values[known].min())
    sharp = 1 / max(2 * _squares(values, known), 1e-30)
    held = np.int32(UNIT * (26 * smoothness + 2 * _CLEAR) + 1)
    found = (labels > 0) if (labels > 0).any() else known & (labels == 0)
    sides = [_sample(values, found, known), _sample(values, labels == OUTSIDE, known)]
    for turn in range(rounds + 1):
        models = [fitted(s, components, least) for s in sides]
        ratio = log_density(models[0], values, width) - log_density(models[1], values, width)
        terminal = np.rint(UNIT * np.clip(ratio, -_CLEAR, _CLEAR)).astype(np.int32)
        terminal[labels > 0] = held
        terminal[labels == OUTSIDE] = -held
        before = found

        def said(fraction: float, message: str, turn: int = turn) -> None:
            progress((turn + fraction) / (rounds + 1), f"{message}, round {turn + 1}")

        _, found = minimum_cut(
            terminal, values, known, image.grid.spacing, sharp=sharp, strength=smoothness,
            connectivity=connectivity, progress=Progress(said),
        )  # fmt: skip
        if (turn and np.array_equal(found, before)) or not found.any() or found[known].all():
            break
        sides = [values[found], values[known & ~found]]
    progress(1.0, "cut")
    return region(image, found, label, f"{_NAME} smoothness {smoothness:g}")


def _box(image: Image, box: tuple[float, ...]) -> Array | None:
    if not box:
        return None
    if len(box) != 6:
        raise ParameterError(f"{_NAME}: box has {len(box)} numbers; give two corners, L, P, S each")
    corners = places(image, box, name="box", operation=_NAME)
    low, high = np.rint(corners.min(axis=0)), np.rint(corners.max(axis=0))
    inside = np.zeros(image.grid.shape, bool)
    inside[tuple(slice(max(int(a), 0), int(b) + 1) for a, b in zip(low, high, strict=True))] = True
    return inside


def _sample(values: Array, side: Array, known: Array) -> Array:
    """The values of one side; where few are marked, those of the neighbours too."""
    if np.count_nonzero(side) < _FEW:
        from somascope.process.morphology import dilated

        side = dilated(side, (1.0, 1.0, 1.0), 2.0) & known
    return values[side]


def _squares(values: Array, known: Array) -> float:
    """Mean squared difference of neighbours."""
    total, count = 0.0, 0
    for axis in range(3):
        both = np.moveaxis(known, axis, 0)[1:] & np.moveaxis(known, axis, 0)[:-1]
        steps = np.diff(np.moveaxis(values, axis, 0), axis=0)[both].astype(np.float64)
        total += float((steps * steps).sum())
        count += steps.size
    return total / max(count, 1)
