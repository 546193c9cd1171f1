"""Radioactive decay within and between frames, positron emitters, and dead time.

Half lives, positron branching and greatest positron energy: NuDat 3 (NNDC) and the Decay Data
Evaluation Project (www.lnhb.fr), which differ by less than half a per cent in the first two. Mean
range in water: Conti and Eriksson, EJNMMI Physics 3:8 (2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from somascope.core import Axis, Image
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.io.dicom.pet import half_life, starts
from somascope.io.dicom.suv import average_time

__all__ = [
    "NUCLIDES",
    "Frames",
    "Nuclide",
    "average_time",
    "factor",
    "frames",
    "live_fraction",
    "nuclide",
    "nuclide_of",
    "observed_rate",
    "seconds",
    "true_rate",
]

Model = Literal["non-paralysable", "paralysable"]


@dataclass(frozen=True)
class Nuclide:
    """A positron emitter.

    ``half_life`` in s, ``branching`` positrons per decay, ``range_mm`` mean range in water,
    ``energy_kev`` greatest positron energy, ``code`` its SNOMED CT code (PS3.16 CID 4020), and
    ``retired`` the SNOMED-RT one that older instances have.
    """

    name: str
    half_life: float
    branching: float
    range_mm: float
    energy_kev: float
    code: str
    retired: str
    meaning: str


NUCLIDES = {
    n.name: n
    for n in (
        Nuclide("C-11", 1221.8, 0.9975, 1.2, 960.4, "40565003", "C-105A1", "^11^Carbon"),
        Nuclide("N-13", 597.9, 0.9982, 1.8, 1198.5, "21576001", "C-107A1", "^13^Nitrogen"),
        Nuclide("O-15", 122.24, 0.9989, 3.0, 1735.0, "129504001", "C-B1038", "^15^Oxygen"),
        Nuclide("F-18", 6586.2, 0.9686, 0.6, 633.9, "77004003", "C-111A1", "^18^Fluorine"),
        Nuclide("Cu-64", 45723.6, 0.1752, 0.7, 653.1, "3932008", "C-127A2", "^64^Copper"),
        Nuclide("Ga-68", 4062.6, 0.8914, 3.5, 1899.1, "35337001", "C-131A3", "^68^Gallium"),
        Nuclide("Rb-82", 75.45, 0.9545, 7.1, 3378.0, "79197006", "C-159A2", "^82^Rubidium"),
        Nuclide("Zr-89", 282276.0, 0.2274, 1.3, 902.0, "63360001", "C-168A4", "^89^Zirconium"),
        Nuclide("I-124", 360806.4, 0.2269, 3.4, 2137.6, "40937006", "C-114A5", "^124^Iodine"),
    )
}


def nuclide(name: str) -> Nuclide:
    """A nuclide by name, ``F-18``, ``F18`` and ``18F`` alike.

    Raises
    ------
    ParameterError
        None of `NUCLIDES`.
    """
    letters = "".join(c for c in name if c.isalpha()).capitalize()
    digits = "".join(c for c in name if c.isdigit())
    found = NUCLIDES.get(f"{letters}-{digits}")
    if found is None:
        raise ParameterError(
            f"nuclide {name!r} is not known as a positron emitter here; choose one of "
            f"{', '.join(NUCLIDES)}, or give the half life"
        )
    return found


def nuclide_of(attributes: Mapping[str, Any]) -> Nuclide:
    """The nuclide that Radionuclide Code Sequence names.

    Raises
    ------
    ParameterError
        It names none, or none of `NUCLIDES`.
    """
    items = attributes.get("RadiopharmaceuticalInformationSequence") or [{}]
    codes = items[0].get("RadionuclideCodeSequence") or [{}]
    code = codes[0]
    value, meaning = str(code.get("CodeValue") or ""), str(code.get("CodeMeaning") or "")
    for one in NUCLIDES.values():
        if value and value in (one.code, one.retired):
            return one
    return nuclide(meaning.replace("^", ""))


def factor(half: float, *, start: float, duration: float = 0.0) -> float:
    """What a measurement is multiplied with to be that at time zero.

    ``start`` and ``duration`` of the frame in s; ``half`` the half life in s. Between frames it is
    ``2^(start/half)``; within one ``x / (1 - exp(-x))`` with ``x = ln 2 duration/half``, since the
    activity falls while it is counted. Negative ``start`` (before time zero) is fine.

    Raises
    ------
    ParameterError
        A half life that is not positive, or a negative duration.
    """
    if not half > 0 or duration < 0:
        raise ParameterError(
            f"half life {half:g} s and duration {duration:g} s; give a positive half life and a "
            "duration of at least 0"
        )
    x = np.log(2.0) * duration / half
    within = 1.0 + x / 2 + x * x / 12 if x < 1e-4 else x / -np.expm1(-x)
    return float(2.0 ** (start / half) * within)


@dataclass(frozen=True, eq=False)
class Frames:
    """Starts and durations of the frames of a dynamic series, in s, each ``(frames,)``."""

    start: Float
    duration: Float

    @property
    def middle(self) -> Float:
        """Middle of each frame in s."""
        return self.start + self.duration / 2

    @property
    def end(self) -> Float:
        """End of each frame in s."""
        return self.start + self.duration

    def reference(self, half: float | None) -> tuple[float, ...]:
        """Frame Reference Times in s: when the activity equals its mean over the frame."""
        inside = [d / 2 if half is None else average_time(half, d) for d in self.duration]
        return tuple(float(v) for v in self.start + np.asarray(inside))


_UNITS = {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0, "1": 1.0}


def seconds(axis: Axis) -> Float:
    """The values of a time axis in s.

    Raises
    ------
    ParameterError
        It has no values, or a unit that is no time.
    """
    if not axis.values or axis.unit not in _UNITS:
        raise ParameterError(
            f"axis {axis.name!r} has {len(axis.values)} values in {axis.unit!r}; frames need their "
            "times in s"
        )
    return np.asarray(axis.values, np.float64) * _UNITS[axis.unit]


def frames(image: Image) -> Frames:
    """When the frames of a dynamic image were measured.

    Its axis ``t`` holds reference times, ``ActualFrameDuration`` the durations in ms (one, or one
    per frame). Where durations are missing, frames are taken to follow each other without gaps
    around their times.

    Raises
    ------
    ParameterError
        No axis ``t`` with times that rise, durations of another count, or frames that overlap.
    """
    axis = next((a for a in image.axes if a.name == "t"), None)
    if axis is None:
        raise ParameterError(
            f"a dynamic image has an axis t; this one has {image.axis_names[:-3] or 'none'}"
        )
    times = seconds(axis)
    if (np.diff(times) <= 0).any():
        raise ParameterError(f"frame times {times.tolist()} do not rise; put frames in order")
    given: Any = image.attributes.get("ActualFrameDuration")
    if given is None or given == []:
        return _contiguous(times)
    values = given if isinstance(given, (list, tuple)) else [given] * len(times)
    durations = np.asarray(values, np.float64) / 1000.0
    if durations.shape != times.shape or not (durations > 0).all():
        raise ParameterError(
            f"ActualFrameDuration {list(values)} does not fit {len(times)} frames; give one "
            "positive duration in ms for each"
        )
    result = Frames(
        starts(times.tolist(), durations.tolist(), half_life=half_life(image)), durations
    )
    if (result.start[1:] < result.end[:-1] - 0.1 * durations[:-1] - 0.1).any():
        raise ParameterError(
            f"frames of {durations.tolist()} s at {times.tolist()} s overlap; check "
            "ActualFrameDuration (ms) and the times"
        )
    return result


def _contiguous(times: Float) -> Frames:
    if len(times) < 2:
        raise ParameterError("the duration of a single frame is unknown; set ActualFrameDuration")
    edges = np.empty(len(times) + 1)
    edges[0] = max(times[0] - (times[1] - times[0]) / 2, 0.0) if times[0] >= 0 else times[0]
    for i, middle in enumerate(times):
        edges[i + 1] = 2 * middle - edges[i]
    if (np.diff(edges) <= 0).any():
        between = (times[1:] + times[:-1]) / 2
        first, last = times[0] - (between[0] - times[0]), times[-1] + (times[-1] - between[-1])
        edges = np.array([first, *between, last])
    return Frames(edges[:-1], np.diff(edges))


def observed_rate(true: Array | float, dead: float, *, model: Model = "non-paralysable") -> Array:
    """Rate that a detector of dead time ``dead`` (s) shows at a true rate (1/s).

    ``n / (1 + n tau)`` where events in the dead time are lost without prolonging it, ``n exp(-n
    tau)`` where they do (Knoll, Radiation Detection and Measurement, 4.7).
    """
    rate = np.asarray(true, np.float64)
    if dead < 0 or (rate < 0).any():
        raise ParameterError(f"dead time {dead:g} s and rates of at least {rate.min():g}: negative")
    return rate * np.exp(-rate * dead) if model == "paralysable" else rate / (1 + rate * dead)


def true_rate(observed: Array | float, dead: float, *, model: Model = "non-paralysable") -> Array:
    """True rate (1/s) behind an observed one; of a paralysable detector the lower of the two.

    Raises
    ------
    ParameterError
        A rate that the detector cannot show: beyond ``1/tau``, or ``1/(e tau)``.
    """
    rate = np.asarray(observed, np.float64)
    most = np.inf if dead == 0 else 1 / dead if model == "non-paralysable" else 1 / (np.e * dead)
    if dead < 0 or (rate < 0).any() or (rate > most).any():
        raise ParameterError(
            f"an observed rate of {rate.max():g} /s is impossible with a {model} dead time of "
            f"{dead:g} s (most: {most:g} /s)"
        )
    if model == "non-paralysable":
        return rate / (1 - rate * dead)
    if dead == 0:
        return rate
    from scipy.special import lambertw

    return -np.real(lambertw(-rate * dead)) / dead


def live_fraction(
    singles: Array | Sequence[float], dead: float, *, model: Model = "non-paralysable"
) -> Array:
    """Share of events that detectors with true singles rates (1/s) register."""
    rate = np.asarray(singles, np.float64)
    return np.exp(-rate * dead) if model == "paralysable" else 1 / (1 + rate * dead)
