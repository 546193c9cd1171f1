"""What would have to be different: the smallest regions whose removal changes the answer.

A region is not blackened, which no image is, but filled in from its border: by the harmonic
function, the one with the least slope (Laplace's equation; Bertalmio et al., SIGGRAPH 2000, call
it inpainting). Regions are superpixels (SLIC: Achanta et al., IEEE PAMI 34, 2012). After Chang et
al., ICLR 2019.

A filled region has no texture. A network that looks for texture may take the smooth spot itself
for a sign; `Counterfactual.by_chance` says how often other regions of that many do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.learn.explain.target import Score

SCALES = (4, 8, 16, 32, 64)
"""Superpixels that the image is parted into, each count in turn."""
LARGEST = 0.5
"""Part of the image that may be filled in."""
MOST = 6
"""Regions that are put together."""
CANDIDATES = 6
"""Regions that are tried for each of them."""
CHANCE = 12
"""Moved copies that a found region is held against."""
DIRECT = 4000
"""Unknowns up to which the equation is solved directly."""


@dataclass(frozen=True)
class Counterfactual:
    """The regions found.

    Parameters
    ----------
    region
        Bool, the space of the input: what is filled in.
    filled
        The input ``(c, ...)`` with that done.
    flipped
        Whether the answer is another one then; if not, ``region`` is the best that was found, or
        empty where the answer was another one to begin with.
    before, after
        The score.
    share
        Of the image that the region is.
    by_chance
        How many copies of the region, moved to elsewhere, change the answer too; NaN where there
        is no elsewhere.
    """

    region: Array
    filled: Array
    flipped: bool
    before: float
    after: float
    share: float
    by_chance: float


def harmonic(values: Array, region: Array) -> Array:
    """``values`` ``(c, ...)`` with ``region`` ``(...)`` bool filled in from its border.

    Solves Laplace's equation on the lattice, directly up to `DIRECT` pixels, else to a ten
    thousandth by conjugate gradients; at the edge of the image nothing flows.

    Raises
    ------
    ParameterError
        Nothing is left to fill in from.
    """
    from scipy import sparse
    from scipy.sparse.linalg import cg, spsolve

    if not region.any():
        return np.array(values)
    if region.all():
        raise ParameterError("the whole image is to be filled in; leave some of it")
    number = np.full(region.shape, -1)
    count = int(region.sum())
    number[region] = np.arange(count)
    flat = values.reshape(len(values), -1).astype(np.float64)
    rows: list[Array] = []
    columns: list[Array] = []
    degree = np.zeros(count)
    given = np.zeros((len(values), count))
    place = np.arange(region.size).reshape(region.shape)
    for axis in range(region.ndim):
        low = tuple(slice(0, -1) if a == axis else slice(None) for a in range(region.ndim))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(region.ndim))
        for here, there in ((low, high), (high, low)):
            mine = number[here] >= 0
            own, other = number[here][mine], number[there][mine]
            np.add.at(degree, own, 1)
            inside = other >= 0
            rows.append(own[inside])
            columns.append(other[inside])
            border = place[there][mine][~inside]
            for c in range(len(values)):
                np.add.at(given[c], own[~inside], flat[c, border])
    row, column = np.concatenate(rows), np.concatenate(columns)
    system = sparse.csc_matrix(
        (np.concatenate([degree, -np.ones(len(row))]),
         (np.concatenate([np.arange(count), row]), np.concatenate([np.arange(count), column]))),
        shape=(count, count),
    )  # fmt: skip
    result = np.array(values)
    if count <= DIRECT:
        result[:, region] = np.asarray(spsolve(system, given.T)).reshape(count, len(values)).T
        return result
    for c in range(len(values)):
        solved, _ = cg(system, given[c], x0=flat[c, region.reshape(-1)], rtol=1e-4)
        result[c, region] = solved
    return result


def superpixels(values: Array, *, count: int = 64) -> Array:
    """About ``count`` regions ``(...)`` of an input ``(c, ...)``, numbered from 0, alike inside."""
    from skimage.segmentation import slic

    low, high = np.percentile(values, (0.5, 99.5))
    shown = np.clip((values - low) / max(float(high - low), 1e-9), 0, 1).astype(np.float64)
    found = slic(
        np.moveaxis(shown, 0, -1), n_segments=count, compactness=0.1, sigma=1.0,
        channel_axis=-1, start_label=0, convert2lab=False,
    )  # fmt: skip
    _, numbered = np.unique(found, return_inverse=True)
    return numbered.reshape(values.shape[1:])


def candidates(values: Array) -> list[Array]:
    """Regions ``(...)`` bool of an input ``(c, ...)`` at all `SCALES`, each a pixel wider than its
    superpixel, so that the border it is filled from is no longer of it.

    Both small ones and large ones: half an object, filled in from its other half, is still there.
    """
    from scipy.ndimage import binary_dilation

    found: dict[bytes, Array] = {}
    for count in SCALES:
        parts = superpixels(values, count=count)
        for k in range(int(parts.max()) + 1):
            region = np.asarray(binary_dilation(parts == k), bool)
            if region.mean() <= LARGEST:
                found.setdefault(np.packbits(region).tobytes(), region)
    return list(found.values())


def counterfactual(
    score: Score,
    x: torch.Tensor,
    *,
    turn: float,
    regions: Sequence[Array] = (),
    seed: int = 0,
    progress: Progress = QUIET,
) -> Counterfactual:
    """A region of the input ``(1, c, ...)`` that, filled in, brings the score below ``turn``.

    The smallest of the ``regions`` (default: `candidates`) that does; where none does, the best
    and what helps it most, up to `MOST` and `LARGEST` of the image. Then superpixels of it that
    are not needed are given back. Not proven to be the smallest: there are too many to try all.
    """
    values = x[0].numpy()
    tried = list(regions) or candidates(values)
    if not tried:
        raise ParameterError("the image has no region to fill in; give one")

    def said(region: Array) -> float:
        made = harmonic(values, region)
        with torch.inference_mode():
            return float(score(torch.from_numpy(np.array(made, np.float32)[None]))[0])

    with torch.inference_mode():
        before = float(score(x)[0])
    if before < turn:  # nothing to change
        none = np.zeros(x.shape[2:], bool)
        return Counterfactual(none, values, False, before, before, 0.0, float("nan"))
    alone = np.array([said(r) for r in progress.over(tried, "regions")])
    sizes = np.array([r.mean() for r in tried])
    turning = np.flatnonzero(alone < turn)
    best = int(turning[sizes[turning].argmin()]) if len(turning) else int(alone.argmin())
    region, after = tried[best], float(alone[best])
    order = np.argsort(alone, kind="stable")[: 2 * CANDIDATES]
    for _ in range(MOST):
        others = [
            u for k in order if (u := region | tried[k]).mean() <= LARGEST and (u & ~region).any()
        ]
        if after < turn or not others:
            break
        scores = [said(u) for u in others[:CANDIDATES]]
        region, after = others[int(np.argmin(scores))], min(scores)
    if after < turn:
        region, after = _given_back(region, after, superpixels(values), turn, said)
    lucky = _by_chance(region, turn, said, seed)
    return Counterfactual(
        region, harmonic(values, region), after < turn, before, after, float(region.mean()), lucky
    )


def _given_back(
    region: Array, after: float, parts: Array, turn: float, said: Callable[[Array], float]
) -> tuple[Array, float]:
    """The region without the superpixels that are not needed, the least covered first."""
    inside = [(float(region[parts == k].mean()), k) for k in np.unique(parts[region])]
    for _, k in sorted(inside):
        fewer = region & (parts != k)
        if fewer.any() and (value := said(fewer)) < turn:
            region, after = fewer, value
    return region, after


def _by_chance(region: Array, turn: float, said: Callable[[Array], float], seed: int) -> float:
    """How many copies of the region, moved to elsewhere, turn the answer too."""
    rng = np.random.default_rng(seed)
    moved: list[Array] = []
    axes = tuple(range(region.ndim))
    for _ in range(20 * CHANCE):
        other = np.roll(region, [int(rng.integers(n)) for n in region.shape], axis=axes)
        if len(moved) < CHANCE and (other & region).sum() < 0.3 * region.sum():
            moved.append(other)
    return float(np.mean([said(m) < turn for m in moved])) if moved else float("nan")
