"""Detection by centre points (Zhou et al., Objects as Points, 2019): peaks become boxes.

Corners are edges in voxels: a box of the first voxel alone runs from 0 to 1. Their order is that of
the array, lower corner first: y0, x0, y1, x1 in pictures, z0, y0, x0, z1, y1, x1 in volumes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, cast

import numpy as np

from somascope.core import QUIET, Box, Finding, Grid, Image, Progress
from somascope.core.errors import Refused
from somascope.core.grid import Array, Float
from somascope.models.candidates import judged
from somascope.models.card import NetworkCard
from somascope.models.engine import Engine
from somascope.models.prepare import padded, prepared
from somascope.models.seen import history, instances
from somascope.models.tiles import bands

MOST = 500
"""Boxes of one image."""
CANDIDATES = 5000
"""Peaks of a volume that are kept while it is looked through."""
SAME = {2: 0.5, 3: 0.3}
"""Overlap from which two boxes of a class are one object: boxes in volumes overlap less."""


def peaks(
    maps: Array, *, classes: int, stride: int, threshold: float, most: int = MOST
) -> tuple[Float, Float, Array]:
    """Boxes from a detector's maps.

    Parameters
    ----------
    maps
        ``(classes + 2 d, *cells)`` with ``d`` axes of space: logits of a centre per class; then
        log2 of the sides in cells, and the centre's offset in cells, each in the order of the axes.
    stride
        Pixels per cell.

    Returns
    -------
    tuple
        Corners ``(n, 2 d)`` in pixels, scores ``(n,)``, classes ``(n,)``; the best first.
    """
    heat = 1.0 / (1.0 + np.exp(-maps[:classes].astype(np.float64)))
    return _best(*_tops(heat, maps[classes:], stride=stride, threshold=threshold), most=most)


def _tops(
    heat: Array, rest: Array, *, stride: int, threshold: float, inner: slice = slice(None),
    first: int = 0,
) -> tuple[Float, Float, Array]:  # fmt: skip
    """Boxes at the local maxima of ``heat``, of its planes ``inner`` only; plane 0 is ``first``."""
    from scipy.ndimage import maximum_filter

    d = heat.ndim - 1
    top = maximum_filter(heat, size=(1, *[3] * d), mode="constant")
    good = (heat >= threshold) & (heat == top)
    counted = np.zeros(good.shape[1], bool)
    counted[inner] = True
    good &= counted.reshape(1, -1, *[1] * (d - 1))
    k, *at = np.nonzero(good)
    score = heat[(k, *at)].astype(np.float64)
    said = rest[(slice(None), *at)].astype(np.float64)
    size = np.exp2(np.clip(said[:d], -4, 12))
    centre = np.stack(at) + 0.5 + said[d:]
    centre[0] += first
    return np.concatenate([centre - size / 2, centre + size / 2]).T * stride, score, k


def _best(
    corners: Float, score: Float, kind: Array, *, most: int
) -> tuple[Float, Float, Array]:  # fmt: skip
    order = np.lexsort((*corners.T[::-1], kind, -score))[:most]
    return corners[order], score[order], kind[order]


def overlap(a: Float, b: Float) -> Float:
    """Intersection over union of corners ``(n, 2 d)`` and ``(m, 2 d)``: ``(n, m)``.

    The same in voxels and in millimetres, whatever the spacing.
    """
    d = a.shape[1] // 2
    low = np.maximum(a[:, None, :d], b[None, :, :d])
    high = np.minimum(a[:, None, d:], b[None, :, d:])
    inter = np.prod(np.maximum(high - low, 0.0), axis=-1)
    area = [np.prod(np.maximum(c[:, d:] - c[:, :d], 0.0), axis=-1) for c in (a, b)]
    return inter / np.maximum(area[0][:, None] + area[1][None, :] - inter, 1e-12)


def suppressed(corners: Float, score: Float, kind: Array, *, most: float = 0.5) -> Array:
    """Indices kept by greedy non-maximum suppression within each class, the best first."""
    order = np.argsort(-score, kind="stable")
    gone = np.zeros(len(order), bool)
    keep: list[int] = []
    for i in order:
        if gone[i]:
            continue
        keep.append(int(i))
        gone |= (kind == kind[i]) & (overlap(corners[i : i + 1], corners)[0] > most)
    return np.asarray(keep, dtype=np.int64)


def calibrated(
    score: Float, kind: Array, *, temperature: float, offsets: Sequence[float] = ()
) -> Float:
    """Scores as frequencies: ``sigmoid(logit / temperature + offset of the class)`` (Platt, 1999).

    Order within a class stays as it was.
    """
    if temperature == 1.0 and not offsets:
        return score
    p = np.clip(score, 1e-9, 1 - 1e-9)
    z = np.log(p / (1 - p)) / temperature
    z += np.asarray(offsets)[kind] if len(offsets) else 0.0
    return 1.0 / (1.0 + np.exp(-z))


def least_raw(card: NetworkCard, threshold: float) -> float:
    """The score of a network that is ``threshold`` or more for no class once it is calibrated."""
    if card.temperature == 1.0 and not card.offsets:
        return threshold
    p = min(max(threshold, 1e-9), 1 - 1e-9)
    z = card.temperature * (np.log(p / (1 - p)) - max(card.offsets, default=0.0))
    return float(1.0 / (1.0 + np.exp(-z)))


def boxes(
    card: NetworkCard,
    engine: Engine,
    image: Image,
    *,
    threshold: float | None = None,
    progress: Progress = QUIET,
) -> tuple[Float, Float, Array]:
    """Corners ``(n, 2 d)`` in the image's own voxels; calibrated scores; classes; the best first.

    A volume is looked through in tiles of the card's patch; where they overlap their maps are
    blended, so that an object in two tiles is one, and no more than a band of tiles is held.
    """
    wanted = card.threshold if threshold is None else threshold
    ready = prepared(image, card.preparation, channels=card.channels)
    look = judged if card.features is not None else _whole if card.dimensions == 2 else _tiled
    grid, corners, raw, kind = look(card, engine, ready, least_raw(card, wanted), progress)
    score = calibrated(raw, kind, temperature=card.temperature, offsets=card.offsets)
    good = score >= wanted
    corners, score, kind = _best(corners[good], score[good], kind[good], most=CANDIDATES)
    keep = suppressed(corners, score, kind, most=SAME[card.dimensions])[:MOST]
    corners, score, kind = corners[keep], score[keep], kind[keep]
    limit = np.asarray(image.grid.shape[3 - card.dimensions :], np.float64)
    mapped = carried(corners, grid, image.grid)
    d = card.dimensions
    mapped = np.clip(mapped, 0.0, np.concatenate([limit, limit]))
    solid = (mapped[:, d:] - mapped[:, :d]).min(axis=1, initial=np.inf) >= 1.0
    if d == 3:  # slices may be thicker than what lies in them
        mapped = _grown(mapped, limit)
        solid = (mapped[:, d:] - mapped[:, :d]).min(axis=1, initial=np.inf) > 0.0
    return mapped[solid], score[solid], kind[solid]


def _grown(corners: Float, limit: Float) -> Float:
    """Boxes of one voxel or more along every axis, within the image, about where they were."""
    low, high = corners[:, :3], corners[:, 3:]
    thin = (high > low) & (high - low < 1.0)
    start = np.clip((low + high) / 2 - 0.5, 0.0, limit - 1.0)
    low = np.where(thin, start, low)
    return np.concatenate([low, np.where(thin, low + 1.0, high)], axis=1)


def carried(corners: Float, grid: Grid, wanted: Grid) -> Float:
    """Corners of one grid as the box around them in another one; exact where axes are parallel."""
    d = corners.shape[1] // 2
    ends: list[Float] = []
    for sides in product((0, 1), repeat=d):
        index = np.zeros((len(corners), 3))
        for axis, side in enumerate(sides):
            index[:, 3 - d + axis] = corners[:, axis + d * side] - 0.5
        ends.append(wanted.to_index(grid.to_world(index))[:, 3 - d :] + 0.5)
    every = np.stack(ends)
    return np.concatenate([every.min(axis=0), every.max(axis=0)], axis=1)


def _said(card: NetworkCard, engine: Engine, data: Array) -> Array:
    """The maps of one input ``(c, *space)``."""
    maps = engine({"image": np.ascontiguousarray(data[None])})[0]
    d = data.ndim - 1
    wanted = (1, len(card.classes) + 2 * d, *(n // card.stride for n in data.shape[1:]))
    if maps.shape != wanted:
        raise Refused(
            f"{card.name} answers {maps.shape} where {wanted} is due; the card and the graph do "
            "not belong together"
        )
    return maps[0]


def _whole(
    card: NetworkCard, engine: Engine, ready: Image, least: float, progress: Progress
) -> tuple[Grid, Float, Float, Array]:
    """A picture in one pass."""
    step = 8 * card.stride
    shape = tuple(-(-n // step) * step for n in ready.grid.shape[1:])
    full = padded(ready, (1, shape[0], shape[1]), edge=True)
    progress(0.5, card.name)
    maps = _said(card, engine, full.data[:, 0])
    found = peaks(maps, classes=len(card.classes), stride=card.stride, threshold=least)
    return full.grid, *found


def _tiled(
    card: NetworkCard, engine: Engine, ready: Image, least: float, progress: Progress
) -> tuple[Grid, Float, Float, Array]:
    """A volume tile by tile, as `streamed` sees it."""
    if len(card.patch) != 3 or any(n % card.stride for n in card.patch):
        raise Refused(
            f"{card.name} has the patch {card.patch} and the stride {card.stride} on its card; a "
            "detector in volumes needs three edges, each a multiple of the stride"
        )
    shape = tuple(
        -(-max(n, t) // card.stride) * card.stride
        for n, t in zip(ready.grid.shape, card.patch, strict=True)
    )
    full = padded(ready, (shape[0], shape[1], shape[2]), edge=True)
    found = streamed(
        full.data, lambda part: _said(card, engine, part), classes=len(card.classes),
        tile=card.patch, stride=card.stride, overlapping=card.overlap, threshold=least,
        progress=progress,
    )  # fmt: skip
    return full.grid, *found


class _Cells:
    """A volume ``(c, z, y, x)`` of which `bands` counts the cells, and is given their voxels."""

    def __init__(self, data: Array, stride: int) -> None:
        self.data, self.stride = data, stride
        self.shape = (len(data), *(n // stride for n in data.shape[1:]))

    def __getitem__(self, key: tuple[slice, ...]) -> Array:
        lead, *space = key
        s = self.stride
        return self.data[(lead, *(slice(k.start * s, k.stop * s) for k in space))]


def streamed(
    data: Array,
    run: Callable[[Array], Array],
    *,
    classes: int,
    tile: Sequence[int],
    stride: int,
    overlapping: float = 0.5,
    threshold: float,
    progress: Progress = QUIET,
) -> tuple[Float, Float, Array]:
    """Boxes of a volume ``(c, z, y, x)`` from the blended maps of its tiles, band by band.

    ``run`` makes maps (see `peaks`) of a tile; every edge of data and tile is a multiple of
    ``stride``. Probabilities are blended, not logits: a tile at whose border an object is cut says
    little of it, and weighs little there.
    """

    def likely(part: Array) -> Array:
        maps = np.array(run(part), np.float32)
        maps[:classes] = 1.0 / (1.0 + np.exp(-np.clip(maps[:classes], -60, 60)))
        return maps

    blended = bands(
        cast("Any", _Cells(data, stride)), likely, tile=[n // stride for n in tile],
        overlap=overlapping, classes=classes + 6, progress=progress,
    )  # fmt: skip
    best: tuple[Float, Float, Array] = (np.zeros((0, 6)), np.zeros(0), np.zeros(0, np.int64))
    for first, maps, inner in _neighboured(blended):
        more = _tops(maps[:classes], maps[classes:], stride=stride, threshold=threshold,
                     inner=inner, first=first)  # fmt: skip
        corners, score = (np.concatenate([best[n], more[n]]) for n in (0, 1))
        best = _best(corners, score, np.concatenate([best[2], more[2]]), most=CANDIDATES)
    return best


def _neighboured(
    blended: Iterator[tuple[int, Array]],
) -> Iterator[tuple[int, Array, slice]]:
    """Number of the first plane, planes, and which to look at: those whose neighbours are there.

    Every plane is looked at once; `bands` hands on each only once too.
    """
    held: Array | None = None
    base, looked = 0, 0
    for z, band in blended:
        both = np.array(band) if held is None else np.concatenate([held, band], axis=1)
        base = z if held is None else base
        held, stop = both, both.shape[1] - 1
        if stop > looked:
            yield base, both, slice(looked, stop)
            held, base, looked = both[:, stop - 1 :].copy(), base + stop - 1, 1
    if held is not None:
        yield base, held, slice(looked, None)


def findings(
    card: NetworkCard, engine: Engine, images: Sequence[Image], *, progress: Progress = QUIET
) -> list[Finding]:
    """One `Box` for each object, the surest first; edges inclusive."""
    image = images[0]
    progress(0.1, "prepared")
    corners, score, kind = boxes(card, engine, image, progress=progress)
    on, provenance = instances(image), history(card, image)
    found: list[Finding] = []
    for ends, s, k in zip(placed_corners(corners), score, kind, strict=True):
        lower, upper = ends[:3], ends[3:] - 1
        found.append(
            Box(
                concept=card.classes[int(k)].code, confidence=float(s), grid=image.grid,
                lower=(float(lower[0]), float(lower[1]), float(lower[2])),
                upper=(float(upper[0]), float(upper[1]), float(upper[2])),
                on=on, provenance=provenance, attributes=dict(image.attributes),
            )
        )  # fmt: skip
    return found


def placed_corners(corners: Float) -> Float:
    """Corners as ``(n, 6)``: those of a picture are of its one slice."""
    if corners.shape[1] == 6:
        return corners
    n = len(corners)
    return np.column_stack([np.zeros(n), corners[:, :2], np.ones(n), corners[:, 2:]])


def center_and_size(corners: Float, grid: Grid) -> tuple[Float, Float]:
    """Centres ``(n, 3)`` in LPS mm, and sides ``(n, 3)`` in mm along the grid's x, y and z."""
    ends = placed_corners(corners)
    middle = (ends[:, :3] + ends[:, 3:]) / 2 - 0.5
    sides = (ends[:, 3:] - ends[:, :3]) * np.asarray(grid.spacing)
    return grid.to_world(middle), sides[:, ::-1]


def coco_box(ends: Float) -> list[float]:
    """[x, y, w, h] of a picture's corners, [x, y, z, w, h, d] of a volume's, in voxels."""
    d = len(ends) // 2
    low, high = ends[:d][::-1], ends[d:][::-1]
    return [round(float(v), 2) for v in (*low, *(high - low))]
