"""Transforms with a fast inverse: the centred Fourier transform and orthogonal wavelets.

`somascope.acquire.operators` publishes both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array

Shape = tuple[int, ...]


def _given(array: Array, shape: Shape, name: str) -> Array:
    array = np.asarray(array)
    if array.shape != shape:
        raise GeometryError(f"{name} was given shape {array.shape}; it takes {shape}")
    return array if array.dtype.kind in "fc" else array.astype(np.float32)


class FFT:
    """Unitary discrete Fourier transform along the last ``ndim`` axes, complex.

    ``centred``: index ``n // 2`` is the origin in both spaces, as in k-space files. The shifts are
    done by multiplying with phases (for even sizes only signs), which moves no memory.
    """

    def __init__(
        self, shape: Shape, *, ndim: int = 2, centred: bool = True, workers: int = -1
    ) -> None:
        self._shape = tuple(shape)
        if not 1 <= ndim <= len(self._shape):
            raise ParameterError(f"FFT.ndim is {ndim} for arrays of shape {self._shape}")
        self.ndim = ndim
        self.centred = centred
        self.workers = workers
        self._axes = tuple(range(-ndim, 0))

    @property
    def domain(self) -> Shape:
        """Shape of ``x``."""
        return self._shape

    @property
    def range(self) -> Shape:
        """The same."""
        return self._shape

    def forward(self, x: Array) -> Array:
        """To frequencies; complex64 of float32 or complex64."""
        return self._apply(x, inverse=False)

    def adjoint(self, y: Array) -> Array:
        """Back, which is also the inverse."""
        return self._apply(y, inverse=True)

    @cached_property
    def _phases(self) -> tuple[Array, complex]:
        """The phase of one side as an array of the transformed axes, and the constant."""
        phase: Array = np.ones((1,) * self.ndim)
        constant = 1.0 + 0.0j
        for i, n in enumerate(self._shape[-self.ndim :]):
            c = n // 2
            if n % 2 == 0:
                line = 1.0 - 2.0 * (np.arange(n) % 2)
            else:
                line = np.exp(2j * np.pi * c * np.arange(n) / n)
            phase = phase * line.reshape((-1,) + (1,) * (self.ndim - 1 - i))
            constant *= np.exp(-2j * np.pi * c * c / n)
        if abs(constant.imag) < 1e-9:
            constant = complex(round(constant.real))
        return phase, constant

    def _apply(self, x: Array, *, inverse: bool) -> Array:
        import scipy.fft

        x = _given(x, self._shape, "FFT")
        wanted = np.complex64 if x.dtype in (np.float32, np.complex64) else np.complex128
        transform: Callable[..., Any] = scipy.fft.ifftn if inverse else scipy.fft.fftn
        if not self.centred:
            return transform(
                x.astype(wanted, copy=False), axes=self._axes, norm="ortho", workers=self.workers
            )
        phase, constant = self._phases
        if inverse:
            phase, constant = np.conj(phase), constant.conjugate()
        single = wanted == np.complex64
        if phase.dtype.kind == "c":
            phase = phase.astype(wanted)
        else:
            phase = phase.astype(np.float32 if single else np.float64)
        moved = np.multiply(x, phase, dtype=wanted)
        out = transform(
            moved, axes=self._axes, norm="ortho", workers=self.workers, overwrite_x=True
        )
        out *= phase
        if constant != 1:
            out *= np.asarray(constant, wanted)
        return out


class Wavelet:
    """Orthogonal discrete wavelet transform along the last ``ndim`` axes, periodic borders.

    The range is one array in Mallat's layout: of each transformed axis the first half holds the
    averages, which the next level splits again. Sizes are padded with zeros to a multiple of
    ``2**levels``, so that ``A^H A`` is the identity always, and ``A A^H`` where nothing is padded.
    Filters are PyWavelets'; the lifting of samples is our own, float32 and complex64 at full
    speed.

    Parameters
    ----------
    wavelet
        Name of an orthogonal wavelet: ``haar``, ``db2``...``db38``, ``sym2``..., ``coif1``...
    levels
        Of decomposition; fewer where the axis would become shorter than the filter.
    """

    def __init__(
        self, shape: Shape, *, wavelet: str = "db4", levels: int = 4, ndim: int = 2
    ) -> None:
        import pywt

        known: Any = pywt  # its stubs name nothing

        self._shape = tuple(shape)
        if not 1 <= ndim <= len(self._shape):
            raise ParameterError(f"Wavelet.ndim is {ndim} for arrays of shape {self._shape}")
        if wavelet not in known.wavelist(kind="discrete"):
            raise ParameterError(f"Wavelet {wavelet!r} is not known; try 'haar', 'db4' or 'sym4'")
        filters = known.Wavelet(wavelet)
        if not filters.orthogonal:
            raise ParameterError(
                f"Wavelet {wavelet!r} is not orthogonal, its inverse is not its adjoint; take "
                "'haar', 'dbN', 'symN' or 'coifN'"
            )
        self.wavelet, self.ndim = wavelet, ndim
        self.low = np.asarray(filters.dec_lo, np.float64)
        self.high = np.asarray(filters.dec_hi, np.float64)
        # An axis of one sample (a 2-D image in a 3-D array) is left alone.
        self.axes = tuple(a for a in range(len(shape) - ndim, len(shape)) if shape[a] > 1)
        shortest = min((self._shape[a] for a in self.axes), default=1)
        most = int(np.log2(max(shortest / max(self.low.size - 1, 1), 1)))
        self.levels = max(1, min(levels, most)) if self.axes else 0
        step = 2**self.levels
        self._range = tuple(
            -(-n // step) * step if a in self.axes else n for a, n in enumerate(self._shape)
        )

    @property
    def domain(self) -> Shape:
        """Shape of ``x``."""
        return self._shape

    @property
    def range(self) -> Shape:
        """Shape of the coefficients."""
        return self._range

    def forward(self, x: Array) -> Array:
        """Coefficients, shape ``range``."""
        from somascope.process.dwt import analyse

        x = _given(x, self._shape, "Wavelet")
        out = np.zeros(self._range, x.dtype)
        out[tuple(slice(0, n) for n in self._shape)] = x
        for level in range(self.levels):
            block = self._block(level)
            part = out[block]
            for axis in self.axes:
                part = analyse(part, axis, self.low, self.high)
            out[block] = part
        return out

    def adjoint(self, y: Array) -> Array:
        """The image of the coefficients."""
        from somascope.process.dwt import synthesise

        y = _given(y, self._range, "Wavelet.adjoint")
        out = y.copy()
        for level in reversed(range(self.levels)):
            block = self._block(level)
            part = out[block]
            for axis in reversed(self.axes):
                part = synthesise(part, axis, self.low, self.high)
            out[block] = part
        return out[tuple(slice(0, n) for n in self._shape)]

    @property
    def averages(self) -> tuple[slice, ...]:
        """Where in the range the coarsest averages are."""
        return self._block(self.levels)

    def _block(self, level: int) -> tuple[slice, ...]:
        return tuple(
            slice(0, n >> level) if a in self.axes else slice(None)
            for a, n in enumerate(self._range)
        )
