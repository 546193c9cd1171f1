"""Which lesion is which: prior lesions, carried over, against those of the current examination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somascope.analyze.longitudinal.lesions import Lesion, shared
from somascope.analyze.measure.regions import Region
from somascope.core.grid import Float

INSIDE = 0.5
"""Share of a lesion that has to lie in another to have split from it, or merged with it."""


@dataclass(frozen=True)
class Match:
    """Indices of prior and current lesions.

    ``pairs`` belong together one to one, with a score from 0 to 1 (half for the overlap, half for
    how near their centres are); ``split[j]`` is the prior lesion that the current one is a further
    part of, ``merged[i]`` the current one in which a prior lesion went; ``resolved`` prior ones
    have no counterpart, ``new`` current ones had none; ``unseen`` lie outside the current image.
    """

    pairs: tuple[tuple[int, int, float], ...]
    split: dict[int, int]
    merged: dict[int, int]
    resolved: tuple[int, ...]
    new: tuple[int, ...]
    unseen: tuple[int, ...]


def match(
    carried: Sequence[Region | None],
    places: Float,
    current: Sequence[Lesion],
    *,
    reach: float = 10.0,
) -> Match:
    """Pair lesions so that the sum of scores is largest.

    Parameters
    ----------
    carried
        Prior lesions on the current grid; None where one lies outside it.
    places
        Their centres in the current frame, LPS mm ``(n, 3)``.
    current
        Lesions of the current examination, on the same grid.
    reach
        mm from centre to centre within which lesions that do not overlap may be the same.
    """
    from scipy.optimize import linear_sum_assignment

    n, m = len(carried), len(current)
    common = np.zeros((n, m))
    score = np.zeros((n, m))
    sizes = [0 if c is None else int(np.count_nonzero(c.inside)) for c in carried]
    others = [int(np.count_nonzero(c.region.inside)) for c in current]
    centres = [c.centre for c in current]
    for i, region in enumerate(carried):
        for j, lesion in enumerate(current):
            if region is None:
                continue
            common[i, j] = shared(region, lesion.region)
            near = max(0.0, 1.0 - float(np.linalg.norm(places[i] - centres[j])) / reach)
            score[i, j] = 0.5 * common[i, j] / min(sizes[i], others[j]) + 0.5 * near
    rows, columns = linear_sum_assignment(score, maximize=True)
    pairs = [
        (int(i), int(j), float(score[i, j]))
        for i, j in zip(rows, columns, strict=True)
        if score[i, j] > 0
    ]
    taken, found = {i for i, _, _ in pairs}, {j for _, j, _ in pairs}
    split: dict[int, int] = {}
    for j in range(m):
        if j not in found and n:
            i = int(np.argmax(common[:, j]))
            if common[i, j] >= INSIDE * others[j]:
                split[j] = i
    merged: dict[int, int] = {}
    for i in range(n):
        if i not in taken and carried[i] is not None and m:
            j = int(np.argmax(common[i]))
            if common[i, j] >= INSIDE * sizes[i]:
                merged[i] = j
    unseen = tuple(i for i, c in enumerate(carried) if c is None)
    resolved = tuple(i for i in range(n) if i not in taken and i not in merged and i not in unseen)
    new = tuple(j for j in range(m) if j not in found and j not in split)
    return Match(tuple(pairs), split, merged, resolved, new, unseen)
