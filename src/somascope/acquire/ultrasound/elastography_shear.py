"""`acquire.ultrasound.shear_wave`: stiffness from how fast a shear wave runs sideways."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.ultrasound.choices import SpeedOfSound
from somascope.acquire.ultrasound.doppler import Averaging, blurred, gaussian_of
from somascope.acquire.ultrasound.doppler_frames import Frequency, slow_time
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array

DENSITY = 1000.0
"""kg/m3 of soft tissue, where stiffness is derived from speed: E = 3 rho c^2."""


def motion(frames: Array, *, limit: float, smooth: tuple[float, ...]) -> Array:
    """Axial particle velocity in m/s between frames ``(t, *space)``: ``(t - 1, *space)``."""
    turning = np.conj(frames[:-1]) * frames[1:]
    return limit / np.pi * np.angle(blurred(turning, (0.0, *smooth)))


def one_way(film: Array, *, rightwards: bool) -> Array:
    """Only the waves of ``(t, ..., x)`` that run towards rising (or falling) x.

    Deffieux et al., IEEE UFFC 58, 2011: quadrants of the transform over time and x.
    """
    # Twice the size: what leaves at one side must not come back at the other.
    size = (2 * film.shape[0], 2 * film.shape[-1])
    spectrum = np.fft.fft2(film, size, axes=(0, -1))
    f = np.fft.fftfreq(size[0]).reshape(-1, *([1] * (film.ndim - 1)))
    k = np.fft.fftfreq(size[1])
    kept = (f * k < 0) if rightwards else (f * k > 0)
    back = np.fft.ifft2(spectrum * np.where(f * k == 0, 0.5, kept), axes=(0, -1))
    return np.real(back[: film.shape[0], ..., : film.shape[-1]])


def slowness(film: Array, *, interval: float, spacing: float, reach: int) -> tuple[Array, Array]:
    """Arrival later per metre of x, by correlation of pairs left and right of each point.

    Parameters
    ----------
    film
        Velocity ``(t, *space, x)``.
    interval, spacing
        Seconds between frames, metres between columns.
    reach
        Pairs from 1 to ``reach`` columns to both sides; a straight line through their delays.

    Returns
    -------
    tuple of Array
        Slowness in s/m (positive: runs towards rising x) and mean correlation, ``(*space, x)``.
    """
    count, nx = film.shape[0], film.shape[-1]
    size = 2 * count
    # An overall mean would correlate at delay 0 with everything.
    spectra = np.fft.rfft(film - film.mean(axis=0), size, axis=0)
    power = np.sum((film - film.mean(axis=0)) ** 2, axis=0)
    top, bottom = np.zeros(film.shape[1:]), np.zeros(film.shape[1:])
    quality, many = np.zeros(film.shape[1:]), np.zeros(film.shape[1:])
    for k in range(1, reach + 1):
        if 2 * k >= nx:
            break
        left, right = spectra[..., : nx - 2 * k], spectra[..., 2 * k :]
        cross = np.fft.irfft(np.conj(left) * right, size, axis=0)
        peak = np.argmax(cross, axis=0)
        a, b, c = (
            np.take_along_axis(cross, ((peak + d) % size)[None], axis=0)[0] for d in (-1, 0, 1)
        )
        curve = a - 2 * b + c
        part = np.where(curve < 0, 0.5 * (a - c) / np.where(curve < 0, curve, 1.0), 0.0)
        delay = (np.where(peak > count, peak - size, peak) + part) * interval
        both = np.sqrt(power[..., : nx - 2 * k] * power[..., 2 * k :])
        match = np.clip(b / np.where(both > 0, both, np.inf), 0, 1)
        weight, distance = match**4, 2 * k * spacing
        here = np.s_[..., k : nx - k]
        top[here] += weight * delay * distance
        bottom[here] += weight * distance**2
        quality[here] += match
        many[here] += 1
    return top / np.maximum(bottom, 1e-30), quality / np.maximum(many, 1)


def phase_slowness(
    film: Array, *, interval: float, spacing: float, reach: int, band: tuple[float, float]
) -> tuple[Array, Array]:
    """As `slowness`, by the phase of each frequency of ``band`` (Hz) over ``2 reach`` columns.

    ``k(f) = -d(phase)/dx``; the slowness is the mean of ``k / (2 pi f)``, weighted with power
    (Deffieux et al., IEEE TMI 28, 2009, who keep the frequencies apart).
    """
    from scipy.ndimage import uniform_filter1d

    spectra = np.fft.rfft(film - film.mean(axis=0), axis=0)
    f = np.fft.rfftfreq(film.shape[0], interval)
    used = (f >= band[0]) & (f <= band[1]) & (f > 0)
    if not used.any():
        raise ParameterError(
            f"acquire.ultrasound.shear_wave: no frequency between {band[0]:g} and {band[1]:g} Hz; "
            f"{film.shape[0]} frames have steps of {f[1]:.4g} Hz up to {f[-1]:.4g} Hz"
        )
    chosen, f = spectra[used], f[used].reshape(-1, *([1] * (film.ndim - 1)))
    pairs = np.conj(chosen[..., :-1]) * chosen[..., 1:]
    pairs = np.concatenate([pairs, pairs[..., -1:]], axis=-1)
    size = max(2 * reach, 1)
    mean = uniform_filter1d(pairs.real, size, axis=-1) + 1j * uniform_filter1d(
        pairs.imag, size, axis=-1
    )
    power = uniform_filter1d(np.abs(pairs), size, axis=-1)
    wave = -np.angle(mean) / spacing
    weight = np.abs(mean)
    total = np.maximum(weight.sum(axis=0), 1e-30)
    found = (weight * wave / (2 * np.pi * f)).sum(axis=0) / total
    return found, weight.sum(axis=0) / np.maximum(power.sum(axis=0), 1e-30)


@operation("acquire.ultrasound.shear_wave")
def shear_wave(
    frames: Image | Acquisition,
    *,
    push: Annotated[
        float | None,
        Param("Where the wave began, along the rows from the first column; found if not given",
              unit="mm", minimum=0.0, maximum=500.0),
    ] = None,
    method: Annotated[
        Literal["correlation", "phase"],
        Param("Delays of the whole wave, or the phase of its frequencies"),
    ] = "correlation",
    reach: Annotated[
        float, Param("How far to both sides delays are measured", unit="mm", minimum=0.1,
                     maximum=20.0)
    ] = 1.5,
    averaging: Averaging = 0.8,
    band: Annotated[
        tuple[float, float], Param("Frequencies used (phase)", unit="Hz", minimum=1.0,
                                   maximum=5000.0)
    ] = (75.0, 600.0),
    fastest: Annotated[
        float, Param("Faster is taken for no wave and shown as 0", unit="m/s", minimum=0.5,
                     maximum=50.0)
    ] = 12.0,
    least: Annotated[
        float, Param("Correlation below this is shown as 0", minimum=0.0, maximum=1.0)
    ] = 0.5,
    quantity: Annotated[
        Literal["speed", "modulus"], Param("Speed in m/s, or Young's modulus 3 rho c^2 in kPa")
    ] = "speed",
    frequency: Frequency = None,
    speed_of_sound: SpeedOfSound = None,
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Map the speed of a shear wave, so the stiffness, from fast IQ frames after a push.

    Complex ``(t, nz, ny, nx)``, rows along the beam, in; float32 ``(nz, ny, nx)`` out. Particle
    velocities from frame to frame, only the waves that run away from the push, their delays from
    column to column; 0 where there is no wave to measure.
    """
    name = "acquire.ultrasound.shear_wave"
    slow = slow_time(frames, name, frequency=frequency, speed=speed_of_sound)
    image = slow.image
    if len(slow.frames) < 8 or image.grid.shape[2] < 8:
        raise ParameterError(
            f"{name}: {len(slow.frames)} frames of {image.grid.shape[2]} columns; a wave needs at "
            "least 8 of each"
        )
    dx = image.grid.spacing[2]
    progress(0.0, "motion")
    film = motion(slow.frames, limit=slow.nyquist, smooth=gaussian_of(image, averaging))
    progress(0.3, "directions")
    if push is None:
        early = np.sum(film[: max(len(film) // 8, 2)] ** 2, axis=(0, 1, 2))
        start = int(np.argmax(early))
    else:
        start = round(push / dx)
    if not 0 <= start < image.grid.shape[2]:
        raise ParameterError(
            f"{name}: the push at {push:g} mm is outside the image of "
            f"{image.grid.shape[2] * dx:.4g} mm"
        )
    columns = max(round(reach / dx), 1)
    found, quality = np.zeros(film.shape[1:]), np.zeros(film.shape[1:])
    for right in (True, False):
        progress(0.3 if right else 0.7, "delays")
        way = one_way(film, rightwards=right)
        side = np.s_[..., start:] if right else np.s_[..., : start + 1]
        if way[side].shape[-1] < 3:
            continue
        given = {"interval": slow.interval, "spacing": dx * 1e-3, "reach": columns}
        if method == "correlation":
            late, match = slowness(way[side], **given)
        else:
            late, match = phase_slowness(way[side], band=(band[0], band[1]), **given)
        found[side] = late if right else -late
        quality[side] = match
    progress(1.0, "delays")
    good = (found > 1 / fastest) & (quality >= least)
    speed = np.where(good, 1 / np.where(good, found, 1.0), 0.0)
    modulus = quantity == "modulus"
    values = 3e-3 * DENSITY * speed**2 if modulus else speed
    return replace(image, data=values.astype(np.float32), axes=(), unit="kPa" if modulus else "m/s")
