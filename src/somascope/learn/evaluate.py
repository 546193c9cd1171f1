"""Judge a model on cases with a truth: figures with intervals, case by case. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from somascope.core import QUIET, Image, Progress, Warp
from somascope.core.errors import NotFound, ParameterError, SomascopeError
from somascope.core.grid import Array
from somascope.learn.classes import ordered
from somascope.learn.datasets import Case, Dataset
from somascope.learn.metrics import boxes, calibration, objects, ranking, regions
from somascope.learn.metrics.bootstrap import interval
from somascope.learn.subgroups import groups_of, subgroups, thirds
from somascope.models import Metric, Network, classify, detect
from somascope.models.predict import LEAST
from somascope.models.stages import labels_of


@dataclass
class Evaluation:
    """Figures, one row for each case (``id``, ``patient``, ``quality``...), curves, refusals, and
    what is to be known to read them (``notes``).
    """

    task: str
    model: str
    dataset: str
    classes: tuple[str, ...]
    split: str
    metrics: list[Metric] = field(default_factory=list[Metric])
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    subgroups: list[Metric] = field(default_factory=list[Metric])
    tables: dict[str, list[list[float]]] = field(default_factory=dict[str, list[list[float]]])
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    notes: list[str] = field(default_factory=list[str])

    def value(self, name: str) -> float:
        """The figure of that name."""
        return next(m.value for m in self.metrics if m.name == name)


def cases_of(dataset: Dataset, split: str) -> tuple[str, tuple[Case, ...]]:
    """The cases to judge on: ``split``, or ``test`` where there is one, else ``val``, else all."""
    if split == "all":
        return "all", dataset.cases
    for name in (split,) if split else ("test", "val"):
        if dataset.of(name):
            return name, dataset.of(name)
    if split:
        raise NotFound(f"{dataset.name} has no cases of split {split!r}")
    return "all", dataset.cases


def evaluate(
    model: Network,
    dataset: Dataset,
    *,
    split: str = "",
    draws: int = 500,
    progress: Progress = QUIET,
) -> Evaluation:
    """Run a model on every case and compare; classes belong together by their names (`ordered`).

    Raises
    ------
    ParameterError
        The model does another task, or knows other classes than the data set.
    """
    card = model.card
    if card.task != dataset.task:
        raise ParameterError(f"{card.name} is a model to {card.task}; the data set's is "
                             f"{dataset.task}")  # fmt: skip
    if card.task != "register" and len(card.classes) != len(dataset.classes):
        raise ParameterError(
            f"{card.name} knows {len(card.classes)} classes and {dataset.name} has "
            f"{len(dataset.classes)}: {', '.join(dataset.classes)}"
        )
    dataset, note = ordered(dataset, [c.name for c in card.classes])
    name, cases = cases_of(dataset, split)
    result = Evaluation(card.task, f"{card.name} {card.version}", dataset.name,
                        tuple(c.name for c in card.classes), name,
                        notes=[note] if note else [])  # fmt: skip
    judge = {"classify": _classify, "segment": _segment, "detect": _detect,
             "register": _register}[card.task]  # fmt: skip
    judge(model, cases, result, draws, progress)
    if card.task == "segment":
        thirds(result.rows, "truth_ml")
    result.subgroups += subgroups(card.task, result.rows, draws=min(draws, 200))
    return result


def _looked(
    model: Network, cases: Sequence[Case], result: Evaluation, progress: Progress,
    look: Callable[[Case, Image], Any],
) -> list[tuple[Case, Any]]:  # fmt: skip
    """Each case with what ``look`` made of it; refused ones are in the problems.

    The first columns of the rows are written here: whose it is, and of which groups.
    """
    found: list[tuple[Case, Any]] = []
    for case in progress.over(list(cases), "judging"):
        try:
            image = model.card.declared(case.image())
            model.card.check(image)
            found.append((case, look(case, image)))
            result.rows.append(
                {"id": case.id, "patient": case.patient, "groups": groups_of(case, image)}
            )
        except SomascopeError as error:
            result.problems.append((case.id, str(error)))
    if not found:
        raise NotFound(f"none of {len(cases)} cases could be looked at: {result.problems[:2]}")
    return found


def _add(
    result: Evaluation, name: str, figure: Callable[[Array], float], patients: list[str],
    draws: int, *, centred: bool = False,
) -> None:  # fmt: skip
    value, low, high = interval(figure, patients, draws=draws, centred=centred)
    on = f"{result.dataset} ({result.split})"
    result.metrics.append(Metric(name, value, low, high, len(patients), on))


def _classify(
    model: Network, cases: Sequence[Case], result: Evaluation, draws: int, progress: Progress
) -> None:
    card = model.card

    def look(case: Case, image: Image) -> Array:
        if case.box is None:
            return classify.probabilities(card, model.engine, image)
        return classify.of_objects(card, model.engine, image, [case.box.tolist()])[0]

    found = _looked(model, cases, result, progress, look)
    p = np.array([v for _, v in found])
    truth = np.array([c.label for c, _ in found])
    said = np.array([classify.decided(card, v) for v in p])
    patients = [c.patient for c, _ in found]
    k = len(card.classes)
    log = np.log(np.maximum(p, 1e-12))
    _add(result, "auc", lambda i: ranking.auc_of(log[i], truth[i]), patients, draws)
    _add(result, "average_precision", lambda i: ranking.average_precision_of(p[i], truth[i]),
         patients, draws)  # fmt: skip
    for name in ranking.rates(ranking.decisions(said, truth, k)):
        _add(
            result, name,
            lambda i, n=name: ranking.rates(ranking.decisions(said[i], truth[i], k))[n],
            patients, draws,
        )  # fmt: skip
    w = calibration.balanced_weights(truth, k)
    _add(result, "ece", lambda i: calibration.ece(p[i], truth[i]), patients, draws, centred=True)
    chance = calibration.ece_if_calibrated(p)
    result.metrics.append(Metric("ece_if_calibrated", *chance, len(p), result.metrics[-1].on))
    _add(result, "calibration_rms", lambda i: calibration.rms_debiased(p[i], truth[i]),
         patients, draws, centred=True)  # fmt: skip
    _add(result, "ece_balanced", lambda i: calibration.ece(p[i], truth[i], weights=w[i]),
         patients, draws, centred=True)  # fmt: skip
    _add(result, "brier", lambda i: calibration.brier(p[i], truth[i]), patients, draws)
    if card.conformal:
        sets = calibration.prediction_sets(p, card.conformal[1])
        inside = sets[np.arange(len(truth)), truth]
        _add(result, "conformal_coverage", lambda i: float(inside[i].mean()), patients, draws)
        _add(result, "conformal_set_size", lambda i: float(sets[i].sum(1).mean()), patients, draws)
    for row, (case, v), s in zip(result.rows, found, said, strict=True):
        row |= {"truth": case.label, "said": int(s), "quality": float(v[case.label]),
                "p": [float(x) for x in v]}  # fmt: skip
    result.tables["confusion"] = ranking.decisions(said, truth, k).tolist()
    result.tables["reliability"] = calibration.reliability(p, truth)
    if k == 2:
        fpr, tpr, _ = ranking.roc(p[:, 1], truth == 1)
        result.tables["roc"] = np.column_stack([fpr, tpr]).tolist()
        recall, precision, _ = ranking.precision_recall(p[:, 1], truth == 1)
        result.tables["pr"] = np.column_stack([recall, precision]).tolist()


def _segment(
    model: Network, cases: Sequence[Case], result: Evaluation, draws: int, progress: Progress
) -> None:
    card = model.card
    single = len(card.classes) == 1
    shared: list[list[int]] = [[] for _ in card.classes]
    sizes: list[list[int]] = [[] for _ in card.classes]

    def look(case: Case, image: Image) -> dict[str, Any]:
        labels, p = labels_of(model, image, probabilities=single)
        assert case.mask is not None
        truth = case.mask()
        counts = case.region() if case.region is not None else np.ones(truth.shape, bool)
        labels, truth = np.where(counts, labels, 0), np.where(counts, truth, 0)
        row: dict[str, Any] = {}
        for k, c in enumerate(card.classes):
            a, b = labels == k + 1, truth == k + 1
            shared[k].append(2 * int((a & b).sum()))
            sizes[k].append(int(a.sum()) + int(b.sum()))
            row[f"dice {c.name}"] = regions.dice(a, b)
            row[f"hd95_mm {c.name}"] = regions.hd95(a, b, image.grid.spacing)
            row[f"assd_mm {c.name}"] = regions.assd(a, b, image.grid.spacing)
            row[f"nsd_1mm {c.name}"] = regions.nsd(a, b, image.grid.spacing)
            row[f"volume_error {c.name}"] = regions.volume_error(a, b)
            row[f"lesion_f1 {c.name}"] = regions.lesion_f1(a, b)
        if p is not None:
            row["auc"] = ranking.auc(p[0][counts], truth[counts] > 0)
        row["truth_ml"] = float((truth > 0).sum() * np.prod(image.grid.spacing) / 1000)
        return row

    found = _looked(model, cases, result, progress, look)
    patients = [c.patient for c, _ in found]
    names = [n for n in found[0][1] if n != "truth_ml"]
    values = {n: np.array([row[n] for _, row in found], float) for n in names}
    dices = np.stack([v for n, v in values.items() if n.startswith("dice")])
    _add(result, "dice", lambda i: float(np.nanmean(dices[:, i])), patients, draws)
    if len(set(patients)) < len(patients):
        whole = np.nanmean([_pooled(a, b, patients) for a, b in zip(shared, sizes, strict=True)],
                           axis=0)  # fmt: skip
        share = 1 / np.array([patients.count(w) for w in patients])  # each patient counts once
        _add(result, "dice_of_patients",
             lambda i: float(np.average(whole[i], weights=share[i])), patients, draws)  # fmt: skip
    for n, v in values.items():
        _add(result, n, lambda i, v=v: float(np.nanmean(v[i])), patients, draws)
    for i, (row, (_, figures)) in enumerate(zip(result.rows, found, strict=True)):
        row |= {"quality": float(np.nanmean(dices[:, i])), **figures}


def _pooled(shared: Sequence[int], sizes: Sequence[int], patients: Sequence[str]) -> Array:
    """For each case the Dice coefficient of all cases of its patient taken as one volume.

    Slices are judged as volumes are: a small one at the end of a heart counts for its few voxels.
    """
    _, which = np.unique(np.asarray(patients), return_inverse=True)
    total = np.bincount(which, sizes)
    return np.where(total > 0, np.bincount(which, shared) / np.maximum(total, 1), 1.0)[which]


def _detect(
    model: Network, cases: Sequence[Case], result: Evaluation, draws: int, progress: Progress
) -> None:
    card = model.card

    def look(case: Case, image: Image) -> Array:
        del case
        corners, score, kind = detect.boxes(card, model.engine, image, threshold=LEAST)
        return np.column_stack([corners, kind, score])

    found = _looked(model, cases, result, progress, look)
    patients = [c.patient for c, _ in found]
    solid = card.dimensions == 3
    rule: boxes.Rule = "centre" if solid else "overlap"  # how a volume's objects are counted
    none = np.zeros((0, 2 * card.dimensions + 1))
    truth = [none if c.boxes is None else c.boxes for c, _ in found]
    finds = [f for _, f in found]

    def ap(i: Array, k: int) -> float:
        return boxes.average_precision([finds[j] for j in i], [truth[j] for j in i], kind=k)

    def cpm(i: Array, k: int) -> float:
        some = [finds[j] for j in i], [truth[j] for j in i]
        return float(boxes.froc(*some, kind=k, rule=rule).mean())

    several = range(len(card.classes))
    few = min(draws, 100)
    _add(result, "map50", lambda i: float(np.nanmean([ap(i, k) for k in several])), patients, few)
    for k, c in enumerate(card.classes):
        _add(result, f"ap50 {c.name}", lambda i, k=k: ap(i, k), patients, few)
        _add(result, f"cpm {c.name}", lambda i, k=k: cpm(i, k), patients, few)
        result.tables[f"froc {c.name}"] = [boxes.froc(finds, truth, kind=k, rule=rule).tolist()]
    for name, figure in objects.figures(card, finds, truth):
        _add(result, name, figure, patients, few)
    for row, f, t in zip(result.rows, finds, truth, strict=True):
        aps = [boxes.average_precision([f], [t], kind=k) for k in several]
        known = [a for a in aps if np.isfinite(a)]
        said = int((f[:, -1] >= card.threshold).sum())
        # Where nothing is there, all that can be right is to say so.
        row |= {"quality": float(np.mean(known)) if known else float(said == 0),
                "found": said, "truth": len(t)}  # fmt: skip


def _register(
    model: Network, cases: Sequence[Case], result: Evaluation, draws: int, progress: Progress
) -> None:
    from somascope.models.register import folded, moved

    def look(case: Case, image: Image) -> dict[str, float]:
        assert case.moving is not None
        other = model.card.declared(case.moving())
        (warp,) = model(image, other)
        assert isinstance(warp, Warp)
        row = {"folded_percent": 100 * folded(warp)}
        if case.mask is not None and case.moving_mask is not None:
            truth = case.mask()
            labels = Image(case.moving_mask(), other.grid, "OT")
            found = moved(warp, labels, image.grid, nearest=True).data
            kinds = [k for k in np.unique(truth) if k]
            row["dice"] = float(np.mean([regions.dice(found == k, truth == k) for k in kinds]))
        return row

    found = _looked(model, cases, result, progress, look)
    patients = [c.patient for c, _ in found]
    for n in found[0][1]:
        v = np.array([row[n] for _, row in found])
        _add(result, n, lambda i, v=v: float(np.nanmean(v[i])), patients, draws)
    for row, (_, figures) in zip(result.rows, found, strict=True):
        row |= {"quality": figures.get("dice", -figures["folded_percent"]), **figures}
