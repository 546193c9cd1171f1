"""`train`, `predict`, `evaluate`, `explain`: from a data set to a model to its answers."""

from __future__ import annotations

import json
import re
import sys
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


def _needs_torch(verb: str) -> None:
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
    fold: Annotated[int, typer.Option(min=0, max=4, help="Which fifth validates.")] = 0,
    folds: Annotated[
        int, typer.Option(min=0, max=20, help="Cross-validate: a model for each part.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of every random number.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace the model that is there.")] = False,
    json_: Json = False,
) -> None:
    """Train a model on a data set; all choices are made by its planner.

    A run that was stopped goes on where it was when it is started again.
    """
    _needs_torch("train")
    from somascope.learn.datasets import open_dataset
    from somascope.learn.make import make
    from somascope.learn.plan import Plan

    opened = open_dataset(dataset, task)
    chosen = Plan.from_json(plan.read_bytes()) if plan is not None else None
    if folds:
        if from_ or overwrite or fold:
            raise ParameterError("--folds trains anew on every part: not with --from, --fold, "
                                 "--overwrite")  # fmt: skip
        _folds(task, opened, out, folds, chosen, _minutes(budget), modality, seed, json_=json_)
        return
    with bar(f"train {task}") as progress:
        card, trained = make(
            opened, out, chosen=chosen, budget_minutes=_minutes(budget), modality=modality,
            start=from_ or None, fold=fold, seed=seed, overwrite=overwrite, progress=progress,
        )  # fmt: skip
    last = max(trained.history, key=lambda h: h["score"]) if trained.history else {}
    said: dict[str, Any] = {"model": str(out), "name": card.name, "steps": trained.steps,
                            "stopped": trained.stopped, "validation": dict(last)}  # fmt: skip
    if json_:
        typer.echo(json.dumps(said))
        return
    figures = ", ".join(f"{k} {v:.4f}" for k, v in last.items() if k not in ("step", "score"))
    typer.echo(f"{out}: {trained.steps} steps ({trained.stopped}); validation: {figures}")


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


def predict(
    model: Annotated[str, typer.Argument(help="An installed model, or a folder or file.")],
    inputs: Annotated[list[str], typer.Argument(help="Files, folders, npz, or archive UIDs.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the answers.")],
    archive: Annotated[Path | None, typer.Option(help="Inputs are UIDs of this archive.")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Segmentation: probabilities too.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Look at images unlike the training images too.")
    ] = False,
    engine: Annotated[str, typer.Option(help="auto, onnxruntime or openvino.")] = "auto",
    json_: Json = False,
) -> None:
    """Run a model on images and write its answers."""
    from somascope.models import load
    from somascope.models.inputs import Input
    from somascope.models.inputs import inputs as opened
    from somascope.models.predict import predict as run

    if engine not in ("auto", "onnxruntime", "openvino"):
        raise ParameterError(f"--engine is {engine!r}; auto, onnxruntime or openvino")
    network = load(model, kind=engine)  # pyright: ignore[reportArgumentType]
    if archive is None:
        given = opened(inputs)
    else:
        from somascope.archive import Archive
        from somascope.jobs.resolve import from_archive

        store = Archive.open(archive)
        try:
            loaded: list[Any] = [from_archive(store, uid, noun="Image") for uid in inputs]
        finally:
            store.close()
        given = [
            Input(uid, lambda image=image: image) for uid, image in zip(inputs, loaded, strict=True)
        ]
    with bar(network.card.name) as progress:
        done = run(
            network, given, out, probabilities=probabilities, anyway=anyway, progress=progress
        )
    if json_:
        typer.echo(json.dumps({
            "model": network.card.name, "files": [str(f) for f in done.files],
            "problems": [{"input": n, "reason": r} for n, r in done.problems],
            "answers": done.records,
        }))  # fmt: skip
    else:
        for file in done.files:
            typer.echo(str(file))
    for name, reason in done.problems:
        typer.echo(f"somascope: {name}: {reason}", err=True)
    if done.problems:
        sys.exit(1)


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
    opened = open_dataset(dataset, network.card.task)
    with bar(f"evaluate {network.card.name}") as progress:
        result = judge(network, opened, split=split, progress=progress)
        others = {
            name: compare(result, judge(load(name), opened, split=split, progress=progress))
            for name in against or []
        }
    target = out if out.suffix == ".html" else out / "report.html"
    record = asdict(result)
    record["against"] = {n: [asdict(d) for d in each] for n, each in others.items()}
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


def explain(
    model: Annotated[str, typer.Argument(help="A model kept with its weights.")],
    inputs: Annotated[list[str], typer.Argument(help="One image (register: two), or a folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for maps and the page.")],
    method: Annotated[str, typer.Option(help="gradcam, gradients or occlusion.")] = "gradcam",
    target: Annotated[str, typer.Option(help="The class; default the most probable.")] = "",
    json_: Json = False,
) -> None:
    """Show where a model's answer comes from, how faithful that is, and what each layer sees."""
    _needs_torch("explain")
    if method not in ("gradcam", "gradients", "occlusion"):
        raise ParameterError(f"--method is {method!r}; gradcam, gradients or occlusion")
    from somascope.io import write
    from somascope.io.atomic import replacing
    from somascope.learn import explain as why
    from somascope.learn import layers, pictures
    from somascope.models.inputs import inputs as opened

    card, _, network = why.opened(model)
    given = opened(inputs)
    groups = [given] if card.task == "register" else [[one] for one in given]
    said: list[dict[str, Any]] = []
    for group in groups:
        name = group[0].name
        images = [i.load() for i in group]
        found = why.explain(model, *images, method=method, target=target)  # pyright: ignore
        out.mkdir(parents=True, exist_ok=True)
        below, (values,) = pictures.plane_of(images[0], [found.map.data])
        big, factor = pictures.enlarged(below)
        heat = values.repeat(factor, axis=0).repeat(factor, axis=1)
        with replacing(out / f"{name}_{method}.png") as file:
            file.write(pictures.png(pictures.heat(heat, below=big)))
        write(found.map, out / f"{name}_{method}.nii.gz")
        x, _ = why.input_of(card, [card.declared(i) for i in images])
        parts = (x[:, :1], x[:, 1:]) if card.task == "register" else (x,)
        title = f"{card.name}: {name}, layer by layer"
        with replacing(out / f"{name}_layers.html") as file:
            file.write(layers.page(layers.layers(network, *parts), title=title).encode())
        said.append({"id": name, "target": found.target, "method": method,
                     "deletion": found.deletion, "insertion": found.insertion})  # fmt: skip
    if json_:
        typer.echo(json.dumps(said))
        return
    for one in said:
        typer.echo(
            f"{one['id']}: {one['target']} by {method}, deletion {one['deletion']:.3f} (low is "
            f"good), insertion {one['insertion']:.3f} (high is good)"
        )
    typer.echo(str(out))
