"""Receive sensitivities of coil loops around a body, for simulations."""

from __future__ import annotations

import numpy as np

from somascope.core.grid import Array, Grid

_COARSE = 20
"""Lattice points per axis on which the field is computed; it is smooth in between."""


def loop_sensitivities(grid: Grid, coils: int, *, distance: float = 1.7) -> Array:
    """Complex sensitivities of a ring of circular loops, ``(coils, nz, ny, nx)`` complex64.

    Each loop faces the centre of the grid from a cylinder about its slice axis; its sensitivity is
    the transverse field ``Bx - i By`` that a unit current makes (Biot and Savart; the principle of
    reciprocity, Hoult and Richards 1976). The root of the sum of squares is 1 in the centre.

    Parameters
    ----------
    coils
        One gives a uniform coil.
    distance
        Radius of the cylinder over half of the larger in-plane field.
    """
    if coils == 1:
        return np.ones((1, *grid.shape), np.complex64)
    nz, ny, nx = grid.shape
    size = np.array(grid.shape) * grid.spacing  # the field along z, y, x in mm
    radius = distance * max(size[1:]) / 2
    loop = min(radius * np.sin(np.pi / coils) * 1.1, radius * 0.6)
    turns = np.arange(24) * (2 * np.pi / 24)
    counts = [min(n, _COARSE) for n in grid.shape]
    lines = [
        (np.linspace(-0.5, 0.5, c) * s if n > 1 else np.zeros(1))
        for c, s, n in zip(counts, size, grid.shape, strict=True)
    ]
    z, y, x = np.meshgrid(*lines, indexing="ij")
    points = np.stack([x, y, z], axis=-1)
    found = np.empty((coils, *x.shape), np.complex128)
    for c in range(coils):
        angle = 2 * np.pi * (c + 0.5) / coils
        out = np.array([np.cos(angle), np.sin(angle), 0.0])
        along = np.array([-np.sin(angle), np.cos(angle), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        wire = radius * out + loop * (np.cos(turns)[:, None] * along + np.sin(turns)[:, None] * up)
        current = np.cos(turns)[:, None] * up - np.sin(turns)[:, None] * along
        offset = points[..., None, :] - wire
        field = np.cross(current, offset) / np.linalg.norm(offset, axis=-1, keepdims=True) ** 3
        total = field.sum(axis=-2)
        found[c] = total[..., 0] - 1j * total[..., 1]
    maps = _refined(found, grid.shape)
    middle = np.sqrt((np.abs(maps[:, nz // 2, ny // 2, nx // 2]) ** 2).sum())
    return (maps / middle).astype(np.complex64)


def _refined(coarse: Array, shape: tuple[int, ...]) -> Array:
    """Cubic interpolation of coarse maps, voxel centres within the outer lattice points."""
    from scipy.interpolate import make_interp_spline

    out = coarse
    for axis, n in enumerate(shape, start=1):
        c = out.shape[axis]
        if c == 1:
            continue
        where = (np.arange(n) + 0.5) / n * (c - 1)
        weights = make_interp_spline(np.arange(c), np.eye(c), k=min(3, c - 1))(where)
        out = np.moveaxis(np.tensordot(weights, out, axes=(1, axis)), 0, axis)
    return out
