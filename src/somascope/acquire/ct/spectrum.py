"""What a CT's detector sees of the tube's spectrum."""

from __future__ import annotations

from typing import Literal

from somascope.acquire import matter, tube
from somascope.core.errors import ParameterError
from somascope.core.grid import Float

Material = Literal["water", "bone", "aluminium"]

DENSITY = {name: matter.MATERIALS[name][0] for name in ("water", "bone", "aluminium")}
"""g/cm3; bone is cortical (ICRU 44)."""


def attenuation(material: Material, energy: Float) -> Float:
    """Linear attenuation in 1/mm at ``energy`` keV, 10 to 150."""
    return matter.attenuation(material, energy)


def tungsten(kvp: float, *, filtration: float = 8.0) -> tuple[Float, Float]:
    """Energies in keV and their share of what an energy-integrating detector sees.

    The spectrum of `somascope.acquire.tube` behind ``filtration`` mm of aluminium, times the energy
    for the detector, in bins of 2 keV.
    """
    if not 40 <= kvp <= 150:
        raise ParameterError(f"the tube voltage is {kvp} kV; give 40 to 150")
    beam = tube.tungsten(kvp, filters=(("aluminium", filtration),))
    even = beam.energies.size // 2 * 2
    photons = beam.fluence[:even].reshape(-1, 2)
    energy = beam.energies[:even].reshape(-1, 2)
    seen = (photons * energy).sum(axis=1)
    middle = energy.mean(axis=1)
    return middle, seen / seen.sum()


def effective_mu(material: Material, kvp: float) -> float:
    """Attenuation of a thin layer over the spectrum in 1/mm."""
    energy, share = tungsten(kvp)
    return float(share @ attenuation(material, energy))
