"""Parallel-beam projection through the Fourier slice theorem and the non-uniform FFT.

The Fourier transform of a projection is the image's on one line through the origin (Bracewell
1956). The non-uniform FFT evaluates the image's sum of exponentials at those polar points to a
given tolerance, so that projecting costs ``N^2 log N`` where summing along rays costs ``N^3``.
Only the half of the spectrum with non-negative frequencies is gridded: projections are real.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from somascope.acquire.ct.filters import good_length, irfft, rfft
from somascope.core.grid import Array, Float, Grid

TOLERANCE = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-9}
"""Of the non-uniform FFT, by the precision of the samples."""


class FourierSlice:
    """Polar samples of the spectrum of slices, with plans kept per precision.

    Parameters
    ----------
    shape
        ``(ny, nx)``.
    first, down, across
        The first pixel's place from the isocentre and the steps along y and x, ``(L, P)`` mm.
    angles
        Radians, ``(views,)``.
    bins, spacing, offset
        Bin ``j`` lies at ``s = (j - (bins - 1) / 2) spacing + offset`` mm.
    length
        Samples of the transform along a view, zero-padded; a multiple of two.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        first: Float,
        down: Float,
        across: Float,
        *,
        angles: Float,
        bins: int,
        spacing: float,
        offset: float,
        length: int,
    ) -> None:
        self.shape = shape
        self.bins = bins
        self.spacing = spacing
        self.length = length
        self.views = len(angles)
        ny, nx = shape
        frequency = np.arange(length // 2 + 1) / (length * spacing)
        direction = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        centre = first + (ny // 2) * down + (nx // 2) * across
        # Radians per pixel along y and x: what the non-uniform FFT calls its points.
        self._points = tuple(
            2 * np.pi * (direction @ step)[:, None] * frequency for step in (down, across)
        )
        start = offset - (bins - 1) / 2 * spacing
        turn = start - direction @ centre
        self._phase = np.exp(2j * np.pi * turn[:, None] * frequency)
        inside = np.ones(frequency.shape)
        inside[1:] = 2.0
        inside[-1] = 1.0
        self._sides = inside
        self.frequency = frequency
        self.pixel = abs(down[0] * across[1] - down[1] * across[0])
        self._plans: dict[tuple[Any, int, int], Any] = {}
        self._phases: dict[Any, Array] = {}

    @property
    def aperture(self) -> Float:
        """Mean over a detector bin, as a factor of each frequency."""
        return np.sinc(self.frequency * self.spacing)

    def below_nyquist(self) -> Array:
        """Per point whether the image's own sampling can carry that frequency."""
        y, x = self._points
        return (np.abs(y) <= np.pi * (1 + 1e-9)) & (np.abs(x) <= np.pi * (1 + 1e-9))

    def spread(self, sinogram: Array, factor: Array) -> Array:
        """Sum of ``Re factor F(view) exp(2 pi i k.r)`` over the full spectrum, at every pixel.

        ``sinogram`` is ``(slices, views, bins)``, ``factor`` broadcasts to ``(views,
        frequencies)``; result ``(slices, ny, nx)`` in the same precision. It is the transpose of
        `sample` with the same factor.
        """
        real = sinogram.dtype
        plan, phase = self._ready(real, kind=1)
        out = np.empty((len(sinogram), *self.shape), real)
        weight = (np.conj(phase) * (factor * self._sides)).astype(phase.dtype)
        for k, one in enumerate(sinogram):
            spectrum = rfft(one, self.length)
            spectrum *= weight
            out[k] = plan.execute(spectrum.reshape(-1)).real
        return out

    def sample(self, images: Array, factor: Array) -> Array:
        """Projections ``(slices, views, bins)`` of ``(slices, ny, nx)``, spectra by ``factor``."""
        real = images.dtype
        plan, phase = self._ready(real, kind=2)
        weight = (phase * factor).astype(phase.dtype)
        out = np.empty((len(images), self.views, self.bins), real)
        for k, one in enumerate(images):
            spectrum = plan.execute(one.astype(phase.dtype)).reshape(weight.shape)
            spectrum = spectrum * weight
            rows = irfft(spectrum, self.length)
            out[k] = rows[:, : self.bins]
        out *= real.type(self.length)
        return out

    def _ready(self, real: Any, *, kind: int) -> tuple[Any, Array]:
        import finufft

        single = real == np.float32
        key = (real, kind, 1)
        if key not in self._plans:
            precision = "complex64" if single else "complex128"
            plan = finufft.Plan(
                kind, self.shape, 1, TOLERANCE[np.dtype(real)], 1 if kind == 1 else -1,
                dtype=precision, nthreads=os.cpu_count() or 1,
            )  # fmt: skip
            points = [np.ascontiguousarray(p.reshape(-1), real) for p in self._points]
            plan.setpts(*points)
            self._plans[key] = plan
            self._phases[real] = self._phase.astype(precision)
        return self._plans[key], self._phases[real]


def length_for(reach: float, bins: int, spacing: float, offset: float) -> int:
    """Transform length at which neither filter nor object wraps around onto the detector."""
    half = bins / 2 * spacing + abs(offset)
    return good_length(max(2 * bins, int(np.ceil((reach + half) / spacing)) + 2))


def for_grid(
    grid: Grid,
    isocentre: tuple[float, float, float],
    *,
    angles: Float,
    bins: int,
    spacing: float,
    offset: float,
) -> FourierSlice:
    """The engine of one grid and one parallel-beam scan."""
    from somascope.acquire.ct.geometry import plane, reach

    first, down, across = plane(grid, isocentre, kind="ct.parallel")
    return FourierSlice(
        grid.shape[1:], first, down, across, angles=angles, bins=bins, spacing=spacing,
        offset=offset, length=length_for(reach(grid, isocentre), bins, spacing, offset),
    )  # fmt: skip
