"""Helical CT: rebinned to parallel rays, filtered, and back projected in three dimensions.

The weighted filtered back projection of Stierstorfer et al. (Phys. Med. Biol. 49, 2209, 2004):
rows are rebinned from fan to parallel views and filtered along the columns; each voxel then takes,
for every direction of a half turn, the mean of all views that see it, weighted by how far from the
detector's edge its row lies. All the dose is used, and any pitch that leaves no gap.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.acquire.ct import geometry
from somascope.acquire.ct.backproject import TILE
from somascope.acquire.ct.cone import HelicalScan
from somascope.acquire.ct.filters import Kernel, filtered
from somascope.acquire.ct.rebin import knots_of, read_knots
from somascope.core import QUIET, Grid, Progress
from somascope.core.errors import GeometryError
from somascope.core.grid import Array

FLAT = 0.5
"""Share of the detector's height, about its middle, whose rows have full weight."""


class Helix:
    """Reconstruct one helical scan.

    Parameters
    ----------
    scan
        ``ct.helical``, equally spaced views.
    kernel, cutoff
        Of the filter.
    """

    def __init__(
        self, scan: HelicalScan, *, kernel: Kernel = "ram-lak", cutoff: float = 1.0
    ) -> None:
        self.scan = scan
        self.kernel: Kernel = kernel
        self.cutoff = cutoff
        self.fan = scan.fan()
        low, high = self.fan.edges
        if low >= 0 or high <= 0:
            raise GeometryError(
                f"the detector's offset of {scan.offset} mm leaves the axis of rotation unseen"
            )
        widest = min(-low, high)
        self.spacing = scan.spacing[1] * scan.source / scan.detector
        half = int(scan.source * np.sin(widest) / self.spacing)
        self.s = (np.arange(2 * half + 1) - half) * self.spacing
        self.gamma = np.arcsin(self.s / scan.source)
        step = abs(self.fan.step)
        self.half_turn = max(round(np.pi / step), 1)
        delta = np.pi / self.half_turn
        begin = scan.angles.min() + widest
        count = int((scan.angles.max() - widest - begin) / delta) + 1
        if count < self.half_turn:
            arc = np.rad2deg(np.ptp(scan.angles))
            raise GeometryError(
                f"the helix covers {arc:.0f} degrees; a slice needs 180 and the fan "
                f"({np.rad2deg(high - low):.0f})"
            )
        self.angles = begin + delta * np.arange(count)

    @property
    def radius(self) -> float:
        """Mm about the axis that the detector sees."""
        return float(self.s[-1])

    def lines(self, data: Array, *, progress: Progress = QUIET) -> Array:
        """Filtered parallel views ``(views, bins, rows)`` of ``data`` (views, rows, columns)."""
        scan = self.scan
        step = self.fan.step
        ordered = data if step > 0 else data[::-1]
        at = (self.angles[:, None] + self.gamma - scan.angles.min()) / abs(step)
        column = self.fan.column(self.gamma)[None]
        weight = np.ones((len(self.angles), 1, len(self.s)), np.float32)
        reach = scan.detector / (1.0 if scan.curved else np.cos(self.gamma))
        out = np.empty((len(self.angles), len(self.s), scan.rows), np.float32)
        part = np.empty(weight.shape[::2], np.float32)
        for r in range(scan.rows):
            progress(r / scan.rows, "rebinning")
            knots = knots_of(np.ascontiguousarray(ordered[:, r], np.float32), periodic=False)
            read_knots(
                knots, at[:, None].astype(np.float32), column.astype(np.float32), weight, part
            )
            v = (r - (scan.rows - 1) / 2) * scan.spacing[0]
            part *= (reach / np.hypot(reach, v)).astype(np.float32)
            out[:, :, r] = filtered(part, self.spacing, kernel=self.kernel, cutoff=self.cutoff)
        return out

    def volume(self, data: Array, grid: Grid, *, progress: Progress = QUIET) -> Array:
        """Attenuation ``(nz, ny, nx)`` in 1/mm; 0 in slices that a half turn does not cover."""
        scan = self.scan
        first, down, across = geometry.plane(grid, scan.isocentre, kind="ct.helical")
        lines = self.lines(data, progress=Progress(lambda f, m: progress(0.5 * f, m)))
        nz, ny, nx = grid.shape
        out = np.zeros((ny, nx, nz), np.float32)
        table = np.stack(
            [np.cos(self.angles), np.sin(self.angles),
             scan.start + scan.pitch * self.angles / (2 * np.pi)], axis=-1,
        )  # fmt: skip
        lift = np.array([grid.origin[2] - scan.isocentre[2], grid.affine[2, 0]])
        detector = np.array([
            scan.source, scan.detector, len(self.s) // 2, 1 / self.spacing, (scan.rows - 1) / 2,
            1 / scan.spacing[0], scan.pitch / (2 * np.pi), float(scan.curved),
        ])  # fmt: skip
        place = np.concatenate([first, down, across])
        share = max(self.half_turn // 8, 1)
        for k in range(0, self.half_turn, share):
            progress(0.5 + 0.5 * k / self.half_turn, "back projecting")
            end = min(k + share, self.half_turn)
            _back_project(lines, table, place, lift, detector, k, end, self.half_turn, out)
        progress(1.0, "back projected")
        return np.ascontiguousarray(out.transpose(2, 0, 1))


@numba.njit(parallel=True, cache=True, fastmath=True, error_model="numpy", boundscheck=False)
def _back_project(
    data: Array,
    table: Array,
    place: Array,
    lift: Array,
    detector: Array,
    begin: int,
    end: int,
    half_turn: int,
    out: Array,
) -> None:
    """Add directions ``begin`` to ``end`` of the half turn to ``out`` (ny, nx, nz)."""
    views, bins, rows = data.shape
    ny, nx, nz = out.shape
    radius, far, middle, per_bin, level, per_row, feed, curved = detector
    z0, dz = lift
    across = (nx + TILE - 1) // TILE
    f32 = np.float32
    delta = f32(np.pi / half_turn)
    edge = f32(0.5 * rows)
    flat = f32(FLAT * 0.5 * rows)
    centre = f32(level)
    for tile in numba.prange(((ny + TILE - 1) // TILE) * across):
        line = np.empty(rows + 1, np.float32)
        total = np.empty(nz, np.float32)
        share = np.empty(nz, np.float32)
        y_first, x_first = (tile // across) * TILE, (tile % across) * TILE
        for k in range(begin, end):
            for y in range(y_first, min(ny, y_first + TILE)):
                for x in range(x_first, min(nx, x_first + TILE)):
                    l = place[0] + y * place[2] + x * place[4]
                    p = place[1] + y * place[3] + x * place[5]
                    total[:] = 0
                    share[:] = 0
                    for v in range(k, views, half_turn):
                        c, s, height = table[v]
                        t = l * c + p * s
                        column = middle + per_bin * t
                        if not 0 <= column <= bins - 1:
                            continue
                        gamma = np.arcsin(t / radius)
                        behind = radius * np.cos(gamma)
                        distance = behind - l * s + p * c
                        reach = far if curved else far / np.cos(gamma)
                        scale = per_row * reach / distance
                        start = level + (z0 - height - feed * gamma) * scale
                        step = dz * scale
                        # Slices whose row lies on the detector, its half elements included.
                        one, two = (-0.5 - start) / step, (rows - 0.5 - start) / step
                        first = max(np.int64(np.ceil(min(one, two))), 0)
                        last = min(np.int64(np.floor(max(one, two))), nz - 1)
                        if first > last:
                            continue
                        i = min(np.int64(column), bins - 2)
                        g = f32(column - i)
                        a, b = data[v, i], data[v, i + 1]
                        for r in range(rows):
                            line[r] = a[r] + g * (b[r] - a[r])
                        line[rows] = line[rows - 1]
                        for z in range(first, last + 1):
                            row = f32(start + step * z)
                            away = abs(row - centre)
                            fall = (away - flat) / (edge - flat)
                            # A smooth step (Hermite) from the flat middle to the edge.
                            fall = min(max(fall, f32(0)), f32(1))
                            w = f32(1) - fall * fall * (f32(3) - f32(2) * fall) + f32(1e-6)
                            row = min(max(row, f32(0)), f32(rows - 1))
                            n = np.uint32(row)
                            value = line[n]
                            value += (row - f32(n)) * (line[n + np.uint32(1)] - value)
                            total[z] += w * value
                            share[z] += w
                    for z in range(nz):
                        if share[z] > 0:
                            out[y, x, z] += delta * total[z] / share[z]
