"""The gradient of 3-D kernels on processors: what most of a training step waits for.

oneDNN reaches a third of what a core with AVX2 can calculate there. Rows of the padded volume are
laid end to end, so that a kernel's 27 weights are 27 dot products at fixed distances; four outputs
and three neighbours along x share what is loaded: twelve sums stay in registers.
"""

from __future__ import annotations

import threading
from typing import Any

import numba
import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from somascope.core.grid import Array

WORTH = 4096
"""Voxels of a map from which it is faster than oneDNN."""
PARTS = 16
"""Sums that are made apart and added in order, however many threads there are: the same bits."""
MOST = 1 << 26
"""Numbers in padded copies that are kept between steps: 256 MiB."""
PIECE = 512
"""Voxels of a row of dot products: four outputs and an input stay in the first cache."""


class Convolution3d(nn.Conv3d):
    """`torch.nn.Conv3d` with kernels of 3 or 1 that learns faster on a processor; the same numbers
    but for the order of sums.
    """

    def _conv_forward(
        self,
        input: torch.Tensor,  # noqa: A002
        weight: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        if not (self.training and torch.is_grad_enabled() and suits(input, weight, self)):
            return super()._conv_forward(input, weight, bias)
        if self.kernel_size == (1, 1, 1):  # a product of matrices, ten times as fast as one
            each = weight.flatten(1).expand(len(input), -1, -1)
            found = torch.bmm(each, input.flatten(2)).unflatten(2, input.shape[2:])
            return found if bias is None else found + bias[:, None, None, None]
        if weight.shape[0] % 4 == 0:
            return _Convolved.apply(input, weight, bias)  # pyright: ignore
        return super()._conv_forward(input, weight, bias)


def suits(x: torch.Tensor, weight: torch.Tensor, layer: nn.Conv3d) -> bool:
    """Whether a layer on this input has a faster way to learn than oneDNN's."""
    small = layer.kernel_size == (1, 1, 1) and layer.padding == (0, 0, 0)
    return (
        weight.requires_grad
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.ndim == 5
        and (small or (layer.kernel_size == (3, 3, 3) and layer.padding == (1, 1, 1)))
        and layer.stride == layer.dilation == (1, 1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and x[0, 0].numel() >= WORTH
        and not torch.compiler.is_compiling()
    )


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return functional.conv3d(x, weight, bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (g,) = given
        x, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad
        of_x = None
        if needs[0]:  # as oneDNN convolves forwards it is faster than backwards
            turned = weight.flip(2, 3, 4).transpose(0, 1).contiguous()
            of_x = functional.conv3d(g, turned, padding=1)
        of_weight = weight_gradient(x, g) if needs[1] else None
        of_bias = g.sum(dim=(0, 2, 3, 4)) if ctx.biased and needs[2] else None
        return of_x, of_weight, of_bias


def weight_gradient(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Of a kernel of 3 with zeros around: ``x`` ``(n, i, z, y, x)`` its input, ``g`` ``(n, o, z, y,
    x)`` the gradient of its output, both float32; ``(o, i, 3, 3, 3)``. ``o`` divides by four.
    """
    depth, height, row = x.shape[2] + 2, x.shape[3] + 2, x.shape[4] + 2
    around = _zeros((*x.shape[:2], depth, height, row), "x")
    around[:, :, 1:-1, 1:-1, 1:-1].copy_(x.detach())
    # Zeros where the rows of the padded volume have none of the output's voxels.
    given = _zeros((*g.shape[:4], row), "g")
    given[..., :-2].copy_(g.detach())
    parts = _parts(given.flatten(3).numpy(), around.flatten(3).numpy(), row)
    return torch.from_numpy(parts.sum(axis=0))


_KEPT = threading.local()


def _zeros(shape: tuple[int, ...], role: str) -> torch.Tensor:
    """Memory whose border is zero: what was written inside is written again. Each thread keeps its
    own, as new memory of this size costs as much as the copy.
    """
    kept: dict[tuple[Any, ...], torch.Tensor] = _KEPT.__dict__.setdefault("kept", {})
    found = kept.pop((role, shape), None)
    if found is None:
        found = torch.zeros(shape)
        while kept and sum(t.numel() for t in kept.values()) + found.numel() > MOST:
            kept.pop(next(iter(kept)))
    kept[role, shape] = found  # the last used is the last thrown away
    return found


@numba.njit(fastmath=True, inline="always", error_model="numpy")
def _twelve(p: Array, q: Array, r: Array, s: Array, x: Array, n: int) -> Any:  # pragma: no cover
    zero = np.float32(0)
    a0, a1, a2, b0, b1, b2 = zero, zero, zero, zero, zero, zero
    c0, c1, c2, d0, d1, d2 = zero, zero, zero, zero, zero, zero
    for k in range(n):
        x0, x1, x2 = x[k], x[k + 1], x[k + 2]
        a, b, c, d = p[k], q[k], r[k], s[k]
        a0 += a * x0
        a1 += a * x1
        a2 += a * x2
        b0 += b * x0
        b1 += b * x1
        b2 += b * x2
        c0 += c * x0
        c1 += c * x1
        c2 += c * x2
        d0 += d * x0
        d1 += d * x1
        d2 += d * x2
    return a0, a1, a2, b0, b1, b2, c0, c1, c2, d0, d1, d2


@numba.njit(fastmath=True, parallel=True, nogil=True, cache=True, error_model="numpy",
            boundscheck=False)  # fmt: skip
def _parts(g: Array, x: Array, row: int) -> Array:  # pragma: no cover
    """Sums over slices, ``(PARTS, o, i, 3, 3, 3)``: ``g`` ``(n, o, z, l)``, ``x`` ``(n, i, z + 2,
    l + 2 row)``.
    """
    count, outputs, depth, length = g.shape
    length -= 2  # zeros, beyond which the volume has no rows
    inputs = x.shape[1]
    jobs = count * depth
    found = np.zeros((PARTS, outputs, inputs, 3, 3, 3), np.float32)
    for part in numba.prange(PARTS):
        own = found[part]
        for job in range(part * jobs // PARTS, (part + 1) * jobs // PARTS):
            b, z = job // depth, job % depth
            for low in range(0, length, PIECE):
                n = min(PIECE, length - low)
                for o in range(0, outputs, 4):
                    p = g[b, o, z, low : low + n]
                    q = g[b, o + 1, z, low : low + n]
                    r = g[b, o + 2, z, low : low + n]
                    s = g[b, o + 3, z, low : low + n]
                    for i in range(inputs):
                        for dz in range(3):
                            for dy in range(3):
                                start = low + dy * row
                                line = x[b, i, z + dz, start : start + n + 2]
                                sums = _twelve(p, q, r, s, line, n)
                                for c in range(4):
                                    for dx in range(3):
                                        own[o + c, i, dz, dy, dx] += sums[3 * c + dx]
    return found
