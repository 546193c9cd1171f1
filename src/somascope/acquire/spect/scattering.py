"""A model of scatter for simulations: where it seems to come from, and its spectrum.

Photons that scattered seem to come from a cloud around the activity, as far as there is matter
(effective source scatter, after Frey and Tsui 1996); what they lost spreads them over the windows
below the photopeak. The spectrum is flat up to the photopeak, blurred by the energy resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.acquire.mumap import coefficient
from somascope.acquire.spect.camera import FWHM, Camera, Window
from somascope.core.grid import Array, Float

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


def shares(camera: Camera, peak: int) -> Float:
    """Scatter of each window relative to that of window ``peak``.

    The integral of ``erfc((E - E0) / (sqrt 2 sigma)) / 2``, a blurred step.
    """
    from scipy.special import erfc

    windows = camera.windows
    centre = (windows[peak].low + windows[peak].high) / 2
    sigma = max(camera.energy_resolution * centre / FWHM, 1e-6)

    def inside(window: Window) -> float:
        x = (np.linspace(window.low, window.high, 401) - centre) / sigma
        return float(np.mean(0.5 * erfc(x / np.sqrt(2.0)))) * window.width

    return np.array([inside(w) for w in windows]) / inside(windows[peak])
