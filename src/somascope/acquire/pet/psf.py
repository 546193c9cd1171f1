"""Resolution in image space: a Gaussian that is its own adjoint."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import correlate1d

from somascope.core.grid import Array, Grid

FWHM_TO_SIGMA = 1 / math.sqrt(8 * math.log(2))


class Blur:
    """Convolution with a Gaussian of ``fwhm`` mm on ``grid``, zero outside it; symmetric.

    Each weight is the Gaussian integrated over a voxel; a constant stays constant away from the
    border. ``kernels`` are its weights along z, y and x.
    """

    def __init__(self, grid: Grid, fwhm: float) -> None:
        self.domain = self.range = tuple(grid.shape)
        self.kernels: list[Array] = []
        for step in grid.spacing:
            sigma = fwhm * FWHM_TO_SIGMA / step
            reach = max(1, math.ceil(3.5 * sigma))
            edges = (np.arange(-reach, reach + 2) - 0.5) / (sigma * math.sqrt(2))
            weights = np.diff([math.erf(e) for e in edges])
            self.kernels.append((weights / weights.sum()).astype(np.float32))

    def forward(self, x: Array) -> Array:
        """The smoothed volume, float32."""
        x = np.asarray(x, np.float32)
        for axis, weights in enumerate(self.kernels):
            if self.domain[axis] > 1:
                x = correlate1d(x, weights, axis=axis, mode="constant")
        return x

    def adjoint(self, y: Array) -> Array:
        """The same."""
        return self.forward(y)
