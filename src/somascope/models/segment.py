"""Segmentation: tiles, blended class probabilities, and back onto the image's own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from somascope.core import QUIET, Finding, Grid, Image, Mask, Progress, Segment
from somascope.core.errors import Refused
from somascope.core.grid import Array
from somascope.models.card import COLOURS, NetworkCard
from somascope.models.classify import softened
from somascope.models.engine import Engine
from somascope.models.prepare import (
    UNLEVELLED,
    Levels,
    channels_of,
    levels_of,
    padded,
    placed,
    scaled,
)
from somascope.models.returned import returned
from somascope.models.seen import history, instances
from somascope.models.tiles import bands


def runner(card: NetworkCard, engine: Engine) -> Callable[[Array], Array]:
    """A tile ``(c, z, y, x)`` to class probabilities ``(classes + 1, z, y, x)``."""
    flat = card.dimensions == 2
    classes = len(card.classes) + 1

    def run(tile: Array) -> Array:
        given = tile[:, 0] if flat else tile
        logits = engine({"image": np.ascontiguousarray(given[None])})[0][0]
        logits = logits[:, None] if flat else logits
        if logits.shape != (classes, *tile.shape[1:]):
            raise Refused(
                f"{card.name} answers {logits.shape} for a tile of {tile.shape} and {classes} "
                "classes; the card and the graph do not belong together"
            )
        # An engine's answer is ours: it is overwritten.
        return softened(np.asarray(logits, np.float32), temperature=card.temperature, axis=0)

    return run


def probability_bands(
    card: NetworkCard,
    engine: Engine,
    image: Image,
    *,
    levels: Levels | None = None,
    progress: Progress = QUIET,
) -> tuple[Grid, Iterator[tuple[int, Array]]]:
    """The lattice the network works on, and its class probabilities band by band.

    ``levels``: of the whole image, where ``image`` is a part of it.
    """
    how = card.preparation
    ready = placed(channels_of(image, card.channels), how)
    if levels is None and how.scaling not in UNLEVELLED:
        levels = levels_of(ready.data, how)
    tile = (1, *card.patch) if card.dimensions == 2 else card.patch
    if not tile or len(tile) != 3:
        raise Refused(f"{card.name} has no patch on its card; a segmentation model needs one")
    shape = tuple(max(n, t) for n, t in zip(ready.grid.shape, tile, strict=True))
    full = padded(ready, (shape[0], shape[1], shape[2]), edge=True)
    answered = runner(card, engine)

    def run(part: Array) -> Array:  # scaled tile by tile: no second volume is held
        return answered(scaled(part, how, levels=levels))

    classes = len(card.classes) + 1
    return full.grid, bands(
        full.data, run, tile=tile, overlap=card.overlap, classes=classes, progress=progress
    )


def _same(a: Grid, b: Grid) -> tuple[slice, ...] | None:
    """Where ``b`` lies inside ``a`` when both are one lattice, axes and all; else None."""
    if not np.allclose(a.affine[:3, :3], b.affine[:3, :3], atol=1e-6):
        return None
    start = a.to_index(b.origin)
    first = np.rint(start)
    if np.abs(start - first).max() > 1e-3:
        return None
    inside = (first >= 0) & (first + b.shape <= np.asarray(a.shape))
    if not inside.all():
        return None
    return tuple(slice(int(f), int(f) + n) for f, n in zip(first, b.shape, strict=True))


def answer(
    card: NetworkCard,
    engine: Engine,
    image: Image,
    *,
    probabilities: bool = False,
    levels: Levels | None = None,
    progress: Progress = QUIET,
) -> tuple[Array, Array | None]:
    """Labels ``(z, y, x)`` on the image's grid, and probabilities ``(classes, z, y, x)`` if wanted.

    They are decided band by band, on the network's own lattice or on the image's grid: where only
    labels are wanted no class map of the whole is held.
    """
    grid, found = probability_bands(card, engine, image, levels=levels, progress=progress)
    classes = len(card.classes) + 1
    here = _same(grid, image.grid)
    if here is None:
        return returned(
            found, grid, image.grid, classes=classes, threshold=card.threshold, keep=probabilities
        )
    labels = np.empty(image.grid.shape, np.uint8 if classes <= 256 else np.uint16)
    kept = np.empty((classes - 1, *labels.shape), np.float32) if probabilities else None
    first, past = here[0].start, here[0].stop
    for z, band in found:
        low, high = max(z, first), min(z + band.shape[1], past)
        part = band[:, max(low - z, 0) : max(high - z, 0), here[1], here[2]]
        at = slice(low - first, low - first + part.shape[1])
        labels[at] = decide(card, part)
        if kept is not None:
            kept[:, at] = part[1:]
    return labels, kept


def decide(card: NetworkCard, p: Array) -> Array:
    """Class numbers from probabilities ``(classes + 1, ...)``: of one class by its threshold."""
    if p.shape[0] == 2:
        return p[1] >= card.threshold
    return p.argmax(axis=0)


def segments(card: NetworkCard) -> tuple[Segment, ...]:
    """One per class, numbered from 1."""
    return tuple(
        Segment(k + 1, c.name, c.code, f"{card.name} {card.version}", COLOURS[k % len(COLOURS)])
        for k, c in enumerate(card.classes)
    )


def findings(
    card: NetworkCard, engine: Engine, images: Sequence[Image], *, progress: Progress = QUIET
) -> list[Finding]:
    """One `Mask` on the image's grid."""
    image = images[0]
    labels, _ = answer(card, engine, image, progress=progress)
    return [
        Mask(
            data=labels, grid=image.grid, segments=segments(card), on=instances(image),
            provenance=history(card, image), attributes=dict(image.attributes),
        )
    ]  # fmt: skip
