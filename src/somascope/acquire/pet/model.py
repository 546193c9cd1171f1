"""The model of one acquisition: what its calibration makes of line integrals.

``expected = factors * (A x) + background``, in counts; see the room's docstring for the names.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array

PetScan: TypeAlias = SinogramScan | ListModeScan


def scan_of(acquisition: Acquisition, *, operation_name: str) -> PetScan:
    """The acquisition's PET scan, its counts checked.

    Raises
    ------
    GeometryError
        Not a PET scan.
    UnitError
        Samples that are no counts.
    ParameterError
        Negative counts, or values that are not finite.
    """
    scan: Any = acquisition.operator
    if not isinstance(scan, (SinogramScan, ListModeScan)):
        kind = getattr(scan, "kind", type(scan).__name__)
        raise GeometryError(
            f"{operation_name} takes PET acquisitions (pet.sinogram, pet.listmode); this one was "
            f"made by {kind}"
        )
    samples = acquisition.samples
    if acquisition.unit != "{counts}" or samples.dtype.kind not in "buif":
        raise UnitError(
            f"{operation_name}: the samples are {samples.dtype} in {acquisition.unit!r}; give "
            "counts, unit {counts}"
        )
    if not np.isfinite(samples).all():
        bad = int(samples.size - np.isfinite(samples).sum())
        raise ParameterError(
            f"{operation_name}: {bad} of {samples.size} counts are NaN or infinite"
        )
    if samples.size and samples.min() < 0:
        raise ParameterError(
            f"{operation_name}: counts are negative (down to {samples.min():g}); give prompts, "
            "with randoms and scatter apart in the calibration"
        )
    return scan


def sinogram_of(acquisition: Acquisition, *, operation_name: str) -> SinogramScan:
    """As `scan_of`, for what needs a sinogram."""
    scan = scan_of(acquisition, operation_name=operation_name)
    if not isinstance(scan, SinogramScan):
        raise GeometryError(
            f"{operation_name} takes sinograms (pet.sinogram); sort the events first with "
            "acquire.pet.histogram, or use acquire.pet.listmode_osem"
        )
    return scan


def scalar(acquisition: Acquisition, name: str, default: float) -> float:
    """A scalar of the calibration, finite and positive."""
    if name not in acquisition.calibration:
        return default
    value = np.asarray(acquisition.calibration[name])
    if value.size != 1 or not (np.isfinite(value).all() and float(value.reshape(())) > 0):
        raise ParameterError(f"calibration {name!r} is {value}; give one number above 0")
    return float(value.reshape(()))


def is_calibrated(acquisition: Acquisition) -> bool:
    """Whether images of it can be in Bq/ml."""
    return "sensitivity" in acquisition.calibration


def scale(acquisition: Acquisition) -> float:
    """Counts per (Bq/ml mm) of an ideal crystal pair over the frame; 1 if not calibrated.

    ``sensitivity * seconds * decay * live_time * positron fraction``.

    Raises
    ------
    ParameterError
        Calibrated, but ``ActualFrameDuration`` (ms) is missing or not positive.
    """
    if not is_calibrated(acquisition):
        return 1.0
    facts = acquisition.attributes
    duration = facts.get("ActualFrameDuration")
    if duration is None or not float(duration) > 0:
        raise ParameterError(
            f"ActualFrameDuration is {duration!r}; activity needs the length of the frame in ms"
        )
    tracer = (facts.get("RadiopharmaceuticalInformationSequence") or [{}])[0]
    fraction = float(tracer.get("RadionuclidePositronFraction") or 1.0)
    return (
        scalar(acquisition, "sensitivity", 1.0) * float(duration) * 1e-3
        * scalar(acquisition, "decay", 1.0) * scalar(acquisition, "live_time", 1.0) * fraction
    )  # fmt: skip


def calibration(acquisition: Acquisition, name: str) -> Array | None:
    """An array of the calibration that broadcasts to the samples, float32; None if missing.

    Raises
    ------
    GeometryError
        It does not broadcast.
    ParameterError
        It is negative or not finite.
    """
    if name not in acquisition.calibration:
        return None
    array = np.asarray(acquisition.calibration[name], np.float32)
    shape = tuple(acquisition.operator.range)
    try:
        fits = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise GeometryError(
            f"calibration {name!r} has shape {array.shape}; the samples are {shape} "
            "([tof,] plane, angle, radial)"
        )
    if not np.isfinite(array).all() or (array.size and array.min() < 0):
        raise ParameterError(f"calibration {name!r} is negative or not finite somewhere; mend it")
    return array


def factors(acquisition: Acquisition) -> Array:
    """Counts per line integral in Bq/ml mm: broadcasts to the samples, float32."""
    scan: Any = acquisition.operator
    found = np.asarray(scan.multiplicity * np.float32(scale(acquisition)), np.float32)
    for name in ("normalisation", "attenuation"):
        array = calibration(acquisition, name)
        if array is not None:
            found = found * array
    return found


def background(acquisition: Acquisition) -> Array | None:
    """Expected randoms and scatter in counts, broadcasts to the samples; None for neither."""
    found: Array | None = None
    for name in ("randoms", "scatter"):
        array = calibration(acquisition, name)
        if array is not None:
            found = array if found is None else found + array
    return found
