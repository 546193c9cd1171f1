"""Residue functions of tissue: deconvolution by a block-circulant matrix.

Wu, Ostergaard, Weisskoff, Benner, Rosen, Sorensen, Magn Reson Med 50:164 (2003). Zeros are appended
to twice the length, so that a tissue whose tracer arrives before or after that of the input wraps
around instead of falling off: flow does not depend on the delay. The matrix being circulant, its
singular vectors are those of Fourier, and its singular values the input's spectrum.
"""

from __future__ import annotations

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

LEVELS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the greatest singular value, tried in turn until the residue oscillates less."""


def residues(
    curves: Float,
    supply: Float,
    step: float,
    *,
    oscillation: float | None = 0.065,
    threshold: float = 0.1,
) -> Float:
    """Flow times residue function, ``(voxels, 2 samples)`` in 1/s, of concentration curves.

    Parameters
    ----------
    curves
        ``(voxels, samples)``.
    supply
        Arterial concentration ``(samples,)`` in the unit of the curves.
    step
        Time between samples in s.
    oscillation
        Singular values are cut, voxel by voxel, at the lowest of `LEVELS` that keeps the
        oscillation index below this; ``None``: at ``threshold`` for all.
    threshold
        Share of the greatest singular value below which they are left out.

    Notes
    -----
    Samples are joined by straight lines in the convolution (weights 1/6, 4/6, 1/6), as Ostergaard
    et al. 1996.

    Raises
    ------
    ParameterError
        The supply is zero, or no time passes.
    """
    n = supply.size
    if not step > 0 or not np.abs(supply).max() > 0:
        raise ParameterError(
            f"deconvolution: time step {step:g} s and a supply of at most {np.abs(supply).max():g};"
            " both must be above 0"
        )
    padded = np.concatenate([supply, np.zeros(n)])
    kernel = (np.roll(padded, 1) + 4 * padded + np.roll(padded, -1)) * (step / 6)
    spectrum = np.fft.rfft(kernel)
    size = np.abs(spectrum)
    from scipy.fft import irfft, rfft

    found = rfft(curves, 2 * n, axis=1, workers=-1) / np.where(size > 0, spectrum, 1)
    if oscillation is None:
        return np.asarray(irfft(found * (size >= threshold * size.max()), 2 * n, axis=1))
    result = np.empty((len(curves), 2 * n))
    left = np.arange(len(curves))
    for level in LEVELS:
        tried = np.asarray(
            irfft(found[left] * (size >= level * size.max()), 2 * n, axis=1, workers=-1)
        )
        calm = oscillation_index(tried) <= oscillation
        if level == LEVELS[-1]:
            calm[:] = True
        result[left[calm]] = tried[calm]
        left = left[~calm]
        if not left.size:
            break
    return result


def oscillation_index(residue: Float) -> Float:
    """Mean absolute second difference over the maximum, ``(voxels,)`` (Wu 2003, equation 13)."""
    turns = np.abs(residue[:, 2:] - 2 * residue[:, 1:-1] + residue[:, :-2]).sum(axis=1)
    top = np.maximum(residue.max(axis=1), 1e-300)
    return turns / top / residue.shape[1]


def peak(residue: Float, step: float) -> tuple[Float, Float]:
    """Height and time in s of each residue's maximum, of the parabola through its three samples.

    Times in the last quarter are negative: the tissue's tracer came before that of the artery.
    """
    at = np.argmax(residue, axis=1)
    number, n = np.arange(len(residue)), residue.shape[1]
    before, top, after = (residue[number, (at + k) % n] for k in (-1, 0, 1))
    bend = before - 2 * top + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, -1.0), 0.0)
    height = top - 0.25 * (before - after) * shift
    when: Array = np.where(at >= n // 2 + n // 4, at - n, at) + shift
    return height, when * step
