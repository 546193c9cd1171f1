"""`follow-up`: two examinations and the lesions of the first, and what became of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from somascope.cli.bar import bar
from somascope.cli.register import ArchiveOption, noun_of, opened
from somascope.core.errors import ParameterError

if TYPE_CHECKING:
    from somascope.core import Image, Label, Mask, Measurement, Warp

    Result = Mask | Image | Warp | Label | Measurement


def follow_up(
    prior: Annotated[str, typer.Argument(help="The earlier image: file, folder or UID.")],
    current: Annotated[str, typer.Argument(help="The image of now.")],
    lesions: Annotated[str, typer.Option(help="Lesions drawn in the prior image.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for all results.")],
    found: Annotated[
        str | None, typer.Option(help="Lesions drawn in the current image, where they are.")
    ] = None,
    each: Annotated[str, typer.Option(help="One lesion is a segment, or a component.")] = "segment",
    preset: Annotated[str | None, typer.Option(help="Of the registration; by content.")] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Go on when the registration is not to be trusted.")
    ] = False,
    archive: ArchiveOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print all findings as JSON.")] = False,
) -> None:
    """Find the lesions of a prior examination again and say how each has changed.

    Writes segmentation, new-lesion map, registration, report, table and trend into a folder.
    """
    from somascope.core.registry import get_operation
    from somascope.io.findings import plain

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ParameterError(f"{out} is there already; give an empty or a new folder")
    store = opened(archive)
    try:
        nouns: list[Any] = [
            noun_of(name, store, noun)
            for name, noun in (
                (current, "Image"), (prior, "Image"), (lesions, "Mask"),
                *([(found, "Mask")] if found else []),
            )
        ]  # fmt: skip
    finally:
        if store is not None:
            store.close()
    operation = get_operation("analyze.follow_up")
    params = operation.validate({"each": each, "preset": preset, "accept": accept})
    with bar("follow-up") as progress:
        results = operation(*nouns, progress=progress, **params)
    findings = [r for r in results if type(r).__name__ in ("Label", "Measurement")]
    written = _written(results, findings, out)
    if json_:
        said = {"outputs": [str(p) for p in written], "findings": [plain(f) for f in findings]}
        typer.echo(json.dumps(said))
        return
    for finding in findings:
        if type(finding).__name__ == "Label" and finding.text:
            typer.echo(finding.text)
    typer.echo(str(out))


def _written(results: list[Any], findings: list[Any], out: Path) -> list[Path]:
    from PIL import Image as Picture

    from somascope.analyze.longitudinal.trend import SHOWN, picture, table, trends
    from somascope.core import Image, Mask, Warp
    from somascope.io import write

    out.mkdir(parents=True, exist_ok=True)
    names = {Mask: "lesions", Image: "new-lesion-map", Warp: "registration"}
    written: list[Path] = []
    for noun in results:
        for kind, name in names.items():
            if isinstance(noun, kind):
                write(noun, out / name)
                written.append(out / name)
    write(findings, out / "report")
    rows = table(findings)
    columns = list(dict.fromkeys(k for row in rows for k in row))
    with (out / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    concept, words, unit = SHOWN["volume"]
    Picture.fromarray(picture(trends(findings, concept), f"{words} ({unit})")).save(
        out / "trend.png"
    )
    return [*written, out / "report", out / "table.csv", out / "trend.png"]
