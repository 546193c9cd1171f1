"""`us.channels`: what every element received after every transmit, and the linear model of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np

from somascope.acquire.ultrasound.probe import Probe, from_facts
from somascope.acquire.ultrasound.transmit import Transmits, Wave
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float, Grid


class ChannelScan:
    """Point scatterers on a grid, heard by every element: ``y[t, e] = sum_r x(r) h(. - tau)``.

    ``tau = arrival_t(r) + |r - p_e| / c`` and ``h`` spreads an echo over the two samples around it
    (linear interpolation). For IQ samples (``demodulation_frequency`` fd > 0) each echo has the
    phase ``exp(-2 pi i fd tau)``. The pulse, directivity and attenuation are left to the
    simulator: with ``h`` alone the adjoint is unweighted delay-and-sum.

    ``domain`` is ``(frames?, nz, ny, nx)``; ``range`` is ``(frames?, transmits, elements,
    samples)``. Real for RF, complex for IQ.

    Parameters
    ----------
    grid
        Image space, LPS mm: x lateral as element numbers rise, y depth, z elevation; ``nz = 1``
        for a plane. Its coordinates are those of the probe (the face's middle is the origin).
    probe, transmit
        Elements, and the waves sent.
    samples
        Per trace.
    sampling_frequency
        Hz.
    demodulation_frequency
        Hz by which IQ samples were shifted down; 0 for RF.
    speed_of_sound
        m/s.
    start
        Time of the first sample, s, on the clock of the transmits' ``t0``.
    times
        When each frame began, s; without it there is no frame axis.
    """

    kind = "us.channels"

    def __init__(
        self,
        grid: Grid,
        *,
        probe: Probe,
        transmit: Transmits,
        samples: int,
        sampling_frequency: float,
        demodulation_frequency: float = 0.0,
        speed_of_sound: float = 1540.0,
        start: float = 0.0,
        times: Sequence[float] | None = None,
    ) -> None:
        if not (np.isfinite(sampling_frequency) and sampling_frequency > 0):
            raise ParameterError(
                f"the sampling frequency is {sampling_frequency} Hz; give a positive number"
            )
        if not (np.isfinite(demodulation_frequency) and demodulation_frequency >= 0):
            raise ParameterError(
                f"the demodulation frequency is {demodulation_frequency} Hz; give 0 for RF or the "
                "frequency of the IQ samples"
            )
        if not 100 <= speed_of_sound <= 10000:
            raise ParameterError(f"the speed of sound is {speed_of_sound} m/s; tissue has 1540")
        if int(samples) < 2:
            raise ParameterError(f"traces of {samples} samples; give at least 2")
        if not np.isfinite(start):
            raise ParameterError(f"the start of the record is {start} s; give a number")
        if transmit.apodisation.shape[1] != probe.elements:
            raise GeometryError(
                f"transmits for {transmit.apodisation.shape[1]} elements, but the probe has "
                f"{probe.elements}"
            )
        if times is not None and (len(times) == 0 or not np.isfinite(np.asarray(times)).all()):
            raise ParameterError("frame times are empty or not finite; give seconds per frame")
        self.grid = grid
        self.probe = probe
        self.transmit = transmit
        self.samples = int(samples)
        self.sampling_frequency = float(sampling_frequency)
        self.demodulation_frequency = float(demodulation_frequency)
        self.speed_of_sound = float(speed_of_sound)
        self.start = float(start)
        self.times = None if times is None else tuple(float(t) for t in times)

    @property
    def domain(self) -> tuple[int, ...]:
        """``(frames?, nz, ny, nx)``."""
        return (*self._frames, *self.grid.shape)

    @property
    def range(self) -> tuple[int, ...]:
        """``(frames?, transmits, elements, samples)``."""
        return (*self._frames, self.transmit.count, self.probe.elements, self.samples)

    @property
    def _frames(self) -> tuple[int, ...]:
        return () if self.times is None else (len(self.times),)

    @property
    def complex(self) -> bool:
        """Whether the samples are IQ."""
        return self.demodulation_frequency > 0

    def describe(self) -> dict[str, Any]:
        """What `build` makes an equal scan of."""
        waves = self.transmit
        return {
            "grid": self.grid,
            "probe": self.probe.describe(),
            "positions": self.probe.positions,
            "normals": self.probe.normals,
            "transmit": waves.kind,
            "vectors": waves.vectors,
            "t0": waves.t0,
            "apodisation": waves.apodisation,
            "delays": waves.delays,
            "samples": self.samples,
            "sampling_frequency": self.sampling_frequency,
            "demodulation_frequency": self.demodulation_frequency,
            "speed_of_sound": self.speed_of_sound,
            "start": self.start,
            "times": None if self.times is None else list(self.times),
        }

    def with_changes(self, **changes: Any) -> ChannelScan:
        """The same scan with other constructor arguments."""
        kept = {
            "grid": self.grid, "probe": self.probe, "transmit": self.transmit,
            "samples": self.samples, "sampling_frequency": self.sampling_frequency,
            "demodulation_frequency": self.demodulation_frequency,
            "speed_of_sound": self.speed_of_sound, "start": self.start, "times": self.times,
        }  # fmt: skip
        return ChannelScan(**{**kept, **changes})

    def points(self) -> Float:
        """Pixel centres ``(nz * ny * nx, 3)`` in mm, in array order."""
        return points_of(self.grid)

    def arrivals(self) -> Float:
        """When each wave reaches each pixel, s, ``(transmits, pixels)``."""
        return self.transmit.arrivals(self.points(), self.probe, self.speed_of_sound)

    def forward(self, x: Array) -> Array:
        """Echoes ``range`` of scatterers ``domain``."""
        x = self._checked(x, self.domain, what="the image")
        out = np.zeros(self.range, x.dtype)
        flat, traces = x.reshape(-1, int(np.prod(self.grid.shape))), _framed(out, self.range)
        for image, data in zip(flat, traces, strict=True):
            _spread(image, data, *self._tables(x.dtype))
        return out

    def adjoint(self, y: Array) -> Array:
        """Delay and sum without weights: ``domain`` of samples ``range``."""
        y = self._checked(y, self.range, what="the channel data")
        out = np.zeros(self.domain, y.dtype)
        flat, traces = out.reshape(-1, int(np.prod(self.grid.shape))), _framed(y, self.range)
        for image, data in zip(flat, traces, strict=True):
            _gather(data, image, *self._tables(y.dtype))
        return out

    def _tables(self, dtype: Any) -> tuple[Any, ...]:
        c = self.speed_of_sound * 1e3
        fs = self.sampling_frequency
        cycles = 2 * np.pi * self.demodulation_frequency / fs
        turn = (1j if np.dtype(dtype).kind == "c" else 1) * cycles
        first = (self.arrivals() - self.start) * fs
        return (
            first, self.points() * (fs / c), self.probe.positions * (fs / c), turn,
            self.start * fs,
        )  # fmt: skip

    def _checked(self, values: Array, shape: tuple[int, ...], *, what: str) -> Array:
        values = np.asarray(values)
        if values.shape != tuple(shape):
            raise GeometryError(f"{what} has shape {values.shape}; this scan needs {tuple(shape)}")
        if values.dtype.kind == "c" and not self.complex:
            raise GeometryError(f"{what} is complex, but this scan's samples are RF (real)")
        double = values.dtype in (np.float64, np.complex128)
        real, iq = (np.float64, np.complex128) if double else (np.float32, np.complex64)
        return np.ascontiguousarray(values, iq if self.complex else real)


def build(
    *,
    grid: Grid,
    probe: Mapping[str, Any],
    positions: Array,
    normals: Array,
    transmit: Wave,
    vectors: Array,
    t0: Array,
    apodisation: Array,
    samples: int,
    sampling_frequency: float,
    demodulation_frequency: float = 0.0,
    speed_of_sound: float = 1540.0,
    start: float = 0.0,
    times: Sequence[float] | None = None,
    delays: Array | None = None,
) -> ChannelScan:
    """The scan of a description (`ChannelScan.describe`); readers use it by the name us.channels.

    Raises
    ------
    GeometryError, ParameterError
        Arrays that do not fit each other; impossible values.
    """
    return ChannelScan(
        grid,
        probe=from_facts(probe, positions=positions, normals=normals),
        transmit=Transmits(transmit, vectors, t0, apodisation, delays),
        samples=samples,
        sampling_frequency=sampling_frequency,
        demodulation_frequency=demodulation_frequency,
        speed_of_sound=speed_of_sound,
        start=start,
        times=times,
    )


def points_of(grid: Grid) -> Float:
    """Voxel centres ``(nz * ny * nx, 3)`` in mm, in array order."""
    z, y, x = np.indices(grid.shape).reshape(3, -1)
    a = grid.affine
    return z[:, None] * a[:3, 0] + y[:, None] * a[:3, 1] + x[:, None] * a[:3, 2] + a[:3, 3]


def field_of(
    probe: Probe,
    *,
    depth: float,
    start: float = 2.0,
    width: float | None = None,
    spacing: float | None = None,
    speed_of_sound: float = 1540.0,
    frame_of_reference: str = "",
) -> Grid:
    """A picture's grid for a probe: square pixels from ``start`` to ``depth`` mm, centred on x = 0.

    ``width`` defaults to the aperture of a flat array, to what a 90 degree sector covers for a
    phased one and to the arc's opening for a convex one; ``spacing`` to half a wavelength.
    """
    if not (depth > start >= 0):
        raise ParameterError(f"a field from {start} to {depth} mm deep is empty")
    step = probe.wavelength(speed_of_sound) / 2 if spacing is None else spacing
    if width is None:
        half = probe.aperture / 2 + probe.pitch / 2
        if probe.kind == "phased":
            half = depth * np.sin(np.pi / 4)
        elif probe.kind == "convex":
            half *= (probe.radius + depth) / probe.radius
        width = 2 * float(half)
    nx = max(int(np.ceil(width / step)), 2)
    ny = max(int(np.ceil((depth - start) / step)), 2)
    origin = (-(nx - 1) / 2 * step, start, 0.0)
    thick = probe.height
    return Grid.from_spacing(
        (1, ny, nx), (thick, step, step), origin=origin, frame_of_reference=frame_of_reference
    )


def _framed(data: Array, shape: tuple[int, ...]) -> Array:
    return data.reshape(-1, *shape[-3:])


@numba.njit(parallel=True, cache=True, error_model="numpy", boundscheck=False)
def _spread(
    x: Array, out: Array, first: Float, at: Float, elements: Float, turn: Any, start: float
) -> None:
    """Add every scatterer's echo to every trace; each element's traces belong to one thread."""
    transmits, count, samples = out.shape
    n = x.shape[0]
    for e in numba.prange(count):
        away = np.empty(n)
        for p in range(n):
            away[p] = np.sqrt(
                (at[p, 0] - elements[e, 0]) ** 2
                + (at[p, 1] - elements[e, 1]) ** 2
                + (at[p, 2] - elements[e, 2]) ** 2
            )
        for t in range(transmits):
            trace = out[t, e]
            for p in range(n):
                s = first[t, p] + away[p]
                if s >= 0 and s < samples - 1:
                    i = int(s)
                    f = s - i
                    v = x[p] * (1.0 if turn == 0 else np.exp(-turn * (s + start)))
                    trace[i] += (1 - f) * v
                    trace[i + 1] += f * v


@numba.njit(parallel=True, cache=True, error_model="numpy", boundscheck=False)
def _gather(
    y: Array, out: Array, first: Float, at: Float, elements: Float, turn: Any, start: float
) -> None:
    """The transpose of `_spread`; each block of pixels belongs to one thread."""
    transmits, count, samples = y.shape
    n = out.shape[0]
    size = 256
    for b in numba.prange((n + size - 1) // size):
        stop = min(n, b * size + size)
        for e in range(count):
            for p in range(b * size, stop):
                away = np.sqrt(
                    (at[p, 0] - elements[e, 0]) ** 2
                    + (at[p, 1] - elements[e, 1]) ** 2
                    + (at[p, 2] - elements[e, 2]) ** 2
                )
                for t in range(transmits):
                    s = first[t, p] + away
                    if s >= 0 and s < samples - 1:
                        i = int(s)
                        f = s - i
                        v = (1 - f) * y[t, e, i] + f * y[t, e, i + 1]
                        out[p] += v * (1.0 if turn == 0 else np.exp(turn * (s + start)))
