"""From coarse to fine: one model says where, another one outlines there and nowhere else.

The first looks at the whole image, coarsely (a segmentation at large voxels, or a detector of
boxes); the second sees the box around all that the first found, and a margin. What lies outside is
background. Where the first finds nothing the second looks at the whole image, slowly, rather than
nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from somascope.core import QUIET, Finding, Grid, Image, Mask, Progress
from somascope.core.errors import ParameterError, Refused
from somascope.core.grid import Array, Float
from somascope.models import detect, segment
from somascope.models.card import NetworkCard, Sees
from somascope.models.prepare import UNLEVELLED, Levels, channels_of, levels_of
from somascope.models.run import Network
from somascope.models.seen import history, instances


@dataclass(frozen=True)
class Region:
    """Voxels ``start <= index < stop`` (z, y, x) of a grid; ``found``: by the first model."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    found: bool

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """To index an array with."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x


class Within:
    """Two models as one (a `somascope.core.Model`).

    Parameters
    ----------
    first
        A model to segment or to detect: says where to look. Its answer is told by its own voxels,
        whole; it is never brought to the image's grid.
    second
        A model to segment: outlines within the region.
    margin_mm
        Added to the region on every side. At least what the first may miss; a network that sees
        less around a place than it did in training outlines it worse.
    sees
        What the second was trained on, whole images or regions: the shades it expects are those
        of the one or of the other, and its card is held against that.

    Raises
    ------
    ParameterError
        Models of other tasks or other dimensions, or a margin that is negative.
    """

    def __init__(
        self, first: Network, second: Network, *, margin_mm: float = 20.0, sees: Sees = "image"
    ) -> None:
        if first.card.stages is not None or second.card.stages is not None:
            staged = first.card if first.card.stages is not None else second.card
            raise ParameterError(f"{staged.name} has two stages itself; one model may say where "
                                 "another one looks, no more")  # fmt: skip
        if first.card.task not in ("segment", "detect"):
            raise ParameterError(f"{first.card.name} is a model to {first.card.task}; where to "
                                 "look is said by one to segment or to detect")  # fmt: skip
        if second.card.task != "segment":
            raise ParameterError(
                f"{second.card.name} is a model to {second.card.task}; the second one segments"
            )
        if first.card.dimensions != second.card.dimensions:
            raise ParameterError(
                f"{first.card.name} reads {first.card.dimensions}-D images and {second.card.name} "
                f"{second.card.dimensions}-D ones"
            )
        if not 0 <= margin_mm < float("inf"):
            raise ParameterError(f"margin is {margin_mm} mm; give 0 or more")
        self.first, self.second = first, second
        self._margin = margin_mm
        self._sees: Sees = sees

    @property
    def card(self) -> NetworkCard:
        """Of the second, under the names of both; what counts for the whole image is checked."""
        card = self.second.card
        return replace(
            card, name=f"{self.first.card.name} > {card.name}",
            familiar=card.familiar if self._sees == "image" else None,
        )  # fmt: skip

    def region(self, image: Image, *, anyway: bool = False, progress: Progress = QUIET) -> Region:
        """Where the first model sees something, and the margin; the whole image where nowhere."""
        first = self.first
        shown = first.card.declared(image)
        first.card.check(shown, anyway=anyway)
        if first.card.task == "detect":
            corners, _, _ = detect.boxes(first.card, first.engine, shown)
            ends = _boxed(corners)
        else:
            grid, found = segment.probability_bands(
                first.card, first.engine, shown, progress=progress
            )
            labelled = ((z, segment.decide(first.card, band)) for z, band in found)
            ends = _covered(labelled, grid, image.grid)
        return widened(ends, image.grid, margin_mm=self._margin)

    def part(
        self, image: Image, *, anyway: bool = False, progress: Progress = QUIET
    ) -> tuple[Image, Levels | None, Region]:
        """What the second one is given: a part of the image, the levels of the whole where it was
        trained on whole images, and where that is.
        """
        card = self.second.card
        shown = card.declared(image)
        if self._sees == "image":
            card.check(shown, anyway=anyway)
        place = self.region(image, anyway=anyway, progress=progress)
        part = shown.crop(start=place.start, stop=place.stop)
        if self._sees == "region":
            card.check(part, anyway=anyway)
        levels = None
        if self._sees == "image" and card.preparation.scaling not in UNLEVELLED:
            levels = levels_of(channels_of(shown, card.channels).data, card.preparation)
        return part, levels, place

    def answer(
        self, image: Image, *, anyway: bool = False, progress: Progress = QUIET
    ) -> tuple[Array, Region]:
        """Labels ``(z, y, x)`` on the image's grid, and where they were looked for."""
        card = self.second.card
        part, levels, place = self.part(image, anyway=anyway, progress=_part(progress, 0.0, 0.3))
        labels, _ = segment.answer(
            card, self.second.engine, part, levels=levels, progress=_part(progress, 0.3, 1.0)
        )
        whole = np.zeros(image.grid.shape, labels.dtype if labels.dtype != bool else np.uint8)
        whole[place.slices] = labels
        return whole, place

    def __call__(
        self, *images: Image, anyway: bool = False, progress: Progress = QUIET
    ) -> list[Finding]:
        """One `Mask` on the image's grid; its provenance says where was looked."""
        if len(images) != 1:
            raise Refused(f"{self.card.name} reads 1 image at a time; {len(images)} given")
        image = images[0]
        labels, place = self.answer(image, anyway=anyway, progress=progress)
        past = history(self.second.card, image)
        step = past.steps[-1]
        more = {
            "first": self.first.card.name, "first_sha256": self.first.card.sha256,
            "start": list(place.start), "stop": list(place.stop), "located": place.found,
        }  # fmt: skip
        step = replace(step, params={**step.params, **more})
        return [
            Mask(
                data=labels, grid=image.grid, segments=segment.segments(self.second.card),
                on=instances(image), provenance=replace(past, steps=(*past.steps[:-1], step)),
                attributes=dict(image.attributes),
            )
        ]  # fmt: skip


def widened(ends: tuple[Float, Float] | None, grid: Grid, *, margin_mm: float) -> Region:
    """The whole voxels of ``grid`` between two corners ``(z, y, x)`` (edges), and a margin."""
    if ends is None:
        return Region((0, 0, 0), grid.shape, found=False)
    margin = margin_mm / np.asarray(grid.spacing)
    if grid.shape[0] == 1:
        margin[0] = 0.0
    low = np.clip(np.floor(ends[0] - margin + 0.5), 0, np.asarray(grid.shape) - 1)
    high = np.clip(np.ceil(ends[1] + margin + 0.5), low + 1, grid.shape)
    start, stop = ([int(v) for v in edge] for edge in (low, high))
    return Region((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]), found=True)


def _covered(
    labelled: Iterable[tuple[int, Array]], grid: Grid, wanted: Grid
) -> tuple[Float, Float] | None:
    """Corners in ``wanted`` of the box around every labelled voxel of ``grid``, slab by slab."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for z, labels in labelled:
        there = labels > 0
        if not there.any():
            continue
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            along = np.flatnonzero(there.any(axis=others)) + (z if axis == 0 else 0)
            low[axis] = min(low[axis], along[0])
            high[axis] = max(high[axis], along[-1])
    if not np.isfinite(low).all():
        return None
    edges = np.array(list(product(*zip(low - 0.5, high + 0.5, strict=True))))
    there = wanted.to_index(grid.to_world(edges))
    return there.min(axis=0), there.max(axis=0)


def _boxed(corners: Float) -> tuple[Float, Float] | None:
    """Corners ``(z, y, x)`` around all boxes of a picture or a volume (see `detect`)."""
    if not len(corners):
        return None
    ends = detect.placed_corners(corners) - 0.5
    return ends[:, :3].min(axis=0), ends[:, 3:].max(axis=0)


def _part(progress: Progress, first: float, last: float) -> Progress:
    return Progress(lambda f, m: progress(first + (last - first) * f, m))
