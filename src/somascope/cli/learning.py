"""`train`, `evaluate`: from a data set to a model, and how good it is."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from somascope.cli.bar import bar
from somascope.core.errors import MissingExtra, ParameterError

if TYPE_CHECKING:
    from somascope.learn.datasets import Dataset
    from somascope.learn.plan import Plan

Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


def _minutes(text: str) -> float | None:
    """``30m``, ``2h``, ``90s`` or a number of minutes."""
    if not text:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)?\s*", text)
    if found is None or float(found[1]) <= 0:
        raise ParameterError(f"--budget is {text!r}; write 30m, 2h or 90s")
    return float(found[1]) * {"s": 1 / 60, "h": 60.0}.get(found[2] or "m", 1.0)


def needs_torch(verb: str) -> None:
    """`MissingExtra` where what learning needs is not installed."""
    missing = [m for m in ("torch", "onnx", "safetensors") if find_spec(m) is None]
    if missing:
        raise MissingExtra(
            f"somascope {verb} needs {' and '.join(missing)}, not installed here: "
            'pip install "somascope[learn]" (predict and model do without)'
        )


def train(
    task: Annotated[str, typer.Argument(help="classify, detect, segment or register.")],
    dataset: Annotated[Path, typer.Argument(help="A data set: folder, npz, JSON or CSV.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The model: a folder, or .zip.")],
    budget: Annotated[str, typer.Option(help="Time: 30m, 2h. Default: 30m to 90m.")] = "",
    from_: Annotated[str, typer.Option("--from", help="Start from this model's weights.")] = "",
    modality: Annotated[str, typer.Option(help="DICOM modality of the images, e.g. MR.")] = "",
    plan: Annotated[Path | None, typer.Option(help="A plan.json, perhaps edited.")] = None,
    unlabelled: Annotated[Path | None, typer.Option(help="More images, without labels.")] = None,
    pretrain: Annotated[
        str, typer.Option(help="masked: draw hidden parts first; consistency: beside the labels.")
    ] = "",
    few_shot: Annotated[
        bool, typer.Option("--few-shot", help="Compute the head only; needs --from.")
    ] = False,
    memory: Annotated[
        str, typer.Option(help="Read slices or frames in order: gru, lstm or attention.")
    ] = "",
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Keep small pictures of some cases in the model.")
    ] = False,
    objects: Annotated[
        bool, typer.Option("--objects", help="Classify single objects: boxes, or masks.")
    ] = False,
    method: Annotated[
        str, typer.Option(help="network, or radiomics: classify without one.")
    ] = "network",
    classifier: Annotated[
        str, typer.Option(help="Of radiomics: auto, logistic, forest, boosting or svm.")
    ] = "",
    tensorboard: Annotated[
        str, typer.Option(help="Folder for TensorBoard's curves, live; it must be installed.")
    ] = "",
    mlflow: Annotated[
        str, typer.Option(help="Tracking URI for MLflow's curves, live; it must be installed.")
    ] = "",
    fold: Annotated[int, typer.Option(min=0, max=4, help="Which fifth validates.")] = 0,
    folds: Annotated[
        int, typer.Option(min=0, max=20, help="Cross-validate: a model for each part.")
    ] = 0,
    committee: Annotated[
        int, typer.Option(min=0, max=20, help="Networks that decide together, as one model.")
    ] = 0,
    apart: Annotated[
        str, typer.Option(help="Members differ by seeds, or by folds: other patients held out.")
    ] = "seeds",
    mirrored: Annotated[
        bool, typer.Option("--mirrored", help="A committee looks at mirrored images too.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of every random number.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace the model that is there.")] = False,
    json_: Json = False,
) -> None:
    """Train a model on a data set; all choices are made by its planner.

    A run that was stopped goes on where it was when it is started again.
    """
    if method not in ("network", "radiomics"):
        raise ParameterError(f"--method is {method!r}; network or radiomics")
    if method == "radiomics":
        from somascope.cli.classical import train_classical

        network = {"--budget": budget, "--from": from_, "--plan": plan, "--fold": fold,
                   "--unlabelled": unlabelled, "--pretrain": pretrain, "--few-shot": few_shot,
                   "--memory": memory, "--thumbnails": thumbnails, "--objects": objects,
                   "--tensorboard": tensorboard, "--mlflow": mlflow,
                   "--committee": committee}  # fmt: skip
        if [n for n, v in network.items() if v]:
            raise ParameterError(f"{next(n for n, v in network.items() if v)} is of a network; "
                                 "not with --method radiomics")  # fmt: skip
        train_classical(task, dataset, out, classifier=classifier or "auto", modality=modality,
                        folds=folds, seed=seed, overwrite=overwrite, json_=json_)  # fmt: skip
        return
    if classifier:
        raise ParameterError("--classifier is of --method radiomics")
    needs_torch("train")
    from somascope.learn.datasets import open_dataset
    from somascope.learn.make import make
    from somascope.learn.parallel import team
    from somascope.learn.plan import Plan

    if (tensorboard or mlflow) and (committee or folds):
        raise ParameterError(
            "--tensorboard and --mlflow show one run: not with --committee, --folds"
        )
    opened = open_dataset(dataset, task, objects=objects)
    chosen = Plan.from_json(plan.read_bytes()) if plan is not None else None
    if committee:
        if any((from_, folds, fold, unlabelled, pretrain, few_shot, memory, thumbnails)):
            raise ParameterError(
                "--committee trains all its members anew: not with --from, --folds, --fold, "
                "--unlabelled, --pretrain, --few-shot, --memory or --thumbnails"
            )
        _committee(opened, out, committee, apart, chosen, _minutes(budget), modality, seed,
                   mirrored=mirrored, overwrite=overwrite, json_=json_)  # fmt: skip
        return
    if mirrored or apart != "seeds":
        raise ParameterError("--mirrored and --apart are of --committee")
    if folds:
        if any((from_, overwrite, fold, unlabelled, pretrain, few_shot, memory, thumbnails)):
            raise ParameterError(
                "--folds trains anew on every part: not with --from, --fold, --overwrite, "
                "--unlabelled, --pretrain, --few-shot, --memory or --thumbnails"
            )
        _folds(task, opened, out, folds, chosen, _minutes(budget), modality, seed, json_=json_)
        return
    from somascope.learn.curves import watching

    with (
        watching(name=out.stem, tensorboard=tensorboard, mlflow=mlflow) as watch,
        bar(f"train {task}") as progress,
    ):
        card, trained = make(
            opened, out, chosen=chosen, budget_minutes=_minutes(budget), modality=modality,
            start=from_ or None, unlabelled=unlabelled, pretrain=pretrain, few_shot=few_shot,
            memory=memory, thumbnails=thumbnails, fold=fold, seed=seed, overwrite=overwrite,
            watch=watch, progress=progress,
        )  # fmt: skip
    if not team().first:  # one of several processes speaks
        return
    last = max(trained.history, key=lambda h: h["score"]) if trained.history else {}
    hurried = [limit for limit in card.limits if limit.startswith("Trained for ")]
    said: dict[str, Any] = {"model": str(out), "name": card.name, "steps": trained.steps,
                            "stopped": trained.stopped, "validation": dict(last)}  # fmt: skip
    if json_:
        typer.echo(json.dumps(said))
        return
    figures = ", ".join(f"{k} {v:.4f}" for k, v in last.items() if k not in ("step", "score"))
    typer.echo(f"{out}: {trained.steps} steps ({trained.stopped}); validation: {figures}")
    for limit in hurried:
        typer.echo(f"somascope: {limit}", err=True)


def _committee(
    dataset: Dataset, out: Path, members: int, apart: str, chosen: Plan | None,
    budget: float | None, modality: str, seed: int, *, mirrored: bool, overwrite: bool, json_: bool,
) -> None:  # fmt: skip
    """Train members and join them; the budget is for all together."""
    from dataclasses import asdict

    from somascope.learn.members import committee

    with bar(f"train {dataset.task}, {members} together") as progress:
        made = committee(
            dataset, out, members=members, apart=apart, mirrored=mirrored,  # pyright: ignore
            chosen=chosen, budget_minutes=budget, modality=modality, seed=seed,
            overwrite=overwrite, progress=progress,
        )  # fmt: skip
    if json_:
        said = {"model": str(out), "name": made.card.name, "members": members,
                "metrics": [asdict(m) for m in made.judged.metrics]}  # fmt: skip
        typer.echo(json.dumps(said))
        return
    for m in made.judged.metrics:
        typer.echo(f"{m.name:<28} {m.value:.4f}  ({m.low:.4f} to {m.high:.4f})  n {m.cases}")
    typer.echo(f"{out}: {members} networks together. {made.card.limits[-1]}")


def _folds(
    task: str, dataset: Dataset, out: Path, folds: int, chosen: Plan | None,
    budget: float | None, modality: str, seed: int, *, json_: bool,
) -> None:  # fmt: skip
    """Cross-validate; the budget is for all folds together."""
    from dataclasses import asdict

    from somascope.io.atomic import replacing
    from somascope.learn.folds import cross_validated

    each = None if budget is None else budget / folds
    with bar(f"train {task}, {folds} folds") as progress:
        done = cross_validated(
            dataset, out, folds=folds, chosen=chosen, budget_minutes=each, modality=modality,
            seed=seed, progress=progress,
        )  # fmt: skip
    said = {
        "models": [str(m) for m in done.models],
        "figures": {k: {"mean": m, "sd": s} for k, (m, s) in done.figures.items()},
        "groups": [asdict(m) for m in done.pooled.subgroups], "cases": done.pooled.rows,
    }  # fmt: skip
    with replacing(out / "folds.json") as file:
        file.write((json.dumps(said, indent=1) + "\n").encode())
    if json_:
        typer.echo(json.dumps({k: said[k] for k in ("models", "figures", "groups")}))
        return
    for name, (mean, deviation) in done.figures.items():
        typer.echo(f"{name:<28} {mean:.4f} +- {deviation:.4f} over {folds} folds")
    typer.echo(str(out / "folds.json"))


def evaluate(
    model: Annotated[str, typer.Argument(help="An installed model, or a folder or file.")],
    dataset: Annotated[Path, typer.Argument(help="A data set of the model's task.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Report: .html, or a folder.")],
    split: Annotated[str, typer.Option(help="train, val, test or all; default the last.")] = "",
    against: Annotated[
        list[str] | None, typer.Option(help="Another model, judged on the same cases.")
    ] = None,
    json_: Json = False,
) -> None:
    """Judge a model on cases with a truth: figures with intervals, curves, pictures."""
    from dataclasses import asdict

    from somascope.io.atomic import replacing
    from somascope.learn.compare import compare
    from somascope.learn.datasets import open_dataset
    from somascope.learn.evaluate import evaluate as judge
    from somascope.learn.report import page
    from somascope.models import load

    network = load(model)
    opened = open_dataset(dataset, network.card.task, objects=network.card.single is not None)
    with bar(f"evaluate {network.card.name}") as progress:
        result = judge(network, opened, split=split, progress=progress)
        others = {
            name: compare(result, judge(load(name), opened, split=split, progress=progress))
            for name in against or []
        }
    target = out if out.suffix == ".html" else out / "report.html"
    record = asdict(result)
    record["against"] = {n: [asdict(d) for d in each] for n, each in others.items()}
    for note in result.notes:
        typer.echo(f"somascope: {note}", err=True)
    with replacing(target) as file:
        file.write(page(result, network, opened, against=others).encode())
    with replacing(target.with_suffix(".json")) as file:
        file.write((json.dumps(record, indent=1) + "\n").encode())
    if json_:
        said = {k: record[k] for k in ("metrics", "subgroups", "against")}
        typer.echo(json.dumps({"report": str(target), **said}))
        return
    for m in result.metrics:
        typer.echo(f"{m.name:<28} {m.value:.4f}  ({m.low:.4f} to {m.high:.4f})  n {m.cases}")
    for name, each in others.items():
        for d in each:
            typer.echo(f"{d.name:<28} {d.value:+.4f}  ({d.low:+.4f} to {d.high:+.4f})  "
                       f"p {d.p:.3g}  against {name}")  # fmt: skip
    typer.echo(str(target))
    for name, reason in result.problems[:10]:
        typer.echo(f"somascope: {name}: {reason}", err=True)
