"""The beam: tungsten spectra, filters, half-value layers and air kerma.

Bremsstrahlung as Tucker, Barnes and Chakraborty (Med Phys 18:211, 1991) put it: electrons slow down
in the anode by the Thomson-Whiddington law, radiate at every depth, and the anode absorbs on the
way out. Characteristic lines follow ``(kV / 69.5 - 1)^1.5``. The yield is fitted to the air kerma
of SpekPy 2.5 (12 degrees, 2.5 mm Al), which the spectra meet within 2 per cent in half-value layer
and 3 per cent in kerma from 50 to 150 kV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from somascope.acquire.matter import (
    air_absorption,
    attenuation,
    mass_attenuation,
)
from somascope.core.errors import ParameterError
from somascope.core.grid import Float

_A = (3.685e-2, 2.900e-5)
_B = (1.0, -5.049, 10.847, -10.516, 3.842)
"""Tucker et al., table II: photons per electron and keV over the share of the electron's energy."""
_WHIDDINGTON = 0.595e6
"""keV2 cm2/g; one value serves 50 to 150 kV when half-value layers are fitted."""
_YIELD = (0.675e-10, 0.4495e-10)
"""Inverse yield: constant, and per 100 kV."""
_K_EDGE = 69.525
_K_LINES = ((57.98, 0.565), (59.32, 1.0), (66.95, 0.12), (67.24, 0.24), (69.07, 0.097))
"""keV, and intensity relative to K alpha 1."""
_K_YIELD = 2.95e5
"""K alpha 1 photons per mm2 and mAs at 1 m, at twice the edge's voltage."""

_KERMA = 1.602176634e-5
"""uGy per (photon/mm2 keV cm2/g)."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Photons per energy bin.

    Parameters
    ----------
    energies
        Middle of each bin in keV.
    fluence
        Photons per mm2 in each bin, per mAs at 1 m where it comes from a tube.
    """

    energies: Float
    fluence: Float

    def filtered(self, material: str, millimetres: float) -> Spectrum:
        """Behind a sheet of `matter.MATERIALS`."""
        through = np.exp(-attenuation(material, self.energies) * millimetres)
        return replace(self, fluence=self.fluence * through)

    def scaled(self, factor: float) -> Spectrum:
        """More or fewer photons."""
        return replace(self, fluence=self.fluence * factor)

    @property
    def mean_energy(self) -> float:
        """Mean photon energy in keV."""
        return float(self.fluence @ self.energies / self.fluence.sum())

    @property
    def kerma(self) -> float:
        """Air kerma in uGy."""
        return float(_KERMA * (self.fluence @ (self.energies * air_absorption(self.energies))))

    def half_value_layer(self, material: str = "aluminium") -> float:
        """Thickness in mm that halves the air kerma."""
        from scipy.optimize import brentq

        weight = self.fluence * self.energies * air_absorption(self.energies)
        weight = weight / weight.sum()
        mu = attenuation(material, self.energies)
        return float(brentq(lambda t: weight @ np.exp(-mu * t) - 0.5, 0.0, 10.0 / mu.min()))  # type: ignore[arg-type]


def tungsten(
    kvp: float, *, filters: Sequence[tuple[str, float]] = (("aluminium", 2.5),), angle: float = 12.0
) -> Spectrum:
    """Spectrum of a tungsten anode, per mm2 and mAs at 1 m, in bins of 1 keV above 11 keV.

    Parameters
    ----------
    kvp
        Tube voltage in kV, 40 to 150.
    filters
        Materials and thicknesses in mm.
    angle
        Of the anode in degrees; the yield is calibrated at 12.

    Raises
    ------
    ParameterError
        Voltage or angle outside the model.
    """
    if not 40 <= kvp <= 150 or not 5 <= angle <= 30:
        raise ParameterError(
            f"{kvp:g} kV at an anode angle of {angle:g} degrees; the model holds from 40 to 150 kV "
            "and 5 to 30 degrees"
        )
    energies = np.arange(11.5, kvp, 1.0)
    electron = np.linspace(0.0, 1.0, 128)[None, :] * (kvp - energies[:, None]) + energies[:, None]
    x = energies[:, None] / electron
    source = (_A[0] + _A[1] * kvp) * np.polynomial.polynomial.polyval(x, _B)
    escape = np.exp(
        -mass_attenuation("tungsten", energies)[:, None]
        * (kvp**2 - electron**2)
        / (_WHIDDINGTON * np.sin(np.radians(angle)))
    )
    rate = source * (electron + 511.0) / energies[:, None] * escape * 2.0 / _WHIDDINGTON
    fluence = np.trapezoid(rate, electron, axis=1) / (_YIELD[0] + _YIELD[1] * kvp / 100.0)
    if kvp > _K_EDGE:
        for line, relative in _K_LINES:
            if line < kvp:
                at = int(np.argmin(np.abs(energies - line)))
                fluence[at] += _K_YIELD * relative * (kvp / _K_EDGE - 1.0) ** 1.5
    spectrum = Spectrum(energies, np.maximum(fluence, 0.0))
    for material, millimetres in filters:
        spectrum = spectrum.filtered(material, millimetres)
    return spectrum


def rqa(number: int) -> Spectrum:
    """Radiation quality RQA 3, 5, 7 or 9 of IEC 61267: behind a patient of aluminium.

    The added filter is the standard's; inherent filtration 2.5 mm Al.
    """
    qualities = {3: (50.0, 10.0), 5: (70.0, 21.0), 7: (90.0, 30.0), 9: (120.0, 40.0)}
    if number not in qualities:
        raise ParameterError(f"RQA {number} is not known; choose 3, 5, 7 or 9")
    kvp, added = qualities[number]
    return tungsten(kvp, filters=(("aluminium", 2.5 + added),))
