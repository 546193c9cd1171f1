"""`segment.mixture`: classes of values that neighbours share (a hidden Markov random field)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from somascope.analyze.segment.seeds import on_grid, volume_of
from somascope.analyze.threshold import COLOURS
from somascope.core import QUIET, TISSUE, Image, Mask, Param, Progress, Segment, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.process.choices import mask_of
from somascope.process.entries import inside as covered
from somascope.process.histogram import of_values
from somascope.process.thresholds import Mixture, kmeans, mixture

_NAME = "segment.mixture"


def smoothed_classes(
    values: Array,
    inside: Array,
    spacing: Sequence[float],
    start: Mixture,
    *,
    smoothness: float,
    rounds: int,
    equal: bool = False,
    progress: Progress = QUIET,
) -> tuple[Array, Mixture]:
    """Probabilities ``(classes, nz, ny, nx)`` float32 and the classes they belong to.

    Expectation maximisation with the mean field of the six neighbours in place of a prior (Zhang,
    Brady and Smith, IEEE TMI 20 (2001) 45-57; the field's approximation after Celeux, Forbes and
    Peyrard, Pattern Recognition 36 (2003) 131-144): a neighbour that certainly belongs to a class
    makes it ``exp(smoothness)`` times likelier, one farther away less in proportion.

    Parameters
    ----------
    equal
        All classes have one standard deviation and weight, as k-means has.
    """
    near = min(s for s, n in zip(spacing, values.shape, strict=True) if n > 1)
    found = start
    count = len(start.means)
    chance = np.zeros((count, *values.shape), np.float32)
    field = np.zeros_like(chance)
    some = values[inside].astype(np.float64)
    floor = 1e-3 * float(np.ptp(some))
    for turn in range(rounds):
        progress(turn / rounds, f"round {turn + 1}")
        logs = np.empty_like(chance)
        for k, (w, m, s) in enumerate(zip(found.weights, found.means, found.sds, strict=True)):
            # The neighbours are the prior; sizes beside them would let the largest class win.
            prior = 0.0 if equal or smoothness > 0 else np.log(max(w, 1e-6))
            prior -= np.log(s)
            logs[k] = (
                np.float32(prior)
                - np.float32(0.5) * ((values - np.float32(m)) / np.float32(s)) ** 2
            )
        if turn:
            _neighbours(chance, spacing, near, field)
            logs += np.float32(smoothness) * field
        logs -= logs.max(axis=0)
        np.exp(logs, out=logs)
        logs /= logs.sum(axis=0)
        logs *= inside
        change = float(np.abs(logs - chance).max())
        chance = logs
        found = _moments(chance, values, inside, floor, equal=equal)
        if turn > 1 and change < 1e-2:
            break
    return chance, found


def _neighbours(chance: Array, spacing: Sequence[float], near: float, out: Array) -> None:
    out[:] = 0
    for axis, s in enumerate(spacing, start=1):
        weight = np.float32(near / s)
        ahead = tuple(slice(1, None) if a == axis else slice(None) for a in range(4))
        behind = tuple(slice(0, -1) if a == axis else slice(None) for a in range(4))
        out[ahead] += weight * chance[behind]
        out[behind] += weight * chance[ahead]


def _moments(chance: Array, values: Array, inside: Array, floor: float, *, equal: bool) -> Mixture:
    v = values[inside].astype(np.float64)
    p: Float = chance[:, inside].astype(np.float64)
    size = np.maximum(p.sum(axis=1), 1e-9)
    means = (p @ v) / size
    square = np.maximum((p @ (v * v)) / size - means**2, 0)
    if equal:
        square[:] = (square * size).sum() / size.sum()
    sds = np.maximum(np.sqrt(square), floor)
    return Mixture(tuple((size / size.sum()).tolist()), tuple(means.tolist()), tuple(sds.tolist()))


@operation(_NAME)
def mixture_(
    image: Image,
    *within: Mask,
    classes: Annotated[int, Param("Number of classes", minimum=2, maximum=6)] = 3,
    method: Annotated[
        Literal["mixture", "kmeans"],
        Param("Each class with its own spread and size, or all alike"),
    ] = "mixture",
    smoothness: Annotated[
        float, Param("How much neighbours count; 0: each voxel by itself", minimum=0.0,
                     maximum=20.0, step=0.1)
    ] = 1.0,
    rounds: Annotated[int, Param("Most rounds", minimum=2, maximum=200, advanced=True)] = 25,
    output: Annotated[
        Literal["labels", "probability"], Param("The likeliest class, or how likely each is")
    ] = "labels",
    progress: Progress = QUIET,
) -> Mask:  # fmt: skip
    """Part values into classes of normal distributions that neighbours share.

    A mixture told from the histogram, made smooth by a Markov random field: a voxel between
    two classes goes with its neighbours, so that noise makes no specks. Within a mask, if one is
    given. Segment 1 has the lowest mean; the mask is a labelmap ``(nz, ny, nx)``, or one plane
    of probabilities for each class. The image's scale does not count.

    Raises
    ------
    GeometryError
        The mask lies on another grid.
    ParameterError
        The image has fewer different values than classes, or the mask is empty.
    """
    values, known = volume_of(image, _NAME)
    mask = on_grid(image, within, _NAME)
    inside = known if mask is None else known & covered(mask)
    if not inside.any():
        raise ParameterError(f"{_NAME}: the mask is empty, or holds no voxel with a value")
    counted = of_values(np.ascontiguousarray(values[inside]))
    progress(0.0, "histogram")
    if int(np.count_nonzero(counted.counts)) < classes:
        raise ParameterError(
            f"{_NAME}: {classes} classes need as many different values; the region has "
            f"{int(np.count_nonzero(counted.counts))}"
        )
    equal = method == "kmeans"
    if equal:
        start = _alike(counted.centres, counted.counts, kmeans(counted, classes=classes))
    else:
        start = mixture(counted, classes=classes)
    chance, found = smoothed_classes(
        values, inside, image.grid.spacing, start, smoothness=smoothness, rounds=rounds,
        equal=equal, progress=Progress(lambda f, m: progress(0.1 + 0.85 * f, m)),
    )  # fmt: skip
    order = np.argsort(found.means)
    chance = chance[order]
    segments = tuple(
        Segment(k + 1, f"Class {k + 1}", TISSUE,
                f"{_NAME} {method} mean {found.means[i]:.6g} sd {found.sds[i]:.4g} {image.unit}",
                COLOURS[k % len(COLOURS)])
        for k, i in enumerate(order)
    )  # fmt: skip
    progress(1.0, "classes")
    if output == "probability":
        return mask_of(image, np.clip(chance, 0, 1), segments)
    labels = (np.argmax(chance, axis=0) + 1).astype(np.uint8)
    labels[~inside] = 0
    return mask_of(image, labels, segments)


def _alike(centres: Float, counts: Array, cuts: list[float]) -> Mixture:
    which = np.searchsorted(cuts, centres, side="left")
    n = np.bincount(which, counts, len(cuts) + 1)
    means = np.bincount(which, counts * centres, len(cuts) + 1) / n
    sd = float(np.sqrt((counts * (centres - means[which]) ** 2).sum() / n.sum()))
    step = float(centres[1] - centres[0])
    return Mixture((1 / n.size,) * n.size, tuple(means.tolist()), (max(sd, step),) * n.size)
