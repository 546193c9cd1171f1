"""`operations`, `run`, `replay`: the command-line door of every operation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from somascope.cli.bar import bar
from somascope.core.errors import ParameterError

if TYPE_CHECKING:
    from somascope.core.operations import Operation


def operations(
    json_: Annotated[bool, typer.Option("--json", help="Full JSON schemas.")] = False,
) -> None:
    """List the operations that are installed."""
    if json_:
        from somascope.core.registry import get_operation, operation_names

        found = [get_operation(name) for name in operation_names()]
        typer.echo(json.dumps([op.schema() for op in found], indent=1))
        return
    from somascope.cli.listing import summaries

    listed = summaries()
    width = max(map(len, listed))
    for name, summary in listed.items():
        typer.echo(f"{name:<{width}}  {summary}")


def _usage(op: Operation) -> str:
    inputs = " ".join(name.upper() for name, _ in op.inputs)
    lines = [
        f"Usage: somascope run {op.name} {inputs} -o OUT [parameters]",
        "",
        f"  {op.summary}",
        "",
    ]
    for p in op.parameters:
        kind = "|".join(map(str, p.choices)) or p.type
        default = "required" if p.required else f"default {p.default}"
        unit = f" {p.param.unit}" if p.param.unit else ""
        lines.append(f"  --{p.name.replace('_', '-'):<22} {kind}{unit}; {default}. {p.param.help}")
    lines += [
        "",
        "  -o, --out OUT            file (format by suffix), or a folder for DICOM",
        "  --archive DIR            inputs are UIDs of this archive; results are stored in it",
        "  --json                   print the outcome as JSON",
    ]
    return "\n".join(lines)


def _split(op: Operation, args: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Separate inputs from ``--name value`` and ``--name=value``."""
    known = {p.name: p for p in op.parameters}
    inputs: list[str] = []
    params: dict[str, Any] = {}
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            inputs.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        negated = name.startswith("no_") and name[3:] in known
        key = name[3:] if negated else name
        if key not in known:
            raise ParameterError(
                f"{op.name} has no parameter --{name}; see: somascope run {op.name} --help"
            )
        if negated:
            params[key] = False
            continue
        boolean = known[key].type == "boolean"
        if not equals:
            if boolean and (not rest or rest[0].lower() not in ("true", "false", "yes", "no")):
                value = "true"
            elif not rest:
                raise ParameterError(f"{op.name}: --{name} needs a value")
            else:
                value = rest.pop(0)
        params[key] = known[key].parse(op.name, value)
    return inputs, params


def run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Operation, e.g. process.gaussian.")] = "",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Result file or folder.")] = None,
    archive: Annotated[Path | None, typer.Option(help="Archive folder; inputs are UIDs.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Run an operation on files, folders or archive UIDs.

    Write `somascope run NAME --help` for its parameters.
    """
    args = list(context.args)
    asked = {"--help", "-h"} & {name, *args}
    if not name or (asked and name in ("--help", "-h")):
        typer.echo("Usage: somascope run NAME INPUT... -o OUT [--param value ...]\n")
        typer.echo("  Runs an operation on files, folders or (with --archive DIR) archive UIDs.")
        typer.echo(
            "  somascope operations lists the names; somascope run NAME --help the parameters."
        )
        raise typer.Exit(0 if asked else 2)
    from somascope.core.registry import get_operation

    op = get_operation(name)
    if asked:
        typer.echo(_usage(op))
        return
    inputs, given = _split(op, args)
    params = op.validate(given)
    if not inputs:
        raise ParameterError(f"{name} needs an input; see: somascope run {name} --help")
    if archive is None and out is None:
        raise ParameterError("say where the result goes: -o OUT")
    from somascope.jobs.run import execute, run_files

    with bar(name) as progress:
        if archive is not None:
            from somascope.archive import Archive
            from somascope.cli.export_out import export_uid

            opened = Archive.open(archive)
            try:
                outputs = list(execute(opened, name, inputs, params, progress=progress))
                if out is not None:
                    for uid in outputs:
                        export_uid(opened, uid, out)
            finally:
                opened.close()
        else:
            assert out is not None
            outputs = [
                str(p)
                for p in run_files(name, [Path(i) for i in inputs], out, params, progress=progress)
            ]
    if json_:
        said = {"operation": name, "params": params, "outputs": outputs}
        findings = _findings(outputs, archive)
        typer.echo(json.dumps(said | ({"findings": findings} if findings else {})))
    else:
        for output in outputs:
            typer.echo(output)


def _findings(outputs: list[str], archive: Path | None) -> list[dict[str, Any]]:
    """The findings among what was written, read back from there."""
    from somascope.io import read_all
    from somascope.io.findings import plain

    paths = [Path(o) for o in outputs]
    if archive is not None:
        from somascope.archive import Archive
        from somascope.io.dicom.sr_read import CLASSES

        opened = Archive.open(archive)
        try:
            stored = [i for o in outputs for i in opened.locate(series=o)]
        finally:
            opened.close()
        reports = [i.path for i in stored if i.sop_class in CLASSES]
        return [plain(f) for f in read_all(reports).findings] if reports else []
    written: list[dict[str, Any]] = []
    for path in paths:
        if path.suffix == ".json":
            written += json.loads(path.read_text(encoding="utf-8"))
        elif path.is_dir() and len(list(path.glob("*.dcm"))) > 1:
            continue  # images: a report is one instance
        elif path.is_dir() or path.suffix in (".dcm", ""):
            written += [plain(f) for f in read_all(path).findings]
    return written


def replay(
    uid: Annotated[str, typer.Argument(help="SOP instance or series UID of a result.")],
    archive: Annotated[Path, typer.Option(help="Archive folder.", exists=True)],
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Run again what made a result, from its provenance, and compare the values."""
    from somascope.archive import Archive
    from somascope.jobs.replay import replay as run_again

    opened = Archive.open(archive)
    try:
        with bar("replay") as progress:
            report = run_again(opened, uid, progress=progress)
    finally:
        opened.close()
    if json_:
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(report), default=str))
    else:
        typer.echo(f"{report.operation}: {'identical' if report.identical else 'DIFFERENT'}")
    if not report.identical:
        sys.exit(1)
