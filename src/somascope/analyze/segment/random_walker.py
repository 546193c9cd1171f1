"""`segment.random_walker`: every voxel to the mark that a random walker from it meets first."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.analyze.segment.choices import Background, Name, Outside, Points
from somascope.analyze.segment.seeds import OUTSIDE, marked, parted, volume_of
from somascope.analyze.segment.walk import Grids, edge_weights, potential
from somascope.core import QUIET, Image, Mask, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.choices import mask_of
from somascope.process.components import label as components

_NAME = "segment.random_walker"


def walked(
    weights: Array,
    labels: Array,
    spacing: tuple[float, float, float],
    *,
    tolerance: float = 1e-5,
    progress: Progress = QUIET,
) -> tuple[tuple[int, ...], Array, float]:
    """Labels that occur, and the probabilities ``(n, nz, ny, nx)`` float32 of meeting each first.

    ``weights`` as `walk.edge_weights` makes them, ``labels`` int32 with 0 for the unknowns; two
    labels at least. Voxels that no walker leaves towards a label have probabilities of 0
    (Grady, IEEE TPAMI 28 (2006) 1768-1783). The last value is the part of the error that is left:
    above ``tolerance`` where the solver was stopped by its number of steps.
    """
    numbers = tuple(int(n) for n in np.unique(labels) if n != 0)
    out = np.empty((len(numbers), *labels.shape), np.float32)
    grids: Grids | None = None
    worst = 0.0
    for k, number in enumerate(numbers[:-1]):

        def said(fraction: float, message: str, k: int = k) -> None:
            progress((k + fraction) / len(numbers), message)

        out[k], grids, left = potential(
            weights, labels, number, spacing, tolerance=tolerance, grids=grids,
            progress=Progress(said),
        )  # fmt: skip
        worst = max(worst, left)
    # One of the labels is met for certain.
    np.clip(1 - out[:-1].sum(axis=0), 0, 1, out=out[-1])
    return numbers, out, worst


@operation(_NAME)
def random_walker(
    image: Image,
    *scribbles: Mask,
    points: Points = (),
    outside: Outside = (),
    background: Background = 0,
    beta: Annotated[
        float,
        Param("How hard edges are to cross: weight of a squared difference, in standard "
              "deviations of the image", minimum=0.0, maximum=1e5),
    ] = 13.0,
    output: Annotated[
        Literal["labels", "probability"], Param("The likeliest segment, or how likely each is")
    ] = "labels",
    tolerance: Annotated[
        float, Param("Error at which the solver stops", minimum=1e-7, maximum=0.1, advanced=True)
    ] = 1e-5,
    label: Name = "Object",
    progress: Progress = QUIET,
) -> Mask:  # fmt: skip
    """Segment from scribbles: each voxel goes to the mark a random walker meets first.

    Any number of segments may be scribbled at once; ``points`` and ``outside`` mark one object
    without scribbles. Weak edges are closed between marks, and every segment reaches its marks.
    The image's scale does not count; distances are in millimetres. Under a large ``beta`` a loose
    ``tolerance`` leaves voxels behind weak links on the wrong side. Voxels without a value, and
    those that no way leads to, stay outside. The mask is a labelmap ``(nz, ny, nx)``, or one plane
    of probabilities for each segment; their algorithm says so where the solver was stopped before
    it reached the tolerance.

    Raises
    ------
    GeometryError
        The scribbles lie on another grid.
    ParameterError
        Fewer than two kinds of marks, a constant image, or a mark outside of the image.
    """
    values, known = volume_of(image, _NAME)
    marks = marked(
        image, scribbles, known, operation=_NAME, points=points, outside=outside,
        background=background, label=label,
    )  # fmt: skip
    if len(marks.objects) + marks.outside < 2:
        raise ParameterError(
            f"{_NAME}: only {marks.segments[0].label!r} is marked; mark a second segment, or what "
            "is outside"
        )
    progress(0.0, "weights")
    labels = marks.labels
    if not known.all():
        # Islands without a mark have no answer; they would make the system singular.
        parts, counts = components(known, connectivity=6)
        reached = np.zeros(counts.size + 1, bool)
        reached[parts[labels != 0]] = True
        reached[0] = False
        known = reached[parts]
    weights = edge_weights(values, known, image.grid.spacing, beta=beta)
    numbers, chance, left = walked(
        weights, labels, image.grid.spacing, tolerance=tolerance,
        progress=Progress(lambda f, m: progress(0.05 + 0.9 * f, m)),
    )  # fmt: skip
    chance[:, ~known] = 0
    note = f"{_NAME} beta {beta:g}"
    if left > tolerance:
        note += f", stopped at an error of {left:.1g} where {tolerance:.1g} was asked"
    if output == "probability":
        kept = [k for k, n in enumerate(numbers) if n != OUTSIDE]
        segments = tuple(s for s in marks.segments if s.number in numbers)
        order = [next(k for k in kept if numbers[k] == s.number) for s in segments]
        made = parted(image, np.zeros(labels.shape), segments, note).segments
        progress(1.0, "walked")
        return mask_of(image, chance[order], made)
    found = np.array(numbers, np.int32)[np.argmax(chance, axis=0)]
    found[~known] = 0
    progress(1.0, "walked")
    return parted(image, found, marks.segments, note)
