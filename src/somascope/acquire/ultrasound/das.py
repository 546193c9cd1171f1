"""Delay and sum on any set of points: from IQ channel data to complex values."""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.ultrasound import das_kernel as kernel
from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.acquire.ultrasound.iq import band_of, carrier_of, demodulated
from somascope.core import QUIET, Acquisition, Progress
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.process.chunks import in_chunks

WINDOWS = {
    "boxcar": kernel.BOXCAR, "hann": kernel.HANN, "hamming": kernel.HAMMING, "tukey": kernel.TUKEY,
}  # fmt: skip
KINDS = {
    "plane": kernel.PLANE, "diverging": kernel.DIVERGING, "focused": kernel.FOCUSED,
    "delays": kernel.DELAYS,
}  # fmt: skip
FINEST = 4.0
"""Samples per cycle of half the band's width; interpolation then dims its -6 dB edge by 5 %."""


class Beamformer:
    """Delay and sum for one scan, one set of points and one aperture; made once for many frames.

    Parameters
    ----------
    scan
        Of IQ samples (`in_band` makes one of RF).
    points
        ``(columns, depths, 3)`` mm; the second axis runs away from the probe.
    f_number
        Depth over receiving width; 0 takes all elements; None as `usual_f_number` says.
    window
        ``boxcar``, ``hann``, ``hamming``, ``tukey``.
    speed_of_sound
        m/s; the scan's if not given.
    """

    def __init__(
        self,
        scan: ChannelScan,
        points: Float,
        *,
        f_number: float | None = None,
        window: str = "hann",
        speed_of_sound: float | None = None,
    ) -> None:
        if window not in WINDOWS:
            raise ParameterError(f"no window {window!r}; choose {', '.join(WINDOWS)}")
        if points.ndim != 3 or points.shape[-1] != 3:
            raise GeometryError(f"points of shape {points.shape}; give (columns, depths, 3) in mm")
        c = scan.speed_of_sound if speed_of_sound is None else speed_of_sound
        self.scan = scan
        self.shape = points.shape[:2]
        fs = scan.sampling_frequency
        per = fs / (c * 1e3)
        self._tiles = _tiled(np.asarray(points * per, np.float32))
        probe, waves = scan.probe, scan.transmit
        active = waves.apodisation > 0
        middle = waves.apodisation @ probe.positions
        middle /= waves.apodisation.sum(axis=1, keepdims=True)
        table = np.zeros((waves.count, 7))
        # On the sample clock; the record begins at `start`.
        table[:, 0] = (waves.t0 - scan.start) * fs
        table[:, 1:4] = waves.vectors * (1.0 if waves.kind == "plane" else per)
        table[:, 4:7] = waves.vectors - middle
        self._waves = table.astype(np.float32)
        delays = np.zeros((1, 1)) if waves.delays is None else waves.delays * fs
        if waves.delays is not None:
            delays = np.where(active, delays, 1e30)
        self._delays = delays.astype(np.float32)
        self._elements = (probe.positions * per).astype(np.float32)
        self._normals = probe.normals.astype(np.float32)
        away = np.linalg.norm(probe.positions - probe.positions.mean(axis=0), axis=1)
        self._rims = (away / (away.max() + probe.pitch / 2)).astype(np.float32)
        chosen = usual_f_number(scan) if f_number is None else f_number
        self._f2 = np.float32(2 * chosen)
        self._window = WINDOWS[window]
        self._turn = np.float32(scan.demodulation_frequency / fs)
        self._phase = np.float32((scan.demodulation_frequency * scan.start) % 1.0)

    def __call__(self, iq: Array, *, compound: bool = True, progress: Progress = QUIET) -> Array:
        """The image values of IQ samples ``(frames, transmits, elements, time)``.

        Returns
        -------
        array
            complex64 ``(frames, columns, depths)``; ``(frames, transmits, columns, depths)``
            without ``compound``.
        """
        words, tiles, common = self.prepared(iq)
        rows = len(iq) * (1 if compound else self.scan.transmit.count)
        count, _, size = tiles.shape
        out = np.empty((count, rows, 2, size), np.float32)
        progress(0.0, "beamforming")
        step = max(1, count // 8) if progress is not QUIET else count
        for k in range(0, count, step):
            stop = min(count, k + step)
            in_chunks(
                kernel.das_tiles, stop - k, tiles[k:stop], words, *common, compound, out[k:stop]
            )
            progress(stop / count, "beamforming")
        values = self.picture(out)
        if compound:
            return values
        return values.reshape(len(iq), self.scan.transmit.count, *self.shape)

    def prepared(self, iq: Array) -> tuple[Array, Array, tuple[Any, ...]]:
        """What kernels take: samples as 64-bit words, tiles of points, geometry and aperture."""
        want = (self.scan.transmit.count, self.scan.probe.elements, self.scan.samples)
        if iq.ndim != 4 or iq.shape[1:] != want:
            raise GeometryError(
                f"channel data of shape {iq.shape}; this scan needs (frames, {want[0]} transmits, "
                f"{want[1]} elements, {want[2]} samples)"
            )
        words = np.ascontiguousarray(iq, np.complex64).view(np.uint64)
        return words, self._tiles, (
            KINDS[self.scan.transmit.kind], self._waves, self._delays, self._elements,
            self._normals, self._rims, self._f2, self._window, self._turn, self._phase,
        )  # fmt: skip

    def picture(self, out: Array) -> Array:
        """Tiles ``(tiles, rows, 2, points)`` as complex64 ``(rows, columns, depths)``."""
        return _untiled(out, self.shape)


def usual_f_number(scan: ChannelScan) -> float:
    """1.5 for linear and convex probes; 0, all elements, for those that look sideways."""
    return 1.5 if scan.probe.kind in ("linear", "convex") else 0.0


def in_band(acquisition: Acquisition, scan: ChannelScan) -> tuple[ChannelScan, Array]:
    """The scan and samples ``(frames, transmits, elements, time)`` as IQ fine enough to delay.

    RF is mixed down and kept at a rate of at least `FINEST` samples per cycle of the band's half
    width; IQ is taken as it is.
    """
    samples = acquisition.samples.reshape(-1, *scan.range[-3:])
    if scan.complex:
        return scan, samples
    carrier, band = carrier_of(scan), band_of(scan)
    step = max(1, int(scan.sampling_frequency / (FINEST * max(band, 0.5) * carrier)))
    iq = demodulated(
        samples, sampling_frequency=scan.sampling_frequency, frequency=carrier, start=scan.start,
        bandwidth=band, decimation=step,
    )  # fmt: skip
    made = scan.with_changes(
        samples=iq.shape[-1], demodulation_frequency=carrier,
        sampling_frequency=scan.sampling_frequency / step,
    )  # fmt: skip
    return made, iq


def _tiled(points: Array) -> Array:
    """``(columns, depths, 3)`` as ``(tiles, 3, columns * depth)``; the last tiles are filled up."""
    nx, ny, _ = points.shape
    across, down = -(-nx // kernel.COLUMNS), -(-ny // kernel.DEPTH)
    spare = ((0, across * kernel.COLUMNS - nx), (0, down * kernel.DEPTH - ny), (0, 0))
    full = np.pad(points, spare, mode="edge")
    parts = full.reshape(across, kernel.COLUMNS, down, kernel.DEPTH, 3)
    return np.ascontiguousarray(parts.transpose(0, 2, 4, 1, 3)).reshape(
        across * down, 3, kernel.COLUMNS * kernel.DEPTH
    )


def _untiled(out: Array, shape: tuple[int, ...]) -> Array:
    nx, ny = shape
    across, down = -(-nx // kernel.COLUMNS), -(-ny // kernel.DEPTH)
    rows = out.shape[1]
    parts = out.reshape(across, down, rows, 2, kernel.COLUMNS, kernel.DEPTH)
    full = parts.transpose(2, 0, 4, 1, 5, 3).reshape(
        rows, across * kernel.COLUMNS, down * kernel.DEPTH, 2
    )
    return np.ascontiguousarray(full[:, :nx, :ny]).view(np.complex64)[..., 0]
