"""Class probabilities that come band by band, brought back to the image's grid and decided there.

The lattice of a network has the axes of the image's grid, in another order, direction and step.
Slices of the image are interpolated as soon as both of their neighbours have come, all classes at
once, and of what was said of them only the label is kept: no class map of the whole is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np

from somascope.core import Grid
from somascope.core.grid import Array, Float
from somascope.process.chunks import in_chunks

DEEP = 16
"""Slices that are put in place together: along another axis of the image they share its memory."""


@dataclass(frozen=True)
class _Along:
    """For each index of the image along one axis of the network: its neighbour below (-1: the image
    is beyond the network's lattice there) and how far it is from it, in steps of the network.
    """

    below: Array
    beyond: Array

    @classmethod
    def of(cls, position: Float, size: int) -> _Along:
        # The hair of slack keeps voxels that only rounding pushed across the edge.
        inside = (position > -0.500001) & (position < size - 0.499999)
        held = np.clip(position, 0, size - 1)
        below = np.floor(held).astype(np.int64)
        return cls(np.where(inside, below, -1), (held - below).astype(np.float32))


def returned(
    found: Iterator[tuple[int, Array]],
    grid: Grid,
    wanted: Grid,
    *,
    classes: int,
    threshold: float,
    keep: bool = False,
) -> tuple[Array, Array | None]:
    """Labels ``(z, y, x)`` on ``wanted``, and the probabilities ``(classes - 1, z, y, x)``.

    Linear between the voxels of ``grid``, along whose axes those of ``wanted`` run; beyond it is
    background.

    Parameters
    ----------
    found
        First slice and probabilities ``(classes, n, y, x)`` on ``grid``, in order and without gaps.
    classes
        With the background, which is the first.
    threshold
        Probability from which the only class is said; of several it is the most probable.
    keep
        Whether the probabilities are wanted, too.
    """
    affine = np.linalg.inv(grid.affine) @ wanted.affine
    order = _axes(affine)
    place = [
        _Along.of(affine[a, b] * np.arange(wanted.shape[b]) + affine[a, 3], grid.shape[a])
        for a, b in enumerate(order)
    ]
    labels = np.zeros(wanted.shape, np.uint8 if classes <= 256 else np.uint16)
    kept = np.zeros((classes - 1, *wanted.shape), np.float32) if keep else None
    turned = labels.transpose(order)
    spoken = None if kept is None else kept.transpose(0, *(1 + b for b in order))
    planes = turned.shape[1:]
    room = np.zeros((DEEP, *planes), np.uint16)
    said = np.zeros((DEEP, classes - 1 if keep else 0, *planes), np.float32)
    z = place[0]
    waiting = np.flatnonzero(z.below >= 0)
    waiting = waiting[np.argsort(z.below[waiting] + z.beyond[waiting], kind="stable")]
    last = np.zeros((classes, *grid.shape[1:]), np.float32)
    for start, band in found:
        stop = start + band.shape[1]
        upper = np.minimum(z.below[waiting] + (z.beyond[waiting] > 0), grid.shape[0] - 1)
        ready = waiting[upper < stop]
        waiting = waiting[len(ready) :]

        for first in range(0, len(ready), DEEP):
            some = ready[first : first + DEEP]
            for n, i in enumerate(some):
                k, t = int(z.below[i]), z.beyond[i]
                plane = band[:, k - start] if k >= start else last
                if t > 0:
                    plane = plane + t * (band[:, k + 1 - start] - plane)
                in_chunks(
                    _decided, planes[0], np.ascontiguousarray(plane), place[1].below,
                    place[1].beyond, place[2].below, place[2].beyond, float(threshold), room[n],
                    said[n],
                )  # fmt: skip
            turned[some] = room[: len(some)]
            if spoken is not None:
                spoken[:, some] = said[: len(some)].swapaxes(0, 1)
        last = band[:, -1].copy()
    return labels, kept


def _axes(affine: Float) -> tuple[int, int, int]:
    """Which axis of the image runs along each of the network's."""
    steps = np.abs(affine[:3, :3])
    z, y, x = (int(b) for b in steps.argmax(axis=1))
    assert sorted((z, y, x)) == [0, 1, 2]  # a preparation turns by right angles only
    return z, y, x


@numba.njit(nogil=True, cache=True)
def _decided(
    start: int, stop: int, plane: Array, iy: Array, ty: Array, ix: Array, tx: Array,
    threshold: float, out: Array, said: Array,
) -> None:  # fmt: skip
    classes, ny, nx = plane.shape
    row = np.empty((classes, nx), np.float32)
    for y in range(start, stop):
        a, t = iy[y], ty[y]
        if a < 0:
            out[y] = 0
            said[:, y] = 0
            continue
        b = min(a + 1, ny - 1)
        for k in range(classes):
            for x in range(nx):
                row[k, x] = plane[k, a, x] + t * (plane[k, b, x] - plane[k, a, x])
        for x in range(ix.size):
            i = ix[x]
            label, best = 0, np.float32(-1)
            if i >= 0:
                j, u = min(i + 1, nx - 1), tx[x]
                for k in range(classes):
                    p = row[k, i] + u * (row[k, j] - row[k, i])
                    if p > best:
                        label, best = k, p
                    if k > 0 and said.shape[0] > 0:
                        said[k - 1, y, x] = p
                if classes == 2:
                    p = row[1, i] + u * (row[1, j] - row[1, i])
                    label = 1 if p >= threshold else 0
            elif said.shape[0] > 0:
                said[:, y, x] = 0
            out[y, x] = label
