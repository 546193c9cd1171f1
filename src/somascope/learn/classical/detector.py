"""From a data set of boxes to a detector without a network: candidates, radiomics, a classifier."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from somascope import __version__
from somascope.core import QUIET, Progress
from somascope.core.errors import Conflict, ParameterError
from somascope.core.grid import Array, Float
from somascope.learn.classical.fit import Chosen, Fitted, Kind, fit, parts, search
from somascope.learn.classical.graph import to_onnx
from somascope.learn.classical.make import Made, needs
from somascope.learn.classical.seen import FEWEST, Seen, learned_from, look, named
from somascope.learn.datasets import Case, Dataset
from somascope.learn.metrics import boxes as judging
from somascope.learn.metrics.bootstrap import interval
from somascope.models import familiar, package
from somascope.models.candidates import FAMILIES, SIDES, Candidates, boxes_of, vectors
from somascope.models.card import ClassName, Metric, NetworkCard
from somascope.models.classical import Features
from somascope.models.classify import softmax
from somascope.models.detect import SAME, suppressed
from somascope.models.prepare import Preparation

DETECTING: tuple[Kind, ...] = ("logistic", "forest", "boosting")
"""Kinds that are tried: a machine of support vectors is slow on thousands of candidates."""
LARGEST = 512
"""Pixels along the longer side, to which pictures without a pixel size are brought."""


def make_detector(
    dataset: Dataset,
    out: str | Path,
    *,
    kinds: Sequence[Kind] = DETECTING,
    modality: str = "",
    name: str = "",
    licence: str = "",
    training_data: str = "",
    most: int = 150,
    folds: int = 5,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = QUIET,
) -> Made:
    """Train a detector of blobs judged by radiomics, in pictures or volumes, and write it.

    Cases of the splits ``val`` and ``test`` are not touched. The classifier is chosen by
    cross-validation; the figures on the card are of other folds by patient, whose candidates the
    classifier did not see. What no blob fits cannot be found: `Made.left_out` names images without
    a candidate on any object.

    Raises
    ------
    ParameterError
        No detection, too few images or objects, an unknown kind.
    Conflict
        There is a model at ``out`` already.
    MissingExtra
        scikit-learn or onnx is not installed.
    """
    needs("train")
    out = Path(out)
    if dataset.task != "detect":
        raise ParameterError(f"{dataset.name} is a data set to {dataset.task}, not to detect")
    if folds < 2:
        raise ParameterError(f"{folds} folds; two or more judge what was not seen")
    if not overwrite and (out.is_file() or (out / package.CARD).exists()):
        raise Conflict(f"{out} is there already; choose another name or say overwrite")
    cases = [c for c in dataset.cases if c.split not in ("val", "test") and c.boxes is not None]
    if len(cases) < FEWEST:
        raise ParameterError(f"{len(cases)} images to learn from; {FEWEST} at least")
    how, preparation, channels = _looks(dataset, cases, most=most)
    seen, facts, left_out, how = look(
        cases, how, preparation, channels, classes=len(dataset.classes),
        progress=Progress(lambda f, m: progress(0.6 * f, m)),
    )  # fmt: skip
    names, usual = named(seen)
    patients = [s.case.patient for s in seen]
    x, y, whose = learned_from(seen, names, usual, seed=seed)
    for k, title in enumerate(dataset.classes):
        if len({whose[i] for i in np.flatnonzero(y == k + 1)}) < folds:
            raise ParameterError(
                f"candidates lie on {title} in the images of fewer than {folds} patients: objects "
                "of that class are no blobs, or too few; give more, or train a network"
            )
    rest = Progress(lambda f, m: progress(0.6 + 0.2 * f, m))
    chosen = search(x, y, whose, kinds, seed=seed, progress=rest)
    held = parts(y, whose, folds, seed=seed + 1)
    finds: list[Float] = [np.zeros((0, 0))] * len(seen)
    table = [vectors(s.rows, names, usual).astype(np.float64) for s in seen]
    for part in progress.over(held, "cross-validating"):
        away = {whose[int(i)] for i in part}
        stay = np.array([p not in away for p in whose])
        judge = fit(x[stay], y[stay], chosen.kind, chosen.settings, seed=seed)
        for i, one in enumerate(seen):
            if one.case.patient in away:
                finds[i] = _found(one, judge, table[i], how)
    truth = [s.truth for s in seen]
    for i in range(len(seen)):
        if finds[i].shape[1] == 0:  # none of its candidates was learned from, by any of them
            finds[i] = _found(seen[i], judge, table[i], how)
    threshold = _threshold(finds, truth, len(dataset.classes))
    made = fit(x, y, chosen.kind, chosen.settings, seed=seed)
    features = Features(
        tuple(names[i] for i in made.columns), "whole", FAMILIES, (), 32,
        tuple(float(usual[i]) for i in made.columns), how,
    )  # fmt: skip
    metrics = _figures(
        finds, truth, patients, dataset.classes, f"{dataset.name}, {folds} folds by patient"
    )
    card = _card(
        dataset, seen, features, chosen, preparation, facts, name=name or
        out.name.removesuffix(".zip"), modality=modality, licence=licence, channels=channels,
        training_data=training_data, threshold=threshold, metrics=metrics,
    )  # fmt: skip
    importance = _importance(made, x, y, names, seed=seed)
    history = {
        "tried": [{"what": t, "auc": a} for t, a in chosen.tried], "importance": importance,
        "left_out": left_out,
    }  # fmt: skip
    plan = {"method": "radiomics", "task": "detect", "kind": chosen.kind,
            "settings": dict(chosen.settings), "folds": folds, "seed": seed}  # fmt: skip
    extras = {
        n: (json.dumps(v, indent=1) + "\n").encode()
        for n, v in (("plan.json", plan), ("history.json", history))
    }
    graph = to_onnx(replace(made, columns=np.arange(len(features.names))), len(features.names))
    card = package.write(package.Package(card, graph, extras), out, overwrite=overwrite)
    progress(1.0, "written")
    return Made(card, chosen, importance, tuple(left_out))


def _looks(
    dataset: Dataset, cases: Sequence[Case], *, most: int
) -> tuple[Candidates, Preparation, int]:
    """How large the objects are, and how images are prepared."""
    first = cases[0].image()
    flat = first.grid.shape[0] == 1
    picture = flat and first.grid.spacing == (1.0, 1.0, 1.0)
    edges: list[float] = []
    for case in cases:
        boxes = case.boxes
        if boxes is None or not len(boxes):
            continue
        if boxes.shape[1] != (5 if flat else 7):
            raise ParameterError("pictures and volumes are not learned together")
        spacing = (1.0, 1.0) if picture else case.image().grid.spacing[1 if flat else 0 :]
        d = len(spacing)
        sides = (boxes[:, d : 2 * d] - boxes[:, :d]) * np.asarray(spacing)
        edges += np.exp(np.log(np.maximum(sides, 1e-3)).mean(axis=1)).tolist()
    if len(edges) < FEWEST:
        raise ParameterError(f"{dataset.name} has {len(edges)} boxes; {FEWEST} at least")
    low, high = (float(v) for v in np.percentile(edges, (2, 98)))
    large = LARGEST if picture and max(first.grid.shape[1:]) > LARGEST else 0
    how = Candidates(0.7 * low, 1.4 * high, SIDES, most)
    scaling = "none" if (dataset.modality == "CT" or first.modality == "CT") else "zscore"
    preparation = Preparation(orient=not flat, longest=large, scaling=scaling)
    coloured = [a.name for a in first.axes] == ["channel"] and first.shape[0] == 3
    return how, preparation, 3 if coloured else 1


def _found(one: Seen, judge: Fitted, x: Float, how: Candidates) -> Float:
    """Finds ``(n, 2 d + 2)`` of one image, as the model would tell them."""
    grid = one.grid
    d = 3 if grid.shape[0] > 1 else 2
    if not len(one.found):
        return np.zeros((0, 2 * d + 2))
    p = softmax(judge.logits(x))[:, 1:]
    corners, score, kind = boxes_of(how, one.found, p, grid, 0.02)
    keep = suppressed(corners, score, kind, most=SAME[d])
    return np.column_stack([corners[keep], kind[keep], score[keep]])


def _threshold(finds: Sequence[Float], truth: Sequence[Float], classes: int) -> float:
    """The score at which as much is found and as little is wrong as can be: the largest F1."""
    every = [
        judging.merged([judging.hits(f, t, kind=k) for f, t in zip(finds, truth, strict=True)])
        for k in range(classes)
    ]
    score = np.concatenate([h.score for h in every])
    right = np.concatenate([h.right for h in every])
    if not right.any():
        return 0.5
    order = np.argsort(-score, kind="stable")
    hit = np.cumsum(right[order])
    f1 = 2 * hit / (np.arange(1, len(hit) + 1) + sum(h.total for h in every))
    return float(np.clip(score[order][int(f1.argmax())], 0.02, 0.98))


def _figures(
    finds: Sequence[Float], truth: Sequence[Float], patients: Sequence[str],
    classes: Sequence[str], on: str,
) -> tuple[Metric, ...]:  # fmt: skip
    def ap(i: Array, k: int) -> float:
        return judging.average_precision([finds[j] for j in i], [truth[j] for j in i], kind=k)

    several = range(len(classes))
    wanted = [("map50", lambda i: float(np.nanmean([ap(i, k) for k in several])))]
    wanted += [(f"ap50 {c}", lambda i, k=k: ap(i, k)) for k, c in enumerate(classes)]
    return tuple(
        Metric(n, *interval(f, list(patients), draws=100), len(patients), on) for n, f in wanted
    )


def _importance(
    made: Fitted, x: Float, y: Array, names: Sequence[str], *, seed: int
) -> dict[str, float]:
    """How much the log loss of what was learned from rises when a feature is shuffled."""
    rng = np.random.default_rng(seed)

    def loss(values: Float) -> float:
        p = softmax(made.logits(values))
        return float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-12)).mean())

    whole, rises = loss(x), {}
    for column in made.columns:
        other = x.copy()
        other[:, column] = rng.permutation(other[:, column])
        rises[names[int(column)]] = round(loss(other) - whole, 6)
    return dict(sorted(rises.items(), key=lambda pair: -pair[1]))


def _card(
    dataset: Dataset, seen: Sequence[Seen], features: Features, chosen: Chosen,
    preparation: Preparation, facts: list[dict[str, float]], *, name: str, modality: str,
    licence: str, training_data: str, channels: int, threshold: float, metrics: tuple[Metric, ...],
) -> NetworkCard:  # fmt: skip
    kind = modality or dataset.modality
    grids = [s.own for s in seen]
    flat = grids[0].shape[0] == 1
    picture = flat and grids[0].spacing == (1.0, 1.0, 1.0)
    edges = [e for g in grids for e in g.spacing[1 if flat else 0 :]]
    usual = familiar.learned(
        facts, [s.case.patient for s in seen], measured=not picture, fixed=False,
        colour=channels == 3,
    )  # fmt: skip
    return NetworkCard(
        name=name, version="1", task="detect",
        summary=f"Detects {', '.join(dataset.classes)}: blobs judged by {len(features.names)} "
        f"radiomics features and {chosen.kind} (trained on {dataset.name})",
        modalities=() if kind == "OT" else (kind,), dimensions=2 if flat else 3,
        spacing_mm=(0.0, float("inf")) if picture else (0.5 * min(edges), 2.0 * max(edges)),
        licence=licence or "as the training data",
        training_data=training_data or f"{dataset.name}, {len(seen)} images",
        classes=tuple(ClassName.named(c) for c in dataset.classes), channels=channels,
        preparation=preparation, threshold=threshold, familiar=usual, metrics=metrics,
        limits=(
            f"Made by Somascope {__version__} on {len(seen)} images of one source.",
            "Finds what is about round and brighter or darker than around; one shape a class.",
        ),
        features=features, sha256="0" * 64,
    )  # fmt: skip
