"""`model list | info | import | export`: what is installed, and how it comes and goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

model = typer.Typer(no_args_is_help=True, help="List, inspect, import and export models.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@model.command("list")
def list_(json_: Json = False) -> None:
    """List the installed models."""
    from somascope.core.errors import SomascopeError
    from somascope.models import installed, package

    rows: list[dict[str, str]] = []
    for name, path in installed.models().items():
        try:
            card = package.read(path).card
            rows.append({"name": name, "task": card.task, "summary": card.summary})
        except SomascopeError as error:
            rows.append({"name": name, "task": "unreadable", "summary": str(error)})
    if json_:
        typer.echo(json.dumps(rows))
        return
    width = max((len(r["name"]) for r in rows), default=0)
    for r in rows:
        typer.echo(f"{r['name']:<{width}}  {r['task']:<8}  {r['summary']}")
    if not rows:
        typer.echo("no models; train one (somascope train) or import one (somascope model import)")


@model.command()
def info(
    name: Annotated[str, typer.Argument(help="An installed model, or a folder or file.")],
    json_: Json = False,
) -> None:
    """Show a model's card."""
    from somascope.models import load, onnxfile, package

    card = load(name).card
    if json_:
        typer.echo(card.to_json())
        return
    from somascope.models import installed

    path = Path(name) if Path(name).exists() else installed.models()[name]
    graph = onnxfile.inspect(package.read(path).graph)
    low, high = card.spacing_mm
    kinds = ", ".join(card.modalities) or "any modality"
    rows = [
        ("name", f"{card.name} {card.version}"), ("task", card.task), ("summary", card.summary),
        ("classes", ", ".join(c.name for c in card.classes)),
        ("reads", f"{kinds}, {card.dimensions}-D, voxels {low:g} to {high:g} mm"),
        ("network", f"{graph.parameters} weights, {graph.nodes} operators"),
        ("trained on", card.training_data), ("licence", card.licence),
        ("use", card.intended_use), *(("limit", one) for one in card.limits),
        *((m.name, f"{m.value:.4f} ({m.low:.4f} to {m.high:.4f}), {m.cases} cases, {m.on}")
          for m in card.metrics),
        ("sha256", card.sha256),
    ]  # fmt: skip
    for key, value in rows:
        typer.echo(f"{key + ':':<12} {value}")


@model.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A model's folder or .zip file.", exists=True)],
    overwrite: Annotated[bool, typer.Option(help="Replace a model of the same name.")] = False,
) -> None:
    """Check a model and add it to the installed ones."""
    from somascope.models import installed

    card = installed.add(path, overwrite=overwrite)
    typer.echo(f"{card.name} {card.version}")


@model.command()
def export(
    name: Annotated[str, typer.Argument(help="An installed model.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="A folder, or a file .zip.")],
    overwrite: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
) -> None:
    """Copy an installed model out."""
    from somascope.models import installed

    installed.take(name, out, overwrite=overwrite)
    typer.echo(str(out))
