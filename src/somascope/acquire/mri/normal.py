"""The normal operator ``A^H W A`` of a scan with coils, which every iterative method repeats.

For one coil it is a circular convolution on a lattice: the sampling mask of a Cartesian scan, or
the doubled lattice of a Toeplitz operator. So one form serves all: the sum over coils of
``S^H C^H F^H D F C S`` with zero padding ``C`` and the real transfer function ``D``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.results import MriScan
from somascope.acquire.nufft import cores
from somascope.core.errors import ParameterError
from somascope.core.grid import Array


class SenseNormal:
    """``A^H W A`` of one volume, shape ``(nz, ny, nx)`` to itself.

    Parameters
    ----------
    maps
        Sensitivities ``(coils, nz, ny, nx)``, complex64.
    transfer
        Real ``D`` with DC at index 0, ``(mz, my, mx)``; ``mz`` may be 1 where z is not encoded.
    dimensions
        Encoded axes, counted from the last.
    """

    def __init__(self, maps: Array, transfer: Array, *, dimensions: int) -> None:
        self.maps = np.ascontiguousarray(maps, np.complex64)
        self.transfer = np.ascontiguousarray(transfer, np.float32)
        self.dimensions = dimensions

    @property
    def domain(self) -> tuple[int, ...]:
        """Shape of the image."""
        return self.maps.shape[1:]

    @property
    def range(self) -> tuple[int, ...]:
        """Shape of the image."""
        return self.maps.shape[1:]

    def forward(self, x: Array) -> Array:
        """``A^H W A x``."""
        from scipy import fft

        workers, d = cores(), self.dimensions
        sizes, grown = self.domain[-d:], self.transfer.shape[-d:]
        parts: Any = self.maps * x.astype(np.complex64, copy=False)
        for axis, m in zip(range(-1, -d - 1, -1), grown[::-1], strict=True):
            parts = fft.fft(parts, m, axis=axis, workers=workers, overwrite_x=True)
        parts *= self.transfer
        for axis, n in zip(range(-d, 0), sizes, strict=True):
            parts = fft.ifft(parts, axis=axis, workers=workers, overwrite_x=True)
            parts = parts[(..., slice(0, n), *(slice(None),) * (-axis - 1))]
        return np.einsum("czyx,czyx->zyx", self.maps.conj(), parts)

    def adjoint(self, y: Array) -> Array:
        """It is its own adjoint."""
        return self.forward(y)

    def bound(self) -> float:
        """An upper bound of its largest eigenvalue."""
        return float((np.abs(self.maps) ** 2).sum(axis=0).max() * self.transfer.max())


def normal_operator(scan: MriScan, *, index: int = 0, weights: Array | None = None) -> SenseNormal:
    """``A^H W A`` of ``scan`` for the repetition ``index`` (over all leading axes).

    Parameters
    ----------
    weights
        Per sample, for a non-Cartesian scan.

    Raises
    ------
    ParameterError
        The scan has no sensitivities.
    """
    maps = scan.sensitivities
    if maps is None:
        raise ParameterError("the scan has no coil sensitivities; estimate them first (espirit)")
    if not isinstance(scan, CartesianScan):
        gram = scan.gram(weights=weights)
        transfer = gram.transfer if scan.dimensions == 3 else gram.transfer[None]
        return SenseNormal(maps, transfer, dimensions=scan.dimensions)
    if scan.mask is None:
        mask = np.ones(scan.matrix, bool)
    elif scan.mask.ndim == 3:
        mask = scan.mask
    else:
        mask = scan.mask.reshape(-1, *scan.matrix)[index]
    axes = scan.encoded
    return SenseNormal(maps, np.fft.ifftshift(mask, axes=axes), dimensions=scan.dimensions)
