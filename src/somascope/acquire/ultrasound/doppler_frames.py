"""IQ frames and their clock: what Doppler and elastography begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np

from somascope.core import Acquisition, Image, Param
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array

TISSUE = 1540.0
"""Metres per second, where nothing else is said."""
F_NUMBER = 2.0
"""Of the aperture that receives for Doppler: elements far aside see ``(1 + cos) / 2`` of a speed
along the beam, which at 2 is wrong by less than 1 % in the mean, and at 0.7 by 10 %."""

Frequency: TypeAlias = Annotated[
    float | None,
    Param(
        "Centre frequency of the echoes; the image's own if not given",
        unit="MHz", minimum=0.1, maximum=100.0,
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Slow:
    """IQ frames, their clock, and the image that they are."""

    image: Image
    frames: Array
    """Complex, ``(t, nz, ny, nx)``."""
    times: Array
    """Seconds."""
    frequency: float
    """Hertz."""
    speed: float
    """Metres per second, of sound."""

    @property
    def interval(self) -> float:
        """Seconds between two transmissions."""
        return float(np.mean(np.diff(self.times)))

    @property
    def nyquist(self) -> float:
        """The greatest speed in m/s that is not taken for another, from frame to frame."""
        return self.speed / (4.0 * self.frequency * self.interval)


def iq_image(given: Image | Acquisition, name: str) -> Image:
    """Complex frames of either noun: channel data is beamformed at `F_NUMBER`."""
    if isinstance(given, Acquisition):
        from somascope.acquire.ultrasound.beamform import das

        return das(given, f_number=F_NUMBER)
    if given.data.dtype.kind != "c":
        raise ParameterError(
            f"{name} needs complex IQ frames and this image is {given.data.dtype}: the envelope "
            "has lost the phase; give beamformed IQ or channel data"
        )
    return given


def slow_time(
    given: Image | Acquisition, name: str, *, frequency: float | None, speed: float | None = None
) -> Slow:
    """The frames of IQ images or channel data, time first.

    Raises
    ------
    ParameterError
        Not complex, no axis ``t`` with at least two times at equal steps, or no frequency.
    GeometryError
        Another leading axis, or values that are not finite.
    """
    image = iq_image(given, name)
    names = [a.name for a in image.axes]
    if names != ["t"]:
        raise GeometryError(
            f"{name}: the leading axes are {names or 'none'}; give frames along one axis 't' "
            "(image.at(angle=...) takes one of several)"
        )
    times = np.asarray(image.axes[0].values, np.float64)
    steps = np.diff(times)
    if times.size < 2 or steps.min() <= 0 or np.ptp(steps) > 0.01 * steps.mean():
        raise ParameterError(
            f"{name}: the axis 't' has {times.size} times "
            f"{times[:4].tolist()}...; it needs at least two, in seconds, at equal steps"
        )
    if not np.isfinite(image.data).all():
        raise GeometryError(f"{name}: the frames hold values that are not finite; replace them")
    return Slow(image, image.data, times, *facts(given, image, name, frequency, speed))


def facts(
    given: Image | Acquisition, image: Image, name: str, frequency: float | None,
    speed: float | None,
) -> tuple[float, float]:  # fmt: skip
    """Centre frequency in Hz and speed of sound in m/s: as given, of the scan, of the image.

    ``frequency`` in MHz; an image tells its own as Transducer Frequency (0018,6030) in kHz.
    """
    scan: Any = given.operator if isinstance(given, Acquisition) else None
    hertz = None if frequency is None else frequency * 1e6
    if hertz is None and scan is not None:
        hertz = float(scan.demodulation_frequency or scan.probe.centre_frequency)
    if hertz is None and "TransducerFrequency" in image.attributes:
        hertz = float(image.attributes["TransducerFrequency"]) * 1e3
    if hertz is None:
        raise ParameterError(
            f"{name}: the image does not know its centre frequency (TransducerFrequency); give "
            "frequency in MHz"
        )
    own = TISSUE if scan is None else float(scan.speed_of_sound)
    return hertz, own if speed is None else speed
