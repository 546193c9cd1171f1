"""`predict`: one model, several as one, or one within what another one finds, on images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from somascope.cli.bar import bar
from somascope.core.errors import ParameterError

if TYPE_CHECKING:
    from somascope.core.grid import Float
    from somascope.models.inputs import Input
    from somascope.models.predict import Asked


def predict(
    model: Annotated[
        str, typer.Argument(help="An installed model, a folder or file, or a folder of folds.")
    ],
    inputs: Annotated[list[str], typer.Argument(help="Files, folders, npz, or archive UIDs.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the answers.")],
    with_: Annotated[
        list[str] | None, typer.Option("--with", help="Another model: they answer as one.")
    ] = None,
    mirror: Annotated[
        str, typer.Option(help="Look at mirrored images too: axes, some of z, y, x.")
    ] = "",
    dropout: Annotated[
        int, typer.Option(min=0, max=1000, help="Draws of the network's dropouts.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of these draws.")] = 0,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="How unsure, too: maps, or columns.")
    ] = False,
    first: Annotated[str, typer.Option(help="Outline only within what this model finds.")] = "",
    margin: Annotated[float, typer.Option(min=0.0, help="With --first: around it, mm.")] = 20.0,
    sees: Annotated[
        str, typer.Option(help="With --first: the model was trained on image or region.")
    ] = "image",
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="Single objects: predictions.json of a detector, or a data set of boxes."
        ),
    ] = None,
    least: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="With --boxes: least score of a detector's box.")
    ] = 0.3,
    archive: Annotated[Path | None, typer.Option(help="Inputs are UIDs of this archive.")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Segmentation: probabilities too.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Look at images unlike the training images too.")
    ] = False,
    engine: Annotated[str, typer.Option(help="auto, onnxruntime or openvino.")] = "auto",
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Run a model on images and write its answers.

    Several models, mirrored images and draws of dropout are averaged; --uncertainty tells how far
    they are apart.
    """
    from somascope.models.predict import predict as run

    asked = _asked(
        [model, *(with_ or [])], mirror=mirror, dropout=dropout, seed=seed, first=first,
        margin=margin, sees=sees, engine=engine,
    )  # fmt: skip
    given = _given(inputs, archive)
    with bar(asked.card.name) as progress:
        done = run(
            asked, given, out, probabilities=probabilities, uncertainty=uncertainty,
            anyway=anyway, boxes=None if boxes is None else boxes_of(boxes, least=least),
            progress=progress,
        )  # fmt: skip
    if json_:
        typer.echo(json.dumps({
            "model": asked.card.name, "files": [str(f) for f in done.files],
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


def boxes_of(path: Path, *, least: float) -> dict[str, Float]:
    """The boxes of images, by name: as a detector wrote them, or of a data set."""
    from somascope.models.single import found_in

    if path.suffix == ".json" and path.read_bytes()[:64].lstrip().startswith(b"["):
        return found_in(path, least=least)
    from somascope.learn.datasets import folders, open_dataset

    if path.is_dir() and folders.masked(path):
        alone = open_dataset(path, "classify", objects=True).cases
        return {folders.stem(Path(c.id)): c.box[None] for c in alone if c.box is not None}
    cases = open_dataset(path, "detect").cases
    return {c.id: c.boxes[:, :-1] for c in cases if c.boxes is not None}


def _asked(
    names: list[str], *, mirror: str, dropout: int, seed: int, first: str, margin: float,
    sees: str, engine: str,
) -> Asked:  # fmt: skip
    """One network, several together, or one within another's region."""
    from somascope.models.together import Together, gathered
    from somascope.models.within import Within

    if engine not in ("auto", "onnxruntime", "openvino"):
        raise ParameterError(f"--engine is {engine!r}; auto, onnxruntime or openvino")
    if sees not in ("image", "region"):
        raise ParameterError(f"--sees is {sees!r}; image or region")
    members = gathered(names, kind=engine)
    if not first:
        if len(members) == 1 and not mirror and not dropout:
            return members[0]
        return Together(members, mirror=mirror, dropout=dropout, seed=seed)
    if len(members) > 1 or mirror or dropout:
        raise ParameterError("--first takes one model after it: not with --with, --mirror, "
                             "--dropout or folds")  # fmt: skip
    where = gathered([first], kind=engine)[0]
    return Within(where, members[0], margin_mm=margin, sees=sees)


def _given(inputs: list[str], archive: Path | None) -> list[Input]:
    from somascope.models.inputs import Input
    from somascope.models.inputs import inputs as opened

    if archive is None:
        return opened(inputs)
    from somascope.archive import Archive
    from somascope.jobs.resolve import from_archive

    store = Archive.open(archive)
    try:
        loaded: list[Any] = [from_archive(store, uid, noun="Image") for uid in inputs]
    finally:
        store.close()
    pairs = zip(inputs, loaded, strict=True)
    return [Input(uid, lambda image=image: image, flat=True) for uid, image in pairs]
