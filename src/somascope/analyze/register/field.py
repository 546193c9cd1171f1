"""A velocity field on a lattice: its exponential, its smoothness, its Gauss-Newton step.

The map is ``exp(v)`` of a stationary velocity field (Arsigny et al., MICCAI 2006; Ashburner,
NeuroImage 38 (2007) 95-113): scaling and squaring; the inverse is ``exp(-v)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.analyze.register import field_kernels, solver_kernels
from somascope.analyze.register.sharing import SMALL
from somascope.core.grid import Array, Float
from somascope.core.tensors import is_tensor


def exponential(v: Array, distance: Float, *, factor: float = 1.0) -> Array:
    """Displacement (mm) of ``exp(factor v)`` on ``v``'s lattice, ``(lz, ly, lx, 3)``.

    ``v`` is ``(3, lz, ly, lx)`` float32 in mm, ``distance`` ``(3,)`` the mm between nodes. A tensor
    comes back as planes ``(3, lz, ly, lx)``.
    """
    if is_tensor(v):
        from somascope.analyze.register import gpu

        return gpu.exponential(v, distance, factor)  # pyright: ignore
    per_mm = (1.0 / distance).astype(np.float32)
    u = np.moveaxis(v, 0, -1) * np.float32(factor)
    u = np.ascontiguousarray(u)
    largest = float((np.abs(u) * per_mm).max()) if u.size else 0.0
    squarings = max(int(np.ceil(np.log2(max(largest, 1e-12) / 0.5))), 0)
    u *= np.float32(0.5**squarings)
    other = np.empty_like(u)
    for _ in range(squarings):
        field_kernels.compose(u, u, per_mm, other)
        u, other = other, u
    return u


def nodes(shape: tuple[int, ...], cell: Array) -> tuple[int, int, int]:
    """Shape of the lattice with one node for each ``cell`` voxels of ``shape``."""
    lz, ly, lx = (-(-n // int(c)) for n, c in zip(shape, cell, strict=True))
    return lz, ly, lx


class Smoothness:
    """The prior ``membrane |grad v|^2 + bending |Laplace v|^2`` per node, free borders.

    ``shape`` ``(lz, ly, lx)``, ``distance`` ``(3,)`` mm between nodes.
    """

    def __init__(
        self, shape: tuple[int, int, int], distance: Float, membrane: float, bending: float
    ) -> None:
        self.membrane, self.bending = float(membrane), float(bending)
        self.scale = np.array(
            [0.0 if n == 1 else 1.0 / d**2 for n, d in zip(shape, distance, strict=True)],
            np.float32,
        )
        self._once = np.zeros((3, *shape), np.float32)
        self._twice = np.zeros((3, *shape), np.float32)

    def of(self, p: Array) -> tuple[Array, Array]:
        """Minus the Laplacian of ``p``, and the Laplacian of that (scratch, overwritten)."""
        solver_kernels.laplacian(p, self.scale, self._once)
        if self.bending:
            solver_kernels.laplacian(self._once, self.scale, self._twice)
        return self._once, self._twice

    @property
    def diagonal(self) -> float:
        """Diagonal of the operator inside the lattice."""
        trace = 2.0 * float(self.scale.sum())
        squares = trace**2 + 2.0 * float((self.scale**2).sum())
        return self.membrane * trace + self.bending * squares

    def gradient(self, v: Array) -> Array:
        """Half the derivative of the prior."""
        if is_tensor(v):
            from somascope.analyze.register import gpu

            return gpu.gradient(v, self)  # pyright: ignore
        once, twice = self.of(v)
        return np.float32(self.membrane) * once + np.float32(self.bending) * twice


def solve(
    blocks: Array, right: Array, prior: Smoothness, *, iterations: int, tolerance: float = 0.02
) -> Array:
    """``(blocks + prior) x = right`` by conjugate gradients, 3x3 blocks as preconditioner.

    ``blocks`` ``(6, lz, ly, lx)``, ``right`` and the result ``(3, lz, ly, lx)``.
    """
    if is_tensor(right):
        from somascope.analyze.register import gpu

        b: Any = blocks
        r: Any = right
        found: Any = gpu.solve(b, r, prior, iterations=iterations, tolerance=tolerance)
        return found
    kernels = solver_kernels
    if right.size // 3 <= SMALL:
        x = np.zeros_like(right)
        kernels.conjugate(
            blocks, right, prior.scale, np.float32(prior.membrane), np.float32(prior.bending),
            np.float32(prior.diagonal + 1e-6), iterations, tolerance**2, x,
        )  # fmt: skip
        return x
    inverse = np.empty_like(blocks)
    kernels.invert_blocks(blocks, np.float32(prior.diagonal + 1e-6), inverse)
    x, r = np.zeros_like(right), right.copy()
    z, q, p = np.empty_like(right), np.zeros_like(right), np.zeros_like(right)
    dots = np.empty(right.shape[1])
    kernels.advance(inverse, r, q, p, x, np.float32(0), z, dots)
    rz = first = float(dots.sum())
    p[:] = z
    for _ in range(iterations):
        if rz <= first * tolerance**2 or rz <= 0:
            break
        once, twice = prior.of(p)
        kernels.product(
            blocks, p, once, twice, np.float32(prior.membrane), np.float32(prior.bending), q, dots
        )
        curvature = float(dots.sum())
        if curvature <= 0:
            break
        kernels.advance(inverse, r, q, p, x, np.float32(rz / curvature), z, dots)
        new = float(dots.sum())
        kernels.direction(p.reshape(-1), z.reshape(-1), np.float32(new / rz))
        rz = new
    return x
