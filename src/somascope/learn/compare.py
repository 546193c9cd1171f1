"""Two evaluations on the same cases held against each other; needs the rows, not the models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.learn.evaluate import Evaluation
from somascope.learn.metrics.bootstrap import DRAWS
from somascope.learn.metrics.compare import Difference, delong, paired


def compare(first: Evaluation, second: Evaluation, *, draws: int = DRAWS) -> list[Difference]:
    """What the first model does better or worse than the second, on the cases both looked at.

    Classification: AUC of two classes by DeLong's test where every case is a patient of its own,
    else by paired bootstrap over patients; accuracy. Other tasks: every figure that both have for
    each case, by paired bootstrap over patients, on the cases where it is finite for both.

    Raises
    ------
    ParameterError
        Other tasks or classes, or no case in common.
    """
    if first.task != second.task:
        raise ParameterError(
            f"{first.model} is to {first.task} and {second.model} to {second.task}"
        )
    if first.task == "classify" and first.classes != second.classes:
        raise ParameterError(
            f"{first.model} tells {', '.join(first.classes)} apart and {second.model} "
            f"{', '.join(second.classes)}; compare models of the same classes in the same order"
        )
    known = {r["id"]: r for r in second.rows}
    pairs = [(r, known[r["id"]]) for r in first.rows if r["id"] in known]
    if not pairs:
        raise ParameterError(f"{first.model} and {second.model} were judged on no case in common")
    patients = [str(a["patient"]) for a, _ in pairs]
    if first.task == "classify":
        return _classified(pairs, patients, draws)
    names = [
        k for k, v in pairs[0][0].items()
        if k in pairs[0][1] and k not in ("id", "patient", "groups", "truth", "found", "truth_ml")
        and isinstance(v, float)
    ]  # fmt: skip
    found: list[Difference] = []
    for name in names:
        values = np.array([[a[name], b[name]] for a, b in pairs], float)
        both = np.isfinite(values).all(axis=1)
        whose = [patients[i] for i in np.flatnonzero(both)]
        if len(set(whose)) < 2:
            nan = float("nan")
            found.append(Difference(name, nan, nan, nan, nan, nan, len(whose), "paired bootstrap"))
            continue
        means = _mean(values[both, 0]), _mean(values[both, 1])
        found.append(paired(name, means, whose, draws=draws))
    return found


def _mean(values: Array) -> Callable[[Array], float]:
    return lambda some: float(values[some].mean())


def _classified(
    pairs: list[tuple[dict[str, Any], dict[str, Any]]], patients: list[str], draws: int
) -> list[Difference]:
    from somascope.learn.metrics.ranking import auc_of

    truth = np.array([a["truth"] for a, _ in pairs])
    scores = [np.log(np.maximum([pair[i]["p"] for pair in pairs], 1e-12)) for i in (0, 1)]
    right = [np.array([pair[i]["said"] == pair[i]["truth"] for pair in pairs]) for i in (0, 1)]
    alone = len(set(patients)) == len(patients)
    counts = np.bincount(truth, minlength=2)
    if scores[0].shape[1] == 2 and alone and counts.min() >= 2:
        first, second = (s[:, 1] - s[:, 0] for s in scores)
        areas = delong(first, second, truth == 1)
    else:
        areas = paired(
            "auc", (lambda i: auc_of(scores[0][i], truth[i]), lambda i: auc_of(scores[1][i],
                                                                               truth[i])),
            patients, draws=draws,
        )  # fmt: skip
    hits = paired(
        "accuracy", (lambda i: float(right[0][i].mean()), lambda i: float(right[1][i].mean())),
        patients, draws=draws,
    )  # fmt: skip
    return [areas, hits]
