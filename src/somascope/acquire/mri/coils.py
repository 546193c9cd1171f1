"""What the MRI scans share: coil sensitivities and leading axes, checked and applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from somascope.core import Axis
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Grid

UNITS = {"t": "s", "echo": "ms", "b": "s/mm2", "inversion": "ms", "flip": "deg"}
"""UCUM units of the leading axes that have one; others are counted."""

Leading = Mapping[str, Sequence[float]]


def leading_axes(leading: Leading | None) -> tuple[Axis, ...]:
    """Named axes of a scan that is repeated: ``{"echo": [5, 10, 15]}``, in order."""
    axes = tuple(
        Axis(name, tuple(float(v) for v in values), UNITS.get(name, "1"))
        for name, values in (leading or {}).items()
    )
    for axis in axes:
        if not axis.values or axis.name in ("coil", "x", "y", "z"):
            raise ParameterError(
                f"leading axis {axis.name!r} has the values {axis.values}; give each repeated axis "
                "a name other than coil, z, y, x and one number per repetition"
            )
    return axes


def described(axes: Sequence[Axis]) -> dict[str, list[float]]:
    """The JSON form that `leading_axes` reads."""
    return {axis.name: list(axis.values) for axis in axes}


def check_sensitivities(sensitivities: Array | None, grid: Grid, coils: int | None) -> Array | None:
    """Sensitivities as read-only complex ``(coils, nz, ny, nx)``; ``(coils, ny, nx)`` where nz = 1.

    Raises
    ------
    GeometryError
        Another shape than the grid, another number of coils than ``coils``, values not finite.
    """
    if sensitivities is None:
        return None
    maps = np.asarray(sensitivities)
    if maps.ndim == 3 and grid.shape[0] == 1:
        maps = maps[:, None]
    if maps.ndim != 4 or maps.shape[1:] != grid.shape:
        raise GeometryError(
            f"sensitivities have shape {np.shape(sensitivities)} for an image of {grid.shape}; "
            "give (coils, nz, ny, nx)"
        )
    if coils is not None and maps.shape[0] != coils:
        raise GeometryError(
            f"sensitivities are of {maps.shape[0]} coils but the scan has {coils}; use maps "
            "estimated from the same (compressed) coils"
        )
    if not np.isfinite(maps).all():
        raise GeometryError("sensitivities have values that are not finite; estimate them anew")
    maps = np.ascontiguousarray(maps, np.result_type(maps.dtype, np.complex64))
    maps.setflags(write=False)
    return maps


def count_coils(coils: int | None, sensitivities: Array | None) -> int:
    """Number of coils, from either."""
    if coils is None:
        return 1 if sensitivities is None else sensitivities.shape[0]
    if coils < 1:
        raise ParameterError(f"coils is {coils}; give at least 1")
    return int(coils)


def spread(x: Array, maps: Array | None, coils: int) -> Array:
    """Coil images ``(*leading, coils, nz, ny, nx)`` of an image ``(*leading, nz, ny, nx)``."""
    x = np.asarray(x)
    x = x.astype(np.result_type(x.dtype, np.complex64), copy=False)
    if maps is None:
        return np.repeat(x[..., None, :, :, :], coils, axis=-4)
    return x[..., None, :, :, :] * maps.astype(x.dtype, copy=False)


def combine(y: Array, maps: Array | None) -> Array:
    """Adjoint of `spread`: the sum over coils of conjugate sensitivities times coil images."""
    if maps is None:
        return y.sum(axis=-4)
    return np.einsum("czyx,...czyx->...zyx", maps.conj().astype(y.dtype, copy=False), y)


def check_samples(samples: Array, name: str) -> None:
    """Refuse samples that are not finite, or all zero."""
    bad = int(np.size(samples) - np.count_nonzero(np.isfinite(samples)))
    if bad:
        raise GeometryError(
            f"{name}: {bad} of {np.size(samples)} samples are not finite; the raw data is damaged: "
            "read it again, or mask the lines they lie on"
        )
    if not np.any(samples):
        raise GeometryError(f"{name}: all samples are zero; there is nothing to reconstruct")
