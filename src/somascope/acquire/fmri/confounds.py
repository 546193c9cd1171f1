"""Nuisances: what moves the signal and is not the task, as columns for a design.

Motion after Friston et al. (Magn. Reson. Med. 35 (1996) 346-355), components of the voxels that
vary most after Behzadi et al. (aCompCor and tCompCor, NeuroImage 37 (2007) 90-101).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from somascope.acquire.fmri.design import cosines
from somascope.acquire.fmri.realign import Motion
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

MotionColumns: TypeAlias = Literal["none", "6", "12", "24"]
_NAMES = ("trans_l", "trans_p", "trans_s", "rot_l", "rot_p", "rot_s")


def motion_columns(motion: Motion, count: MotionColumns) -> dict[str, Float]:
    """The six parameters; with their changes (12); with the squares of both (24).

    Columns without any change are left out: they would be zero.
    """
    if count == "none":
        return {}
    p = motion.parameters
    columns = {n: p[:, i] for i, n in enumerate(_NAMES)}
    if count in ("12", "24"):
        step = np.diff(p, axis=0, prepend=p[:1])
        columns |= {f"{n}_change": step[:, i] for i, n in enumerate(_NAMES)}
    if count == "24":
        columns |= {f"{n}_squared": v**2 for n, v in list(columns.items())}
    return {n: v for n, v in columns.items() if np.ptp(v) > 1e-9}


def spikes(framewise: Float, limit: float) -> dict[str, Float]:
    """A column for each scan whose framewise displacement is above ``limit`` mm (scrubbing)."""
    out: dict[str, Float] = {}
    for k in np.flatnonzero(framewise > limit):
        column = np.zeros(len(framewise))
        column[k] = 1
        out[f"scan_{k}"] = column
    return out


def components(
    data: Array, mask: Array, count: int, *, repetition: float, high_pass: float | None = 128.0
) -> dict[str, Float]:
    """The strongest ``count`` courses of the voxels in ``mask``, slow drifts taken off first.

    With a mask of white matter and fluid this is aCompCor; `noisy_voxels` gives that of tCompCor.
    Each voxel counts alike (unit variance). Unit norm, named ``comp_1``...
    """
    y = data[:, mask].astype(np.float64)
    scans = len(y)
    slow = np.ones((scans, 1)) / np.sqrt(scans)
    if high_pass is not None:
        slow = np.concatenate([slow, cosines(scans, repetition, period=high_pass)], axis=1)
    y = y - slow @ (slow.T @ y)
    size = np.linalg.norm(y, axis=0)
    y = y[:, size > 1e-9 * max(float(size.max(initial=0)), 1e-300)]
    if y.shape[1] < count or count > scans - slow.shape[1]:
        raise ParameterError(
            f"{count} components of {y.shape[1]} voxels that vary over {scans} scans; ask fewer or "
            "give a larger mask"
        )
    y = y / np.linalg.norm(y, axis=0)
    values, vectors = np.linalg.eigh(y @ y.T)
    best = vectors[:, np.argsort(values)[::-1][:count]]
    # A sign of its own: the largest entry is positive.
    best = best * np.sign(best[np.abs(best).argmax(axis=0), np.arange(count)])
    return {f"comp_{k + 1}": best[:, k] for k in range(count)}


def noisy_voxels(data: Array, mask: Array, share: float = 0.02) -> Array:
    """The ``share`` of ``mask`` with the greatest temporal variance (tCompCor)."""
    spread = np.where(mask, data.std(axis=0), 0)
    return mask & (spread >= np.quantile(spread[mask], 1 - share))
