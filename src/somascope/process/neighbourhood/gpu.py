"""Median, bilateral filter, non-local means and vesselness on torch tensors.

The same sums as in `median`, `neighbours` and `hessian`, one voxel to a lane; neighbours come from
the cache. Tested in Triton's interpreter; never yet run on a GPU.
"""

# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from somascope.core.errors import ParameterError
from somascope.process.gpu import block, convolve, mirrored, on_device, single, table, through

LOG2E = 1.4426950408889634
_MISSING = 1e15


@triton.jit
def _rank(  # noqa: ANN202
    keys, out, count, nz, ny, nx, wz, wy, wx,  # noqa: ANN001
    BLOCK: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """The middle of each window by halving: how many of its values lie at or below a number."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)[:, None]
    t = tl.arange(0, SIZE)[None, :]
    z = mirrored(i // nx // ny + t // (wy * wx) - wz // 2, nz)
    y = mirrored(i // nx % ny + t // wx % wy - wy // 2, ny)
    x = mirrored(i % nx + t % wx - wx // 2, nx)
    ok = (i < count) & (t < wz * wy * wx)
    values = tl.load(keys + (z * ny + y) * nx + x, ok, 2147483647)
    low = tl.full([BLOCK], -2147483648, tl.int64)
    high = tl.full([BLOCK], 2147483647, tl.int64)
    for _ in range(32):
        middle = (low + high) >> 1
        under = tl.sum((values <= middle[:, None]).to(tl.int32), axis=1)
        enough = under > wz * wy * wx // 2
        high = tl.where(enough, middle, high)
        low = tl.where(enough, low, middle + 1)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, low.to(tl.int32), i < count)


@triton.jit
def _bilateral(  # noqa: ANN202
    volume, space, out, count, nz, ny, nx, rz, ry, rx,  # noqa: ANN001
    BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    ok = i < count
    z, y, x = i // nx // ny, i // nx % ny, i % nx
    centre = tl.load(volume + i, ok, 0.0)
    total = tl.zeros([BLOCK], tl.float32)
    weight = tl.zeros([BLOCK], tl.float32)
    for dz in range(2 * rz + 1):
        pz = mirrored(z + dz - rz, nz) * ny
        for dy in range(2 * ry + 1):
            py = (pz + mirrored(y + dy - ry, ny)) * nx
            for dx in range(2 * rx + 1):
                v = tl.load(volume + py + mirrored(x + dx - rx, nx), ok, 0.0)
                s = tl.load(space + (dz * (2 * ry + 1) + dy) * (2 * rx + 1) + dx)
                w = tl.exp2(tl.maximum(s - (v - centre) * (v - centre), -125.0))
                total += w * v
                weight += w
    tl.store(out + i, total / weight, ok)


@triton.jit
def _means(  # noqa: ANN202
    volume, out, count, nz, ny, nx, sz, sy, sx, pz, py, px, slope, bias,  # noqa: ANN001
    BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    ok = i < count
    z, y, x = i // nx // ny, i // nx % ny, i % nx
    total = tl.zeros([BLOCK], tl.float32)
    weight = tl.zeros([BLOCK], tl.float32)
    for s in range((2 * sz + 1) * (2 * sy + 1) * (2 * sx + 1)):
        dz = s // (2 * sx + 1) // (2 * sy + 1) - sz
        dy, dx = s // (2 * sx + 1) % (2 * sy + 1) - sy, s % (2 * sx + 1) - sx
        close = tl.zeros([BLOCK], tl.float32)
        for p in range((2 * pz + 1) * (2 * py + 1) * (2 * px + 1)):
            qz = z + p // (2 * px + 1) // (2 * py + 1) - pz
            qy = y + p // (2 * px + 1) % (2 * py + 1) - py
            qx = x + p % (2 * px + 1) - px
            here = (mirrored(qz, nz) * ny + mirrored(qy, ny)) * nx + mirrored(qx, nx)
            there = (mirrored(qz + dz, nz) * ny + mirrored(qy + dy, ny)) * nx
            there += mirrored(qx + dx, nx)
            d = tl.load(volume + there, ok, 0.0) - tl.load(volume + here, ok, 0.0)
            close += d * d
        at = (mirrored(z + dz, nz) * ny + mirrored(y + dy, ny)) * nx + mirrored(x + dx, nx)
        w = tl.exp2(tl.maximum(tl.maximum(close - bias, 0.0) * slope, -125.0))
        total += w * tl.load(volume + at, ok, 0.0)
        weight += w
    tl.store(out + i, total / weight, ok)


def _launch(kernel: Any, out: Tensor, *rest: Any, size: int | None = None, **fixed: Any) -> Tensor:
    size = block(out.numel()) if size is None else size
    kernel[(triton.cdiv(out.numel(), size),)](*rest, BLOCK=size, **fixed)
    return out


def median(volume: Tensor, size: tuple[int, int, int]) -> Any:
    """`median.median`, of windows of up to 729 voxels."""
    from somascope.process import median as arrays

    if not on_device(volume):
        return through(arrays.median, volume, size=size)
    wanted = math.prod(size)
    if wanted > 729 or not all(n % 2 for n in size):
        raise ParameterError(f"a median over {size} voxels; give odd edges of up to 9")
    floating = volume.dtype.is_floating_point
    values = single(volume) if floating else volume.to(torch.int32).contiguous()
    keys = values.view(torch.int32)
    if floating:  # in the order of the values: negative ones run backwards; NaN is largest
        keys = torch.where(torch.isnan(values), 2**31 - 1, keys ^ ((keys >> 31) & 0x7FFFFFFF))
    wide = triton.next_power_of_2(wanted)
    per = block(keys.numel()) if keys.numel() * wide <= 1 << 20 else max(2048 // wide, 1)
    out = torch.empty_like(keys)
    _launch(_rank, out, keys.contiguous(), out, out.numel(), *out.shape, *size, size=per, SIZE=wide)
    if not floating:
        return out.to(volume.dtype)
    return (out ^ ((out >> 31) & 0x7FFFFFFF)).view(torch.float32)


def _centred(volume: Tensor) -> tuple[Tensor, float, Tensor]:
    known = torch.isfinite(volume)
    origin = float(volume[known].to(torch.float64).mean()) if bool(known.any()) else 0.0
    return (volume.to(torch.float64) - origin).to(torch.float32).contiguous(), origin, known


def bilateral(
    volume: Tensor, *, space: tuple[float, float, float], value: float, reach: float = 2.5
) -> Any:
    """`denoise.bilateral`."""
    from somascope.process import denoise

    if not on_device(volume):
        return through(denoise.bilateral, volume, space=space, value=value, reach=reach)
    radius, weights = denoise.window(space, reach)
    scale = math.sqrt(LOG2E / 2) / value
    values, origin, known = _centred(volume)
    values = torch.where(known, values * scale, _MISSING)
    out = torch.empty_like(values)
    logs = table(weights, values)
    _launch(_bilateral, out, values, logs, out, out.numel(), *out.shape, *radius)
    return torch.where(known, out / scale + origin, volume.to(torch.float32))


def nonlocal_means(
    volume: Tensor, *, search: tuple[int, int, int], patch: tuple[int, int, int], h: float,
    sigma: float = 0.0,
) -> Any:  # fmt: skip
    """`denoise.nonlocal_means`."""
    from somascope.process import denoise

    if not on_device(volume):
        return through(
            denoise.nonlocal_means, volume, search=search, patch=patch, h=h, sigma=sigma
        )  # fmt: skip
    values, origin, known = _centred(volume)
    values = torch.where(known, values, 0.0)
    n = math.prod(2 * p + 1 for p in patch)
    out = torch.empty_like(values)
    _launch(
        _means, out, values, out, out.numel(), *out.shape, *search, *patch,
        -LOG2E / (h * h * n), 2.0 * sigma * sigma * n,
    )  # fmt: skip
    return torch.where(known, out + origin, volume.to(torch.float32))


def tubes(
    volume: Tensor, spacing: tuple[float, float, float], *, scales: tuple[float, ...], measure: str,
    bright: bool = True, flat: bool = False, alpha: float = 0.5, beta: float = 0.5,
    gamma: float | None = None,
) -> Any:  # fmt: skip
    """`vessels.tubes`; six derivatives of the volume's size lie in memory."""
    from somascope.process import vessels

    settings: dict[str, Any] = {
        "spacing": spacing, "scales": scales, "measure": measure, "bright": bright, "flat": flat,
        "alpha": alpha, "beta": beta, "gamma": gamma,
    }  # fmt: skip
    if not on_device(volume):
        return through(vessels.tubes, volume, **settings)
    flat = flat or volume.shape[0] == 1
    values, _, known = _centred(volume)
    values = torch.where(known, values, 0.0)
    out = torch.zeros_like(values)
    for sigma in scales:
        h = _derivatives(values, [sigma / s for s in spacing], flat=flat)
        signed = [d if bright else -d for d in h]
        if measure == "frangi":
            limit = _half_norm(h) if gamma is None else gamma
            found = (
                _flat_frangi(signed, beta, limit) if flat else _frangi(signed, alpha, beta, limit)
            )
        else:
            found = _SIMPLE[measure, flat](signed)
        out = torch.maximum(out, found)
    if measure == "meijering" and float(out.max()) > 0:
        out /= out.max()
    return torch.where(known, out, torch.nan)


def _derivatives(values: Tensor, sigma: list[float], *, flat: bool) -> list[Tensor]:
    """xx, yy, zz, xy, xz, yz, each times the scale squared; flat: xx, yy, 0 and xy, 0, 0."""
    from somascope.process.hessian import kernels

    taps = []
    for axis, s in enumerate(sigma):
        if axis == 0 and flat:
            taps.append((np.ones(1),) * 3)
        else:
            g, first, second = kernels(s)
            taps.append((g, first * s, second * s * s))
    nothing = torch.zeros((), device=values.device)
    orders = [(0, 0, 2), (0, 2, 0), (2, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]
    found: list[Tensor] = []
    for order in orders:
        if flat and order[0]:
            found.append(nothing)
            continue
        kz, ky, kx = (t[k] for t, k in zip(taps, order, strict=True))
        found.append(convolve(values, (kz, ky, kx)))
    return found


def _half_norm(h: list[Tensor]) -> float:
    xx, yy, zz, xy, xz, yz = h
    square = xx * xx + yy * yy + zz * zz + 2 * (xy * xy + xz * xz + yz * yz)
    return math.sqrt(float(square.max())) / 2


def _eigenvalues(h: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Ascending (Smith, CACM 4, 1961)."""
    xx, yy, zz, xy, xz, yz = h
    q = (xx + yy + zz) / 3
    a, b, c = xx - q, yy - q, zz - q
    off = xy * xy + xz * xz + yz * yz
    p = torch.sqrt(torch.clamp((a * a + b * b + c * c + 2 * off) / 6, min=0))
    det = a * (b * c - yz * yz) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz)
    r = torch.clamp(torch.nan_to_num(det / (2 * p * p * p)), -1, 1)
    phi = torch.arccos(r) / 3
    high = q + 2 * p * torch.cos(phi)
    low = q + 2 * p * torch.cos(phi + 2.0943951023931953)
    return low, 3 * q - high - low, high


def _pair(h: list[Tensor]) -> tuple[Tensor, Tensor]:
    mean, half = (h[0] + h[1]) / 2, (h[0] - h[1]) / 2
    root = torch.sqrt(half * half + h[3] * h[3])
    return mean - root, mean + root


def _frangi(h: list[Tensor], alpha: float, beta: float, gamma: float) -> Tensor:
    values = torch.stack(_eigenvalues(h))
    order = torch.argsort(values.abs(), dim=0, stable=True)
    l1, l2, l3 = torch.gather(values, 0, order)
    plate, blob = l2 / l3, l1 * l1 / (l2 * l3)
    size = l1 * l1 + l2 * l2 + l3 * l3
    found = (
        (1 - torch.exp(-plate * plate / (2 * alpha * alpha)))
        * torch.exp(-blob / (2 * beta * beta))
        * (1 - torch.exp(-size / (2 * gamma * gamma)))
    )
    return torch.where((l2 < 0) & (l3 < 0), found, 0.0)


def _flat_frangi(h: list[Tensor], beta: float, gamma: float) -> Tensor:
    a, b = _pair(h)
    swap = a.abs() > b.abs()
    low, high = torch.where(swap, b, a), torch.where(swap, a, b)
    blob = low / high
    found = torch.exp(-blob * blob / (2 * beta * beta)) * (
        1 - torch.exp(-(low * low + high * high) / (2 * gamma * gamma))
    )
    return torch.where(high < 0, found, 0.0)


def _sato(h: list[Tensor]) -> Tensor:
    low, middle, _ = _eigenvalues(h)
    return torch.where(middle < 0, torch.sqrt(torch.clamp(low * middle, min=0)), 0.0)


def _neurite(low: Tensor, high: Tensor, share: Tensor, own: float) -> Tensor:
    ridge, valley = -(own * low + share), own * high + share
    return torch.where((ridge > 0) & (ridge >= valley), ridge, 0.0)


def _meijering(h: list[Tensor]) -> Tensor:
    low, middle, high = _eigenvalues(h)
    return _neurite(low, high, (low + middle + high) / 4, 0.75)


def _flat_meijering(h: list[Tensor]) -> Tensor:
    low, high = _pair(h)
    return _neurite(low, high, (low + high) / 3, 2 / 3)


def _flat_sato(h: list[Tensor]) -> Tensor:
    return torch.clamp(-_pair(h)[0], min=0)


_SIMPLE: dict[tuple[str, bool], Callable[[list[Tensor]], Tensor]] = {
    ("sato", False): _sato, ("sato", True): _flat_sato,
    ("meijering", False): _meijering, ("meijering", True): _flat_meijering,
}  # fmt: skip
