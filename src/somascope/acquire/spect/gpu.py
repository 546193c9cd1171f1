"""`spect.parallel` on torch tensors: the same walk from layer to layer, all views at once.

Every step is a gather or a sum in a fixed order, so the same input gives the same bits: also the
transpose, which asks for every voxel which samples have it among their neighbours, instead of
adding samples to voxels. Runs on any device torch has; no kernels of its own. Single precision.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from somascope.acquire.gpu import demand, linear

_SHIFTS = (-0.25, 0.25)
_BORDER = 2
_MOST = 2**30
"""Bytes of all layers of a batch of views, which the transpose keeps."""


class Layers:
    """The projector of one scan on one device; ``scan`` is a `parallel.ParallelScan`."""

    def __init__(self, scan: Any, device: torch.device) -> None:
        arguments = scan.tables(np.float32)
        held, through, place, count, steps, passes, last, scale = arguments
        self.scan, self.device, self.passes = scan, device, int(passes)
        nz, ny, nx = scan.domain
        self.lines, self.size = nz, (ny + 2 * _BORDER, nx + 2 * _BORDER)
        self.columns, self.count = scan.columns, torch.from_numpy(count).to(device)
        self.place = torch.from_numpy(np.asarray(place, np.float64)).to(device)
        self.steps = torch.from_numpy(np.ascontiguousarray(steps)).to(device)
        self.last = torch.from_numpy(np.ascontiguousarray(last)).to(device)
        self.scale = torch.from_numpy(np.ascontiguousarray(scale)).to(device)
        self.held = self.through = None
        if held.size:
            self.held = torch.from_numpy(held.reshape(-1, nz)).to(device)
            self.through = torch.from_numpy(through).to(device)
        one = 4 * self.columns * nz * int(count.max())
        self.batch = max(1, min(len(count), _MOST // one))
        self.shares = torch.from_numpy(scan.camera.shares).to(device)

    def forward(self, x: Tensor) -> Tensor:
        """Expected counts of ``(nz, ny, nx)`` in Bq/ml."""
        x = demand(x, self.scan.domain, what="the image")
        return linear(x, self._forward, self._adjoint)

    def adjoint(self, y: Tensor) -> Tensor:
        """The transpose of `forward`."""
        y = demand(y, self.scan.range, what="the projections")
        return linear(y, self._adjoint, self._forward)

    def _batches(self) -> list[slice]:
        views = len(self.count)
        return [slice(v, min(v + self.batch, views)) for v in range(0, views, self.batch)]

    def _forward(self, x: Tensor) -> Tensor:
        flat = self._lines(x)
        parts = [self._views(flat, views) for views in self._batches()]
        rows = torch.cat(parts).transpose(1, 2).contiguous()
        if len(self.shares) == 1:
            return rows * self.shares[0]
        return self.shares[:, None, None, None] * rows

    def _lines(self, x: Tensor) -> Tensor:
        """Lines from the head down with a border of zeros, ``(y x, v)``."""
        ordered = x.flip(0) if self.scan.plane.upward else x
        padded = torch.nn.functional.pad(
            ordered.permute(1, 2, 0), (0, 0, _BORDER, _BORDER, _BORDER, _BORDER)
        )
        return padded.reshape(-1, self.lines).contiguous()

    def _at(self, views: slice, layer: float) -> tuple[Tensor, Tensor]:
        """Padded indices ``y, x`` of all columns of a layer, ``(views, columns)``."""
        p = self.place[views]
        j = torch.arange(self.columns, device=self.device, dtype=torch.float64)
        y = p[:, :1] + layer * p[:, 4:5] + j * p[:, 2:3]
        x = p[:, 1:2] + layer * p[:, 5:6] + j * p[:, 3:4]
        return y, x

    def _between(self, flat: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Lines between four; zero outside the border."""
        ny, nx = self.size
        inside = (y >= 0) & (y < ny - 1 - 1e-5) & (x >= 0) & (x < nx - 1 - 1e-5)
        y, x = torch.where(inside, y, 0.0), torch.where(inside, x, 0.0)
        iy, ix = y.long(), x.long()
        fy, fx = y - iy, x - ix
        total: Tensor | None = None
        for a, b in product((0, 1), repeat=2):
            w = (fy if a else 1 - fy) * (fx if b else 1 - fx) * inside
            part = w.float()[..., None] * flat[(iy + a) * nx + ix + b]
            total = part if total is None else total + part
        assert total is not None
        return total

    def _half(self, views: slice, k: int) -> Tensor | None:
        """By what half a layer weakens, 1 or more, ``(views, columns, lines)``."""
        if self.held is None:
            return None
        return 1 + self._between(self.held, *self._at(views, float(k)))

    def _blur(self, s: Tensor, views: slice, k: int) -> Tensor:
        if self.last.shape[2] == 1:
            return s
        taps = self.steps[views, k]
        for _ in range(self.passes):
            for axis in (0, 1):
                c = taps[:, axis, :, None, None]
                line = s.transpose(1, 2) if axis else s
                p = torch.nn.functional.pad(line, (0, 0, 2, 2))
                n = line.shape[1]
                line = (
                    c[:, 0] * line
                    + c[:, 1] * (p[:, 1 : n + 1] + p[:, 3 : n + 3])
                    + c[:, 2] * (p[:, :n] + p[:, 4 : n + 4])
                )
                s = line.transpose(1, 2) if axis else line
        return s

    def _wide(self, s: Tensor, views: slice) -> Tensor:
        taps, radius = self.last[views], self.last.shape[2] - 1
        for axis in (0, 1):
            line = s.transpose(1, 2) if axis else s
            p = torch.nn.functional.pad(line, (0, 0, radius, radius))
            n = line.shape[1]
            total = taps[:, axis, 0, None, None] * line
            for r in range(1, radius + 1):
                both = p[:, radius - r : radius - r + n] + p[:, radius + r : radius + r + n]
                total = total + taps[:, axis, r, None, None] * both
            s = total.transpose(1, 2) if axis else total
        return s

    def _views(self, flat: Tensor, views: slice) -> Tensor:
        count = self.count[views]
        s = torch.zeros((len(count), self.columns, self.lines), device=self.device)
        comes = None if self.through is None else self.through[views]
        for k in range(int(count.max())):
            alive = (k < count)[:, None, None]
            step = self._blur(s, views, k)
            f = sum(
                (self._between(flat, *self._at(views, k + d)) for d in _SHIFTS),
                start=torch.zeros((), device=self.device),
            )
            half = self._half(views, k)
            if half is not None and comes is not None:
                f = f * (comes * half)
                comes = torch.where(alive, comes * half * half, comes)
            s = torch.where(alive, step + 0.5 * f, s)
        return self._wide(s * self.scale[views, None, None], views)

    def _adjoint(self, y: Tensor) -> Tensor:
        rows = (
            y * self.shares[0]
            if len(self.shares) == 1
            else ((self.shares[:, None, None, None] * y).sum(0))
        )
        rows = rows.transpose(1, 2).contiguous()
        total = torch.zeros((self.size[0] * self.size[1], self.lines), device=self.device)
        for views in self._batches():
            self._back(rows[views], views, total)
        ny, nx = self.size
        volume = total.reshape(ny, nx, self.lines)
        volume = volume[_BORDER:-_BORDER, _BORDER:-_BORDER].permute(2, 0, 1)
        return (volume.flip(0) if self.scan.plane.upward else volume).contiguous()

    def _back(self, rows: Tensor, views: slice, total: Tensor) -> None:
        """Walk away from the camera, keep every layer, then let every voxel collect."""
        count = self.count[views]
        layers = int(count.max())
        s = self._wide(rows, views) * self.scale[views, None, None]
        kept = torch.zeros((len(count), layers, self.columns, self.lines), device=self.device)
        comes = torch.ones((len(count), self.columns, self.lines), device=self.device)
        for k in range(layers - 1, -1, -1):
            alive = (k < count)[:, None, None]
            half = self._half(views, k)
            here = s if half is None else s * (comes / half)
            kept[:, k] = torch.where(alive, here, torch.zeros_like(here))
            if half is not None:
                comes = torch.where(alive, comes / (half * half), comes)
            s = torch.where(alive, self._blur(s, views, k), s)
        for v in range(len(count)):
            self._collect(kept[v], self.place[views][v], total)

    def _collect(self, kept: Tensor, p: Tensor, total: Tensor) -> None:
        """Add the samples ``(layers, columns, lines)`` of one view to the voxels about them."""
        ny, nx = self.size
        y, x = torch.meshgrid(
            torch.arange(ny, device=self.device, dtype=torch.float64),
            torch.arange(nx, device=self.device, dtype=torch.float64), indexing="ij",
        )  # fmt: skip
        steps = torch.stack([torch.stack([p[4], p[2]]), torch.stack([p[5], p[3]])])
        inverse = torch.linalg.inv(steps)
        dy, dx = y - p[0], x - p[1]
        middle_k = inverse[0, 0] * dy + inverse[0, 1] * dx
        middle_j = inverse[1, 0] * dy + inverse[1, 1] * dx
        layers, columns, lines = kept.shape
        flat = kept.reshape(-1, lines)
        for d in _SHIFTS:
            for a, b in product(range(-1, 3), repeat=2):
                k = torch.floor(middle_k - d) + a
                j = torch.floor(middle_j) + b
                sy, sx = p[0] + (k + d) * p[4] + j * p[2], p[1] + (k + d) * p[5] + j * p[3]
                w = (1 - (sy - y).abs()).clamp_min(0) * (1 - (sx - x).abs()).clamp_min(0)
                w = w * ((k >= 0) & (k < layers) & (j >= 0) & (j < columns))
                at = (k.clamp(0, layers - 1) * columns + j.clamp(0, columns - 1)).long()
                total += (0.5 * w).float().reshape(-1, 1) * flat[at.reshape(-1)]
