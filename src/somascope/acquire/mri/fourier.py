"""The centred, orthonormal Fourier transform of MRI: image centre and DC lie at index n // 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from somascope.core.grid import Array
from somascope.process.chunks import cores


def to_kspace(x: Array, *, axes: Sequence[int]) -> Array:
    """k-space of an image, both centred; unitary. Precision is kept."""
    from scipy import fft

    shifted: Any = fft.ifftshift(x, axes=axes)
    y = fft.fftn(shifted, axes=axes, norm="ortho", workers=cores(), overwrite_x=True)
    return fft.fftshift(np.asarray(y), axes=axes)


def to_image(y: Array, *, axes: Sequence[int]) -> Array:
    """Image of a k-space, both centred; the inverse and adjoint of `to_kspace`."""
    from scipy import fft

    shifted: Any = fft.ifftshift(y, axes=axes)
    x = fft.ifftn(shifted, axes=axes, norm="ortho", workers=cores(), overwrite_x=True)
    return fft.fftshift(np.asarray(x), axes=axes)


def centre(outer: Sequence[int], inner: Sequence[int]) -> tuple[slice, ...]:
    """Where ``inner`` lies in ``outer`` with their centres ``n // 2`` on each other."""
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
