"""Features of texture matrices, by the definitions of the IBSI reference manual."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import numba
import numpy as np

from somascope.analyze.radiomics.matrices import Matrices
from somascope.analyze.radiomics.names import CODES
from somascope.core.grid import Array, Float

Directions: TypeAlias = Literal["averaged", "merged"]


def of(
    found: Iterable[Matrices], families: Sequence[str], *, directions: Directions = "averaged"
) -> dict[str, dict[str, float]]:
    """Features by family and name: the mean over slices, of the mean over directions or their sum.

    A direction in which no voxel of the region has a neighbour is left out; so is a slice in which
    that holds for all of them. Zones, dependence and tones know no directions.
    """
    every: dict[str, list[Float]] = {family: [] for family in families}
    for one in found:
        for family in every:
            every[family] += _rows(one, family, directions)
    made: dict[str, dict[str, float]] = {}
    for family, rows in every.items():
        mean = np.mean(rows, axis=0) if rows else np.full(len(CODES[family]), np.nan)
        made[family] = dict(zip(CODES[family], map(float, mean), strict=True))
    return made


def _rows(one: Matrices, family: str, directions: str) -> list[Float]:
    """One row of features, in the order of `CODES`."""
    merged = directions == "merged"
    if family == "glcm":
        pairs = one.pairs.sum(axis=0, keepdims=True) if merged else one.pairs
        used = pairs.sum(axis=(1, 2)) > 0
        return [glcm(pairs[used], one.grey, one.levels).mean(axis=0)] if used.any() else []
    if family == "glrlm":
        each = one.runs.sum(axis=0, keepdims=True) if merged else one.runs
        lengths = np.arange(1.0, each.shape[2] + 1)
        voxels = one.voxels * (len(one.runs) if merged else 1)
        return [np.mean([emphases(r, one.grey, lengths, voxels) for r in each], axis=0)]
    if family == "glszm":
        level, size, count = one.zones
        sizes, column = np.unique(size, return_inverse=True)
        table = np.zeros((one.grey.size, sizes.size), np.int64)
        table[level, column.reshape(-1)] = count
        return [emphases(table, one.grey, sizes.astype(np.float64), one.voxels)]
    if family == "gldm":
        sizes = np.arange(1.0, one.dependence.shape[1] + 1)
        return [emphases(one.dependence, one.grey, sizes, one.voxels)]
    return [ngtdm(one.tones[0], one.tones[1], one.grey)]


@numba.njit(cache=True)
def emphases(table: Array, grey: Array, sizes: Array, voxels: int) -> Array:
    """The sixteen features of how many things have a grey level and a size, ``(levels, sizes)``.

    Sizes are run lengths, zone sizes, or one more than the number of dependent neighbours;
    ``voxels`` is that of the region.
    """
    out = np.zeros(16)
    of_level, of_size = np.zeros(grey.size), np.zeros(sizes.size)
    total = float(table.sum())
    for a in range(grey.size):
        i2 = grey[a] * grey[a]
        for b in range(sizes.size):
            if not table[a, b]:
                continue
            p, j2 = table[a, b] / total, sizes[b] * sizes[b]
            of_level[a] += p
            of_size[b] += p
            out[0] += p / j2
            out[1] += p * j2
            out[2] += p / i2
            out[3] += p * i2
            out[4] += p / (i2 * j2)
            out[5] += p * i2 / j2
            out[6] += p * j2 / i2
            out[7] += p * i2 * j2
            out[15] -= p * math.log2(p)
    out[9], out[11] = (of_level**2).sum(), (of_size**2).sum()
    out[8], out[10] = out[9] * total, out[11] * total
    out[12] = total / voxels
    out[13] = (of_level * (grey - (of_level * grey).sum()) ** 2).sum()
    out[14] = (of_size * (sizes - (of_size * sizes).sum()) ** 2).sum()
    return out


@numba.njit(cache=True)
def _entropy(shares: Array) -> float:
    total = 0.0
    for p in shares:
        if p > 0:
            total -= p * math.log2(p)
    return total


@numba.njit(cache=True)
def _cooccurring(pairs: Array, grey: Array, levels: int) -> Array:
    """The features of one direction but the maximal correlation, which stays 0."""
    out = np.zeros(24)
    top = int(grey[-1])
    minus, plus = np.zeros(top + 1), np.zeros(2 * top + 1)
    margin = np.zeros(grey.size)
    total = float(pairs.sum())
    for a in range(grey.size):
        for b in range(grey.size):
            if pairs[a, b]:
                p = pairs[a, b] / total
                margin[a] += p
                minus[abs(int(grey[a]) - int(grey[b]))] += p
                plus[int(grey[a]) + int(grey[b])] += p
                out[0] += p * grey[a] * grey[b]
                out[10] += p * p
                out[11] -= p * math.log2(p)
                out[20] = max(out[20], p)
    mean = (margin * grey).sum()
    variance = (margin * (grey - mean) ** 2).sum()
    out[1], out[23] = mean, variance
    for s in range(plus.size):
        away = s - 2 * mean
        out[2] += plus[s] * away**4
        out[3] += plus[s] * away**3
        out[4] += plus[s] * away**2
        out[21] += plus[s] * s
    for k in range(minus.size):
        p = minus[k]
        out[5] += p * k * k
        out[7] += p * k
        out[14] += p / (1 + k * k)
        out[16] += p / (1 + (k / levels) ** 2)
        out[17] += p / (1 + k)
        out[18] += p / (1 + k / levels)
        if k:
            out[19] += p / (k * k)
    covariance = 0.0
    for a in range(grey.size):
        for b in range(grey.size):
            covariance += pairs[a, b] / total * (grey[a] - mean) * (grey[b] - mean)
    out[6] = covariance / variance if variance > 0 else 1.0
    out[8], out[22] = _entropy(minus), _entropy(plus)
    out[9] = out[5] - out[7] ** 2
    # With equal margins both of IBSI's joint entropies of them are twice the entropy of one.
    one = _entropy(margin)
    gain = max(2 * one - out[11], 0.0)
    out[12] = -gain / one if one > 0 else 0.0
    out[13] = math.sqrt(1 - math.exp(-2 * gain))
    return out


def glcm(pairs: Array, grey: Array, levels: int) -> Float:
    """Features ``(directions, features)`` of symmetric co-occurrences ``(directions, m, m)``."""
    found = np.array([_cooccurring(p, grey, levels) for p in pairs])
    found[:, 15] = _maximal_correlations(pairs)
    return found


def _maximal_correlations(pairs: Array) -> Float:
    """Root of the second eigenvalue of ``Q_ij = sum_k p_ik p_jk / (p_i p_k)``; 1 for one level.

    Q is similar to the square of the symmetric ``p_ij / sqrt(p_i p_j)``. A level that a direction
    does not see adds an eigenvalue of 0.
    """
    if pairs.shape[1] < 2:
        return np.ones(len(pairs))
    margin = pairs.sum(axis=2)
    root = np.sqrt(np.where(margin > 0, margin, 1))
    values = np.linalg.eigvalsh(pairs / (root[:, :, None] * root[:, None, :]))
    second = np.sort(np.abs(values), axis=1)[:, -2]
    return np.where((margin > 0).sum(axis=1) > 1, second, 1.0)


def ngtdm(counts: Array, differences: Array, grey: Array) -> Float:
    """Features of neighbourhood grey tone differences (Amadasun and King 1989).

    Voxels without a neighbour do not count. A region in which nothing differs has a coarseness of
    10^6, as pyradiomics says it, and no busyness.
    """
    used = counts > 0
    n, s, i = counts[used], differences[used], grey[used]
    total = n.sum()
    if not total:
        return np.array([1e6, 0.0, 0.0, 0.0, 0.0])
    p = n / total
    levels = p.size
    weighted = float(p @ s)
    apart = np.abs(i[:, None] - i[None, :])
    sums = p[:, None] + p[None, :]
    spread = float((p[:, None] * p[None, :] * apart**2).sum())
    contrast = spread / (levels * (levels - 1)) * s.sum() / total if levels > 1 else 0.0
    busy = float(np.abs((i * p)[:, None] - (i * p)[None, :]).sum())
    tones = p * s
    return np.array([
        1 / weighted if weighted > 0 else 1e6,
        contrast,
        weighted / busy if busy > 0 else 0.0,
        float((apart * (tones[:, None] + tones[None, :]) / sums).sum()) / total,
        float((sums * apart**2).sum() / s.sum()) if s.sum() > 0 else 0.0,
    ])  # fmt: skip
