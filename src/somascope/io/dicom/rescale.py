"""Stored values become real ones: Modality LUT, Real World Value Mapping, SUV factors.

PS3.3 C.11.1 (Modality LUT), C.7.6.16.2.9 and .11 (its functional groups), C.8.9.1 (PET).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from somascope.core.errors import CorruptFile, UnitError
from somascope.core.grid import Array
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
    unit = _PET_UNITS.get(top.text("Units").upper(), "1") if modality == "PT" else "1"
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


def _is_hounsfield(top: Elements) -> bool:
    kind = top.strings("ImageType")
    return "LOCALIZER" not in kind[2:3] or top.text("RescaleType").upper() == "HU"


def _free(kind: str) -> str:
    """A Rescale Type outside the defined terms, where it reads as a unit."""
    return kind if _UNIT.fullmatch(kind) else "1"


def _ucum(unit: str) -> str:
    return {"mm^2/s": "mm2/s", "mm2/s": "mm2/s", "um^2/s": "um2/s"}.get(unit, unit)


def mapped(item: Elements) -> Rescale | None:
    """A Real World Value Mapping (C.7.6.16.2.11) with a UCUM unit, ``None`` without one."""
    for mapping in item.items("RealWorldValueMappingSequence"):
        code = mapping.first("MeasurementUnitsCodeSequence")
        unit = code.text("CodeValue") if code is not None else ""
        slope = mapping.number("RealWorldValueSlope")
        if unit in _NO_UNIT or slope is None or slope == 0:
            continue
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


def suv_factor(attributes: Mapping[str, Any]) -> float:
    """Factor from Bq/ml to SUVbw in g/ml: weight over the dose that was left at the reference.

    Parameters
    ----------
    attributes
        `Image.attributes` of a PET image.

    Returns
    -------
    float
        ``SUVbw = factor * value``. For Units GML it is 1; for CNTS it is Philips' private SUV
        scale factor (7053,1000).

    Raises
    ------
    UnitError
        An attribute that is needed is missing; the message names it.

    Notes
    -----
    Decay Correction START: the dose is decayed from its administration to the start of the
    acquisition (Series Time where it is no later, else Acquisition Time of the first slice: a
    Series Time after the acquisition is the time of a derivation); ADMIN: not at all; NONE: to the
    acquisition itself. QIBA's SUV pseudo-code.
    """
    units = str(attributes.get("Units", ""))
    if units == "GML":
        return 1.0
    if units == "CNTS":
        private = _number(attributes, "70531000")
        if private:
            return private
        raise UnitError(
            "Units is CNTS and there is no Philips SUV Scale Factor (7053,1000); the counts cannot "
            "become an SUV"
        )
    if units not in ("BQML", ""):
        raise UnitError(f"Units is {units!r}; an SUV is made from BQML, GML or CNTS")
    weight = _number(attributes, "PatientWeight")
    pharmaceuticals = attributes.get("RadiopharmaceuticalInformationSequence") or []
    if not weight:
        raise UnitError("PatientWeight is missing; set it in kg to have SUVs")
    if not pharmaceuticals:
        raise UnitError(
            "RadiopharmaceuticalInformationSequence is missing; no SUV without the dose"
        )
    agent = pharmaceuticals[0]
    dose, half = _number(agent, "RadionuclideTotalDose"), _number(agent, "RadionuclideHalfLife")
    if not dose:
        raise UnitError("RadionuclideTotalDose is missing; set it in Bq to have SUVs")
    correction = str(attributes.get("DecayCorrection", ""))
    if correction == "ADMIN":
        return weight * 1000.0 / dose
    if correction not in ("START", "NONE"):
        raise UnitError(f"DecayCorrection is {correction!r}; START, ADMIN and NONE are understood")
    if not half:
        raise UnitError("RadionuclideHalfLife is missing; set it in s to have SUVs")
    acquired = _when(attributes, "Acquisition")
    reference = acquired
    if correction == "START":
        series = _when(attributes, "Series")
        if series is not None and (acquired is None or series <= acquired):
            reference = series
    if reference is None:
        raise UnitError("SeriesTime and AcquisitionTime are missing; one is needed for SUVs")
    given = _moment(str(agent.get("RadiopharmaceuticalStartDateTime", "")))
    if given is None:
        clock = str(agent.get("RadiopharmaceuticalStartTime", ""))
        given = _moment(reference.strftime("%Y%m%d") + clock) if clock else None
        if given is not None and given > reference:
            given -= timedelta(days=1)  # given before midnight
    if given is None:
        raise UnitError("RadiopharmaceuticalStartTime is missing; it is needed for SUVs")
    elapsed = (reference - given).total_seconds()
    if not 0 <= elapsed < 86400 * 30:
        raise UnitError(f"the dose was given {elapsed:g} s before the scan; a time is wrong")
    return weight * 1000.0 / (dose * 2.0 ** (-elapsed / half))


def _number(attributes: Mapping[str, Any], keyword: str) -> float | None:
    value = attributes.get(keyword)
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return float(value) if value not in (None, "") else None


def _when(attributes: Mapping[str, Any], name: str) -> datetime | None:
    date, time = attributes.get(f"{name}Date"), attributes.get(f"{name}Time")
    return _moment(f"{date}{time}") if date and time else None


def _moment(text: str) -> datetime | None:
    digits, _, fraction = text.strip().partition(".")
    for form, length in (("%Y%m%d%H%M%S", 14), ("%Y%m%d%H%M", 12)):
        try:
            base = datetime.strptime(digits[:length], form)  # noqa: DTZ007 - DICOM's local time
        except ValueError:
            continue
        part = "".join(c for c in fraction[:6] if c.isdigit())
        return base + timedelta(microseconds=int(part.ljust(6, "0")) if part else 0)
    return None
