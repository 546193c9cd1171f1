"""Feldkamp's filtering and back projection for torch tensors on a GPU.

Each program owns a tile of voxels and gathers from the detector, view after view, by interpolation:
the pattern of every back projection and of delay and sum.
"""

# Triton's launchers take numbers for its `constexpr`, which the type checker cannot know.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from somascope.acquire.ct.gpu import arctangent
from somascope.acquire.gpu import demand, on_device, tile
from somascope.core import Grid, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Float

VIEWS = 64
"""Views that are filtered at once."""


@triton.jit
def _back_project(  # noqa: ANN202
    data, table, place, detector, out, views, rows, columns, nz, ny, nx,  # noqa: ANN001
    CURVED: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Add filtered views (views, rows, columns) to ``out`` (nz, ny, nx)."""
    line = tl.program_id(1) * TALL + tl.arange(0, TALL)[:, None]
    j = tl.program_id(0) * WIDE + tl.arange(0, WIDE)[None, :]
    ok = (line < nz * ny) & (j < nx)
    y, z = line % ny, line // ny
    l = tl.load(place) + y * tl.load(place + 2) + j * tl.load(place + 4)
    p = tl.load(place + 1) + y * tl.load(place + 3) + j * tl.load(place + 5)
    s = tl.load(place + 6) + z * tl.load(place + 7)
    radius, far = tl.load(detector), tl.load(detector + 1)
    middle, per_column = tl.load(detector + 2), tl.load(detector + 3)
    level, per_row = tl.load(detector + 4), tl.load(detector + 5)
    total = tl.zeros([TALL, WIDE], tl.float32)
    for v in range(views):
        cosine, sine = tl.load(table + 4 * v), tl.load(table + 4 * v + 1)
        weight, height = tl.load(table + 4 * v + 2), tl.load(table + 4 * v + 3)
        t = l * cosine + p * sine
        deep = radius - l * sine + p * cosine
        if CURVED:
            distance = tl.sqrt(deep * deep + t * t)
            column = middle + per_column * arctangent(t, deep)
            gain = weight * radius / (distance * distance)
        else:
            distance = deep
            column = middle + per_column * far * t / deep
            gain = weight * radius * radius / (deep * deep)
        seen = ok & (column >= 0) & (column <= columns - 1)
        # Beyond the detector its outermost row counts.
        row = level + (s - height) * per_row * far / distance
        row = tl.minimum(tl.maximum(row, 0.0), rows - 1.0)
        c = tl.minimum(column.to(tl.int32), columns - 2)
        r = tl.minimum(row.to(tl.int32), rows - 2)
        f, g = column - c, row - r
        at = data + (v * rows + r) * columns + c
        low = (1 - f) * tl.load(at, seen, 0.0) + f * tl.load(at + 1, seen, 0.0)
        at += columns
        high = (1 - f) * tl.load(at, seen, 0.0) + f * tl.load(at + 1, seen, 0.0)
        total += tl.where(seen, gain, 0.0) * ((1 - g) * low + g * high)
    to = out + line.to(tl.int64) * nx + j
    tl.store(to, tl.load(to, ok, 0.0) + total, ok)


def slab(engine: Any, data: Tensor, grid: Grid, place: Float, *, progress: Progress) -> Tensor:
    """`acquire.ct.fdk.Feldkamp.slab` of a tensor ``(views, rows, columns)`` on its device.

    ``place`` is the first voxel from the isocentre and the steps along y and x (L, P), then S of
    slice 0 and the step from slice to slice, in mm.
    """
    if not on_device(data):
        raise ParameterError(
            f"the data lie on {data.device}, where no kernel runs; give a NumPy array, or move "
            "the tensor to a CUDA device"
        )
    scan = engine.scan
    data = demand(data, scan.range, what="the data")
    rows = engine.rows_for(grid)

    def here(array: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(data.device)

    detector = engine.detector.copy()
    detector[4] -= rows.start
    numbers, table, at = here(detector), here(engine.table), here(place)
    cosine, response = here(engine.cosine[rows]), here(engine.filter)
    out = torch.zeros(grid.shape, device=data.device)
    nz, ny, nx = grid.shape
    tall, wide = tile(nz * ny, nx)
    for start in range(0, len(table), VIEWS):
        progress(start / len(table), "filtering and back projecting")
        which = slice(start, start + VIEWS)
        part = data[which, rows] * cosine * here(engine.share[which])[:, None]
        if engine.before:
            part = torch.nn.functional.pad(part, (engine.before, 0))
        spectra = torch.fft.rfft(part, engine.length) * response
        part = torch.fft.irfft(spectra, engine.length)[..., : engine.columns]
        if part.shape[1] == 1:  # no rows to interpolate between
            part = part.repeat(1, 2, 1)
        part = part.contiguous()
        _back_project[(triton.cdiv(nx, wide), triton.cdiv(nz * ny, tall))](
            part, table[which].contiguous(), at, numbers, out, *part.shape, nz, ny, nx,
            CURVED=scan.curved, TALL=tall, WIDE=wide,
        )  # fmt: skip
    return out
