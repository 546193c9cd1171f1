"""Operators on torch tensors: what all rooms share, and the non-uniform FFT in Triton and cuFFT.

Kernels run where a tensor lies: on CUDA, or, when ``TRITON_INTERPRET=1`` was set before the first
import, in Triton's interpreter on the CPU, which is how they are tested. A tensor on the CPU goes
through the NumPy operator otherwise. Single precision only.

Sums are gathered, never scattered: each program owns what it writes and adds in a fixed order, so
the same input gives the same bits. Kernels of other rooms follow the pattern of ``_spread``.
"""

# Triton's launchers take numbers for its `constexpr`, which the type checker cannot know.
# pyright: reportArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from somascope.core.errors import GeometryError, ParameterError
from somascope.process.gpu import interpreted, on_device

_PLANE = (1, 16, 16)
_SOLID = (8, 8, 16)
"""Tiles of the fine grid that one program owns; no axis shorter than the widest kernel."""
_POINTS = 32
"""Points that a program of the spreading takes at once."""


class ThroughNumPy:
    """An operator for CPU tensors that does its work on their arrays.

    Raises
    ------
    ParameterError
        The tensor lies on a device that is neither CPU nor CUDA.
    """

    def __init__(self, operator: Any) -> None:
        self.operator = operator

    def forward(self, x: Tensor) -> Tensor:
        """``A x``."""
        return linear(x, self._run("forward"), self._run("adjoint"))

    def adjoint(self, y: Tensor) -> Tensor:
        """``A^H y``."""
        return linear(y, self._run("adjoint"), self._run("forward"))

    def _run(self, name: str) -> Callable[[Tensor], Tensor]:
        function = getattr(self.operator, name)

        def run(x: Tensor) -> Tensor:
            if x.device.type != "cpu":
                raise ParameterError(
                    f"operators run on cpu and cuda tensors; this one lies on {x.device}: move it"
                )
            return torch.from_numpy(np.ascontiguousarray(function(x.detach().numpy())))

        return run


def tile(rows: int, columns: int) -> tuple[int, int]:
    """How much of a ``(rows, columns)`` array one program takes, as powers of two.

    256 elements on a GPU, near each other; everything where the interpreter runs, whose cost is
    per operation, not per element.
    """
    if interpreted():
        return triton.next_power_of_2(rows), triton.next_power_of_2(columns)
    return (1, 256) if rows == 1 else (8, 32)


def demand(x: Tensor, shape: Sequence[int], *, what: str, complex_: bool = False) -> Tensor:
    """``x`` contiguous, its last axes of ``shape``, float32 (or complex64).

    Raises `GeometryError` for another shape, `ParameterError` for another precision.
    """
    if tuple(x.shape[x.ndim - len(shape) :]) != tuple(shape):
        raise GeometryError(f"{what} has shape {tuple(x.shape)}; give (..., {tuple(shape)})")
    if complex_ and x.dtype == torch.float32:
        x = x.to(torch.complex64)
    wanted = torch.complex64 if complex_ else torch.float32
    if x.dtype != wanted:
        raise ParameterError(f"{what} is {x.dtype}; kernels work in {wanted}: convert it")
    return x.contiguous()


class _Linear(torch.autograd.Function):
    """A linear map whose gradient is its adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, run: Any, back: Any) -> Tensor:
        ctx.pair = (back, run)
        return run(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Linear.apply(grads[0], *ctx.pair), None, None


def linear(x: Tensor, run: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensor:
    """``run(x)``; where ``x`` needs a gradient, it flows back through the adjoint ``back``."""
    if x.requires_grad:
        found: Any = _Linear.apply(x, run, back)
        return found
    return run(x)


@triton.jit
def _bell(distance, beta, WIDTH: tl.constexpr):  # noqa: ANN001, ANN202
    """Barnett's kernel ``exp(beta (sqrt(1 - z^2) - 1))`` of a distance in fine-grid cells."""
    z = distance * (2.0 / WIDTH)
    inside = 1.0 - z * z
    # Half open, so that the cells of a point are WIDTH in number wherever it lies.
    inside = tl.where(z < 1.0, inside, -1.0)
    return tl.where(inside >= 0, tl.exp(beta * (tl.sqrt(tl.maximum(inside, 0.0)) - 1.0)), 0.0)


@triton.jit
def _apart(cell, whole, part, n):  # noqa: ANN001, ANN202
    """Distance of a cell from a point ``whole + part``, the short way round ``n`` cells."""
    d = (cell - whole).to(tl.float32)
    d -= n * tl.floor(d / n + 0.5)
    return d - part


@triton.jit
def _interpolate(  # noqa: ANN202
    grid, whole, part, order, out, count, nz, ny, nx, beta,  # noqa: ANN001
    WIDTH: tl.constexpr, SOLID: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Values at points: each lane sums the cells about one point, in one order."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    batch = tl.program_id(1).to(tl.int64)
    ok = i < count
    grid += batch * nz * ny * nx * 2
    x, fx = tl.load(whole + i, ok, 0), tl.load(part + i, ok, 0.0)
    y, fy = tl.load(whole + count + i, ok, 0), tl.load(part + count + i, ok, 0.0)
    x0 = tl.ceil(fx - WIDTH / 2).to(tl.int32)
    y0 = tl.ceil(fy - WIDTH / 2).to(tl.int32)
    real = tl.zeros([BLOCK], tl.float32)
    imag = tl.zeros([BLOCK], tl.float32)
    if SOLID:
        z, fz = tl.load(whole + 2 * count + i, ok, 0), tl.load(part + 2 * count + i, ok, 0.0)
        z0 = tl.ceil(fz - WIDTH / 2).to(tl.int32)
        for k in range(WIDTH):
            wz = _bell((z0 + k).to(tl.float32) - fz, beta, WIDTH)
            plane = ((z + z0 + k + nz) % nz).to(tl.int64) * ny
            for j in range(WIDTH):
                wy = wz * _bell((y0 + j).to(tl.float32) - fy, beta, WIDTH)
                row = (plane + (y + y0 + j + ny) % ny) * nx
                for m in range(WIDTH):
                    w = wy * _bell((x0 + m).to(tl.float32) - fx, beta, WIDTH)
                    cell = 2 * (row + (x + x0 + m + nx) % nx)
                    real += w * tl.load(grid + cell, ok, 0.0)
                    imag += w * tl.load(grid + cell + 1, ok, 0.0)
    else:
        for j in range(WIDTH):
            wy = _bell((y0 + j).to(tl.float32) - fy, beta, WIDTH)
            row = ((y + y0 + j + ny) % ny) * nx
            for m in range(WIDTH):
                w = wy * _bell((x0 + m).to(tl.float32) - fx, beta, WIDTH)
                cell = 2 * (row + (x + x0 + m + nx) % nx)
                real += w * tl.load(grid + cell, ok, 0.0)
                imag += w * tl.load(grid + cell + 1, ok, 0.0)
    to = 2 * (batch * count + tl.load(order + i, ok, 0))
    tl.store(out + to, real, ok)
    tl.store(out + to + 1, imag, ok)


@triton.jit
def _spread(  # noqa: ANN202
    values, whole, part, order, entries, starts, out, count, nz, ny, nx, tiles_y, tiles_x,  # noqa: ANN001
    beta, WIDTH: tl.constexpr, SOLID: tl.constexpr, TZ: tl.constexpr, TY: tl.constexpr,  # noqa: ANN001
    TX: tl.constexpr, POINTS: tl.constexpr,
):  # fmt: skip
    """The adjoint: each program gathers one tile of cells from the points that reach it.

    A tile is a sum of outer products of the points' weights: small matrix products.
    """
    tile = tl.program_id(0)
    batch = tl.program_id(1).to(tl.int64)
    corner_z = tile // (tiles_y * tiles_x) * TZ
    corner_y = tile // tiles_x % tiles_y * TY
    r = tl.arange(0, TZ * TY)
    z, y = corner_z + r // TY, corner_y + r % TY
    x = tile % tiles_x * TX + tl.arange(0, TX)
    real = tl.zeros([TZ * TY, TX], tl.float32)
    imag = tl.zeros([TZ * TY, TX], tl.float32)
    end = tl.load(starts + tile + 1)
    for k in range(tl.load(starts + tile), end, POINTS):
        j = k + tl.arange(0, POINTS)
        ok = j < end
        e = tl.load(entries + j, ok, 0)
        wx = _bell(
            _apart(x[None, :], tl.load(whole + e)[:, None], tl.load(part + e)[:, None], nx),
            beta, WIDTH,
        )  # fmt: skip
        w = _bell(
            _apart(
                y[:, None], tl.load(whole + count + e)[None, :],
                tl.load(part + count + e)[None, :], ny,
            ), beta, WIDTH,
        )  # fmt: skip
        if SOLID:
            w *= _bell(
                _apart(
                    z[:, None], tl.load(whole + 2 * count + e)[None, :],
                    tl.load(part + 2 * count + e)[None, :], nz,
                ), beta, WIDTH,
            )  # fmt: skip
        at = 2 * (batch * count + tl.load(order + e))
        re, im = tl.load(values + at, ok, 0.0), tl.load(values + at + 1, ok, 0.0)
        real += tl.dot(w * re[None, :], wx, input_precision="ieee")
        imag += tl.dot(w * im[None, :], wx, input_precision="ieee")
    cell = 2 * (((batch * nz + z[:, None]) * ny + y[:, None]) * nx + x[None, :])
    tl.store(out + cell, real)
    tl.store(out + cell + 1, imag)


class NonUniform:
    """`acquire.nufft.NUFFT` on one device: Barnett's kernel on a twice finer grid, and cuFFT.

    Parameters
    ----------
    points
        Cycles per field of view, ``(..., d)``, d = 2 or 3, inside the band.
    shape
        Image shape.
    tolerance
        Relative accuracy, down to 1e-7; single precision ends near 1e-6.
    device
        Where the tables lie.
    """

    def __init__(
        self, points: Any, shape: Sequence[int], *, tolerance: float, device: torch.device
    ) -> None:
        self.shape = tuple(shape)
        self.samples = tuple(points.shape[:-1])
        self.width = int(min(max(np.ceil(-np.log10(tolerance)) + 1, 4), 8))
        self.beta = (2.38 if self.width == 4 else 2.30) * self.width
        self.solid = len(self.shape) == 3
        tile = _SOLID if self.solid else _PLANE
        self.tile = tile
        self.fine = tuple(
            _multiple(2 * n, t) for n, t in zip(self.shape, tile[-len(self.shape) :], strict=True)
        )
        flat = torch.from_numpy(np.array(points, np.float64).reshape(-1, len(self.shape)))
        ratio = [f / n for f, n in zip(self.fine, self.shape, strict=True)]
        self.count = len(flat)
        self._sort(flat.to(device) * torch.tensor(ratio, dtype=torch.float64, device=device))
        self._correct = [
            torch.from_numpy(self._correction(n, f).astype(np.float32)).to(device)
            for n, f in zip(self.shape, self.fine, strict=True)
        ]
        places = [
            torch.from_numpy(np.mod(np.arange(n) - n // 2, f)).to(device)
            for n, f in zip(self.shape, self.fine, strict=True)
        ]
        d = len(places)
        self._where = tuple(
            p.reshape((1,) * k + (-1,) + (1,) * (d - 1 - k)) for k, p in enumerate(places)
        )

    def _correction(self, n: int, fine: int) -> Any:
        """Reciprocal of the kernel's Fourier transform at the image's indices."""
        nodes, weights = np.polynomial.legendre.leggauss(64)
        bell = np.exp(self.beta * (np.sqrt(1 - nodes**2) - 1)) * weights
        phase = np.pi * self.width / fine * (np.arange(n) - n // 2)
        return (2 / self.width) / (np.cos(phase[:, None] * nodes) @ bell)

    def _sort(self, at: Tensor) -> None:
        """Points in the order of their tiles, and for each tile the points that reach it."""
        fine = torch.tensor(self.fine, device=at.device)
        tile = torch.tensor(self.tile[-len(self.shape) :], device=at.device)
        tiles = fine // tile
        steps = torch.tensor([*tiles.tolist()[1:], 1], device=at.device).flip(0).cumprod(0).flip(0)
        whole = torch.round(at)
        part = (at - whole).to(torch.float32)
        whole = whole.to(torch.int64) % fine
        order = torch.argsort((whole // tile * steps).sum(dim=1), stable=True)
        whole, part = whole[order], part[order]
        # The kernel spans no more cells than a tile has: its two ends name all tiles it meets.
        ends = [
            (whole + torch.ceil(part - self.width / 2).to(torch.int64)) % fine // tile,
            (whole + torch.floor(part + self.width / 2).to(torch.int64)) % fine // tile,
        ]
        number = torch.arange(self.count, device=at.device)
        met = []
        for sides in np.ndindex(*(2,) * len(self.shape)):
            home = sum(ends[s][:, k] * steps[k] for k, s in enumerate(sides))
            met.append(home * self.count + number)
        pairs = torch.unique(torch.cat(met))
        edges = torch.arange(int(tiles.prod()) + 1, device=at.device) * self.count
        self._starts = torch.searchsorted(pairs, edges).to(torch.int32)
        self._entries = (pairs % max(self.count, 1)).to(torch.int32)
        self._order = order
        self._whole = whole.T.flip(0).to(torch.int32).contiguous()  # x first
        self._part = part.T.flip(0).contiguous()
        self._tiles = tuple(int(t) for t in tiles)

    def _sizes(self) -> tuple[int, int, int]:
        nz = self.fine[0] if self.solid else 1
        return nz, self.fine[-2], self.fine[-1]

    def _weighted(self, x: Tensor) -> Tensor:
        for k, factor in enumerate(self._correct):
            x = x * factor.reshape((-1,) + (1,) * (len(self.shape) - 1 - k))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Samples ``(*batch, *samples)`` of images ``(*batch, *shape)``."""
        x = demand(x, self.shape, what="the image", complex_=True)
        return linear(x, self._forward, self._adjoint)

    def adjoint(self, y: Tensor) -> Tensor:
        """Images ``(*batch, *shape)`` of samples ``(*batch, *samples)``."""
        y = demand(y, self.samples, what="the samples", complex_=True)
        return linear(y, self._adjoint, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        batch = x.shape[: x.ndim - len(self.shape)]
        images = x.reshape(-1, *self.shape)
        d = tuple(range(1, len(self.shape) + 1))
        grid = torch.zeros((len(images), *self.fine), dtype=torch.complex64, device=x.device)
        grid[(slice(None), *self._where)] = self._weighted(images)
        grid = torch.fft.fftn(grid, dim=d)
        out = torch.empty((len(images), self.count), dtype=torch.complex64, device=x.device)
        if self.count and len(images):
            _interpolate[(triton.cdiv(self.count, 128), len(images))](
                torch.view_as_real(grid), self._whole, self._part, self._order,
                torch.view_as_real(out), self.count, *self._sizes(), self.beta,
                WIDTH=self.width, SOLID=self.solid, BLOCK=128,
            )  # fmt: skip
        return out.reshape(*batch, *self.samples)

    def _adjoint(self, y: Tensor) -> Tensor:
        batch = y.shape[: y.ndim - len(self.samples)]
        values = y.contiguous().reshape(-1, self.count)
        d = tuple(range(1, len(self.shape) + 1))
        grid = torch.empty((len(values), *self.fine), dtype=torch.complex64, device=y.device)
        if len(values):
            tiles = int(np.prod(self._tiles))
            _spread[(tiles, len(values))](
                torch.view_as_real(values), self._whole, self._part, self._order, self._entries,
                self._starts, torch.view_as_real(grid), self.count, *self._sizes(),
                self._tiles[-2], self._tiles[-1], self.beta, WIDTH=self.width, SOLID=self.solid,
                TZ=self.tile[0], TY=self.tile[1], TX=self.tile[2], POINTS=_POINTS,
            )  # fmt: skip
        grid = torch.fft.ifftn(grid, dim=d, norm="forward")
        images = self._weighted(grid[(slice(None), *self._where)])
        return images.reshape(*batch, *self.shape)


def toeplitz(operator: Any, x: Any) -> Any:
    """`acquire.nufft.Toeplitz` of one image or several: two transforms of twice the size."""
    if not on_device(x):
        return ThroughNumPy(operator).forward(x)
    shape = tuple(operator.shape)
    x = demand(x, shape, what="the image", complex_=True)
    key = str(x.device)
    if key not in operator.devices:
        kept = torch.from_numpy(operator.transfer.astype(np.float32))
        operator.devices[key] = kept.to(x.device)
    transfer = operator.devices[key]

    def run(x: Tensor) -> Tensor:
        axes = tuple(range(-len(shape), 0))
        spectrum = torch.fft.fftn(x, s=tuple(transfer.shape), dim=axes) * transfer
        image = torch.fft.ifftn(spectrum, dim=axes)
        return image[(..., *(slice(0, n) for n in shape))].contiguous()

    return linear(x, run, run)


def _multiple(least: int, of: int) -> int:
    """The smallest multiple of ``of`` from ``least`` on whose transform is fast."""
    from scipy import fft

    fast: Any = fft.next_fast_len
    return of * int(fast(-(-least // of)))
