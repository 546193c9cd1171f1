"""What a detector without a network learns from: candidates of images, and what lies under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from somascope.core import QUIET, Grid, Progress
from somascope.core.errors import ParameterError, SomascopeError
from somascope.core.grid import Array, Float
from somascope.learn.datasets import Case
from somascope.models import familiar
from somascope.models.candidates import (
    Candidates,
    Proposed,
    corners_of,
    described,
    proposed,
    vectors,
)
from somascope.models.detect import carried, overlap
from somascope.models.prepare import Preparation, prepared

FEWEST = 10
"""Images to learn from."""
LIKE, UNLIKE = 0.5, 0.3
"""Overlap with a box from which a candidate is the object, and up to which it is nothing."""
NOTHINGS = 20
"""Candidates of an image that are nothing, to learn from: so many, and three for each object."""


@dataclass(frozen=True, eq=False)
class Seen:
    """An image of the data set: its candidates, what they are like, and what is there.

    ``own`` is the image's grid, ``grid`` that of the prepared one, in whose voxels the boxes
    ``truth`` ``(n, 2 d + 1)`` are; ``overlaps`` ``(candidates, n)`` are with candidates stretched
    as the box's class is.
    """

    case: Case
    own: Grid
    grid: Grid
    found: Proposed
    rows: list[dict[str, float]]
    truth: Float
    overlaps: Float

    @property
    def said(self) -> Array:
        """What each candidate is: 0 nothing, a class from 1 on, -1 something in between."""
        if not len(self.truth):
            return np.zeros(len(self.found), np.int64)
        best = self.overlaps.argmax(axis=1)
        how = self.overlaps.max(axis=1)
        kinds = self.truth[best, -1].astype(np.int64) + 1
        return np.where(how >= LIKE, kinds, np.where(how <= UNLIKE, 0, -1))


def look(
    cases: Sequence[Case], how: Candidates, preparation: Preparation, channels: int, *,
    classes: int, progress: Progress = QUIET,
) -> tuple[list[Seen], list[dict[str, float]], list[tuple[str, str]], Candidates]:  # fmt: skip
    """Every image with its candidates, one image in memory at a time.

    Besides what is usual among the images, which were left out and why, and where to look with the
    stretch of each class.
    """
    held: list[Seen] = []
    facts: list[dict[str, float]] = []
    left_out: list[tuple[str, str]] = []
    for case in progress.over(list(cases), "looking"):
        try:
            image = case.image()
            ready = prepared(image, preparation, channels=channels)
            found = proposed(how, ready)
            rows = described(found, ready)
        except SomascopeError as error:
            left_out.append((case.id, str(error)))
            continue
        facts.append(familiar.facts(image))
        truth = _carried(case, image.grid, ready.grid)
        none = np.zeros((len(found), len(truth)))
        held.append(Seen(case, image.grid, ready.grid, found, rows, truth, none))
    if len(held) < FEWEST:
        raise ParameterError(f"only {len(held)} of {len(cases)} images can be looked at: "
                             f"{left_out[:1] or 'none given'}")  # fmt: skip
    stretch = tuple(_stretch(held, k) for k in range(classes))
    seen: list[Seen] = []
    for one in held:
        over = np.zeros_like(one.overlaps)
        for k, shape in enumerate(stretch):
            mine = one.truth[:, -1] == k
            boxes = corners_of(one.found, shape, one.grid)
            over[:, mine] = overlap(boxes, one.truth[mine, :-1])
        seen.append(replace(one, overlaps=over))
        if len(one.truth) and over.max(initial=0.0) < LIKE:
            left_out.append((one.case.id, "no candidate lies on an object"))
    return seen, facts, left_out, replace(how, stretch=stretch)


def _carried(case: Case, own: Grid, grid: Grid) -> Float:
    """The true boxes in voxels of the prepared image."""
    boxes = case.boxes
    if boxes is None or not len(boxes):
        return np.zeros((0, 5 if grid.shape[0] == 1 else 7))
    return np.column_stack([carried(boxes[:, :-1], own, grid), boxes[:, -1]])


def _stretch(held: Sequence[Seen], kind: int) -> tuple[float, float, float]:
    """Median edges of a class's boxes in diameters of the blob that lies in the middle of each."""
    ratios: list[Float] = []
    for one in held:
        found, truth = one.found, one.truth
        d = (truth.shape[1] - 1) // 2
        edges = np.asarray(one.grid.spacing)[3 - d :]
        for box in truth[truth[:, -1] == kind]:
            middle, side = (box[:d] + box[d : 2 * d]) / 2, box[d : 2 * d] - box[:d]
            away = (found.index[:, 3 - d :] + 0.5 - middle) / side
            size = found.diameter / np.exp(np.log(side * edges).mean())
            good = (np.abs(away).max(axis=1, initial=0.0) < 0.25) & (np.abs(np.log2(size)) < 1)
            if good.any():
                k = np.flatnonzero(good)[np.abs(found.contrast[good]).argmax()]
                ratios.append(side * edges / found.diameter[k])
    if not ratios:
        return (1.0, 1.0, 1.0)
    middle = np.clip(np.median(ratios, axis=0), 0.05, 20.0)
    z, y, x = middle if len(middle) == 3 else (1.0, *middle)
    return float(z), float(y), float(x)


def named(seen: Sequence[Seen]) -> tuple[list[str], Float]:
    """Numbers that most candidates have, and the usual value of each."""
    rows = [r for s in seen for r in s.rows]
    if not rows:
        raise ParameterError("no image has a candidate; its objects are no blobs")
    names = list(dict.fromkeys(n for r in rows for n in r))
    table = np.array([[r.get(n, np.nan) for n in names] for r in rows])
    table[~np.isfinite(table)] = np.nan
    kept = np.flatnonzero(np.isfinite(table).mean(axis=0) >= 0.5)
    usual = np.nanmedian(table[:, kept], axis=0).astype(np.float32).astype(np.float64)
    return [names[i] for i in kept], usual


def learned_from(
    seen: Sequence[Seen], names: Sequence[str], usual: Float, *, seed: int
) -> tuple[Float, Array, list[str]]:
    """What is learned from: all candidates on objects, and some of the others of each image."""
    rng = np.random.default_rng(seed)
    x: list[Array] = []
    y: list[Array] = []
    whose: list[str] = []
    for one in seen:
        said = one.said
        objects, nothing = np.flatnonzero(said > 0), np.flatnonzero(said == 0)
        few = min(len(nothing), NOTHINGS + 3 * len(objects))
        taken = np.concatenate([objects, rng.permutation(nothing)[:few]])
        x.append(vectors([one.rows[i] for i in taken], names, usual))
        y.append(said[taken])
        whose += [one.case.patient] * len(taken)
    return np.concatenate(x).astype(np.float64), np.concatenate(y), whose
