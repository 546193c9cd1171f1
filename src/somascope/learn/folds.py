"""Cross-validation by patient: every case is judged once, by a model that never saw its patient."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from somascope.core import QUIET, Progress
from somascope.core.errors import Conflict, ParameterError
from somascope.io.atomic import replacing
from somascope.learn.datasets import Case, Dataset, parted
from somascope.learn.evaluate import Evaluation, evaluate
from somascope.learn.make import make
from somascope.learn.plan import Plan
from somascope.learn.subgroups import subgroups
from somascope.models import load, package

FITTED = ("ece", "ece_if_calibrated", "calibration_rms", "ece_balanced", "brier",
          "conformal_coverage", "conformal_set_size")  # fmt: skip
"""Figures of what is fitted to the very part that a fold is judged on."""


@dataclass(frozen=True)
class Folds:
    """``models`` made, what each said of its own part, and ``pooled`` rows of all cases.

    ``figures`` has for each name the mean over the folds and their standard deviation; those of
    calibration (`FITTED`) are not among them.
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
    that are there already are not trained again, so that a run that was stopped goes on; a file
    ``fold-1.key.json`` beside each says what it was trained for.

    The part a model is judged on also decided when it stopped, as in nnU-Net's cross-validation,
    so the figures are somewhat too good. Temperature and conformal limit are fitted to that part
    too: the figures in `FITTED` would be far too good and are left out of ``figures`` (the
    ``parts`` have them, and the probabilities of the ``pooled`` rows have that temperature; it
    changes neither their order within a fold nor what is said). What is usual is told from the
    training cases alone, but by the plan's fingerprint of all cases where no plan is given.

    Raises
    ------
    ParameterError
        Fewer than two folds, or fewer patients than folds.
    Conflict
        There is a fold in ``out`` already that was made from other cases, for other folds, or by
        another plan: its model may have seen the patients it would be judged on.
    """
    if folds < 2:
        raise ParameterError(f"{folds} folds; cross-validation needs two or more")
    out = Path(out)
    usable = tuple(replace(c, split="") for c in dataset.cases if c.split != "test")
    models: list[Path] = []
    parts: list[Evaluation] = []
    for fold in range(folds):
        path = out / f"fold-{fold + 1}"
        _, held = parted(usable, folds=folds, fold=fold)
        claimed(path, {
            "folds": folds, "fold": fold + 1, "cases": digest(_names(usable)),
            "held": digest(sorted({c.patient for c in held})), "seed": seed, "steps": steps,
            "plan": digest([budget_minutes, modality] if chosen is None else chosen.to_json()),
        })  # fmt: skip
        if not (path / package.CARD).exists():
            make(
                dataset.only(usable), path, chosen=chosen, budget_minutes=budget_minutes,
                modality=modality, fold=fold, folds=folds, seed=seed, steps=steps,
                progress=progress,
            )  # fmt: skip
        part = dataset.only([replace(c, split="val") for c in held])
        parts.append(evaluate(load(path), part, split="val", draws=draws, progress=progress))
        models.append(path)
    pooled = replace(
        parts[0], model=f"{folds} folds", rows=[r for p in parts for r in p.rows], metrics=[],
        tables={}, problems=[x for p in parts for x in p.problems], subgroups=[],
    )  # fmt: skip
    pooled.subgroups += subgroups(pooled.task, pooled.rows, draws=draws)
    figures: dict[str, tuple[float, float]] = {}
    for name in [m.name for m in parts[0].metrics if m.name not in FITTED]:
        values = [m.value for p in parts for m in p.metrics if m.name == name]
        figures[name] = (float(np.mean(values)), float(np.std(values, ddof=1)))
    return Folds(tuple(models), tuple(parts), pooled, figures)


def _names(cases: Sequence[Case]) -> list[tuple[str, str, int]]:
    return sorted((c.id, c.patient, int(c.label)) for c in cases)


def digest(value: object) -> str:
    """SHA-256 of what JSON makes of a value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def claimed(path: Path, key: dict[str, object]) -> None:
    """Write down what a fold is for before it is trained; `Conflict` where it was for another."""
    file = path.with_name(f"{path.name}.key.json")
    text = json.dumps(key, indent=1) + "\n"
    if not file.exists():
        if (path / package.CARD).exists():
            raise Conflict(f"{path} is there without {file.name}, so nobody knows which patients "
                           "it has seen; remove it or choose another folder")  # fmt: skip
        with replacing(file) as written:
            written.write(text.encode())
        return
    try:
        known = json.loads(file.read_bytes())
    except ValueError:
        known = None
    if known != key:
        known = known if isinstance(known, dict) else {}
        other = ", ".join(k for k, v in key.items() if known.get(k, "") != v)
        raise Conflict(f"{path} was made for another cross-validation (its {other or 'key'} "
                       "differ); remove it or choose another folder")  # fmt: skip
