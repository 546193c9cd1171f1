"""X-ray spectra and the attenuation of the materials a phantom is made of."""

from __future__ import annotations

from typing import Literal

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Float

Material = Literal["water", "bone", "aluminium"]

# Hubbell and Seltzer, NIST SRD 126: mass attenuation with coherent scattering, cm2/g.
_KEV = np.array([10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0, 200.0])
_MASS = {
    "water": (5.329, 1.673, 0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505, 0.1370),
    "bone": (28.51, 9.032, 4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480, 0.1309),
    "aluminium": (26.23, 7.955, 3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378,
                  0.1223),
}  # fmt: skip
DENSITY = {"water": 1.0, "bone": 1.92, "aluminium": 2.699}
"""g/cm3; bone is cortical (ICRU 44)."""


def attenuation(material: Material, energy: Float) -> Float:
    """Linear attenuation in 1/mm at ``energy`` keV, 10 to 200, log-log interpolated."""
    if material not in _MASS:
        raise ParameterError(f"no material {material!r}; there is {', '.join(_MASS)}")
    energy = np.asarray(energy, np.float64)
    if energy.min() < _KEV[0] or energy.max() > _KEV[-1]:
        raise ParameterError(
            f"energies reach from {energy.min():g} to {energy.max():g} keV; the table of "
            f"{material} holds from 10 to 200 keV"
        )
    mass = np.exp(np.interp(np.log(energy), np.log(_KEV), np.log(_MASS[material])))
    return mass * DENSITY[material] * 0.1


def tungsten(kvp: float, *, filtration: float = 8.0, step: float = 2.0) -> tuple[Float, Float]:
    """Energies in keV and their share of what an energy-integrating detector sees.

    Bremsstrahlung of a thick target (Kramers 1923), ``N(E) ~ (kvp - E) / E``, behind
    ``filtration`` mm of aluminium, times E for the detector; no characteristic lines.
    """
    if not 40 <= kvp <= 160:
        raise ParameterError(f"the tube voltage is {kvp} kV; give 40 to 160")
    energy = np.arange(16.0, kvp, step) + step / 2
    energy = energy[energy < kvp]
    seen = (kvp - energy) * np.exp(-attenuation("aluminium", energy) * filtration)
    return energy, seen / seen.sum()


def effective_mu(material: Material, kvp: float) -> float:
    """Attenuation of a thin layer over the spectrum in 1/mm."""
    energy, share = tungsten(kvp)
    return float(share @ attenuation(material, energy))
