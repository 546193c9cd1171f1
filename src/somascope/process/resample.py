"""Resampling: another spacing, or another grid altogether."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope import __version__
from somascope.core import QUIET, Grid, Image, Param, Progress, Step, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.process.entries import each_volume, is_colour, like
from somascope.process.filters import smooth

Order: TypeAlias = Literal["nearest", "linear", "cubic"]
Kernel: TypeAlias = Literal["nearest", "linear", "cubic", "lanczos"]

MAXIMUM_VOXELS = 4_000_000_000
"""A request beyond this is a mistake in the spacing, not a wish."""


def with_spacing(grid: Grid, spacing: tuple[float, float, float]) -> Grid:
    """The same region at ``spacing`` (dz, dy, dx) mm: same centre, same directions.

    The number of voxels is the extent (edge to edge) over the spacing, rounded.
    """
    old = np.asarray(grid.spacing)
    new = np.asarray(spacing, dtype=np.float64)
    shape = np.maximum(np.rint(np.asarray(grid.shape) * old / new), 1)
    if shape.prod() > MAXIMUM_VOXELS:
        raise ParameterError(
            f"a spacing of {'x'.join(f'{s:g}' for s in spacing)} mm makes "
            f"{'x'.join(f'{n:.0f}' for n in shape)} voxels; use a larger spacing or crop first"
        )
    nz, ny, nx = (int(n) for n in shape)
    affine = grid.affine.copy()
    affine[:3, :3] *= new / old
    centre = grid.to_world((np.asarray(grid.shape) - 1) / 2)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.asarray((nz, ny, nx)) - 1) / 2)
    return Grid((nz, ny, nx), affine, grid.frame_of_reference)


def taps(position: Float, size: int, *, order: Kernel) -> tuple[Array, Float]:
    """Samples ``(n, taps)`` and their weights that interpolate at fractional ``position`` ``(n,)``.

    ``cubic`` is the convolution of Keys (IEEE ASSP 29, 1981) with a = -1/2, exact for quadratics.
    ``lanczos`` is the sinc under a wider one, three samples to either side, weights of sum 1.
    Beyond the outer voxel centres the outer value is repeated.
    """
    if order == "nearest":
        # Halves go up, always: np.rint would send 0.5 down and 1.5 up.
        index = np.floor(position + 0.5).astype(np.int64)[:, None]
        weight = np.ones(index.shape)
    elif order == "linear":
        first = np.floor(position).astype(np.int64)
        t = position - first
        index = first[:, None] + np.arange(2)
        weight = np.stack([1 - t, t], axis=1)
    elif order == "lanczos":
        first = np.floor(position).astype(np.int64)
        index = first[:, None] + np.arange(-2, 4)
        away = position[:, None] - index
        weight = np.sinc(away) * np.sinc(away / 3)
        weight /= weight.sum(axis=1, keepdims=True)
    else:
        first = np.floor(position).astype(np.int64)
        t = position - first
        index = first[:, None] + np.arange(-1, 3)
        weight = np.stack(
            [
                ((-0.5 * t + 1.0) * t - 0.5) * t,
                (1.5 * t - 2.5) * t * t + 1.0,
                ((-1.5 * t + 2.0) * t + 0.5) * t,
                (0.5 * t - 0.5) * t * t,
            ],
            axis=1,
        )
    return np.clip(index, 0, size - 1), weight


@operation("process.resample")
def resample(
    image: Image,
    *,
    spacing: Annotated[
        tuple[float, ...],
        Param("Voxel edge: one number, or dz, dy, dx", unit="mm", minimum=0.01, maximum=1000.0),
    ] = (1.0,),
    order: Annotated[
        Kernel, Param("Interpolation between voxels; cubic and lanczos overshoot at edges")
    ] = "linear",
    antialias: Annotated[
        bool, Param("Smooth first along axes that become coarser (not with nearest)")
    ] = True,
    progress: Progress = QUIET,
) -> Image:
    """Change the voxel size; the image stays where it is in the patient.

    Shape ``(*leading, nz, ny, nx)`` to ``(*leading, nz', ny', nx')`` on a grid with the same
    centre, directions and (to half a voxel) extent. With ``nearest`` and in colour images the
    dtype stays, otherwise float32 (float64 stays). Axes with a single voxel keep their spacing.
    """
    if len(spacing) not in (1, 3):
        raise ParameterError(
            f"process.resample: spacing is {list(spacing)}; give one number, or dz, dy, dx"
        )
    wanted = spacing * 3 if len(spacing) == 1 else spacing
    old = image.grid.spacing
    # One slice has no neighbours to interpolate from: its thickness is not a sampling.
    sz, sy, sx = (o if n == 1 else w for n, o, w in zip(image.grid.shape, old, wanted, strict=True))
    grid = with_spacing(image.grid, (sz, sy, sx))
    ratio = np.asarray((sz, sy, sx)) / np.asarray(old)
    first = image.grid.to_index(grid.origin)
    axes = [
        taps(first[a] + np.arange(grid.shape[a]) * ratio[a], image.grid.shape[a], order=order)
        for a in range(3)
    ]
    # A Gaussian of this width brings a voxel-sized blur to the new voxel's size.
    blur = np.sqrt(np.maximum(ratio**2 - 1.0, 0.0)) * 0.42
    sigma = (float(blur[0]), float(blur[1]), float(blur[2]))

    def run(volume: Array) -> Array:
        from somascope.process.separable import along

        if order != "nearest" and antialias and max(sigma) > 0.05:
            volume = smooth(volume, sigma)
        for axis, (index, weight) in enumerate(axes):
            if index.shape[0] != volume.shape[axis] or not _identity(index, weight):
                volume = along(volume, axis, index=index, weight=weight)
        return volume

    if order == "nearest":
        (iz, _), (iy, _), (ix, _) = axes
        data = image.data[..., iz[:, :1], iy[:, 0][None, :], :][..., ix[:, 0]]
    else:
        data = each_volume(image, run, progress=progress, message="resampling")
        data = like(data, image.data.dtype) if is_colour(image) else data
    return replace(image, data=data, grid=grid)


def _identity(index: Array, weight: Float) -> bool:
    own = np.arange(index.shape[0])[:, None]
    return bool(np.abs(np.where(index == own, 0.0, weight)).max() < 1e-9)


def resample_to(
    image: Image,
    grid: Grid,
    *,
    order: Order = "linear",
    fill: float = 0.0,
    average: bool = False,
) -> Image:
    """The image's values at the voxels of another grid, at any angle; no smoothing.

    With ``average`` a voxel larger than the image's is the mean of several points of it, so that
    thin things are neither lost nor doubled.

    ``fill`` goes where ``grid`` leaves the image by more than half a voxel. With ``nearest`` the
    dtype stays, otherwise float32 (float64 stays). The provenance names the grid.
    """
    from somascope.process.sampling import sample

    if (
        image.grid.frame_of_reference
        and grid.frame_of_reference
        and image.grid.frame_of_reference != grid.frame_of_reference
    ):
        raise GeometryError(
            f"the image is in frame of reference {image.grid.frame_of_reference} and the grid in "
            f"{grid.frame_of_reference}; register them and give the grid in the image's frame"
        )
    affine = np.linalg.inv(image.grid.affine) @ grid.affine
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    points = [min(max(int(np.ceil(s - 0.25)), 1), 4) if average else 1 for s in steps]
    shifts = np.stack(np.meshgrid(
        *[(np.arange(n) + 0.5) / n - 0.5 for n in points], indexing="ij"
    ), axis=-1).reshape(-1, 3)  # fmt: skip

    def run(volume: Array) -> Array:
        total: Array | None = None
        for shift in shifts:
            moved = affine.copy()
            moved[:3, 3] += affine[:3, :3] @ shift
            found = sample(volume, moved, grid.shape, order=order, fill=fill)
            total = found if total is None else total + found
        assert total is not None
        return total if len(shifts) == 1 else total / total.dtype.type(len(shifts))

    data = each_volume(image, run)
    if order == "nearest" or is_colour(image):
        data = like(data, image.data.dtype)
    step = Step(
        "process.resample_to",
        {
            "affine": grid.affine.tolist(),
            "shape": list(grid.shape),
            "order": order,
            "fill": fill,
            "average": average,
        },
        tuple(s.name for s in image.provenance.sources),
        __version__,
    )
    return replace(image, data=data, grid=grid, provenance=image.provenance.then(step))


def resample_like(
    image: Image, like_image: Image, *, order: Order = "linear", fill: float = 0.0
) -> Image:
    """`resample_to` the grid of another image."""
    return resample_to(image, like_image.grid, order=order, fill=fill)
