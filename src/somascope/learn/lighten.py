"""A model with lighter weights, and the proof on cases that it is no worse. Needs no PyTorch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError, Refused
from somascope.learn.datasets import Dataset
from somascope.learn.evaluate import evaluate
from somascope.models import Package
from somascope.models.lighter import How, lighter
from somascope.models.stages import opened

JUDGED = {"classify": "auc", "segment": "dice", "detect": "map50"}
"""The figure that decides, by task."""


@dataclass(frozen=True)
class Lightened:
    """The lighter model, and the figure ``name`` ``before`` and ``after`` on ``cases`` cases."""

    package: Package
    name: str
    before: float
    after: float
    cases: int


def lightened(
    packed: Package,
    how: How,
    dataset: Dataset,
    *,
    tolerance: float = 0.005,
    split: str = "",
    progress: Progress = QUIET,
) -> Lightened:
    """Store the weights in fewer bytes where the figure of the task falls by no more than asked.

    Parameters
    ----------
    tolerance
        The most that AUC, Dice or mAP50 may fall on the cases.

    Raises
    ------
    Refused
        It falls by more.
    ParameterError
        A task without such a figure, or a tolerance that is none.
    """
    task = packed.card.task
    if task not in JUDGED:
        raise ParameterError(f"{packed.card.name} is a model to {task}; lighter weights are judged "
                             f"for {', '.join(JUDGED)}")  # fmt: skip
    if not 0 <= tolerance < 1:
        raise ParameterError(f"tolerance is {tolerance}; give 0 to 1")
    graph = lighter(packed.graph, how)
    note = f"weights stored as {how}"
    card = replace(packed.card, sha256=hashlib.sha256(graph).hexdigest(),
                   limits=(*packed.card.limits, note))  # fmt: skip
    made = Package(card, graph, {n: d for n, d in packed.extras.items()
                                 if n != "weights.safetensors"})  # fmt: skip
    name = JUDGED[task]
    found = [
        evaluate(opened(p), dataset, split=split, draws=20, progress=progress)
        for p in (packed, made)
    ]
    before, after = (e.value(name) for e in found)
    if not after >= before - tolerance:
        raise Refused(
            f"{card.name} as {how} has {name} {after:.4f} on {len(found[1].rows)} cases, "
            f"{before:.4f} before: it falls by more than {tolerance:g}. Keep it as it is, take "
            "fp16, or say another --tolerance"
        )
    fall = f"{note}: {name} {before:.4f} before, {after:.4f} after, {len(found[1].rows)} cases"
    card = replace(card, limits=(*packed.card.limits, fall))
    return Lightened(replace(made, card=card), name, before, after, len(found[1].rows))
