"""Classification: logits become calibrated probabilities become a `Label`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.core import QUIET, Box, Finding, Image, Label, Progress
from somascope.core.errors import Refused
from somascope.core.grid import Array, Float
from somascope.models.card import NetworkCard
from somascope.models.classical import vector
from somascope.models.engine import Engine
from somascope.models.prepare import prepared
from somascope.models.seen import history, instances
from somascope.models.single import Shown


def softmax(
    logits: Array,
    *,
    temperature: float = 1.0,
    offsets: Sequence[float] | Array = (),
    axis: int = -1,
) -> Array:
    """Probabilities along ``axis``; float64 inside, so that they add up to one.

    ``offsets`` are added to the last axis of what ``temperature`` has divided.
    """
    values = logits.astype(np.float64)
    if len(offsets):
        values += temperature * np.asarray(offsets, np.float64)
    return softened(values, temperature=temperature, axis=axis)


def softened(logits: Array, *, temperature: float = 1.0, axis: int = -1) -> Array:
    """`softmax` in the precision of ``logits``, which it overwrites: for maps of many voxels."""
    if temperature != 1.0:
        logits /= temperature
    logits -= logits.max(axis=axis, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=axis, keepdims=True)
    return logits


def array(card: NetworkCard, image: Image) -> Array:
    """The input ``(1, c, y, x)`` or ``(1, c, z, y, x)``; of a classical model ``(1, n)``."""
    if card.features is not None:
        return vector(card.features, image, card.preparation)[None]
    if card.single is not None:
        raise Refused(
            f"{card.name} classifies single objects of an image; say where they are "
            "(models.classify_objects, or predict --boxes)"
        )
    data = prepared(image, card.preparation, channels=card.channels).data
    return np.ascontiguousarray(data[None, :, 0] if card.dimensions == 2 else data[None])


def probabilities(card: NetworkCard, engine: Engine, image: Image) -> Array:
    """Calibrated probability of each class, mean of the image and its mirror where trained so."""
    return _said(card, engine, array(card, image))


def of_objects(
    card: NetworkCard,
    engine: Engine,
    image: Image,
    boxes: Sequence[Sequence[float]] | Float,
    *,
    progress: Progress = QUIET,
) -> Array:
    """Calibrated probabilities ``(n, classes)`` of each object of an image.

    ``boxes`` are corners in voxel edges, see `somascope.models.single`.

    Raises
    ------
    ParameterError
        A box that is none, or of which nothing lies in the image.
    Refused
        The model classifies whole images.
    """
    if card.single is None:
        raise Refused(f"{card.name} classifies whole images; leave the boxes out")
    shown = Shown(image, card.preparation, card.single, channels=card.channels)
    found: list[Array] = []
    for box in progress.over(list(boxes), card.name):
        data = shown.array(box)
        given = data[None, :, 0] if card.dimensions == 2 else data[None]
        found.append(_said(card, engine, np.ascontiguousarray(given)))
    return np.stack(found) if found else np.zeros((0, len(card.classes)))


def _said(card: NetworkCard, engine: Engine, given: Array) -> Array:
    logits = engine({"image": given})[0]
    if logits.shape != (1, len(card.classes)):
        raise Refused(
            f"{card.name} answers {logits.shape} for {len(card.classes)} classes; the card and the "
            "graph do not belong together"
        )
    return softmax(logits[0], temperature=card.temperature, offsets=card.offsets)


def decided(card: NetworkCard, p: Array) -> int:
    """The class that is said: of two by the card's threshold, of more the most probable."""
    if len(p) == 2:
        return int(p[1] >= card.threshold)
    return int(p.argmax())


def findings(
    card: NetworkCard, engine: Engine, images: Sequence[Image], *, progress: Progress = QUIET
) -> list[Finding]:
    """One `Label` with the probability of every class."""
    image = images[0]
    progress(0.1, "prepared")
    p = probabilities(card, engine, image)
    best = decided(card, p)
    return [
        Label(
            concept=card.classes[best].code,
            confidence=float(p[best]),
            on=instances(image),
            probabilities={c.name: float(v) for c, v in zip(card.classes, p, strict=True)},
            provenance=history(card, image),
            attributes=dict(image.attributes),
        )
    ]


def objects(
    card: NetworkCard,
    engine: Engine,
    image: Image,
    boxes: Sequence[Sequence[float]] | Float,
    *,
    progress: Progress = QUIET,
) -> list[Finding]:
    """One `Box` for each object, in their order: its class and how probable that is."""
    from somascope.models.detect import placed_corners

    rows = np.asarray(boxes, np.float64).reshape(len(boxes), -1 if len(boxes) else 0)
    p = of_objects(card, engine, image, rows, progress=progress)
    on, provenance = instances(image), history(card, image)
    found: list[Finding] = []
    for ends, values in zip(placed_corners(rows) if len(rows) else [], p, strict=True):
        best = decided(card, values)
        lower, upper = (tuple(float(v) for v in e) for e in (ends[:3], ends[3:] - 1))
        found.append(
            Box(
                concept=card.classes[best].code, confidence=float(values[best]), grid=image.grid,
                lower=(lower[0], lower[1], lower[2]), upper=(upper[0], upper[1], upper[2]), on=on,
                provenance=provenance, attributes=dict(image.attributes),
            )
        )  # fmt: skip
    return found
