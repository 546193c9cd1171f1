"""Cone-beam volumes larger than memory: Feldkamp slab by slab, within a bound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from somascope.acquire.ct.choices import Kernel
from somascope.acquire.ct.fbp import outside
from somascope.acquire.ct.fdk import VIEWS, Feldkamp, cone_of, seen_radius
from somascope.core import QUIET, Acquisition, Grid, Progress
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array


def slabs(
    acquisition: Acquisition,
    *,
    thickness: int | None = None,
    memory: float | None = None,
    samples: Any = None,
    grid: Grid | None = None,
    kernel: Kernel = "ram-lak",
    cutoff: float = 1.0,
    progress: Progress = QUIET,
) -> Iterator[tuple[int, Array]]:
    """Reconstruct a volume of any size, some slices at a time.

    Yields the first slice's number and attenuation ``(slices, ny, nx)`` in 1/mm, bottom up. Beside
    one slab only the rows that it reads of a few views are held.

    Parameters
    ----------
    acquisition
        A ``ct.cone`` scan of line integrals.
    thickness, memory
        Slices per slab; or bytes that one slab and its work may take. One of both.
    samples
        In place of the acquisition's: anything of its shape that is sliced like an array, such as
        an HDF5 dataset, of which only parts are read.
    grid, kernel, cutoff
        As for `fdk`.

    Raises
    ------
    ParameterError
        Neither or both of ``thickness`` and ``memory``; memory for less than one slice.
    UnitError
        Samples that are not finite.
    """
    scan = cone_of(acquisition)
    data = acquisition.samples if samples is None else samples
    if tuple(data.shape) != tuple(scan.range):
        raise GeometryError(f"the samples have shape {data.shape}; the scan gives {scan.range}")
    grid = scan.grid if grid is None else grid
    engine = Feldkamp(scan, kernel=kernel, cutoff=cutoff)
    count, at_once = _parts(engine, grid, thickness, memory)
    unseen = outside(grid, scan.isocentre, seen_radius(scan))
    nz = grid.shape[0]
    for start in range(0, nz, count):
        progress(start / nz, f"slices from {start}")
        made = engine.slab(data, _part(grid, start, min(count, nz - start)), at_once=at_once)
        if not np.isfinite(made).all():
            raise UnitError(
                f"slices from {start} on are not finite: so are samples they come from; correct "
                "defective pixels first"
            )
        made[:, unseen] = 0
        yield start, made
    progress(1.0, "reconstructed")


def fdk_file(
    acquisition: Acquisition,
    path: str | Path,
    *,
    memory: float,
    samples: Any = None,
    grid: Grid | None = None,
    kernel: Kernel = "ram-lak",
    cutoff: float = 1.0,
    progress: Progress = QUIET,
) -> None:
    """Write attenuation ``(nz, ny, nx)`` in 1/mm, float32, to a NumPy file (``.npy``) in slabs.

    Parameters as for `slabs`. ``numpy.load(path, mmap_mode="r")`` opens it without reading it.
    """
    whole = cone_of(acquisition).grid if grid is None else grid
    header = {"descr": "<f4", "fortran_order": False, "shape": whole.shape}
    with Path(path).open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _, made in slabs(
            acquisition, memory=memory, samples=samples, grid=whole, kernel=kernel,
            cutoff=cutoff, progress=progress,
        ):  # fmt: skip
            made.astype("<f4", copy=False).tofile(file)


def _part(grid: Grid, start: int, count: int) -> Grid:
    return grid.moved(start=(start, 0, 0), shape=(count, *grid.shape[1:]), step=(1, 1, 1))


def _parts(
    engine: Feldkamp, grid: Grid, thickness: int | None, memory: float | None
) -> tuple[int, int]:
    """Slices per slab, and views that are filtered at once."""
    if (thickness is None) == (memory is None):
        raise ParameterError("give either the thickness of a slab or the memory it may take")
    if memory is None:
        assert thickness is not None
        return max(int(thickness), 1), VIEWS
    nz = grid.shape[0]

    def fits(count: int, at_once: int) -> bool:
        # The outermost slabs read the most rows for their height.
        ends = (_part(grid, 0, count), _part(grid, nz - count, count))
        before = 4 * int(np.prod(ends[0].shape))  # the slab that was just given away
        return all(engine.working_set(g, at_once=at_once) + before <= memory for g in ends)

    found: tuple[int, int] | None = None
    for at_once in (VIEWS, 16, 8, 4, 2, 1):
        low, high = 0, nz
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle, at_once) else (low, middle - 1)
        if low > 0 and (found is None or low >= 2 * found[0]):
            found = low, at_once
    if found is None:
        least = engine.working_set(_part(grid, 0, 1), at_once=1) + 4 * int(np.prod(grid.shape[1:]))
        raise ParameterError(
            f"memory is {memory:.3g} bytes; one slice of {grid.shape[2]} x {grid.shape[1]} takes "
            f"{least:.3g}"
        )
    return found
