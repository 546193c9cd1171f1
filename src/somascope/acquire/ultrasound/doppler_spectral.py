"""`acquire.ultrasound.spectral_doppler`: all velocities in one gate over time (pulsed wave).

Short-time spectra along the slow time of the gate's echoes (Jensen, *Estimation of Blood Velocities
Using Ultrasound*, 1996, chapter 6): a target that comes nearer at ``v`` turns the phase of its echo
at ``2 f v / c`` hertz, so that a frequency is a velocity, **positive towards the probe**.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from somascope.acquire.ultrasound.choices import DynamicRange, SpeedOfSound
from somascope.acquire.ultrasound.doppler_clutter import Cutoff, Wall, without_wall
from somascope.acquire.ultrasound.doppler_frames import Frequency, Slow, slow_time
from somascope.core import QUIET, Acquisition, Grid, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float

NAME = "acquire.ultrasound.spectral_doppler"
_PW_SPECTRUM, _SECONDS, _CM_PER_SECOND = 3, 4, 7
"""Region Data Type and physical units of PS3.3 C.8.5.5.1."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Power over velocity and time.

    ``power`` is ``(velocities, times)`` float32, linear; ``velocity`` in cm/s rises, ``times`` in s
    are the middles of the windows.
    """

    power: Array
    velocity: Float
    times: Float

    def mean(self, *, floor: float = 20.0) -> Float:
        """Mean velocity of each window in cm/s, of what is within ``floor`` dB of its strongest."""
        kept = np.where(self.power >= self.power.max(axis=0) * 10 ** (-floor / 10), self.power, 0.0)
        total = kept.sum(axis=0)
        weighted = (self.velocity[:, None] * kept).sum(axis=0)
        return np.divide(weighted, total, out=np.zeros_like(weighted), where=total > 0)


def gate_of(grid: Grid, position: tuple[float, float], length: float) -> Array:
    """Pixels ``(nz, ny, nx)`` of the gate.

    They lie on the line nearest to ``position[0]`` (L, mm), ``length`` mm along P about
    ``position[1]``.
    """
    world = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    aside = np.abs(world[..., 0] - position[0])
    across = max(grid.spacing[0], grid.spacing[2]) if grid.shape[2] > 1 else np.inf
    near = aside <= aside.min() + 1e-3
    inside = near & (np.abs(world[..., 1] - position[1]) <= length / 2 + 1e-6)
    if aside.min() > across or not inside.any():
        raise GeometryError(
            f"{NAME}: the gate at L {position[0]:g}, P {position[1]:g} mm lies outside of the "
            f"frames, which reach from {np.round(world.reshape(-1, 3).min(axis=0)[:2], 1)} to "
            f"{np.round(world.reshape(-1, 3).max(axis=0)[:2], 1)}"
        )
    return inside


def spectrum(
    slow: Slow, gate: Array, *, window: int, step: int, angle: float = 0.0, baseline: float = 0.0,
    progress: Progress = QUIET,
) -> Spectrum:  # fmt: skip
    """Short-time spectra of the pixels of ``gate``, their powers added.

    Parameters
    ----------
    window, step
        Transmissions of one spectrum (Hann), and from one to the next.
    angle
        Degrees between flow and beam: velocities are divided by its cosine.
    baseline
        Where 0 lies, as a share of the Nyquist velocity: 0.5 shows three times as much towards the
        probe as away, which undoes aliasing of flow that has one direction.
    """
    courses = slow.frames[:, gate]
    count = len(courses)
    if not 4 <= window <= count:
        raise ParameterError(
            f"{NAME}: a window of {window} of {count} transmissions; give 4 to {count}"
        )
    length = max(128, 1 << (2 * window - 1).bit_length())
    taper = np.hanning(window + 2)[1:-1].astype(np.float32)[:, None]
    starts = np.arange(0, count - window + 1, step)
    power = np.empty((length, starts.size), np.float32)
    for k, first in enumerate(progress.over(starts.tolist(), "spectra")):
        part = np.fft.fft(courses[first : first + window] * taper, length, axis=0)
        power[:, k] = (np.abs(part) ** 2).sum(axis=1)
    limit = 100 * slow.nyquist / float(np.cos(np.deg2rad(angle)))
    shift = round(baseline * length / 2)
    bins = np.arange(length) - (length // 2 - shift)
    power = power[bins % length] / (courses.shape[1] * float((taper**2).sum()))
    middle = slow.times[starts] + 0.5 * (window - 1) * slow.interval
    return Spectrum(power, np.asarray(bins * (2 * limit / length), np.float64), middle)


@operation(NAME)
def spectral_doppler(
    frames: Image | Acquisition,
    *,
    position: Annotated[
        tuple[float, float] | None,
        Param("Middle of the gate towards L and P (depth); of the frames if not given", unit="mm"),
    ] = None,
    gate: Annotated[
        float, Param("Length of the gate along the beam", unit="mm", minimum=0.1, maximum=50.0)
    ] = 2.0,
    window: Annotated[
        int, Param("Transmissions of one spectrum", minimum=4, maximum=4096)
    ] = 64,
    step: Annotated[
        int | None,
        Param("Transmissions from one spectrum to the next; a quarter of the window if not given",
              minimum=1, maximum=4096),
    ] = None,
    wall: Wall = "none",
    cutoff: Cutoff = 2.0,
    angle: Annotated[
        float, Param("Between flow and beam; corrects the velocity", unit="deg", minimum=-80.0,
                     maximum=80.0)
    ] = 0.0,
    baseline: Annotated[
        float, Param("Shift of the zero line as a share of the limit, against aliasing",
                     minimum=-1.0, maximum=1.0, step=0.1)
    ] = 0.0,
    dynamic_range: DynamicRange = 40.0,
    frequency: Frequency = None,
    speed_of_sound: SpeedOfSound = None,
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Spectrum of velocities in a gate over time (pulsed-wave Doppler), as a picture.

    Complex ``(t, nz, ny, nx)`` or channel data in, grey levels ``(1, velocities, times)`` out: the
    fastest towards the probe on top, ``dynamic_range`` dB from white to black. The axes are in the
    picture's region (`axes_of`): seconds across, cm/s up; DICOM viewers measure with them.
    """
    slow = slow_time(frames, NAME, frequency=frequency, speed=speed_of_sound)
    middle = slow.image.grid.to_world((np.asarray(slow.image.grid.shape) - 1) / 2)
    at = (float(middle[0]), float(middle[1])) if position is None else position
    inside = gate_of(slow.image.grid, at, gate)
    slow = without_wall(slow, wall, cutoff)
    hop = max(window // 4, 1) if step is None else step
    found = spectrum(
        slow, inside, window=window, step=hop, angle=angle, baseline=baseline, progress=progress
    )
    level = 10 * np.log10(np.maximum(found.power / (found.power.max() or 1.0), 1e-30))
    grey = np.clip(np.rint(255 * (1 + level / dynamic_range)), 0, 255).astype(np.uint8)
    picture = grey[::-1][None]
    grid = Grid.from_spacing(picture.shape, (1.0, 1.0, 1.0))
    facts = {k: v for k, v in slow.image.attributes.items() if k not in ("FrameTime", "Confounds")}
    facts["SequenceOfUltrasoundRegions"] = [_region(found, hop * slow.interval, angle)]
    facts["WindowCenter"], facts["WindowWidth"] = 128.0, 256.0
    progress(1.0, "done")
    return replace(
        slow.image, data=np.ascontiguousarray(picture), grid=grid, axes=(), unit="1",
        modality="US", attributes=facts,
    )  # fmt: skip


def _region(found: Spectrum, interval: float, angle: float) -> dict[str, Any]:
    height, width = found.power.shape
    per_row = float(found.velocity[1] - found.velocity[0])
    # The zero line may lie outside of the picture; its pixel counts from the top.
    zero = height - 1 - round(float(-found.velocity[0]) / per_row)
    return {
        "RegionSpatialFormat": 3, "RegionDataType": _PW_SPECTRUM, "RegionFlags": 0,
        "RegionLocationMinX0": 0, "RegionLocationMinY0": 0,
        "RegionLocationMaxX1": width - 1, "RegionLocationMaxY1": height - 1,
        "PhysicalUnitsXDirection": _SECONDS, "PhysicalUnitsYDirection": _CM_PER_SECOND,
        "PhysicalDeltaX": interval, "PhysicalDeltaY": -per_row,
        "ReferencePixelX0": 0, "ReferencePixelY0": zero,
        "ReferencePixelPhysicalValueX": float(found.times[0]),
        "ReferencePixelPhysicalValueY": 0.0,
        "DopplerCorrectionAngle": float(angle),
    }  # fmt: skip


def axes_of(image: Image) -> tuple[Float, Float]:
    """Velocity of each row in cm/s (from the top) and time of each column in s of a spectrum.

    Raises
    ------
    ParameterError
        The picture has no spectral region.
    """
    regions = image.attributes.get("SequenceOfUltrasoundRegions") or ()
    region = next((r for r in regions if r.get("RegionSpatialFormat") == 3), None)
    if region is None:
        raise ParameterError(
            "the image has no spectral region (SequenceOfUltrasoundRegions); give the picture that "
            f"{NAME} made"
        )
    _, height, width = image.grid.shape
    rows = np.arange(height) - region["ReferencePixelY0"]
    columns = np.arange(width) - region["ReferencePixelX0"]
    return (
        region["ReferencePixelPhysicalValueY"] + rows * region["PhysicalDeltaY"],
        region["ReferencePixelPhysicalValueX"] + columns * region["PhysicalDeltaX"],
    )
