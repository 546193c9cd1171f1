"""Compton scattering of annihilation photons, and which of them a detector accepts.

Klein and Nishina (Z Phys 52:853, 1929): Evans, The Atomic Nucleus, 23.2. Energies in units of the
electron's rest energy, 511 keV, unless said otherwise.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf

from somascope.acquire.pet.scanner import Scanner
from somascope.core.grid import Array, Float

REST_KEV = 510.99895


def scattered(energy: Array | float, cosine: Array | float) -> Float:
    """Energy after scattering by an angle of that cosine."""
    e = np.asarray(energy, np.float64)
    return e / (1.0 + e * (1.0 - np.asarray(cosine, np.float64)))


def total(energy: Array | float) -> Float:
    """Cross section per electron over ``pi r_e^2``."""
    e = np.asarray(energy, np.float64)
    log = np.log1p(2 * e)
    return 2 * (
        (1 + e) / e**2 * (2 * (1 + e) / (1 + 2 * e) - log / e)
        + log / (2 * e)
        - (1 + 3 * e) / (1 + 2 * e) ** 2
    )


def density(cosine: Array | float, energy: float = 1.0) -> Float:
    """Probability per steradian of scattering by that cosine; one over the whole sphere."""
    ratio = scattered(energy, cosine) / energy
    c = np.asarray(cosine, np.float64)
    return 0.5 * ratio**2 * (ratio + 1 / ratio - (1 - c**2)) / (np.pi * total(energy))


def accepted(energy: Array | float, scanner: Scanner) -> Float:
    """Share of photons of an energy (511 keV = 1) whose measured one falls into the window.

    The resolution is Gaussian, its width in keV grows with the root of the energy.
    """
    kev = np.asarray(energy, np.float64) * REST_KEV
    sigma = scanner.energy_resolution * np.sqrt(REST_KEV * kev) / np.sqrt(8 * np.log(2))
    low, high = scanner.energy_window
    sigma = np.maximum(sigma, 1e-9) * np.sqrt(2)
    return 0.5 * (erf((high - kev) / sigma) - erf((low - kev) / sigma))


def least_cosine(scanner: Scanner, share: float = 1e-3) -> float:
    """Cosine of the largest angle after which more than ``share`` is still accepted."""
    cosines = np.linspace(-1, 1, 2001)
    seen = accepted(scattered(1.0, cosines), scanner) / accepted(1.0, scanner)
    return float(cosines[np.argmax(seen > share)])


def table(scanner: Scanner, *, entries: int = 512) -> Array:
    """What a scatter by ``cos = 1 - 2 i / (entries - 1)`` is worth, float32 ``(2, entries)``.

    Row 0: `density` times acceptance relative to an unscattered photon. Row 1: attenuation after
    scattering over that before, Compton scattering being nearly all of it in the body.
    """
    cosine = 1 - 2 * np.arange(entries) / (entries - 1)
    after = scattered(1.0, cosine)
    worth = density(cosine) * accepted(after, scanner) / accepted(1.0, scanner)
    return np.stack([worth, total(after) / total(1.0)]).astype(np.float32)
