"""From a data set to a classical model in one call: features, choice, calibration, graph, card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from somascope import __version__
from somascope.core import QUIET, Image, Progress
from somascope.core.errors import Conflict, MissingExtra, ParameterError, SomascopeError
from somascope.core.grid import Array, Float
from somascope.learn.calibrate import fitted as calibrated
from somascope.learn.calibrate import usual_threshold
from somascope.learn.classical.fit import KINDS, Chosen, Fitted, Kind, fit, parts, search
from somascope.learn.classical.graph import to_onnx
from somascope.learn.datasets import Case, Dataset
from somascope.learn.metrics import calibration, ranking
from somascope.learn.metrics.bootstrap import interval
from somascope.models import familiar, package
from somascope.models.card import ClassName, Metric, NetworkCard
from somascope.models.classical import Features, Place, filled, measured
from somascope.models.classify import softmax
from somascope.models.prepare import Preparation

METHODS = ("radiomics",)
LARGEST = 256
"""Pixels along the longer side, to which pictures without a pixel size are brought."""
FEWEST = 20
"""Cases to learn from."""
REPEATS = 3


@dataclass(frozen=True)
class Made:
    """The card, what was chosen, figures by cross-validation, and importance by feature.

    ``importance`` is by how much the log loss of held cases rises when the feature is shuffled
    among them (Breiman, Mach. Learn. 45, 2001), mean of the folds: of features that say the same
    each seems to matter little. ``left_out`` names cases that could not be measured, and why.
    """

    card: NetworkCard
    chosen: Chosen
    importance: dict[str, float]
    left_out: tuple[tuple[str, str], ...]


def needs(verb: str) -> None:
    """Raise `MissingExtra` where scikit-learn or onnx is not installed."""
    missing = [n for m, n in (("sklearn", "scikit-learn"), ("onnx", "onnx")) if not find_spec(m)]
    if missing:
        raise MissingExtra(
            f"somascope {verb} --method radiomics needs {' and '.join(missing)}, not installed "
            'here: pip install "somascope[classical]"'
        )


def make_classical(
    dataset: Dataset,
    out: str | Path,
    *,
    kinds: Sequence[Kind] = KINDS,
    place: Place | None = None,
    scales: Sequence[float] = (1.0, 2.0, 4.0),
    modality: str = "",
    name: str = "",
    licence: str = "",
    training_data: str = "",
    folds: int = 5,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = QUIET,
) -> Made:
    """Train a classifier on radiomics of whole images and write it to ``out``.

    Cases of the splits ``val`` and ``test`` are not touched. Features and classifier are chosen
    inside the folds; the figures on the card are of cases whose patient no part of the choice saw
    (nested cross-validation). Temperature and conformal limit come from held cases.

    Parameters
    ----------
    kinds
        Of classifiers to try.
    place
        ``whole`` or ``foreground``; default: foreground for volumes, whole for pictures.
    scales
        See `models.classical.Features`.

    Raises
    ------
    ParameterError
        No classification, too few cases or patients of a class, an unknown kind.
    Conflict
        There is a model at ``out`` already.
    MissingExtra
        scikit-learn or onnx is not installed.
    """
    needs("train")
    out = Path(out)
    if dataset.task != "classify":
        raise ParameterError(
            f"radiomics classifies; {dataset.name} is a data set to {dataset.task}"
        )
    if not kinds or set(kinds) - set(KINDS):
        raise ParameterError(f"kinds is {list(kinds)}; choose of {', '.join(KINDS)}")
    if folds < 2:
        raise ParameterError(f"{folds} folds; two or more judge what was not seen")
    if not overwrite and (out.is_file() or (out / package.CARD).exists()):
        raise Conflict(f"{out} is there already; choose another name or say overwrite")
    cases = [c for c in dataset.cases if c.split not in ("val", "test")]
    if len(cases) < FEWEST:
        raise ParameterError(f"{len(cases)} cases to learn from; {FEWEST} at least")
    _every_class(dataset, cases)
    half = Progress(lambda f, m: progress(0.4 * f, m))
    looked = look(cases, place=place, scales=scales, progress=half)
    x, y = looked.values, np.array([c.label for c in looked.cases])
    _every_class(dataset, looked.cases)
    patients = [c.patient for c in looked.cases]
    rest = Progress(lambda f, m: progress(0.4 + 0.6 * f, m))
    judged, importance = nested(x, y, patients, kinds, looked.features.names, folds=folds,
                                seed=seed, progress=rest)  # fmt: skip
    chosen = search(x, y, patients, kinds, seed=seed)
    made = fit(x, y, chosen.kind, chosen.settings, seed=seed)
    features, model = pruned(looked.features, made)
    card = _card(dataset, looked, features, chosen, name=name or out.name.removesuffix(".zip"),
                 modality=modality, licence=licence, training_data=training_data)  # fmt: skip
    on = f"{dataset.name}, {folds} folds by patient"
    card = calibrated(replace(card, metrics=figures(judged, y, patients, on)), chosen.logits, y)
    record = {
        "method": "radiomics", "kind": chosen.kind, "settings": dict(chosen.settings),
        "folds": folds, "seed": seed, "scales": list(scales), "place": features.place,
    }  # fmt: skip
    history = {
        "tried": [{"what": t, "auc": a} for t, a in chosen.tried], "importance": importance,
        "left_out": looked.left_out,
    }  # fmt: skip
    extras = {
        "plan.json": (json.dumps(record, indent=1) + "\n").encode(),
        "history.json": (json.dumps(history, indent=1) + "\n").encode(),
    }
    graph = to_onnx(model, len(features.names))
    card = package.write(package.Package(card, graph, extras), out, overwrite=overwrite)
    progress(1.0, "written")
    return Made(card, chosen, importance, looked.left_out)


def _every_class(dataset: Dataset, cases: Sequence[Case]) -> None:
    there = {c.label for c in cases}
    for k, name in enumerate(dataset.classes):
        if k not in there:
            raise ParameterError(f"no case of {name} can be learned from; give some")


@dataclass(frozen=True, eq=False)
class Looked:
    """Cases that could be measured, their ``values`` ``(n, f)`` (float32 in value), and how."""

    cases: tuple[Case, ...]
    values: Float
    features: Features
    preparation: Preparation
    dimensions: int
    spacing: tuple[float, float]
    usual: familiar.Familiar | None
    body_parts: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def look(
    cases: Sequence[Case], *, place: Place | None, scales: Sequence[float],
    progress: Progress = QUIET,
) -> Looked:  # fmt: skip
    """Measure every case, one image in memory at a time."""
    first = cases[0].image()
    flat = first.grid.shape[0] == 1
    picture = flat and first.grid.spacing == (1.0, 1.0, 1.0)
    longest = LARGEST if picture and max(first.grid.shape[1:]) > LARGEST else 0
    how = Preparation(orient=not flat, longest=longest, scaling="none")
    wanted = Features(("?",), place or ("whole" if flat else "foreground"), scales=tuple(scales))
    rows: list[dict[str, float]] = []
    kept: list[Case] = []
    left_out: list[tuple[str, str]] = []
    facts: list[dict[str, float]] = []
    edges: list[float] = []
    body: set[str] = set()
    for case in progress.over(list(cases), "measuring"):
        try:
            image = _real(case.image(), flat=flat)
            rows.append(measured(wanted, image, how))
        except SomascopeError as error:
            left_out.append((case.id, str(error)))
            continue
        kept.append(case)
        facts.append(familiar.facts(image))
        edges += image.grid.spacing[1 if flat else 0 :]
        body.add(str(image.attributes.get("BodyPartExamined", "")).strip().upper())
    if len(kept) < FEWEST:
        raise ParameterError(f"only {len(kept)} of {len(cases)} cases can be measured: "
                             f"{left_out[0] if left_out else 'none given'}")  # fmt: skip
    names = tuple(dict.fromkeys(n for row in rows for n in row))
    table = np.array([[row.get(n, np.nan) for n in names] for row in rows])
    table[~np.isfinite(table)] = np.nan
    there = np.isfinite(table).mean(axis=0) >= 0.5
    names, table = tuple(n for n, t in zip(names, there, strict=True) if t), table[:, there]
    usual = np.nanmedian(table, axis=0).astype(np.float32).astype(np.float64)
    values = filled(table, usual).astype(np.float32).astype(np.float64)
    features = replace(wanted, names=names, usual=tuple(float(v) for v in usual))
    known = familiar.learned(
        facts, [c.patient for c in kept], measured=not picture, fixed=False, colour=False
    )
    spacing = (0.0, float("inf")) if picture else (0.5 * min(edges), 2.0 * max(edges))
    return Looked(
        tuple(kept), values, features, how, 2 if flat else 3, spacing, known,
        () if "" in body else tuple(sorted(body)), tuple(left_out),
    )  # fmt: skip


def _real(image: Image, *, flat: bool) -> Image:
    if image.data.dtype.kind == "c":
        raise ParameterError("complex values; take the magnitude first")
    if (image.grid.shape[0] == 1) != flat:
        raise ParameterError("pictures and volumes are not learned together")
    return image


def nested(
    x: Float, y: Array, patients: Sequence[str], kinds: Sequence[Kind], names: Sequence[str], *,
    folds: int, seed: int, progress: Progress = QUIET,
) -> tuple[Float, dict[str, float]]:  # fmt: skip
    """Calibrated probabilities of held cases, everything chosen without them; and importance."""
    p = np.zeros((len(y), int(y.max()) + 1))
    rises = np.zeros(len(names))
    held = parts(y, patients, folds, seed=seed + 1)
    rng = np.random.default_rng(seed)
    for part in progress.over(held, "cross-validating"):
        rest = np.setdiff1d(np.arange(len(y)), part)
        chosen = search(x[rest], y[rest], [patients[int(i)] for i in rest], kinds, seed=seed)
        made = fit(x[rest], y[rest], chosen.kind, chosen.settings, seed=seed)
        t, offsets = calibration.affine(chosen.logits, y[rest])
        p[part] = softmax(made.logits(x[part]), temperature=t, offsets=offsets)
        whole = _loss(p[part], y[part])
        for column in made.columns:
            for _ in range(REPEATS):
                other = x[part].copy()
                other[:, column] = rng.permutation(other[:, column])
                changed = softmax(made.logits(other), temperature=t, offsets=offsets)
                worse = _loss(changed, y[part])
                rises[column] += (worse - whole) / (REPEATS * len(held))
    order = np.argsort(-rises, kind="stable")
    return p, {names[int(i)]: round(float(rises[i]), 6) for i in order if rises[i] != 0}


def _loss(p: Float, y: Array) -> float:
    """Mean negative log-likelihood."""
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-12)).mean())


def figures(
    p: Float, y: Array, patients: Sequence[str], on: str, *, draws: int = 500
) -> tuple[Metric, ...]:
    """AUC, rates and calibration of held cases, intervals by patient."""
    k = p.shape[1]
    log, said = np.log(np.maximum(p, 1e-12)), p.argmax(axis=1)
    if k == 2:
        said = (p[:, 1] >= usual_threshold(y)).astype(int)
    names = ("accuracy", "balanced_accuracy")
    rated = [
        (n, lambda i, n=n: ranking.rates(ranking.decisions(said[i], y[i], k))[n]) for n in names
    ]
    wanted = [
        ("auc", lambda i: ranking.auc_of(log[i], y[i])), *rated,
        ("ece", lambda i: calibration.ece(p[i], y[i])),
        ("brier", lambda i: calibration.brier(p[i], y[i])),
    ]  # fmt: skip
    return tuple(
        Metric(n, *interval(f, patients, draws=draws, centred=n == "ece"), len(y), on)
        for n, f in wanted
    )


def pruned(features: Features, made: Fitted) -> tuple[Features, Fitted]:
    """Only the features that the classifier looks at."""
    names = tuple(features.names[i] for i in made.columns)
    usual = tuple(features.usual[i] for i in made.columns)
    families = tuple(f for f in features.families if any(f" {f} " in f" {n} " for n in names))
    # A single slice has its shape under another name.
    shape = ("shape",) if any(" shape2D " in n for n in names) else ()
    families = tuple(dict.fromkeys([*shape, *families]))
    scales = tuple(s for s in features.scales if any(n.startswith(f"log {s:g} ") for n in names))
    kept = replace(features, names=names, usual=usual, families=families, scales=scales)
    return kept, replace(made, columns=np.arange(len(names)))


def _card(
    dataset: Dataset, looked: Looked, features: Features, chosen: Chosen, *, name: str,
    modality: str, licence: str, training_data: str,
) -> NetworkCard:  # fmt: skip
    kind = modality or dataset.modality
    called = {"logistic": "logistic regression (elastic net)", "forest": "random forest",
              "boosting": "gradient boosting", "svm": "support vector machine"}  # fmt: skip
    return NetworkCard(
        name=name, version="1", task="classify",
        summary=f"Classifies {', '.join(dataset.classes)} by {len(features.names)} radiomics "
        f"features and {called[chosen.kind]} (trained on {dataset.name})",
        modalities=() if kind == "OT" else (kind,), dimensions=looked.dimensions,
        spacing_mm=looked.spacing, licence=licence or "as the training data",
        training_data=training_data or f"{dataset.name}, {len(looked.cases)} cases",
        classes=tuple(ClassName.named(c) for c in dataset.classes), channels=1,
        preparation=looked.preparation, familiar=looked.usual, body_parts=looked.body_parts,
        limits=(f"Made by Somascope {__version__} on {len(looked.cases)} cases of one source.",),
        features=features, sha256="0" * 64,
    )  # fmt: skip


def history_of(packed: package.Package) -> dict[str, Any]:
    """What `make_classical` wrote about how the model came to be; empty where it is not there."""
    try:
        found = json.loads(packed.extras.get("history.json", b"{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
