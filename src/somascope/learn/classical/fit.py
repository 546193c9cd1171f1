"""Choice of features and of a classifier, both inside cross-validation by patient."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, TypeAlias

import numpy as np

from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.learn.metrics.calibration import balanced_weights
from somascope.learn.metrics.ranking import auc_of

Kind: TypeAlias = Literal["logistic", "forest", "boosting", "svm"]
KINDS: tuple[Kind, ...] = ("logistic", "forest", "boosting", "svm")
GRID: Mapping[Kind, Mapping[str, Sequence[Any]]] = {
    "logistic": {"features": (12, 40), "C": (0.1, 1.0), "l1_ratio": (0.5,)},
    "forest": {"features": (40,), "leaf": (2, 6)},
    "boosting": {"features": (40,), "depth": (1, 3)},
    "svm": {"features": (12, 40), "C": (1.0,)},
}
"""What is tried, the simplest first; of equals the first is taken."""
TREES, DEEPEST, STAGES, RATE = 200, 6, 100, 0.1
ALIKE = 0.95
"""Correlation from which of two features one is left out."""
LEAST = 1e-4
"""Probability that a forest's zero stands for."""


@dataclass(frozen=True)
class Fitted:
    """A classifier on ``columns`` of the features, standardised by ``mean`` and ``sd``."""

    kind: Kind
    settings: Mapping[str, Any]
    columns: Array
    mean: Float
    sd: Float
    classes: int
    estimator: Any

    def logits(self, x: Float) -> Float:
        """``(n, classes)``; of two the first is 0 unless it is a forest's logarithms."""
        if self.kind == "forest":
            return np.log(np.maximum(self.estimator.predict_proba(self.raw(x)), LEAST))
        given = self.raw(x) if self.kind == "boosting" else self.standard(x)
        made = self.estimator.decision_function(given)
        return np.stack([np.zeros_like(made), made], axis=1) if made.ndim == 1 else made

    def raw(self, x: Float) -> Array:
        """The chosen columns as the trees compare them, float32."""
        return x[:, self.columns].astype(np.float32)

    def standard(self, x: Float) -> Float:
        """The chosen columns less their mean over their deviation."""
        return (x[:, self.columns] - self.mean) / self.sd


def ranked(x: Float, y: Array) -> Array:
    """Features in the order of their F ratio between classes, without those like a better one."""
    sd = x.std(axis=0)
    usable = np.flatnonzero(sd > 1e-9 * np.maximum(np.abs(x).max(axis=0), 1e-9))
    if not usable.size:
        raise ParameterError("no feature varies among the training images")
    z = (x[:, usable] - x[:, usable].mean(axis=0)) / sd[usable]
    # Squared multiple correlation with the classes: rises with the F ratio.
    explained = np.zeros(len(usable))
    for k in np.unique(y):
        here = y == k
        explained += here.mean() * z[here].mean(axis=0) ** 2
    order = np.argsort(-explained, kind="stable")
    kept: list[int] = []
    alike = np.abs(z.T @ z) / len(z)
    for j in order:
        if all(alike[j, i] < ALIKE for i in kept):
            kept.append(int(j))
    return usable[kept]


def settings_of(kind: Kind) -> Iterator[dict[str, Any]]:
    """All that is tried of a kind."""
    names = list(GRID[kind])
    for values in product(*GRID[kind].values()):
        yield dict(zip(names, values, strict=True))


def fit(x: Float, y: Array, kind: Kind, settings: Mapping[str, Any], *, seed: int = 0) -> Fitted:
    """Choose features of ``x`` ``(n, f)``, standardise them, and fit; every class counts the same.

    ``x`` is float32 in value, as the model will see it.
    """
    columns = np.sort(ranked(x, y)[: settings["features"]])
    part = x[:, columns]
    mean, sd = part.mean(axis=0), np.maximum(part.std(axis=0), 1e-9)
    classes = int(y.max()) + 1
    estimator = _estimator(kind, settings, classes, len(columns), seed)
    made = Fitted(kind, dict(settings), columns, mean, sd, classes, estimator)
    given = made.raw(x) if kind in ("forest", "boosting") else made.standard(x)
    more = {"sample_weight": balanced_weights(y, classes)} if kind == "boosting" else {}
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the best so far is good enough
        estimator.fit(given, y, **more)
    return made


def _estimator(
    kind: Kind, settings: Mapping[str, Any], classes: int, width: int, seed: int
) -> Any:  # fmt: skip
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import SVC

    if kind == "logistic":
        return LogisticRegression(
            C=settings["C"], l1_ratio=settings["l1_ratio"], solver="saga", max_iter=500, tol=1e-3,
            class_weight="balanced", random_state=seed,
        )  # fmt: skip
    if kind == "forest":
        return RandomForestClassifier(
            TREES, max_depth=DEEPEST, min_samples_leaf=settings["leaf"], class_weight="balanced",
            random_state=seed, n_jobs=1,
        )  # fmt: skip
    if kind == "boosting":
        return GradientBoostingClassifier(
            n_estimators=STAGES, learning_rate=RATE, max_depth=settings["depth"], subsample=0.7,
            min_samples_leaf=4, random_state=seed,
        )  # fmt: skip
    gamma: Any = 1 / width  # a number, whatever scikit-learn's annotation says
    machine = SVC(C=settings["C"], kernel="rbf", gamma=gamma, class_weight="balanced")
    return machine if classes == 2 else OneVsRestClassifier(machine)


def parts(y: Array, patients: Sequence[str], folds: int, *, seed: int = 0) -> list[Array]:
    """Numbers of the held cases of each fold: by patient, classes spread evenly.

    Raises
    ------
    ParameterError
        A class has fewer patients than there are folds.
    """
    whose = np.asarray(patients)
    for k in np.unique(y):
        there = len(set(whose[y == k].tolist()))
        if there < folds:
            raise ParameterError(
                f"class {k} has {there} patients for {folds} folds; give more cases or fewer folds"
            )
    from sklearn.model_selection import StratifiedGroupKFold

    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return [held for _, held in split.split(np.zeros(len(y)), y, whose)]


@dataclass(frozen=True)
class Chosen:
    """The best of what was tried, its AUC, and the logits of every case when it was held out."""

    kind: Kind
    settings: Mapping[str, Any]
    auc: float
    logits: Float
    tried: tuple[tuple[str, float], ...]


def search(
    x: Float, y: Array, patients: Sequence[str], kinds: Sequence[Kind], *, folds: int = 3,
    seed: int = 0, progress: Progress = QUIET,
) -> Chosen:  # fmt: skip
    """Try all kinds and settings on folds by patient; the one of the largest AUC."""
    held = parts(y, patients, folds, seed=seed)
    every: list[tuple[Kind, dict[str, Any]]] = [(k, s) for k in kinds for s in settings_of(k)]
    best: Chosen | None = None
    tried: list[tuple[str, float]] = []
    for kind, settings in progress.over(every, "choosing"):
        logits = held_out(x, y, held, kind, settings, seed=seed)
        area = float(np.mean([auc_of(logits[h], y[h]) for h in held]))
        tried.append((f"{kind} {' '.join(f'{k}={v}' for k, v in settings.items())}", area))
        if best is None or area > best.auc + 1e-9:
            best = Chosen(kind, settings, area, logits, ())
    assert best is not None
    return Chosen(best.kind, best.settings, best.auc, best.logits, tuple(tried))


def held_out(
    x: Float, y: Array, held: Sequence[Array], kind: Kind, settings: Mapping[str, Any], *,
    seed: int = 0,
) -> Float:  # fmt: skip
    """Logits of every case by a classifier that did not see its fold."""
    logits = np.zeros((len(y), int(y.max()) + 1))
    for part in held:
        rest = np.setdiff1d(np.arange(len(y)), part)
        logits[part] = fit(x[rest], y[rest], kind, settings, seed=seed).logits(x[part])
    return logits
