"""A model of scattered radiation, used both to add it and to take it away.

Kernel superposition (Ohnesorge et al., Eur Radiol 9:563, 1999; Sun and Star-Lack, Phys Med Biol
55:6695, 2010): every ray scatters in proportion to its primary signal and to what it met on its
way, and the scatter spreads over a wide Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.core.grid import Float


@dataclass(frozen=True)
class Scatter:
    """``S = K * (ratio P (-ln P/I0))``, with ``K`` of unit sum.

    Parameters
    ----------
    ratio
        Scatter to primary per unit of line integral: 0.3 with a grid behind a chest, 1 without.
    width
        Full width at half maximum of ``K`` at the detector, mm.
    """

    ratio: float = 0.3
    width: float = 150.0

    def of(self, primary: Float, open_beam: Float, pitch: tuple[float, float]) -> Float:
        """Scatter signal ``(ny, nx)`` of a primary signal in the same unit."""
        from scipy.ndimage import gaussian_filter, zoom

        with np.errstate(divide="ignore"):
            log = np.log(np.maximum(open_beam, 1e-12) / np.maximum(primary, 1e-12))
        source = self.ratio * np.maximum(primary, 0.0) * np.maximum(log, 0.0)
        sigma = self.width / 2.3548
        # The kernel is broad: a coarse raster carries it exactly enough and costs little.
        step = max(1, int(sigma / max(pitch) / 6))
        ny, nx = source.shape
        by, bx = -(-ny // step), -(-nx // step)
        padded = np.pad(source, ((0, by * step - ny), (0, bx * step - nx)), mode="edge")
        coarse = padded.reshape(by, step, bx, step).mean(axis=(1, 3))
        smooth = gaussian_filter(
            coarse, [sigma / (p * step) for p in pitch], mode="constant", truncate=4.0
        )
        if step == 1:
            return smooth[:ny, :nx]
        fine = np.asarray(zoom(smooth, step, order=3, mode="nearest", grid_mode=True))
        return np.maximum(fine[:ny, :nx], 0.0)
