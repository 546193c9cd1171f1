"""`duplicates`: what a data set holds twice, and what leaks between its parts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from somascope.cli.bar import bar
from somascope.cli.learning import Json


def duplicates(
    task: Annotated[str, typer.Argument(help="classify, detect, segment or register.")],
    dataset: Annotated[Path, typer.Argument(help="A data set: folder, npz, JSON or CSV.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="A report with pictures: .html, or a folder.")
    ] = None,
    json_: Json = False,
) -> None:
    """Find cases that show the same thing: equal, resized, re-encoded, mirrored or turned.

    Ends with 1 where one lies on both sides of a split, or a patient does.
    """
    from dataclasses import asdict

    from somascope.io.atomic import replacing
    from somascope.learn.datasets import open_dataset
    from somascope.learn.leaks import checked, page

    opened = open_dataset(dataset, task)
    with bar(f"duplicates {opened.name}") as progress:
        found = checked(opened, progress=progress)
    told = asdict(found)
    if out is not None:
        target = out if out.suffix == ".html" else out / "duplicates.html"
        with replacing(target) as file:
            file.write(page(found, opened).encode())
        with replacing(target.with_suffix(".json")) as file:
            file.write((json.dumps(told, indent=1) + "\n").encode())
    parted = [c for c in found.leaks if c.across != "two patients"]
    if json_:
        typer.echo(json.dumps(told))
    else:
        for copy in found.copies:
            typer.echo(f"{copy.first}  {copy.second}  {copy.how}"
                       f"{f'  across {copy.across}' if copy.across else ''}")  # fmt: skip
        for patient, parts in found.shared:
            typer.echo(f"{patient}  patient in {', '.join(parts)}")
        typer.echo(
            f"{sum(found.parts.values())} cases of {found.patients} patients: "
            f"{len(found.copies)} pairs show the same thing, {len(found.leaks)} across parts or "
            f"patients; {len(found.shared)} patients in several parts"
        )
        if out is not None:
            typer.echo(str(target))
    for name, reason in found.problems[:10]:
        typer.echo(f"somascope: {name}: {reason}", err=True)
    if parted or found.shared:
        sys.exit(1)
