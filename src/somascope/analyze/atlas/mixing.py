"""Likelihood of a value for pure tissues and for voxels that hold two of them.

A voxel with a share ``a`` of one tissue and ``1 - a`` of another has the mean ``a m1 + (1 - a) m2``
and the variance ``a s1^2 + (1 - a) s2^2``; all shares are as likely before the value is known
(Santago and Gage, IEEE TMI 12 (1993) 566-574; Shattuck et al., NeuroImage 13 (2001) 856-876).
Everything is a table over the values: the loops over voxels look it up.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from somascope.core.grid import Array, Float

CSF, GREY, WHITE = range(3)
PAIRS = ((CSF, GREY), (GREY, WHITE))
"""Tissues that border on each other nearly everywhere; fluid and white matter do in ventricles."""
CLASSES = 3 + len(PAIRS)
BINS = 1024
SHARES = (np.arange(16) + 0.5) / 16

Contrast: TypeAlias = Literal["T1", "T2", "PD", "FLAIR"]
ORDER: dict[str, tuple[int, int, int]] = {
    "T1": (CSF, GREY, WHITE), "T2": (WHITE, GREY, CSF), "PD": (WHITE, GREY, CSF),
    "FLAIR": (CSF, WHITE, GREY),
}  # fmt: skip
"""Tissues from dark to bright."""


def normal(values: Float, mean: float, variance: float) -> Float:
    """Density of the normal distribution."""
    return np.exp(-0.5 * (values - mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance)


def tables(places: Float, means: Float, sds: Float) -> tuple[Array, Array]:
    """Likelihood ``(classes, bins)`` and mean share of each tissue ``(tissues, classes, bins)``.

    ``places`` ``(bins,)`` are values; ``means`` and ``sds`` ``(3,)`` those of the pure tissues.
    Classes: fluid, grey, white, then the mixtures of `PAIRS`. float32.
    """
    likelihood = np.empty((CLASSES, places.size))
    share = np.zeros((3, CLASSES, places.size))
    for k in range(3):
        likelihood[k] = normal(places, means[k], sds[k] ** 2)
        share[k, k] = 1
    for c, (one, two) in enumerate(PAIRS, start=3):
        density = np.stack([
            normal(
                places, a * means[one] + (1 - a) * means[two],
                a * sds[one] ** 2 + (1 - a) * sds[two] ** 2,
            )
            for a in SHARES
        ])  # fmt: skip
        likelihood[c] = density.mean(axis=0)
        # Far from both the densities vanish; the share goes on from where they did not.
        tiny = 1e-280
        between = (SHARES[:, None] * density).sum(axis=0) / np.maximum(density.sum(axis=0), tiny)
        beyond = density.sum(axis=0) <= tiny
        nearer = np.abs(places - means[one]) < np.abs(places - means[two])
        between[beyond] = nearer[beyond]
        share[one, c], share[two, c] = between, 1 - between
    likelihood = np.maximum(likelihood, 1e-12 * likelihood.max(axis=1, keepdims=True))
    return likelihood.astype(np.float32), share.astype(np.float32)


def energies() -> Array:
    """Cost of two classes side by side ``(classes, classes)``: 0 same, 1 with nothing in common.

    A mixture beside one of its tissues, or beside a mixture that shares one, costs half.
    """
    held = [{0}, {1}, {2}, *(set(p) for p in PAIRS)]
    return np.array(
        [[0.0 if i == j else 0.5 if a & b else 1.0 for j, b in enumerate(held)]
         for i, a in enumerate(held)],
        np.float32,
    )  # fmt: skip
