"""What iterative CT reconstruction starts from: a scan on the wanted grid, checked samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from somascope.acquire.ct.fbp import as_image, line_integrals, outside, target_grid
from somascope.acquire.ct.hounsfield import chosen_mu_water
from somascope.acquire.ct.normal import SliceNormal, sees_all
from somascope.acquire.ct.parallel import ParallelScan
from somascope.core import Acquisition, Image, Scan
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Grid
from somascope.core.registry import build_operator


@dataclass(frozen=True, eq=False)
class System:
    """A scan and its samples (line integrals, float32), ready for a solver.

    ``normal`` is the Toeplitz form of ``A^T A`` where the scan has one, else None. The scan's grid
    is ``margin`` pixels larger on each side than the image that was asked for.
    """

    acquisition: Acquisition
    scan: Scan
    samples: Array
    water: float
    normal: SliceNormal | None
    margin: int = 0

    def image(self, mu: Array, *, kernel: str, unit: str) -> Image:
        """``mu`` in 1/mm as an image in ``unit``; what no view saw becomes air."""
        mu = np.array(mu, np.float32)
        scan: Any = self.scan
        if isinstance(scan, ParallelScan):
            radius = (scan.bins - 1) / 2 * scan.spacing - abs(scan.offset)
            mu[:, outside(scan.grid, scan.isocentre, radius)] = 0
        image = as_image(
            self.acquisition, mu, scan.grid, kernel=kernel, water=self.water, unit=unit
        )
        if self.margin == 0:
            return image
        (nz, ny, nx), m = scan.grid.shape, self.margin
        return image.crop(start=(0, m, m), stop=(nz, ny - m, nx - m))


def scan_of(acquisition: Acquisition, *, operation_name: str) -> Scan:
    """The acquisition's operator, which must be a CT scan."""
    scan: Any = acquisition.operator
    if not isinstance(scan, Scan) or not scan.kind.startswith("ct."):
        kind = getattr(scan, "kind", type(scan).__name__)
        raise GeometryError(
            f"{operation_name} reconstructs CT scans (ct.parallel, ct.fan, ct.cone ...); this "
            f"acquisition was made by {kind}"
        )
    return scan


def prepare(
    acquisition: Acquisition,
    *,
    operation_name: str,
    size: int | None = None,
    field_of_view: float | None = None,
    mu_water: float | None = None,
    toeplitz: bool = True,
) -> System:
    """Check the acquisition and put its scan on the wanted grid.

    Raises
    ------
    UnitError
        Counts, complex values, values that are not finite.
    GeometryError
        Not a CT scan.
    """
    scan = scan_of(acquisition, operation_name=operation_name)
    samples = line_integrals(acquisition, operation_name=operation_name)
    grid = target_grid(scan.grid, size=size, field_of_view=field_of_view)
    grid, margin = covering(grid, scan.grid)
    if grid != scan.grid:
        scan = on_grid(scan, grid)
    normal = None
    if (
        toeplitz
        and isinstance(scan, ParallelScan)
        and scan.projector == "fourier"
        and sees_all(scan, samples)
    ):
        normal = SliceNormal(scan)
    water = chosen_mu_water(mu_water, acquisition.calibration)
    return System(acquisition, scan, samples, water, normal, margin)


def covering(grid: Grid, whole: Grid) -> tuple[Grid, int]:
    """``grid`` grown evenly until it is as wide as ``whole``, and by how many pixels per side.

    An iterative method must explain every sample: what lies beside a small field would be
    squeezed into it.
    """
    (_, ny, nx), (_, dy, dx) = grid.shape, grid.spacing
    short = max(
        whole.shape[1] * whole.spacing[1] / dy - ny, whole.shape[2] * whole.spacing[2] / dx - nx
    )
    margin = max(0, int(np.ceil(short / 2 - 1e-6)))
    if margin == 0:
        return grid, 0
    shape = (grid.shape[0], ny + 2 * margin, nx + 2 * margin)
    return grid.moved(start=(0, -margin, -margin), shape=shape, step=(1, 1, 1)), margin


def rebuilt(scan: Scan, changes: dict[str, Any]) -> Scan:
    """The scan with some of its description changed."""
    description = {**scan.describe(), **changes}
    made: Any = type(scan)
    if hasattr(made, "kind"):
        return made(**description)
    return build_operator(scan.kind, description)


def on_grid(scan: Scan, grid: Grid) -> Scan:
    """The same scan with its image on another grid."""
    return rebuilt(scan, {"grid": grid})


def view_count(scan: Scan) -> int:
    """Number of views: the first axis of the range."""
    return int(scan.range[0])


def of_views(scan: Scan, which: Array) -> Scan:
    """The scan with only some of its views: every array of its description with one entry each."""
    n = view_count(scan)
    changes = {
        name: np.asarray(value)[which]
        for name, value in scan.describe().items()
        if isinstance(value, (np.ndarray, list)) and len(np.atleast_1d(cast("Any", value))) == n
    }
    if not changes:
        raise GeometryError(
            f"a {scan.kind} scan has no description per view, so it cannot be cut into subsets; "
            "use a method that takes all views at once (acquire.ct.sirt, acquire.ct.cgls)"
        )
    return rebuilt(scan, changes)


def rays_along(scan: Scan) -> Scan:
    """The scan with a projector whose cost is per view: Joseph's, for parallel beams."""
    if isinstance(scan, ParallelScan) and scan.projector != "joseph":
        return scan.with_changes(projector="joseph")
    return scan
