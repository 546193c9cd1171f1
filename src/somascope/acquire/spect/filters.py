"""Filters of SPECT's filtered back projection: the ramp, and windows for few counts."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import numpy as np

from somascope.core import Param
from somascope.core.grid import Array, Float

Kernel: TypeAlias = Annotated[
    Literal["ramp", "hann", "butterworth"], Param("Window on the ramp filter")
]
Cutoff: TypeAlias = Annotated[
    float,
    Param("Where the window ends (Hann) or falls to 1/sqrt 2 (Butterworth), as a share of the "
          "detector's Nyquist frequency", minimum=0.05, maximum=1.0, step=0.05),
]  # fmt: skip
Order: TypeAlias = Annotated[
    int, Param("Of the Butterworth filter: how steep it falls", minimum=1, maximum=20)
]


def window(kernel: str, frequency: Float, *, cutoff: float, order: int) -> Float:
    """Apodisation at ``frequency`` in units of Nyquist.

    ``hann`` is ``(1 + cos(pi f / fc)) / 2`` up to ``fc``, ``butterworth``
    ``1 / sqrt(1 + (f / fc)^(2 n))`` (Cherry, Sorenson and Phelps, 16.B).
    """
    x = np.asarray(frequency, np.float64) / cutoff
    if kernel == "hann":
        return np.where(x <= 1, 0.5 + 0.5 * np.cos(np.pi * np.minimum(x, 1)), 0.0)
    if kernel == "butterworth":
        return 1 / np.sqrt(1 + x ** (2 * order))
    return np.ones_like(x)


def filtered(
    rows: Array, spacing: float, *, kernel: str, cutoff: float = 1.0, order: int = 5
) -> Array:
    """Ramp filter along the last axis, zero-padded; in value per mm, same shape and precision.

    The ramp is the transform of its band-limited kernel, ``1/4`` at 0 and ``-1 / (pi n)^2`` at odd
    ``n`` (Ramachandran and Lakshminarayanan 1971), so that the mean of a projection is kept.
    """
    from scipy import fft

    transform: Any = fft
    bins = rows.shape[-1]
    length = 2 * int(transform.next_fast_len(bins, real=True))
    n = np.fft.fftfreq(length, 1 / length)
    h = np.zeros(length)
    odd = np.mod(n, 2) == 1
    h[odd] = -1 / (np.pi * n[odd]) ** 2
    h[0] = 0.25
    response = np.fft.rfft(h).real / spacing
    response *= window(
        kernel, np.arange(length // 2 + 1) / (length / 2), cutoff=cutoff, order=order
    )
    spectra = transform.rfft(rows, length, axis=-1) * response.astype(rows.dtype)
    return np.ascontiguousarray(transform.irfft(spectra, length, axis=-1)[..., :bins])
