"""How well boxes were found: average precision (Everingham et al., VOC 2010, all points), FROC."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.core.grid import Array, Float
from somascope.models.detect import overlap


def matched(
    found: Sequence[Float], truth: Sequence[Float], *, kind: int, least: float = 0.5
) -> tuple[Array, Float, int]:
    """Which finds are right, in falling order of score; their scores; how many there were.

    ``found`` rows are y0, x0, y1, x1, class, score; ``truth`` rows y0, x0, y1, x1, class; one
    array for each image. Every true box is found once, by the surest find that overlaps it most.
    """
    rows: list[tuple[float, int, int]] = []
    total = 0
    for i, (f, t) in enumerate(zip(found, truth, strict=True)):
        total += int((t[:, 4] == kind).sum())
        rows += [(float(f[j, 5]), i, int(j)) for j in np.nonzero(f[:, 4] == kind)[0]]
    rows.sort(key=lambda r: (-r[0], r[1], r[2]))
    taken = [np.zeros(len(t), bool) for t in truth]
    right = np.zeros(len(rows), bool)
    for n, (_, i, j) in enumerate(rows):
        there = np.nonzero(truth[i][:, 4] == kind)[0]
        if not len(there):
            continue
        over = overlap(found[i][j : j + 1, :4], truth[i][there, :4])[0]
        best = int(over.argmax())
        if over[best] >= least and not taken[i][there[best]]:
            taken[i][there[best]] = True
            right[n] = True
    return right, np.array([r[0] for r in rows]), total


def average_precision(
    found: Sequence[Float], truth: Sequence[Float], *, kind: int, least: float = 0.5
) -> float:
    """Area under precision over recall, precision made to fall; NaN where nothing was there."""
    right, _, total = matched(found, truth, kind=kind, least=least)
    if not total:
        return float("nan")
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.append(0.0, hits / total)
    return float((np.diff(recall) * precision).sum())


def froc(
    found: Sequence[Float],
    truth: Sequence[Float],
    *,
    kind: int,
    least: float = 0.5,
    at: Sequence[float] = (0.125, 0.25, 0.5, 1, 2, 4, 8),
) -> Float:
    """Sensitivity at numbers of false finds per image (their mean is the CPM of LUNA16)."""
    right, _, total = matched(found, truth, kind=kind, least=least)
    false = np.cumsum(~right) / max(len(truth), 1)
    hits = np.cumsum(right) / max(total, 1)
    return np.array([float(hits[false <= a].max(initial=0.0)) for a in at])
