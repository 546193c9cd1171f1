"""Expose a volume to a beam: attenuation, counting, and a detector with all its faults."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numba
import numpy as np

from somascope.acquire.matter import mass_attenuation, tissue_densities
from somascope.acquire.tube import Spectrum, tungsten
from somascope.acquire.xray.detector import FULL_SCALE, Detector, patterns, persist, spread
from somascope.acquire.xray.projection import Projection
from somascope.acquire.xray.scattering import Scatter
from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

CALIBRATION_FRAMES = 64


@dataclass(frozen=True)
class Beam:
    """Tube voltage in kV, tube current and time in mAs, filters in mm."""

    kvp: float = 120.0
    mas: float = 2.0
    aluminium: float = 2.5
    copper: float = 0.0

    @property
    def spectrum(self) -> Spectrum:
        """Photons per mm2 at 1 m."""
        filters = (("aluminium", self.aluminium), ("copper", self.copper))
        return tungsten(self.kvp, filters=filters).scaled(self.mas)


@dataclass(frozen=True)
class Collimator:
    """Four blades: how far each covers the detector (top, bottom, left, right), in mm.

    The blades let ``transmission`` through; their edge is blurred by the focal spot over
    ``penumbra`` mm.
    """

    margins: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    transmission: float = 0.002
    penumbra: float = 1.0

    def open(self, shape: tuple[int, int], pitch: tuple[float, float]) -> Float:
        """Transmission of every pixel ``(ny, nx)``."""
        sides = []
        for n, size, before, after in zip(
            shape, pitch, self.margins[0::2], self.margins[1::2], strict=True
        ):
            at = (np.arange(n) + 0.5) * size
            width = max(self.penumbra, 1e-6)
            ramp = np.ones(n)
            if before > 0:
                ramp = ramp * np.clip((at - before) / width + 0.5, 0.0, 1.0)
            if after > 0:
                ramp = ramp * np.clip((n * size - after - at) / width + 0.5, 0.0, 1.0)
            sides.append(ramp)
        return np.maximum(sides[0][:, None] * sides[1][None, :], self.transmission)


@dataclass(frozen=True)
class AntiScatterGrid:
    """A stationary grid's shadow: lines per mm along the rows, and their relative amplitude."""

    lines: float = 0.0
    contrast: float = 0.0


@dataclass(frozen=True, eq=False)
class Exposed:
    """Raw counts ``(nv, ny, nx)`` uint16, what the panel's calibration gives, and the ideal image.

    ``ideal`` is the expected signal of the primary beam in counts, without any fault: the truth
    for tests. ``line_integrals`` are its logarithm: ``-ln(signal / open beam)``.
    """

    counts: Array
    calibration: dict[str, Array]
    ideal: Float
    line_integrals: Float = field(repr=False)


@numba.njit(parallel=True, fastmath=True, error_model="numpy", cache=True)
def _transmitted(
    water: Array, bone: Array, mu_water: Float, mu_bone: Float, kev: Float, kev2: Float
) -> tuple[Float, Float]:
    """Sum of ``kev`` (and ``kev2``) over energies, each attenuated by both materials' paths."""
    signal, square = np.empty(water.size), np.empty(water.size)
    for i in numba.prange(water.size):
        a, b = np.float64(water[i]), np.float64(bone[i])
        s, q = 0.0, 0.0
        for e in range(len(kev)):
            through = math.exp(-(mu_water[e] * a + mu_bone[e] * b))
            s += kev[e] * through
            q += kev2[e] * through
        signal[i], square[i] = s, q
    return signal, square


def paths(hounsfield: Array, projection: Projection) -> tuple[Array, Array]:
    """Areal densities of water and bone along every ray, g/cm2, each ``(nv, ny, nx)`` float32."""
    water, bone = tissue_densities(hounsfield)
    if not bone.any():
        return projection.forward(water) / 10.0, np.zeros(projection.range, np.float32)
    return projection.forward(water) / 10.0, projection.forward(bone) / 10.0


def expose(
    hounsfield: Array,
    projection: Projection,
    *,
    beam: Beam,
    detector: Detector,
    scatter: Scatter | None = None,
    grid: AntiScatterGrid | None = None,
    collimator: Collimator | None = None,
    noise: bool = True,
    seed: int = 0,
    progress: Progress = QUIET,
) -> Exposed:
    """Detector counts of one or several views.

    Signal: photons of each energy through water and bone, weighted by the energy they leave in the
    scintillator. Noise: the compound Poisson law of the absorbed energy by its first two moments;
    then the light spread, which correlates it; then gain, electronic noise, offset and the
    analogue-to-digital converter.

    Parameters
    ----------
    hounsfield
        ``(nz, ny, nx)`` on the projection's grid.
    noise
        False gives the expectation (calibration images are averages in any case).
    seed
        Of noise and of the panel's patterns.
    """
    spectrum = beam.spectrum
    kev, kev2 = detector.weights(spectrum)
    mu_water, mu_bone = (mass_attenuation(m, spectrum.energies) for m in ("water", "bone"))
    water, bone = paths(hounsfield, projection)
    progress(0.5, "projecting")
    signal, square = _transmitted(water.reshape(-1), bone.reshape(-1), mu_water, mu_bone, kev, kev2)
    dose = np.stack([_fall_off(projection, v) for v in range(projection.range[0])])
    row, column = projection.rows[0], projection.columns[0]
    pitch = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    area = pitch[0] * pitch[1]
    gain = detector.counts_per_kev(area)
    open_signal = kev.sum() * area * dose
    signal = signal.reshape(dose.shape) * area * dose
    square = square.reshape(dose.shape) * area * dose
    per_quantum = square / signal
    if collimator is not None:
        signal = signal * collimator.open(projection.shape, pitch)
    primary = signal
    if scatter is not None:
        signal = signal + np.stack(
            [scatter.of(s, o, pitch) for s, o in zip(signal, open_signal, strict=True)]
        )
    if grid is not None and grid.contrast:
        x = np.arange(dose.shape[2]) * pitch[1]
        signal = signal * (1.0 + grid.contrast * np.cos(2 * np.pi * grid.lines * x))
    progress(0.7, "counting")
    rng = np.random.default_rng(seed)
    panel = patterns(detector, projection.shape, rng)
    pad = int(np.ceil(3 * detector.blur / min(pitch))) + 1
    transfer = _transfer(detector, projection.shape, pitch, pad=pad)
    if noise:
        signal = rng.poisson(signal / per_quantum) * per_quantum
    analogue = gain * np.stack([spread(s, transfer, pad=pad) for s in signal])
    analogue = persist(analogue, *detector.lag)
    counts = np.stack([_read_out(a, detector, panel, rng, noise=noise) for a in analogue])
    return Exposed(
        counts,
        _calibration(gain * open_signal[0], detector, panel, rng, beam.mas, noise=noise),
        gain * primary,
        np.log(open_signal / primary),
    )


def _fall_off(projection: Projection, view: int) -> Float:
    """Fluence at each pixel relative to 1 m on the central ray: distance squared and obliquity."""
    rays = projection.pixels(view) - projection.sources[view]
    distance = np.linalg.norm(rays, axis=-1)
    normal = projection.detector(view).direction[:, 0]
    return (1000.0 / distance) ** 2 * np.abs(rays @ normal) / distance


def _transfer(
    detector: Detector, shape: tuple[int, int], pitch: tuple[float, float], *, pad: int
) -> Float | None:
    if detector.blur <= 0:
        return None
    fy = np.asarray(np.fft.fftfreq(shape[0] + 2 * pad, pitch[0]), np.float64)[:, None]
    fx = np.asarray(np.fft.rfftfreq(shape[1] + 2 * pad, pitch[1]), np.float64)[None, :]
    return detector.transfer(fy, fx)


def _read_out(
    analogue: Float,
    detector: Detector,
    panel: tuple[Float, Float, Array],
    rng: np.random.Generator,
    *,
    noise: bool,
) -> Array:
    gain, offset, dead = panel
    counts = analogue * gain + offset
    if noise:
        counts = counts + detector.electronic_noise * rng.standard_normal(counts.shape)
    counts = np.where(dead, offset, counts)
    return np.clip(np.rint(counts), 0, FULL_SCALE).astype(np.uint16)


def _calibration(
    open_counts: Float,
    detector: Detector,
    panel: tuple[Float, Float, Array],
    rng: np.random.Generator,
    mas: float,
    *,
    noise: bool,
) -> dict[str, Array]:
    """Dark and flat as averages of many frames, at an exposure that fills a third of the range."""
    gain, offset, dead = panel
    share = min(1.0, 20000.0 / float(open_counts.max()))
    flat = open_counts * share * gain
    frames = CALIBRATION_FRAMES
    quantum = np.sqrt(flat * detector.sensitivity / 20000.0 / frames)
    electronic = detector.electronic_noise / np.sqrt(frames)
    wave = rng.standard_normal((3, *flat.shape)) if noise else np.zeros((3, *flat.shape))
    if open_counts.max() <= 0:
        raise ParameterError("the open beam leaves no signal; give more mAs or less filtration")
    return {
        "dark": (offset + electronic * wave[0]).astype(np.float32),
        "flat": np.where(
            dead, offset + electronic * wave[1], flat + offset + electronic * wave[1]
            + quantum * wave[2],
        ).astype(np.float32),
        "defects": dead,
        "flat_exposure": np.array(mas * share, np.float64),
        "lag": np.array(detector.lag, np.float64),
    }  # fmt: skip
