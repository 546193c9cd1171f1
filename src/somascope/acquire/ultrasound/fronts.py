"""Echoes of very many scatterers, each hit once by the ideal front of every wave.

Every scatterer adds one pulse to every trace, at the arrival of the wave plus the way back, with
the receiving element's directivity, spreading and attenuation (at the centre frequency). What
this leaves out is the diffraction of the transmitted wave: its edge waves and the width of a
focused beam. `scatterers.echoes` has them, at a hundred times the cost.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.acquire.ultrasound.iq import fast_length
from somascope.acquire.ultrasound.scatterers import frames_of, pulse_spectrum
from somascope.core import QUIET, Progress
from somascope.core.grid import Array, Float
from somascope.process.chunks import in_chunks

_FINER = 4
"""Grid steps per sample on which delays are kept, with linear interpolation between them."""


def front_echoes(
    scan: ChannelScan,
    points: Array,
    amplitudes: Array,
    *,
    attenuation: float = 0.0,
    progress: Progress = QUIET,
) -> Array:
    """RF of scatterers hit by ideal fronts; parameters and result as of `scatterers.echoes`."""
    points, amplitudes, same = frames_of(scan, points, amplitudes)
    out = np.empty((len(points), *scan.range[-3:]), np.float32)
    for k in range(1 if same else len(points)):
        out[k] = _frame(scan, points[k], amplitudes[k], attenuation)
        progress((k + 1) / len(points), "sounding")
    if same:
        out[1:] = out[0]
    progress(1.0, "simulated")
    return out.reshape(scan.range)


def _frame(scan: ChannelScan, points: Float, amplitudes: Float, attenuation: float) -> Array:
    from scipy import fft

    probe, c, fs = scan.probe, scan.speed_of_sound * 1e3, scan.sampling_frequency * _FINER
    transmits, elements, samples = scan.range[-3:]
    heard = amplitudes != 0
    points = points[heard]
    arrive = scan.transmit.arrivals(points, probe, scan.speed_of_sound)
    middle = scan.transmit.apodisation @ probe.positions
    middle /= scan.transmit.apodisation.sum(axis=1, keepdims=True)
    away: Any = np.linalg.norm(points[None] - middle[:, None], axis=-1)
    # dB/(cm MHz) as nepers per mm at the centre frequency.
    loss = attenuation * np.log(10) / 20 / 10 * probe.centre_frequency / 1e6
    power = 1.0 if probe.kind == "matrix" else 0.5
    sent = np.maximum(away, 0.1) ** -power * np.exp(-loss * away)
    spare = _FINER * int(np.ceil(8 * scan.sampling_frequency / probe.centre_frequency))
    length = _FINER * fast_length(samples + 2 * spare // _FINER)
    fine = np.zeros((transmits, elements, length), np.float32)
    in_chunks(
        _strike, elements, fine, ((arrive - scan.start) * fs + spare).astype(np.float32),
        sent.astype(np.float32), points, amplitudes[heard].astype(np.float32),
        probe.positions, probe.normals,
        fs / c, loss, power, probe.width / probe.wavelength(scan.speed_of_sound),
    )  # fmt: skip
    pulse = pulse_spectrum(probe, np.arange(length // 2 + 1) * (fs / length))
    keep = length // _FINER // 2 + 1
    # The pulse has no sound beyond half the sampling frequency: cut there, the inverse decimates.
    shape = (pulse[:keep] / pulse.sum() * length / 2 / _FINER).astype(np.float32)
    out = np.empty((transmits, elements, samples), np.float32)
    for t in range(transmits):
        spectrum: Any = fft.rfft(fine[t], axis=-1)
        spectrum = spectrum[:, :keep] * shape
        rf: Any = fft.irfft(spectrum, length // _FINER, axis=-1)
        out[t] = rf[:, spare // _FINER : spare // _FINER + samples]
    return out


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy", boundscheck=False)
def _strike(
    begin: int, end: int, fine: Array, first: Array, sent: Array, points: Float, strength: Array,
    elements: Float, normals: Float, per: float, loss: float, power: float, width: float,
) -> None:  # fmt: skip
    """Put the echoes of all scatterers into the traces of elements ``begin..end``."""
    transmits, _, length = fine.shape
    for e in range(begin, end):
        for n in range(points.shape[0]):
            x = points[n, 0] - elements[e, 0]
            y = points[n, 1] - elements[e, 1]
            z = points[n, 2] - elements[e, 2]
            d = max(np.sqrt(x * x + y * y + z * z), 1e-3)
            deep = x * normals[e, 0] + y * normals[e, 1] + z * normals[e, 2]
            if deep <= 0:
                continue
            u = np.pi * width * np.sqrt(max(1 - (deep / d) ** 2, 0.0))
            gain = strength[n] * (np.sin(u) / u if u > 1e-6 else 1.0)
            gain *= np.exp(-loss * d) * (1 / d if power == 1.0 else 1 / np.sqrt(d))
            way = np.float32(d * per)
            for t in range(transmits):
                s = first[t, n] + way
                if s >= 0 and s < length - 1:
                    i = int(s)
                    f = s - i
                    v = np.float32(gain * sent[t, n])
                    fine[t, e, i] += v - f * v
                    fine[t, e, i + 1] += f * v
