"""How well a region was outlined: overlap, surface distances in mm, volume."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from somascope.core.grid import Array, Float
from somascope.process.components import label


def dice(a: Array, b: Array) -> float:
    """Twice the common part over the sum of both (Dice, 1945); 1 where both are empty."""
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2.0 * int(np.count_nonzero(a & b)) / total if total else 1.0


def surface_distances(a: Array, b: Array, spacing: Sequence[float]) -> tuple[Float, Float]:
    """From each border voxel of ``a`` to the border of ``b`` in mm, and from ``b`` to ``a``.

    Border voxels are those with a face neighbour outside. Both empty for an empty region.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt

    a, b = np.asarray(a, bool), np.asarray(b, bool)
    if not a.any() or not b.any():
        return np.zeros(0), np.zeros(0)
    flat = a.shape[0] == 1
    if flat:
        a, b, spacing = a[0], b[0], spacing[1:]
    edges: list[Array] = [x & np.logical_not(binary_erosion(x)) for x in (a, b)]
    far = [np.asarray(distance_transform_edt(~e, sampling=spacing)) for e in edges]
    return far[1][edges[0]], far[0][edges[1]]


def hd95(a: Array, b: Array, spacing: Sequence[float]) -> float:
    """The larger of both 95th percentiles of surface distances, mm; NaN if one is empty."""
    there, back = surface_distances(a, b, spacing)
    if not len(there):
        return 0.0 if not a.any() and not b.any() else float("nan")
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def assd(a: Array, b: Array, spacing: Sequence[float]) -> float:
    """Mean of all surface distances, both ways, mm."""
    there, back = surface_distances(a, b, spacing)
    if not len(there):
        return 0.0 if not a.any() and not b.any() else float("nan")
    return float(np.concatenate([there, back]).mean())


def nsd(a: Array, b: Array, spacing: Sequence[float], *, tolerance_mm: float = 1.0) -> float:
    """Part of both surfaces within ``tolerance_mm`` of the other (Nikolov et al., 2018)."""
    there, back = surface_distances(a, b, spacing)
    if not len(there):
        return 1.0 if not a.any() and not b.any() else 0.0
    return float((np.concatenate([there, back]) <= tolerance_mm).mean())


def volume_error(found: Array, truth: Array) -> float:
    """Signed difference of volumes, in parts of the true one."""
    true = int(np.count_nonzero(truth))
    if not true:
        return 0.0 if not found.any() else math.inf
    return (int(np.count_nonzero(found)) - true) / true


def lesion_f1(found: Array, truth: Array) -> float:
    """F1 of whole lesions (components by faces, edges and corners); 1 where both are empty.

    A true one counts as found where any voxel of it was; a found one without any true voxel is
    false.
    """
    there, counts = label(np.asarray(truth, bool))
    said, others = label(np.asarray(found, bool))
    hits = len(np.unique(there[(there > 0) & (said > 0)]))
    right = len(np.unique(said[(there > 0) & (said > 0)]))
    total = 2 * hits + (len(others) - right) + (len(counts) - hits)
    return 2 * hits / total if total else 1.0
