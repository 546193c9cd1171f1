"""Values of an array as the integers a DICOM image stores, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.core.errors import WriteError
from somascope.core.grid import Array
from somascope.io.dicom.encode import number


@dataclass(frozen=True, eq=False)
class Stored:
    """Stored integers; ``real = slope * values + intercept``.

    ``values`` has the shape of the image and dtype uint8, uint16 or int16; ``exact`` says that no
    value was rounded. The error of any value is at most ``slope / 2``.
    """

    values: Array
    slope: float
    intercept: float
    exact: bool

    @property
    def bits(self) -> int:
        """Bits allocated."""
        return self.values.dtype.itemsize * 8

    @property
    def signed(self) -> bool:
        """Whether the integers are two's complement."""
        return self.values.dtype.kind == "i"


@dataclass(frozen=True)
class Rules:
    """What a kind of DICOM image allows its stored integers to be."""

    signed: bool = True
    bytes: bool = False
    """8 bits are allowed."""
    zero_intercept: bool = False
    """Rescale Intercept must be 0 (PET)."""


def quantise(data: Array, *, rules: Rules) -> Stored:
    """Store integers as they are, and other numbers in the 16 bits with the smallest error."""
    if data.dtype.kind == "c":
        raise WriteError(
            "complex values have no DICOM image; write the magnitude, the phase, or the two parts"
        )
    if data.dtype.kind == "b":
        data = data.astype(np.uint8)
    low, high = float(data.min()), float(data.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise WriteError(
            "the image holds values that are not finite, which DICOM's integers cannot store; "
            "replace them (numpy.nan_to_num), or write a parametric map, which keeps them"
        )
    if data.dtype.kind in "iu" or (high - low < 65536 and _whole(data)):
        whole = _integers(data, int(low), int(high), rules)
        if whole is not None:
            return whole
        if data.dtype.kind in "iu":
            raise WriteError(
                f"integers from {low:g} to {high:g} do not fit 16 bits exactly; convert to float32 "
                "to store them rounded, or write a parametric map, which keeps them"
            )
    return _fractions(data, low, high, rules)


def _whole(data: Array) -> bool:
    planes = data.reshape(-1, *data.shape[-2:])
    return all(np.array_equal(p, np.rint(p)) for p in planes)


def _integers(data: Array, low: int, high: int, rules: Rules) -> Stored | None:
    dtype: type[np.generic] | None = None
    if rules.bytes and data.dtype.itemsize == 1 and low >= 0:
        dtype = np.uint8
    elif low >= 0 and high < 2**16 and (data.dtype.kind == "u" or not rules.signed):
        dtype = np.uint16
    elif rules.signed and low >= -(2**15) and high < 2**15:
        dtype = np.int16
    elif low >= 0 and high < 2**16:
        dtype = np.uint16
    if dtype is not None:
        return Stored(data.astype(dtype), 1.0, 0.0, exact=True)
    if high - low < 2**16 and not rules.zero_intercept and len(number(low)) <= 16:
        shifted = np.empty(data.shape, np.uint16)
        for target, plane in zip(_planes(shifted), _planes(data), strict=True):
            target[...] = plane.astype(np.int64) - low
        return Stored(shifted, 1.0, float(low), exact=True)
    return None


def _planes(data: Array) -> Array:
    return data.reshape(-1, *data.shape[-2:])


def _fractions(data: Array, low: float, high: float, rules: Rules) -> Stored:
    dtype: type[np.generic] = np.uint16
    if not rules.zero_intercept:
        intercept, slope = low, (high - low) / 65535
    elif low >= 0:
        intercept, slope = 0.0, high / 65535
    else:
        intercept, slope = 0.0, max(high / 32767, -low / 32768)
        dtype = np.int16
    if slope == 0 or not np.isfinite(slope):
        if not np.isfinite(slope):
            raise WriteError(f"values from {low:g} to {high:g} span more than a number can hold")
        return Stored(np.zeros(data.shape, dtype), 1.0, _representable(intercept), exact=True)
    slope, intercept = _representable(slope), _representable(intercept)
    limits = np.iinfo(dtype)  # type: ignore[arg-type]
    values = np.empty(data.shape, dtype)
    for target, plane in zip(_planes(values), _planes(data), strict=True):
        index = np.rint((plane.astype(np.float64) - intercept) / slope)
        target[...] = np.clip(index, limits.min, limits.max)
    return Stored(values, slope, intercept, exact=False)


def _representable(value: float) -> float:
    return float(number(value))
