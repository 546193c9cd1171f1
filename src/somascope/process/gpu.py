"""Filters on torch tensors: what works along one axis, by places, or by values.

The functions of the NumPy modules hand their tensors over to the function of the same name here or
in `process.neighbourhood.gpu`. Kernels run where a tensor lies: on CUDA, or, when
``TRITON_INTERPRET=1`` was set before the first import, in Triton's interpreter on the CPU, which is
how they are tested; never yet on a GPU. A tensor on the CPU goes through NumPy otherwise. Single
precision; nothing is summed by racing threads but whole numbers, so results repeat to the bit.
"""

# Triton's launchers take numbers for its `constexpr`, which the type checker cannot know.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs

from somascope.core.errors import ParameterError


def interpreted() -> bool:
    """Whether Triton interprets its kernels on the CPU."""
    return bool(knobs.runtime.interpret)


def on_device(x: Tensor) -> bool:
    """Whether kernels run on this tensor; else it goes through NumPy."""
    return x.is_cuda or (x.device.type == "cpu" and interpreted())


def through(function: Callable[..., Any], *tensors: Tensor, **settings: Any) -> Any:
    """``function`` of the arrays of CPU tensors; an array comes back as a tensor.

    Raises
    ------
    ParameterError
        A tensor lies on a device that is neither CPU nor CUDA.
    """
    for x in tensors:
        if x.device.type != "cpu":
            raise ParameterError(
                f"filters run on cpu and cuda tensors; this one lies on {x.device}: move it"
            )
    found = function(*(x.detach().numpy() for x in tensors), **settings)
    return torch.from_numpy(found) if isinstance(found, np.ndarray) else found


def block(count: int) -> int:
    """Voxels that one program takes; all of them where the interpreter pays per operation."""
    return triton.next_power_of_2(max(count, 1)) if interpreted() else 512


def single(x: Tensor) -> Tensor:
    """``x`` as contiguous float32."""
    return x.detach().to(torch.float32).contiguous()


def table(values: Any, x: Tensor, *, kind: torch.dtype = torch.float32) -> Tensor:
    """A small array beside ``x``."""
    return torch.as_tensor(np.ascontiguousarray(values), device=x.device).to(kind).contiguous()


@triton.jit
def mirrored(i, n):  # noqa: ANN001, ANN201
    """``c b a | a b c | c b a``, for any distance."""
    period = 2 * n
    i = ((i % period) + period) % period
    return tl.minimum(i, period - 1 - i)


@triton.jit
def _convolve(volume, taps, out, count, n, inner, radius, BLOCK: tl.constexpr):  # noqa: ANN001, ANN202
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    ok = i < count
    place = (i // inner) % n
    first = i - place * inner
    total = tl.zeros([BLOCK], tl.float32)
    for k in range(2 * radius + 1):
        at = first + mirrored(place + k - radius, n) * inner
        total += tl.load(taps + k) * tl.load(volume + at, ok, 0.0)
    tl.store(out + i, total, ok)


@triton.jit
def _extreme(  # noqa: ANN202
    volume, out, count, n, inner, radius, sign,  # noqa: ANN001
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Largest of ``sign * volume`` in a window, times ``sign``; beyond the ends nothing counts."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    ok = i < count
    place = (i // inner) % n
    first = i - place * inner
    best = tl.load(volume + i, ok, 0.0) * sign
    for k in range(2 * radius + 1):
        at = first + tl.minimum(tl.maximum(place + k - radius, 0), n - 1) * inner
        best = tl.maximum(best, tl.load(volume + at, ok, 0.0) * sign)
    tl.store(out + i, best * sign, ok)


@triton.jit
def _nearest(volume, out, count, n, inner, square, BLOCK: tl.constexpr):  # noqa: ANN001, ANN202
    """``min over k of volume[k] + (i - k)^2 square``, from the nearest outwards."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    ok = i < count
    place = (i // inner) % n
    best = tl.load(volume + i, ok, 0.0)
    r = 1
    while (r < n) & (tl.max(best, axis=0) > square * r * r):
        left = tl.load(volume + i - r * inner, ok & (place >= r), float("inf"))
        right = tl.load(volume + i + r * inner, ok & (place + r < n), float("inf"))
        best = tl.minimum(best, tl.minimum(left, right) + square * r * r)
        r += 1
    tl.store(out + i, best, ok)


@triton.jit
def _weight(t, k, ORDER: tl.constexpr):  # noqa: ANN001, ANN202
    """Of the k-th sample for a place ``t`` after its floor: linear, or cubic (Keys, a = -1/2)."""
    if ORDER == 1:
        return tl.where(k == 0, 1.0 - t, t)
    d = tl.abs(t - (k - 1))
    near = (1.5 * d - 2.5) * d * d + 1.0
    far = ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    return tl.where(d <= 1.0, near, far)


@triton.jit
def _sample(  # noqa: ANN202
    volume, affine, out, count, nz, ny, nx, oy, ox, fill,  # noqa: ANN001
    ORDER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    ok = i < count
    # Indices and their image in double precision, as on the CPU: 1000 voxels times 1e-7 shows.
    z, y, x = (i // ox // oy).to(tl.float64), (i // ox % oy).to(tl.float64), (i % ox).to(tl.float64)
    m = affine
    a = tl.load(m) * z + tl.load(m + 1) * y + tl.load(m + 2) * x + tl.load(m + 3)
    b = tl.load(m + 4) * z + tl.load(m + 5) * y + tl.load(m + 6) * x + tl.load(m + 7)
    c = tl.load(m + 8) * z + tl.load(m + 9) * y + tl.load(m + 10) * x + tl.load(m + 11)
    inside = (a > -0.500001) & (b > -0.500001) & (c > -0.500001)
    inside &= (a < nz - 0.499999) & (b < ny - 0.499999) & (c < nx - 0.499999)
    if ORDER == 0:
        a, b, c = a + 0.5, b + 0.5, c + 0.5
    fa, fb, fc = tl.floor(a), tl.floor(b), tl.floor(c)
    ta, tb, tc = (a - fa).to(tl.float32), (b - fb).to(tl.float32), (c - fc).to(tl.float32)
    za, yb, xc = fa.to(tl.int64), fb.to(tl.int64), fc.to(tl.int64)
    total = tl.zeros([BLOCK], tl.float32)
    first = -1 if ORDER == 3 else 0
    for da in range(ORDER + 1):
        wa = _weight(ta, da, ORDER) if ORDER > 0 else tl.full([BLOCK], 1.0, tl.float32)
        pa = tl.minimum(tl.maximum(za + da + first, 0), nz - 1) * ny
        for db in range(ORDER + 1):
            wb = wa * _weight(tb, db, ORDER) if ORDER > 0 else wa
            pb = (pa + tl.minimum(tl.maximum(yb + db + first, 0), ny - 1)) * nx
            for dc in range(ORDER + 1):
                wc = wb * _weight(tc, dc, ORDER) if ORDER > 0 else wb
                at = pb + tl.minimum(tl.maximum(xc + dc + first, 0), nx - 1)
                total += wc * tl.load(volume + at, ok & inside, 0.0)
    tl.store(out + i, tl.where(inside, total, fill), ok)


def _inner(shape: Any, axis: int) -> int:
    return int(np.prod(shape[axis + 1 :], dtype=np.int64))


def convolve(volume: Tensor, kernels: tuple[Any, Any, Any]) -> Tensor:
    """`separable.convolve`."""
    out = single(volume)
    size = block(out.numel())
    for axis, kernel in enumerate(kernels):
        if len(kernel) > 1:
            given, out = out, torch.empty_like(out)
            _convolve[(triton.cdiv(out.numel(), size),)](
                given, table(kernel, out), out, out.numel(), out.shape[axis],
                _inner(out.shape, axis), len(kernel) // 2, BLOCK=size,
            )  # fmt: skip
    return out


def smooth(volume: Tensor, sigma: tuple[float, float, float]) -> Any:
    """`filters.smooth`."""
    from somascope.process import filters
    from somascope.process.separable import gaussians

    if not on_device(volume):
        return through(filters.smooth, volume, sigma=sigma)
    kernels = gaussians(tuple(volume.shape), sigma)
    values = single(volume)
    missing = ~torch.isfinite(values)
    if not bool(missing.any()):
        return convolve(values, kernels)
    found = convolve(values.masked_fill(missing, 0), kernels)
    found /= convolve((~missing).to(torch.float32), kernels)
    return torch.where(missing, values, found)


def extreme(volume: Tensor, radius: tuple[int, int, int], *, largest: bool) -> Any:
    """`morphology.extreme`; integers of up to 24 bits keep their type."""
    from somascope.process import morphology

    if not on_device(volume):
        return through(morphology.extreme, volume, radius=radius, largest=largest)
    out = single(volume)
    size = block(out.numel())
    for axis, r in enumerate(radius):
        if r and out.shape[axis] > 1:
            given, out = out, torch.empty_like(out)
            _extreme[(triton.cdiv(out.numel(), size),)](
                given, out, out.numel(), out.shape[axis], _inner(out.shape, axis),
                min(r, out.shape[axis]), 1.0 if largest else -1.0, BLOCK=size,
            )  # fmt: skip
    return out.to(volume.dtype)


def distance(volume: Tensor, spacing: tuple[float, float, float]) -> Any:
    """`distance.distance`."""
    from somascope.process import distance as arrays

    if not on_device(volume):
        return through(arrays.distance, volume, spacing=spacing)
    out = torch.zeros(volume.shape, device=volume.device)
    out.masked_fill_(volume != 0, torch.inf)
    size = block(out.numel())
    for axis in (2, 1, 0):
        given, out = out, torch.empty_like(out)
        _nearest[(triton.cdiv(out.numel(), size),)](
            given, out, out.numel(), out.shape[axis], _inner(out.shape, axis),
            float(spacing[axis]) ** 2, BLOCK=size,
        )  # fmt: skip
    return out.sqrt_()


def along(volume: Tensor, axis: int, *, index: Any, weight: Any) -> Any:
    """`separable.along`."""
    from somascope.process import separable

    if not on_device(volume):
        return through(separable.along, volume, axis=axis, index=index, weight=weight)
    places = table(index, volume, kind=torch.int64)
    weights = table(weight, volume)
    shape = [1, 1, 1]
    shape[axis] = -1
    out: Any = 0
    for k in range(places.shape[1]):
        out = out + weights[:, k].reshape(shape) * torch.index_select(volume, axis, places[:, k])
    return out


def sample(
    volume: Tensor, affine: Any, shape: tuple[int, int, int], *, order: str, fill: float
) -> Any:
    """`sampling.sample`."""
    from somascope.process import sampling

    if not on_device(volume):
        return through(
            sampling.sample, volume, affine=affine, shape=shape, order=order, fill=fill
        )  # fmt: skip
    values = single(volume)
    out = torch.empty(shape, device=volume.device)
    size = block(out.numel())
    _sample[(triton.cdiv(out.numel(), size),)](
        values, table(affine[:3], values, kind=torch.float64), out, out.numel(), *values.shape,
        shape[1], shape[2], float(fill), BLOCK=size,
        ORDER={"nearest": 0, "linear": 1, "cubic": 3}[order],
    )  # fmt: skip
    return out


def label(mask: Tensor, rank: int) -> Any:
    """`runs.label`: the smallest number among neighbours, spread until nothing changes."""
    from somascope.process import runs

    if not on_device(mask):
        return tuple(torch.from_numpy(a) for a in through(runs.label, mask, rank=rank))
    inside = mask != 0
    outside = inside.numel()
    number = torch.arange(outside, device=mask.device).reshape(mask.shape)
    names = torch.where(inside, number, outside)
    offsets = [d for d in np.ndindex(3, 3, 3) if 0 < sum(k != 1 for k in d) <= rank]
    end = torch.tensor([outside], device=mask.device)
    while True:
        wide = F.pad(names, (1,) * 6, value=outside)
        least = names
        for dz, dy, dx in offsets:
            nz, ny, nx = mask.shape
            least = torch.minimum(least, wide[dz : dz + nz, dy : dy + ny, dx : dx + nx])
        least = torch.where(inside, least, outside)
        # To the smallest number that the one just found has come to: distances double.
        least = torch.cat([least.reshape(-1), end])
        least = least[least][:-1].reshape(mask.shape)
        if torch.equal(least, names):
            break
        names = least
    roots, which, counts = torch.unique(names[inside], return_inverse=True, return_counts=True)
    order = torch.argsort(counts, descending=True, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(1, len(roots) + 1, device=mask.device)
    out = torch.zeros(mask.shape, dtype=torch.int32, device=mask.device)
    out[inside] = place[which].to(torch.int32)
    return out, counts[order]
