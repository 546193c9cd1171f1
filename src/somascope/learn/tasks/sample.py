"""`Sample`: a case as the network sees it, kept in memory; and what every task does alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from somascope.core import QUIET, Image, Progress
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.learn.datasets import Case
from somascope.learn.plan import Plan
from somascope.models.detect import carried
from somascope.models.prepare import placed, prepared
from somascope.models.single import Shown


@dataclass(frozen=True)
class Sample:
    """Arrays of one case, prepared: ``image`` float32 ``(c, y, x)`` or ``(c, z, y, x)``.

    ``mask`` holds class numbers of the same space, 255 where the truth does not count; ``boxes``
    are in pixels of the prepared picture or volume.
    """

    id: str
    patient: str
    image: torch.Tensor
    label: int = -1
    mask: torch.Tensor | None = None
    boxes: Float | None = None
    moving: torch.Tensor | None = None
    moving_mask: torch.Tensor | None = None


class Task(Protocol):
    """What the one training loop asks of each of the four tasks."""

    def batch(self, samples: Sequence[Sample], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Changed examples, stacked; every random number from ``rng``."""
        ...

    def loss(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """One number to make small."""
        ...

    def score(self, network: torch.nn.Module, samples: Sequence[Sample]) -> dict[str, float]:
        """Figures on unchanged examples; ``score`` among them, the higher the better."""
        ...

    def chosen(self, samples: Sequence[Sample], rng: np.random.Generator) -> list[int]:
        """Which examples make the next batch."""
        ...


def _on(image: Image, values: Array, plan: Plan) -> Array:
    if values.shape != image.grid.shape:
        raise GeometryError(
            f"the label map has shape {values.shape} and its image {image.grid.shape}; give label "
            "maps on the grid of their images"
        )
    truth = replace(image, data=values, axes=())
    return placed(truth, plan.preparation, order="nearest").data


def _tensor(values: Array, plan: Plan) -> torch.Tensor:
    flat = values[:, 0] if plan.dimensions == 2 else values
    return torch.from_numpy(np.array(flat, order="C"))


def sample(case: Case, plan: Plan) -> Sample:
    """Open and prepare one case."""
    return _sample(case, plan, case.image())


def _single(cases: Sequence[Case], plan: Plan, progress: Progress) -> list[Sample]:
    """Objects of images; what those of one image share is made once."""
    assert plan.single is not None
    found: list[Sample] = []
    last: tuple[Callable[[], Image], Shown] | None = None
    for case in progress.over(list(cases), "preparing"):
        if case.box is None:
            raise ParameterError(f"{case.id} is a whole image, and the plan is of single objects; "
                                 "say that the cases are objects (--objects)")  # fmt: skip
        if last is None or last[0] is not case.image:
            last = (case.image, Shown(case.image(), plan.preparation, plan.single,
                                      channels=plan.channels))  # fmt: skip
        array = _tensor(last[1].array(case.box), plan)
        found.append(Sample(case.id, case.patient, array, case.label))
    return found


def _sample(case: Case, plan: Plan, image: Image) -> Sample:
    ready = prepared(image, plan.preparation, channels=plan.channels)
    mask = boxes = None
    if case.mask is not None:
        values = case.mask().astype(np.uint8)
        if case.region is not None:
            values = np.where(case.region(), values, np.uint8(255))
        mask = _tensor(_on(image, values, plan)[None].astype(np.int64), plan)
    if case.boxes is not None:
        there = carried(case.boxes[:, :-1], image.grid, ready.grid)
        boxes = np.column_stack([there, case.boxes[:, -1]])
    moving = moving_mask = None
    if case.moving is not None:
        other = case.moving()
        moving = _tensor(prepared(other, plan.preparation, channels=plan.channels).data, plan)
        if case.moving_mask is not None:
            values = _on(other, case.moving_mask().astype(np.uint8), plan)
            moving_mask = _tensor(values[None].astype(np.int64), plan)
    return Sample(
        case.id, case.patient, _tensor(ready.data.astype(np.float32), plan), case.label, mask,
        boxes,
        moving, moving_mask,
    )  # fmt: skip


def samples(cases: Sequence[Case], plan: Plan, *, progress: Progress = QUIET) -> list[Sample]:
    """Every case, opened and prepared once."""
    if plan.single is not None:
        return _single(cases, plan, progress)
    return [sample(c, plan) for c in progress.over(list(cases), "preparing")]


def spread(samples: Sequence[Sample], most: int) -> list[Sample]:
    """``most`` of them, from the first to the last: neighbours are often of one patient."""
    if len(samples) <= most:
        return list(samples)
    return [samples[i] for i in np.linspace(0, len(samples) - 1, most).round().astype(int)]


def shuffled(count: int, batch: int, rng: np.random.Generator) -> list[int]:
    """``batch`` examples, none twice where there are enough."""
    return rng.choice(count, size=batch, replace=count < batch).tolist()


def stacked(parts: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Dictionaries of tensors, stacked by name."""
    return {k: torch.stack([p[k] for p in parts]) for k in parts[0]}


def middle(shape: Sequence[int]) -> list[float]:
    """The centre of an array, in voxels."""
    return [(n - 1) / 2 for n in shape]
