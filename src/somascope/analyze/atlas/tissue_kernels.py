"""One pass over a brain: likelihood, prior and neighbours become each voxel's probabilities.

What the next estimate of the tissues needs is counted on the way: sums by slice, so that they are
the same however many processors there are.
"""

from __future__ import annotations

import numba
import numpy as np

from somascope.analyze.register.sharing import shared
from somascope.core.grid import Array


@numba.njit(nogil=True, fastmath=True, cache=True)
def _expect(
    start: int, stop: int, bins: Array, likelihood: Array, prior: Array, weight: Array,
    cost: Array, near: Array, old: Array, new: Array, counts: Array, wanted: Array,
) -> None:  # fmt: skip
    nz, ny, nx, n = old.shape
    local = prior.shape[0] > 1
    around = np.empty(n, np.float32)
    for z in range(start, stop):
        for y in range(ny):
            for x in range(nx):
                b = bins[z, y, x]
                if b < 0:
                    continue
                for c in range(n):
                    s = np.float32(0)
                    if z > 0:
                        s += near[0] * old[z - 1, y, x, c]
                    if z < nz - 1:
                        s += near[0] * old[z + 1, y, x, c]
                    if y > 0:
                        s += near[1] * old[z, y - 1, x, c]
                    if y < ny - 1:
                        s += near[1] * old[z, y + 1, x, c]
                    if x > 0:
                        s += near[2] * old[z, y, x - 1, c]
                    if x < nx - 1:
                        s += near[2] * old[z, y, x + 1, c]
                    around[c] = s
                total = np.float32(0)
                for c in range(n):
                    e = np.float32(0)
                    for d in range(n):
                        e += cost[c, d] * around[d]
                    p = likelihood[c, b] * weight[c] * np.exp(-e)
                    if local:
                        p *= prior[z, y, x, c]
                    new[z, y, x, c] = p
                    total += p
                for c in range(n):
                    p = new[z, y, x, c] / total if total > 0 else old[z, y, x, c]
                    new[z, y, x, c] = p
                    counts[z, c, b] += p
                if local:
                    before = np.float32(0)
                    for c in range(n):
                        before += prior[z, y, x, c] * weight[c]
                    for c in range(n):
                        wanted[z, c] += prior[z, y, x, c] / before


def expect(
    bins: Array, likelihood: Array, prior: Array, weight: Array, cost: Array, near: Array,
    old: Array, new: Array, counts: Array, wanted: Array,
) -> None:  # fmt: skip
    """Write the probabilities of all classes, given those of the neighbours before.

    Parameters
    ----------
    bins
        ``(nz, ny, nx)`` int16, column of ``likelihood`` of each voxel; -1 outside the brain.
    likelihood
        ``(classes, bins)`` float32.
    prior
        ``(nz, ny, nx, classes)`` float32, or ``(1, 1, 1, classes)`` where it is the same for all.
    weight
        ``(classes,)`` float32, factors on the prior.
    cost
        ``(classes, classes)`` float32: energy of neighbours (Potts; mean field).
    near
        ``(3,)`` float32: weight of a neighbour along z, y, x.
    old, new
        ``(nz, ny, nx, classes)`` float32; 0 outside the brain.
    counts
        ``(nz, classes, bins)`` float32: the probabilities' sum by slice, class and bin.
    wanted
        ``(nz, classes)`` float32: by slice, sum of ``prior_c / sum_d weight_d prior_d`` (Ashburner
        and Friston 2005); left alone where the prior is the same for all.
    """
    counts[...] = 0
    wanted[...] = 0
    shared(
        _expect, bins.shape[0], bins.size, bins, likelihood, prior, weight, cost, near, old, new,
        counts, wanted,
    )  # fmt: skip
