"""The Fourier slice projector of parallel beams for torch tensors on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from somascope.acquire.ct.fourier import FourierSlice
from somascope.acquire.gpu import NonUniform, demand, linear
from somascope.core.grid import Array


class Slices:
    """`FourierSlice.sample` and its transpose for all slices at once.

    Parameters
    ----------
    engine
        Of the scan.
    factor
        Real, per frequency.
    shape, samples
        Of the volume, and of the scan's data: ``(views, bins)`` or ``(views, nz, bins)``.
    device
        Where the tables lie.
    """

    def __init__(
        self,
        engine: FourierSlice,
        factor: Array,
        *,
        shape: tuple[int, ...],
        samples: tuple[int, ...],
        device: torch.device,
    ) -> None:
        self.shape, self.samples = shape, samples
        self._bins, self._length = engine.bins, engine.length
        points, phase, sides = engine.tables()
        kept = engine.below_nyquist().reshape(-1)
        self._size = phase.shape
        cycles = points * (np.array(engine.shape) / (2 * np.pi))
        self._transform = NonUniform(cycles[kept], engine.shape, tolerance=1e-4, device=device)

        def here(array: Any, kind: Any) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, kind)).to(device)

        self._kept = here(np.flatnonzero(kept), np.int64)
        self._out = here((phase * factor * engine.length).reshape(-1)[kept], np.complex64)
        self._back = here((np.conj(phase) * factor * sides).reshape(-1)[kept], np.complex64)

    def forward(self, x: Tensor) -> Tensor:
        """Line integrals of ``(nz, ny, nx)``."""
        return linear(demand(x, self.shape, what="the image"), self._forward, self._adjoint)

    def adjoint(self, y: Tensor) -> Tensor:
        """The transpose of `forward`."""
        return linear(demand(y, self.samples, what="the data"), self._adjoint, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        views, count = self._size
        spectra = torch.zeros((len(x), views * count), dtype=torch.complex64, device=x.device)
        spectra[:, self._kept] = self._transform.forward(x) * self._out
        lines = torch.fft.irfft(spectra.reshape(-1, views, count), self._length)[..., : self._bins]
        return lines.transpose(0, 1).reshape(self.samples)

    def _adjoint(self, y: Tensor) -> Tensor:
        lines = y.reshape(self._size[0], -1, self._bins).transpose(0, 1)
        spectra = torch.fft.rfft(lines, self._length).reshape(len(lines), -1)
        return self._transform.adjoint(spectra[:, self._kept] * self._back).real.contiguous()
