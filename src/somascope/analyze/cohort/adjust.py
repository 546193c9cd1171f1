"""Chances of many comparisons at once."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from somascope.core.errors import ParameterError
from somascope.core.grid import Float

Correction: TypeAlias = Literal["holm", "bh", "bonferroni", "none"]


def adjusted(p: ArrayLike, method: Correction = "holm") -> Float:
    """P values corrected for their number, in their order; NaN stays and does not count.

    ``holm`` (Scand. J. Stat. 6, 1979) and ``bonferroni`` hold the chance of any false finding,
    ``bh`` (Benjamini and Hochberg, J. R. Stat. Soc. B 57, 1995) the share of false ones.
    """
    if method not in get_args(Correction):
        raise ParameterError(
            f"correction is {method!r}; choose one of {', '.join(get_args(Correction))}"
        )
    values = np.asarray(p, np.float64)
    out = np.full(values.shape, np.nan)
    there = np.flatnonzero(np.isfinite(values))
    given = values[there]
    if given.size and (given.min() < 0 or given.max() > 1):
        raise ParameterError(f"p values reach from {given.min():g} to {given.max():g}; give 0 to 1")
    n = given.size
    order = np.argsort(given, kind="stable")
    ranked = given[order]
    if method == "holm":
        made = np.maximum.accumulate(ranked * (n - np.arange(n)))
    elif method == "bh":
        made = np.minimum.accumulate((ranked * n / np.arange(1, n + 1))[::-1])[::-1]
    else:
        made = ranked * (n if method == "bonferroni" else 1)
    out[there[order]] = np.minimum(made, 1.0)
    return out
