"""Detection without a network: blobs are candidates, radiomics of each say what it is.

Candidates are bright and dark blobs (`analyze.detect.blobs`), each a ball. Of each the grey values
and textures within the ball are told, how they differ from those in the shell around it, and size
and contrast of the blob; a classifier whose first class is "nothing" judges them. Boxes of a class
are balls stretched as its training boxes are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from somascope.core import QUIET, Grid, Image, Progress
from somascope.core.errors import CorruptFile, Refused
from somascope.core.grid import Array, Float

if TYPE_CHECKING:
    from somascope.models.card import NetworkCard
    from somascope.models.engine import Engine

FAMILIES = ("firstorder", "glcm", "gldm")
"""Of the values within a candidate."""
SIDES = ("bright", "dark")
COLOURS = ("red", "green", "blue")
SHELL = 1.6
"""Radii from which on the surroundings of a candidate end."""
LEAST = 1.5
"""Voxels of a radius: smaller balls have too few voxels to say anything."""


@dataclass(frozen=True)
class Candidates:
    """Where a model looks; a record, so that training and use cannot differ.

    Parameters
    ----------
    smallest, largest
        Diameters in mm (pictures without a pixel size: pixels).
    sides
        ``bright``, ``dark`` or both.
    most
        Of each side in one image, the strongest.
    stretch
        For each class the edges of its boxes in diameters of the ball, along z, y, x.
    """

    smallest: float
    largest: float
    sides: tuple[str, ...] = SIDES
    most: int = 150
    stretch: tuple[tuple[float, float, float], ...] = ()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Candidates:
        """Read what a card says; `CorruptFile` where it cannot be."""
        made = cls(
            float(record["smallest"]), float(record["largest"]), tuple(map(str, record["sides"])),
            int(record["most"]),
            tuple((float(z), float(y), float(x)) for z, y, x in record["stretch"]),
        )  # fmt: skip
        edges = [v for row in made.stretch for v in row]
        if (
            not 0 < made.smallest < made.largest <= 1e4
            or not made.sides
            or set(made.sides) - set(SIDES)
            or not 1 <= made.most <= 5000
            or not all(0.05 <= v <= 20 for v in edges)
        ):
            raise CorruptFile("card.json: candidates hold a value that no model can have")
        return made


@dataclass(frozen=True, eq=False)
class Proposed:
    """Places ``(n, 3)`` in fractional voxels, diameters in mm, contrasts (negative: dark)."""

    index: Float
    diameter: Float
    contrast: Float

    def __len__(self) -> int:
        return len(self.diameter)


def gray(ready: Image) -> Array:
    """The values ``(z, y, x)`` that blobs are looked for in: the mean of the channels."""
    return np.ascontiguousarray(ready.data.mean(axis=0), np.float32)


def proposed(how: Candidates, ready: Image) -> Proposed:
    """The candidates of a prepared image ``(channels, z, y, x)``; none where there are none."""
    # Compiled code, which a network's card has no need of.
    from somascope.analyze.detect.blobs import FINEST, find

    values, spacing = gray(ready), ready.grid.spacing
    edges = [s for s, n in zip(spacing, values.shape, strict=True) if n > 1]
    least = 2 * math.sqrt(len(edges)) * FINEST * max(edges)
    if how.largest <= least:
        raise Refused(
            f"objects of {how.largest:.3g} mm are too small for voxels of {max(edges):.3g} mm"
        )
    parts: list[tuple[Float, Float, Float]] = []
    for side in how.sides:
        sign = 1.0 if side == "bright" else -1.0
        found = find(
            np.float32(sign) * values, spacing, smallest=max(how.smallest, least),
            largest=how.largest, contrast=0.0, most=how.most,
        )  # fmt: skip
        parts.append((found.index, found.diameter, sign * found.contrast))
    index, diameter, contrast = (np.concatenate(p) for p in zip(*parts, strict=True))
    return Proposed(index, diameter, contrast)


def corners_of(found: Proposed, stretch: Sequence[float], grid: Grid) -> Float:
    """Boxes ``(n, 2 d)`` about candidates, as `models.detect` has them, in voxels of ``grid``."""
    half = 0.5 * found.diameter[:, None] * np.asarray(stretch) / np.asarray(grid.spacing)
    low, high = found.index - half + 0.5, found.index + half + 0.5
    first = 1 if grid.shape[0] == 1 else 0
    return np.concatenate([low[:, first:], high[:, first:]], axis=1)


def described(
    found: Proposed, ready: Image, *, levels: int = 32, progress: Progress = QUIET
) -> list[dict[str, float]]:
    """Numbers by name of every candidate, ``arcsinh`` of features; NaN where there is none."""
    return [
        _numbers(found, k, ready, levels)
        for k in progress.over(list(range(len(found))), "candidates")
    ]


def _numbers(found: Proposed, k: int, ready: Image, levels: int) -> dict[str, float]:
    from somascope.analyze.radiomics.extract import features
    from somascope.analyze.radiomics.names import CODES

    grid, deep = ready.grid, ready.grid.shape[0] > 1
    spacing = np.asarray(grid.spacing)
    edge = max(spacing if deep else spacing[1:])
    radius = max(0.5 * float(found.diameter[k]), LEAST * edge)
    reach = SHELL * radius / spacing
    if not deep:
        reach[0] = 0.0
    low = np.maximum(np.ceil(found.index[k] - reach), 0).astype(int)
    high = np.minimum(np.floor(found.index[k] + reach) + 1, grid.shape).astype(int)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    axes = [
        ((np.arange(s.start, s.stop) - c) * e) ** 2
        for s, c, e in zip(box, found.index[k], spacing, strict=True)
    ]
    if not deep:
        axes[0] *= 0
    away = np.sqrt(axes[0][:, None, None] + axes[1][:, None] + axes[2])
    inside, around = away <= radius, away > radius
    part = ready.data[(slice(None), *box)].astype(np.float64)
    values = part.mean(axis=0)
    told: dict[str, float] = {
        "blob Diameter": float(found.diameter[k]), "blob Contrast": float(found.contrast[k]),
    }  # fmt: skip
    core = tuple(slice(int(a.min()), int(a.max()) + 1) for a in np.nonzero(inside))
    there = grid.moved(start=low + [s.start for s in core], shape=inside[core].shape,
                       step=(1, 1, 1))  # fmt: skip
    made = features(values[core], inside[core], there, families=FAMILIES, bin_count=levels)
    for family, numbers in made.items():
        told |= {f"ball {family} {n}": numbers[n] for n in CODES[family] if n in numbers}
    shells = [("gray", values), *zip(COLOURS, part, strict=False)]
    for name, data in shells[: 1 if len(part) == 1 else 4]:
        mean, rest = float(data[inside].mean()), data[around]
        told[f"{name} ball Mean"] = mean
        told[f"{name} ball Deviation"] = float(data[inside].std())
        told[f"{name} shell Mean"] = float(rest.mean()) if rest.size else math.nan
        told[f"{name} shell Deviation"] = float(rest.std()) if rest.size else math.nan
        told[f"{name} Difference"] = mean - told[f"{name} shell Mean"]
    return {n: float(np.arcsinh(v)) for n, v in told.items()}


def vectors(rows: Sequence[Mapping[str, float]], names: Sequence[str], usual: Float) -> Array:
    """What the graph reads, ``(n, f)`` float32; what cannot be told is the usual one."""
    table = np.array([[row.get(n, math.nan) for n in names] for row in rows], np.float64)
    table = table.reshape(len(rows), len(names))
    return np.where(np.isfinite(table), table, usual).astype(np.float32)


def likely(engine: Engine, x: Array) -> Float:
    """For each row the probability of every class but the first, which is "nothing"."""
    if not len(x):
        return np.zeros((0, 0))
    logits = np.concatenate([engine({"image": row[None]})[0] for row in x]).astype(np.float64)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (p / p.sum(axis=1, keepdims=True))[:, 1:]


def judged(
    card: NetworkCard, engine: Engine, ready: Image, least: float, progress: Progress
) -> tuple[Grid, Float, Float, Array]:
    """Grid, corners ``(n, 2 d)``, scores and classes of a prepared image's candidates."""
    features = card.features
    assert features is not None
    assert features.candidates is not None
    found = proposed(features.candidates, ready)
    rows = described(found, ready, levels=features.levels, progress=progress)
    p = likely(engine, vectors(rows, features.names, np.asarray(features.usual)))
    if len(found) and p.shape[1] != len(card.classes):
        raise Refused(
            f"{card.name} answers {p.shape[1] + 1} numbers for {len(card.classes)} classes and "
            "none; the card and the graph do not belong together"
        )
    return ready.grid, *boxes_of(features.candidates, found, p, ready.grid, least)


def boxes_of(
    how: Candidates, found: Proposed, p: Float, grid: Grid, least: float
) -> tuple[Float, Float, Array]:
    """Corners, scores and classes of all candidates that are ``least`` likely of a class."""
    d = 3 if grid.shape[0] > 1 else 2
    corners, score, kind = [np.zeros((0, 2 * d))], [np.zeros(0)], [np.zeros(0, np.int64)]
    for k, stretch in enumerate(how.stretch if len(found) else ()):
        good = p[:, k] >= least
        corners.append(corners_of(found, stretch, grid)[good])
        score.append(p[good, k])
        kind.append(np.full(int(good.sum()), k))
    return np.concatenate(corners), np.concatenate(score), np.concatenate(kind)
