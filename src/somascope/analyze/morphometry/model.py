"""One effect at every voxel, others held constant, judged by rearranging people.

Freedman and Lane, J. Bus. Econ. Stat. 1 (1983); Winkler et al., NeuroImage 92 (2014) 381-397: what
the nuisance leaves of the maps is rearranged, and the whole model fitted again.
"""

from __future__ import annotations

from math import factorial
from typing import Literal

import numpy as np

from somascope.acquire.fmri.permutation import Permuted, judged
from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float


def rearranged(
    y: Array,
    effect: Array,
    near: Array,
    *,
    nuisance: Float | None = None,
    permutations: int = 1000,
    seed: int = 0,
    sides: Literal["positive", "negative", "both"] = "both",
    enhance: bool = True,
    progress: Progress = QUIET,
) -> Permuted:
    """The t of ``effect`` with ``nuisance`` and a constant beside it, and its corrected chances.

    Parameters
    ----------
    y
        ``(people, v)``.
    effect
        ``(people,)``: age, or 0 and 1 for two groups.
    near
        `acquire.fmri.permutation.neighbours` of the voxels.
    nuisance
        ``(people, k)``.
    sides
        ``negative``: voxels that fall with the effect.

    Raises
    ------
    ParameterError
        Too few people, or an effect that the nuisance explains.
    """
    x = np.asarray(effect, np.float64)
    n = len(x)
    z = np.ones((n, 1))
    if nuisance is not None and np.asarray(nuisance).size:
        z = np.concatenate([z, np.asarray(nuisance, np.float64).reshape(n, -1)], axis=1)
    data = np.asarray(y, np.float64)
    if data.shape[0] != n or not np.isfinite(x).all() or not np.isfinite(z).all():
        raise ParameterError(f"{data.shape[0]} maps, {n} values of the effect, not all finite")
    free = n - z.shape[1] - 1
    if free < 2:
        raise ParameterError(
            f"{n} people do not determine the effect and {z.shape[1]} other coefficients"
        )
    q, r = np.linalg.qr(z)
    if np.abs(np.diag(r)).min() < 1e-9 * np.abs(np.diag(r)).max():
        raise ParameterError("the covariates explain each other; leave one out")
    own = x - q @ (q.T @ x)
    if own @ own <= 1e-9 * float(((x - x.mean()) ** 2).sum()) or np.ptp(x) == 0:
        raise ParameterError(
            "the effect does not vary, or the covariates explain it (a group that is one site?)"
        )
    own /= np.sqrt(own @ own)
    left = data - q @ (q.T @ data)
    whole = (left**2).sum(axis=0)
    sign = -1.0 if sides == "negative" else 1.0
    orders, exact = _orders(n, permutations, seed)

    def statistic(rows: Float) -> Float:
        """Rows of orders to t; ``order[i]`` is whose residual stands in place i."""
        which = rows.astype(int)
        back = np.argsort(which, axis=1)
        along = own[back] @ left
        explained = sum((q[back, j] @ left) ** 2 for j in range(q.shape[1]))
        spread = (whole - explained - along**2) / free
        good = spread > 1e-12 * whole / n
        t = np.divide(along, np.sqrt(np.maximum(spread, 0)), out=np.zeros_like(along), where=good)
        return sign * t

    found = judged(
        statistic, orders, near, exact=exact, sides="both" if sides == "both" else "positive",
        enhance=enhance, progress=progress,
    )  # fmt: skip
    if sign > 0:
        return found
    return Permuted(-found.t, -found.tfce, found.p_t, found.p_tfce, found.permutations, exact)


def _orders(n: int, wanted: int, seed: int) -> tuple[Float, bool]:
    """Orders of people, the given one first; all of them where they are few."""
    if n <= 8 and factorial(n) <= wanted:
        from itertools import permutations

        return np.array(list(permutations(range(n))), float), True
    rng = np.random.default_rng(seed)
    rows = np.stack([np.arange(n), *(rng.permutation(n) for _ in range(wanted - 1))])
    return rows.astype(float), False
