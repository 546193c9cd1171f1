"""Migration in the frequency domain (Stolt) for plane waves and a flat, even row of elements.

A plane wave ``n`` and its echo leave at ``r`` the phase ``exp(-i k (n . r)) exp(-i k |r - p|)``; in
the spectrum over elements (wavenumber ``q``) the way back is ``exp(i (q x + sqrt(k^2 - q^2) y))``,
so that every sample of the spectrum ``S(q, k)`` belongs to the image's wavenumbers ::

    kx = q + k nx,    ky = sqrt(k^2 - q^2) + k ny

This is the exact dispersion of Cheng and Lu 2006, IEEE Trans UFFC 53:880; Garcia et al. 2013,
IEEE Trans UFFC 60:1853, fit it by exploding reflectors and interpolate in the spectrum as Stolt
did. Here the sum over the spectrum's own, uneven wavenumbers is one non-uniform FFT per wave, so
nothing is interpolated; Stolt's Jacobian ``d ky / d k`` is the weight.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.ultrasound.beamform import image_of, seen
from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.acquire.ultrasound.choices import Compound, FNumber, Part, SpeedOfSound
from somascope.acquire.ultrasound.das import in_band, usual_f_number
from somascope.acquire.ultrasound.iq import fast_length
from somascope.acquire.ultrasound.samples import scan_of
from somascope.core import QUIET, Acquisition, Image, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.process.chunks import in_chunks

_NAME = "acquire.ultrasound.stolt"


@operation(_NAME)
def stolt(
    acquisition: Acquisition,
    *,
    f_number: FNumber = None,
    compound: Compound = True,
    speed_of_sound: SpeedOfSound = None,
    part: Part = "complex",
    progress: Progress = QUIET,
) -> Image:
    """Migrate plane-wave channel data in the frequency domain (Stolt f-k): the complex image.

    As ``das``, at a cost that does not grow with the pixels times the elements. Needs plane waves,
    a flat row of evenly spaced elements and a picture in its plane. ``f_number`` limits the
    directions that echoes may come from (0: all that travel).
    """
    scan = scan_of(acquisition, _NAME)
    seen(scan)
    _possible(scan)
    progress(0.0, "mixing down")
    band, iq = in_band(acquisition, scan)
    c = (scan.speed_of_sound if speed_of_sound is None else speed_of_sound) * 1e3
    limit = usual_f_number(scan) if f_number is None else f_number
    migrate = _Migration(band, c, limit)
    total = len(iq) * scan.transmit.count
    values = np.zeros((len(iq), scan.transmit.count, *migrate.shape), np.complex64)

    def work(start: int, stop: int) -> None:
        for k in range(start, stop):
            frame, wave = divmod(k, scan.transmit.count)
            values[frame, wave] = migrate(iq[frame, wave], wave)

    progress(0.1, "migrating")
    in_chunks(work, total)
    progress(1.0, "migrated")
    picture = values.sum(axis=1) if compound else values
    if part == "magnitude":
        picture = np.abs(picture)
    return image_of(acquisition, scan, picture, compound=compound)


class _Migration:
    """The wavenumbers of one scan; called with the IQ of one wave ``(elements, time)``."""

    def __init__(self, scan: ChannelScan, c: float, f_number: float) -> None:
        self.scan, self.c = scan, c
        _, ny, nx = scan.grid.shape
        self.shape = (nx, ny)
        _, self._dy, self._dx = scan.grid.spacing
        self._x0, self._y0, _ = scan.grid.origin
        pitch = scan.probe.pitch
        fs = scan.sampling_frequency
        # Room for what leaves the aperture sideways, so that it does not come in again.
        self._width = fast_length(2 * scan.probe.elements)
        self._length = fast_length(scan.samples + 16)
        f = np.fft.fftfreq(self._length, 1 / fs) + scan.demodulation_frequency
        self._k = 2 * np.pi * f / c
        self._q = 2 * np.pi * np.fft.fftfreq(self._width, pitch)
        k, q = np.meshgrid(self._k, self._q)
        most = 1.0 if f_number == 0 else float(np.sin(np.arctan(1 / (2 * f_number))))
        self._kept = (k > 0) & (np.abs(q) < most * 0.999 * k)
        self._deep = np.sqrt(np.where(self._kept, k * k - q * q, 1.0))
        self._f = f

    def __call__(self, iq: Array, wave: int) -> Array:
        """Image ``(nx, ny)``."""
        import finufft
        from scipy import fft

        scan, waves = self.scan, self.scan.transmit
        spectrum: Any = fft.fft2(iq, (self._width, self._length))
        # IQ(t) = s(t) exp(-2 pi i fd t) on the clock of t0; the record begins at `start`. The
        # sum over a plane's directions comes out an eighth of a turn late (Hankel function).
        shift = self._f * waves.t0[wave] - (self._f - scan.demodulation_frequency) * scan.start
        clock = np.exp(2j * np.pi * (shift + 0.125))
        place = np.exp(-1j * self._q * scan.probe.positions[0, 0])
        spectrum *= clock * place[:, None]
        k, q = np.broadcast_arrays(self._k, self._q[:, None])
        n = waves.vectors[wave]
        kx, ky = q + k * n[0], self._deep + k * n[1]
        slope = k / self._deep + n[1]
        phase = kx * self._x0 + ky * (self._y0 - scan.probe.positions[0, 1])
        strength = spectrum * slope * np.exp(1j * phase)
        kept = self._kept
        # Indices of the transform run from -n // 2: the rest of the way to pixel 0 is a phase.
        nx, ny = self.shape
        kx, ky = kx[kept] * self._dx, ky[kept] * self._dy
        middle = np.exp(1j * (kx * (nx // 2) + ky * (ny // 2)))
        out: Any = finufft.nufft2d1(
            _turned(kx), _turned(ky), (strength[kept] * middle).astype(np.complex64), (nx, ny),
            eps=1e-4, isign=1, nthreads=1,  # in a fixed order: repeatable to the bit
        )  # fmt: skip
        return out / (self._length * self._width)


def _turned(angle: Array) -> Array:
    """Angles brought to -pi .. pi."""
    return (angle - 2 * np.pi * np.round(angle / (2 * np.pi))).astype(np.float32)


def _possible(scan: ChannelScan) -> None:
    probe, waves, grid = scan.probe, scan.transmit, scan.grid
    if waves.kind != "plane" or np.abs(waves.vectors[:, 2]).max() > 1e-6:
        raise ParameterError(
            f"{_NAME} migrates plane waves in the picture's plane; this scan sent {waves.kind} "
            "waves: use acquire.ultrasound.das"
        )
    gaps = np.diff(probe.positions, axis=0)
    if probe.elements < 2 or np.abs(gaps - [probe.pitch, 0, 0]).max() > 1e-3 * probe.pitch:
        raise ParameterError(
            f"{_NAME} needs elements in an even, flat row; this probe is {probe.kind}: use "
            "acquire.ultrasound.das"
        )
    direction = grid.direction
    if grid.shape[0] != 1 or np.abs(direction[:, 1:] - [[0, 1], [1, 0], [0, 0]]).max() > 1e-6:
        raise GeometryError(f"{_NAME} needs a picture with rows along y and columns along x")
    if abs(grid.origin[2] - probe.positions[0, 2]) > 1e-6:
        raise GeometryError(f"{_NAME}: the picture lies beside the probe's plane")
