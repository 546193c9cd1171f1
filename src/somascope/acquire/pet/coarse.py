"""A scanner thinned to some detectors, and tables of their pairs spread over a whole sinogram.

Scatter varies slowly: it is computed between a few dozen detectors on a few rings and interpolated,
by cubics around the ring (Keys 1981) and splines along the axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core.grid import Array, Float
from somascope.process.chunks import in_chunks

_AROUND_MM, _ALONG_MM = 45.0, 30.0


@dataclass(frozen=True, eq=False)
class Nodes:
    """Detectors at fractional ``rings`` ``(r,)`` and evenly around at ``crystals`` ``(c,)``."""

    scanner: Scanner
    rings: Float
    crystals: Float

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of a table of pairs: ring and crystal of the one, of the other."""
        r, c = len(self.rings), len(self.crystals)
        return r, c, r, c

    @property
    def cell(self) -> float:
        """Crystals of the scanner per node, where the nodes are centres of equal cells."""
        s = self.scanner
        return s.rings * s.crystals / (len(self.rings) * len(self.crystals))

    def positions(self) -> tuple[Float, Float]:
        """LPS mm from the scanner's centre, and outward normals, each ``(rings * crystals, 3)``."""
        around = self.scanner.crystal_position(self.crystals)
        along = self.scanner.ring_position(self.rings)
        out = np.zeros((len(along), len(around), 3))
        out[..., :2] = around
        normals = out.copy() / self.scanner.effective_radius
        out[..., 2] = along[:, None]
        return out.reshape(-1, 3), normals.reshape(-1, 3)


def nodes(scanner: Scanner, *, rings: int | None = None, crystals: int | None = None) -> Nodes:
    """Cells of about 30 by 45 mm, or as many as wanted; their centres."""
    around = 2 * np.pi * scanner.effective_radius
    n = crystals or int(np.clip(2 * round(around / _AROUND_MM / 2), 24, 64))
    m = rings or int(np.clip(round(scanner.axial_length / _ALONG_MM), 1, 10))
    n, m = min(n, scanner.crystals), min(m, scanner.rings)
    along = (np.arange(m) + 0.5) * scanner.rings / m - 0.5
    return Nodes(scanner, along, np.arange(n) * scanner.crystals / n)


def spread(table: Array, at: Nodes, scan: SinogramScan) -> Array:
    """Values per crystal pair at every line of a sinogram, float32 ``(plane, angle, radial)``.

    ``table`` has the shape of ``at``, symmetric under exchange of the two detectors; one with a
    leading axis of TOF bins gives ``(tof, plane, angle, radial)``. Nothing becomes negative.
    """
    if table.ndim == 5:
        return np.stack([spread(part, at, scan) for part in table])
    r, c, _, _ = at.shape
    first, second = scan.crystals()
    half = np.arange(2 * at.scanner.crystals) / 2.0
    around = _periodic(half * c / at.scanner.crystals, c)
    one = np.rint(2 * first).astype(int) % len(half)
    two = np.rint(2 * second).astype(int) % len(half)
    lines = np.empty((r * r, one.size), np.float32)
    for a in range(r):
        for b in range(r):
            full = around @ table[a, :, b, :].astype(np.float32) @ around.T
            lines[a * r + b] = full[one, two].ravel()
    along = _along(at.rings, scan.michelogram.mean_rings)
    weights = along[:, 0, :, None] * along[:, 1, None, :]
    planes = weights.reshape(len(weights), -1).astype(np.float32) @ lines
    return np.maximum(planes.reshape(-1, *one.shape), 0.0)


def at_events(table: Array, at: Nodes, crystals: Array, bins: Array | None) -> Array:
    """As `spread`, at single crystal pairs ``(n, 2)`` in their TOF bins, float32 ``(n,)``.

    Crystals are numbered ring by ring. ``table`` is ``(tof, *at.shape)``, or `Nodes.shape` where
    ``bins`` is None.
    """
    r, c, _, _ = at.shape
    n = at.scanner.crystals
    around = _periodic(np.asarray(np.arange(n) * (c / n), np.float64), c)
    near = np.argsort(-np.abs(around), axis=1, kind="stable")[:, :4].astype(np.int32)
    along = _along(at.rings, np.asarray(np.arange(at.scanner.rings), np.float64)).astype(np.float32)
    flat = np.ascontiguousarray(table, np.float32).reshape(-1, r, c, r, c)
    which = np.zeros(1, np.int16) if bins is None else bins
    out = np.empty(len(crystals), np.float32)
    in_chunks(
        _read, len(crystals), flat, np.asarray(crystals, np.int32), which, n, near,
        np.take_along_axis(around, near, axis=1), along, out,
    )  # fmt: skip
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _read(
    start: int, stop: int, table: Array, crystals: Array, bins: Array, count: int, near: Array,
    weights: Array, along: Array, out: Array,
) -> None:  # fmt: skip
    rings = table.shape[1]
    for e in range(start, stop):
        part = table[bins[e] if len(bins) == len(out) else 0]
        one, two = crystals[e, 0] % count, crystals[e, 1] % count
        first, second = along[crystals[e, 0] // count], along[crystals[e, 1] // count]
        total = np.float32(0)
        for a in range(rings):
            for b in range(rings):
                ring = first[a] * second[b]
                if ring == 0:
                    continue
                inner = np.float32(0)
                for p in range(4):
                    row = part[a, near[one, p], b]
                    for q in range(4):
                        inner += weights[one, p] * weights[two, q] * row[near[two, q]]
                total += ring * inner
        out[e] = max(total, np.float32(0))


def _periodic(position: Float, count: int) -> Array:
    """Cubic convolution weights ``(positions, count)`` on a circle, float32."""
    out = np.zeros((len(position), count), np.float32)
    base = np.floor(position).astype(int)
    t = position - base
    weights = (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )
    rows = np.arange(len(position))
    for k, weight in enumerate(weights):
        np.add.at(out, (rows, (base + k - 1) % count), weight.astype(np.float32))
    return out


def _along(known: Float, wanted: Float) -> Float:
    """Weights ``(*wanted.shape, known)`` of a spline through the rings known; linear where few."""
    if len(known) == 1:
        return np.ones((*wanted.shape, 1))
    if len(known) < 4:
        slope = (wanted - known[0]) / (known[1] - known[0])
        i = np.clip(np.floor(slope).astype(int), 0, len(known) - 2)
        t = slope - i
        out = np.zeros((*wanted.shape, len(known)))
        np.put_along_axis(out, i[..., None], (1 - t)[..., None], axis=-1)
        np.put_along_axis(out, (i + 1)[..., None], t[..., None], axis=-1)
        return out
    from scipy.interpolate import CubicSpline

    return CubicSpline(known, np.eye(len(known)), bc_type="natural")(wanted)
