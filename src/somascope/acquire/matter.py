"""What radiation meets: attenuation of elements and tissues, and tissues from Hounsfield units.

Mass attenuation coefficients: NIST, Hubbell and Seltzer, NISTIR 5632 (1995), tables 3 and 4 as
published on nist.gov/pml/x-ray-mass-attenuation-coefficients; compositions of the tissues: ICRU
Report 44, as given there. Between the nodes, log of the coefficient over log of the energy is
interpolated by monotone cubics, each side of an absorption edge by itself.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

_NODES = (10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)

_ELEMENTS: dict[str, tuple[float, ...]] = {
    "H": (0.3854, 0.3764, 0.3695, 0.3570, 0.3458, 0.3355, 0.3260, 0.3091, 0.2944, 0.2651),
    "C": (2.373, 0.8074, 0.4420, 0.2562, 0.2076, 0.1871, 0.1753, 0.1610, 0.1514, 0.1347),
    "N": (3.879, 1.236, 0.6179, 0.3066, 0.2288, 0.1980, 0.1817, 0.1639, 0.1529, 0.1353),
    "O": (5.953, 1.836, 0.8653, 0.3779, 0.2585, 0.2133, 0.1907, 0.1679, 0.1551, 0.1361),
    "Na": (15.57, 4.694, 2.057, 0.7198, 0.3969, 0.2804, 0.2268, 0.1796, 0.1585, 0.1335),
    "Mg": (21.06, 6.357, 2.763, 0.9304, 0.4880, 0.3292, 0.2570, 0.1951, 0.1686, 0.1394),
    "Al": (26.21, 7.955, 3.442, 1.128, 0.5684, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378),
    "P": (40.36, 12.39, 5.354, 1.700, 0.8095, 0.4918, 0.3494, 0.2324, 0.1865, 0.1432),
    "S": (50.13, 15.50, 6.709, 2.113, 0.9872, 0.5849, 0.4052, 0.2586, 0.2020, 0.1506),
    "Cl": (57.25, 17.84, 7.740, 2.426, 1.117, 0.6483, 0.4394, 0.2696, 0.2050, 0.1480),
    "Ar": (63.15, 19.83, 8.630, 2.696, 1.228, 0.7012, 0.4664, 0.2760, 0.2043, 0.1427),
    "K": (79.07, 25.02, 10.93, 3.412, 1.541, 0.8678, 0.5678, 0.3251, 0.2345, 0.1582),
    "Ca": (93.41, 29.79, 13.06, 4.079, 1.830, 1.019, 0.6579, 0.3655, 0.2571, 0.1674),
    "Cu": (216.0, 74.05, 33.80, 10.91, 4.862, 2.613, 1.593, 0.7630, 0.4585, 0.2217),
    "I": (162.6, 55.11, 25.43, 8.561, 22.10, 12.32, 7.577, 3.510, 1.942, 0.6978),
    "Cs": (179.3, 61.06, 28.22, 9.508, 23.81, 13.40, 8.250, 3.836, 2.124, 0.7590),
    "W": (96.9, 138.9, 65.72, 22.73, 10.67, 5.950, 3.713, 7.809, 4.437, 1.581),
    "Pb": (130.6, 111.6, 86.37, 30.32, 14.36, 8.042, 5.020, 2.419, 5.549, 2.015),
}
"""cm2/g at `_NODES` keV."""

_EDGES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "I": ((33.17, 6.553, 35.83),),
    "Cs": ((35.98, 5.862, 31.43),),
    "W": ((10.21, 92.0, 233.4), (11.54, 168.9, 231.2), (12.10, 206.5, 238.2),
          (69.53, 2.552, 11.23)),
    "Pb": ((13.04, 67.0, 162.1), (15.20, 107.8, 148.5), (15.86, 134.4, 154.8),
           (88.0, 1.910, 7.684)),
}  # fmt: skip
"""keV, and cm2/g below and above."""

MATERIALS: dict[str, tuple[float, dict[str, float]]] = {
    "air": (1.20479e-3, {"C": 0.000124, "N": 0.755268, "O": 0.231781, "Ar": 0.012827}),
    "water": (1.0, {"H": 0.111898, "O": 0.888102}),
    "soft tissue": (
        1.06,
        {"H": 0.102, "C": 0.143, "N": 0.034, "O": 0.708, "Na": 0.002, "P": 0.003, "S": 0.003,
         "Cl": 0.002, "K": 0.003},
    ),
    "adipose": (
        0.95,
        {"H": 0.114, "C": 0.598, "N": 0.007, "O": 0.278, "Na": 0.001, "S": 0.001, "Cl": 0.001},
    ),
    "bone": (
        1.92,
        {"H": 0.034, "C": 0.155, "N": 0.042, "O": 0.435, "Na": 0.001, "Mg": 0.002, "P": 0.103,
         "S": 0.003, "Ca": 0.225},
    ),
    "PMMA": (1.19, {"H": 0.080538, "C": 0.599848, "O": 0.319614}),
    "aluminium": (2.699, {"Al": 1.0}),
    "copper": (8.96, {"Cu": 1.0}),
    "tungsten": (19.3, {"W": 1.0}),
    "lead": (11.35, {"Pb": 1.0}),
    "iodine": (4.93, {"I": 1.0}),
    "caesium iodide": (4.51, {"I": 0.488451, "Cs": 0.511549}),
}  # fmt: skip
"""Density in g/cm3 and mass fractions; ``bone`` is cortical."""

_AIR_ABSORPTION = (4.742, 1.334, 0.5389, 0.1537, 0.06833, 0.04098, 0.03041, 0.02407, 0.02325,
                   0.02496)  # fmt: skip
"""Mass energy-absorption coefficient of dry air at `_NODES`, cm2/g (same source, table 4)."""

REFERENCE_KEV = 70.0
"""Effective energy of the Hounsfield scale: that of a CT at 120 kV, within some keV."""

_BONE_HU = (100.0, 1500.0)
"""Where tissue begins to contain bone mineral, and where it is cortical bone."""


@cache
def _pieces(element: str) -> tuple[tuple[float, Float, Float], ...]:
    """Log energies and log coefficients between edges, with the upper end of each piece."""
    edges = _EDGES.get(element, ())
    points = [*zip(_NODES, _ELEMENTS[element], strict=True)]
    cuts = [0.0, *(e for e, _, _ in edges), np.inf]
    pieces = []
    for n, (low, high) in enumerate(pairwise(cuts)):
        part = [p for p in points if low < p[0] < high]
        if n > 0:
            part.insert(0, (edges[n - 1][0], edges[n - 1][2]))
        if n < len(edges):
            part.append((edges[n][0], edges[n][1]))
        pieces.append((high, *np.log(np.array(part)).T))
    return tuple(pieces)


def _interpolated(kev: Float, x: Float, y: Float) -> Float:
    from scipy.interpolate import PchipInterpolator

    if len(x) < 3:
        return np.exp(np.interp(np.log(kev), x, y))
    return np.exp(PchipInterpolator(x, y, extrapolate=True)(np.log(kev)))


def mass_attenuation(material: str, kev: Float) -> Float:
    """Mass attenuation coefficient in cm2/g (with coherent scattering) at energies in keV.

    Raises
    ------
    ParameterError
        Material not in `MATERIALS`, or an energy outside 10 to 150 keV.
    """
    if material not in MATERIALS:
        raise ParameterError(
            f"material {material!r} is not known; choose one of {', '.join(MATERIALS)}"
        )
    kev = np.atleast_1d(np.asarray(kev, np.float64))
    if not ((kev >= _NODES[0]) & (kev <= _NODES[-1])).all():
        raise ParameterError(
            f"energies from {kev.min():g} to {kev.max():g} keV; attenuation is tabulated from "
            f"{_NODES[0]:g} to {_NODES[-1]:g} keV"
        )
    total = np.zeros(kev.shape)
    for element, fraction in MATERIALS[material][1].items():
        low = 0.0
        for high, x, y in _pieces(element):
            here = (kev >= low) & (kev < high)
            if here.any():
                total[here] += fraction * _interpolated(kev[here], x, y)
            low = high
    return total


def attenuation(material: str, kev: Float) -> Float:
    """Linear attenuation coefficient in 1/mm at energies in keV."""
    return mass_attenuation(material, kev) * MATERIALS[material][0] / 10.0


def air_absorption(kev: Float) -> Float:
    """Mass energy-absorption coefficient of dry air in cm2/g, 10 to 150 keV."""
    nodes, values = np.log(_NODES), np.log(_AIR_ABSORPTION)
    return _interpolated(np.asarray(kev, np.float64), nodes, values)


def tissue_densities(hounsfield: Array) -> tuple[Array, Array]:
    """Partial densities of water and of cortical bone in g/cm3 that show these Hounsfield units.

    ``mu(E) = rho_water mu/rho_water(E) + rho_bone mu/rho_bone(E)`` gives exactly the Hounsfield
    value back at `REFERENCE_KEV`. Below 100 HU all is water of another density (lung, fat, muscle);
    from there to 1500 HU the share of bone in the attenuation rises linearly to one, and stays.

    Parameters
    ----------
    hounsfield
        Any shape.

    Returns
    -------
    water, bone
        float32, same shape; below -1000 HU nothing is left.
    """
    water, bone = (
        float(mass_attenuation(m, np.array(REFERENCE_KEV))[0]) for m in ("water", "bone")
    )
    low, high = _BONE_HU
    relative = np.maximum(1.0 + np.asarray(hounsfield, np.float32) / 1000.0, 0.0)
    share = np.clip((relative - 1.0 - low / 1000.0) * (1000.0 / (high - low)), 0.0, 1.0)
    solid = relative * share
    return (relative - solid).astype(np.float32), (solid * (water / bone)).astype(np.float32)
