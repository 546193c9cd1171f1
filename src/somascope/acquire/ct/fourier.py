"""Parallel-beam projection through the Fourier slice theorem and the non-uniform FFT.

The Fourier transform of a projection is the image's on one line through the origin (Bracewell
1956). The non-uniform FFT evaluates the image's sum of exponentials at those polar points to a
given tolerance, so that projecting costs ``N^2 log N`` where summing along rays costs ``N^3``.
Only the half of the spectrum with non-negative frequencies is gridded: projections are real.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.ct.filters import good_length, irfft
from somascope.acquire.nufft import Spreading
from somascope.core.grid import Array, Float, Grid
from somascope.process.chunks import cores

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
        sides = np.full(frequency.shape, 2.0)
        sides[[0, -1]] = 1.0
        self._sides = sides
        self.frequency = frequency
        self.pixel = abs(down[0] * across[1] - down[1] * across[0])
        self._plans: dict[tuple[Any, int], Any] = {}
        self._phases: dict[tuple[Any, bool], Array] = {}

    @property
    def aperture(self) -> Float:
        """Mean over a detector bin, as a factor of each frequency."""
        return np.sinc(self.frequency * self.spacing)

    def below_nyquist(self) -> Array:
        """Per point whether the image's own sampling can carry that frequency."""
        y, x = self._points
        return (np.abs(y) <= np.pi * (1 + 1e-9)) & (np.abs(x) <= np.pi * (1 + 1e-9))

    def tables(self) -> tuple[Float, Array, Float]:
        """Radians per pixel ``(points, 2)``; phases per view and frequency; counts of those."""
        points = np.stack([p.reshape(-1) for p in self._points], axis=-1)
        return points, self._phase, self._sides

    def spread(
        self, spectra: Array, factor: Array, *, first: int = 0, limited: bool = False
    ) -> Array:
        """Sum of ``Re factor F(view) exp(2 pi i k.r)`` over the full spectrum, at every pixel.

        Parameters
        ----------
        spectra
            `rfft` of views of ``length`` samples, ``(views, frequencies)``; overwritten.
        factor
            Real, per frequency.
        first
            The bin that the views' first sample is.
        limited
            Leave out what lies beyond the image's Nyquist frequency.

        Returns
        -------
        array
            ``(ny, nx)`` in the precision of the spectra. With ``limited`` it is the transpose of
            `sample` with the same factor.
        """
        plan, phase = self._ready(spectra.dtype, kind=1, limited=limited)
        row = factor * self._sides * np.exp(-2j * np.pi * self.frequency * first * self.spacing)
        spectra *= row.astype(spectra.dtype)
        spectra *= np.conj(phase)
        return plan.execute(spectra.reshape(-1)).real

    def sample(self, image: Array, factor: Array) -> Array:
        """Projections ``(views, bins)`` of ``(ny, nx)``, their spectra times real ``factor``."""
        complex_type = np.dtype(np.result_type(image.dtype, np.complex64))
        plan, phase = self._ready(complex_type, kind=2, limited=True)
        spectra = plan.execute(image.astype(complex_type)).reshape(phase.shape)
        spectra = spectra * phase
        spectra *= (self.length * factor).astype(image.dtype)
        return irfft(spectra, self.length)[:, : self.bins]

    def _ready(self, kept: Any, *, kind: int, limited: bool) -> tuple[Any, Array]:
        """The plan and the phases (zero beyond Nyquist where ``limited``) of a complex type."""
        kept = np.dtype(kept)
        real = np.dtype(np.float32 if kept == np.complex64 else np.float64)
        if (kept, kind) not in self._plans:
            self._plans[kept, kind] = self._plan(kept, kind, TOLERANCE[real])
        if (kept, limited) not in self._phases:
            phase = self._phase * self.below_nyquist() if limited else self._phase
            self._phases[kept, limited] = phase.astype(kept)
        return self._plans[kept, kind], self._phases[kept, limited]

    def _plan(self, kept: Any, kind: int, tolerance: float) -> Any:
        import finufft

        points = tuple(p.reshape(-1) for p in self._points)
        if kind == 1:
            return Spreading(points, self.shape, tolerance=tolerance, dtype=str(kept))
        real = np.float32 if kept == np.complex64 else np.float64
        # Small transforms lose more by waiting for threads than they gain.
        threads = min(cores(), 1 + points[0].size // 2**16)
        plan = finufft.Plan(2, self.shape, 1, tolerance, -1, dtype=str(kept), nthreads=threads)
        plan.setpts(*(np.ascontiguousarray(p, real) for p in points))
        return plan


def length_for(reach: float, bins: int, spacing: float, offset: float) -> int:
    """Transform length at which no part of the grid wraps around onto the detector or itself.

    At least the detector's own: a small grid may lie on a wide detector.
    """
    half = bins / 2 * spacing + abs(offset)
    return good_length(max(bins, int(np.ceil((reach + max(half, reach)) / spacing)) + 2))


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
