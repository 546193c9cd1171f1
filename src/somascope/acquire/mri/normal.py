"""The normal operator ``A^H W A`` of a scan with coils, which every iterative method repeats.

For one coil it is a circular convolution on a lattice: the sampling mask of a Cartesian scan, or
the doubled lattice of a Toeplitz operator. So one form serves all: the sum over coils of
``S^H C^H F^H D F C S`` with zero padding ``C`` and the real transfer function ``D``.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.lanes import factors
from somascope.acquire.mri.normal_kernels import LineKernel, PlaneKernel
from somascope.acquire.mri.results import MriScan
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.chunks import cores


class SenseNormal:
    """``A^H W A`` of one volume, shape ``(nz, ny, nx)`` to itself, complex64.

    Where the transfer function does not depend on an axis, the transforms along it cancel and are
    left out: with a fully sampled readout only the phase-encoded axes are transformed.

    Parameters
    ----------
    maps
        Sensitivities ``(coils, nz, ny, nx)``.
    transfer
        Real ``D`` with DC at index 0, ``(mz, my, mx)``; where z is not encoded, ``mz`` is 1 or the
        number of slices.
    dimensions
        Encoded axes, counted from the last.
    """

    def __init__(self, maps: Array, transfer: Array, *, dimensions: int) -> None:
        self.maps = np.ascontiguousarray(maps, np.complex64)
        self.transfer = np.ascontiguousarray(transfer, np.float32)
        self.dimensions = dimensions
        self._scratch = threading.local()
        encoded = range(3 - dimensions, 3)
        varying = [
            a for a in encoded if not (self.transfer == self.transfer.take([0], axis=a)).all()
        ]
        if not varying:  # the last axis stands for a multiplication
            varying = [2]
        others = [a for a in range(3) if a not in varying]
        # Outer loop, then what one kernel does at once: lines along one axis, or planes of two.
        self._order = (*others, *varying)
        sizes = [self.transfer.shape[a] for a in varying]
        usable = len(varying) < 3 and all(factors(m) is not None for m in sizes)
        self._kernels = self._compiled(len(varying)) if usable else ()

    def _compiled(self, varying: int) -> tuple[LineKernel | PlaneKernel, ...]:
        maps = self.maps.transpose(0, *(1 + a for a in self._order))
        transfer = self.transfer.transpose(self._order)
        if varying == 2:
            return tuple(
                PlaneKernel(maps[:, i], transfer[i if len(transfer) == maps.shape[1] else 0])
                for i in range(maps.shape[1])
            )
        alike = self.dimensions == 3 or len(transfer) == 1
        if alike or bool((transfer == transfer[:1]).all()):
            flat = maps.reshape(len(maps), -1, maps.shape[-1])
            return (LineKernel(flat, transfer[0, 0]),)
        return tuple(LineKernel(maps[:, i], transfer[i, 0]) for i in range(maps.shape[1]))

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
        if not self._kernels:
            return self._plain(x)
        given = x.transpose(self._order)
        parts = np.ascontiguousarray(given, np.complex64).reshape(
            len(self._kernels), -1, given.shape[-1]
        )
        out = np.empty_like(parts)
        for kernel, part, result in zip(self._kernels, parts, out, strict=True):
            if isinstance(kernel, LineKernel):
                kernel.apply(part, result)
            else:
                kernel.apply(part, result, self._work(kernel))
        back = np.argsort(self._order)
        return np.ascontiguousarray(out.reshape(given.shape).transpose(back))

    def back(self, y: Array, mask: Array | None) -> Array | None:
        """``A^H y`` of centred Cartesian samples ``(coils, nz, ny, nx)``, slice by slice.

        None where this operator is of another kind (a Toeplitz one, lines, padding, odd sizes).
        """
        shape = self.domain
        fits = y.shape == self.maps.shape == (len(self.maps), *shape)
        if not (fits and self.dimensions == 2 and y.dtype == np.complex64):
            return None
        if self.transfer.shape[-2:] != shape[-2:] or shape[-1] % 2 or shape[-2] % 2:
            return None
        out = np.empty(shape, np.complex64)
        for z, kernel in enumerate(self._kernels):
            if not isinstance(kernel, PlaneKernel):
                return None
            kernel.back(y[:, z], None if mask is None else mask[z], out[z], self._work(kernel))
        return out if self._kernels else None

    def _work(self, kernel: PlaneKernel) -> Array:
        if not hasattr(self._scratch, "array"):  # one per thread, for all planes
            self._scratch.array = np.empty(kernel.work, np.float32)
        return self._scratch.array

    def _plain(self, x: Array) -> Array:
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


def normal_operators(scan: MriScan, *, weights: Array | None = None) -> list[SenseNormal]:
    """One normal operator per repetition; the same one where all are sampled alike."""
    count = math.prod(len(a.values) for a in scan.axes)
    if isinstance(scan, CartesianScan) and scan.mask is not None and scan.mask.ndim > 3:
        return [normal_operator(scan, index=i) for i in range(count)]
    return [normal_operator(scan, weights=weights)] * count


def back_projected(
    samples: Array, scan: MriScan, grams: Sequence[SenseNormal], *, weights: Array | None = None
) -> Array:
    """``A^H W y`` complex64 ``(*leading, nz, ny, nx)``, with the tables of the normal operators."""
    if isinstance(scan, CartesianScan) and scan.range == samples.shape:
        flat = samples.reshape(-1, *samples.shape[-4:])
        masks = [scan.mask] * len(flat)
        if scan.mask is not None and scan.mask.ndim > 3:
            masks = list(scan.mask.reshape(-1, *scan.matrix))
        parts = [g.back(y, m) for g, y, m in zip(grams, flat, masks, strict=True)]
        found = [p for p in parts if p is not None]
        if len(found) == len(parts):
            return np.stack(found).reshape(scan.domain)
    if weights is not None:
        samples = samples * weights.astype(np.float32)
    return scan.adjoint(samples).astype(np.complex64, copy=False)


class Frames:
    """Operators side by side: the i-th acts on the i-th entry of the first axis."""

    def __init__(self, operators: Sequence[SenseNormal]) -> None:
        self.operators = tuple(operators)

    @property
    def domain(self) -> tuple[int, ...]:
        """Shape ``(frames, nz, ny, nx)``."""
        return (len(self.operators), *self.operators[0].domain)

    @property
    def range(self) -> tuple[int, ...]:
        """The same."""
        return self.domain

    def forward(self, x: Array) -> Array:
        """Each of its own."""
        return np.stack([o.forward(part) for o, part in zip(self.operators, x, strict=True)])

    def adjoint(self, y: Array) -> Array:
        """Each is its own adjoint."""
        return self.forward(y)
