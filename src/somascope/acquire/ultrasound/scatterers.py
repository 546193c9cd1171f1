"""Echoes of point scatterers, summed per frequency: diffraction, directivity, attenuation exact.

For every frequency ``f`` of the pulse, with ``G`` (scatterers x elements) the sound that goes from
element to scatterer or back, ``W`` (elements x transmits) the firing of the elements and ``a`` the
amplitudes::

    Y(f) = P(f) G^T diag(a) G W,     G = D(theta) exp(-2 pi i f d / c - alpha f d) / sqrt(d)

As in Shahriari and Garcia 2018 (pfield), Phys Med Biol 63:205011: far field of each element,
linear propagation, single scattering. From one frequency to the next ``G`` changes by one constant
factor, so no exponential is computed in the loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.acquire.ultrasound.iq import fast_length
from somascope.acquire.ultrasound.probe import Probe
from somascope.core import QUIET, Progress
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.process.chunks import in_chunks, one_thread

_CHUNK = 2048
_BLOCK = 48
"""Frequencies that follow from one exponential."""
_FLOOR = 0.01
"""Amplitude, relative to the middle, below which a frequency of the pulse is left out."""


def echoes(
    scan: ChannelScan,
    points: Array,
    amplitudes: Array,
    *,
    attenuation: float = 0.0,
    directivity: bool = True,
    spreading: bool = True,
    progress: Progress = QUIET,
) -> Array:
    """RF that the scan's elements receive from point scatterers; no noise.

    Parameters
    ----------
    scan
        Of RF samples; its grid plays no part.
    points
        ``(n, 3)`` mm, or ``(frames, n, 3)`` where they move.
    amplitudes
        ``(n,)`` or ``(frames, n)``.
    attenuation
        dB/(cm MHz), each way.
    directivity
        Elements of their width radiate as ``sinc(width sin(theta) / wavelength)`` at the centre
        frequency.
    spreading
        Amplitude falls as ``1/sqrt(d)`` each way (a lens keeps the beam in its plane), ``1/d`` for
        matrix probes; d in mm.

    Returns
    -------
    array
        float32 of shape ``scan.range``. The pulse is a Gaussian of the probe's bandwidth about its
        centre frequency with its peak, 1, at the firing time: an echo's envelope peaks at its
        delay.
    """
    points, amplitudes, same = frames_of(scan, points, amplitudes)
    frames = len(points)
    out = np.empty((frames, *scan.range[-3:]), np.float32)
    for k in range(1 if same else frames):
        part = Progress(lambda f, m, k=k: progress((k + f) / frames, m))
        out[k] = _frame(scan, points[k], amplitudes[k], attenuation=attenuation,
                        directivity=directivity, spreading=spreading, progress=part)  # fmt: skip
    if same:
        out[1:] = out[0]
    progress(1.0, "simulated")
    return out.reshape(scan.range)


def frames_of(scan: ChannelScan, points: Array, amplitudes: Array) -> tuple[Float, Float, bool]:
    """Places ``(frames, n, 3)`` and strengths ``(frames, n)``; whether all frames are alike."""
    if scan.complex:
        raise ParameterError("echoes are simulated as RF; demodulate them afterwards")
    points, amplitudes = np.asarray(points, np.float64), np.asarray(amplitudes, np.float64)
    frames = 1 if scan.times is None else len(scan.times)
    if points.ndim == 2:
        points = np.broadcast_to(points, (frames, *points.shape))
    if amplitudes.ndim == 1:
        amplitudes = np.broadcast_to(amplitudes, (frames, amplitudes.size))
    if points.shape != (frames, amplitudes.shape[1], 3) or amplitudes.shape[0] != frames:
        raise GeometryError(
            f"scatterers at {points.shape} with amplitudes {amplitudes.shape} for {frames} "
            "frames; give (frames, n, 3) mm and (frames, n)"
        )
    if not (np.isfinite(points).all() and np.isfinite(amplitudes).all()):
        raise GeometryError("scatterers' places or amplitudes are not finite")
    same = points.strides[0] == 0 and amplitudes.strides[0] == 0
    return points, amplitudes, same


def pulse_spectrum(probe: Probe, frequencies: Array) -> Float:
    """Gaussian pulse-echo spectrum, 1 at the centre, 1/2 (-6 dB) at the ends of the bandwidth."""
    half = probe.bandwidth * probe.centre_frequency / 2
    return np.exp(-np.log(2) * ((np.asarray(frequencies) - probe.centre_frequency) / half) ** 2)


def pulse_length(probe: Probe) -> float:
    """Time from the pulse's peak to where it is 60 dB down, s."""
    return float(np.sqrt(np.log(1000) * np.log(2)) / (np.pi * probe.bandwidth
                 * probe.centre_frequency / 2))  # fmt: skip


def _frame(
    scan: ChannelScan, points: Float, amplitudes: Float, *, attenuation: float, directivity: bool,
    spreading: bool, progress: Progress,
) -> Array:  # fmt: skip
    from scipy import fft

    probe, c, fs = scan.probe, scan.speed_of_sound * 1e3, scan.sampling_frequency
    transmits, elements, samples = scan.range[-3:]
    fires = scan.transmit.fire_times(probe, scan.speed_of_sound)
    active = scan.transmit.apodisation > 0
    first, last = fires[active].min(), fires[active].max()
    gap = pulse_length(probe)
    end = scan.start + samples / fs
    near = np.linalg.norm(points - probe.positions.mean(axis=0), axis=1)
    size = np.linalg.norm(probe.positions - probe.positions.mean(axis=0), axis=1).max()
    # What cannot be heard within the record is left out; what is left must not wrap around.
    heard = (amplitudes != 0) & (2 * np.maximum(near - size, 0) / c + first - gap <= end)
    points, amplitudes, near = points[heard], amplitudes[heard], near[heard]
    if len(points) == 0:
        progress(1.0, "nothing is heard")
        return np.zeros((transmits, elements, samples), np.float32)
    begin = min(scan.start, float(first) - gap)
    stop = max(end, 2 * float(near.max() + size) / c + float(last) + gap)
    skip = int(np.ceil((scan.start - begin) * fs))
    begin = scan.start - skip / fs
    length = fast_length(int(np.ceil((stop - begin) * fs)) + 2)
    f = np.arange(length // 2 + 1) * (fs / length)
    pulse = pulse_spectrum(probe, f)
    used = np.flatnonzero(pulse > _FLOOR)
    if used[-1] == f.size - 1 and pulse[-1] > 0.3:
        raise ParameterError(
            f"a pulse about {probe.centre_frequency / 1e6:g} MHz does not fit into a sampling "
            f"frequency of {fs / 1e6:g} MHz; sample at least four times the centre frequency"
        )
    spectrum = np.zeros((used.size, elements, transmits), np.complex64)
    firing = np.exp(-2j * np.pi * f[used, None, None] * (fires - begin).T)
    firing = (firing * scan.transmit.apodisation.T).astype(np.complex64)
    chunks = range(0, len(points), _CHUNK)
    for n, k in enumerate(chunks):
        start, rate = _ways(
            probe, points[k : k + _CHUNK], c, attenuation=attenuation, directivity=directivity,
            spreading=spreading,
        )  # fmt: skip
        weight = amplitudes[k : k + _CHUNK, None].astype(np.float32)
        blocks = -(-used.size // _BLOCK)
        with one_thread():
            in_chunks(_sound, blocks, start, rate, weight, firing, f[used], spectrum)
        progress((n + 1) / len(chunks), "sounding")
    # A pulse of height 1: the mean of its spectrum over one side is 1.
    spectrum *= (pulse[used] / pulse[used].sum() * length / 2)[:, None, None]
    full = np.zeros((transmits, elements, f.size), np.complex64)
    full[..., used] = spectrum.transpose(2, 1, 0)
    traces: Any = fft.irfft(full, length, axis=-1)
    return traces[..., skip : skip + samples]


def _sound(
    begin: int, end: int, start: Array, rate: Array, weight: Array, firing: Array, f: Float,
    spectrum: Array,
) -> None:  # fmt: skip
    """Add the echoes of one chunk of scatterers at some blocks of frequencies."""
    step = np.exp(rate * (f[1] - f[0] if f.size > 1 else 0.0)).astype(np.complex64)
    for block in range(begin, end):
        low, high = block * _BLOCK, min(f.size, block * _BLOCK + _BLOCK)
        # In double precision: the phase is hundreds of turns.
        way = (start * np.exp(rate.astype(np.complex128) * f[low])).astype(np.complex64)
        for i in range(low, high):
            spectrum[i] += way.T @ (weight * (way @ firing[i]))
            way *= step


def _ways(
    probe: Probe, points: Float, c: float, *, attenuation: float, directivity: bool,
    spreading: bool,
) -> tuple[Array, Array]:  # fmt: skip
    """Gain of every way (scatterers, elements), and the logarithm of ``G`` per Hz."""
    gap = points[:, None] - probe.positions
    d = np.maximum(np.linalg.norm(gap, axis=-1), 1e-3)
    gain = np.ones(d.shape)
    if spreading:
        gain /= d if probe.kind == "matrix" else np.sqrt(d)
    if directivity:
        deep = np.einsum("nek,ek->ne", gap, probe.normals)
        sine = np.sqrt(np.maximum(1 - (deep / d) ** 2, 0))
        gain *= np.where(deep > 0, np.sinc(probe.width / probe.wavelength(c / 1e3) * sine), 0)
    # dB/(cm MHz) as nepers per mm and Hz.
    loss = attenuation * np.log(10) / 20 / 10 / 1e6
    rate = -(2j * np.pi / c + loss) * d
    return gain, rate
