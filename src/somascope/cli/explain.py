"""`explain`: where an answer comes from; `next`: which case to label next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, get_args

import typer

from somascope.cli.bar import bar
from somascope.cli.learning import Json, needs_torch
from somascope.core.errors import ParameterError


def explain(
    model: Annotated[str, typer.Argument(help="A model kept with its weights.")],
    inputs: Annotated[list[str], typer.Argument(help="One image (register: two), or a folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for maps and pages.")],
    method: Annotated[
        str, typer.Option(help="gradcam, gradcampp, hirescam, layercam, eigencam, gradients, "
                               "occlusion, counterfactual, or all.")
    ] = "gradcam",
    target: Annotated[str, typer.Option(help="The class; default the most probable.")] = "",
    layer: Annotated[str, typer.Option(help="Of the cam methods; default the deepest.")] = "",
    boxes: Annotated[
        Path | None, typer.Option(help="Single objects: a detector's predictions.json, or boxes.")
    ] = None,
    sanity: Annotated[
        bool, typer.Option("--sanity", help="Compare with a network without sense.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Explain images unlike the training images too.")
    ] = False,
    json_: Json = False,
) -> None:  # fmt: skip
    """Show where a model's answer comes from, how far to trust that, and what each layer sees."""
    from somascope.cli.classical import explain_classical, is_classical

    if is_classical(model):
        if method != "gradcam" or layer or sanity:
            raise ParameterError(
                f"{model} reads radiomics and has no maps; leave out --method, --layer and --sanity"
            )
        explain_classical(model, inputs, out, target=target, anyway=anyway, json_=json_)
        return
    needs_torch("explain")
    from somascope.learn import explain as why
    from somascope.learn.explained import written
    from somascope.models.inputs import inputs as opened

    every: tuple[why.Method, ...] = get_args(why.Method)
    wanted: list[why.Method] = [m for m in every if method in {m, "all"}]
    if not wanted:
        raise ParameterError(f"--method is {method!r}; {', '.join(every)}, or all")
    card, _, _ = why.opened(model)
    given = opened(inputs)
    groups = [given] if card.task == "register" else [[one] for one in given]
    asked = [(group, group[0].name.replace("/", "_"), None) for group in groups]
    if boxes is not None:
        from somascope.cli.predict import boxes_of

        there = boxes_of(boxes, least=0.3)
        asked = [
            (group, f"{name}_{n}", box)
            for group, name, _ in asked
            for n, box in enumerate(there.get(group[0].name, ()))
        ]
        if not asked:
            raise ParameterError(f"{boxes} has no box of {given[0].name}")
    with bar(f"explain {card.name}") as progress:
        said = [
            written(
                model, [i.load() for i in group], out, name=name, methods=wanted, target=target,
                layer=layer, sanity=sanity, anyway=anyway, box=box,
            )
            for group, name, box in progress.over(asked, card.name)
        ]  # fmt: skip
    if json_:
        typer.echo(json.dumps(said))
        return
    for one in said:
        for words in one["words"]:
            typer.echo(f"{one['id']}: {words}")
        for near in one["prototypes"]:
            typer.echo(f"  alike {near['likeness']:+.2f}  {near['name']}  {near['class']}")
    typer.echo(str(out))


def next_(
    models: Annotated[str, typer.Argument(help="A model, or several parted by commas.")],
    inputs: Annotated[list[str], typer.Argument(help="Unlabelled images: files or folders.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many to name.")] = 10,
    mirror: Annotated[str, typer.Option(help="Ask at mirror images too: some of z, y, x.")] = "",
    spread: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="0: by doubt alone; 1: no two alike.")
    ] = 1.0,
    json_: Json = False,
) -> None:
    """Name the cases to label next: where the model is least sure, and no two alike."""
    from dataclasses import asdict

    from somascope.learn.active import next_cases
    from somascope.models import load
    from somascope.models.inputs import inputs as opened

    networks = [load(n.strip()) for n in models.split(",") if n.strip()]
    given = opened(inputs)
    with bar("next") as progress:
        found = next_cases(
            networks, [(i.name, i.load) for i in given], count=count, mirror=mirror,
            spread=spread, progress=progress,
        )  # fmt: skip
    if json_:
        typer.echo(json.dumps({
            "cases": [asdict(c) for c in found.cases],
            "problems": [{"input": n, "reason": r} for n, r in found.problems],
        }))  # fmt: skip
    else:
        for i, case in enumerate(found.cases):
            typer.echo(f"{i + 1:>3}  doubt {case.doubt:.3f}  new {case.novelty:.2f}  {case.name}  "
                       f"({case.reason})")  # fmt: skip
    for name, reason in found.problems:
        typer.echo(f"somascope: {name}: {reason}", err=True)
