"""`cohort`: many cases of an archive put through an operation, their findings in one table."""

from __future__ import annotations

import json
import math
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from somascope.cli.bar import bar
from somascope.core.errors import ParameterError

if TYPE_CHECKING:
    from somascope.analyze.cohort.survival import Survival
    from somascope.analyze.cohort.table import Table
    from somascope.jobs.cohort import Case, Step

cohort = typer.Typer(
    name="cohort", no_args_is_help=True, rich_markup_mode=None,
    help="Run operations over an archive by query; collect findings, compare, check quality.",
)  # fmt: skip

ArchiveOption = Annotated[Path, typer.Option(help="Archive folder.", exists=True)]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="KEYWORD=VALUE of DICOM; repeat for more, or for alternatives of one. Numbers may be "
        "ranges: 500..600, ..5, -20..-5."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many cases.")]
Row = Annotated[
    list[str] | None,
    typer.Option(help="With --wide: columns that make a row. Default: series and region."),
]
Pseudonyms = Annotated[
    Path | None,
    typer.Option(help="De-identify with the key in this file, which is made where it is missing."),
]


@cohort.command("list")
def list_(
    archive: ArchiveOption, where: Where = None, limit: Limit = None, json_: Json = False
) -> None:
    """Show which series a query selects."""
    cases = _cases(archive, where, limit)
    if json_:
        typer.echo(json.dumps([dict(c.facts) for c in cases]))
        return
    for case in cases:
        f = case.facts
        said = [f["patient"], f["sex"], f["age"], f["date"], f["modality"], f["protocol"]]
        typer.echo(f"{case.series}  {'  '.join('-' if v is None else str(v) for v in said)}")
    typer.echo(f"{len(cases)} series of {len({c.facts['patient'] for c in cases})} patients")


@cohort.command("run")
def run_(
    operation: Annotated[str, typer.Argument(help="An operation, or a pipeline (.toml, .json).")],
    archive: ArchiveOption,
    out: Annotated[Path, typer.Option("-o", "--out", help="Table: .csv or .parquet.")],
    where: Where = None,
    param: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the operation; repeat for more.")
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", help="Further inputs: mask (the Segmentation), or a UID."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes; 0 leaves it to a running server.")
    ] = 1,
    limit: Limit = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also cases that have failed before.")
    ] = False,
    wide: Annotated[bool, typer.Option("--wide", help="A column for each finding.")] = False,
    row: Row = None,
    pseudonyms: Pseudonyms = None,
    json_: Json = False,
) -> None:
    """Run an operation or a pipeline on every series that a query selects.

    A run that was stopped goes on where it was. Cases that fail are rows with their reason.
    """
    from somascope.archive import Archive
    from somascope.jobs import Jobs
    from somascope.jobs.cohort import rows_of, run, selected
    from somascope.jobs.cohort.select import conditions

    _suffix(out)
    steps = _steps(operation, param or [], with_ or [])
    key = _key(pseudonyms)
    with Archive.open(archive) as store, bar(operation) as progress:
        cases = selected(store, conditions(where or []), limit=limit)
        if not cases:
            raise ParameterError("the query selects no series; see: somascope cohort list")
        jobs = Jobs(store)
        ran = run(jobs, steps, cases, workers=workers, again=again, progress=progress)
        table = rows_of(store, ran, progress=progress)
    files = _written(table, out, wide=wide, row=row, key=key)
    failed = [r for r in ran if r.state != "done"]
    said = {
        "cases": len(ran), "done": len(ran) - len(failed), "failed": len(failed),
        "run": sum(r.fresh for r in ran), "files": [str(f) for f in files],
    }  # fmt: skip
    if json_:
        typer.echo(json.dumps(said))
    else:
        typer.echo(f"{said['done']} of {said['cases']} cases done, {said['run']} jobs run now")
        typer.echo(str(files[0]))
    for r in failed[:10]:
        typer.echo(f"somascope: {r.case.series}: {r.step}: {r.reason}", err=True)
    if failed:
        sys.exit(1)


@cohort.command("collect")
def collect(
    archive: ArchiveOption,
    out: Annotated[Path, typer.Option("-o", "--out", help="Table: .csv or .parquet.")],
    where: Where = None,
    limit: Limit = None,
    wide: Annotated[bool, typer.Option("--wide", help="A column for each finding.")] = False,
    row: Row = None,
    pseudonyms: Pseudonyms = None,
    json_: Json = False,
) -> None:
    """Collect the findings of the reports in the archive about the series a query selects."""
    from somascope.archive import Archive
    from somascope.jobs.cohort import selected, stored
    from somascope.jobs.cohort.select import conditions

    _suffix(out)
    key = _key(pseudonyms)
    with Archive.open(archive) as store, bar("collect") as progress:
        cases = selected(store, conditions(where or []), limit=limit)
        table = stored(store, cases, progress=progress)
    if not len(table):
        raise ParameterError(f"no report in the archive is about the {len(cases)} selected series")
    files = _written(table, out, wide=wide, row=row, key=key)
    if json_:
        typer.echo(json.dumps({"rows": len(table), "files": [str(f) for f in files]}))
    else:
        typer.echo(f"{len(table)} findings of {len(set(table.texts('series')))} series")
        typer.echo(str(files[0]))


@cohort.command("compare")
def compare(
    table: Annotated[Path, typer.Argument(help="A table with a column for each finding.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Report: .html.")],
    by: Annotated[str, typer.Option(help="Column with the groups, such as sex or site.")],
    value: Annotated[
        list[str] | None, typer.Option(help="Column to compare; repeat. Default: all findings.")
    ] = None,
    explain: Annotated[
        list[str] | None,
        typer.Option(help="Columns that explain too (regression): age, sex, site."),
    ] = None,
    harmonise: Annotated[
        str, typer.Option(help="Take this column's (site's) shifts and scales out first: ComBat.")
    ] = "",
    time: Annotated[
        str, typer.Option(help="Column with how long each patient was followed: survival.")
    ] = "",
    event: Annotated[
        str, typer.Option(help="With --time: column that is 1 where it happened then, else 0.")
    ] = "",
    correction: Annotated[str, typer.Option(help="holm, bh, bonferroni or none.")] = "holm",
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    json_: Json = False,
) -> None:
    """Compare groups: their measurements, also explained by age and site, or their survival.

    With --time and --event the groups' curves (Kaplan and Meier) and the log-rank test;
    measurements then only where --value names them. --by may be a number: up to its median, above.
    """
    from dataclasses import asdict

    from somascope.analyze.cohort import compared, harmonised, read_table, regressed, survived
    from somascope.io.atomic import replacing
    from somascope.jobs.cohort.pages import comparison_page

    if out.suffix != ".html":
        raise ParameterError(f"the report is a page: -o NAME.html, not {out.name!r}")
    if bool(time) != bool(event):
        raise ParameterError("--time and --event go together; give both columns")
    if time and not value and (explain or harmonise):
        raise ParameterError("--explain and --harmonise are of measurements; name some by --value")
    given = read_table(table)
    lives = [survived(given, time, event, by)] if time else []
    values = value or ([] if time else _numbers(given, by, explain or []))
    about = f"{len(given)} rows of {len(set(given.texts('patient')))} patients in {table.name}."
    if harmonise:
        kept: list[str] = list(dict.fromkeys([by, *(explain or [])]))
        keep = [c for c in kept if c != harmonise]
        given = harmonised(given, values, harmonise, keep=keep)
        about += f" Differences between {harmonise} were taken out (ComBat), {keep} kept."
    found = compared(given, values, by, correction=correction, seed=seed) if values else []  # pyright: ignore
    columns: list[str] = list(dict.fromkeys([by, *(explain or [])]))
    explained = [regressed(given, v, columns) for v in values] if explain else []
    named = ", ".join([*values[:3], *(s.event for s in lives)])
    page = comparison_page(found, explained, title=f"{named} by {by}", about=about, lives=lives)
    with replacing(out) as file:
        file.write(page.encode())
    if json_:
        plain = [{k: v for k, v in asdict(c).items() if k != "values"} for c in found]
        typer.echo(json.dumps({
            "report": str(out), "compared": plain, "survival": [_plain(s) for s in lives],
        }))  # fmt: skip
        return
    for c in found:
        means = ", ".join(f"{g.name} {g.mean:.4g} (n {g.patients})" for g in c.groups)
        typer.echo(f"{c.value:<32} {means}  p {c.p:.3g}  corrected {c.adjusted:.3g}")
    for s in lives:
        said = ", ".join(
            f"{c.name}: {c.events} of {c.patients}, median {_median(c.median)}" for c in s.curves
        )
        typer.echo(f"{s.event:<32} {said}  log-rank p {s.p:.3g}")
        for why in s.left_out:
            typer.echo(f"somascope: left out: {why}", err=True)
    typer.echo(str(out))


@cohort.command("qc")
def qc(
    out: Annotated[Path, typer.Option("-o", "--out", help="Page: .html; a table beside it.")],
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of images, where it is no archive.")
    ] = None,
    archive: Annotated[Path | None, typer.Option(help="Archive folder.")] = None,
    where: Where = None,
    limit: Limit = None,
    json_: Json = False,
) -> None:
    """Check the quality of a data set: geometry, noise, motion, duplicates, strange protocols."""
    from somascope.analyze.cohort import write_table
    from somascope.io.atomic import replacing
    from somascope.jobs.cohort import qc as checks
    from somascope.jobs.cohort.pages import quality_page

    if out.suffix != ".html":
        raise ParameterError(f"the report is a page: -o NAME.html, not {out.name!r}")
    if (archive is None) == (folder is None):
        raise ParameterError("say what to check: a folder, or --archive DIR")
    with bar("qc") as progress:
        if archive is not None:
            from somascope.archive import Archive

            with Archive.open(archive) as store:
                cases = _selected(store, where, limit)
                report = checks.of_archive(store, cases, progress=progress)
            name = f"{archive.name}, {' '.join(where or []) or 'all images'}"
        else:
            assert folder is not None
            if where:
                raise ParameterError("--where asks an archive; a folder is checked whole")
            report = checks.of_folder(folder, progress=progress)
            name = folder.name
    with replacing(out) as file:
        file.write(quality_page(report, title=f"Quality of {name}").encode())
    files = [out, *write_table(report.table, out.with_suffix(".csv"))]
    if json_:
        names = report.table.texts("name")
        typer.echo(json.dumps({
            "images": len(report.table), "files": [str(f) for f in files],
            "remarks": {names[i]: said for i, said in report.flags.items()},
            "unread": [list(u) for u in report.unread],
        }))  # fmt: skip
        return
    typer.echo(f"{len(report.table)} images, {len(report.flags)} with a remark")
    typer.echo(str(out))


def _cases(archive: Path, where: list[str] | None, limit: int | None) -> list[Case]:
    from somascope.archive import Archive

    with Archive.open(archive) as store:
        return _selected(store, where, limit)


def _selected(store: Any, where: list[str] | None, limit: int | None) -> list[Case]:
    from somascope.jobs.cohort import selected
    from somascope.jobs.cohort.select import conditions

    return selected(store, conditions(where or []), limit=limit)


def _suffix(out: Path) -> None:
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise ParameterError(f"a table is written as .csv or .parquet, not {out.name!r}")


def _steps(operation: str, params: list[str], more: list[str]) -> list[Step]:
    from somascope.core.registry import get_operation
    from somascope.jobs.cohort import Step, pipeline

    if operation.endswith((".toml", ".json")):
        if params or more:
            raise ParameterError("--param and --with are of one operation; a pipeline has its own")
        return pipeline(operation)
    found = get_operation(operation)
    known = {p.name: p for p in found.parameters}
    given: dict[str, Any] = {}
    for text in params:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in known:
            raise ParameterError(
                f"--param {text!r}: write NAME=VALUE; {operation} has {', '.join(known) or 'none'}"
            )
        given[name] = known[name].parse(operation, value.strip())
    return [
        Step(operation.rsplit(".", 1)[-1].replace("_", "-"), operation, ("image", *more), given)
    ]


def _key(path: Path | None) -> bytes | None:
    if path is None:
        return None
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
    return path.read_bytes().strip()


def _written(
    table: Table, out: Path, *, wide: bool, row: list[str] | None, key: bytes | None
) -> list[Path]:
    from somascope.analyze.cohort import deidentified, write_table
    from somascope.analyze.cohort.table import wide as pivoted

    if row and not wide:
        raise ParameterError("--row is of --wide")
    if wide:
        numbers = table.only([k in ("measurement", "probability") for k in table.texts("kind")])
        table = pivoted(
            numbers.without("code", "uncertainty", "confidence", "text", "kind"),
            index=row or ["series", "region"],
        )
    if key is not None:
        table = deidentified(table, key)
    return write_table(table, out)


def _median(value: float) -> str:
    return "not reached" if math.isnan(value) else f"{value:.4g}"


def _plain(one: Survival) -> dict[str, Any]:
    """A comparison of survival without its curves' arrays; no median is null."""
    groups = [
        {"name": c.name, "patients": c.patients, "events": c.events,
         "median": None if _median(c.median) == "not reached" else c.median}
        for c in one.curves
    ]  # fmt: skip
    return {
        "time": one.time, "event": one.event, "by": one.by, "chi": one.chi, "dof": one.dof,
        "p": one.p, "groups": groups, "left_out": list(one.left_out),
    }  # fmt: skip


def _numbers(table: Table, by: str, explain: list[str]) -> list[str]:
    """The columns of numbers that are findings: not the facts of the examination."""
    from somascope.analyze.cohort import facts
    from somascope.analyze.cohort.groups import FEWEST

    known = {c.name for c in facts.COLUMNS} | {"day", by, *explain}
    numbers = [c.name for c in table.columns if c.kind == "number" and c.name not in known]
    found = [n for n in numbers if sum(v is not None for v in table.values(n)) >= 2 * FEWEST]
    if not found:
        raise ParameterError(
            "the table has no column of numbers to compare; write it with --wide, or name --value"
        )
    return found
