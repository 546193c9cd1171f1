"""`model list | info | import | export`: what is installed, and how it comes and goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from somascope.cli.bar import bar
from somascope.core.errors import Conflict, ParameterError

if TYPE_CHECKING:
    from somascope.models import NetworkCard, Package
    from somascope.models.foreign import Told

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

    graph = onnxfile.inspect(package.read(installed.place(name)).graph)
    low, high = card.spacing_mm
    kinds = ", ".join(card.modalities) or "any modality"
    rows = [
        ("name", f"{card.name} {card.version}"), ("task", card.task), ("summary", card.summary),
        ("classes", ", ".join(c.name for c in card.classes)),
        ("reads", f"{kinds}, {card.dimensions}-D, voxels {low:g} to {high:g} mm"),
        ("network", f"{graph.parameters} weights, {graph.nodes} operators"),
        ("trained on", card.training_data), ("licence", card.licence),
        *_stages(card),
        ("use", card.intended_use), *(("limit", one) for one in card.limits),
        *((m.name, f"{m.value:.4f} ({m.low:.4f} to {m.high:.4f}), {m.cases} cases, {m.on}")
          for m in card.metrics),
        ("sha256", card.sha256),
    ]  # fmt: skip
    for key, value in rows:
        typer.echo(f"{key + ':':<12} {value}")


def _stages(card: NetworkCard) -> list[tuple[str, str]]:
    """What is said of a package of two models."""
    if card.stages is None:
        return []
    kept = card.stages
    around = f"{kept.margin_mm:g} mm around what the first finds"
    return [("stages", f"two; {around}, the second was trained on each {kept.sees}")]


@model.command("import")
def import_(
    path: Annotated[
        Path,
        typer.Argument(
            help="A model's folder or .zip; a MONAI bundle, an nnU-Net folder, .onnx, .safetensors."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write it here; default: install it.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the model, e.g. segment.spleen.")] = "",
    task: Annotated[str, typer.Option(help="classify, segment or detect.")] = "",
    classes: Annotated[str, typer.Option(help="Names, without background: a,b,c.")] = "",
    modality: Annotated[str, typer.Option(help="DICOM modalities it reads: MR or DX,CR.")] = "",
    axes: Annotated[
        str, typer.Option(help="Of its input: zyx or xyz as stored, or e.g. RAS; yx or xy.")
    ] = "",
    patch: Annotated[
        str, typer.Option(help="Size of a tile in the order of the axes: 96,96,96.")
    ] = "",
    size: Annotated[str, typer.Option(help="Size of the input, to classify: 28,28.")] = "",
    spacing: Annotated[str, typer.Option(help="Voxel edge it was trained at, mm: 1.5,1.5,2.")] = "",
    channels: Annotated[int, typer.Option(min=0, help="1 (gray) or 3 (colours).")] = 0,
    scaling: Annotated[str, typer.Option(help="none, range, zscore, percentile or minmax.")] = "",
    range_: Annotated[
        str, typer.Option("--range", help="Values that become 0 and 1: -100,300.")
    ] = "",
    answer: Annotated[
        str, typer.Option(help="logits, probabilities, sigmoid or probability (of one class).")
    ] = "",
    output: Annotated[str, typer.Option(help="The graph's output to take; the first.")] = "",
    network: Annotated[str, typer.Option(help="For .safetensors: the network as JSON.")] = "",
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "",
    training_data: Annotated[str, typer.Option(help="What it was trained on.")] = "",
    summary: Annotated[str, typer.Option(help="One sentence about it.")] = "",
    overwrite: Annotated[bool, typer.Option(help="Replace a model of the same name.")] = False,
) -> None:
    """Check a model and add it to the installed ones; complete the card of a foreign one by flags.

    Nothing in it is executed; pickles (.pt, .pth, .ckpt) are refused.
    """
    from somascope.models import installed, package
    from somascope.models.foreign import Told

    own = path.is_dir() and (path / package.CARD).is_file()
    if path.suffix == ".zip" and path.is_file():
        own = _holds_card(path)
    ends = _numbers(range_, "--range")
    if ends and len(ends) != 2:
        raise ParameterError(f"--range is {range_!r}; give LOW,HIGH")
    scale = scaling or ("range" if ends else "")
    told = Told(
        name=name or None, task=task or None, summary=summary or None,
        classes=_words(classes), modalities=_words(modality), axes=axes or None,
        patch=_whole(patch, "--patch"), size=_whole(size, "--size"),
        spacing=_numbers(spacing, "--spacing") or None, channels=channels or None,
        scaling=scale or None,  # pyright: ignore[reportArgumentType]  # `Told.check` looks
        low=ends[0] if ends else None, high=ends[1] if ends else None,
        answer=answer or None,  # pyright: ignore[reportArgumentType]
        output=output or None, licence=licence or None, training_data=training_data or None,
    )  # fmt: skip
    if own and told != Told():
        raise ParameterError(f"{path} has a card already; flags complete the card of a model from "
                             "elsewhere")  # fmt: skip
    packed = package.read(path) if own else _adopted(path, told, network)
    if out is not None:
        card = package.write(packed, out, overwrite=overwrite)
    else:
        card = installed.keep(packed, overwrite=overwrite)
    typer.echo(f"{card.name} {card.version}")


def _holds_card(path: Path) -> bool:
    """Whether a ZIP file is a model of ours; a damaged one is left to the reader that says so."""
    import zipfile

    from somascope.models import package

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return True
    return package.CARD in names or package.GRAPH in names


def _adopted(path: Path, told: Told, network: str) -> Package:
    """A model from elsewhere; PyTorch only where there are weights without a graph."""
    from importlib.util import find_spec

    from somascope.core.errors import MissingExtra
    from somascope.models.foreign import finished, taken

    found = taken(path, told, network=network)
    if found.weights:
        if find_spec("torch") is None or find_spec("safetensors") is None:
            raise MissingExtra(
                f"{path.name} holds weights without a graph; to make one needs PyTorch: "
                'pip install "somascope[learn]"'
            )
        from somascope.learn.adopt import adopted

        found = adopted(found)
    return finished(found)


def _words(text: str) -> tuple[str, ...] | None:
    return tuple(w.strip() for w in text.split(",") if w.strip()) or None


def _numbers(text: str, flag: str) -> tuple[float, ...]:
    try:
        return tuple(float(v) for v in text.split(",")) if text else ()
    except ValueError as error:
        raise ParameterError(f"{flag} is {text!r}; give numbers parted by commas") from error


def _whole(text: str, flag: str) -> tuple[int, ...] | None:
    values = _numbers(text, flag)
    if any(v != int(v) for v in values):
        raise ParameterError(f"{flag} is {text!r}; give whole numbers parted by commas")
    return tuple(int(v) for v in values) or None


@model.command()
def join(
    first: Annotated[str, typer.Argument(help="Says where: a model to detect or to segment.")],
    second: Annotated[str, typer.Argument(help="Outlines there: a model to segment.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="A file .zip or folder; default: install it.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of both as one, e.g. segment.spleen.")] = "",
    margin: Annotated[float, typer.Option(min=0.0, help="Around what the first finds, mm.")] = 20.0,
    sees: Annotated[
        str, typer.Option(help="What the second was trained on: image or region.")
    ] = "image",
    overwrite: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
) -> None:
    """Put two models into one package that runs like any other: localise, then outline there."""
    from somascope.models import installed, package
    from somascope.models.stages import join as joined

    if sees not in ("image", "region"):
        raise ParameterError(f"--sees is {sees!r}; image or region")
    called = name or (out.name.removesuffix(".zip") if out is not None else "")
    if not called:
        raise ParameterError("give the model of both a --name, or -o a place")
    packs = [package.read(installed.place(n)) for n in (first, second)]
    made = joined(packs[0], packs[1], name=called, margin_mm=margin, sees=sees)
    card = (
        installed.keep(made, overwrite=overwrite)
        if out is None
        else package.write(made, out, overwrite=overwrite)
    )
    typer.echo(f"{card.name} {card.version}" if out is None else str(out))


@model.command()
def export(
    name: Annotated[str, typer.Argument(help="An installed model.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="A folder, a file .zip, or .onnx for the graph.")
    ],
    quantise: Annotated[
        str, typer.Option(help="Store weights as fp16 or int8, where no worse on --cases.")
    ] = "",
    cases: Annotated[
        Path | None, typer.Option(help="With --quantise: a data set of the task, with truth.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of the cases; default the last.")] = "",
    tolerance: Annotated[
        float, typer.Option(help="The most that AUC, Dice or mAP50 may fall.")
    ] = 0.005,
    overwrite: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
    json_: Json = False,
) -> None:
    """Copy an installed model out, its weights stored in fewer bytes where asked."""
    from somascope.models import installed, package

    packed = package.read(installed.place(name))
    said: dict[str, object] = {"model": str(out)}
    if quantise:
        if quantise not in ("fp16", "int8"):
            raise ParameterError(f"--quantise is {quantise!r}; fp16 or int8")
        if cases is None:
            raise ParameterError("--quantise needs --cases DATASET: what is lost is measured on it")
        from somascope.learn.datasets import open_dataset
        from somascope.learn.lighten import lightened

        with bar(f"quantise {name}") as progress:
            made = lightened(
                packed, quantise, open_dataset(cases, packed.card.task), tolerance=tolerance,
                split=split, progress=progress,
            )  # fmt: skip
        said |= {"figure": made.name, "before": made.before, "after": made.after,
                 "cases": made.cases, "bytes_before": len(packed.graph),
                 "bytes_after": len(made.package.graph)}  # fmt: skip
        packed = made.package
    if out.suffix == ".onnx":
        if out.exists() and not overwrite:
            raise Conflict(f"{out} is there already; choose another name or say overwrite")
        from somascope.io.atomic import replacing

        with replacing(out) as file:
            file.write(packed.graph)
    else:
        package.write(packed, out, overwrite=overwrite)
    if json_:
        typer.echo(json.dumps(said))
        return
    typer.echo(str(out))
    if quantise:
        typer.echo(f"{said['figure']} {said['before']:.4f} before, {said['after']:.4f} after, on "
                   f"{said['cases']} cases; {said['bytes_before']} bytes before, "
                   f"{said['bytes_after']} after")  # fmt: skip
