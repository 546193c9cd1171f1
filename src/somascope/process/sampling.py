"""Values of a volume at the voxels of another lattice."""

from __future__ import annotations

import numba
import numpy as np

from somascope.core.grid import Array, Float
from somascope.core.tensors import is_tensor
from somascope.process.chunks import sealed


@numba.njit(inline="always")
def _keys(t: float) -> tuple[float, float, float, float]:
    return (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


@numba.njit(inline="always")
def _clamp(i: int, n: int) -> int:
    return 0 if i < 0 else (n - 1 if i >= n else i)


@numba.njit(parallel=True, cache=True)
def _sample(volume: Array, m: Float, out: Array, order: int, fill: float) -> None:
    nz, ny, nx = volume.shape
    oz, oy, ox = out.shape
    for j in numba.prange(oz * oy):
        z = j // oy
        y = j - z * oy
        for x in range(ox):
            a = m[0, 0] * z + m[0, 1] * y + m[0, 2] * x + m[0, 3]
            b = m[1, 0] * z + m[1, 1] * y + m[1, 2] * x + m[1, 3]
            c = m[2, 0] * z + m[2, 1] * y + m[2, 2] * x + m[2, 3]
            # The hair of slack keeps voxels that only rounding pushed across the edge.
            if not (
                a > -0.500001 and b > -0.500001 and c > -0.500001
                and a < nz - 0.499999 and b < ny - 0.499999 and c < nx - 0.499999
            ):  # fmt: skip
                out[z, y, x] = fill
                continue
            if order == 0:
                ia = _clamp(int(np.floor(a + 0.5)), nz)
                ib = _clamp(int(np.floor(b + 0.5)), ny)
                ic = _clamp(int(np.floor(c + 0.5)), nx)
                out[z, y, x] = volume[ia, ib, ic]
                continue
            fa, fb, fc = np.floor(a), np.floor(b), np.floor(c)
            ia, ib, ic = int(fa), int(fb), int(fc)
            ta, tb, tc = a - fa, b - fb, c - fc
            value = 0.0
            if order == 1:
                for da in range(2):
                    wa = ta if da else 1.0 - ta
                    for db in range(2):
                        wb = wa * (tb if db else 1.0 - tb)
                        row = volume[_clamp(ia + da, nz), _clamp(ib + db, ny)]
                        value += wb * (
                            (1.0 - tc) * row[_clamp(ic, nx)] + tc * row[_clamp(ic + 1, nx)]
                        )
            else:
                ka, kb, kc = _keys(ta), _keys(tb), _keys(tc)
                for da in range(4):
                    for db in range(4):
                        wb = ka[da] * kb[db]
                        row = volume[_clamp(ia + da - 1, nz), _clamp(ib + db - 1, ny)]
                        for dc in range(4):
                            value += wb * kc[dc] * row[_clamp(ic + dc - 1, nx)]
            out[z, y, x] = value


def sample(
    volume: Array, affine: Float, shape: tuple[int, int, int], *, order: str, fill: float
) -> Array:
    """``volume`` ``(nz, ny, nx)`` at ``affine @ (z, y, x, 1)`` for every voxel of ``shape``.

    ``affine`` (4x4) maps indices of the result to fractional indices of ``volume``; ``order`` is
    ``nearest``, ``linear`` or ``cubic`` (Keys, a = -1/2).
    """
    if is_tensor(volume):
        from somascope.process import gpu

        return gpu.sample(volume, affine, shape, order=order, fill=fill)  # pyright: ignore[reportArgumentType]
    out = np.empty(shape, volume.dtype)
    number = {"nearest": 0, "linear": 1, "cubic": 2}[order]
    matrix = np.ascontiguousarray(affine[:3], dtype=np.float64)
    _sample(sealed(np.ascontiguousarray(volume)), matrix, out, number, fill)
    return out
