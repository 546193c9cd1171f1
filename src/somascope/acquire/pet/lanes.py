"""Projection of whole sinograms: mirror images of a line go through the volume together.

A square slice centred on the scanner's axis has eight symmetries. They carry a line to lines of the
same sinogram that cross turned copies of the volume in the same places: the position and the
weights of each step are computed once for eight lines and all planes, and every load is a whole
vector. The sums of the transpose are made row by row in a fixed order, so they are the same to the
bit whatever the number of threads.
"""

from __future__ import annotations

import numpy as np

from somascope.acquire.pet import tof
from somascope.acquire.pet.lane_kernels import BLOCK, PAD, gather, pack, scatter
from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.pet.vectors import LANES
from somascope.core.grid import Array, Float, Grid
from somascope.process.chunks import in_chunks

_MEMORY = 48 * 1024 * 1024
"""Bytes of packed samples at a time."""


def suits(grid: Grid, centre: Float) -> bool:
    """Whether the slices are square, upright, and centred on the scanner's axis."""
    _, ny, nx = grid.shape
    step = grid.affine[:3, :3]
    upright = np.allclose(step[:2, 0], 0, atol=1e-6) and np.allclose(step[2, 1:], 0, atol=1e-6)
    _, dy, dx = grid.spacing
    if ny != nx or abs(dy - dx) > 1e-4 * dx or not upright or not grid.is_orthogonal():
        return False
    middle = grid.to_index(centre)
    return bool(np.abs(middle[1:] - (nx - 1) / 2).max() < 1e-3)


class Lanes:
    """Lines of a sinogram in groups of up to eight symmetric ones.

    Parameters
    ----------
    grid
        One that `suits`.
    first, second
        Transaxial ends ``(lines, 2)`` in LPS mm.
    rings
        S of both ends of every plane in mm, ``(planes, 2)``; with each pair its mirror image.
    scanner
        Its TOF bins are resolved.
    """

    def __init__(
        self, grid: Grid, first: Float, second: Float, rings: Float, *, scanner: Scanner
    ) -> None:
        self.grid = grid
        self.planes, self.lines = len(rings), len(first)
        self.bins = scanner.tof_bins
        self._n, self._nz = grid.shape[2], grid.shape[0]
        self._dz = np.float32(grid.spacing[0])
        points = np.zeros((2, len(rings), 3))
        points[..., 2] = rings.T
        points[..., :2] = first[0]
        self._ends = np.ascontiguousarray(grid.to_index(points)[..., 0].T, np.float32)
        self._mirror = _mirrored(rings)
        middle = (self._n - 1) / 2
        ends = np.stack([first, second], axis=1)
        world = np.concatenate([ends, np.full((*ends.shape[:2], 1), rings[0, 0])], axis=-1)
        self._group(grid.to_index(world)[..., 1:] - middle, grid.spacing[2])
        self._centres, self._reach = np.zeros(1, np.float32), 0.0
        self._kernel = np.zeros(2, np.float32)
        if self.bins > 1:
            self._centres, self._reach = tof.centres(scanner), tof.reach(scanner)
            self._kernel = tof.table(scanner)

    def _group(self, ends: Float, spacing: float) -> None:
        """Canonical form of every line (y, x from the centre), and the groups of equal ones."""
        length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) * spacing
        step = ends[:, 1] - ends[:, 0]
        turned = np.abs(step[:, 1]) > np.abs(step[:, 0]) * (1 + 1e-9)
        ends = np.where(turned[:, None, None], ends[..., ::-1], ends)
        step = ends[:, 1] - ends[:, 0]
        swapped = step[:, 0] < 0
        ends = np.where(swapped[:, None, None], ends[:, ::-1], ends)
        step = ends[:, 1] - ends[:, 0]
        slope = step[:, 1] / step[:, 0]
        flip_x = slope < -1e-9
        slope = np.abs(slope)
        sign = np.where(flip_x, -1.0, 1.0)
        start = ends[:, 0, 1] * sign - slope * ends[:, 0, 0]  # x at y = 0
        flip_y = start < -1e-7  # half a turn: both axes reversed, and the ends exchanged
        flip_x ^= flip_y
        swapped ^= flip_y
        low = np.where(flip_y, -ends[:, 1, 0], ends[:, 0, 0])
        high = np.where(flip_y, -ends[:, 0, 0], ends[:, 1, 0])
        start = np.abs(start)
        lane = 4 * turned + 2 * flip_y + flip_x

        key = np.round(np.stack([slope, start, low, high], axis=1) * 1e4).astype(np.int64)
        _, groups = np.unique(key, axis=0, return_inverse=True)
        groups = groups.reshape(-1)
        count = int(groups.max()) + 1
        middle = (self._n - 1) / 2
        path = np.stack(
            [start + middle - slope * middle, slope, low + middle, high + middle, length], axis=1
        )
        self._paths = np.zeros((count, 5), np.float32)
        self._paths[groups] = path
        self._places = np.full((count, LANES), -1, np.int32)
        self._places[groups, lane] = np.arange(self.lines)
        self._swapped = np.zeros((count, LANES), np.bool_)
        self._swapped[groups, lane] = swapped

    @property
    def fill(self) -> float:
        """Share of the lanes that carry a line."""
        return self.lines / self._places.size

    def forward(self, volume: Array) -> Array:
        """``(tof, planes, lines)``, float32, of ``(nz, ny, nx)``."""
        out = np.zeros((self.bins, self.planes, self.lines), np.float32)
        in_chunks(
            gather, len(self._paths), _turned_copies(volume).reshape(-1), self._n, self._nz,
            self._paths, self._places, self._swapped, self._ends, self._mirror, self._dz,
            self._centres, self._reach, self._kernel, out,
        )  # fmt: skip
        return out

    def adjoint(self, data: Array) -> Array:
        """The transpose: ``(nz, ny, nx)``, float32, of ``(tof, planes, lines)``."""
        data = np.ascontiguousarray(data, np.float32)
        n = self._n
        copies = np.zeros((n, n + 2 * PAD, self._nz + 2 * PAD, LANES), np.float32)
        each = max(1, _MEMORY // (4 * LANES * self.planes * self.bins))
        for a in range(0, len(self._paths), each):
            part = slice(a, a + each)
            paths = self._paths[part]
            packed = np.empty((len(paths), self.bins, self.planes, LANES), np.float32)
            in_chunks(
                pack, len(paths), data, paths, self._places[part], self._swapped[part],
                self._ends, self._mirror, self._dz, packed,
            )  # fmt: skip
            in_chunks(
                scatter, -(-n // BLOCK), packed, n, self._nz, paths, self._ends, self._dz,
                self._centres, self._reach, self._kernel, copies.reshape(-1),
            )  # fmt: skip
        return _joined(copies)


def _mirrored(rings: Float) -> Array:
    """Per plane the one with its ends exchanged, int32."""
    known = {(round(a, 4), round(b, 4)): p for p, (a, b) in enumerate(rings.tolist())}
    return np.array([known[round(b, 4), round(a, 4)] for a, b in rings.tolist()], np.int32)


def _turned_copies(volume: Array) -> Array:
    """``(y, x, z, lane)``, padded in x and z: the volume as each symmetry shows it."""
    nz, n, _ = volume.shape
    out = np.zeros((n, n + 2 * PAD, nz + 2 * PAD, LANES), np.float32)
    inner = out[:, PAD:-PAD, PAD:-PAD]
    for lane in range(LANES):
        inner[..., lane] = _turn(volume, lane).transpose(1, 2, 0)
    return out


def _joined(copies: Array) -> Array:
    """The transpose of `_turned_copies`: each copy turned back, added in order."""
    inner = copies[:, PAD:-PAD, PAD:-PAD]
    n, _, nz, _ = inner.shape
    total = np.zeros((nz, n, n), np.float32)
    for lane in range(LANES):
        total += _turn_back(inner[..., lane].transpose(2, 0, 1), lane)
    return total


def _turn(volume: Array, lane: int) -> Array:
    """Axes y and x exchanged (4), then y (2) and x (1) reversed."""
    if lane & 4:
        volume = volume.swapaxes(1, 2)
    return volume[:, :: -1 if lane & 2 else 1, :: -1 if lane & 1 else 1]


def _turn_back(volume: Array, lane: int) -> Array:
    volume = volume[:, :: -1 if lane & 2 else 1, :: -1 if lane & 1 else 1]
    return volume.swapaxes(1, 2) if lane & 4 else volume
