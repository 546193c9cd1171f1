"""`segment.watershed`: marks grow over the slopes of an image until they meet on its edges."""

from __future__ import annotations

from somascope.analyze.segment.choices import Background, Edge, Name, Neighbours, Outside, Points
from somascope.analyze.segment.seeds import marked, parted, volume_of
from somascope.core import QUIET, Image, Mask, Progress, operation
from somascope.core.errors import ParameterError
from somascope.process.edges import gradient_size
from somascope.process.watershed import basins

_NAME = "segment.watershed"


@operation(_NAME)
def watershed(
    image: Image,
    *scribbles: Mask,
    points: Points = (),
    outside: Outside = (),
    background: Background = 0,
    sigma: Edge = 1.0,
    connectivity: Neighbours = 6,
    label: Name = "Object",
    progress: Progress = QUIET,
) -> Mask:
    """Grow scribbles or points over an image until they meet where it is steepest.

    The watershed of the size of its gradient at the scale ``sigma`` (`process.watershed` floods
    any image). Voxels without a value stay outside. The image's scale does not count.

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
    progress(0.1, "slopes")
    values[~known] = float("nan")
    dz, dy, dx = image.grid.spacing
    slope = gradient_size(
        values, image.grid.spacing, (sigma / dz, sigma / dy, sigma / dx), flat=values.shape[0] == 1
    )
    progress(0.4, "flooding")
    top = max(marks.objects) + 1
    names = marks.labels.copy()
    names[names < 0] = top
    found = basins(slope, names, inside=known, connectivity=connectivity)
    found[found == top] = 0
    progress(1.0, "flooded")
    return parted(image, found, marks.segments, f"{_NAME} sigma {sigma:g} mm")
