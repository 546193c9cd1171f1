"""Units: UCUM inside; Rescale Type (PS3.3 C.11.1.1.2) and PET Units (C.8.9.1.1.3) outside."""

from __future__ import annotations

from pydicom.dataset import Dataset

from somascope.core.finding import Code
from somascope.io.dicom.encode import coded, dataset, typed

RESCALE_TYPES = {"[hnsf'U]": "HU", "1": "US", "%": "PCT"}
"""UCUM -> Rescale Type; other units go in as UCUM (the terms may be extended)."""

PET_UNITS = {
    "Bq/ml": "BQML",
    "g/ml": "GML",
    "{counts}": "CNTS",
    "{counts}/s": "CPS",
    "%": "PCNT",
    "cm2/ml": "CM2ML",
    "umol/min/ml": "UMOLMINML",
    "ml/min/g": "MLMING",
    "ml/g": "MLG",
    "/cm": "1CM",
    "umol/ml": "UMOLML",
    "mg/min/ml": "MGMINML",
    "ml/min/ml": "MLMINML",
    "ml/ml": "MLML",
}

_MEANINGS = {
    "1": "no units",
    "[hnsf'U]": "Hounsfield unit",
    "Bq/ml": "Becquerels per milliliter",
    "g/ml": "Standardized Uptake Value body weight",
    "g/ml{SUVbw}": "Standardized Uptake Value body weight",
    "g/ml{SUVlbm}": "Standardized Uptake Value lean body mass (James)",
    "g/ml{SUVlbm(Janma)}": "Standardized Uptake Value lean body mass (Janma)",
    "g/ml{SUVlbm(James128)}": "Standardized Uptake Value lean body mass (James 128 multiplier)",
    "g/ml{SUVibw}": "Standardized Uptake Value ideal body weight",
    "cm2/ml{SUVbsa}": "Standardized Uptake Value body surface area",
    "mm2/s": "square millimeter per second",
    "s": "second",
    "ms": "millisecond",
    "mm": "millimeter",
    "%": "percent",
    "{counts}": "counts",
}


def unit_code(unit: str) -> Code:
    """The UCUM code of a unit."""
    return Code(unit, "UCUM", _MEANINGS.get(unit, unit))


def rescale_type(unit: str) -> str:
    """Rescale Type of a unit."""
    return RESCALE_TYPES.get(unit, unit)


def real_world(
    unit: str, *, slope: float, intercept: float, ends: tuple[float, float], vr: str
) -> Dataset:
    """The item of Real World Value Mapping Sequence (PS3.3 C.7.6.16.2.11).

    ``ends`` are the first and last stored value mapped; ``vr`` is ``US``, ``SS`` or (for
    floating-point pixels) ``FD``.
    """
    item = dataset(
        {
            "LUTExplanation": unit_code(unit).meaning,
            "LUTLabel": (unit or "1")[:16],
            "MeasurementUnitsCodeSequence": [coded(unit_code(unit))],
            "RealWorldValueSlope": slope,
            "RealWorldValueIntercept": intercept,
        }
    )
    for word, end in zip(("First", "Last"), ends, strict=True):
        if vr == "FD":
            item.add(typed(f"DoubleFloatRealWorldValue{word}ValueMapped", "FD", float(end)))
        else:
            item.add(typed(f"RealWorldValue{word}ValueMapped", vr, int(end)))
    return item
