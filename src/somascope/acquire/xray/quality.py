"""How good is the detector: MTF from a slanted edge, NPS from flat images, DQE (IEC 62220-1-1).

`measure` is the plain call on images; the curves are functions of the spatial frequency in 1/mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float


@dataclass(frozen=True, eq=False)
class Curve:
    """Values over spatial frequencies in 1/mm."""

    frequency: Float
    value: Float

    def at(self, frequency: float) -> float:
        """Linear interpolation."""
        return float(np.interp(frequency, self.frequency, self.value))


def slanted_edge_mtf(plane: Array, *, pitch: float, oversampling: int = 8) -> Curve:
    """Presampled MTF along the rows from an image of a straight edge, nearly along the columns.

    Every pixel's distance to the fitted edge places it on an edge profile ``oversampling`` times
    finer than the pixels; its derivative's transform, divided by that of the bins and of the
    difference, is the MTF (Samei, Flynn, Reimann 1998; IEC 62220-1-1, 6.2).

    Parameters
    ----------
    plane
        ``(ny, nx)``, linear in dose, an edge through its middle, 1.5 to 10 degrees off the columns.
    pitch
        Distance of the columns, mm.

    Raises
    ------
    ParameterError
        No single edge, or one along the pixels, which cannot be sampled finely.
    """
    work = np.asarray(plane, np.float64)
    ny, nx = work.shape
    if work[:, : nx // 4].mean() > work[:, -(nx // 4) :].mean():
        work = work[:, ::-1]
    low, high = np.median(work[:, : max(nx // 8, 1)]), np.median(work[:, -max(nx // 8, 1) :])
    if not high > low:
        raise ParameterError("both sides of the image are equally bright: there is no edge in it")
    x = np.arange(nx)
    position = (np.clip((high - work) / (high - low), -0.5, 1.5)).sum(axis=1) - 0.5
    rows = np.arange(ny)
    slope, start = np.polyfit(rows, position, 1)
    if not 0.02 < abs(slope) < 0.25:
        raise ParameterError(
            f"the edge leans by {np.degrees(np.arctan(slope)):.2f} degrees; tilt it by 1.5 to 10 "
            "degrees against the columns"
        )
    distance = (x[None, :] - (start + slope * rows)[:, None]) * np.cos(np.arctan(slope))
    reach = int(min(start, nx - 1 - start, nx / 2) - abs(slope) * ny / 2) - 2
    if reach < 8:
        raise ParameterError("the edge is too near to the border; put it in the middle")
    bins = np.rint(distance * oversampling).astype(int) + reach * oversampling
    size = 2 * reach * oversampling + 1
    keep = (bins >= 0) & (bins < size)
    counted = np.bincount(bins[keep], minlength=size)
    if (counted == 0).any():
        raise ParameterError("the edge does not cross enough rows to fill its fine profile")
    profile = np.bincount(bins[keep], work[keep], minlength=size) / counted
    spread = np.diff(profile) * np.hanning(size - 1)
    spectrum = np.abs(np.fft.rfft(spread))
    frequency = np.asarray(np.fft.rfftfreq(size - 1, pitch / oversampling), np.float64)
    step = np.sinc(frequency * pitch / oversampling)
    value = spectrum / spectrum[0] / np.maximum(step, 0.3) ** 2
    keep_to = frequency <= 1.0 / pitch
    return Curve(frequency[keep_to], value[keep_to])


def noise_power(
    planes: Sequence[Array], *, pitch: tuple[float, float], size: int = 128
) -> tuple[Float, Float, Float]:
    """Two-dimensional noise power spectrum of flat images, relative to the mean squared, mm2.

    Half-overlapping squares of ``size`` pixels; from each a second-order surface is taken away
    (IEC 62220-1-1, 6.3). Returns the spectrum ``(size, size // 2 + 1)`` and its frequencies
    ``fy``, ``fx`` in 1/mm.
    """
    y, x = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * y, x**2, y**2], axis=-1).reshape(-1, 6)
    inverse = np.linalg.pinv(terms)
    total, count = np.zeros((size, size // 2 + 1)), 0
    for plane in planes:
        work = np.asarray(plane, np.float64)
        mean = work.mean()
        if min(work.shape) < size or mean <= 0:
            raise ParameterError(
                f"a flat image is {work.shape} with mean {mean:g}; give exposed images of at least "
                f"{size} x {size} pixels"
            )
        for r in range(0, work.shape[0] - size + 1, size // 2):
            for c in range(0, work.shape[1] - size + 1, size // 2):
                part = work[r : r + size, c : c + size].reshape(-1)
                part = (part - terms @ (inverse @ part)).reshape(size, size)
                total += np.abs(np.fft.rfft2(part)) ** 2 / mean**2
                count += 1
    if not count:
        raise ParameterError("no flat image is given; give one or several")
    spectrum = total * (pitch[0] * pitch[1] / size**2) / count
    return (
        spectrum,
        np.asarray(np.fft.fftfreq(size, pitch[0]), np.float64),
        np.asarray(np.fft.rfftfreq(size, pitch[1]), np.float64),
    )


def along_rows(spectrum: Float, fx: Float, *, lines: int = 7) -> Curve:
    """The spectrum along ``fx``: mean of ``lines`` rows on each side of the axis, without it."""
    rows = [*range(1, lines + 1), *range(-lines, 0)]
    return Curve(fx[1:], spectrum[rows, 1:].mean(axis=0))


def detective_efficiency(mtf: Curve, nps: Curve, *, quanta: float) -> Curve:
    """``DQE(f) = MTF(f)^2 / (NPS(f) q)``.

    ``nps`` is relative to the mean squared (mm2); ``quanta`` is the fluence at the detector in
    photons/mm2 (air kerma times the quality's photons per mm2 and uGy).
    """
    at = np.interp(nps.frequency, mtf.frequency, mtf.value)
    return Curve(nps.frequency, at**2 / (nps.value * quanta))
