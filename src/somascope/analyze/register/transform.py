"""A `Warp` in use: on points, images and masks; chained; turned round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from somascope.analyze.register import transform_kernels as kernels
from somascope.core import QUIET, Grid, Image, Mask, Param, Progress, Warp, operation
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float

Noun = TypeVar("Noun", Image, Mask)
_NOWHERE = np.zeros((3, 1, 1, 1), np.float32)


def field_of(warp: Warp) -> tuple[Array, Array]:
    """Displacement ``(3, nz, ny, nx)`` and the 4x4 from LPS mm to its voxels (zeros if affine)."""
    if warp.displacement is None or warp.grid is None:
        return _NOWHERE, np.zeros((4, 4))
    return np.asarray(warp.displacement), np.linalg.inv(warp.grid.affine)


def points(warp: Warp, at: ArrayLike) -> Float:
    """Where points ``(..., 3)`` of the fixed frame (LPS mm) lie in the moving frame.

    Outside its grid a displacement goes on with the value at the border.
    """
    given = np.asarray(at, np.float64)
    flat = np.ascontiguousarray(given.reshape(-1, 3))
    field, index = field_of(warp)
    out = np.empty_like(flat)
    matrix = np.ascontiguousarray(warp.matrix, np.float64)
    kernels.through(flat, matrix, np.ascontiguousarray(field), np.ascontiguousarray(index), out)
    return out.reshape(given.shape)


def places(warp: Warp, grid: Grid, image: Grid) -> Array:
    """Fractional voxels of ``image`` at each voxel of ``grid``: ``(nz, ny, nx, 3)`` float32."""
    field, index = field_of(warp)
    into = np.asarray(np.linalg.inv(image.affine), np.float64)
    out = np.empty((*grid.shape, 3), np.float32)
    kernels.places(
        grid.shape, np.ascontiguousarray(into @ warp.matrix @ grid.affine),
        np.ascontiguousarray(field), np.ascontiguousarray(index @ grid.affine),
        np.ascontiguousarray(into[:3, :3]), out,
    )  # fmt: skip
    return out


def _frames(image: Image | Mask, warp: Warp, like: Grid) -> None:
    for what, have, want in (
        ("the image", image.grid.frame_of_reference, warp.moving_frame),
        ("the grid", like.frame_of_reference, warp.fixed_frame),
    ):
        if have and want and have != want:
            raise GeometryError(
                f"{what} is in frame of reference {have} and the warp leads there from {want}; "
                "use a warp made for it, or its inverse"
            )


def apply(
    image: Noun,
    warp: Warp,
    like: Grid,
    *,
    order: Literal["nearest", "linear", "cubic"] = "linear",
    fill: float | None = None,
    progress: Progress = QUIET,
) -> Noun:
    """``image`` (of the moving frame) on a grid of the fixed frame.

    Leading axes are kept. Masks and ``nearest`` keep their type; fractional masks and images
    become float32. ``fill`` is the value outside: default 0, for CT its smallest value.
    """
    _frames(image, warp, like)
    at = places(warp, like, image.grid)
    data = image.data.reshape(-1, *image.grid.shape)
    exact = order == "nearest" or (isinstance(image, Mask) and not image.fractional)
    kind = data.dtype if exact else np.float32
    outside = 0.0 if fill is None else fill
    if fill is None and isinstance(image, Image) and image.modality == "CT" and data.size:
        outside = float(np.nanmin(data))
    number = 0 if exact else {"nearest": 0, "linear": 1, "cubic": 3}[order]
    out = np.empty((len(data), *like.shape), kind)
    for k in progress.over(range(len(data)), "resampling"):
        source = np.ascontiguousarray(data[k], np.uint8 if kind == np.bool_ else kind)
        target = np.empty(like.shape, source.dtype)
        kernels.looked_up(source, at, number, outside, target)
        out[k] = target
    shape = (*image.data.shape[:-3], *like.shape)
    attributes = dict(image.attributes)
    if like.frame_of_reference:
        attributes["FrameOfReferenceUID"] = like.frame_of_reference
    return replace(image, data=out.reshape(shape), grid=like, attributes=attributes)


def meeting(warp: Warp, fixed: Grid, moving: Grid, names: tuple[str, str, str]) -> None:
    """Refuse a map that was made for other images; ``names`` of map, fixed and moving image.

    Raises
    ------
    GeometryError
        The map is of a slice and the moving image a volume, or no voxel of the fixed grid is
        led into the moving one.
    """
    path, like, image = names
    if warp.grid is not None and warp.grid.shape[0] == 1 and moving.shape[0] > 1:
        raise GeometryError(
            f"{path} maps slices and {image} is a volume of {moving.shape[0]}; give the slice it "
            "was made for"
        )
    steps = [np.unique(np.linspace(0, n - 1, min(n, 48)).round()) for n in fixed.shape]
    index = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    at = moving.to_index(points(warp, fixed.to_world(index)))
    if not ((at > -1) & (at < np.array(moving.shape))).all(axis=1).any():
        raise GeometryError(
            f"through {path} no part of {like} lies in {image}: they do not overlap. Was the map "
            "made for these images, in this order?"
        )


@operation("analyze.transform")
def transform(
    image: Image | Mask,
    warp: Warp,
    like: Image,
    *,
    label: Annotated[
        bool, Param("The values are labels: the nearest one is taken, none is invented")
    ] = False,
    order: Annotated[
        Literal["nearest", "linear", "cubic"], Param("Interpolation between voxels")
    ] = "linear",
    progress: Progress = QUIET,
) -> Image | Mask:
    """Carry an image or a mask through a registration onto the grid of the fixed image.

    ``image`` ``(*leading, nz, ny, nx)`` lies in the warp's moving frame, ``like`` in its fixed
    frame; the result has the grid and the frame of reference of ``like``.

    Raises
    ------
    GeometryError
        The frames of reference are others than the warp's, a slice's map meets a volume, or
        nothing of ``like`` is led into ``image``.
    """
    _frames(image, warp, like.grid)
    meeting(warp, like.grid, image.grid, ("the warp", "the fixed grid", "the image"))
    how = "nearest" if label else order
    if isinstance(image, Mask):
        return apply(image, warp, like.grid, order=how, progress=progress)
    return apply(image, warp, like.grid, order=how, progress=progress)


def compose(first: Warp, then: Warp, *, grid: Grid | None = None) -> Warp:
    """The warp ``x -> then(first(x))``.

    The result's displacement lies on ``grid``, by default on that of ``first``, or of ``then``
    taken back through the affine ``first``.
    """
    if first.moving_frame and then.fixed_frame and first.moving_frame != then.fixed_frame:
        raise GeometryError(
            f"the first warp ends in frame {first.moving_frame} and the second begins in "
            f"{then.fixed_frame}; give them in the order of travel, or invert one"
        )
    matrix = then.matrix @ first.matrix
    if first.displacement is None and then.displacement is None:
        return replace(first, matrix=matrix, moving_frame=then.moving_frame)
    if grid is None and first.grid is not None and first.displacement is not None:
        grid = first.grid
    if grid is None:
        assert then.grid is not None
        affine = np.linalg.inv(first.matrix) @ then.grid.affine
        affine[3] = (0, 0, 0, 1)
        grid = Grid(then.grid.shape, affine, first.fixed_frame)
    return _sampled(lambda x: points(then, points(first, x)), matrix, grid, first, then)


def _sampled(
    mapping: Callable[[Float], Float], matrix: Float, grid: Grid, first: Warp, then: Warp
) -> Warp:
    out = np.empty((3, *grid.shape), np.float32)
    plane = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape[1:]], indexing="ij"), -1)
    for z in range(grid.shape[0]):
        index = np.concatenate([np.full((*plane.shape[:2], 1), z), plane], axis=-1)
        x = grid.to_world(index)
        y = mapping(x)
        out[:, z] = np.moveaxis(y - (x @ matrix[:3, :3].T + matrix[:3, 3]), -1, 0)
    return Warp(
        matrix=matrix, grid=grid, displacement=out, fixed_frame=first.fixed_frame,
        moving_frame=then.moving_frame, confidence=min(first.confidence, then.confidence),
        on=first.on, provenance=first.provenance, attributes=first.attributes,
    )  # fmt: skip


def invert(warp: Warp, *, grid: Grid | None = None, tolerance: float = 0.01) -> Warp:
    """The warp from the moving frame back to the fixed one.

    ``grid``: where its displacement is told, in the moving frame; by default the warp's grid
    taken there. Newton-like fixed-point steps until nothing moves more than ``tolerance`` mm.

    Raises
    ------
    GeometryError
        The steps do not settle: the warp folds.
    """
    back = np.asarray(np.linalg.inv(warp.matrix), np.float64)
    back[3] = (0, 0, 0, 1)
    turned = replace(
        warp, matrix=back, grid=None, displacement=None, fixed_frame=warp.moving_frame,
        moving_frame=warp.fixed_frame,
    )  # fmt: skip
    if warp.displacement is None or warp.grid is None:
        return turned
    if grid is None:
        affine = warp.matrix @ warp.grid.affine
        affine[3] = (0, 0, 0, 1)
        grid = Grid(warp.grid.shape, affine, warp.moving_frame)

    def solved(y: Float) -> Float:
        x = y @ back[:3, :3].T + back[:3, 3]
        last = np.inf
        for _ in range(60):
            wrong = (y - points(warp, x)) @ back[:3, :3].T
            size = float(np.abs(wrong).max(initial=0.0))
            x = x + wrong * (1.0 if size < last else 0.5)
            if size < tolerance:
                break
            last = size
        else:
            left = np.sqrt((wrong**2).sum(axis=-1))
            if np.percentile(left, 99) > 1.0:
                raise GeometryError(
                    f"the warp has no inverse: {left.max():.3g} mm are left at the worst point "
                    "after 60 steps; it folds (see its verdict); register with a stiffer preset"
                )
        return x

    return _sampled(solved, back, grid, turned, turned)
