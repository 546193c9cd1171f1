"""Groups without assumptions about the noise: permutation, the maximum statistic, and TFCE.

Nichols and Holmes, Hum. Brain Mapp. 15 (2002) 1-25; Smith and Nichols, NeuroImage 44 (2009) 83-98.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np

from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.process.chunks import in_chunks

E, H = 0.5, 2.0
"""Exponents of extent and height that Smith and Nichols recommend in three dimensions."""


@numba.njit(nogil=True, cache=True)
def _root(parent: Array, offset: Array, i: int) -> int:
    """Root of ``i``; the path is shortened and its offsets added up."""
    root = i
    total = 0.0
    while parent[root] != root:
        total += offset[root]
        root = parent[root]
    while parent[i] != root and i != root:
        above, own = parent[i], offset[i]
        parent[i] = root
        offset[i] = total
        total -= own
        i = above
    return root


@numba.njit(nogil=True, cache=True)
def _gather(gain: Array, since: Array, size: Array, root: Any, h: Any) -> None:
    """Bring what a component gained down to the height ``h``."""
    gain[root] += size[root] ** E * (since[root] ** (H + 1) - h ** (H + 1)) / (H + 1)
    since[root] = h


@numba.njit(nogil=True, cache=True)
def _enhance(
    order: Array, height: Array, near: Array, parent: Array, offset: Array, gain: Array,
    since: Array, size: Array, out: Array,
) -> None:  # fmt: skip
    """The integral over height of ``extent^E height^H``, exactly: voxels join from the top down.

    A component keeps what it gained (``gain``) since it has its present size, from the height
    ``since`` on; members of a swallowed component remember the difference (``offset``).
    """
    parent[:] = -1
    offset[:] = 0.0
    gain[:] = 0.0
    last = 0
    for last in range(order.size):
        v = order[last]
        h = height[v]
        if h <= 0:
            break
        parent[v], since[v], size[v] = v, h, 1.0
        top = np.int64(v)
        for k in range(near.shape[1]):
            n = near[v, k]
            if n < 0 or parent[n] < 0:
                continue
            other = np.int64(_root(parent, offset, n))
            if other == top:
                continue
            _gather(gain, since, size, other, h)
            _gather(gain, since, size, top, h)
            big, small = (other, top) if size[other] >= size[top] else (top, other)
            parent[small] = big
            offset[small] = gain[small] - gain[big]
            size[big] += size[small]
            top = big
    for i in range(order.size):
        v = order[i]
        if parent[v] < 0:
            out[v] = 0.0
            continue
        r = np.int64(_root(parent, offset, v))
        whole = gain[r] + size[r] ** E * since[r] ** (H + 1) / (H + 1)
        out[v] = whole + (offset[v] if v != r else 0.0)


def neighbours(mask: Array) -> Array:
    """For each voxel of ``mask`` the numbers of its six neighbours in it, -1 for none."""
    number = np.full(np.array(mask.shape) + 2, -1, np.int32)
    inner = number[1:-1, 1:-1, 1:-1]
    inner[mask] = np.arange(int(mask.sum()), dtype=np.int32)
    z, y, x = np.nonzero(mask)
    steps = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
    return np.stack([number[z + 1 + a, y + 1 + b, x + 1 + c] for a, b, c in steps], axis=1)


def tfce(values: Array, near: Array) -> Float:
    """Threshold-free cluster enhancement of ``values`` ``(v,)``; negative ones likewise, negative.

    ``near`` as from `neighbours`. The integral is exact, not a sum over steps of height.
    """
    n = len(values)
    out = np.zeros(n)
    parent = np.empty(n, np.int32)
    offset, gain, since, size = (np.empty(n) for _ in range(4))
    for sign in (1, -1):
        height = np.maximum(sign * np.asarray(values, np.float64), 0)
        if height.any():
            part = np.empty(n)
            _enhance(
                np.argsort(-height, kind="stable"),
                height,
                near,
                parent,
                offset,
                gain,
                since,
                size,
                part,
            )
            out += sign * part
    return out


@dataclass(frozen=True, eq=False)
class Permuted:
    """Statistic, its enhancement, and the chances of their maximum under permutation.

    All ``(v,)``; ``p_t`` and ``p_tfce`` are corrected for all voxels; ``exact`` tells that every
    rearrangement was looked at.
    """

    t: Float
    tfce: Float
    p_t: Float
    p_tfce: Float
    permutations: int
    exact: bool


def permute(
    y: Array,
    near: Array,
    *,
    groups: Array | None = None,
    permutations: int = 1000,
    seed: int = 0,
    sides: Literal["positive", "both"] = "positive",
    enhance: bool = True,
    progress: Progress = QUIET,
) -> Permuted:
    """One-sample (signs are turned) or two-sample (labels change) t with maximum statistics.

    Parameters
    ----------
    y
        ``(subjects, v)``; for pairs give the differences.
    near
        `neighbours` of the voxels.
    groups
        0 or 1 per subject; the statistic is group 1 minus group 0. None: one sample against 0.
    permutations
        The given order counts as one. All rearrangements are used where there are no more.
    """
    data = np.asarray(y, np.float64)
    arrangements, exact = _arrangements(len(data), groups, permutations, seed)
    two = groups is not None
    square = (data**2).sum(axis=0)
    total = data.sum(axis=0)

    def statistic(rows: Float) -> Float:
        n = len(data)
        if not two:
            sums = rows @ data
            spread = (square - sums**2 / n) / (n - 1)
            return np.divide(sums, np.sqrt(np.maximum(spread, 0) * n), out=np.zeros_like(sums),
                             where=spread > 1e-12 * square / n)  # fmt: skip
        a = rows.sum(axis=1, keepdims=True)
        b = n - a
        ones = rows @ data
        zeros = total - ones
        spread = (square - ones**2 / a - zeros**2 / b) / (n - 2) * (1 / a + 1 / b)
        return np.divide(ones / a - zeros / b, np.sqrt(np.maximum(spread, 0)),
                         out=np.zeros_like(ones), where=spread > 1e-12 * square)  # fmt: skip

    return judged(
        statistic, arrangements, near, exact=exact, sides=sides, enhance=enhance, progress=progress
    )


def judged(
    statistic: Callable[[Float], Float],
    arrangements: Float,
    near: Array,
    *,
    exact: bool,
    sides: Literal["positive", "both"],
    enhance: bool,
    progress: Progress = QUIET,
) -> Permuted:
    """Maximum statistics over ``arrangements``, the first of them the given one.

    ``statistic`` makes ``(k, v)`` of ``k`` of them.
    """
    own = statistic(arrangements[:1])[0]
    lifted = tfce(own, near) if enhance else own
    highest = np.empty((len(arrangements), 2))
    piece = 32
    for first in progress.over(range(0, len(arrangements), piece), "permuting"):
        rows = arrangements[first : first + piece]
        t = statistic(rows)
        highest[first : first + len(rows), 0] = _top(t, sides)
        if enhance:
            _lift_all(t, near, sides, highest[first : first + len(rows), 1])
    return Permuted(
        t=own, tfce=lifted, p_t=_chance(own, highest[:, 0], sides),
        p_tfce=_chance(lifted, highest[:, 1] if enhance else highest[:, 0], sides),
        permutations=len(arrangements), exact=exact,
    )  # fmt: skip


def _top(values: Float, sides: str) -> Float:
    return (np.abs(values) if sides == "both" else values).max(axis=-1)


def _lift_all(t: Float, near: Array, sides: str, out: Float) -> None:
    def work(start: int, stop: int) -> None:
        for i in range(start, stop):
            values = t[i] if sides == "both" else np.maximum(t[i], 0)
            out[i] = _top(tfce(values, near), sides)

    in_chunks(work, len(t))


def _chance(values: Float, highest: Float, sides: str) -> Float:
    """Share of maxima at least as high, the given order among them."""
    ordered = np.sort(highest)
    own = np.abs(values) if sides == "both" else values
    # A hair lower, so that rounding does not set a value above itself.
    below = np.searchsorted(ordered, own * (1 - 1e-9) - 1e-12, side="left")
    return (len(ordered) - below) / len(ordered)


def _arrangements(
    n: int, groups: Array | None, wanted: int, seed: int
) -> tuple[Float, bool]:  # fmt: skip
    """Rows of signs (one sample) or of labels, the given one first, none twice where all fit."""
    from itertools import combinations
    from math import comb

    rng = np.random.default_rng(seed)
    if groups is None:
        if n < 2:
            raise ParameterError(f"{n} map(s) cannot be permuted; at least 2 are needed")
        if n < 20 and 2**n <= wanted:
            bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
            return 1.0 - 2.0 * bits, True
        rows = rng.choice([-1.0, 1.0], size=(wanted, n))
        rows[0] = 1
        return rows, False
    label = np.asarray(groups)
    if label.shape != (n,) or not np.isin(label, (0, 1)).all() or len(set(label.tolist())) < 2:
        raise ParameterError(f"groups is {label.tolist()}; give 0 or 1 for each of the {n} maps")
    if n < 4:
        raise ParameterError(f"{n} maps in two groups cannot be compared; at least 4 are needed")
    ones = int(label.sum())
    if comb(n, ones) <= wanted:
        every = np.zeros((comb(n, ones), n))
        for row, chosen in zip(every, combinations(range(n), ones), strict=True):
            row[list(chosen)] = 1
        first = int(np.flatnonzero((every == label).all(axis=1))[0])
        every[[0, first]] = every[[first, 0]]
        return every, True
    rows = np.stack([label.astype(float), *(rng.permutation(label) for _ in range(wanted - 1))])
    return rows, False
