"""Detection by centre points (Zhou et al., Objects as Points, 2019): peaks become boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.core import QUIET, Box, Finding, Image, Progress
from somascope.core.errors import Refused
from somascope.core.grid import Array, Float
from somascope.models.card import NetworkCard
from somascope.models.engine import Engine
from somascope.models.prepare import padded, prepared
from somascope.models.seen import history, instances

MOST = 500
"""Boxes of one image."""


def peaks(
    maps: Array, *, classes: int, stride: int, threshold: float, most: int = MOST
) -> tuple[Float, Float, Array]:
    """Boxes from a detector's maps.

    Parameters
    ----------
    maps
        ``(classes + 4, h, w)``: logits of a centre per class; then log2 of height and width in
        cells, and the centre's offset (y, x) in cells.
    stride
        Pixels per cell.

    Returns
    -------
    tuple
        Corners ``(n, 4)`` (y0, x0, y1, x1: edges, in pixels), scores ``(n,)``, classes ``(n,)``;
        the best first.
    """
    from scipy.ndimage import maximum_filter

    heat = 1.0 / (1.0 + np.exp(-maps[:classes].astype(np.float64)))
    top = maximum_filter(heat, size=(1, 3, 3), mode="constant")
    k, y, x = np.nonzero((heat >= threshold) & (heat == top))
    score = heat[k, y, x]
    order = np.lexsort((x, y, k, -score))[:most]
    k, y, x, score = k[order], y[order], x[order], score[order]
    size = np.exp2(np.clip(maps[classes : classes + 2, y, x].astype(np.float64), -4, 12))
    centre = np.stack([y, x]) + 0.5 + maps[classes + 2 : classes + 4, y, x].astype(np.float64)
    corners = np.concatenate([centre - size / 2, centre + size / 2]).T * stride
    return corners, score, k


def overlap(a: Float, b: Float) -> Float:
    """Intersection over union of corners ``(n, 4)`` and ``(m, 4)``: ``(n, m)``."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.maximum(high - low, 0.0), axis=-1)
    area = [np.prod(np.maximum(c[:, 2:] - c[:, :2], 0.0), axis=-1) for c in (a, b)]
    return inter / np.maximum(area[0][:, None] + area[1][None, :] - inter, 1e-12)


def suppressed(corners: Float, score: Float, kind: Array, *, most: float = 0.5) -> Array:
    """Indices kept by greedy non-maximum suppression within each class, the best first."""
    order = np.argsort(-score, kind="stable")
    ious = overlap(corners, corners)
    same = kind[:, None] == kind[None, :]
    gone = np.zeros(len(order), bool)
    keep: list[int] = []
    for i in order:
        if gone[i]:
            continue
        keep.append(int(i))
        gone |= same[i] & (ious[i] > most)
    return np.asarray(keep, dtype=np.int64)


def boxes(
    card: NetworkCard, engine: Engine, image: Image, *, threshold: float | None = None
) -> tuple[Float, Float, Array]:
    """Corners ``(n, 4)`` (y0, x0, y1, x1) in the image's own pixels, edges; scores; classes."""
    if card.dimensions != 2:
        raise Refused(f"{card.name} detects in {card.dimensions}-D; only pictures are read here")
    ready = prepared(image, card.preparation, channels=card.channels)
    step = 8 * card.stride
    shape = tuple(-(-n // step) * step for n in ready.grid.shape[1:])
    full = padded(ready, (1, shape[0], shape[1]), edge=True)
    maps = engine({"image": np.ascontiguousarray(full.data[None, :, 0])})[0]
    wanted = (1, len(card.classes) + 4, shape[0] // card.stride, shape[1] // card.stride)
    if maps.shape != wanted:
        raise Refused(
            f"{card.name} answers {maps.shape} where {wanted} is due; the card and the graph do "
            "not belong together"
        )
    corners, score, kind = peaks(
        maps[0],
        classes=len(card.classes),
        stride=card.stride,
        threshold=card.threshold if threshold is None else threshold,
    )
    keep = suppressed(corners, score, kind)
    corners, score, kind = corners[keep], score[keep], kind[keep]
    matrix = np.linalg.inv(image.grid.affine) @ full.grid.affine
    ends: list[Float] = []
    for pair in (corners[:, :2], corners[:, 2:]):
        index = np.column_stack([np.zeros(len(pair)), pair - 0.5, np.ones(len(pair))])
        ends.append((index @ matrix.T)[:, 1:3] + 0.5)
    limit = np.asarray(image.grid.shape[1:], np.float64)
    mapped = np.concatenate([np.clip(e, 0, limit) for e in ends], axis=1)
    solid = (mapped[:, 2:] - mapped[:, :2]).min(axis=1, initial=np.inf) >= 1.0
    return mapped[solid], score[solid], kind[solid]


def findings(
    card: NetworkCard, engine: Engine, images: Sequence[Image], *, progress: Progress = QUIET
) -> list[Finding]:
    """One `Box` for each object, the surest first; edges inclusive."""
    image = images[0]
    progress(0.1, "prepared")
    corners, score, kind = boxes(card, engine, image)
    on, provenance = instances(image), history(card, image)
    found: list[Finding] = []
    for (y0, x0, y1, x1), s, k in zip(corners, score, kind, strict=True):
        found.append(
            Box(
                concept=card.classes[int(k)].code, confidence=float(s), grid=image.grid,
                lower=(0.0, float(y0), float(x0)), upper=(0.0, float(y1 - 1), float(x1 - 1)),
                on=on, provenance=provenance, attributes=dict(image.attributes),
            )
        )  # fmt: skip
    return found
