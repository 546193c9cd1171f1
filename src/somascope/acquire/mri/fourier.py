"""The centred, orthonormal Fourier transform of MRI: image centre and DC lie at index n // 2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.acquire.nufft import cores
from somascope.core.grid import Array


def to_kspace(x: Array, *, axes: Sequence[int]) -> Array:
    """k-space of an image, both centred; unitary. Precision is kept."""
    from scipy import fft

    x = fft.ifftshift(x, axes=axes)
    x = fft.fftn(x, axes=axes, norm="ortho", workers=cores(), overwrite_x=True)
    return fft.fftshift(x, axes=axes)


def to_image(y: Array, *, axes: Sequence[int]) -> Array:
    """Image of a k-space, both centred; the inverse and adjoint of `to_kspace`."""
    from scipy import fft

    y = fft.ifftshift(y, axes=axes)
    y = fft.ifftn(y, axes=axes, norm="ortho", workers=cores(), overwrite_x=True)
    return fft.fftshift(y, axes=axes)


def centre(outer: Sequence[int], inner: Sequence[int]) -> tuple[slice, ...]:
    """Where an array of ``inner`` lies in one of ``outer`` with their centres ``n // 2`` together."""
    return tuple(
        slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(outer, inner, strict=True)
    )


def padded(x: Array, shape: Sequence[int]) -> Array:
    """``x`` with its last axes grown to ``shape`` by zeros, centre on centre."""
    inner = x.shape[-len(shape) :]
    if tuple(shape) == inner:
        return x
    out = np.zeros((*x.shape[: -len(shape)], *shape), x.dtype)
    out[(..., *centre(shape, inner))] = x
    return out


def cropped(x: Array, shape: Sequence[int]) -> Array:
    """The central ``shape`` of the last axes of ``x``."""
    outer = x.shape[-len(shape) :]
    if tuple(shape) == outer:
        return x
    return np.ascontiguousarray(x[(..., *centre(outer, shape))])
