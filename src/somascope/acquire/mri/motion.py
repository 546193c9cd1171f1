"""A patient who moves between the phase encodings."""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.core.grid import Array

STATES = 16
"""Positions the patient takes in the course of a scan; rotations are resampled, so they are few."""


def walk(rng: np.random.Generator, count: int, amplitude: float) -> Array:
    """A smooth random path of ``count`` steps that starts at 0 and reaches ``amplitude``."""
    from scipy.ndimage import gaussian_filter1d

    steps = gaussian_filter1d(np.cumsum(rng.standard_normal(count)), 1.5)
    steps -= steps[0]
    return steps * (amplitude / max(float(np.abs(steps).max()), 1e-9))


def moved_kspace(
    truth: Array, maps: Array, scan: CartesianScan, *, motion: float, rng: np.random.Generator
) -> Array:
    """k-space of a body that wanders by up to ``motion`` mm and half as many degrees in the plane.

    Phase encodings are measured in order of ky; the coils stay where they are.

    Parameters
    ----------
    truth
        ``(*leading, nz, ny, nx)``.
    maps
        ``(coils, nz, ny, nx)``.
    """
    from scipy import ndimage

    resample: Any = ndimage.affine_transform
    dy, dx = scan.grid.spacing[1:]
    path = np.stack([walk(rng, STATES, motion) / dy, walk(rng, STATES, motion) / dx])
    turns = np.deg2rad(walk(rng, STATES, motion / 2))
    lines = scan.matrix[1]
    state = np.arange(lines) * STATES // lines
    still = scan.with_sensitivities(maps)
    out = np.empty(scan.range, np.complex64)
    centre = (np.array(truth.shape[-2:]) - 1) / 2
    for s in range(STATES):
        c, i = np.cos(turns[s]), np.sin(turns[s])
        matrix = np.array([[c * 1.0, -i * dx / dy], [i * dy / dx, c]])
        offset = centre - matrix @ (centre + path[:, s])
        moved = np.empty_like(truth)
        for plane, given in zip(
            moved.reshape(-1, *truth.shape[-2:]), truth.reshape(-1, *truth.shape[-2:]), strict=True
        ):
            plane.real = resample(given.real, matrix, offset, order=3)
            plane.imag = resample(given.imag, matrix, offset, order=3)
        out[..., state == s, :] = still.forward(moved)[..., state == s, :]
    return out
