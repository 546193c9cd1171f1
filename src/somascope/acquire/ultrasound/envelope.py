"""From the complex image to brightness: envelope, incoherent compounding, decibels, grey levels."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.acquire.ultrasound.choices import DynamicRange, Gain, Output
from somascope.core import Image, Param, operation
from somascope.core.errors import ParameterError, UnitError
from somascope.core.grid import Array

DECIBEL = "dB"


@operation("acquire.ultrasound.envelope")
def envelope(
    image: Image,
    *,
    compound: Annotated[
        bool, Param("Average the envelopes of the transmits (incoherent compounding): less speckle")
    ] = True,
) -> Image:
    """Modulus of the complex image: the echoes' envelope, float32, unit 1.

    An axis ``transmit`` (``das`` with ``compound=False``) is averaged as RMS where asked.
    """
    names = [a.name for a in image.axes]
    data = np.abs(image.data).astype(np.float32)
    if not (compound and "transmit" in names):
        return image.with_data(data, unit="1")
    where = names.index("transmit")
    rms = np.sqrt(np.mean(data * data, axis=where, dtype=np.float64)).astype(np.float32)
    return image.at(transmit=0).with_data(rms, unit="1")


@operation("acquire.ultrasound.compress")
def compress(
    image: Image, *, dynamic_range: DynamicRange = 60.0, gain: Gain = 0.0,
    output: Output = "grey levels",
) -> Image:  # fmt: skip
    """Compress an envelope (or complex image) to decibels below its maximum, or to grey levels.

    ``dB = 20 log10(|image| / max) + gain``, cut to ``-dynamic_range .. 0``; grey levels are uint8,
    0 at the lower end and 255 at 0 dB.
    """
    data = compressed(image.data, dynamic_range=dynamic_range, gain=gain, output=output)
    return image.with_data(data, unit=DECIBEL if output == "decibel" else "1")


def compressed(
    data: Array, *, dynamic_range: float = 60.0, gain: float = 0.0, output: str = "grey levels"
) -> Array:
    """Decibels (float32) or grey levels (uint8) of an envelope or complex values."""
    level = decibels(data) + np.float32(gain)
    np.clip(level, -dynamic_range, 0, out=level)
    if output == "decibel":
        return level
    return np.rint((level / np.float32(dynamic_range) + 1) * 255).astype(np.uint8)


def decibels(data: Array) -> Array:
    """``20 log10(|data| / max |data|)`` as float32; -400 where nothing is."""
    data = np.asarray(data)
    if data.dtype.kind == "f" and data.size and float(data.min()) < 0:
        raise ParameterError(
            f"the image's least value is {float(data.min()):g}; an envelope is not negative: take "
            "acquire.ultrasound.envelope of the complex image first"
        )
    amplitude = np.abs(data).astype(np.float32)
    most = float(amplitude.max(initial=0.0))
    if not np.isfinite(most):
        raise UnitError("the image holds values that are not finite; there is no maximum to 0 dB")
    if most == 0:
        return np.full(amplitude.shape, -400, np.float32)
    np.maximum(amplitude, np.float32(1e-20 * most), out=amplitude)
    return np.float32(20) * np.log10(amplitude / np.float32(most))
