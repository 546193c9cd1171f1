"""Gaussian random fields: how smooth a map is, and how high noise alone would reach.

Worsley et al., Hum. Brain Mapp. 4 (1996) 58-73: expected Euler characteristic of the excursion set
of a field over a region of any shape. Cluster extents after Friston et al., Hum. Brain Mapp. 1
(1994) 210-220. Smoothness from neighbouring residuals after Forman et al., Magn. Reson. Med. 33
(1995) 636-647.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gamma, log, pi, sqrt
from typing import Literal, TypeAlias

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

Field: TypeAlias = Literal["z", "t"]


def smoothness(fields: Array, mask: Array) -> Float:
    """FWHM along (z, y, x) in voxels of ``fields`` ``(n, nz, ny, nx)`` inside ``mask``.

    ``fields`` are residuals of a model (or one map of noise); each voxel is scaled to unit
    variance first where there are several. An axis with a single voxel gives 0.
    """
    data = np.where(mask, fields, 0).astype(np.float32)
    if len(data) > 1:
        size = np.sqrt((data**2).mean(axis=0))
        data = np.divide(data, size, out=np.zeros_like(data), where=size > 0)
        mask = mask & (size > 0)
    else:
        data = data - np.where(mask, data[:, mask].mean(), 0)
    out = np.zeros(3)
    for axis in range(3):
        if mask.shape[axis] < 2:
            continue
        a, b = [slice(None)] * 3, [slice(None)] * 3
        a[axis], b[axis] = slice(None, -1), slice(1, None)
        both = mask[tuple(a)] & mask[tuple(b)]
        first, second = data[:, *a][:, both], data[:, *b][:, both]
        if first.size < 2:
            continue
        apart = float(((first - second) ** 2).mean(dtype=np.float64))
        level = float((first**2).mean(dtype=np.float64) + (second**2).mean(dtype=np.float64)) / 2
        correlation = 1 - apart / (2 * level) if level > 0 else 0.0
        # Forman: a Gaussian field of this FWHM has exactly this correlation of neighbours.
        out[axis] = sqrt(-2 * log(2) / log(correlation)) if 0 < correlation < 1 else 0.0
    return out


def resels(mask: Array, fwhm: Float) -> Float:
    """Resel counts ``(R0, R1, R2, R3)`` of a mask for a FWHM in voxels along (z, y, x).

    Counts of points, edges, faces and cubes of the lattice (Worsley et al. 1996, eq. 4).
    """
    m = np.asarray(mask, bool)
    flat = [n == 1 for n in m.shape]
    usable = [f for f, one in zip(fwhm, flat, strict=True) if not one]
    if any(f <= 0 for f in usable):
        raise ParameterError(
            f"a smoothness of {np.asarray(fwhm).round(3).tolist()} voxels; random-field theory "
            "needs a smooth map: smooth the run, or give fwhm in mm"
        )
    r = [0.0 if one else 1 / f for f, one in zip(fwhm, flat, strict=True)]
    z = m[1:] & m[:-1]
    y = m[:, 1:] & m[:, :-1]
    x = m[:, :, 1:] & m[:, :, :-1]
    zy, zx = z[:, 1:] & z[:, :-1], z[:, :, 1:] & z[:, :, :-1]
    yx = y[:, :, 1:] & y[:, :, :-1]
    cube = zy[:, :, 1:] & zy[:, :, :-1]
    p, ez, ey, ex, fzy, fzx, fyx, c = (int(v.sum()) for v in (m, z, y, x, zy, zx, yx, cube))
    return np.array([
        p - ez - ey - ex + fzy + fzx + fyx - c,
        r[0] * (ez - fzy - fzx + c) + r[1] * (ey - fzy - fyx + c) + r[2] * (ex - fzx - fyx + c),
        r[0] * r[1] * (fzy - c) + r[0] * r[2] * (fzx - c) + r[1] * r[2] * (fyx - c),
        r[0] * r[1] * r[2] * c,
    ], np.float64)  # fmt: skip


def densities(u: float, *, field: Field = "z", dof: float = 0.0) -> Float:
    """Euler characteristic densities per resel in 0, 1, 2, 3 dimensions at height ``u``."""
    from scipy import stats

    four = 4 * log(2)
    if field == "z":
        e = np.exp(-u * u / 2)
        return np.array([
            stats.norm.sf(u),
            sqrt(four) / (2 * pi) * e,
            four / (2 * pi) ** 1.5 * e * u,
            four**1.5 / (2 * pi) ** 2 * e * (u * u - 1),
        ])  # fmt: skip
    v = dof
    e = (1 + u * u / v) ** (-(v - 1) / 2)
    ratio = np.exp(_log_gamma((v + 1) / 2) - _log_gamma(v / 2)) / sqrt(v / 2)
    return np.array([
        stats.t.sf(u, v),
        sqrt(four) / (2 * pi) * e,
        four / (2 * pi) ** 1.5 * ratio * u * e,
        four**1.5 / (2 * pi) ** 2 * ((v - 1) / v * u * u - 1) * e,
    ])  # fmt: skip


def _log_gamma(x: float) -> float:
    from scipy.special import gammaln

    return float(gammaln(x))


def expected(u: float, counts: Float, *, field: Field = "z", dof: float = 0.0) -> float:
    """Expected Euler characteristic above ``u``: for high ``u`` the chance of any voxel there."""
    return float(counts @ densities(u, field=field, dof=dof))


def height(
    alpha: float, counts: Float, *, field: Field = "z", dof: float = 0.0
) -> float:  # fmt: skip
    """The height that noise passes anywhere with probability ``alpha``."""
    from scipy.optimize import brentq

    def off(u: float) -> float:
        return expected(u, counts, field=field, dof=dof) - alpha

    low = 1.8
    high = 8.0
    while off(high) > 0 and high < 1e4:
        high *= 1.5
    if off(low) < 0:
        # A region of less than one resel: the uncorrected height.
        low = 0.0
    return float(brentq(off, low, high)) if off(low) > 0 else low  # pyright: ignore


@dataclass(frozen=True)
class Extent:
    """Chances of clusters above ``u``: ``number`` expected by noise, ``size`` in voxels (mean)."""

    number: float
    size: float
    dimensions: int

    def chance(self, voxels: float) -> float:
        """That noise makes any cluster of at least so many voxels."""
        d = self.dimensions
        beta = (gamma(d / 2 + 1) / self.size) ** (2 / d)
        return float(-np.expm1(-self.number * np.exp(-beta * voxels ** (2 / d))))

    def least(self, alpha: float) -> int:
        """The smallest extent whose chance is at most ``alpha``."""
        k = 1
        while self.chance(k) > alpha and k < 10**7:
            k = k + 1 if k < 1000 else int(k * 1.01) + 1
        return k


def extent(
    u: float, counts: Float, voxels: int, *, field: Field = "z", dof: float = 0.0
) -> Extent:  # fmt: skip
    """Clusters above ``u`` in a mask of ``voxels`` with resel ``counts``."""
    rho = densities(u, field=field, dof=dof)
    d = 3 if counts[3] > 0 else 2 if counts[2] > 0 else 1
    number = max(float(counts @ rho), 1e-12)
    return Extent(number, max(float(voxels * rho[0]) / number, 1e-6), d)
