"""Stored values become real ones: Modality LUT, Real World Value Mapping, units of PET.

PS3.3 C.11.1 (Modality LUT), C.7.6.16.2.9 and .11 (its functional groups), C.8.9.1 (PET).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from somascope.core.errors import CorruptFile
from somascope.core.grid import Array
from somascope.io.dicom import suv
from somascope.io.dicom.elements import Elements

_RESCALE_UNITS = {
    "HU": "[hnsf'U]", "HU_MOD": "[hnsf'U]", "PCT": "%", "MGML": "mg/ml", "Z_EFF": "1", "ED": "1",
    "EDW": "1", "OD": "1", "US": "1", "UNSPECIFIED": "1", "NORMALIZED": "1",
}  # fmt: skip
_PET_UNITS = {
    "BQML": "Bq/ml", "GML": "g/ml", "CM2ML": "cm2/ml", "CNTS": "{counts}", "CPS": "{counts}/s",
    "PCNT": "%", "NONE": "1", "1CM": "/cm", "UMOLML": "umol/ml", "UMOLMINML": "umol/min/ml",
    "MGMINML": "mg/min/ml", "MLMINML": "ml/min/ml", "MLMING": "ml/min/g", "MLG": "ml/g",
    "MLML": "ml/ml",
}  # fmt: skip
_UNIT = re.compile(r"[A-Za-z0-9%^*./\-]{1,16}")
_NO_UNIT = frozenset(("", "1", "no units", "{no units}", "US"))


@dataclass(frozen=True)
class Rescale:
    """``value = slope * stored + intercept``, or a table that begins at stored value ``first``."""

    slope: float = 1.0
    intercept: float = 0.0
    unit: str = "1"
    table: bytes = b""
    first: int = 0

    def apply(self, stored: Array) -> Array:
        """float32 of the same shape."""
        if self.table:
            table = np.frombuffer(self.table, np.float32)
            index = np.clip(stored.astype(np.int64) - self.first, 0, len(table) - 1)
            return table[index]
        return (stored * np.float64(self.slope) + self.intercept).astype(np.float32)

    @property
    def whole(self) -> bool:
        """Whether integers stay integers."""
        return (
            not self.table and float(self.slope).is_integer() and float(self.intercept).is_integer()
        )


IDENTITY = Rescale()


def rescale(item: Elements, *, modality: str, top: Elements, signed: bool) -> Rescale:
    """The modality transform that ``item`` (a data set or a functional group item) holds.

    A Real World Value Mapping with a unit wins over Rescale Slope, which wins over a LUT.
    """
    unit = _pet_unit(top) if modality == "PT" else "1"
    slope, intercept = item.number("RescaleSlope"), item.number("RescaleIntercept")
    if slope is not None or intercept is not None:
        kind = item.text("RescaleType")
        if modality == "CT" and kind.upper() in ("", "HU", "US") and _is_hounsfield(top):
            unit = "[hnsf'U]"
        elif kind:
            unit = unit if modality == "PT" else _RESCALE_UNITS.get(kind.upper(), _free(kind))
        slope = 1.0 if slope is None else slope
        if slope == 0 or not np.isfinite(slope):
            slope = 1.0  # written by some devices for "none"
        return Rescale(slope, intercept or 0.0, _ucum(unit))
    lut = item.first("ModalityLUTSequence")
    if lut is not None:
        return _table(
            lut, signed=signed, unit=_RESCALE_UNITS.get(lut.text("ModalityLUTType").upper(), "1")
        )
    if modality == "RTDOSE" and "DoseGridScaling" in top:
        return Rescale(
            top.number("DoseGridScaling") or 1.0,
            0.0,
            "Gy" if top.text("DoseUnits") == "GY" else "1",
        )
    return Rescale(unit=unit) if unit != "1" else IDENTITY


def _pet_unit(top: Elements) -> str:
    unit = _PET_UNITS.get(top.text("Units").upper(), "1")
    stated = suv.UNITS.get(top.text("SUVType").upper())
    return stated if unit == "g/ml" and stated is not None and stated != "cm2/ml" else unit


def _is_hounsfield(top: Elements) -> bool:
    kind = top.strings("ImageType")
    return "LOCALIZER" not in kind[2:3] or top.text("RescaleType").upper() == "HU"


def _free(kind: str) -> str:
    """A Rescale Type outside the defined terms, where it reads as a unit."""
    return kind if _UNIT.fullmatch(kind) else "1"


def _ucum(unit: str) -> str:
    return {"mm^2/s": "mm2/s", "um^2/s": "um2/s"}.get(unit, suv.unit_of_code(unit))


def mapped(item: Elements, *, modality: str = "") -> Rescale | None:
    """A Real World Value Mapping (C.7.6.16.2.11) with a UCUM unit, ``None`` without one.

    One without a unit counts too in a radiograph, which has no other place for its scale, and one
    that says "no units" in a CT, whose values are Hounsfield units unless something says otherwise.
    """
    for mapping in item.items("RealWorldValueMappingSequence"):
        code = mapping.first("MeasurementUnitsCodeSequence")
        # Codes of more than 16 characters have an attribute of their own.
        unit = (code.text("CodeValue") or code.text(0x00080119)) if code is not None else ""
        slope = mapping.number("RealWorldValueSlope")
        if slope is None or slope == 0:
            continue
        if unit in _NO_UNIT:
            if modality != "DX" and not (modality == "CT" and unit == "1"):
                continue
            unit = "1"
        return Rescale(slope, mapping.number("RealWorldValueIntercept") or 0.0, _ucum(unit))
    return None


def _table(lut: Elements, *, signed: bool, unit: str) -> Rescale:
    descriptor = lut.numbers("LUTDescriptor")
    if len(descriptor) != 3:
        raise CorruptFile(f"{lut.name}: a Modality LUT without its descriptor; it is damaged")
    count, first, bits = (int(v) for v in descriptor)
    count = (count & 0xFFFF) or 65536
    if signed and first > 32767:
        first -= 65536
    raw = lut.raw("LUTData")
    order = "<" if lut.little else ">"
    if len(raw) >= 2 * count:
        values = np.frombuffer(raw, order + "u2", count)
    elif bits <= 8 and len(raw) >= count:
        values = np.frombuffer(raw, np.uint8, count)
    else:
        raise CorruptFile(f"{lut.name}: a Modality LUT holds {len(raw)} bytes for {count} entries")
    return Rescale(unit=unit, table=values.astype(np.float32).tobytes(), first=first)
