"""The relative difference prior: what penalised likelihood of counts expects of neighbours.

Smooth, so it has a gradient and a curvature in place of the proximal maps of `acquire.priors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numba
import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.chunks import in_chunks


class RelativeDifference:
    """``sum_jk w_jk (x_j - x_k)^2 / (x_j + x_k + gamma |x_j - x_k|)`` (Nuyts et al. 2002).

    Over pairs of the 26 neighbours (each pair once), ``w`` the nearest voxel distance over theirs;
    scales with the image, so edges between large values may be larger. ``epsilon`` keeps it smooth
    at zero. ``x`` is not negative.
    """

    def __init__(
        self, shape: Sequence[int], spacing: Sequence[float], *, gamma: float = 2.0,
        epsilon: float = 1e-6,
    ) -> None:  # fmt: skip
        if gamma < 0 or not epsilon > 0:
            raise ParameterError(f"gamma is {gamma} and epsilon {epsilon}; give 0 or more, above 0")
        self.shape, self.gamma, self.epsilon = tuple(shape), gamma, epsilon
        near = min(d for d, n in zip(spacing, shape, strict=True) if n > 1)
        steps = [o for o in product((-1, 0, 1), repeat=3) if any(o)]
        self._steps = np.array(
            [o for o in steps if all(n > 1 or s == 0 for n, s in zip(shape, o, strict=True))],
            np.int64,
        )
        length = np.linalg.norm(self._steps * np.asarray(spacing), axis=1)
        self._weights = (near / length).astype(np.float32)

    def value(self, x: Array) -> float:
        """The prior, each pair of neighbours once."""
        return self._run(x)[0]

    def gradient(self, x: Array) -> tuple[Array, Array]:
        """Its gradient, and an upper bound of its curvature (row sums of the Hessian)."""
        _, gradient, curvature = self._run(x)
        return gradient, curvature

    def _run(self, x: Array) -> tuple[float, Array, Array]:
        x = np.ascontiguousarray(x, np.float32)
        gradient, curvature = np.empty_like(x), np.empty_like(x)
        sums = np.zeros(x.shape[0])
        in_chunks(
            _differences, x.shape[0], x, self._steps, self._weights, np.float32(self.gamma),
            np.float32(self.epsilon), gradient, curvature, sums,
        )  # fmt: skip
        return float(sums.sum()), gradient, curvature


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _differences(
    start: int, stop: int, x: Array, steps: Array, weights: Array, gamma: float, epsilon: float,
    gradient: Array, curvature: Array, sums: Array,
) -> None:  # fmt: skip
    nz, ny, nx = x.shape
    for z in range(start, stop):
        total = 0.0
        for y in range(ny):
            for i in range(nx):
                a = x[z, y, i]
                slope, bend = np.float32(0), np.float32(0)
                for k in range(len(steps)):
                    u, v, w = z + steps[k, 0], y + steps[k, 1], i + steps[k, 2]
                    if not (0 <= u < nz and 0 <= v < ny and 0 <= w < nx):
                        continue
                    b = x[u, v, w]
                    d = a - b
                    size = a + b + gamma * abs(d) + epsilon
                    total += 0.5 * weights[k] * d * d / size
                    slope += (
                        weights[k]
                        * d
                        * (gamma * abs(d) + a + np.float32(3) * b + np.float32(2) * epsilon)
                        / (size * size)
                    )
                    bend += weights[k] * np.float32(4) / size
                gradient[z, y, i] = slope
                curvature[z, y, i] = bend
        sums[z] = total
