"""`register`: two images in, one `Warp` with its verdict out."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.analyze.register import field_kernels
from somascope.analyze.register.affine import Kind, linear
from somascope.analyze.register.dense import Dense, dense
from somascope.analyze.register.field import exponential
from somascope.analyze.register.levels import displacement_world, levels, scaled
from somascope.analyze.register.verdict import Registered, Verdict
from somascope.core import QUIET, Grid, Image, Param, Progress, Warp, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array

Preset = Literal["rigid", "affine", "deformable"]


def register(
    fixed: Image,
    moving: Image,
    preset: str | None = None,
    *,
    progress: Progress = QUIET,
) -> Registered:
    """The warp from points of ``fixed`` to points of ``moving``, with its verdict."""
    chosen = preset or "deformable"
    if chosen not in ("rigid", "affine", "deformable"):
        raise ParameterError(
            f"register: preset is {preset!r}; choose one of rigid, affine, deformable"
        )
    f, m = _volume(fixed, "fixed"), _volume(moving, "moving")
    if (1 in f.shape) != (1 in m.shape):
        raise GeometryError(
            f"register: the fixed image is {f.shape} and the moving one {m.shape}; a slice and a "
            "volume need the preset 'slice'"
        )
    kind: Kind = "rigid" if chosen == "rigid" else "affine"
    one, two = (f, fixed.grid), (m, moving.grid)
    edge = float(min(s for s, n in zip(fixed.grid.spacing, f.shape, strict=True) if n > 1))
    mutual = fixed.modality != moving.modality
    half = Progress(lambda p, t: progress(0.4 * p, t))
    found = linear(one, two, kind=kind, mutual=mutual, fine=2 * edge, progress=half)
    displacement = backward = grid = None
    if chosen == "deformable":
        how = Dense(
            levels=(8 * edge, 4 * edge, 2 * edge, edge), cells=(1, 1, 1, 2),
            iterations=(20, 15, 10, 5),
        )  # fmt: skip
        rest = Progress(lambda p, t: progress(0.4 + 0.5 * p, t))
        v, cell, grid = dense(levels(one, two, how.levels), found.matrix, how, progress=rest)
        displacement, backward = _fields(v, cell, grid, found.matrix)
    progress(1.0, "registered")
    return Registered(
        matrix=found.matrix, grid=grid, displacement=displacement, backward=backward,
        fixed_frame=fixed.grid.frame_of_reference, moving_frame=moving.grid.frame_of_reference,
        provenance=fixed.provenance, attributes=dict(fixed.attributes), preset=chosen,
        on=tuple(u for s in fixed.provenance.sources for u in s.uids), verdict=Verdict(),
    )  # fmt: skip


def _fields(v: Array, cell: Array, grid: Grid, matrix: Array) -> tuple[Array, Array]:
    distance = np.asarray(grid.spacing) * cell
    out: list[Array] = []
    for factor in (1.0, -1.0):
        u = exponential(v, distance, factor=factor)
        full = np.empty((*grid.shape, 3), np.float32)
        field_kernels.spread(u, cell, full)
        out.append(displacement_world(full, grid))
    turned = np.tensordot(matrix[:3, :3].astype(np.float32), out[0], axes=1)
    return np.ascontiguousarray(turned), out[1]


def _volume(image: Image, what: str) -> Array:
    data = image.data
    if data.ndim > 3 and data.shape[:-3] != (1,) * (data.ndim - 3):
        raise GeometryError(
            f"register: the {what} image has the axes {image.axis_names}; choose one volume with "
            f"image.at({image.axis_names[0]}=0)"
        )
    if data.dtype.kind == "c":
        raise ParameterError(f"register: the {what} image is complex; take its magnitude")
    return scaled(data.reshape(image.grid.shape))


@operation("analyze.register")
def register_(
    fixed: Image,
    moving: Image,
    *,
    preset: Annotated[
        Literal["rigid", "affine", "deformable"] | None,
        Param("What may move: chosen by content when none is given"),
    ] = None,
    progress: Progress = QUIET,
) -> Warp:
    """Register the second image to the first; the map is stored with its quality verdict."""
    return register(fixed, moving, preset, progress=progress)
