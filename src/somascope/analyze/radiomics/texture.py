"""Features of texture matrices, by the definitions of the IBSI reference manual."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import numpy as np

from somascope.analyze.radiomics.matrices import Matrices
from somascope.analyze.radiomics.names import CODES
from somascope.core.grid import Array, Float

Directions: TypeAlias = Literal["averaged", "merged"]


def entropy(shares: Array, axis: tuple[int, ...] | None = None) -> Array:
    """Shannon's in bits of what sums to 1."""
    logs = np.log2(shares, out=np.zeros(np.shape(shares)), where=shares > 0)
    return np.asarray(-(shares * logs).sum(axis=axis))


def of(
    found: list[Matrices], families: Iterable[str], *, directions: Directions = "averaged"
) -> dict[str, dict[str, float]]:
    """Features by family and name: the mean over slices, of the mean over directions or their sum.

    A direction in which no voxel of the region has a neighbour is left out; so is a slice in which
    that holds for all of them. Zones, dependence and tones know no directions.
    """
    made: dict[str, dict[str, float]] = {}
    for family in families:
        rows = [r for one in found for r in _rows(one, family, directions)]
        mean = np.mean(rows, axis=0) if rows else np.full(len(CODES[family]), np.nan)
        made[family] = dict(zip(CODES[family], map(float, mean), strict=True))
    return made


def _rows(one: Matrices, family: str, directions: str) -> list[Float]:
    """One row of features, in the order of `CODES`."""
    merged = directions == "merged"
    if family == "glcm":
        pairs = one.pairs.sum(axis=0, keepdims=True) if merged else one.pairs
        used = pairs.sum(axis=(1, 2)) > 0
        return [glcm(pairs[used], one.grey, one.levels).mean(axis=1)] if used.any() else []
    if family == "glrlm":
        each = one.runs.sum(axis=0, keepdims=True) if merged else one.runs
        voxels = one.voxels * (len(one.runs) if merged else 1)
        return [np.mean([_of_table(r, one.grey, voxels) for r in each], axis=0)]
    if family == "glszm":
        level, size, count = one.zones
        return [emphases(one.grey[level], size, count, one.voxels)]
    if family == "gldm":
        return [_of_table(one.dependence, one.grey, one.voxels)]
    return [ngtdm(one.tones[0], one.tones[1], one.grey)]


def _of_table(table: Array, grey: Array, voxels: int) -> Float:
    level, size = np.nonzero(table)
    return emphases(grey[level], size + 1, table[level, size], voxels)


def emphases(level: Array, size: Array, count: Array, voxels: int) -> Float:
    """The sixteen features of ``count`` things of a grey level and a size, 1-D arrays.

    Sizes are run lengths, zone sizes, or one more than the number of dependent neighbours;
    ``voxels`` is that of the region.
    """
    i, j = level.astype(np.float64), size.astype(np.float64)
    total = float(count.sum())
    p = count / total
    of_level = np.bincount(level.astype(np.int64), weights=count)
    of_size = np.bincount(np.unique(size, return_inverse=True)[1].reshape(-1), weights=count)
    i2, j2 = i * i, j * j
    grey, long = float((of_level**2).sum()), float((of_size**2).sum())
    return np.array([
        p @ (1 / j2), p @ j2, p @ (1 / i2), p @ i2,
        p @ (1 / (i2 * j2)), p @ (i2 / j2), p @ (j2 / i2), p @ (i2 * j2),
        grey / total, grey / total**2, long / total, long / total**2, total / voxels,
        p @ (i - p @ i) ** 2, p @ (j - p @ j) ** 2, entropy(p),
    ])  # fmt: skip


def glcm(pairs: Array, grey: Array, levels: int) -> Float:
    """Features ``(features, directions)`` of symmetric co-occurrences ``(directions, m, m)``."""
    p = pairs / pairs.sum(axis=(1, 2), keepdims=True)
    i, j = grey[:, None], grey[None, :]
    px = p.sum(axis=2)
    mean = px @ grey
    variance = px @ grey**2 - mean**2
    whole = grey.astype(np.int64)
    apart = np.abs(whole[:, None] - whole[None, :])
    minus = _summed(p, apart)
    plus = _summed(p, whole[:, None] + whole[None, :])
    k, s = np.arange(minus.shape[1]), np.arange(plus.shape[1])
    both = entropy(p, axis=(1, 2))
    one = entropy(px, axis=(1,))
    # With equal margins both of IBSI's joint entropies of them are twice the entropy of one.
    gain = np.maximum(2 * one - both, 0)
    centred = (i + j)[None] - 2 * mean[:, None, None]
    flat = variance <= 1e-12 * np.maximum(mean**2, 1)
    product = np.einsum("aij,i,j->a", p, grey, grey)
    first = minus @ k
    return np.array([
        product,
        mean,
        (p * centred**4).sum(axis=(1, 2)),
        (p * centred**3).sum(axis=(1, 2)),
        (p * centred**2).sum(axis=(1, 2)),
        minus @ k**2,
        np.where(flat, 1.0, (product - mean**2) / np.where(flat, 1.0, variance)),
        first,
        entropy(minus, axis=(1,)),
        minus @ k**2 - first**2,
        (p**2).sum(axis=(1, 2)),
        both,
        np.where(one > 0, -gain / np.where(one > 0, one, 1.0), 0.0),
        np.sqrt(1 - np.exp(-2 * gain)),
        minus @ (1 / (1 + k**2)),
        [_maximal_correlation(q, x) for q, x in zip(p, px, strict=True)],
        minus @ (1 / (1 + (k / levels) ** 2)),
        minus @ (1 / (1 + k)),
        minus @ (1 / (1 + k / levels)),
        minus[:, 1:] @ (1 / k[1:] ** 2),
        p.max(axis=(1, 2)),
        plus @ s,
        entropy(plus, axis=(1,)),
        variance,
    ])  # fmt: skip


def _summed(p: Array, index: Array) -> Array:
    """Sums of ``p`` ``(a, m, m)`` where ``index`` ``(m, m)`` is 0, 1, 2..."""
    size = int(index.max()) + 1
    flat = index.reshape(-1)
    return np.array([np.bincount(flat, weights=q.reshape(-1), minlength=size) for q in p])


def _maximal_correlation(p: Array, margin: Array) -> float:
    """Root of the second eigenvalue of ``Q_ij = sum_k p_ik p_jk / (p_i p_k)``; 1 for one level.

    Q is similar to the square of the symmetric ``p_ij / sqrt(p_i p_j)``.
    """
    used = margin > 0
    if np.count_nonzero(used) < 2:
        return 1.0
    root = np.sqrt(margin[used])
    values = np.linalg.eigvalsh(p[np.ix_(used, used)] / np.outer(root, root))
    return float(np.sort(np.abs(values))[-2])


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
