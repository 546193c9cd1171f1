"""`affine_kernels` on torch tensors: normal equations and joint histogram of sampled points.

Products of matrices, which repeat to the bit; never yet run on a GPU.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from somascope.analyze.register.affine_kernels import BINS
from somascope.analyze.register.gpu import placed
from somascope.core.grid import Float

__all__ = ["equations", "joint", "placed"]


def _value(volume: Tensor, points: Tensor, b: Float) -> tuple[Tensor, Tensor, Tensor]:
    """Linear interpolation, its gradient per voxel ``(3, n)``, and which points are inside."""
    into = torch.as_tensor(b, dtype=torch.float64, device=points.device)
    place = points.double() @ into[:, :3].T + into[:, 3]
    shape = volume.shape
    ok = torch.ones(len(place), dtype=torch.bool, device=points.device)
    low: list[Tensor] = []
    high: list[Tensor] = []
    part: list[Tensor] = []
    for k, n in enumerate(shape):
        p = place[:, k]
        # A slice is as thick as its voxel; else values end at the outer voxels' middles.
        ok &= (p >= -0.5) & (p <= n - 0.5) if k == 0 and n == 1 else (p >= 0) & (p <= n - 1)
        i = p.clamp(0, max(n - 1, 0)).to(torch.int64).clamp(max=max(n - 2, 0))
        low.append(i)
        high.append((i + 1).clamp(max=n - 1))
        part.append((p - i).to(torch.float32) if n > 1 else torch.zeros_like(p, dtype=volume.dtype))
    t, u, w = part
    v000, v001, v010, v011, v100, v101, v110, v111 = (
        volume[z, y, x] for z in (low[0], high[0]) for y in (low[1], high[1])
        for x in (low[2], high[2])
    )  # fmt: skip
    p00, p01 = v000 + w * (v001 - v000), v010 + w * (v011 - v010)
    p10, p11 = v100 + w * (v101 - v100), v110 + w * (v111 - v110)
    q0, q1 = p00 + u * (p01 - p00), p10 + u * (p11 - p10)
    dy = (1 - t) * (p01 - p00) + t * (p11 - p10)
    dx = (1 - t) * ((1 - u) * (v001 - v000) + u * (v011 - v010)) + t * (
        (1 - u) * (v101 - v100) + u * (v111 - v110)
    )
    return q0 + t * (q1 - q0), torch.stack([q1 - q0, dy, dx]), ok


def _bins(values: Tensor) -> tuple[Tensor, Tensor]:
    """The lower of the two bins of a value, and the share of the upper."""
    k = (values * (BINS - 1)).clamp(0.0, BINS - 1.001)
    low = k.to(torch.int64)
    return low, k - low


def joint(f: Tensor, points: Tensor, volume: Tensor, b: Float) -> tuple[Float, float]:
    """Joint histogram ``(BINS, BINS)`` and the number of points inside the volume."""
    v, _, ok = _value(volume, points, b)
    sides: list[Tensor] = []
    for values in (f[ok], v[ok]):
        low, share = _bins(values)
        side = torch.zeros((len(low), BINS), device=f.device)
        side.scatter_(1, low[:, None], (1 - share)[:, None])
        side.scatter_(1, low[:, None] + 1, share[:, None])
        sides.append(side.double())
    return (sides[0].T @ sides[1]).cpu().numpy(), float(ok.sum())


def equations(
    f: Tensor, points: Tensor, volume: Tensor, b: Float, radius: float, scores: Float, *,
    mutual: bool,
) -> Float:  # fmt: skip
    """Sums of the normal equations ``(15, 15)``: rows step 12, f, 1, m, both triangles."""
    v, g, ok = _value(volume, points, b)
    f, points, v, g = f[ok], points[ok], v[ok], g[:, ok]
    one = torch.ones_like(v)
    e = torch.stack([f, one, v])
    score = one
    if mutual:
        table = torch.as_tensor(scores, dtype=torch.float32, device=f.device)
        (kf, s), (km, t) = _bins(f), _bins(v)
        score = (1 - s) * ((1 - t) * table[kf, km] + t * table[kf, km + 1]) + s * (
            (1 - t) * table[kf + 1, km] + t * table[kf + 1, km + 1]
        )
        e = torch.stack([0 * one, 0 * one, one])
    turn = torch.as_tensor(np.ascontiguousarray(b[:, :3]), dtype=torch.float32, device=f.device)
    j = (turn.T @ g) * score
    p = points.T / radius
    rows = torch.cat([j, (j[:, None] * p[None]).flatten(0, 1), e]).double()
    return (rows @ rows.T).cpu().numpy()
