"""What a plan to detect decides from how large objects are: voxels, stride, patch, beginnings."""

from __future__ import annotations

import math

from somascope.learn.fingerprint import Fingerprint
from somascope.models.prepare import Preparation

STRIDE = {2: 4, 3: 2}
"""Pixels of a picture, and voxels of a volume, that are one cell of the maps."""
SMALLEST = 8.0
"""Voxels along the least side of the smallest objects, where the images have them."""
COARSEST = 6.0
"""Edge in mm of the largest voxels."""
MULTIPLE = 16
"""Of the edges of a patch: four levels on cells of two voxels."""


def spacing(f: Fingerprint, why: dict[str, str]) -> tuple[float, ...]:
    """The voxels ``(z, y, x)`` in mm that objects in volumes are looked for at."""
    edge = min(f.box_small / SMALLEST, COARSEST)
    why["spacing"] = (
        f"so coarse that the smallest objects ({f.box_small:.3g} mm) still have {SMALLEST:.0f} "
        "voxels along their least side, but no axis finer than the median voxel of the data set"
    )
    return tuple(round(max(edge, s), 4) for s in f.spacing_median)


def patch(
    f: Fingerprint, how: Preparation, shape: tuple[float, ...], why: dict[str, str]
) -> tuple[int, ...]:
    """The part ``(z, y, x)`` of a volume that is seen at a time; ``shape`` is of a whole one."""
    side = f.box_median / min(how.spacing)
    most = 96 if side > 24 else 64
    why["patch"] = (
        f"twice as long as the usual object ({side:.0f} voxels) or longer, as much as a volume "
        f"has, in multiples of {MULTIPLE}"
    )
    return tuple(min(max(math.ceil(n / MULTIPLE), 2) * MULTIPLE, most) for n in shape)


def biases(f: Fingerprint, how: Preparation, classes: int) -> list[float]:
    """A centre in a hundred cells of a picture, in a thousand of a volume; sides as usual; no
    offset. Sides are of ``box_median``: pixels in pictures, mm in volumes.
    """
    d = f.dimensions
    if d == 3:
        sides = [math.log2(max(f.box_median / s / STRIDE[3], 1.0)) for s in how.spacing]
        return [-6.9] * classes + [*sides, 0.0, 0.0, 0.0]
    factor = how.longest / max(f.shape_median) if how.longest else 1.0
    side = math.log2(max(f.box_median * factor / STRIDE[2], 1.0))
    return [-4.6] * classes + [side, side, 0.0, 0.0]


def overlap(f: Fingerprint, how: Preparation, sides: tuple[int, ...]) -> float:
    """Part of a tile that its neighbour sees too: an object lies whole in one of them."""
    if f.dimensions == 2:
        return 0.5
    return round(min(max(1.2 * f.box_median / min(how.spacing) / min(sides), 0.25), 0.5), 2)
