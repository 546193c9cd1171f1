"""Noise: its covariance from a noise scan, and coordinates in which it is white."""

from __future__ import annotations

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array


def covariance(noise: Array) -> Array:
    """Covariance of complex noise samples ``(coils, ...)``, complex128 ``(coils, coils)``.

    Half of it is the variance of each of the real and imaginary parts.

    Raises
    ------
    ParameterError
        Values that are not finite, or fewer samples than coils.
    """
    samples = np.asarray(noise)
    samples = samples.reshape(len(samples), -1).astype(np.complex128)
    coils, count = samples.shape
    if count < 2 * coils:
        raise ParameterError(
            f"the noise scan has {count} samples for {coils} coils; at least {2 * coils} are needed"
        )
    if not np.isfinite(samples).all():
        raise ParameterError("the noise scan has values that are not finite")
    samples -= samples.mean(axis=1, keepdims=True)
    return samples @ samples.conj().T / (count - 1)


def whitening(matrix: Array, *, bandwidth_ratio: float = 1.0) -> Array:
    """``W`` with ``W C W^H = 1``: the inverse of the Cholesky factor (Pruessmann et al. 2001).

    Parameters
    ----------
    matrix
        Covariance ``C`` of the coils.
    bandwidth_ratio
        Receiver bandwidth of the scan over that of the noise scan; noise power follows it.

    Raises
    ------
    ParameterError
        The covariance is singular: a coil without noise is a coil without signal.
    """
    try:
        factor = np.linalg.cholesky(np.asarray(matrix) * bandwidth_ratio)
    except np.linalg.LinAlgError as error:
        powers = np.real(np.diag(matrix))
        raise ParameterError(
            f"the noise covariance of {len(powers)} coils is singular (variances "
            f"{powers.min():.3g} to {powers.max():.3g}); leave out dead or doubled coils"
        ) from error
    return np.linalg.inv(factor)
