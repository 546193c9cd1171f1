"""What a training begins with: another model's weights, images without labels, few cases only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError
from somascope.learn.curves import Watch
from somascope.learn.datasets import Case
from somascope.learn.fewshot import few_shot
from somascope.learn.fingerprint import duplicates
from somascope.learn.plan import Plan
from somascope.learn.pretrain import masked
from somascope.learn.semi import Consistency
from somascope.learn.tasks import Sample, samples
from somascope.learn.train import Trained, train
from somascope.models.inputs import inputs

WAYS = ("", "masked", "consistency")


def unlabelled_samples(
    folder: str | Path, plan: Plan, held: Sequence[Case], *, progress: Progress = QUIET
) -> list[Sample]:
    """The images of a folder, prepared as the plan says, without those that are ``held`` out."""
    given = inputs([str(folder)])
    cases = [Case(f"unlabelled {i.name}", f"unlabelled {i.name}", i.load) for i in given]
    ids = {c.id for c in held}
    seen = {
        name
        for leak in duplicates([*cases, *held], progress=progress)
        if leak.exact and ({leak.first, leak.second} & ids)
        for name in (leak.first, leak.second)
    }
    return samples([c for c in cases if c.id not in seen], plan, progress=progress)


def begun(
    plan: Plan,
    training: Sequence[Sample],
    validation: Sequence[Sample],
    *,
    weights: Mapping[str, torch.Tensor] | None = None,
    unlabelled: Sequence[Sample] = (),
    pretrain: str = "",
    few: bool = False,
    folder: Path | None = None,
    steps: int | None = None,
    last: bool = False,
    watch: Watch | None = None,
    progress: Progress = QUIET,
) -> Trained:
    """Train, after or beside what there is to learn without labels.

    Parameters
    ----------
    weights
        Of another model.
    unlabelled
        More images.
    pretrain
        ``masked``: draw hidden parts of all images first (`learn.pretrain`); ``consistency``: the
        unlabelled must be called the same when they are changed (`learn.semi`).
    few
        Compute the head from the cases and leave ``weights`` as they are (`learn.fewshot`).
    last
        Keep the last weights, whichever were best on ``validation``.
    watch
        Is told the curves: `curves.watching`.

    Raises
    ------
    ParameterError
        Ways that do not go together.
    """
    if pretrain not in WAYS:
        raise ParameterError(f"pretrain is {pretrain!r}; choose one of masked, consistency")
    if unlabelled and not pretrain:
        raise ParameterError("unlabelled images need a way to learn from them: give pretrain")
    if few:
        if weights is None or pretrain:
            raise ParameterError(
                "a head from few cases needs a model to start from (--from), and no pretraining"
            )
        return few_shot(plan, training, validation, start=weights, progress=progress)
    go = partial(
        train,
        plan,
        training,
        validation,
        folder=folder,
        steps=steps,
        last=last,
        watch=watch,
        progress=progress,
    )
    key = _key(weights)
    if pretrain == "consistency":
        return go(start=weights, key=key, beside=Consistency(plan, unlabelled))
    if pretrain == "masked":
        every = [*training, *unlabelled]
        names = "\n".join(sorted(s.id for s in every))
        key += hashlib.sha256(f"masked\n{names}".encode()).hexdigest()

        def drawn() -> dict[str, torch.Tensor]:
            found = masked(plan, every, start=weights, steps=steps, progress=progress)
            return {**(weights or {}), **found}

        return go(start=drawn, key=key)
    return go(start=weights, key=key)


def _key(weights: Mapping[str, torch.Tensor] | None) -> str:
    """Of the weights that a run starts from; nothing where there are none."""
    if not weights:
        return ""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
