"""A model of scatter for simulations: where it seems to come from, and its spectrum.

Photons that scattered seem to come from a cloud around the activity, as far as there is matter
(effective source scatter, after Frey and Tsui 1996); what they lost spreads them over the windows
below the photopeak. The spectrum is a straight line that ends at the photopeak's upper edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.acquire.mumap import coefficient
from somascope.acquire.spect.camera import Window
from somascope.core.grid import Array

CLOUD = ((0.65, 22.0), (0.35, 60.0))
"""Share and standard deviation in mm of the Gaussians that make the cloud."""


def effective_source(activity: Array, mu: Array, spacing: Sequence[float], kev: float) -> Array:
    """Where scatter seems to come from, in the activity's unit, before its share is known.

    ``activity`` and ``mu`` (1/mm) are ``(nz, ny, nx)``.
    """
    from scipy.ndimage import gaussian_filter

    cloud = np.zeros_like(activity)
    for share, sigma in CLOUD:
        cloud += np.float32(share) * gaussian_filter(
            activity, [sigma / s for s in spacing], mode="constant", truncate=3.0
        )
    water = 0.1 * coefficient("water", kev)
    return (cloud * (mu / np.float32(water))).astype(np.float32)


def shares(windows: Sequence[Window], peak: int) -> Array:
    """Scatter of each window relative to that of window ``peak``."""
    top = windows[peak].high

    def below(window: Window) -> float:
        low, high = min(window.low, top), min(window.high, top)
        return ((top - low) ** 2 - (top - high) ** 2) / 2

    return np.array([below(w) for w in windows], np.float64) / below(windows[peak])
