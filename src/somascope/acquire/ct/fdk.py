"""Feldkamp, Davis and Kress 1984: filtered back projection of a cone, full, short or half-fan."""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.ct import geometry
from somascope.acquire.ct.backproject import back_project, turned
from somascope.acquire.ct.choices import Cutoff, FieldOfView, Kernel, MuWater, Size, Unit
from somascope.acquire.ct.cone import ConeScan, HelicalScan
from somascope.acquire.ct.fbp import as_image, line_integrals, outside, target_grid
from somascope.acquire.ct.filters import good_length, irfft, response, rfft
from somascope.acquire.ct.hounsfield import chosen_mu_water
from somascope.acquire.tensors import is_tensor
from somascope.core import QUIET, Acquisition, Grid, Image, Progress, operation
from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float

VIEWS = 32
"""Views that are filtered at once: the memory beside data and volume."""
_VOXELS = 2**28
"""Of one slab; the kernel's indices end at 2^32."""


def redundancy(scan: ConeScan) -> Float:
    """Share of each line that its ray carries, ``(views, columns)``; a line's two shares sum to 1.

    Full turn: one half. Short scan: Parker's weights (Med. Phys. 9, 254, 1982), for an arc longer
    than needed in the form of Silver (Med. Phys. 27, 773, 2000). Half-fan: a smooth step over the
    doubly seen middle (Wang, Med. Phys. 29, 1634, 2002).

    Raises
    ------
    GeometryError
        The arc is too short, is longer than a turn, or a short scan has a detector off centre.
    """
    fan = scan.fan()
    turn = fan.turn
    views = len(scan.angles)
    gamma = fan.gamma(np.arange(scan.columns))
    low, high = fan.edges
    if turn.full:
        short = min(abs(low), abs(high))
        if abs(abs(high) - abs(low)) < 1.5 * abs(high - low) / scan.columns:
            return np.full((views, scan.columns), 0.5)
        if low >= 0 or high <= 0:
            raise GeometryError(
                f"the detector's offset of {scan.offset} mm leaves the axis of rotation unseen; "
                "half-fan data must reach across the central ray"
            )
        x = np.clip(gamma / short, -1, 1) * (1 if high > -low else -1)
        row = 0.5 * (np.sin(np.pi / 2 * x) + 1)
        return np.tile(row, (views, 1))
    arc = turn.arc
    if arc > 2 * np.pi:
        raise GeometryError(
            f"the views cover {np.rad2deg(arc):.0f} degrees, more than a turn; keep one turn"
        )
    need = np.pi + 2 * max(abs(low), abs(high))
    if arc < need - 2 * turn.step:
        raise GeometryError(
            f"the views cover {np.rad2deg(arc):.1f} degrees; a short scan of this detector needs "
            f"{np.rad2deg(need):.1f} (180 and the fan): reconstruct iteratively"
        )
    delta = max((arc - np.pi) / 2, (need - np.pi) / 2)
    b = np.empty((views, 1))
    b[turn.order, 0] = turn.angles - turn.angles[0]
    # Parker counts gamma against the rotation; here theta = beta - gamma.
    g = -gamma
    rising = np.sin(np.pi / 4 * b / np.maximum(delta - g, 1e-9)) ** 2
    falling = np.sin(np.pi / 4 * (np.pi + 2 * delta - b) / np.maximum(delta + g, 1e-9)) ** 2
    weight = np.where(b < 2 * (delta - g), rising, 1.0)
    weight = np.where(b > np.pi - 2 * g, falling, weight)
    return np.where(b <= np.pi + 2 * delta, weight, 0.0)


class Feldkamp:
    """Filter and back project one scan, slab by slab.

    Parameters
    ----------
    scan
        A circular cone; ``ct.cone``.
    kernel, cutoff
        Of the filter.
    """

    def __init__(self, scan: ConeScan, *, kernel: Kernel = "ram-lak", cutoff: float = 1.0) -> None:
        self.scan = scan
        fan = scan.fan()
        gamma = fan.gamma(np.arange(scan.columns))
        row = (np.arange(scan.rows) - (scan.rows - 1) / 2) * scan.spacing[0]
        far = scan.detector
        if scan.curved:
            cosine = np.cos(gamma) * far / np.hypot(far, row)[:, None]
            bin_size = scan.spacing[1] / far
        else:
            flat = far * np.tan(gamma)
            cosine = far / np.sqrt(far**2 + flat**2 + row[:, None] ** 2)
            bin_size = scan.spacing[1] * scan.source / far
        self.cosine = cosine.astype(np.float32)
        self.share = (redundancy(scan) * fan.turn.share[:, None]).astype(np.float32)
        # A half-fan's filtered data reach as far on the side that is not measured.
        half = (scan.columns - 1) / 2
        shift = scan.offset / scan.spacing[1]
        self.before = max(round(2 * shift), 0)
        self.columns = scan.columns + round(abs(2 * shift))
        if self.columns - scan.columns <= 2:
            self.before, self.columns = 0, scan.columns
        self.length = good_length(2 * self.columns)
        self.filter = response(kernel, self.length, bin_size, cutoff=cutoff)
        if scan.curved:
            self.filter = _equiangular(self.filter, self.length, bin_size)
        middle = half - shift + self.before
        per_column = (far if scan.curved else 1.0) / scan.spacing[1]
        self.detector = np.array(
            [scan.source, far, middle, per_column, (scan.rows - 1) / 2, 1 / scan.spacing[0]]
        )
        self.table = np.stack(
            [np.cos(scan.angles), np.sin(scan.angles), np.ones(len(scan.angles)), scan.heights()],
            axis=-1,
        )

    def filtered(self, data: Array, which: slice, rows: slice) -> Array:
        """Weighted, filtered ``(views, columns, rows)`` of ``data`` (views, rows, columns)."""
        part = np.asarray(data[which, rows], np.float32) * self.cosine[rows]
        part *= self.share[which, None]
        h = self.filter.astype(np.float32)
        if self.before:
            part = np.pad(part, ((0, 0), (0, 0), (self.before, 0)))
        out = np.empty((len(part), self.columns, part.shape[1]), np.float32)
        turned(irfft(rfft(part, self.length) * h, self.length), out)
        return out

    def rows_for(self, grid: Grid) -> slice:
        """The detector rows that a slab of axial slices can read."""
        low, high = self._levels(grid)
        nearest = self.scan.source - geometry.reach(grid, self.scan.isocentre)
        scale = self.scan.detector / max(nearest, 1e-3 * self.scan.source)
        most = [z * scale for z in (low, high)] + [
            z * self.scan.detector / (2 * self.scan.source - nearest) for z in (low, high)
        ]
        pitch, middle = self.scan.spacing[0], (self.scan.rows - 1) / 2
        first = int(np.floor(min(most) / pitch + middle)) - 1
        last = int(np.ceil(max(most) / pitch + middle)) + 2
        first = min(max(first, 0), self.scan.rows - 1)
        return slice(first, max(min(last, self.scan.rows), first + 1))

    def _levels(self, grid: Grid) -> tuple[float, float]:
        z = grid.to_world([[0, 0, 0], [grid.shape[0] - 1, 0, 0]])[:, 2] - self.scan.isocentre[2]
        return float(z.min()), float(z.max())

    def working_set(self, grid: Grid, *, at_once: int = VIEWS) -> int:
        """Bytes that `slab` takes beside its data, its result included; rather too many."""
        rows, (nz, ny, nx) = self.rows_for(grid), grid.shape
        volume = 4 * nz * ny * nx
        line = 12 * (self.scan.columns + self.columns) + 16 * self.length
        return max(2 * volume, volume + at_once * (rows.stop - rows.start) * line)

    def slab(
        self, data: Array, grid: Grid, *, at_once: int = VIEWS, progress: Progress = QUIET
    ) -> Array:
        """Attenuation ``(nz, ny, nx)`` in 1/mm on ``grid``; reads only the rows it needs.

        ``data`` is ``(views, rows, columns)``, an array or anything that is sliced like one (a
        memory map, an HDF5 dataset); ``at_once`` views of it are held. A torch tensor on CUDA is
        reconstructed there and gives one.
        """
        first, down, across = geometry.plane(grid, self.scan.isocentre, kind="ct.cone")
        z0 = float(grid.origin[2] - self.scan.isocentre[2])
        lift = np.array([z0, grid.affine[2, 0]])
        place = np.concatenate([first, down, across])
        if is_tensor(data):
            from somascope.acquire.ct.feldkamp import gpu

            whole: Any = data
            made: Any = gpu.slab(
                self, whole, grid, np.concatenate([place, lift]), progress=progress
            )
            return made
        rows = self.rows_for(grid)
        nz, ny, nx = grid.shape
        detector = self.detector.copy()
        detector[4] -= rows.start
        pillars = np.zeros((ny, nx, nz), np.float32)
        views = len(self.table)
        for start in range(0, views, at_once):
            progress(start / views, "filtering and back projecting")
            which = slice(start, min(start + at_once, views))
            part = self.filtered(data, which, rows)
            if part.shape[2] == 1:  # a detector of one row has no rows to interpolate between
                part = np.repeat(part, 2, axis=2)
            back_project(part, self.table[which], place, lift, detector, self.scan.curved, pillars)
        return np.ascontiguousarray(pillars.transpose(2, 0, 1))


def _equiangular(response_: Float, length: int, step: float) -> Float:
    """The ramp for columns at equal angles: the kernel times ``(gamma / sin gamma)^2``.

    Kak and Slaney 1988, eq. 103.
    """
    kernel = np.fft.irfft(response_, length)
    gamma = np.fft.fftfreq(length, 1 / length) * step
    near = np.abs(gamma) < np.pi / 2
    stretch = np.where(near, np.sinc(np.where(near, gamma, 0) / np.pi), 1.0)
    return np.fft.rfft(kernel / stretch**2).real


def _within(progress: Progress, start: float, share: float) -> Progress:
    """The part of a progress that one slab is."""
    return Progress(lambda f, message: progress(start + share * f, message))


def cone_of(acquisition: Acquisition) -> ConeScan:
    """The acquisition's scan, which must be a cone turning once."""
    scan = acquisition.operator
    if isinstance(scan, HelicalScan) or not isinstance(scan, ConeScan):
        kind = getattr(scan, "kind", type(scan).__name__)
        raise GeometryError(
            f"acquire.ct.fdk reconstructs ct.cone; this is a {kind} scan: acquire.ct.fbp takes "
            "ct.parallel, ct.fan and ct.helical"
        )
    return scan


def seen_radius(scan: ConeScan) -> float:
    """Radius in mm about the axis that every view (half-fan: every line once) sees."""
    edges = np.abs(scan.fan().edges)
    return float(scan.source * np.sin(edges.max() if scan.fan().turn.full else edges.min()))


@operation("acquire.ct.fdk")
def fdk(
    acquisition: Acquisition,
    *,
    kernel: Kernel = "ram-lak",
    cutoff: Cutoff = 1.0,
    size: Size = None,
    field_of_view: FieldOfView = None,
    unit: Unit = "HU",
    mu_water: MuWater = None,
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct a cone-beam CT scan of one turn (Feldkamp, Davis and Kress).

    Full turns, short scans (Parker weights) and half-fan detectors, flat or curved. Exact in the
    plane of the source, nearly so beside it. Line integrals in, Hounsfield units out.
    """
    scan = cone_of(acquisition)
    water = chosen_mu_water(mu_water, acquisition.calibration)
    data = line_integrals(acquisition, operation_name="acquire.ct.fdk")
    grid = target_grid(scan.grid, size=size, field_of_view=field_of_view)
    engine = Feldkamp(scan, kernel=kernel, cutoff=cutoff)
    mu = np.empty(grid.shape, np.float32)
    thickness = max(_VOXELS // (grid.shape[1] * grid.shape[2]), 1)
    for start in range(0, grid.shape[0], thickness):
        count = min(thickness, grid.shape[0] - start)
        part = grid.moved(start=(start, 0, 0), shape=(count, *grid.shape[1:]), step=(1, 1, 1))
        inner = _within(progress, start / grid.shape[0], count / grid.shape[0])
        mu[start : start + count] = engine.slab(data, part, progress=inner)
    mu[:, outside(grid, scan.isocentre, seen_radius(scan))] = 0
    progress(1.0, "reconstructed")
    return as_image(acquisition, mu, grid, kernel=kernel, water=water, unit=unit)
