"""`detect.asymmetry`: what one half of the body has and the other has not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from somascope.analyze.measure.regions import finding
from somascope.analyze.register.engine import register
from somascope.analyze.segment.seeds import volume_of
from somascope.core import QUIET, Code, Image, Label, Mask, Measurement, Param, Progress, operation
from somascope.core.errors import GeometryError
from somascope.core.finding import Segment
from somascope.core.grid import Array, Float
from somascope.process.choices import mask_of
from somascope.process.components import label as components
from somascope.process.filters import smooth
from somascope.process.sampling import sample

_NAME = "detect.asymmetry"

TILT = Code("SYMMETRY_TILT", "99SOMASCOPE", "Angle of the plane of symmetry to the sagittal")
OFFSET = Code("SYMMETRY_OFFSET", "99SOMASCOPE", "Plane of symmetry, L at the image's middle")
LIKENESS = Code("SYMMETRY_LIKENESS", "99SOMASCOPE", "Correlation of both halves")
DOUBT = Code("SYMMETRY_DOUBT", "99SOMASCOPE", "Plane of symmetry not to be trusted")

_POOR = 0.5
"""Correlation below which two halves are no mirror images of each other."""


@dataclass(frozen=True, eq=False)
class Plane:
    """Points with ``normal . p = offset``: unit normal towards the left, offset in mm (LPS)."""

    normal: Float
    offset: float

    @property
    def mirror(self) -> Float:
        """4x4 that takes every point to its counterpart."""
        matrix = np.eye(4)
        matrix[:3, :3] -= 2 * np.outer(self.normal, self.normal)
        matrix[:3, 3] = 2 * self.offset * self.normal
        return matrix


def mirrored(image: Image, plane: Plane, values: Array) -> Array:
    """``values`` ``(nz, ny, nx)`` float32 at every voxel's counterpart; NaN where that lies off."""
    affine = np.linalg.inv(image.grid.affine) @ plane.mirror @ image.grid.affine
    return sample(values, affine, image.grid.shape, order="linear", fill=float("nan"))


def plane_of(image: Image, values: Array, progress: Progress = QUIET) -> Plane:
    """The plane that mirrors ``image`` best onto itself.

    The image's mirror image (about its own middle) is registered to it rigidly: map and mirror
    together take each point to its counterpart, up to a small turn within the plane; the plane's
    normal is the direction that is turned round.
    """
    grid = image.grid
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    first = Plane(np.array([1.0, 0.0, 0.0]), float(centre[0]))
    turned = mirrored(image, first, values)
    low = np.float32(np.min(values))
    fixed = Image(values, grid, image.modality, image.unit)
    moving = Image(np.where(np.isfinite(turned), turned, low), grid, image.modality, image.unit)
    found = register(fixed, moving, "rigid", progress=progress)
    both = first.mirror @ found.matrix
    # (I - M) / 2 is a projection on the normal for a pure mirror; its largest part otherwise.
    part = 0.25 * (2 * np.eye(3) - both[:3, :3] - both[:3, :3].T)
    normal = np.linalg.eigh(part)[1][:, -1]
    normal = normal * (1.0 if normal[0] >= 0 else -1.0)
    there = both[:3, :3] @ centre + both[:3, 3]
    return Plane(normal, float(normal @ (centre + there) / 2))


@operation(_NAME)
def asymmetry(
    image: Image,
    *,
    sigma: Annotated[
        float, Param("Both halves are smoothed by a Gaussian of this width before they are "
                     "compared", unit="mm", minimum=0.0, maximum=50.0, step=0.5)
    ] = 3.0,
    threshold: Annotated[
        float, Param("Robust standard deviations from which a difference is marked", minimum=1.0,
                     maximum=100.0)
    ] = 10.0,
    smallest: Annotated[
        float, Param("Smaller marked places are left out", unit="mm3", minimum=0.0)
    ] = 100.0,
    progress: Progress = QUIET,
) -> list[Image | Mask | Measurement | Label]:  # fmt: skip
    """Compare the two halves of a body: the plane of symmetry, a map, and places that differ.

    The plane is found by registering the image with its mirror image, so the head may lie
    turned and off the middle. The map is each place's value less its counterpart's, in the
    image's unit; the mask has what is brighter than its counterpart (1) and darker (2). Both
    sides of one difference are marked, as the image does not tell which of them is ill. The plane's
    angle to the sagittal one, its place and the correlation of both halves follow; where they
    correlate poorly a label says that the map means little.

    Raises
    ------
    GeometryError
        The image is a single slice along the left-right axis, or of one value.
    """
    values, known = volume_of(image, _NAME)
    grid = image.grid
    across = int(np.argmax(np.abs(grid.direction[0])))
    if grid.shape[across] < 8:
        raise GeometryError(
            f"{_NAME}: the image has {grid.shape[across]} voxels from right to left; a body's two "
            "sides need both to be seen"
        )
    plane = plane_of(image, values, Progress(lambda f, m: progress(0.7 * f, m)))
    progress(0.7, "mirrored")
    dz, dy, dx = grid.spacing
    width = (sigma / dz if values.shape[0] > 1 else 0.0, sigma / dy, sigma / dx)
    soft = smooth(np.where(known, values, np.float32(np.nan)), width)
    other = mirrored(image, plane, np.ascontiguousarray(soft))
    both = np.isfinite(soft) & np.isfinite(other)
    if not both.any():
        raise GeometryError(f"{_NAME}: the halves do not overlap; the image shows one side only")
    difference = np.where(both, soft - other, 0).astype(np.float32)
    likeness = float(np.corrcoef(soft[both], other[both])[0, 1])
    some = np.abs(difference[both & (np.abs(soft) > 0)])
    spread = 1.4826 * float(np.median(some)) if some.size else 0.0
    least = max(threshold * spread, 1e-30)
    marks = np.zeros(grid.shape, np.uint8)
    for number, far in ((1, difference > least), (2, difference < -least)):
        parts, counts = components(far)
        large = np.concatenate([[False], counts * grid.voxel_volume >= smallest])
        marks[large[parts]] = number
    note = f"{_NAME} above {least:.4g} {image.unit}"
    mask = mask_of(image, marks, (
        Segment(1, "Brighter than its counterpart", algorithm=note, colour=(255, 120, 60)),
        Segment(2, "Darker than its counterpart", algorithm=note, colour=(90, 180, 255)),
    ))  # fmt: skip
    progress(0.95, "compared")
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    # Where the plane meets the line from right to left through the middle.
    n = plane.normal
    left = float((plane.offset - n[1] * centre[1] - n[2] * centre[2]) / max(abs(n[0]), 1e-6))
    rows = [
        (TILT, math.degrees(math.acos(min(abs(float(n[0])), 1.0))), "deg"),
        (OFFSET, left, "mm"), (LIKENESS, likeness, "1"),
    ]  # fmt: skip
    told: list[Image | Mask | Measurement | Label] = [
        Image(
            difference, grid, image.modality, image.unit, provenance=image.provenance,
            attributes={k: v for k, v in image.attributes.items() if not k.startswith("Window")},
        ),
        mask,
        *(finding(image, None, c.meaning, v, unit, code=c) for c, v, unit in rows),
    ]  # fmt: skip
    if not likeness >= _POOR:  # NaN too
        told.append(
            Label(
                concept=DOUBT, confidence=1.0, on=mask.on, provenance=image.provenance,
                text=f"Both halves correlate by {likeness:.2f} only: this is no symmetric body, or "
                "its plane was not found", attributes=dict(image.attributes),
            )
        )  # fmt: skip
    progress(1.0, "done")
    return told
