"""Delay and sum on torch tensors, in Triton: `das.Beamformer` for a GPU.

Each program owns a block of pixels of one frame and gathers from the traces, wave after wave and
element after element, in one order: the same input gives the same bits. Where Triton interprets
(``TRITON_INTERPRET=1``) it runs on the CPU, which is how it is tested.
"""

# Triton's launchers take numbers for its `constexpr`, which the type checker cannot know.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from somascope.acquire.gpu import demand, interpreted, on_device
from somascope.acquire.ultrasound import das_kernel
from somascope.acquire.ultrasound.das import Beamformer
from somascope.core.errors import ParameterError


@triton.jit
def _cosine_sine(turns):  # noqa: ANN001, ANN202
    x = (turns - tl.floor(turns + 0.5)) * 6.283185307179586
    return tl.cos(x), tl.sin(x)


@triton.jit
def _taper(q, WINDOW: tl.constexpr):  # noqa: ANN001, ANN202
    """`das_kernel.taper`: 1 in the middle, 0 beyond the rim."""
    inside = q <= 1.0
    if WINDOW == 0:
        w = tl.where(inside, 1.0, 0.0)
    elif WINDOW == 3:
        edge = 0.5 + 0.5 * tl.cos(6.283185307179586 * (2.0 * q - 1.5))
        w = tl.where(inside, tl.where(q < 0.75, 1.0, edge), 0.0)
    else:
        c = tl.cos(3.141592653589793 * tl.minimum(q, 1.0))
        if WINDOW == 1:
            w = tl.where(inside, 0.5 + 0.5 * c, 0.0)
        else:
            w = tl.where(inside, 0.54 + 0.46 * c, 0.0)
    return w


@triton.jit
def _das(  # noqa: ANN202
    data, first, at, elements, normals, rims, out, transmits, channels, samples, points,  # noqa: ANN001
    f2, turn, phase, WINDOW: tl.constexpr, WHOLE: tl.constexpr, COMPOUND: tl.constexpr,  # noqa: ANN001
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum the traces of one frame at a block of points; times in samples."""
    p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    frame = tl.program_id(1).to(tl.int64)
    ok = p < points
    x, y = tl.load(at + p, ok, 0.0), tl.load(at + points + p, ok, 0.0)
    z = tl.load(at + 2 * points + p, ok, 0.0)
    whole_re = tl.zeros([BLOCK], tl.float32)
    whole_im = tl.zeros([BLOCK], tl.float32)
    for t in range(transmits):
        arrive = tl.load(first + t * points + p, ok, 0.0)
        re = tl.zeros([BLOCK], tl.float32)
        im = tl.zeros([BLOCK], tl.float32)
        for e in range(channels):
            dx, dy = x - tl.load(elements + 3 * e), y - tl.load(elements + 3 * e + 1)
            dz = z - tl.load(elements + 3 * e + 2)
            square = dx * dx + dy * dy + dz * dz
            away = tl.sqrt(square)
            deep = dx * tl.load(normals + 3 * e) + dy * tl.load(normals + 3 * e + 1)
            deep += dz * tl.load(normals + 3 * e + 2)
            if WHOLE:
                q = tl.zeros([BLOCK], tl.float32) + tl.load(rims + e)
            else:
                q = tl.sqrt(tl.maximum(square - deep * deep, 0.0)) * f2
                q = q / tl.where(deep > 0, deep, 1.0)
            w = tl.where(deep > 0, _taper(q, WINDOW), 0.0)
            s = arrive + away
            heard = ok & (w > 0) & (s >= 0) & (s < samples - 1)
            i = tl.where(heard, s, 0.0).to(tl.int32)
            f = s - i
            trace = data + 2 * (((frame * transmits + t) * channels + e) * samples + i)
            a, b = tl.load(trace, heard, 0.0), tl.load(trace + 1, heard, 0.0)
            u = a + f * (tl.load(trace + 2, heard, 0.0) - a)
            v = b + f * (tl.load(trace + 3, heard, 0.0) - b)
            cosine, sine = _cosine_sine(turn * away)
            w = tl.where(heard, w, 0.0)
            re += w * (u * cosine - v * sine)
            im += w * (u * sine + v * cosine)
        cosine, sine = _cosine_sine(turn * arrive + phase)
        one_re, one_im = re * cosine - im * sine, re * sine + im * cosine
        if COMPOUND:
            whole_re += one_re
            whole_im += one_im
        else:
            to = out + 2 * ((frame * transmits + t) * points + p)
            tl.store(to, one_re, ok)
            tl.store(to + 1, one_im, ok)
    if COMPOUND:
        to = out + 2 * (frame * points + p)
        tl.store(to, whole_re, ok)
        tl.store(to + 1, whole_im, ok)


def beamform(made: Beamformer, iq: Tensor, *, compound: bool = True) -> Tensor:
    """What ``made`` makes of IQ ``(frames, transmits, elements, time)``, on the tensor's device.

    Returns
    -------
    Tensor
        complex64 ``(frames, columns, depths)``; ``(frames, transmits, columns, depths)`` without
        ``compound``.

    Raises
    ------
    GeometryError
        Another shape than the scan's.
    ParameterError
        Another precision than complex64, or a device where no kernel runs.
    """
    if not on_device(iq):
        raise ParameterError(
            f"the samples lie on {iq.device}, where no kernel runs; call the Beamformer with a "
            "NumPy array, or move the tensor to a CUDA device"
        )
    iq = demand(iq, made.scan.range[-3:], what="the channel data", complex_=True)
    iq = iq.reshape(-1, *made.scan.range[-3:])
    frames, transmits, channels, samples = iq.shape
    _, tiles, common = made.prepared(np.empty((0, *iq.shape[1:]), np.complex64))
    kind, waves, delays, elements, normals, rims, f2, window, turn, phase = common

    def here(array: object) -> Tensor:
        return torch.from_numpy(np.array(array, np.float32, order="C")).to(iq.device)

    count, _, size = tiles.shape
    at = here(tiles.transpose(1, 0, 2)).reshape(3, -1)
    first = _arrivals(kind, here(waves), at, here(elements), here(delays))
    rows = frames if compound else frames * transmits
    out = torch.empty((rows, count * size, 2), device=iq.device)
    block = triton.next_power_of_2(count * size) if interpreted() else 128
    _das[(triton.cdiv(count * size, block), frames)](
        torch.view_as_real(iq), first, at, here(elements), here(normals), here(rims), out,
        transmits, channels, samples, count * size, float(f2), float(turn), float(phase),
        WINDOW=window, WHOLE=float(f2) == 0.0, COMPOUND=compound, BLOCK=block,
    )  # fmt: skip
    nx, ny = made.shape
    across, down = -(-nx // das_kernel.COLUMNS), -(-ny // das_kernel.DEPTH)
    parts = out.reshape(rows, across, down, das_kernel.COLUMNS, das_kernel.DEPTH, 2)
    full = parts.permute(0, 1, 3, 2, 4, 5).reshape(
        rows, across * das_kernel.COLUMNS, down * das_kernel.DEPTH, 2
    )
    values = torch.view_as_complex(full[:, :nx, :ny].contiguous())
    return values if compound else values.reshape(frames, transmits, nx, ny)


def _arrivals(kind: int, waves: Tensor, at: Tensor, elements: Tensor, delays: Tensor) -> Tensor:
    """`das_kernel.arrivals`: when each wave reaches each point, in samples."""
    t0, vector, axis = waves[:, :1], waves[:, 1:4], waves[:, 4:7]
    if kind == das_kernel.PLANE:
        return (t0 + vector @ at).contiguous()
    if kind == das_kernel.DELAYS:
        first = torch.full((len(waves), at.shape[1]), 1e30, device=at.device)
        for e, place in enumerate(elements):
            away = torch.linalg.vector_norm(at - place[:, None], dim=0)
            first = torch.minimum(first, delays[:, e : e + 1] + away)
        return (first + t0).contiguous()
    gap = at[None] - vector[:, :, None]
    away = torch.linalg.vector_norm(gap, dim=1)
    if kind == das_kernel.FOCUSED:
        away = torch.where((gap * axis[:, :, None]).sum(dim=1) < 0, -away, away)
    return (t0 + away).contiguous()
