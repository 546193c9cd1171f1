"""Noise: its covariance from a noise scan, and coordinates in which it is white."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.acquire.mri.samples import calibration, mixed
from somascope.core import Acquisition, Param, operation
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


@operation("acquire.mri.prewhiten")
def prewhiten(
    acquisition: Acquisition,
    *,
    bandwidth_ratio: Annotated[
        float,
        Param("Receiver bandwidth of the scan over the noise scan's", minimum=1e-3, maximum=1e3),
    ] = 1.0,
) -> Acquisition:
    """Turn and scale the coils so that their noise is white and has unit variance.

    The covariance comes from ``calibration["noise"]``; samples, coil maps, navigators and reference
    lines are treated alike. Afterwards a coil that is loud or coupled no longer spoils the others.
    """
    noise = calibration(
        acquisition,
        "noise",
        remedy="measure one, or leave prewhitening out: combinations still work",
    )
    matrix = whitening(covariance(noise), bandwidth_ratio=bandwidth_ratio)
    return mixed(acquisition, matrix, "acquire.mri.prewhiten")
