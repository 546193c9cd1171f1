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
from somascope.models.prepare import padded, prepared
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
        return softened(np.array(logits, np.float32), temperature=card.temperature, axis=0)

    return run


def probability_bands(
    card: NetworkCard, engine: Engine, image: Image, *, progress: Progress = QUIET
) -> tuple[Grid, Iterator[tuple[int, Array]]]:
    """The lattice the network works on, and its class probabilities band by band."""
    ready = prepared(image, card.preparation, channels=card.channels)
    tile = (1, *card.patch) if card.dimensions == 2 else card.patch
    if not tile or len(tile) != 3:
        raise Refused(f"{card.name} has no patch on its card; a segmentation model needs one")
    shape = tuple(max(n, t) for n, t in zip(ready.grid.shape, tile, strict=True))
    full = padded(ready, (shape[0], shape[1], shape[2]), edge=True)
    data = np.asarray(full.data, np.float32)
    run = runner(card, engine)
    classes = len(card.classes) + 1
    return full.grid, bands(
        data, run, tile=tile, overlap=card.overlap, classes=classes, progress=progress
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
    progress: Progress = QUIET,
) -> tuple[Array, Array | None]:
    """Labels ``(z, y, x)`` on the image's grid, and probabilities ``(classes, z, y, x)`` if wanted.

    On the network's own lattice labels are decided band by band; else each class is brought back
    to the image's grid in turn and compared there, so that one class volume is held at a time.
    """
    grid, found = probability_bands(card, engine, image, progress=progress)
    classes = len(card.classes) + 1
    kind = np.uint8 if classes <= 256 else np.uint16
    here = _same(grid, image.grid)
    if here is not None and not probabilities:
        whole = np.empty(grid.shape, kind)
        for z, band in found:
            whole[z : z + band.shape[1]] = decide(card, band)
        return np.ascontiguousarray(whole[here]), None
    volume = np.empty((classes, *grid.shape), np.float16)
    for z, band in found:
        volume[:, z : z + band.shape[1]] = band
    if here is not None:
        volume = volume[(slice(None), *here)].astype(np.float32)
        return decide(card, volume).astype(kind), volume[1:]
    return _restored(card, volume, grid, image.grid, kind=kind, keep=probabilities)


def decide(card: NetworkCard, p: Array) -> Array:
    """Class numbers from probabilities ``(classes + 1, ...)``: of one class by its threshold."""
    if p.shape[0] == 2:
        return p[1] >= card.threshold
    return p.argmax(axis=0)


def _restored(
    card: NetworkCard, volume: Array, grid: Grid, wanted: Grid, *, kind: type, keep: bool
) -> tuple[Array, Array | None]:
    from somascope.process.sampling import sample

    affine = np.linalg.inv(grid.affine) @ wanted.affine
    labels = np.zeros(wanted.shape, kind)
    best = np.full(wanted.shape, card.threshold if len(card.classes) == 1 else -1.0, np.float32)
    kept = np.empty((len(card.classes), *wanted.shape), np.float32) if keep else None
    for k in range(volume.shape[0]):
        if k == 0 and len(card.classes) == 1:
            continue
        p = sample(
            volume[k].astype(np.float32), affine, wanted.shape, order="linear", fill=float(k == 0)
        )
        more = p >= best if len(card.classes) == 1 else p > best
        labels[more] = k
        best = np.where(more, p, best)
        if kept is not None and k:
            kept[k - 1] = p
    return labels, kept


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
