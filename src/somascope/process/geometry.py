"""Crop, pad, flip and reorder: other arrays for the same patient."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.core import Image, Mask, Param, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Grid
from somascope.process.entries import inside, is_colour, real_values
from somascope.process.histogram import of_values
from somascope.process.resample import MAXIMUM_VOXELS
from somascope.process.thresholds import otsu

MIRROR = "mirror the patient"
"""What has to be said before left becomes right."""

_AXIS = {"z": -3, "y": -2, "x": -1}
_PAIRS = ("LR", "PA", "SI")


@operation("process.crop")
def crop(
    image: Image,
    *masks: Mask,
    mode: Annotated[
        Literal["content", "box", "mask"],
        Param("To what lies above the threshold, to a box in mm, or to a mask's segments"),
    ] = "content",
    lower: Annotated[
        tuple[float, float, float] | None,
        Param("Corner of the box towards right, front and feet (L, P, S)", unit="mm"),
    ] = None,
    upper: Annotated[
        tuple[float, float, float] | None,
        Param("Corner of the box towards left, back and head (L, P, S)", unit="mm"),
    ] = None,
    threshold: Annotated[
        float | None, Param("Content lies above it, in the image's unit; none: Otsu's")
    ] = None,
    margin: Annotated[
        float, Param("Kept around mask or content", unit="mm", minimum=0.0, maximum=1000.0)
    ] = 0.0,
) -> Image:
    """Cut away what lies outside; every voxel that is kept keeps its value and its place.

    Box: voxels whose centres lie in it, and on oblique grids the smallest upright part of the array
    that holds them all. Mask: given beside the image, all of its segments. Leading axes stay; of
    content, all their entries together.
    """
    name = "process.crop"
    if mode == "box":
        start, stop = _box(image.grid, lower, upper)
    else:
        where = _content(image, threshold) if mode == "content" else _covered(image, masks)
        found = np.argwhere(where)
        if not len(found):
            raise ParameterError(f"{name}: nothing lies in the {mode}; choose another threshold")
        reach = np.ceil(margin / np.asarray(image.grid.spacing) - 1e-9).astype(int)
        start = np.maximum(found.min(axis=0) - reach, 0)
        stop = np.minimum(found.max(axis=0) + 1 + reach, image.grid.shape)
    part = image.crop(start=[int(v) for v in start], stop=[int(v) for v in stop])
    return replace(part, data=np.array(part.data))


def _box(
    grid: Grid, lower: tuple[float, ...] | None, upper: tuple[float, ...] | None
) -> tuple[Array, Array]:
    if lower is None or upper is None or not (np.asarray(lower) < np.asarray(upper)).all():
        raise ParameterError(
            f"process.crop: lower is {lower} and upper is {upper}; give both corners in mm "
            "(L, P, S), each number of lower below that of upper"
        )
    ends = np.array([lower, upper])
    corners = np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(-1, 3)
    index = grid.to_index(corners)
    start = np.maximum(np.ceil(index.min(axis=0) - 1e-6), 0).astype(int)
    stop = np.minimum(np.floor(index.max(axis=0) + 1e-6) + 1, grid.shape).astype(int)
    if (start >= stop).any():
        raise GeometryError(
            f"process.crop: no voxel centre lies between {lower} and {upper} mm; the image has its "
            f"corners at {grid.origin} and {tuple(grid.to_world(np.array(grid.shape) - 1))}"
        )
    return start, stop


def _content(image: Image, threshold: float | None) -> Array:
    real_values(image, "process.crop")
    data = image.data.max(axis=-4) if is_colour(image) else image.data
    values = np.ascontiguousarray(data).reshape(-1)
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        raise ParameterError("process.crop: the image has no finite value")
    if threshold is None:
        counted = of_values(finite)
        # The upper end of the last bin of background: its own values stay on its side.
        half = 0.5 * float(counted.edges[1] - counted.edges[0])
        flat = finite.min() == finite.max()
        threshold = float(finite.min()) if flat else otsu(counted)[0] + half
    with np.errstate(invalid="ignore"):
        above = data > threshold
    return np.asarray(np.asarray(above).reshape(-1, *image.grid.shape).any(axis=0))


def _covered(image: Image, masks: tuple[Mask, ...]) -> Array:
    if len(masks) != 1:
        raise ParameterError(f"process.crop: mode 'mask' takes one mask and was given {len(masks)}")
    if not masks[0].grid.allclose(image.grid):
        raise GeometryError(
            "process.crop: the mask lies on another grid than the image; resample it to the image's"
        )
    return inside(masks[0])


@operation("process.pad")
def pad(
    image: Image,
    *,
    before: Annotated[
        tuple[float, float, float],
        Param("Added before the first slice, row and column", unit="mm", minimum=0.0),
    ] = (0.0, 0.0, 0.0),
    after: Annotated[
        tuple[float, float, float],
        Param("Added after the last slice, row and column", unit="mm", minimum=0.0),
    ] = (0.0, 0.0, 0.0),
    mode: Annotated[
        Literal["constant", "edge", "reflect"], Param("A value, the outer one, or mirrored")
    ] = "constant",
    value: Annotated[
        float | None, Param("Of what is added, in the image's unit; none: the smallest value")
    ] = None,
) -> Image:
    """Add voxels around an image; those it had keep their place in the patient.

    Widths (z, y, x) become whole voxels, rounded. The dtype stays. ``reflect`` mirrors values, not
    the patient: what it adds is made up.
    """
    steps = np.asarray(image.grid.spacing)
    first = np.rint(np.asarray(before) / steps).astype(int)
    last = np.rint(np.asarray(after) / steps).astype(int)
    shape = np.asarray(image.grid.shape) + first + last
    if shape.astype(float).prod() > MAXIMUM_VOXELS:
        raise ParameterError(f"process.pad: {tuple(shape)} voxels; add less")
    if mode == "reflect" and (np.maximum(first, last) >= image.grid.shape).any():
        raise ParameterError(
            f"process.pad: reflect cannot add {tuple(np.maximum(first, last))} voxels to "
            f"{image.grid.shape}; use edge"
        )
    widths = [(0, 0)] * (image.data.ndim - 3) + [
        (int(a), int(b)) for a, b in zip(first, last, strict=True)
    ]
    if mode == "constant":
        fill = value
        if fill is None:
            real_values(image, "process.pad")
            finite = image.data[np.isfinite(image.data)]
            fill = float(finite.min()) if finite.size else 0.0
        if image.data.dtype.kind in "iu":
            limits = np.iinfo(image.data.dtype)
            if not (limits.min <= fill <= limits.max and float(fill).is_integer()):
                raise ParameterError(
                    f"process.pad: value {fill:g} does not fit {image.data.dtype}; give a whole "
                    f"number from {limits.min} to {limits.max}"
                )
        data = np.pad(image.data, widths, constant_values=fill)
    else:
        data = np.pad(image.data, widths, mode=mode)
    affine = image.grid.affine.copy()
    affine[:3, 3] = image.grid.to_world(-first.astype(float))
    grid = Grid(data.shape[-3:], affine, image.grid.frame_of_reference)
    return replace(image, data=data, grid=grid)


@operation("process.flip")
def flip(
    image: Image,
    *,
    axis: Annotated[Literal["x", "y", "z"], Param("Columns, rows or slices")] = "x",
    meaning: Annotated[
        Literal["storage", "patient"],
        Param("Storage: the array is turned and its grid with it, the patient stays. Patient: the "
              "anatomy is mirrored, left becomes right"),
    ] = "storage",
    confirm: Annotated[
        str, Param("To mirror the patient, say here: mirror the patient")
    ] = "",
) -> Image:  # fmt: skip
    """Turn an axis of the array round; the patient is mirrored only where that is said in words.

    ``storage`` changes the order in memory alone: every value keeps its place. ``patient`` mirrors
    the anatomy (for a scan stored the wrong way round) and is refused without ``confirm``.
    """
    at = _AXIS[axis]
    data = np.flip(image.data, at)
    if meaning == "patient":
        if confirm.strip().lower() != MIRROR:
            raise ParameterError(
                f"process.flip: meaning 'patient' makes left right; to do that say confirm: "
                f"{MIRROR!r}, or use meaning 'storage', which keeps the patient as he is"
            )
        return image.with_data(np.ascontiguousarray(data))
    start, step = [0, 0, 0], [1, 1, 1]
    start[at], step[at] = image.grid.shape[at] - 1, -1
    grid = image.grid.moved(start=start, shape=image.grid.shape, step=step)
    return replace(image, data=np.ascontiguousarray(data), grid=grid)


@operation("process.reorient")
def reorient(
    image: Image,
    *,
    axes: Annotated[
        str, Param("Where columns, rows and slices (x, y, z) rise to: LPS as DICOM, RAS as NIfTI")
    ] = "LPS",
) -> Image:
    """Put the axes of the array into another order; the patient stays where he is.

    Letters name the directions in which x, y and z rise: L or R, P or A, S or I, each pair once.
    Axes are permuted and turned to the nearest ones; oblique images stay as oblique as they were.
    """
    wanted = axes.strip().upper()
    pairs = [next((k for k, p in enumerate(_PAIRS) if c in p), -1) for c in wanted]
    if len(wanted) != 3 or sorted(pairs) != [0, 1, 2]:
        raise ParameterError(
            f"process.reorient: axes are {axes!r}; give three letters for x, y and z, one of each "
            "pair L R, P A, S I, such as LPS, RAS or LSA"
        )
    order = nearest(image.grid)  # world axis (L, P, S) -> array axis (z, y, x)
    source = [order[pairs[k]] for k in (2, 1, 0)]  # of the new z, y, x
    lead = image.data.ndim - 3
    data = np.transpose(image.data, [*range(lead), *(lead + s for s in source)])
    columns = image.grid.affine[:3, :3][:, source]
    shape = [image.grid.shape[s] for s in source]
    affine = image.grid.affine.copy()
    affine[:3, :3] = columns
    origin = affine[:3, 3].copy()
    for k, letter in enumerate(wanted[::-1]):
        world = pairs[2 - k]
        rises = columns[world, k] > 0
        if rises != (letter in "LPS"):
            data = np.flip(data, lead + k)
            origin += columns[:, k] * (shape[k] - 1)
            affine[:3, k] = -columns[:, k]
    affine[:3, 3] = origin
    grid = Grid((shape[0], shape[1], shape[2]), affine, image.grid.frame_of_reference)
    return replace(image, data=np.ascontiguousarray(data), grid=grid)


def nearest(grid: Grid) -> list[int]:
    """For L, P and S the array axis that runs along it most; each axis once."""
    from itertools import permutations

    along = np.abs(grid.direction)
    best = max(permutations(range(3)), key=lambda p: sum(along[w, p[w]] for w in range(3)))
    return list(best)
