"""`acquire.ultrasound.colour_doppler`, `.power_doppler`: speed and strength of what moves.

Every operation here takes beamformed IQ: a complex image with an axis ``t`` in seconds, one entry
per transmission (the slow time). What moves towards the probe turns the phase forward:
``d(phase)/dt = 4 pi f v / c`` (Jensen, *Estimation of Blood Velocities Using Ultrasound*, 1996,
chapter 6), and velocities are **positive towards the probe**. An echo at depth z comes with the
phase ``exp(-4 pi i f z / c)``, as demodulation by ``exp(-2 pi i f t)`` gives it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.acquire.ultrasound.choices import SpeedOfSound
from somascope.acquire.ultrasound.doppler_clutter import Cutoff, Wall, without_wall
from somascope.acquire.ultrasound.doppler_frames import Frequency, Slow, slow_time
from somascope.core import QUIET, Acquisition, Axis, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

Packet: TypeAlias = Annotated[
    int | None,
    Param("Transmissions of one estimate; all of them if not given", minimum=2, maximum=4096),
]
Averaging: TypeAlias = Annotated[
    float, Param("Width of the average around each point", unit="mm", minimum=0.0, maximum=20.0)
]


def nyquist(frequency: float, interval: float, *, speed: float = 1540.0, lag: int = 1) -> float:
    """The greatest speed in m/s that is not taken for another: ``c / (4 f T lag)``."""
    return speed / (4.0 * frequency * interval * lag)


def autocorrelation(frames: Array, *, lag: int = 1) -> Array:
    """``sum_t conj(s_t) s_(t+lag)`` of frames ``(t, ...)``: Kasai et al., IEEE T-SU 1985."""
    return np.einsum("t...,t...->...", np.conj(frames[:-lag]), frames[lag:])


def velocity(
    frames: Array, *, frequency: float, interval: float, speed: float = 1540.0, lag: int = 1,
    smooth: tuple[float, ...] = (),
) -> tuple[Array, Array]:  # fmt: skip
    """Velocity towards the probe in m/s and its spread, of frames ``(t, *space)``.

    Parameters
    ----------
    frequency, interval, speed
        Hz, seconds between frames, m/s.
    lag
        Frames between the two that are compared.
    smooth
        Standard deviation in pixels of a Gaussian over the autocorrelation, one per axis of space.

    Returns
    -------
    tuple of Array
        Velocity, within plus or minus `nyquist`; and the standard deviation of velocities within
        the packet, ``v_N / pi sqrt(2 (1 - |R(lag)| / R(0)))`` (Jensen 1996, eq. 7.48).
    """
    turning = autocorrelation(frames, lag=lag)
    power = 0.5 * (_power(frames[:-lag]) + _power(frames[lag:]))
    turning, power = blurred(turning, smooth), blurred(power, smooth)
    limit = nyquist(frequency, interval, speed=speed, lag=lag)
    coherence = np.abs(turning) / np.maximum(power, np.finfo(np.float32).tiny)
    spread = limit / np.pi * np.sqrt(2.0 * np.clip(1.0 - coherence, 0.0, 1.0))
    return limit / np.pi * np.angle(turning), spread


def own_frequency(
    frames: Array, *, frequency: float, row: float, speed: float, smooth: tuple[float, ...]
) -> Array:
    """The echoes' own centre frequency over the nominal one, of beamformed ``(t, nz, ny, nx)``.

    A beamformed echo turns by ``4 pi f dy / c`` from row to row (``row`` metres apart along the
    beam): what it turns more or less is what its frequency differs, be it for attenuation,
    diffraction or echoes that came from aside (Loupas et al., IEEE UFFC 42, 1995).
    """
    turn = 4 * np.pi * frequency * row / speed
    pairs = np.einsum("t...yx,t...yx->...yx", np.conj(frames[..., :-1, :]), frames[..., 1:, :])
    pairs = blurred(np.concatenate([pairs, pairs[..., -1:, :]], axis=-2), smooth)
    return 1.0 + np.angle(pairs * np.exp(-1j * turn)) / turn


def _power(frames: Array) -> Array:
    real, imaginary = np.real(frames), np.imag(frames)
    return np.einsum("t...,t...->...", real, real) + np.einsum(
        "t...,t...->...", imaginary, imaginary
    )


def blurred(values: Array, sigma: tuple[float, ...]) -> Array:
    """Gaussian of ``sigma`` pixels per axis; complex values by their parts."""
    from scipy.ndimage import gaussian_filter

    if not any(s > 0 for s in sigma):
        return values
    if values.dtype.kind == "c":
        return blurred(np.real(values), sigma) + 1j * blurred(np.imag(values), sigma)
    return gaussian_filter(values, sigma, mode="nearest", truncate=3.0)


def gaussian_of(image: Image, width: float) -> tuple[float, float, float]:
    """A full width at half maximum in mm as standard deviations in pixels along (z, y, x)."""
    z, y, x = (0.0 if n == 1 else width / 2.355 / s for n, s in
               zip(image.grid.shape, image.grid.spacing, strict=True))  # fmt: skip
    return z, y, x


def packets(slow: Slow, size: int | None, name: str) -> list[slice]:
    """Which frames make each estimate: whole packets one after the other."""
    count = len(slow.frames)
    size = size or count
    if size > count:
        raise ParameterError(f"{name}: a packet of {size} of {count} transmissions; take less")
    return [slice(k, k + size) for k in range(0, count - size + 1, size)]


def maps(slow: Slow, values: list[Array], parts: list[slice], unit: str) -> Image:
    """Estimates as an image: without a time axis where there is one only."""
    axes: tuple[Axis, ...] = ()
    data = values[0]
    if len(parts) > 1:
        axes = (Axis("t", tuple(float(slow.times[p].mean()) for p in parts), "s"),)
        data = np.stack(values)
    return replace(slow.image, data=data.astype(np.float32), axes=axes, unit=unit)


@operation("acquire.ultrasound.colour_doppler")
def colour_doppler(
    frames: Image | Acquisition,
    *,
    frequency: Frequency = None,
    speed_of_sound: SpeedOfSound = None,
    wall: Wall = "none",
    cutoff: Cutoff = 2.0,
    packet: Packet = None,
    lag: Annotated[int, Param("Transmissions between the two compared", minimum=1, maximum=64)] = 1,
    averaging: Averaging = 1.0,
    threshold: Annotated[
        float,
        Param("Echoes weaker than this below the strongest are not measured", unit="dB",
              minimum=0.0, maximum=200.0),
    ] = 60.0,
    quantity: Annotated[
        Literal["velocity", "spread"],
        Param("Velocity (towards the probe positive), or how much it varies within a packet"),
    ] = "velocity",
    method: Annotated[
        Literal["kasai", "loupas"],
        Param("With the nominal frequency, or with that of the echoes, told by their phase from "
              "row to row (rows along the beam)"),
    ] = "kasai",
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Map the velocity along the beam from IQ frames or channel data (Kasai).

    Complex ``(t, nz, ny, nx)`` in, float32 ``(nz, ny, nx)`` in cm/s out (``(t, nz, ny, nx)`` for
    several packets); 0 where the echo is below ``threshold``. Speeds above c / (4 f T lag) are
    aliased. Kasai et al., IEEE Transactions on Sonics and Ultrasonics 32, 1985. Short pulses and
    wide apertures have a lower frequency than they are named for: velocities come out some percent
    low with ``kasai``, not with ``loupas``.
    """
    name = "acquire.ultrasound.colour_doppler"
    slow = slow_time(frames, name, frequency=frequency, speed=speed_of_sound)
    slow = without_wall(slow, wall, cutoff)
    parts = packets(slow, packet, name)
    if lag >= parts[0].stop - parts[0].start:
        raise ParameterError(f"{name}: lag {lag} in a packet of {parts[0].stop}; take less")
    found: list[Array] = []
    for part in progress.over(parts, "estimating velocity"):
        v, spread = velocity(
            slow.frames[part], frequency=slow.frequency, interval=slow.interval,
            speed=slow.speed, lag=lag, smooth=gaussian_of(slow.image, averaging),
        )  # fmt: skip
        if method == "loupas":
            v = v / own_frequency(
                slow.frames[part], frequency=slow.frequency,
                row=slow.image.grid.spacing[1] * 1e-3, speed=slow.speed,
                smooth=gaussian_of(slow.image, averaging),
            )  # fmt: skip
        level = _power(slow.frames[part])
        seen = level > level.max() * 10 ** (-threshold / 10)
        found.append(np.where(seen, 100.0 * (v if quantity == "velocity" else spread), 0.0))
    return maps(slow, found, parts, "cm/s")


@operation("acquire.ultrasound.power_doppler")
def power_doppler(
    frames: Image | Acquisition,
    *,
    wall: Wall = "none",
    cutoff: Cutoff = 2.0,
    frequency: Frequency = None,
    packet: Packet = None,
    averaging: Averaging = 0.5,
    decibel: Annotated[bool, Param("In dB below the strongest, else linear")] = True,
    range_db: Annotated[
        float, Param("Range of the logarithm", unit="dB", minimum=1.0, maximum=200.0)
    ] = 60.0,
    progress: Progress = QUIET,
) -> Image:
    """Map the power of IQ frames, over which a clutter filter went before: where blood moves.

    Complex ``(t, nz, ny, nx)`` in, float32 ``(nz, ny, nx)`` out: mean squared magnitude over the
    packet, in dB (0 at the strongest, not below ``-range_db``) or linear.
    """
    name = "acquire.ultrasound.power_doppler"
    # The frequency enters where a wall filter knows tissue by its speed, else not.
    needed = frequency if wall == "svd" else frequency or 1.0
    slow = without_wall(slow_time(frames, name, frequency=needed), wall, cutoff)
    parts = packets(slow, packet, name)
    found = [
        blurred(_power(slow.frames[p]) / (p.stop - p.start), gaussian_of(slow.image, averaging))
        for p in progress.over(parts, "adding power")
    ]
    if decibel:
        top = max(float(f.max()) for f in found) or 1.0
        floor = 10 ** (-range_db / 10)
        found = [10 * np.log10(np.maximum(f / top, floor)) for f in found]
    return maps(slow, found, parts, "dB" if decibel else "1")
