"""`import`, `export`, `convert`: files in and out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from somascope.cli.bar import bar

Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


def import_(
    archive: Annotated[Path, typer.Argument(help="Archive folder (made when it is not there).")],
    paths: Annotated[list[Path], typer.Argument(help="Folders, files, ZIPs or DICOMDIRs.")],
    json_: Json = False,
) -> None:
    """Put images into an archive; what is not a good image is listed with its reason."""
    from somascope.archive import Archive
    from somascope.cli.convert_in import store_other_formats

    opened = Archive.open(archive)
    try:
        with bar("import") as progress:
            report = opened.import_paths(paths, progress=progress)
            converted = store_other_formats(opened, report)
    finally:
        opened.close()
    stored = report.stored + converted.stored
    if json_:
        typer.echo(
            json.dumps(
                {
                    "stored": stored,
                    "duplicates": report.duplicates,
                    "converted": converted.files,
                    "refused": [{"name": n, "reason": r} for n, r in converted.refused],
                }
            )
        )
    else:
        typer.echo(f"{stored} instances stored, {report.duplicates} were there already")
        for name, reason in converted.refused:
            typer.echo(f"  refused {name}: {reason}", err=True)
    if converted.refused and not stored and not report.duplicates:
        raise typer.Exit(1)


def export(
    archive: Annotated[Path, typer.Argument(help="Archive folder.", exists=True)],
    uid: Annotated[str, typer.Argument(help="Study, series or SOP instance UID.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder, or a file such as x.nii.gz.")],
    json_: Json = False,
) -> None:
    """Write a study, series or instance as DICOM files, or one volume in another format."""
    from somascope.archive import Archive
    from somascope.cli.export_out import export_uid

    opened = Archive.open(archive)
    try:
        with bar("export") as progress:
            files = export_uid(opened, uid, out, progress=progress)
    finally:
        opened.close()
    if json_:
        typer.echo(json.dumps({"files": [str(f) for f in files]}))
    else:
        typer.echo(f"{len(files)} files written to {out}")


def convert(
    src: Annotated[Path, typer.Argument(help="A file, or a folder of DICOM.")],
    dst: Annotated[Path, typer.Argument(help="A file (format by suffix), or a folder.")],
    series: Annotated[str | None, typer.Option(help="Only this Series Instance UID.")] = None,
    json_: Json = False,
) -> None:
    """Convert images: DICOM, NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF, each into each."""
    from somascope.io.convert import convert as convert_images

    with bar("convert") as progress:
        report = convert_images(src, dst, series=series, progress=progress)
    if json_:
        typer.echo(json.dumps(asdict(report), default=str))
        return
    for path in report.written:
        typer.echo(str(path))
    for name, reason in report.problems:
        typer.echo(f"  {name}: {reason}", err=True)
    if not report.written:
        raise typer.Exit(1)
