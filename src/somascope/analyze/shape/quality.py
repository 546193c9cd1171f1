"""How good a shape model is: compactness, generalisation, specificity.

Davies, Twining, Cootes, Waterton and Taylor, IEEE TMI 21 (2002) 525-537. All three are told from
the shapes' inner products alone: a set of s shapes has at most s - 1 directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.core.grid import Float

SAMPLES = 400
"""Random shapes for the specificity."""


@dataclass(frozen=True, eq=False)
class Quality:
    """For each number of modes 1..k; ``(k,)`` each, and ``off`` ``(s,)``.

    ``off``: mm by which each shape left out is missed with all ``k`` modes.
    """

    compactness: Float
    generalisation: Float
    specificity: Float
    off: Float


def quality(shapes: Float, modes: int, *, seed: int = 0) -> Quality:
    """Of aligned shapes ``(s, n, d)``; distances are root mean squares over the points, mm."""
    s, n, _ = shapes.shape
    flat = (shapes - shapes.mean(axis=0)).reshape(s, -1)
    gram = flat @ flat.T
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(values)[::-1][: s - 1]
    values = np.maximum(values[order], 0)
    variances = values / (s - 1)
    k = min(modes, s - 2)
    compact = np.cumsum(variances) / variances.sum()
    errors = np.stack([_left_out(gram, i, k) for i in range(s)])
    errors = np.sqrt(np.maximum(errors, 0) / n)
    # Coordinates of the shapes along all directions: distances are distances of these.
    known = vectors[:, order] * np.sqrt(values)
    random = np.random.default_rng(seed).standard_normal((SAMPLES, len(variances)))
    random *= np.sqrt(variances)
    square = (known**2).sum(axis=1)
    specific = np.empty(k)
    for m in range(1, k + 1):
        made = random[:, :m]
        far = (made**2).sum(axis=1)[:, None] - 2 * made @ known[:, :m].T + square
        specific[m - 1] = np.sqrt(np.maximum(far.min(axis=1), 0) / n).mean()
    return Quality(compact[:k], errors.mean(axis=0), specific, errors[:, -1])


def _left_out(gram: Float, i: int, k: int) -> Float:
    """Squared distances of shape ``i`` to the models of 1..k modes made of the others."""
    rest = np.delete(np.arange(len(gram)), i)
    inner = gram[np.ix_(rest, rest)]
    row = inner.mean(axis=1)
    centred = inner - row[:, None] - row + row.mean()
    values, vectors = np.linalg.eigh(centred)
    values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
    # Of x_i less the others' mean: with each of them (centred), and with itself.
    across = gram[rest, i] - row
    across = across - across.mean()
    own = gram[i, i] - 2 * gram[rest, i].mean() + row.mean()
    along = (across @ vectors) / np.sqrt(np.maximum(values, 1e-9 * values[0]))
    return own - np.cumsum(along**2)
