"""Whether two registered images agree better here than beside: the verdict's chief witness.

The moving image, as registered, is shifted against the fixed one to all sides. Where the
registration is right, the structure of each neighbourhood agrees best without a shift; where it is
wrong, or the images show different things, neighbourhoods ask for shifts in all directions. It is
a test against a null distribution made from the pair itself, so that it knows neither contrast nor
noise (compare block matching without false alarms, Sabater et al., PAMI 34 (2012) 930-942).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from somascope.core.grid import Array

WIDTH = 7
"""Voxels across a neighbourhood."""
STEP = 2
"""Voxels by which the image is shifted."""
LEVELS = 32
"""Of the fixed image's values."""
SATURATED = 50
"""Percentile of contrast above which a place counts no more."""
WHOLE = 0.999
"""Share of a neighbourhood that must have values: sums over parts of two are not compared."""
FAINT = 0.02
"""Contrast (standard deviation, of values 0 to 1) below which a neighbourhood has no structure."""


@dataclass(frozen=True)
class Landscape:
    """``here``: mean squared local correlation as registered, one contrast taken for the other
    (`expected`); ``plain``: with the contrasts as they are; ``peak``: share of the structure
    that agrees best without a shift; ``mirror``: the best of the mirror images about the middle
    of the fixed structure.
    """

    here: float
    plain: float
    peak: float
    mirror: float


class _Local:
    """Squared local correlation of ``fixed`` with a shifted image."""

    def __init__(self, fixed: Array, moved: Array) -> None:
        self.size = tuple(WIDTH if n > 1 else 1 for n in fixed.shape)
        known = np.isfinite(fixed)
        self.f = np.where(known, fixed, 0).astype(np.float32)
        self.whole0 = self._mean(known.astype(np.float32)) > WHOLE
        self.mean, self.var = self._moments(self.f)
        self.turn(moved)

    def _mean(self, values: Array) -> Array:
        from scipy.ndimage import uniform_filter

        # Running sums: the cost does not grow with the width.
        return uniform_filter(values, self.size, mode="constant")  # pyright: ignore[reportArgumentType]

    def _moments(self, values: Array) -> tuple[Array, Array]:
        mean = self._mean(values)
        return mean, np.maximum(self._mean(values * values) - mean * mean, 0)

    def turn(self, moved: Array) -> None:
        """Take another moving image, NaN where it has no value."""
        valid = np.isfinite(moved)
        self.m = np.where(valid, moved, 0).astype(np.float32)
        self.whole = self._mean(valid.astype(np.float32)) > WHOLE
        self.mmean, self.mvar = self._moments(self.m)

    def at(self, shift: tuple[int, ...]) -> tuple[Array, Array]:
        """The map under a shift, and where it means something: in whole neighbourhoods."""
        to, of = slices(shift, self.f.shape)
        # Beyond the image there is nothing: sums are of the part that both have.
        both = np.zeros_like(self.f)
        np.multiply(self.f[to], self.m[of], out=both[to])
        cross = self._mean(both)[to] - self.mean[to] * self.mmean[of]
        spread = self.var[to] * self.mvar[of]
        square = np.zeros_like(self.f)
        np.divide(cross * cross, spread, out=square[to], where=spread > 1e-9)
        valid = np.zeros(self.f.shape, bool)
        np.logical_and(self.whole0[to], self.whole[of], out=valid[to])
        return np.minimum(square, 1, out=square), valid


def slices(
    shift: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where ``out[to] = a[of]`` takes an array that is shifted: ``out[i] = a[i + shift]``."""
    to = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(shift, shape, strict=True))
    of = tuple(slice(max(s, 0), n - max(-s, 0)) for s, n in zip(shift, shape, strict=True))
    return to, of


def shifted(a: Array, shift: tuple[int, ...], fill: float = 0.0) -> Array:
    """``out[i] = a[i + shift]``; ``fill`` from outside."""
    if not any(shift):
        return a
    out = np.full_like(a, fill)
    to, of = slices(shift, a.shape)
    out[to] = a[of]
    return out


def expected(fixed: Array, moved: Array) -> Array:
    """``fixed`` with the mean value that ``moved`` has where it has a value.

    With it two contrasts are compared as one (the correlation ratio's regression, Roche et al.,
    MICCAI 1998).
    """
    seen = np.isfinite(moved) & np.isfinite(fixed)
    values = np.nan_to_num(fixed) * (LEVELS - 1)
    level = np.clip(np.rint(values), 0, LEVELS - 1).astype(np.int64)
    count = np.bincount(level[seen], minlength=LEVELS)
    total = np.bincount(level[seen], moved[seen], minlength=LEVELS)
    told = count > 1e-3 * count.sum() / LEVELS
    if told.sum() < 2:
        return np.asarray(fixed)
    at = np.arange(LEVELS)[told] / (LEVELS - 1)
    return np.interp(fixed, at, total[told] / count[told]).astype(np.float32)


def shifts(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Steps of about `STEP` voxels to all sides; in the plane for a slice."""
    steps: list[tuple[int, ...]] = []
    for unit in product((-1, 0, 1), repeat=3):
        if not any(unit) or any(u and n == 1 for u, n in zip(unit, shape, strict=True)):
            continue
        length = STEP / float(np.sqrt(sum(u * u for u in unit)))
        steps.append(tuple(round(u * length) for u in unit))
    return steps


def agreement(fixed: Array, moved: Array, counted: Array | None = None) -> float:
    """Mean squared local correlation where ``fixed`` has structure, as in `landscape`."""
    return _here(_Local(_alike(fixed, moved, counted), moved), counted)[0]


def landscape(fixed: Array, moved: Array, counted: Array | None = None) -> Landscape:
    """How the pair agrees here, beside and mirrored.

    ``fixed`` and ``moved`` are ``(nz, ny, nx)``, about 0 to 1, on one coarse grid; NaN in ``moved``
    where it has no value. ``counted``: the voxels that matter, bool; all by default.
    """
    local = _Local(_alike(fixed, moved, counted), moved)
    here, now, weight = _here(local, counted)
    total = float(weight.sum())
    if total <= 0:
        return Landscape(0.0, 0.0, 0.0, 0.0)
    best = np.zeros_like(now)
    for step in shifts(fixed.shape):
        there, valid = local.at(step)
        np.maximum(best, np.where(valid, there, 0), out=best)
    peak = float((weight * (now > best)).sum()) / total
    plain = _here(_Local(fixed, moved), counted)[0]
    return Landscape(here, plain, peak, _mirrored(local, moved, weight))


def residual(
    fixed: Array, moved: Array, *, reach: Sequence[int]
) -> tuple[tuple[float, ...], float]:
    """By how many voxels (z, y, x) ``moved`` agrees better when shifted, and how well it agrees.

    ``moved[i + shift]`` is held against ``fixed[i]`` along each axis by itself; the best of
    ``-reach .. reach`` (of that axis) is told to a fraction of a voxel by the parabola through its
    neighbours. At the end of the reach it is at least that.
    """
    local = _Local(expected(fixed, moved), moved)
    here, _, weight = _here(local, None)
    found: list[float] = []
    for axis, n in enumerate(fixed.shape):
        if n == 1 or not weight.any():
            found.append(0.0)
            continue
        values: list[float] = []
        far = reach[axis]
        for s in range(-far, far + 1):
            there, valid = local.at(tuple(s if a == axis else 0 for a in range(3)))
            counted = weight * valid
            total = float(counted.sum())
            values.append(float((counted * there).sum()) / total if total > 0 else 0.0)
        k = int(np.argmax(values))
        step = 0.0
        if 0 < k < len(values) - 1:
            low, top, high = values[k - 1 : k + 2]
            bend = low - 2 * top + high
            step = 0.5 * (low - high) / bend if bend < 0 else 0.0
        found.append(k - far + step)
    return tuple(found), here


def _alike(fixed: Array, moved: Array, counted: Array | None) -> Array:
    """`expected` by the voxels that matter."""
    return expected(fixed, moved if counted is None else np.where(counted, moved, np.nan))


def _here(local: _Local, counted: Array | None) -> tuple[float, Array, Array]:
    """The mean without a shift, its map, and the weight of each voxel: its contrast, if seen."""
    now, seen = local.at((0, 0, 0))
    seen = seen if counted is None else seen & counted
    if not seen.any():
        return 0.0, now, np.zeros_like(now)
    # What the quietest tenth shows too is noise; a bright rim counts no more than what it encloses.
    weight = np.sqrt(np.maximum(local.var - np.percentile(local.var[seen], 10), 0)) * seen
    weight[weight < FAINT] = 0
    if weight.any():
        weight = np.minimum(weight, np.percentile(weight[weight > 0], SATURATED))
    total = float(weight.sum())
    return (float((weight * now).sum()) / total if total > 0 else 0.0), now, weight


def _mirrored(local: _Local, moved: Array, weight: Array) -> float:
    total = float(weight.sum())
    best = 0.0
    for axis, n in enumerate(moved.shape):
        if n == 1:
            continue
        others = tuple(a for a in range(3) if a != axis)
        middle = float((weight.sum(axis=others) * np.arange(n)).sum()) / total
        step = [0, 0, 0]
        step[axis] = (n - 1) - round(2 * middle)
        local.turn(shifted(np.flip(moved, axis=axis), tuple(step), np.nan))
        for s in (-1, 0, 1):
            step[axis] = s
            there, valid = local.at(tuple(step))
            counted = float((weight * valid).sum())
            if counted > 0.5 * total:
                best = max(best, float((weight * valid * there).sum()) / counted)
    return best
