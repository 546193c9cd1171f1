"""Joseph's projector of PET lines in Triton, with time of flight, for torch tensors on a GPU.

The marching of `joseph`: one lane per line, plane by plane along the axis in which it advances
most. Lines of a list have no order in which voxels could collect them, so the transpose adds; its
sums are whole numbers (64 bits, scaled so that they cannot overflow), which add up to the same bits
in any order.
"""

# Triton's launchers take numbers for its `constexpr`, which the type checker cannot know.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from somascope.acquire.gpu import demand, interpreted, linear
from somascope.acquire.pet import tof
from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.psf import Blur
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core.grid import Grid

PAD = 2
_ORDERS = ((0, 1, 2), (1, 2, 0), (2, 1, 0))
"""Axes (z, y, x) of the volume per axis marched along."""
_COLUMNS = 9
_AT_ONCE = 1 << 23
"""Lines whose geometry is made at a time."""
_KEPT = 1 << 26
"""Lines whose geometry is kept on the device."""
_LANES = 128
_BITS = 61


@triton.jit
def _ends(line, centre, reach, TIMED: tl.constexpr):  # noqa: ANN001, ANN202
    """First and last plane of lines, or of what a TOF bin sees of them."""
    first, last = tl.load(line + 5), tl.load(line + 6)
    if TIMED:
        per = tl.load(line + 8)
        middle = tl.load(line + 7) + centre / per
        half = tl.abs(reach / per)
        # A slope of nothing is that of no line: its last plane is before its first.
        first = tl.maximum(first, tl.ceil(middle - half))
        last = tl.minimum(last, tl.floor(middle + half))
    return first, last


@triton.jit
def _seen(line, k, centre, reach, kernel, top):  # noqa: ANN001, ANN202
    """What a TOF bin sees of plane ``k`` of lines."""
    away = tl.abs((k - tl.load(line + 7)) * tl.load(line + 8) - centre) * (top / reach)
    u = tl.minimum(away, top)
    j = u.to(tl.int32)
    low, high = tl.load(kernel + j), tl.load(kernel + j + 1)
    return low + (u - j.to(tl.float32)) * (high - low)


@triton.jit
def _gather(  # noqa: ANN202
    volume, which, lines, centres, kernel, out, count, nb, nc, stride, reach, top,  # noqa: ANN001
    TIMED: tl.constexpr, COLUMNS: tl.constexpr, BORDER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sums along lines ``which``; ``volume`` is padded, its first axis the one marched along."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = n < count
    i = tl.load(which + n, ok, 0).to(tl.int64)
    line = lines + i * COLUMNS
    centre = tl.load(centres + i * stride)
    first, last = _ends(line, centre, reach, TIMED)
    b0, bs, c0, cs = tl.load(line), tl.load(line + 1), tl.load(line + 2), tl.load(line + 3)
    begin = tl.min(tl.where(ok & (last >= first), first, 2.0e9), axis=0).to(tl.int32)
    end = tl.max(tl.where(ok & (last >= first), last, -1.0), axis=0).to(tl.int32)
    total = tl.zeros([BLOCK], tl.float32)
    for k in range(begin, end + 1):
        p = k * 1.0
        here = ok & (p >= first) & (p <= last)
        b = tl.minimum(tl.maximum(b0 + bs * p, 1.0), nb - 1.0 * BORDER)
        c = tl.minimum(tl.maximum(c0 + cs * p, 1.0), nc - 1.0 * BORDER)
        ib, ic = b.to(tl.int32), c.to(tl.int32)
        fb, fc = b - ib.to(tl.float32), c - ic.to(tl.float32)
        at = volume + (tl.zeros([BLOCK], tl.int64) + k) * nb * nc + ib * nc + ic
        low = (1 - fc) * tl.load(at, here, 0.0) + fc * tl.load(at + 1, here, 0.0)
        high = (1 - fc) * tl.load(at + nc, here, 0.0) + fc * tl.load(at + nc + 1, here, 0.0)
        value = (1 - fb) * low + fb * high
        if TIMED:
            value *= _seen(line, p, centre, reach, kernel, top)
        total += tl.where(here, value, 0.0)
    tl.store(out + i, total * tl.load(line + 4), ok)


@triton.jit
def _scatter(  # noqa: ANN202
    values, which, lines, centres, kernel, scale, out, count, nb, nc, stride, reach, top,  # noqa: ANN001
    TIMED: tl.constexpr, COLUMNS: tl.constexpr, BORDER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The transpose of `_gather`, times ``scale``, in whole numbers."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = n < count
    i = tl.load(which + n, ok, 0).to(tl.int64)
    line = lines + i * COLUMNS
    centre = tl.load(centres + i * stride)
    first, last = _ends(line, centre, reach, TIMED)
    b0, bs, c0, cs = tl.load(line), tl.load(line + 1), tl.load(line + 2), tl.load(line + 3)
    value = tl.load(values + i, ok, 0.0) * tl.load(line + 4) * tl.load(scale)
    ok = ok & (value != 0)
    begin = tl.min(tl.where(ok & (last >= first), first, 2.0e9), axis=0).to(tl.int32)
    end = tl.max(tl.where(ok & (last >= first), last, -1.0), axis=0).to(tl.int32)
    for k in range(begin, end + 1):
        p = k * 1.0
        here = ok & (p >= first) & (p <= last)
        b = tl.minimum(tl.maximum(b0 + bs * p, 1.0), nb - 1.0 * BORDER)
        c = tl.minimum(tl.maximum(c0 + cs * p, 1.0), nc - 1.0 * BORDER)
        ib, ic = b.to(tl.int32), c.to(tl.int32)
        fb, fc = b - ib.to(tl.float32), c - ic.to(tl.float32)
        at = out + (tl.zeros([BLOCK], tl.int64) + k) * nb * nc + ib * nc + ic
        part = value
        if TIMED:
            part = value * _seen(line, p, centre, reach, kernel, top)
        low, high = part * (1 - fb), part * fb
        tl.atomic_add(at, (low * (1 - fc)).to(tl.int64), mask=here)
        tl.atomic_add(at + 1, (low * fc).to(tl.int64), mask=here)
        tl.atomic_add(at + nc, (high * (1 - fc)).to(tl.int64), mask=here)
        tl.atomic_add(at + nc + 1, (high * fc).to(tl.int64), mask=here)


@dataclass(frozen=True)
class _Part:
    """Lines ``at`` of the samples: their geometry, and which march along each axis."""

    at: slice
    lines: Tensor
    which: list[Tensor]


def prepared(first: Tensor, second: Tensor, grid: Grid) -> tuple[Tensor, list[Tensor]]:
    """The kernels' numbers per line, as in `joseph`, of ends ``(n, 3)`` in indices (z, y, x).

    Also the numbers of the lines of each axis.
    """
    step = grid.affine[:3, :3]
    metric = torch.from_numpy(step.T @ step).to(first)
    way = second - first
    squared = ((way @ metric) * way).sum(dim=1)
    own = way**2 * metric.diagonal()
    axis = torch.where(own[:, 2] > 1.000001 * own[:, 1], 2, 1)
    chosen = own.gather(1, axis[:, None])[:, 0]
    axis = torch.where(own[:, 0] > 1.000001 * chosen, 0, axis)
    lines = torch.zeros((len(first), _COLUMNS), dtype=torch.float32, device=first.device)
    lines[:, 6] = -1
    lines[:, 8] = 1
    which = []
    for k, (_, one, two) in enumerate(_ORDERS):
        mine = torch.nonzero((axis == k) & (way[:, k] != 0))[:, 0]
        which.append(mine.to(torch.int32))
        a, b, d = first[mine], second[mine], way[mine]
        run, length = d[:, k], squared[mine].sqrt()
        m1, m2 = d[:, one] / run, d[:, two] / run
        low, high = torch.minimum(a[:, k], b[:, k]), torch.maximum(a[:, k], b[:, k])
        lines[mine] = torch.stack(
            [
                a[:, one] - a[:, k] * m1 + PAD, m1, a[:, two] - a[:, k] * m2 + PAD, m2,
                length / run.abs(), low.ceil().clamp_min(0),
                high.floor().clamp_max(grid.shape[k] - 1.0), 0.5 * (a[:, k] + b[:, k]),
                length / run,
            ],
            dim=1,
        ).to(torch.float32)  # fmt: skip
    return lines, which


class Joseph:
    """The projector of one scan on one device; its range is that of the scan."""

    def __init__(self, scan: SinogramScan | ListModeScan, device: torch.device) -> None:
        self.scan, self.device = scan, device
        self.bins = scan.scanner.tof_bins
        self.listed = isinstance(scan, ListModeScan)
        samples = int(np.prod(scan.range))
        self.count = samples if self.listed else samples // self.bins
        self._kept: list[_Part] | None = None
        self._blur = None
        if scan.psf > 0:
            kernels = Blur(scan.grid, scan.psf).kernels
            self._blur = [torch.from_numpy(k).to(device) for k in kernels]
        self._reach, kernel, centres = 1.0, np.zeros(3, np.float32), np.zeros(1, np.float32)
        if self.bins > 1:
            self._reach, kernel = tof.reach(scan.scanner), tof.table(scan.scanner)
            centres = tof.centres(scan.scanner)
        self._kernel = torch.from_numpy(kernel).to(device)
        self._centres = torch.from_numpy(centres).to(device)

    def forward(self, x: Tensor) -> Tensor:
        """Line integrals of ``(nz, ny, nx)``: (unit of x) times mm."""
        return linear(demand(x, self.scan.domain, what="the image"), self._forward, self._adjoint)

    def adjoint(self, y: Tensor) -> Tensor:
        """The transpose of `forward`."""
        return linear(demand(y, self.scan.range, what="the data"), self._adjoint, self._forward)

    def _parts(self) -> Iterator[_Part]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[_Part] = []
        for part in self._made():
            if self.count <= _KEPT:
                kept.append(part)
            yield part
        if self.count <= _KEPT:
            self._kept = kept

    def _made(self) -> Iterator[_Part]:
        scan = self.scan
        if isinstance(scan, ListModeScan):
            own = scan.scanner.positions() if scan.positions is None else scan.positions
            points = scan.grid.to_index(own + np.asarray(scan.centre))
            places = torch.from_numpy(np.ascontiguousarray(points)).to(self.device)
            for a in range(0, self.count, _AT_ONCE):
                at = slice(a, min(a + _AT_ONCE, self.count))
                pairs = torch.from_numpy(scan.crystals[at]).to(self.device).long()
                yield _Part(at, *prepared(places[pairs[:, 0]], places[pairs[:, 1]], scan.grid))
            return
        flat = [torch.from_numpy(e.reshape(-1, 2)).to(self.device) for e in scan.transaxial()]
        rings = torch.from_numpy(np.ascontiguousarray(scan.ring_positions())).to(self.device)
        inverse = torch.from_numpy(np.linalg.inv(scan.grid.affine)).to(self.device)
        each = len(flat[0])
        planes = max(1, _AT_ONCE // each)
        for p in range(0, len(rings), planes):
            z = rings[p : p + planes]
            ends = []
            for side in (0, 1):
                world = torch.empty((len(z), each, 3), dtype=torch.float64, device=self.device)
                world[..., :2] = flat[side]
                world[..., 2] = z[:, side, None]
                ends.append(world.reshape(-1, 3) @ inverse[:3, :3].T + inverse[:3, 3])
            at = slice(p * each, (p + len(z)) * each)
            yield _Part(at, *prepared(ends[0], ends[1], scan.grid))

    def _timed(self, part: _Part) -> Iterator[tuple[int, Tensor, int]]:
        """Row of the samples, centres of its TOF bins, and their stride, of a part's lines."""
        if self.bins == 1:
            yield 0, self._centres, 0
        elif isinstance(self.scan, ListModeScan):
            assert self.scan.tof is not None
            bins = torch.from_numpy(self.scan.tof[part.at]).to(self.device).long()
            yield 0, self._centres[bins], 1
        else:
            for t in range(self.bins):
                yield t, self._centres[t : t + 1], 0

    def _rows(self, y: Tensor) -> Tensor:
        """Samples as ``(tof, line)``, events as ``(1, event)``."""
        return y.reshape(1 if self.listed else self.bins, self.count)

    def _launch(self, kernel: Any, which: Tensor, *args: Any) -> None:
        n = len(which)
        block = triton.next_power_of_2(n) if interpreted() else _LANES
        kernel[(triton.cdiv(n, block),)](
            *args, self._reach, float(len(self._kernel) - 2), TIMED=self.bins > 1,
            COLUMNS=_COLUMNS, BORDER=PAD, BLOCK=block,
        )  # fmt: skip

    def _forward(self, x: Tensor) -> Tensor:
        x = self._smoothed(x)
        out = torch.zeros(self.scan.range, device=self.device)
        rows = self._rows(out)
        padded = [
            torch.nn.functional.pad(x.permute(order), (PAD, PAD, PAD, PAD)).contiguous()
            for order in _ORDERS
        ]
        for part in self._parts():
            for t, centres, stride in self._timed(part):
                row = rows[t, part.at]
                for which, volume in zip(part.which, padded, strict=True):
                    if len(which):
                        self._launch(
                            _gather, which, volume, which, part.lines, centres, self._kernel, row,
                            len(which), *volume.shape[1:], stride,
                        )  # fmt: skip
        return out

    def _adjoint(self, y: Tensor) -> Tensor:
        y = y.contiguous()
        rows = self._rows(y)
        # No voxel gets more than each line's value times its length per plane.
        most = max(float(step) for step in self.scan.grid.spacing) * 2
        bound = float(y.abs().sum(dtype=torch.float64)) * most
        shift = _BITS - int(np.ceil(np.log2(bound))) if bound > 0 else 0
        scale = torch.tensor([2.0 ** min(shift, 120)], device=self.device)
        sums = []
        for order in _ORDERS:
            n, b, c = (self.scan.grid.shape[k] for k in order)
            size = (n, b + 2 * PAD, c + 2 * PAD)
            sums.append(torch.zeros(size, dtype=torch.int64, device=self.device))
        for part in self._parts():
            for t, centres, stride in self._timed(part):
                row = rows[t, part.at]
                for which, total in zip(part.which, sums, strict=True):
                    if len(which):
                        self._launch(
                            _scatter, which, row, which, part.lines, centres, self._kernel, scale,
                            total, len(which), *total.shape[1:], stride,
                        )  # fmt: skip
        found = torch.zeros(self.scan.domain, dtype=torch.float64, device=self.device)
        for order, total in zip(_ORDERS, sums, strict=True):
            inner = total[:, PAD:-PAD, PAD:-PAD].to(torch.float64)
            found += inner.permute([order.index(k) for k in range(3)])
        return self._smoothed((found * 2.0 ** -min(shift, 120)).to(torch.float32))

    def _smoothed(self, x: Tensor) -> Tensor:
        """Through the PSF, which is its own transpose."""
        if self._blur is None:
            return x
        for axis, weights in enumerate(self._blur):
            if x.shape[axis] > 1:
                rows = x.movedim(axis, -1)
                flat = rows.reshape(-1, 1, rows.shape[-1])
                flat = torch.nn.functional.conv1d(
                    flat, weights[None, None], padding=len(weights) // 2
                )
                x = flat.reshape(rows.shape).movedim(-1, axis)
        return x.contiguous()
