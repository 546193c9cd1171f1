"""Standardised uptake values from the attributes of a PET series (PS3.3 C.8.9.1, C.8.9.2, C.8.9.4).

``SUV = concentration * size / dose``, where the dose is the one that is left at the time to which
the concentration is corrected. That time is what implementations disagree about; here it is found
as QIBA's SUV pseudo-code finds it (QIBA Profile FDG-PET/CT, appendix G).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from somascope.core.errors import UnitError

SuvType = Literal["BW", "LBMJANMA", "LBMJAMES128", "IBW", "BSA"]
"""SUV Type (0054,1006): body weight, lean body mass (Janmahasatian; James), ideal weight, area."""

UNITS = {
    "BW": "g/ml",
    "LBM": "g/ml{SUVlbm}",
    "LBMJANMA": "g/ml{SUVlbm(Janma)}",
    "LBMJAMES128": "g/ml{SUVlbm(James128)}",
    "IBW": "g/ml{SUVibw}",
    "BSA": "cm2/ml",
}
"""SUV Type -> UCUM unit of an `Image`: the codes of PS3.16 CID 85, but for the two plain ones."""
_PLAIN = {"g/ml{SUVbw}": "g/ml", "cm2/ml{SUVbsa}": "cm2/ml"}

_LATE_INJECTION = timedelta(minutes=30)
_LONGEST = timedelta(days=30)
_SHORT_LIVED = 12 * 3600.0
_PRIVATE_SUV, _PRIVATE_ACTIVITY, _GE_SCAN = "70531000", "70531009", "0009100D"


def type_of(unit: str) -> str | None:
    """SUV Type of values in one of `UNITS`; None for another unit."""
    return next((kind for kind, own in UNITS.items() if own == unit), None)


def code_of(unit: str) -> str:
    """The code that DICOM has for a unit of SUV; any other unit as it is."""
    return next((code for code, own in _PLAIN.items() if own == unit), unit)


def unit_of_code(code: str) -> str:
    """The unit of an `Image` for a code of SUV, also of its older form ``{SUVbw}g/ml``."""
    if code.startswith("{SUV"):
        note, _, unit = code.partition("}")
        code = f"{unit}{note}}}"
    return _PLAIN.get(code, code)


@dataclass(frozen=True)
class Reference:
    """When the values are meant to be: ``moment`` (None: the injection itself), and by which rule.

    ``rule`` is ``injection``, ``series``, ``scan`` (GE private), ``frame`` (computed back from
    Frame Reference Time), ``acquisition`` or ``measured`` (not corrected for decay).
    """

    moment: datetime | None
    rule: str


def average_time(half_life: float, duration: float) -> float:
    """Seconds from the start of a frame to when the activity equals its mean over the frame.

    ``ln(x / (1 - exp(-x))) / lambda`` with ``x = lambda duration``: a little before the middle.
    """
    rate = math.log(2.0) / half_life
    x = rate * duration
    if x < 1e-4:  # series of the same, free of cancellation
        return duration * (0.5 - x / 24.0)
    return math.log(x / -math.expm1(-x)) / rate


def lean_body_mass(weight: float, height: float, *, sex: str, formula: str = "LBMJANMA") -> float:
    """Lean body mass in kg of ``weight`` in kg and ``height`` in m; ``sex`` is ``M`` or ``F``.

    ``LBMJANMA``: Janmahasatian et al., Clin Pharmacokinet 44:1051 (2005), ``9270 W / (6680 + 216
    BMI)`` for men and ``9270 W / (8780 + 244 BMI)`` for women. ``LBMJAMES128``: James (1976),
    ``1.10 W - 128 (W/H)^2`` and ``1.07 W - 148 (W/H)^2``, H in cm, which falls for heavy people.

    Raises
    ------
    UnitError
        Another sex, or a formula that gives nothing positive for this person.
    """
    if sex not in ("M", "F"):
        raise UnitError(
            f"PatientSex is {sex!r}; lean body mass needs M or F, or take SUV by body weight"
        )
    if formula == "LBMJAMES128":
        ratio = (weight / (100.0 * height)) ** 2
        mass = 1.10 * weight - 128.0 * ratio if sex == "M" else 1.07 * weight - 148.0 * ratio
    else:
        index = weight / height**2
        mass = 9270.0 * weight / (6680.0 + 216.0 * index if sex == "M" else 8780.0 + 244.0 * index)
    if not mass > 0:
        raise UnitError(
            f"James' formula gives {mass:.1f} kg for {weight:g} kg and {height:g} m; use LBMJANMA"
        )
    return mass


def body_surface(weight: float, height: float) -> float:
    """Body surface in m2 (Du Bois and Du Bois, 1916) of ``weight`` in kg and ``height`` in m."""
    return 0.007184 * weight**0.425 * (100.0 * height) ** 0.725


def ideal_weight(height: float, *, sex: str) -> float:
    """Ideal body weight in kg (Sugawara et al., Radiology 213:521, 1999) of ``height`` in m."""
    if sex not in ("M", "F"):
        raise UnitError(f"PatientSex is {sex!r}; ideal body weight needs M or F")
    beyond = 100.0 * height - 152.0
    return 48.0 + 1.06 * beyond if sex == "M" else 45.5 + 0.91 * beyond


def body_size(attributes: Mapping[str, Any], kind: str = "BW") -> float:
    """What the dose is spread over: grams, or cm2 for ``BSA``.

    Raises
    ------
    UnitError
        Patient's Weight, Size or Sex is missing where it is needed, or impossible.
    """
    sex = str(attributes.get("PatientSex") or "")
    if kind == "IBW":
        return 1000.0 * ideal_weight(_height(attributes), sex=sex)
    weight = number(attributes, "PatientWeight")
    if not weight:
        raise UnitError("PatientWeight is missing; set it in kg to have SUVs")
    if not 0.005 <= weight <= 700.0:
        raise UnitError(f"PatientWeight is {weight:g} kg, which nobody has; set it in kg")
    if kind == "BW":
        return 1000.0 * weight
    height = _height(attributes)
    if kind == "BSA":
        return 1e4 * body_surface(weight, height)
    if not kind.startswith("LBMJ"):
        raise UnitError(f"SUV Type {kind!r} is not known; choose one of {', '.join(UNITS)}")
    return 1000.0 * lean_body_mass(weight, height, sex=sex, formula=kind)


def _height(attributes: Mapping[str, Any]) -> float:
    height = number(attributes, "PatientSize")
    if not height:
        raise UnitError("PatientSize is missing; set it in m, or take SUV by body weight")
    if not 0.2 <= height <= 2.8:
        raise UnitError(f"PatientSize is {height:g} m, which nobody has; set it in m, not in cm")
    return height


def suv_factor(attributes: Mapping[str, Any], *, kind: str = "BW", later: float = 0.0) -> float:
    """Factor from the values of a PET image to SUV.

    Parameters
    ----------
    attributes
        `Image.attributes` of a PET image. Units tells what its values are: BQML; CNTS or PROPCPS
        with Philips' private factors (7053,1000) to SUVbw or (7053,1009) to Bq/ml; GML and CM2ML
        are SUVs already, by the SUV Type they name (BW where none is named).
    kind
        The SUV wanted, a `SuvType`.
    later
        Seconds from the image's first frame to the frame meant; matters only where the values are
        not corrected for decay.

    Returns
    -------
    float
        ``SUV = factor * value``, in g/ml, or cm2/ml for BSA.

    Raises
    ------
    UnitError
        An attribute that is needed is missing, impossible, or contradicts another; it is named.
    """
    units = str(attributes.get("Units") or "BQML")
    if units in ("GML", "CM2ML"):
        return _between(attributes, units, kind)
    scale = 1.0
    if units in ("CNTS", "PROPCPS"):
        direct, scale = number(attributes, _PRIVATE_SUV), number(attributes, _PRIVATE_ACTIVITY)
        if direct:
            return direct if kind == "BW" else direct * _ratio(attributes, "BW", kind)
        if not scale:
            raise UnitError(
                f"Units is {units} and there is neither a Philips SUV Scale Factor (7053,1000) nor "
                "an Activity Concentration Scale Factor (7053,1009); such values cannot become SUVs"
            )
    elif units != "BQML":
        raise UnitError(f"Units is {units!r}; an SUV is made from BQML, GML, CM2ML or CNTS")
    size = body_size(attributes, kind)
    return scale * size / dose_at(attributes, reference(attributes), later=later)


def _between(attributes: Mapping[str, Any], units: str, kind: str) -> float:
    stated = "BSA" if units == "CM2ML" else str(attributes.get("SUVType") or "BW")
    if stated == kind:
        return 1.0
    if stated == "LBM":
        raise UnitError("the values are SUVlbm of an unnamed formula; no other SUV follows from it")
    return _ratio(attributes, stated, kind)


def _ratio(attributes: Mapping[str, Any], old: str, new: str) -> float:
    return body_size(attributes, new) / body_size(attributes, old)


def agent(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first item of Radiopharmaceutical Information Sequence."""
    items = attributes.get("RadiopharmaceuticalInformationSequence") or []
    if not items:
        raise UnitError(
            "RadiopharmaceuticalInformationSequence is missing; no SUV without the dose"
        )
    return items[0]


def half_life(attributes: Mapping[str, Any]) -> float:
    """Radionuclide Half Life in s."""
    half = number(agent(attributes), "RadionuclideHalfLife")
    if not half:
        raise UnitError("RadionuclideHalfLife is missing; set it in s to have SUVs")
    if not half > 0:
        raise UnitError(f"RadionuclideHalfLife is {half:g} s; it must be positive")
    return half


def dose_at(attributes: Mapping[str, Any], when: Reference, *, later: float = 0.0) -> float:
    """Activity in Bq that is left of the injected dose at a reference (``later`` s after it)."""
    item = agent(attributes)
    dose = number(item, "RadionuclideTotalDose")
    if not dose:
        raise UnitError("RadionuclideTotalDose is missing; set it in Bq to have SUVs")
    if not dose >= 1e4:
        raise UnitError(
            f"RadionuclideTotalDose is {dose:g} Bq, too little for an image; MBq written for Bq?"
        )
    if when.moment is None:
        return dose
    half = half_life(attributes)
    elapsed = when.moment - injected(attributes, when.moment)
    if not -_LATE_INJECTION <= elapsed < _LONGEST:
        raise UnitError(
            f"the dose was given {elapsed.total_seconds():g} s before the scan; a time is wrong"
        )
    halves = (elapsed.total_seconds() + (later if when.rule == "measured" else 0.0)) / half
    if halves > 40:
        raise UnitError(
            f"{halves:.0f} half lives passed between injection and scan; a time or the half life "
            f"of {half:g} s is wrong"
        )
    return dose * 2.0**-halves


def injected(attributes: Mapping[str, Any], near: datetime) -> datetime:
    """When the dose was given; a bare time of day is the last one before ``near``.

    Where the agent is short-lived and the time of day is less than half an hour after ``near``, the
    injection came during the scan (a dynamic study), not a day before.
    """
    item = agent(attributes)
    text = str(item.get("RadiopharmaceuticalStartDateTime") or "")
    given = moment(text)
    if given is not None:
        return given + _zone_shift(text, attributes)
    clock = str(item.get("RadiopharmaceuticalStartTime") or "")
    given = moment(near.strftime("%Y%m%d") + clock.replace(":", "")) if clock else None
    if given is None:
        raise UnitError("RadiopharmaceuticalStartTime is missing; it is needed for SUVs")
    half = number(item, "RadionuclideHalfLife") or 0.0
    candidates = [given + timedelta(days=d) for d in (1, 0, -1)]
    slack = _LATE_INJECTION if 0 < half < _SHORT_LIVED else timedelta(0)
    return next(c for c in candidates if c <= near + slack)


def reference(attributes: Mapping[str, Any]) -> Reference:
    """The time to which the values are corrected for decay.

    Decay Correction ADMIN: the injection. START: Series Date and Time where they are no later than
    the (earliest) acquisition; a later one is the time of a derivation, and then GE's private scan
    time (0009,100D), else the start computed back from Frame Reference Time and the average time of
    the frame, else the acquisition. NONE: the acquisition, at the average time within its frame.

    Raises
    ------
    UnitError
        Decay Correction is missing or contradicts Corrected Image, or no time is known.
    """
    correction = str(attributes.get("DecayCorrection") or "")
    if correction not in ("START", "ADMIN", "NONE"):
        raise UnitError(f"DecayCorrection is {correction!r}; START, ADMIN and NONE are understood")
    done = attributes.get("CorrectedImage") or ()
    done = done.split("\\") if isinstance(done, str) else list(done)
    if correction != "NONE" and done and not {"DECY", "DECAY"} & set(done):
        raise UnitError(
            f"DecayCorrection is {correction} but CorrectedImage {done} has no DECY; one is wrong"
        )
    if correction == "ADMIN":
        return Reference(None, "injection")
    acquired, series = when(attributes, "Acquisition"), when(attributes, "Series")
    duration = (number(attributes, "ActualFrameDuration") or 0.0) / 1000.0
    if correction == "NONE":
        if acquired is None:
            raise UnitError("AcquisitionTime is missing; values without decay correction need it")
        inside = average_time(half_life(attributes), duration) if duration > 0 else 0.0
        return Reference(acquired + timedelta(seconds=inside), "measured")
    if series is not None and (acquired is None or series <= acquired):
        return Reference(series, "series")
    scan = moment(str(attributes.get(_GE_SCAN) or ""))
    if scan is not None:
        return Reference(scan, "scan")
    if acquired is None:
        raise UnitError("SeriesTime and AcquisitionTime are missing; one is needed for SUVs")
    offset = (number(attributes, "FrameReferenceTime") or 0.0) / 1000.0
    if offset > 0 and duration > 0:
        inside = average_time(half_life(attributes), duration)
        return Reference(acquired + timedelta(seconds=inside - offset), "frame")
    return Reference(acquired, "acquisition")


def number(attributes: Mapping[str, Any], keyword: str) -> float | None:
    """The (first) value of an attribute as a number; None where empty or not a finite number."""
    value = attributes.get(keyword)
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    try:
        found = float(value) if value not in (None, "") else None
    except (TypeError, ValueError):
        return None
    return found if found is None or math.isfinite(found) else None


def when(attributes: Mapping[str, Any], name: str) -> datetime | None:
    """``<name>Date`` and ``<name>Time`` (or ``<name>DateTime``) as one moment."""
    date, time = attributes.get(f"{name}Date"), attributes.get(f"{name}Time")
    if date and time:
        return moment(f"{str(date).replace('.', '')}{str(time).replace(':', '')}")
    return moment(str(attributes.get(f"{name}DateTime") or ""))


def moment(text: str) -> datetime | None:
    """A DICOM date and time (DT), local; None where it has no time of day."""
    text = text.strip()
    cut = max(text.find("+"), text.find("-"))
    digits, _, fraction = (text[:cut] if cut > 0 else text).partition(".")
    for form, length in (("%Y%m%d%H%M%S", 14), ("%Y%m%d%H%M", 12)):
        if len(digits) < length:
            continue
        try:
            base = datetime.strptime(digits[:length], form)  # noqa: DTZ007 - DICOM's local time
        except ValueError:
            continue
        part = "".join(c for c in fraction[:6] if c.isdigit())
        return base + timedelta(microseconds=int(part.ljust(6, "0")) if part else 0)
    return None


def _zone_shift(text: str, attributes: Mapping[str, Any]) -> timedelta:
    """From the zone that a date and time names to the zone of the series, where both are known."""
    ours = str(attributes.get("TimezoneOffsetFromUTC") or "").strip()
    cut = max(text.find("+"), text.find("-"))
    if cut < 0 or not ours:
        return timedelta(0)
    return _offset(ours) - _offset(text[cut:].strip())


def _offset(zone: str) -> timedelta:
    sign = -1 if zone.startswith("-") else 1
    digits = zone.lstrip("+-").rjust(4, "0")
    if not digits[:4].isdigit():
        return timedelta(0)
    return sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]))
