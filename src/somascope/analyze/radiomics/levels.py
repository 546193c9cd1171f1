"""Grey levels: the values of a region in even bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array

MOST = 4096
"""Levels; a texture matrix has their square in entries."""


@dataclass(frozen=True, eq=False)
class Levels:
    """Discretised values.

    ``index`` ``(n,)`` are numbers from 1 into ``grey`` ``(m,)``, the levels that occur, rising;
    ``count`` is the highest level, those that do not occur included.
    """

    index: Array
    grey: Array

    @property
    def count(self) -> int:
        """IBSI's number of grey levels."""
        return int(self.grey[-1])

    @property
    def each(self) -> Array:
        """The level of every value, ``(n,)``."""
        return self.grey[self.index - 1]


def of_width(values: Array, width: float, *, lowest: float | None = None) -> Levels:
    """Bins ``width`` wide, the first of them level 1 (IBSI: fixed bin size).

    They start at ``lowest``, the lower end of a re-segmentation range. Without one they start at
    the multiple of ``width`` at or below the smallest value, so that the edges are the same for
    every region, as in pyradiomics.
    """
    start = np.floor(values.min() / width) if lowest is None else lowest / width
    number = np.floor(values / width - start) + 1
    if number.max() > 2**31:
        raise ParameterError(f"a bin width of {width:g} makes {number.max():.0f} bins; widen it")
    return _counted(np.maximum(number, 1))


def of_count(values: Array, count: int) -> Levels:
    """``count`` bins from the smallest to the largest value (IBSI: fixed bin number)."""
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return _counted(np.ones(values.size))
    number = np.floor(count * ((values - low) / (high - low))) + 1
    return _counted(np.minimum(number, count))


def _counted(number: Array) -> Levels:
    whole = number.astype(np.int64)
    top = int(whole.max())
    if top <= 1 << 20:
        occurs = np.bincount(whole, minlength=top + 1) > 0
        grey = np.flatnonzero(occurs)
        index = np.cumsum(occurs)[whole]
    else:
        grey, index = np.unique(whole, return_inverse=True)
        index = index + 1
    if grey.size > MOST:
        raise ParameterError(
            f"the region has {grey.size} grey levels and textures are made of at most {MOST}; "
            "widen the bins, or give their number"
        )
    return Levels(index.astype(np.int32), grey)
