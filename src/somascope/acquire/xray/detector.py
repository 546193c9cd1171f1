"""What the detector makes of the beam: quanta, light spread, gain, offset, defects, lag."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.acquire.matter import mass_attenuation
from somascope.acquire.tube import Spectrum, rqa
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

FULL_SCALE = 65535
FWHM = 2.3548200450309493


@dataclass(frozen=True)
class Detector:
    """An indirect flat panel: caesium iodide on photodiodes.

    Parameters
    ----------
    thickness
        Of the scintillator in g/cm2 (0.6 mm needles at 75 per cent packing: 0.2).
    sensitivity
        Counts per uGy of air kerma at RQA 5; the image keeps it as its DICOM `Sensitivity`.
    blur
        Full width at half maximum of the light spread, mm: a Gaussian, acting on the quantum noise
        as on the signal.
    electronic_noise
        Standard deviation per pixel in counts; white.
    offset
        Mean of the dark image in counts.
    gain_variation
        Standard deviation of the pixels' gain, relative.
    defects
        Share of dead pixels; `defect_lines` whole columns more.
    lag
        Share of the signal that appears in later images (for sequences), and the images over which
        it falls to 1/e.
    """

    thickness: float = 0.2
    sensitivity: float = 1000.0
    blur: float = 0.25
    electronic_noise: float = 4.0
    offset: float = 200.0
    gain_variation: float = 0.03
    defects: float = 3e-4
    defect_lines: int = 1
    lag: tuple[float, float] = (0.0, 3.0)

    def absorbed(self, energies: Float) -> Float:
        """Share of the photons stopped, by energy in keV."""
        return 1.0 - np.exp(-self.thickness * mass_attenuation("caesium iodide", energies))

    def counts_per_kev(self, area: float) -> float:
        """Gain: counts per keV absorbed in a pixel of ``area`` mm2."""
        beam = rqa(5)
        kev = area * float(beam.fluence @ (self.absorbed(beam.energies) * beam.energies))
        return self.sensitivity * beam.kerma / kev

    def weights(self, beam: Spectrum) -> tuple[Float, Float]:
        """KeV and keV squared per mm2 that each energy bin leaves in the detector."""
        absorbed = beam.fluence * self.absorbed(beam.energies)
        return absorbed * beam.energies, absorbed * beam.energies**2

    def transfer(self, fy: Float, fx: Float) -> Float:
        """MTF at spatial frequencies in 1/mm: ``exp(-2 (pi s f)^2)``, ``s = blur / 2.355``."""
        return np.exp(-2.0 * (np.pi * self.blur / FWHM) ** 2 * (fy**2 + fx**2))


def spread(frame: Array, transfer: Float | None, *, pad: int) -> Float:
    """``frame`` (ny, nx) filtered in Fourier space, its border continued by reflection."""
    if transfer is None:
        return frame
    padded = np.pad(frame, pad, mode="reflect")
    out = np.fft.irfft2(np.fft.rfft2(padded) * transfer, s=padded.shape)
    return out[pad : pad + frame.shape[0], pad : pad + frame.shape[1]]


def patterns(
    detector: Detector, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[Float, Float, Array]:
    """Gain (mean 1), offset in counts and defects of one panel, each ``(ny, nx)``.

    Gain falls a little towards the border and varies from pixel to pixel and from amplifier to
    amplifier (strips of 64 columns); offset has columns of its own.
    """
    ny, nx = shape
    if detector.defects < 0 or detector.defects > 0.05:
        raise ParameterError(
            f"{detector.defects:g} of the pixels are defective; give a share from 0 to 0.05"
        )
    strips = np.repeat(rng.standard_normal(nx // 64 + 1), 64)[:nx]
    y, x = np.linspace(-1, 1, ny)[:, None], np.linspace(-1, 1, nx)[None, :]
    gain = 1.0 + detector.gain_variation * (
        0.6 * rng.standard_normal(shape) + 0.7 * strips - 0.8 * (x**2 + y**2)
    )
    gain = np.maximum(gain / gain.mean(), 0.3)
    columns = rng.standard_normal(nx)
    offset = detector.offset * (1.0 + 0.05 * rng.standard_normal(shape) + 0.1 * columns)
    dead = rng.random(shape) < detector.defects
    clusters = np.flatnonzero(dead)[: max(int(dead.sum()) // 10, 0)]
    for at in clusters:
        dead[at // nx : at // nx + 2, at % nx : at % nx + 2] = True
    for column in rng.choice(nx, size=min(detector.defect_lines, nx), replace=False):
        dead[int(rng.integers(0, max(ny // 2, 1))) :, column] = True
    return gain, np.maximum(offset, 0.0), dead


def persist(frames: Float, fraction: float, decay: float) -> Float:
    """Frames with lag: ``h(k) = (1 - b) delta(k) + b (1 - e^-a) e^(-a k)``, ``a = 1 / decay``.

    Of each exposure the share ``b`` leaves the panel over this and later frames.
    """
    if not fraction:
        return frames
    out = np.empty_like(frames)
    keep = np.exp(-1.0 / decay)
    stored = np.zeros(frames.shape[1:])
    for k, frame in enumerate(frames):
        stored += fraction * frame
        out[k] = (1.0 - fraction) * frame + (1.0 - keep) * stored
        stored *= keep
    return out
