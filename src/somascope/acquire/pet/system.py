"""What iterative PET reconstruction starts from: subsets of a scan with all its corrections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somascope.acquire.operators import Compose, Diagonal
from somascope.acquire.pet.model import background, factors, sinogram_of
from somascope.acquire.pet.psf import Blur
from somascope.acquire.pet.results import activity_image
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition, Image, Operator
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Grid


@dataclass(frozen=True, eq=False)
class System:
    """Operators, counts and expected background of each subset, on the wanted grid."""

    acquisition: Acquisition
    grid: Grid
    operators: Sequence[Operator]
    counts: Sequence[Array]
    backgrounds: Sequence[Array | float]

    def image(self, activity: Array, *, method: str, post_filter: float = 0.0) -> Image:
        """The activity, smoothed with ``post_filter`` mm FWHM, as an image."""
        if post_filter > 0:
            activity = Blur(self.grid, post_filter).forward(activity)
        return activity_image(self.acquisition, activity, self.grid, method=method)


def target_grid(grid: Grid, *, size: int | None, field_of_view: float | None) -> Grid:
    """``grid``, or ``size`` pixels over ``field_of_view`` mm about its centre; z stays."""
    if size is None and field_of_view is None:
        return grid
    nz, ny, nx = grid.shape
    _, dy, dx = grid.spacing
    side = max(ny * dy, nx * dx) if field_of_view is None else field_of_view
    n = round(side / min(dy, dx)) if size is None else size
    affine = grid.affine.copy()
    affine[:3, 1] *= side / n / dy
    affine[:3, 2] *= side / n / dx
    middle = grid.to_world([0, (ny - 1) / 2, (nx - 1) / 2])
    affine[:3, 3] = middle - (affine[:3, 1] + affine[:3, 2]) * (n - 1) / 2
    return Grid((nz, n, n), affine, grid.frame_of_reference)


def subset_views(scan: SinogramScan, count: int) -> list[Array]:
    """Angles of each subset, in the order in which they are used.

    Angles that are mirror images of each other stay together (the projector takes them at once),
    and neighbours fall into different subsets; successive subsets lie far apart.

    Raises
    ------
    ParameterError
        More subsets than there are such families of angles.
    """
    quarter = max(1, scan.angle_count // 2)
    folded = scan.views % quarter
    family = np.minimum(folded, quarter - folded)
    most = len(np.unique(family))
    if not 1 <= count <= most:
        raise ParameterError(
            f"{count} subsets of {len(scan.views)} angles; give 1 to {most} (angles that mirror "
            "each other stay together)"
        )
    return [scan.views[family % count == k] for k in _far_apart(count)]


def _far_apart(count: int) -> list[int]:
    """0 .. count - 1, each about a golden section of the circle after the one before."""
    step = next(
        s for s in range(max(1, round(count * 0.382)), 2 * count + 2) if np.gcd(s, count) == 1
    )
    return [(k * step) % count for k in range(count)]


def prepare(
    acquisition: Acquisition,
    *,
    operation_name: str,
    subsets: int = 1,
    psf: float = 0.0,
    size: int | None = None,
    field_of_view: float | None = None,
) -> System:
    """Check the acquisition and divide it.

    Raises
    ------
    GeometryError, UnitError, ParameterError
        As `model.scan_of`, `model.factors` and `subset_views`.
    """
    scan = sinogram_of(acquisition, operation_name=operation_name)
    grid = target_grid(scan.grid, size=size, field_of_view=field_of_view)
    shape = scan.range
    weights = np.broadcast_to(factors(acquisition), shape)
    added = background(acquisition)
    added = None if added is None else np.broadcast_to(added, shape)
    samples = np.asarray(acquisition.samples, np.float32)
    if subsets == 1:
        whole = scan.with_changes(grid=grid, psf=psf)
        return System(
            acquisition, grid, [Compose(Diagonal(weights), whole)], [samples],
            [0.0 if added is None else added],
        )  # fmt: skip
    operators: list[Operator] = []
    counts: list[Array] = []
    backgrounds: list[Array | float] = []
    for views in subset_views(scan, subsets):
        which = np.flatnonzero(np.isin(scan.views, views))
        part = scan.with_changes(grid=grid, psf=psf, views=scan.views[which])
        operators.append(Compose(Diagonal(_taken(weights, which)), part))
        counts.append(_taken(samples, which))
        backgrounds.append(0.0 if added is None else _taken(added, which))
    return System(acquisition, grid, operators, counts, backgrounds)


def _taken(array: Array, angles: Array) -> Array:
    return np.ascontiguousarray(np.take(array, angles, axis=-2))
