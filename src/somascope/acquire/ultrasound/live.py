"""A simulated probe that never stops: channel data of a beating artery, frame after frame.

Each frame is three plane waves heard by 128 elements, as IQ. The scatterers are sounded in time,
one linear interpolation and one phase per scatterer and element, which takes a fraction of a
second a frame; `scatterers.echoes` is exact and takes many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

from somascope.acquire.ultrasound import probe as probes
from somascope.acquire.ultrasound import transmit as waves
from somascope.acquire.ultrasound.beamform import columns_of
from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.acquire.ultrasound.das import Beamformer
from somascope.core import Grid, Image, Provenance, Source
from somascope.core.grid import Array, Float

DEPTH = 36.0
"""mm."""
TOP = 3.0
ARTERY = (-3.0, 19.0)
"""Lateral and depth, mm."""
RADIUS, SWELLING = 4.0, 0.45
"""mm: at rest, and how much a beat adds."""
CYST = (9.0, 27.0, 3.0)


class LiveProbe:
    """What a linear probe on a neck would hear; frames repeat after one beat.

    Parameters
    ----------
    size
        Rows and columns of the picture over 36 mm by 36 mm.
    frames
        Frames of one beat.
    angles, f_number
        Plane waves of each frame in degrees; depth over receiving aperture.
    scatterers
        Number of them.
    seed
        Of their places and strengths.
    """

    name = "ultrasound"

    def __init__(
        self,
        *,
        size: int = 512,
        frames: int = 25,
        angles: tuple[float, ...] = (-8.0, 0.0, 8.0),
        f_number: float = 1.8,
        scatterers: int = 8000,
        seed: int = 0,
    ) -> None:
        probe = probes.named("linear 5 MHz")
        fd = probe.centre_frequency
        self.grid = _grid(probe, size, size)
        rows, lines = max(size // 2, 8), max(size // 4, 8)
        beams = _grid(probe, rows, lines)
        fs = 1.6 * fd
        self.scan = ChannelScan(
            beams, probe=probe, transmit=waves.plane(probe, angles),
            samples=int(np.ceil(2.4 * (TOP + DEPTH) / 1.54e6 * fs)),
            sampling_frequency=fs, demodulation_frequency=fd,
        )  # fmt: skip
        self._beamformer = Beamformer(self.scan, columns_of(beams), f_number=f_number)
        self._rng = np.random.default_rng(seed)
        self._rest = np.stack([
            self._rng.uniform(-0.55 * DEPTH, 0.55 * DEPTH, scatterers),
            self._rng.uniform(TOP - 1, TOP + DEPTH, scatterers),
            np.zeros(scatterers),
        ], axis=1)  # fmt: skip
        strength = _echogenicity(self._rest) * self._rng.normal(size=scatterers)
        self._strength = strength.astype(np.float32)
        sigma = np.sqrt(2 * np.log(2)) / (np.pi * probe.bandwidth * fd)
        self._pulse = _gaussian(sigma * fs)
        self._film: list[Array | None] = [None] * frames
        first = np.abs(self.beamformed(self.capture(0)))
        self._level = np.float32(np.percentile(first, 99.5) or 1.0)

    @property
    def stages(self) -> Sequence[tuple[str, Callable[[Any], Any]]]:
        """What makes a picture of channel data: beamform; envelope, logarithm, scan conversion."""
        return (("beamform", self.beamformed), ("B-mode", self.shown))

    def capture(self, number: int) -> Array:
        """Channel data of frame ``number``, complex64 ``(1, transmits, elements, samples)``.

        Sounded when first asked for, and kept.
        """
        k = number % len(self._film)
        found = self._film[k]
        if found is None:
            found = self._film[k] = self._sounded(_moved(self._rest, k / len(self._film)))
        return found

    def beamformed(self, iq: Array) -> Array:
        """Complex ``(lines, rows)``, depth along the last axis."""
        return self._beamformer(iq)[0]

    def shown(self, values: Array, *, dynamic: float = 50.0) -> Image:
        """The logarithm of the envelope as uint8 on `grid`; 255 is the brightest of the first.

        The picture is interpolated between lines and rows after the logarithm, as scan converters
        do.
        """
        _, ny, nx = self.grid.shape
        data = np.empty((1, ny, nx), np.uint8)
        _converted(values, np.float32(1 / self._level), np.float32(255 / dynamic), data[0])
        return Image(data, self.grid, "US", provenance=Provenance((Source("phantom", "artery"),)))

    def _sounded(self, points: Float) -> Array:
        from scipy.ndimage import convolve1d

        scan = self.scan
        fs, c = scan.sampling_frequency, scan.speed_of_sound * 1e3
        iq = np.zeros(scan.range, np.complex64)
        first = scan.transmit.arrivals(points, scan.probe, scan.speed_of_sound)
        _sound(
            (points * (fs / c)).astype(np.float32), self._strength,
            (first * fs).astype(np.float32), (scan.probe.positions * (fs / c)).astype(np.float32),
            np.float32(2 * np.pi * scan.demodulation_frequency / fs),
            np.float32(np.pi * scan.probe.width / scan.probe.wavelength(scan.speed_of_sound)), iq,
        )  # fmt: skip
        parts = [convolve1d(part, self._pulse, axis=2) for part in (iq.real, iq.imag)]
        noise = self._rng.normal(size=(2, *iq.shape)) * 0.02 * np.abs(parts[0]).mean()
        return (parts[0] + noise[0] + 1j * (parts[1] + noise[1])).astype(np.complex64)[None]


def _grid(probe: probes.Probe, rows: int, columns: int) -> Grid:
    dy, dx = DEPTH / rows, DEPTH / columns
    return Grid.from_spacing(
        (1, rows, columns), (probe.height, dy, dx),
        origin=(-(columns - 1) / 2 * dx, TOP + dy / 2, 0.0),
    )  # fmt: skip


def beat(phase: float) -> float:
    """How far the artery has swollen, 0 to 1, at ``phase`` 0 to 1 of a beat: fast up, slow down."""
    return float(np.exp(-(((phase - 0.18) / 0.09) ** 2)) + 0.35 * np.exp(
        -(((phase - 0.45) / 0.1) ** 2)
    ))  # fmt: skip


def _moved(points: Float, phase: float) -> Float:
    """The artery's wall pushes what is around it away, less with distance; nothing is squeezed."""
    x, z = points[:, 0] - ARTERY[0], points[:, 1] - ARTERY[1]
    r2 = np.maximum(x**2 + z**2, 1e-6)
    now = RADIUS + SWELLING * beat(phase)
    scale = np.sqrt(np.maximum(1 + (now**2 - RADIUS**2) / r2, 0.0))
    out = points.copy()
    out[:, 0], out[:, 1] = ARTERY[0] + x * scale, ARTERY[1] + z * scale
    return out


def _echogenicity(points: Float) -> Float:
    x, z = points[:, 0], points[:, 1]
    r = np.hypot(x - ARTERY[0], z - ARTERY[1])
    value = np.where(r < RADIUS, 0.02, 1.0)
    value = np.where((r >= RADIUS) & (r < RADIUS + 0.8), 2.5, value)
    value = np.where(np.hypot(x - CYST[0], z - CYST[1]) < CYST[2], 0.02, value)
    value = np.where((z < 9.0) & (r > RADIUS + 0.8), 0.55, value)
    layer = np.abs(z - 9.2 - 0.6 * np.sin(x / 5)) < 0.25
    return np.where(layer, 4.0, value)


def _gaussian(sigma: float) -> Array:
    reach = int(np.ceil(4 * sigma))
    t = np.arange(-reach, reach + 1)
    return np.exp(-0.5 * (t / sigma) ** 2).astype(np.float32)


@numba.njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _sound(
    points: Array, strength: Array, arrival: Array, elements: Array, turn: Any, width: Any,
    out: Array,
) -> None:  # fmt: skip
    """Add every scatterer's echo to every trace; positions count in samples."""
    transmits, count, samples = out.shape
    for e in numba.prange(count):
        for p in range(points.shape[0]):
            dx = points[p, 0] - elements[e, 0]
            dz = points[p, 1] - elements[e, 1]
            away = np.sqrt(dx * dx + dz * dz)
            if dz <= 0:
                continue
            a = width * dx / away
            gain = strength[p] * (np.sin(a) / a if abs(a) > 1e-6 else np.float32(1)) / np.sqrt(away)
            for t in range(transmits):
                s = arrival[t, p] + away
                if s >= 0 and s < samples - 1:
                    v = gain * complex(np.cos(turn * s), -np.sin(turn * s))
                    i = int(s)
                    f = s - i
                    out[t, e, i] += (1 - f) * v
                    out[t, e, i + 1] += f * v


@numba.njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _converted(values: Array, scale: Any, steep: Any, out: Array) -> None:
    """Envelope, decibels, and linear interpolation to the picture's rows and columns."""
    lines, rows = values.shape
    ny, nx = out.shape
    bright = np.empty((rows, lines), np.float32)
    for x in numba.prange(lines):
        for y in range(rows):
            v = values[x, y]
            power = (v.real * v.real + v.imag * v.imag) * scale * scale
            bright[y, x] = np.float32(4.342945) * steep * np.log(power + np.float32(1e-12))
    left = np.empty(nx, np.int32)
    part = np.empty(nx, np.float32)
    for x in range(nx):
        q = min(max((x + 0.5) * lines / nx - 0.5, 0.0), lines - 1.001)
        left[x] = int(q)
        part[x] = q - left[x]
    for y in numba.prange(ny):
        p = min(max((y + 0.5) * rows / ny - 0.5, 0.0), rows - 1.001)
        i = int(p)
        f = np.float32(p - i)
        row = np.empty(lines, np.float32)
        for x in range(lines):
            row[x] = bright[i, x] + f * (bright[i + 1, x] - bright[i, x]) + np.float32(255)
        for x in range(nx):
            j = left[x]
            v = row[j] + part[x] * (row[j + 1] - row[j])
            out[y, x] = np.uint8(min(max(v, np.float32(0)), np.float32(255)))
