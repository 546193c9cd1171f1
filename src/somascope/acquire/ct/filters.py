"""Reconstruction filters: the ramp of the Radon inversion and windows that calm it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

Kernel = Literal["ram-lak", "shepp-logan", "cosine", "hamming", "hann"]


def window(kernel: Kernel, frequency: Float, *, cutoff: float = 1.0) -> Float:
    """Apodisation at ``frequency`` in units of the Nyquist frequency; 0 beyond ``cutoff``.

    With ``x = frequency / cutoff``: ``ram-lak`` 1, ``shepp-logan`` sinc(x / 2), ``cosine``
    cos(pi x / 2), ``hamming`` 0.54 + 0.46 cos(pi x), ``hann`` (1 + cos(pi x)) / 2 (Kak and Slaney
    1988, 3.3; Lyons, *Understanding DSP*, for the windows).
    """
    if not 0 < cutoff <= 1:
        raise ParameterError(f"cutoff is {cutoff}; give a share of the Nyquist frequency in (0, 1]")
    x = np.abs(np.asarray(frequency, np.float64)) / cutoff
    shapes = {
        "ram-lak": np.ones_like(x),
        "shepp-logan": np.sinc(x / 2),
        "cosine": np.cos(np.pi * x / 2),
        "hamming": 0.54 + 0.46 * np.cos(np.pi * x),
        "hann": 0.5 + 0.5 * np.cos(np.pi * x),
    }
    if kernel not in shapes:
        raise ParameterError(f"no filter {kernel!r}; there is {', '.join(shapes)}")
    return np.where(x <= 1 + 1e-12, shapes[kernel], 0.0)


def ramp(length: int, spacing: float) -> Float:
    """Frequency response of the band-limited ramp, ``(length // 2 + 1,)``, in 1/mm.

    The Fourier transform of the kernel ``h[0] = 1/4, h[odd n] = -1 / (pi n)^2, h[even n] = 0``
    over ``spacing`` (Ramachandran and Lakshminarayanan 1971): sampling ``|f|`` itself would lose
    the mean of a projection that is padded with zeros.
    """
    n = np.fft.fftfreq(length, 1 / length)
    h = np.zeros(length)
    odd = np.mod(n, 2) == 1
    h[odd] = -1 / (np.pi * n[odd]) ** 2
    h[0] = 0.25
    return np.fft.rfft(h).real / spacing


def response(kernel: Kernel, length: int, spacing: float, *, cutoff: float = 1.0) -> Float:
    """Ramp times window for an `rfft` of ``length`` samples ``spacing`` mm apart, in 1/mm."""
    frequency = np.arange(length // 2 + 1) / (length / 2)
    return ramp(length, spacing) * window(kernel, frequency, cutoff=cutoff)


def filtered(
    rows: Array,
    spacing: float,
    *,
    kernel: Kernel = "ram-lak",
    cutoff: float = 1.0,
    first: int = 0,
    count: int | None = None,
) -> Array:
    """Filter along the last axis, zero-padded against wrap-around; keeps the precision.

    The result has ``count`` samples from sample ``first`` on, which may lie before the data: the
    filter's tails reach beyond the detector. By default the samples of the data.
    """
    n = rows.shape[-1]
    samples = n if count is None else count
    length = good_length(n + samples - 1)
    h = response(kernel, length, spacing, cutoff=cutoff)
    if first == 0:
        spectra = rfft(rows, length)
        spectra *= h.astype(rows.dtype)
    else:
        turn = h * np.exp(2j * np.pi * np.arange(length // 2 + 1) * (first / length))
        spectra = rfft(rows, length)
        spectra *= turn.astype(spectra.dtype)
    return irfft(spectra, length)[..., :samples]


def good_length(least: int) -> int:
    """An even length of at least ``least`` whose transform is fast."""
    from scipy import fft

    half: Any = fft.next_fast_len((least + 1) // 2, real=True)
    return 2 * int(half)


def rfft(rows: Array, length: int) -> Array:
    """Half spectra along the last axis, zero-padded to ``length``, in the rows' precision."""
    from scipy import fft

    transform: Any = fft.rfft
    return transform(rows, length, axis=-1, workers=_workers(rows.size))


def irfft(spectra: Array, length: int) -> Array:
    """The inverse of `rfft`."""
    from scipy import fft

    transform: Any = fft.irfft
    workers = _workers(2 * spectra.size)
    return transform(spectra, length, axis=-1, workers=workers, overwrite_x=True)


def _workers(samples: int) -> int:
    """Threads are worth their start from some size on."""
    return -1 if samples > 2**18 else 1
