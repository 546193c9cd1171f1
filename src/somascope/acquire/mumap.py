"""From a CT to the attenuation that gamma rays meet: the mu-map of PET and SPECT.

Bilinear in Hounsfield units. At 511 keV it is the published table of Carney, Townsend, Rappoport
and Bendriem (Med Phys 33:976, 2006): ``mu = 9.6e-5 (HU + 1000)`` per cm up to a break, above it a
line of smaller slope that depends on the tube voltage. The table says where a tube sees cortical
bone; at other energies the line through water and that bone is drawn between their coefficients at
that energy, which gives the table back at 511 keV within one per cent.

Mass attenuation above 150 keV: NIST, Hubbell and Seltzer, NISTIR 5632 (1995), table 4.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from somascope.acquire.matter import MATERIALS, mass_attenuation
from somascope.core import Grid, Image
from somascope.core.errors import ParameterError, UnitError
from somascope.core.grid import Array
from somascope.process import resample as process

UNIT = "/cm"
"""UCUM code of a mu-map: what PET Units call 1CM (PS3.3 C.8.9.1.1.3)."""

ANNIHILATION_KEV = 511.0

_CARNEY = {
    80.0: (3.64e-5, 6.26e-2, 1050.0),
    100.0: (4.43e-5, 5.44e-2, 1052.0),
    110.0: (4.92e-5, 4.88e-2, 1043.0),
    120.0: (5.10e-5, 4.71e-2, 1047.0),
    130.0: (5.51e-5, 4.24e-2, 1037.0),
    140.0: (5.64e-5, 4.08e-2, 1030.0),
}
"""kV: slope a and intercept b of ``a (HU + 1000) + b`` per cm, and the break in HU + 1000."""
_WATER_SLOPE = 9.6e-5

_HIGH_KEV = (150.0, 200.0, 300.0, 400.0, 500.0, 600.0, 800.0)
_HIGH = {
    "water": (0.1505, 0.1370, 0.1186, 0.1061, 0.09687, 0.08956, 0.07865),
    "bone": (0.1480, 0.1309, 0.1113, 0.09908, 0.09022, 0.08332, 0.07308),
}
"""cm2/g at `_HIGH_KEV`."""


def coefficient(material: str, energy_kev: float) -> float:
    """Linear attenuation in 1/cm of ``water`` or cortical ``bone`` at 10 to 800 keV."""
    if material not in _HIGH:
        raise ParameterError(f"material {material!r} has no table here; choose water or bone")
    if not 10.0 <= energy_kev <= _HIGH_KEV[-1]:
        raise ParameterError(
            f"energy of {energy_kev:g} keV; attenuation is tabulated from 10 to {_HIGH_KEV[-1]:g}"
        )
    density = MATERIALS[material][0]
    if energy_kev <= _HIGH_KEV[0]:
        return float(mass_attenuation(material, np.array([energy_kev]))[0]) * density
    from scipy.interpolate import PchipInterpolator

    curve = PchipInterpolator(np.log(_HIGH_KEV), np.log(_HIGH[material]))
    return float(np.exp(curve(np.log(energy_kev)))) * density


def bilinear(energy_kev: float, kvp: float) -> tuple[float, float, float, float]:
    """``(water slope, bone slope, bone intercept, break)``, all over ``HU + 1000``, mu in 1/cm.

    Raises
    ------
    ParameterError
        A tube voltage outside 80 to 140 kV, or an energy outside 10 to 800 keV.
    """
    known = np.array(sorted(_CARNEY))
    if not known[0] <= kvp <= known[-1]:
        raise ParameterError(
            f"kvp is {kvp:g}; the table of Carney et al. goes from {known[0]:g} to {known[-1]:g} kV"
        )
    rows = np.array([_CARNEY[k] for k in known])
    slope, intercept, turn = (float(np.interp(kvp, known, column)) for column in rows.T)
    if abs(energy_kev - ANNIHILATION_KEV) < 1.0:
        return _WATER_SLOPE, slope, intercept, turn
    seen = (coefficient("bone", ANNIHILATION_KEV) - intercept) / slope
    water, bone = coefficient("water", energy_kev), coefficient("bone", energy_kev)
    at_turn = water * turn / 1000.0
    steep = (bone - at_turn) / (seen - turn)
    return water / 1000.0, steep, at_turn - steep * turn, turn


def attenuation_of(hounsfield: Array, *, energy_kev: float, kvp: float = 120.0) -> Array:
    """Attenuation in 1/cm of Hounsfield units, any shape, float32; nothing below -1000 HU."""
    low, high, intercept, turn = bilinear(energy_kev, kvp)
    above = np.maximum(np.asarray(hounsfield, np.float32) + np.float32(1000), np.float32(0))
    return np.where(
        above <= turn,
        np.float32(low) * above,
        np.float32(high) * above + np.float32(intercept),
    ).astype(np.float32)


def mu_map(ct: Image, *, energy_kev: float, kvp: float | None = None) -> Image:
    """Attenuation map of a CT: same grid, float32, unit ``/cm``.

    Parameters
    ----------
    ct
        In Hounsfield units, any leading axes. One that is in ``/cm`` or ``/mm`` is taken for a
        mu-map already and only brought to ``/cm``.
    energy_kev
        Of the gamma rays: 511 for PET, 140.5 for Tc-99m, 10 to 800.
    kvp
        Tube voltage; default the CT's ``KVP``, else 120.

    Raises
    ------
    UnitError
        The CT is in another unit or not finite.
    ParameterError
        See `bilinear`.
    """
    if not np.isfinite(ct.data).all():
        raise UnitError("the CT has values that are not finite; fill them before it becomes mu")
    if ct.unit in ("/cm", "/mm"):
        data = np.asarray(ct.data, np.float32) * np.float32(1.0 if ct.unit == "/cm" else 10.0)
    elif ct.unit == "[hnsf'U]":
        stated = ct.attributes.get("KVP")
        voltage = kvp if kvp is not None else float(stated) if stated else 120.0
        data = attenuation_of(ct.data, energy_kev=energy_kev, kvp=voltage)
    else:
        raise UnitError(f"the CT is in {ct.unit!r}; a mu-map is made of [hnsf'U], /cm or /mm")
    kept = {k: v for k, v in ct.attributes.items() if k not in _OF_HOUNSFIELD}
    title = f"{kept.get('SeriesDescription', '')} mu {energy_kev:g} keV".strip()
    kept["SeriesDescription"] = title[:64]
    return replace(ct, data=data, unit=UNIT, attributes=kept)


_OF_HOUNSFIELD = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "RescaleType")


def resample_to(image: Image, grid: Grid, *, fill: float = 0.0) -> Image:
    """The image on another grid at any angle, trilinear; a coarse voxel is the mean of its content.

    Where the new voxels are larger than the old ones, several points of each are averaged, so that
    thin bone is neither lost nor doubled. ``fill`` goes where the grid leaves the image.

    Raises
    ------
    GeometryError
        The two are in different frames of reference.
    """
    if image.grid.allclose(grid) and not _elsewhere(image.grid, grid):
        return replace(image, grid=grid)
    return process.resample_to(
        image.with_data(image.data.astype(np.float32)), grid, fill=fill, average=True
    )


def _elsewhere(a: Grid, b: Grid) -> bool:
    """Whether both name a frame of reference, and not the same."""
    return bool(
        a.frame_of_reference
        and b.frame_of_reference
        and a.frame_of_reference != b.frame_of_reference
    )
