"""The dense part of a registration on torch tensors; `sampled.gpu` has the sums of the linear one.

`register` comes here where it is given a ``device``. Plain torch: every function does what the
function of the same name does to arrays, and sums are gathered, never scattered. Held against the
arrays on torch's CPU device; never yet run on a GPU. Fields are planes ``(3, lz, ly, lx)`` in mm
along the grid's axes; descriptors ``(7, nz, ny, nx)``, the last 1 where the others are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from somascope.analyze.register.features import SIGMA, boxes
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float, Grid
from somascope.process.separable import gaussians, reflect

if TYPE_CHECKING:
    from somascope.analyze.register.dense import Level
    from somascope.analyze.register.field import Smoothness

KNOWN = 0.99


def placed(values: Array, device: str) -> Tensor:
    """An array as float32 on a device.

    Raises
    ------
    ParameterError
        There is no such device.
    """
    try:
        return torch.from_numpy(np.array(values, np.float32)).to(device)
    except (RuntimeError, AssertionError) as error:
        raise ParameterError(
            f"register: there is no device {device!r} ({str(error).splitlines()[0]}); take 'cuda', "
            "'cuda:1', ... where PyTorch finds one, or leave it out"
        ) from error


def along(volume: Tensor, axis: int, index: Array, weight: Array) -> Tensor:
    """`process.separable.along` at one of the last three axes ``(z, y, x)``."""
    dim = volume.ndim - 3 + axis
    places = torch.as_tensor(np.ascontiguousarray(index, np.int64), device=volume.device)
    weights = torch.as_tensor(np.ascontiguousarray(weight, np.float32), device=volume.device)
    shape = [1] * volume.ndim
    shape[dim] = -1
    out = weights[:, 0].reshape(shape) * volume.index_select(dim, places[:, 0])
    for k in range(1, places.shape[1]):
        out += weights[:, k].reshape(shape) * volume.index_select(dim, places[:, k])
    return out


def smooth(volume: Tensor, sigma: list[float]) -> Tensor:
    """A Gaussian of ``sigma`` voxels along the last three axes, mirrored at the borders."""
    shape = tuple(volume.shape[-3:])
    for axis, kernel in enumerate(gaussians(shape, tuple(sigma))):
        n, r = shape[axis], len(kernel) // 2
        if r:
            index = reflect(np.arange(n)[:, None] + np.arange(-r, r + 1), n)
            volume = along(volume, axis, index, np.broadcast_to(kernel, index.shape))
    return volume


def refine(v: Tensor, index: list[Array], weight: list[Array]) -> Tensor:
    """`field_kernels.refine`."""
    for axis in range(3):
        v = along(v, axis, index[axis], weight[axis])
    return v


def _voxelwise(field: Tensor, shape: tuple[int, ...], cell: Array) -> Tensor:
    """A lattice's field at every voxel, linear between nodes."""
    for axis in range(3):
        n, c, m = shape[axis], int(cell[axis]), field.shape[1 + axis]
        p = np.clip((np.arange(n) - 0.5 * (c - 1)) / c, 0, m - 1)
        low = np.minimum(p.astype(np.int64), max(m - 2, 0))
        index = np.stack([low, np.minimum(low + 1, m - 1)], axis=1)
        field = along(field, axis, index, np.stack([1 - (p - low), p - low], axis=1))
    return field


def _indices(shape: tuple[int, ...], like: Tensor) -> list[Tensor]:
    axes = [torch.arange(n, device=like.device, dtype=torch.float32) for n in shape]
    return list(torch.meshgrid(*axes, indexing="ij"))


def _lower(p: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    p = p.clamp(0, n - 1)
    low = p.floor().clamp(max=max(n - 2, 0))
    i = low.to(torch.int64)
    return i, (i + 1).clamp(max=n - 1), p - low


def _looked_up(volume: Tensor, place: list[Tensor]) -> Tensor:
    """Linear interpolation of ``(channels, nz, ny, nx)``, the border's values beyond it."""
    channels, nz, ny, nx = volume.shape
    flat = volume.reshape(channels, -1)
    (z0, z1, tz), (y0, y1, ty), (x0, x1, tx) = (
        _lower(p, n) for p, n in zip(place, (nz, ny, nx), strict=True)
    )
    out: Any = 0
    for z, wz in ((z0, 1 - tz), (z1, tz)):
        for y, wy in ((y0, 1 - ty), (y1, ty)):
            w, row = wz * wy, (z * ny + y) * nx
            out = out + (w * (1 - tx)) * flat[:, row + x0] + (w * tx) * flat[:, row + x1]
    return out


def _inside(place: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    """Not more than half a voxel outside."""
    ok = torch.ones_like(place[0], dtype=torch.bool)
    for p, n in zip(place, shape, strict=True):
        ok &= (p > -0.5) & (p < n - 0.5)
    return ok


def exponential(v: Tensor, distance: Float, factor: float) -> Tensor:
    """`field.exponential`, as planes."""
    per_mm = torch.as_tensor(1.0 / distance, dtype=torch.float32, device=v.device)
    u = v * factor
    largest = float((u.abs() * per_mm[:, None, None, None]).max())
    squarings = max(int(np.ceil(np.log2(max(largest, 1e-12) / 0.5))), 0)
    u = u * 0.5**squarings
    grid = _indices(tuple(u.shape[1:]), u)
    for _ in range(squarings):
        u = u + _looked_up(u, [g + u[k] * per_mm[k] for k, g in enumerate(grid)])
    return u


def laplacian(p: Tensor, scale: Array) -> Tensor:
    """`solver_kernels.laplacian`: minus it, with free borders."""
    out = torch.zeros_like(p)
    for axis, s in enumerate(scale.tolist()):
        if s:
            low, high = _beside(p, 1 + axis)
            out += s * (2 * p - low - high)
    return out


def _beside(v: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The neighbours before and after; at the ends a voxel is its own."""
    n = v.shape[dim]
    first, last = v.narrow(dim, 0, 1), v.narrow(dim, n - 1, 1)
    return (
        torch.cat([first, v.narrow(dim, 0, n - 1)], dim),
        torch.cat([v.narrow(dim, 1, n - 1), last], dim),
    )


def gradient(v: Tensor, prior: Smoothness) -> Tensor:
    """`field.Smoothness.gradient`."""
    once = laplacian(v, prior.scale)
    twice = laplacian(once, prior.scale) if prior.bending else once
    return prior.membrane * once + prior.bending * twice


def _times(blocks: Tensor, p: Tensor) -> Tensor:
    a, b, c, d, e, f = blocks
    x, y, z = p
    return torch.stack([a * x + d * y + e * z, d * x + b * y + f * z, e * x + f * y + c * z])


def solve(
    blocks: Tensor, right: Tensor, prior: Smoothness, *, iterations: int, tolerance: float
) -> Tensor:
    """`field.solve`."""
    extra = prior.diagonal + 1e-6
    a, b, c = (blocks[i] + extra for i in range(3))
    d, e, f = blocks[3:]
    p, q, r = b * c - f * f, e * f - d * c, d * f - b * e
    inverse = torch.stack([p, a * c - e * e, a * b - d * d, q, r, d * e - a * f])
    inverse /= a * p + d * q + e * r
    x, left = torch.zeros_like(right), right.clone()
    z = _times(inverse, left)
    way = z
    rz = first = float((left * z).sum())
    for _ in range(iterations):
        if rz <= first * tolerance**2 or rz <= 0:
            break
        product = _times(blocks, way) + gradient(way, prior)
        curvature = float((way * product).sum())
        if curvature <= 0:
            break
        x = x + way * (rz / curvature)
        left = left - product * (rz / curvature)
        z = _times(inverse, left)
        new = float((left * z).sum())
        way = z + way * (new / rz)
        rz = new
    return x


def _summed(values: Tensor, cell: Array) -> Tensor:
    """Sums over the cells of the last three axes."""
    for axis, c in enumerate(cell.tolist()):
        dim = values.ndim - 3 + axis
        n = values.shape[dim]
        short = -n % c
        if short:
            shape = list(values.shape)
            shape[dim] = short
            values = torch.cat([values, values.new_zeros(shape)], dim)
        values = values.unflatten(dim, (-1, c)).sum(dim + 1)
    return values


def _spread(lattice: Tensor, shape: tuple[int, ...], cell: Array) -> Tensor:
    """Each voxel with its cell's value."""
    for axis, c in enumerate(cell.tolist()):
        dim = lattice.ndim - 3 + axis
        lattice = lattice.repeat_interleave(int(c), dim).narrow(dim, 0, shape[axis])
    return lattice


def _slopes(v: Tensor, per_mm: Array) -> Tensor:
    """Half the central differences of the last three axes per mm, one-sided at the borders."""
    out: list[Tensor] = []
    for axis in range(3):
        dim = v.ndim - 3 + axis
        n = v.shape[dim]
        if n == 1:
            out.append(torch.zeros_like(v))
            continue
        low, high = _beside(v, dim)
        apart = torch.full((n,), 2.0, device=v.device)
        apart[0] = apart[-1] = 1.0
        shape = [1] * v.ndim
        shape[dim] = n
        out.append((high - low) / apart.reshape(shape) * (0.5 * float(per_mm[axis])))
    return torch.stack(out)


def _sums(g: Tensor, r: Tensor, w: Tensor, cell: Array) -> tuple[Tensor, Tensor]:
    """Blocks and right sides of ``sum w g g'`` and ``-sum w g r``."""
    pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    blocks = [_summed(w * g[i] * g[j], cell) for i, j in pairs]
    return torch.stack(blocks), torch.stack([-_summed(w * g[i] * r, cell) for i in range(3)])


class Values:
    """`dense.Values`."""

    def __init__(
        self, level: Level, matrix: Float, window: float, floor: float, device: str
    ) -> None:
        self.window, self.floor, self.grid = window, floor, level.fixed_grid
        into = np.linalg.inv(level.moving_grid.affine) @ matrix @ level.fixed_grid.affine
        self.into = into.astype(np.float32).tolist()
        self.fixed, self.moving = (placed(v, device)[None] for v in (level.fixed, level.moving))
        self.weight = placed(level.weight, device)

    def equations(
        self, there: Tensor, back: Tensor, close: Array, cell: Array
    ) -> tuple[Tensor, Tensor]:
        """Blocks and right sides of a Gauss-Newton step."""
        per_mm = (1.0 / np.asarray(self.grid.spacing)).astype(np.float32)
        f = self._warped(self.fixed, back, close, per_mm, None)
        m = self._warped(self.moving, there, close, per_mm, self.into)
        ok = torch.isfinite(f) & torch.isfinite(m)
        w = ok * self.weight
        a, b = f.nan_to_num(0), m.nan_to_num(0)
        sums = _summed(torch.stack([w, w * a, w * b, w * a * a, w * b * b, w * a * b]), cell)
        sigma = [self.window / c if n > 1 else 0.0
                 for c, n in zip(cell.tolist(), sums.shape[1:], strict=True)]  # fmt: skip
        fit = _fitted(smooth(sums, sigma), self.floor**2)
        slope, level, weight = _spread(fit, tuple(f.shape), cell)
        r = m - slope * f - level
        g = _slopes(m, per_mm) + slope * _slopes(f, per_mm)
        known = torch.isfinite(r) & torch.isfinite(g).all(0)
        w = weight * self.weight * known
        return _sums(g.nan_to_num(0), r.nan_to_num(0), w, cell)

    def _warped(
        self, volume: Tensor, field: Tensor, close: Array, per_mm: Array, into: Any
    ) -> Tensor:
        place = _moved(field, self.grid.shape, close, per_mm)
        if into is not None:
            place = [sum(m[k] * place[k] for k in range(3)) + m[3] for m in into[:3]]
        ok = _inside(place, tuple(volume.shape[1:]))
        return torch.where(ok, _looked_up(volume, place)[0], torch.nan)


def _moved(field: Tensor, shape: tuple[int, ...], close: Array, per_mm: Array) -> list[Tensor]:
    u = _voxelwise(field, shape, close)
    return [i + u[k] * float(per_mm[k]) for k, i in enumerate(_indices(shape, field))]


def _fitted(sums: Tensor, floor: float) -> Tensor:
    """`field_kernels.fitted`."""
    known = sums[0] > 1e-3
    n = sums[0].clamp(min=1e-3)
    f, m, ff, mm, fm = (sums[k] / n for k in range(1, 6))
    ff, mm, fm = (ff - f * f).clamp(min=0), (mm - m * m).clamp(min=0), fm - f * m
    seen = max(int(known.sum()), 1)
    small, least = float(ff.sum()) / seen * 1e-3 + 1e-12, float(mm.sum()) / seen * floor + 1e-12
    slope = fm / (ff + small)
    weight = 1 / ((mm - slope * fm).clamp(min=0) + least)
    return torch.stack([slope, m - slope * f, weight]) * known


def mind(volume: Tensor) -> Tensor:
    """`features.mind`, as ``(7, nz, ny, nx)``."""
    bad = torch.isnan(volume)
    flat = [k for k in range(3) if volume.shape[k] == 1]
    near = ~bad
    apart: list[Tensor] = []
    sigma = [SIGMA if n > 1 else 0.0 for n in volume.shape]
    for axis in range(3):
        low, high = _beside(volume, axis)
        near &= ~torch.isnan(low) & ~torch.isnan(high)
        squares = ((high - volume) ** 2).nan_to_num(0)
        squares = torch.zeros_like(squares) if axis in flat else smooth(squares, sigma)
        apart += [_beside(squares, axis)[0], squares]
    middle = float(
        np.mean([float(apart[2 * k + 1].mean()) for k in range(3) if k not in flat] or [0])
    )
    every = torch.stack(apart)
    scale = every.sum(0) / max(6 - 2 * len(flat), 1)
    scale = scale.clamp(0.02 * middle + 1e-12, 50 * middle + 1e-12)
    used = [k for k in range(6) if k // 2 not in flat]
    least = every[used].amin(0)
    out = (1 + (every - least).clamp(min=0) / (8 * scale)) ** -8
    for k in flat:
        out[2 * k : 2 * k + 2] = 0
    return torch.cat([out, torch.ones_like(volume)[None]]) * near


def pooled(descriptors: Tensor, grid: Grid, coarse: Grid) -> Tensor:
    """`features.pooled`."""
    if grid == coarse:
        return descriptors
    for axis in range(3):
        n, m = grid.shape[axis], coarse.shape[axis]
        if n != m or not np.isclose(grid.spacing[axis], coarse.spacing[axis]):
            ratio = coarse.spacing[axis] / grid.spacing[axis]
            descriptors = along(descriptors, axis, *boxes(n, m, ratio))
    known = descriptors[-1:]
    return torch.where(known > 0.5, descriptors / known.clamp(min=0.5), 0.0)


class Patches:
    """`patches.Patches`."""

    def __init__(self, fixed: Tensor, moving: Tensor, grid: Grid, weight: Tensor) -> None:
        self.fixed, self.moving, self.grid, self.weight = fixed, moving, grid, weight

    def equations(
        self, there: Tensor, back: Tensor, close: Array, cell: Array
    ) -> tuple[Tensor, Tensor]:
        """Blocks and right sides of a Gauss-Newton step."""
        per_mm = (1.0 / np.asarray(self.grid.spacing)).astype(np.float32)
        f, m = (
            self._warped(v, u, close, per_mm) for v, u in ((self.fixed, back), (self.moving, there))
        )
        both = torch.minimum(f[-1], m[-1])
        near = [v for axis in range(3) for v in _beside(both, axis)]
        least = torch.stack([both, *near]).amin(0)
        w = (least > KNOWN) * self.weight
        blocks: Any = 0
        right: Any = 0
        cost = 0.0
        for a, b in zip(f[:6], m[:6], strict=True):
            r = b - a
            found = _sums(_slopes(b, per_mm) + _slopes(a, per_mm), r, w, cell)
            blocks, right = blocks + found[0], right + found[1]
            cost += float((w * r * r).sum())
        channels = 2 * sum(n > 1 for n in self.grid.shape)
        seen = float((w * torch.ones_like(least)).sum())
        share = 1 / (channels * max(cost / max(channels * seen, 1e-6), 1e-6))
        return blocks * share, right * share

    def _warped(self, volume: Tensor, field: Tensor, close: Array, per_mm: Array) -> Tensor:
        place = _moved(field, self.grid.shape, close, per_mm)
        return _looked_up(volume, place) * _inside(place, self.grid.shape)


def described(fixed: Array, moving: Array, levels: list[Level], device: str) -> list[Patches]:
    """`patches.described` of two volumes that lie on the finest level's fixed grid."""
    one, two = (mind(placed(v, device)) for v in (fixed, moving))
    grid = levels[-1].fixed_grid
    out: list[Patches] = []
    for level in levels[::-1]:
        one, two = (pooled(v, grid, level.fixed_grid) for v in (one, two))
        grid = level.fixed_grid
        out.append(Patches(one, two, grid, placed(level.weight, device)))
    return out[::-1]
