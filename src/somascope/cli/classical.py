"""`train --method radiomics` and `explain` of what it makes: without PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast, get_args

import typer

from somascope.cli.bar import bar
from somascope.core.errors import ParameterError


def train_classical(
    task: str, dataset: Path, out: Path, *, classifier: str, modality: str, folds: int, seed: int,
    overwrite: bool, json_: bool,
) -> None:  # fmt: skip
    """Train a classifier or detector on radiomics and say what was chosen and how good it is."""
    from somascope.learn.classical.detector import DETECTING, make_detector
    from somascope.learn.classical.fit import KINDS, Kind
    from somascope.learn.classical.make import make_classical, needs
    from somascope.learn.datasets import open_dataset

    if task not in ("classify", "detect"):
        raise ParameterError(
            f"--method radiomics classifies and detects; to {task} leave it out (a network learns "
            "that), or see analyze.train_shape and segment.by_atlases"
        )
    if classifier not in ("auto", *get_args(Kind)):
        raise ParameterError(f"--classifier is {classifier!r}; auto or {', '.join(KINDS)}")
    needs("train")
    every = KINDS if task == "classify" else DETECTING
    kinds = every if classifier == "auto" else (cast("Kind", classifier),)
    making = make_classical if task == "classify" else make_detector
    with bar("train radiomics") as progress:
        made = making(
            open_dataset(dataset, task), out, kinds=kinds, modality=modality, folds=folds or 5,
            seed=seed, overwrite=overwrite, progress=progress,
        )  # fmt: skip
    told = {m.name: m.value for m in made.card.metrics}
    said: dict[str, Any] = {
        "model": str(out), "name": made.card.name, "classifier": made.chosen.kind,
        "settings": dict(made.chosen.settings), "validation": told,
        "important": dict(list(made.importance.items())[:10]),
        "left_out": [list(x) for x in made.left_out],
    }  # fmt: skip
    if json_:
        typer.echo(json.dumps(said))
        return
    figures = ", ".join(f"{k} {v:.4f}" for k, v in told.items())
    typer.echo(f"{out}: {made.chosen.kind}; cross-validated by patient: {figures}")
    for name, reason in made.left_out[:10]:
        typer.echo(f"somascope: {name}: {reason}", err=True)


def is_classical(model: str) -> bool:
    """Whether a model reads radiomics in place of voxels."""
    from somascope.models import load

    return load(model).card.features is not None


def explain_classical(
    model: str, inputs: list[str], out: Path, *, target: str, anyway: bool, json_: bool
) -> None:
    """Say for each input what every feature adds."""
    from somascope.learn.classical.explain import written
    from somascope.models import load
    from somascope.models.inputs import inputs as opened

    network = load(model)
    said = [
        written(model, network, one.load(), out, name=one.name, target=target, anyway=anyway)
        for one in opened(inputs)
    ]
    if json_:
        typer.echo(json.dumps(said))
        return
    for one in said:
        if not one.get("boxes", [one]):
            typer.echo(f"{one['id']}: no box to explain")
        for each in one.get("boxes", [one]):
            most = ", ".join(f"{k} {v:+.3f}" for k, v in list(each["adds"].items())[:3])
            typer.echo(f"{each['id']}: {each['target']} (log odds {each['logit']:+.2f}): {most}")
    typer.echo(str(out))
