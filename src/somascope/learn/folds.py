"""Cross-validation by patient: every case is judged once, by a model that never saw its patient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError
from somascope.learn.datasets import Dataset, parted
from somascope.learn.evaluate import Evaluation, evaluate
from somascope.learn.make import make
from somascope.learn.plan import Plan
from somascope.learn.subgroups import subgroups
from somascope.models import load, package


@dataclass(frozen=True)
class Folds:
    """``models`` made, what each said of its own part, and ``pooled`` rows of all cases.

    ``figures`` has for each name the mean over the folds and their standard deviation.
    """

    models: tuple[Path, ...]
    parts: tuple[Evaluation, ...]
    pooled: Evaluation
    figures: dict[str, tuple[float, float]]


def cross_validated(
    dataset: Dataset,
    out: str | Path,
    *,
    folds: int = 5,
    chosen: Plan | None = None,
    budget_minutes: float | None = None,
    modality: str = "",
    seed: int = 0,
    steps: int | None = None,
    draws: int = 200,
    progress: Progress = QUIET,
) -> Folds:
    """Train ``folds`` models in ``out/fold-1``... and judge each on the patients it did not see.

    The splits ``train`` and ``val`` of the data set are one here; ``test`` is not touched. Models
    that are there already are not trained again, so that a run that was stopped goes on. The part
    a model is judged on also decided when it stopped, as in nnU-Net's cross-validation.

    Raises
    ------
    ParameterError
        Fewer than two folds, or fewer patients than folds.
    """
    if folds < 2:
        raise ParameterError(f"{folds} folds; cross-validation needs two or more")
    out = Path(out)
    usable = tuple(replace(c, split="") for c in dataset.cases if c.split != "test")
    models: list[Path] = []
    parts: list[Evaluation] = []
    for fold in range(folds):
        path = out / f"fold-{fold + 1}"
        if not (path / package.CARD).exists():
            make(
                dataset.only(usable), path, chosen=chosen, budget_minutes=budget_minutes,
                modality=modality, fold=fold, folds=folds, seed=seed, steps=steps,
                progress=progress,
            )  # fmt: skip
        _, held = parted(usable, folds=folds, fold=fold)
        part = dataset.only([replace(c, split="val") for c in held])
        parts.append(evaluate(load(path), part, split="val", draws=draws, progress=progress))
        models.append(path)
    pooled = replace(
        parts[0], model=f"{folds} folds", rows=[r for p in parts for r in p.rows], metrics=[],
        tables={}, problems=[x for p in parts for x in p.problems], subgroups=[],
    )  # fmt: skip
    pooled.subgroups += subgroups(pooled.task, pooled.rows, draws=draws)
    figures: dict[str, tuple[float, float]] = {}
    for name in [m.name for m in parts[0].metrics]:
        values = [m.value for p in parts for m in p.metrics if m.name == name]
        figures[name] = (float(np.mean(values)), float(np.std(values, ddof=1)))
    return Folds(tuple(models), tuple(parts), pooled, figures)
