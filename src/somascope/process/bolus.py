"""The bolus in a series of images: times, baseline, concentration, and the artery it comes by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.core import Image, Mask
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.process.entries import inside
from somascope.process.series import points

_SECONDS = {"s": 1.0, "ms": 1e-3, "min": 60.0, "us": 1e-6}


def seconds(image: Image, name: str, *, least: int = 8) -> tuple[Float, Float]:
    """Times in s ``(n,)`` from the first, rising, and values ``(n, ...)`` along the axis ``t``.

    Raises
    ------
    ParameterError
        No axis ``t``, too few times or equal ones, other leading axes, or values that are not
        finite.
    """
    x, values = points(image, "t", name, least=least)
    others = [a.name for a in image.axes if a.name != "t"]
    if any(n > 1 for n in values.shape[1:-3]):
        raise ParameterError(f"{name} takes one series and the image has the axes {others} too")
    unit = next(a.unit for a in image.axes if a.name == "t")
    if unit not in _SECONDS:
        raise ParameterError(f"{name}: the axis t is in {unit!r}; give its times in s")
    order = np.argsort(x, kind="stable")
    when = x[order] * _SECONDS[unit]
    values = np.real(values)[order] if (np.diff(order) < 0).any() else np.real(values)
    return when - when[0], values.reshape(len(when), *image.grid.shape)


def evenly(when: Float, rows: Float) -> tuple[float, Float]:
    """Time step, and rows ``(voxels, n)`` at even times (linear), where they were not even."""
    steps = np.diff(when)
    step = float(np.median(steps))
    if np.abs(steps - step).max() <= 0.02 * step:
        return float(steps.mean()), rows
    even = np.arange(round(when[-1] / step) + 1) * step
    even = even[even <= when[-1] * (1 + 1e-9)]
    at = np.clip(np.searchsorted(when, even, side="right") - 1, 0, len(when) - 2)
    share = (even - when[at]) / (when[at + 1] - when[at])
    return step, rows[:, at] * (1 - share) + rows[:, at + 1] * share


def arrival(rows: Float) -> int:
    """Number of samples before the bolus, 1 or more, told from curves ``(voxels, n)``.

    Each voxel that changes at least a fifth as much as the one that changes most (vessels) is
    followed back from its peak to a tenth of it; the earliest fiftieth (arteries) decides.
    """
    n = rows.shape[1]
    start = np.median(rows[:, : max(n // 12, 2)], axis=1, keepdims=True)
    change = np.abs(rows - start)
    top = change.max(axis=1)
    if not top.max() > 0:
        return max(n // 10, 1)
    some = change[top >= 0.2 * top.max()]
    at = np.argmax(some, axis=1)
    low = some <= 0.1 * some.max(axis=1, keepdims=True)
    before = np.where(low & (np.arange(n) < at[:, None]), np.arange(n), -1).max(axis=1)
    return min(max(int(np.quantile(before, 0.02, method="lower")), 1), n - 2)


def artery(rows: Float, count: int, *, wide: float = 0.1) -> Array:
    """Which rows ``(voxels, n)`` look most like an artery: their indices ``(count,)``, best first.

    Of the ``wide`` share with the highest peaks: high, early, narrow and smooth ones (the features
    of Mouridsen et al., Magn Reson Med 55:524, 2006), each judged by its place among them.
    """
    peaks = rows.max(axis=1)
    number = min(max(int(wide * len(rows)), 4 * count), len(rows))
    pool = np.argsort(-peaks, kind="stable")[:number]
    if not pool.size or not peaks[pool[0]] > 0:
        raise ParameterError("no voxel takes up tracer; there is no artery to find")
    some = rows[pool]
    top = peaks[pool]
    when = _centre(some)
    width = (some > 0.5 * top[:, None]).sum(axis=1)
    rough = np.abs(np.diff(some, 2, axis=1)).sum(axis=1) / top
    score = _place(top) - 2 * _place(when) - _place(width) - 0.5 * _place(rough)
    return pool[np.argsort(-score, kind="stable")[:count]]


def _centre(rows: Float) -> Float:
    """Mean time of what lies above three tenths of the peak: steadier than the peak's."""
    up = np.maximum(rows, 0)
    early = up * (up >= 0.3 * up.max(axis=1, keepdims=True))
    return (early * np.arange(rows.shape[1])).sum(axis=1) / np.maximum(early.sum(axis=1), 1e-300)


def _place(values: Array) -> Float:
    """Rank from 0 to 1; equal values share theirs."""
    sorted_ = np.sort(values)
    low, high = (np.searchsorted(sorted_, values, side) for side in ("left", "right"))
    return (low + high - 1) / (2 * max(len(values) - 1, 1))


def supply(
    concentrations: Float,
    chosen: Array,
    image: Image,
    masks: Sequence[Mask],
    *,
    segment: int,
    count: int,
    name: str,
) -> tuple[Float, Array]:
    """The arterial curve ``(n,)`` and the voxels it is the mean of (flat, bool).

    ``concentrations`` ``(voxels, n)`` are those of the chosen voxels (flat, bool); the mask's
    segment names the artery, without a mask it is found (`artery`).

    Raises
    ------
    GeometryError, ParameterError
        The mask lies on another grid, has no such segment, or covers no voxel.
    """
    where = np.zeros(len(chosen), bool)
    if masks:
        if len(masks) > 1:
            raise ParameterError(f"{name} takes one mask and was given {len(masks)}")
        if not masks[0].grid.allclose(image.grid):
            raise GeometryError(
                f"{name}: the mask lies on another grid than the image; resample it to the image's"
            )
        where = inside(masks[0], segment).reshape(-1) & chosen
        if not where.any():
            raise ParameterError(
                f"{name}: segment {segment} of the mask covers no voxel that takes part"
            )
    else:
        where[np.flatnonzero(chosen)[artery(concentrations, count)]] = True
    curve = concentrations[where[chosen]].mean(axis=0)
    if not curve.max() > 0:
        raise ParameterError(f"{name}: the artery takes up no tracer; choose another region")
    return curve, where
