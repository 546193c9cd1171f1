"""Maximum likelihood from single events, in memory or streamed from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from somascope.acquire.likelihood import maximised
from somascope.acquire.pet.choices import FieldOfView, Iterations, PostFilter, Psf, Size, Subsets
from somascope.acquire.pet.events import sensitivity_image
from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.model import scalar, scale, scan_of
from somascope.acquire.pet.psf import Blur
from somascope.acquire.pet.results import activity_image
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.acquire.pet.stream import EventFile, EventSource, Memory, Subset, counted
from somascope.acquire.pet.system import target_grid
from somascope.core import QUIET, Acquisition, Image, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Grid

NAME = "acquire.pet.listmode_osem"


def whole_sensitivity(head: Acquisition, scan: ListModeScan, grid: Grid, psf: float) -> Array:
    """Expected counts per Bq/ml of every voxel: of the calibration, or of ideal crystals.

    Raises
    ------
    ParameterError
        Events are attenuated or weighted, but no sensitivity image says how all lines are; or the
        one there belongs to another grid.
    """
    stored = head.calibration.get("sensitivity_image")
    if stored is not None and grid == scan.grid:
        if stored.shape != grid.shape or not np.isfinite(stored).all() or stored.min() < 0:
            raise ParameterError(
                f"sensitivity_image has shape {stored.shape} or values below zero; give "
                f"{grid.shape}, not negative"
            )
        image = np.asarray(stored, np.float32)
    elif any(name in head.calibration for name in ("normalisation", "attenuation")):
        raise ParameterError(
            f"{NAME}: events have efficiencies or attenuation, but there is no sensitivity_image "
            "of all lines on the wanted grid; add it to the calibration, or keep the scan's grid"
        )
    elif scan.positions is not None:
        image = sampled_sensitivity(scan, grid)
    else:
        ideal = SinogramScan(grid=grid, scanner=scan.scanner.without_tof(), centre=scan.centre)
        image = sensitivity_image(ideal)
    if psf > 0:
        image = Blur(grid, psf).adjoint(image)
    return image * np.float32(scale(head))


def sampled_sensitivity(scan: ListModeScan, grid: Grid, *, pairs: int = 1 << 22) -> Array:
    """``A^T 1`` over all pairs of crystals at any positions; a random share of them if many."""
    assert scan.positions is not None
    count = len(scan.positions)
    total = count * (count - 1) // 2
    if total <= pairs:
        chosen = np.stack(np.triu_indices(count, 1), axis=1)
    else:
        rng = np.random.default_rng(0)
        chosen = rng.integers(0, count, (pairs, 2))
        chosen = chosen[chosen[:, 0] != chosen[:, 1]]
    flat = ListModeScan(
        grid=grid,
        scanner=scan.scanner.without_tof(),
        crystals=chosen.astype(np.int32),
        centre=scan.centre,
        positions=scan.positions,
    )
    return flat.adjoint(np.full(len(chosen), total / len(chosen), np.float32))


def reconstructed(
    source: EventSource,
    head: Acquisition,
    *,
    iterations: int,
    subsets: int,
    psf: float = 0.0,
    post_filter: float = 0.0,
    size: int | None = None,
    field_of_view: float | None = None,
    progress: Progress = QUIET,
) -> Image:
    """The activity behind a source of events; memory grows with the image and one block only."""
    scan = source.scan
    grid = target_grid(scan.grid, size=size, field_of_view=field_of_view)
    if not 1 <= subsets <= max(1, len(source)):
        raise ParameterError(f"{subsets} subsets of {len(source)} events; give at least 1 event")
    total = counted(source)
    sensitivity = whole_sensitivity(head, scan, grid, psf) / np.float32(subsets)
    steps = [Subset(source, number=k, count=subsets, grid=grid, psf=psf) for k in range(subsets)]
    found = maximised(
        steps, [sensitivity] * subsets, counts=total, total=len(source), iterations=iterations,
        progress=progress,
    )  # fmt: skip
    image = found.x
    if post_filter > 0:
        image = Blur(grid, post_filter).forward(image)
    return activity_image(
        head, image, grid, method=f"LM-OSEM {iterations} iterations {subsets} subsets"
    )


@operation("acquire.pet.listmode_osem")
def listmode_osem(
    acquisition: Acquisition,
    *,
    iterations: Iterations = 4,
    subsets: Subsets = 8,
    psf: Psf = 0.0,
    post_filter: PostFilter = 0.0,
    size: Size = None,
    field_of_view: FieldOfView = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct PET events one by one by ordered-subsets expectation maximisation.

    No sinogram is made: full resolution in space and time of flight, cost in proportion to the
    events (Barrett, White and Parra 1997). Events are taken in the order of arrival; every
    subset is a share of the blocks of events.
    """
    scan = scan_of(acquisition, operation_name=NAME)
    if not isinstance(scan, ListModeScan):
        raise GeometryError(
            f"{NAME} takes events (pet.listmode); this is a {scan.kind}: use acquire.pet.osem"
        )
    scalar(acquisition, "sensitivity", 1.0)
    return reconstructed(
        Memory(acquisition), acquisition, iterations=iterations, subsets=subsets, psf=psf,
        post_filter=post_filter, size=size, field_of_view=field_of_view, progress=progress,
    )  # fmt: skip


def listmode_osem_file(
    path: str | Path,
    *,
    iterations: int = 4,
    subsets: int = 8,
    psf: float = 0.0,
    post_filter: float = 0.0,
    size: int | None = None,
    field_of_view: float | None = None,
    progress: Progress = QUIET,
) -> Image:
    """As `listmode_osem`, of a file of ours read block by block: memory does not grow with it."""
    with EventFile(path) as source:
        return reconstructed(
            source, source.head, iterations=iterations, subsets=subsets, psf=psf,
            post_filter=post_filter, size=size, field_of_view=field_of_view, progress=progress,
        )  # fmt: skip
