"""The brain with its partial volume: shares of fluid, grey and white matter in each voxel.

The labels of `phantoms.brain` are drawn on a finer lattice and counted, and each tissue gets a
value of its own, chosen at random (as in synthetic training data: Billot et al., Med. Image Anal.
86 (2023) 102789); shading and noise come on top. Shares, shading and values are the known truth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.core.grid import Array, Grid
from somascope.core.image import Image
from somascope.phantoms.brain import CSF, FRAME, GREY, LESION, WHITE, brain_labels
from somascope.phantoms.noise import rician
from somascope.phantoms.patient import facts, source

TISSUES = ((CSF,), (GREY,), (WHITE, LESION))
"""Labels that count as fluid, grey and white matter."""


def brain_fractions(grid: Grid, *, parts: int = 2) -> Array:
    """Share of fluid, grey and white matter ``(3, nz, ny, nx)`` float32, of ``parts``^3 points."""
    affine = grid.affine.copy()
    affine[:3, :3] /= parts
    affine[:3, 3] = grid.to_world([(1 - parts) / (2 * parts)] * 3)
    nz, ny, nx = grid.shape
    fine = brain_labels(Grid((nz * parts, ny * parts, nx * parts), affine))
    blocks = fine.reshape(nz, parts, ny, parts, nx, parts)
    return np.stack([
        np.isin(blocks, labels).mean(axis=(1, 3, 5), dtype=np.float32) for labels in TISSUES
    ])  # fmt: skip


def shading(grid: Grid, *, size: float = 0.2, seed: int = 0) -> Array:
    """A smooth factor ``(nz, ny, nx)`` float32 about 1: random waves as long as the head."""
    rng = np.random.default_rng(seed)
    index = np.indices(grid.shape).reshape(3, -1).T
    place = grid.to_world(index) - grid.to_world((np.asarray(grid.shape) - 1) / 2)
    waves = np.zeros(len(place))
    for _ in range(4):
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        waves += np.sin(place @ direction / rng.uniform(50, 90) + rng.uniform(0, 2 * np.pi))
    waves -= waves.mean()
    return (
        np.exp(size * waves / max(float(np.abs(waves).max()), 1e-30))
        .reshape(grid.shape)
        .astype(np.float32)
    )


def brain_mixture(
    fractions: Array, grid: Grid, *, means: Sequence[float] | None = None, noise: float = 0.03,
    bias: float = 0.2, seed: int = 0,
) -> Image:  # fmt: skip
    """A T1-like image of the brain alone, float32; 0 outside it.

    Parameters
    ----------
    fractions
        ``(3, nz, ny, nx)`` of `brain_fractions`.
    means
        Value of each tissue; default at random: fluid about 0.25, grey 0.6, white 0.9.
    noise
        Standard deviation of each receive channel (the magnitude is Rician).
    bias
        Size of the shading's logarithm, at most.
    """
    rng = np.random.default_rng(seed)
    drawn = np.array([0.25, 0.6, 0.9]) + rng.uniform(-0.05, 0.05, 3)
    values = np.asarray(drawn if means is None else means, np.float32)
    signal = np.tensordot(values, fractions, axes=1) * shading(grid, size=bias, seed=seed)
    inside = fractions.sum(axis=0) >= 0.5
    if noise:
        signal = rician(signal.astype(np.float32), noise, seed=seed)
    return Image(
        np.where(inside, signal, 0).astype(np.float32), grid, "MR",
        provenance=source("brain_mixture"),
        attributes={
            **facts("brain-mixture", "Phantom^Mixture", "T1 brain", number=1, time="110000"),
            "BodyPartExamined": "HEAD", "FrameOfReferenceUID": FRAME,
        },
    )  # fmt: skip
