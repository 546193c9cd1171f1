"""``A^T A`` of a parallel-beam scan as a convolution: two Fourier transforms per iteration.

Where every ray that meets the object is measured, the Fourier-slice projector satisfies
``A^T A x = k * x`` with ``k`` the scan's own point response: entries depend on index differences
only (Toeplitz). Embedding in twice the size makes that exact (Delaney and Bresler 1996; Fessler et
al. 2005). Per-ray weights or a detector shorter than the object break it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.ct import geometry
from somascope.acquire.ct.parallel import ParallelScan
from somascope.core.grid import Array
from somascope.process.chunks import cores


class SliceNormal:
    """``A^T A`` of a `ParallelScan` with the Fourier projector, slice by slice.

    ``domain`` and ``range`` are the grid's shape. Costs one real transform pair of twice the
    slice's size; rows that are zero, or that are cut away again, are not transformed.
    """

    def __init__(self, scan: ParallelScan) -> None:
        self.domain = self.range = tuple(scan.domain)
        self._transfer = _transfer(scan)
        self._workers = cores()

    def forward(self, x: Array) -> Array:
        """``A^T A x``, float32."""
        from scipy import fft

        rfft, irfft, cfft, icfft = (
            _typed(getattr(fft, name)) for name in ("rfft", "irfft", "fft", "ifft")
        )
        ny, nx = self.domain[1:]
        out = np.empty(self.domain, np.float32)
        height, width = self._transfer.shape[0], 2 * (self._transfer.shape[1] - 1)
        for k, one in enumerate(np.asarray(x, np.float32)):
            spectrum = rfft(one, width, axis=1, workers=self._workers)
            spectrum = cfft(spectrum, height, axis=0, workers=self._workers)
            spectrum *= self._transfer
            spectrum = icfft(spectrum, axis=0, workers=self._workers, overwrite_x=True)
            rows = irfft(spectrum[:ny], width, axis=1, workers=self._workers, overwrite_x=True)
            out[k] = rows[:, :nx]
        return out

    def adjoint(self, y: Array) -> Array:
        """The same: it is symmetric."""
        return self.forward(y)


def _typed(function: Any) -> Any:
    return function


def _transfer(scan: ParallelScan) -> Array:
    """Half spectrum of the point response on the doubled slice, real."""
    import finufft
    from scipy import fft

    engine = scan.engine()
    _, down, across = geometry.plane(scan.grid, scan.isocentre, kind=scan.kind)
    direction = np.stack([np.cos(scan.angles), np.sin(scan.angles)], axis=-1)
    factor = engine.below_nyquist() * (
        engine.aperture * (engine.pixel / (engine.length * engine.spacing))
    )
    sides = np.full(engine.frequency.shape, 2.0)
    sides[[0, -1]] = 1.0
    strength = (engine.length * sides * factor**2).astype(np.complex128)
    points = [
        (2 * np.pi * (direction @ step)[:, None] * engine.frequency).ravel()
        for step in (down, across)
    ]
    ny, nx = scan.grid.shape[1:]
    good: Any = fft.next_fast_len
    size = (int(good(2 * ny)), 2 * int(good(nx)))
    made: Any = finufft.nufft2d1(points[0], points[1], strength.ravel(), size, eps=1e-7, isign=1)
    kernel = np.fft.ifftshift(np.real(made))
    spectrum: Any = fft.rfft2(kernel)
    # A positive operator: what the tolerance left below zero would grow in an iteration.
    return np.maximum(spectrum.real, 0).astype(np.float32)


def sees_all(scan: ParallelScan, samples: Array, *, threshold: float = 0.01) -> bool:
    """Whether the detector reaches beyond the object, so that `SliceNormal` is ``A^T A``.

    Either it covers the whole grid, or the mean of the outermost bins is below ``threshold`` of
    the largest mean.
    """
    half = (scan.bins - 1) / 2 * scan.spacing - abs(scan.offset)
    if half >= geometry.reach(scan.grid, scan.isocentre) - scan.spacing:
        return True
    mean = np.abs(scan.slices(np.asarray(samples)).mean(axis=1)).max(axis=0)
    edge = max(2, scan.bins // 100)
    return float(max(mean[:edge].mean(), mean[-edge:].mean())) < threshold * float(mean.max())
