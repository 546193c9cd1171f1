"""Instance normalisation and ReLU in one pass there and one back, for learning on processors.

Apart they read and write each map six times more than they must. ``y = max(0, w (x - m) r + b)``
with the mean ``m`` and ``r`` one over the standard deviation of each map (Ulyanov et al., 2016).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from somascope.core.grid import Array

WORTH = 4096
"""Voxels of a map from which it is worth it."""
PIECE = 4096
"""Voxels that are summed in single precision before the sum is added in double."""


def lean(x: torch.Tensor, norm: nn.Module) -> bool:
    """Whether `normalised` is what this layer and the ReLU after it do, and is faster."""
    return (
        isinstance(norm, nn.InstanceNorm2d | nn.InstanceNorm3d)
        and norm.affine
        and not norm.track_running_stats
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.requires_grad
        and torch.is_grad_enabled()
        and x[0, 0].numel() >= WORTH
        and not torch.compiler.is_compiling()
    )


def normalised(x: torch.Tensor, norm: Any) -> torch.Tensor:
    """``relu(norm(x))`` of ``x`` ``(n, c, ...)`` float32; ``norm`` is affine and keeps nothing."""
    return _Normalised.apply(x, norm.weight, norm.bias, norm.eps)  # pyright: ignore


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> torch.Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        stats = _there(
            x.flatten(2).numpy(), weight.detach().numpy(), bias.detach().numpy(), eps,
            y.flatten(2).numpy(),
        )  # fmt: skip
        ctx.save_for_backward(x, weight, bias)
        ctx.stats = stats
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        g = given[0].contiguous()
        x, weight, bias = ctx.saved_tensors
        of_x = torch.empty_like(x)
        sums = _back(
            g.flatten(2).numpy(), x.flatten(2).numpy(), weight.detach().numpy(),
            bias.detach().numpy(), ctx.stats, of_x.flatten(2).numpy(),
        )  # fmt: skip
        each = torch.from_numpy(sums.sum(axis=0).astype(np.float32))
        return of_x, each[:, 0], each[:, 1], None


@numba.njit(fastmath=True, parallel=True, nogil=True, cache=True, error_model="numpy",
            boundscheck=False)  # fmt: skip
def _there(x: Array, weight: Array, bias: Array, eps: float, y: Array) -> Array:  # pragma: no cover
    """Fills ``y`` ``(n, c, voxels)``; the mean and the reciprocal deviation, ``(n, c, 2)``."""
    count, channels, size = x.shape
    stats = np.empty((count, channels, 2), np.float32)
    for job in numba.prange(count * channels):
        n, c = job // channels, job % channels
        line, out = x[n, c], y[n, c]
        total = 0.0
        for low in range(0, size, PIECE):
            part = np.float32(0)
            for k in range(low, min(low + PIECE, size)):
                part += line[k]
            total += part
        mean = np.float32(total / size)
        total = 0.0
        for low in range(0, size, PIECE):
            part = np.float32(0)
            for k in range(low, min(low + PIECE, size)):
                far = line[k] - mean
                part += far * far
            total += part
        scale = np.float32(1.0 / np.sqrt(total / size + eps))
        stats[n, c, 0], stats[n, c, 1] = mean, scale
        slope = scale * weight[c]
        start = bias[c] - mean * slope
        for k in range(size):
            out[k] = max(line[k] * slope + start, np.float32(0))
    return stats


@numba.njit(fastmath=True, parallel=True, nogil=True, cache=True, error_model="numpy",
            boundscheck=False)  # fmt: skip
def _back(
    g: Array, x: Array, weight: Array, bias: Array, stats: Array, of_x: Array
) -> Array:  # pragma: no cover
    """Fills ``of_x``; sums for weight and bias, ``(n, c, 2)``."""
    count, channels, size = x.shape
    sums = np.empty((count, channels, 2))
    for job in numba.prange(count * channels):
        n, c = job // channels, job % channels
        line, given, out = x[n, c], g[n, c], of_x[n, c]
        mean, scale = stats[n, c, 0], stats[n, c, 1]
        slope = scale * weight[c]
        start = bias[c] - mean * slope
        first, second = 0.0, 0.0
        for low in range(0, size, PIECE):
            a, b = np.float32(0), np.float32(0)
            for k in range(low, min(low + PIECE, size)):
                one = given[k] if line[k] * slope + start > 0 else np.float32(0)
                a += one
                b += one * (line[k] - mean)
            first += a
            second += b
        second *= scale
        sums[n, c, 0], sums[n, c, 1] = second, first
        all_ = np.float32(first / size)
        tilt = np.float32(second / size) * scale
        for k in range(size):
            one = given[k] if line[k] * slope + start > 0 else np.float32(0)
            out[k] = slope * (one - all_ - (line[k] - mean) * tilt)
    return sums
