"""What was found on the cases of a cohort, as one tidy table: a row for each finding.

A case without a finding has a row too: it says what series was made, or why it failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from somascope.analyze.cohort import facts
from somascope.analyze.cohort.table import Column, Table, table_of
from somascope.archive.records import Query
from somascope.core import QUIET, Box, Label, Measurement, Progress
from somascope.core.errors import SomascopeError
from somascope.io import read_all
from somascope.io.dicom.sr_read import CLASSES
from somascope.jobs.cohort.batch import Ran
from somascope.jobs.cohort.select import Case
from somascope.jobs.replay import provenance_of

if TYPE_CHECKING:
    from somascope.archive import Archive

FOUND = (
    Column("step", "text", "", "Step of the pipeline"),
    Column("operation", "text", "", "What made it"),
    Column("job", "text", "", "Id of the job"),
    Column("state", "text", "", "done, failed or cancelled; stored where a report was read"),
    Column("reason", "text", "", "Why it failed"),
    Column("output", "text", "", "Series Instance UID of what was made"),
    Column("kind", "text", "", "measurement, label, probability or box"),
    Column("region", "text", "", "Of which segment or lesion (Tracking Identifier)"),
    Column("finding", "text", "", "Meaning of the concept"),
    Column("code", "text", "", "Code value and scheme of the concept"),
    Column("value", "number", "", "In the unit of the next column"),
    Column("unit", "text", "", "UCUM"),
    Column("uncertainty", "number", "", "Standard uncertainty, in the unit"),
    Column("confidence", "number", "1", "From 0 to 1"),
    Column("text", "text", "", "Of a label, in words"),
)
COLUMNS = (*facts.COLUMNS, *FOUND)


def rows_of(archive: Archive, ran: Sequence[Ran], *, progress: Progress = QUIET) -> Table:
    """The findings of all cases and steps, failures among them."""
    records: list[dict[str, Any]] = []
    for one in progress.over(list(ran), "collecting"):
        base = dict(one.case.facts)
        for step, job in one.jobs.items():
            about = base | {"step": step, "operation": job.operation, "job": job.id}
            if job.state != "done":
                continue
            made = [
                row
                for uid in job.outputs
                for row in _findings(archive, uid, about | {"state": "done", "output": uid})
            ]
            records += made or [about | {"state": "done"}]
        if one.state != "done":
            job = one.jobs.get(one.step)
            records.append(base | {
                "step": one.step, "operation": job.operation if job else None,
                "job": job.id if job else None, "state": one.state, "reason": one.reason,
            })  # fmt: skip
    return table_of(records, COLUMNS)


def _findings(archive: Archive, uid: str, about: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each finding of a series, or one where it holds none."""
    reports = [i.path for i in archive.locate(series=uid) if i.sop_class in CLASSES]
    if not reports:
        return [about]
    return [about | row for f in read_all(reports).findings for row in rows(f)] or [about]


def rows(finding: Label | Box | Measurement) -> list[dict[str, Any]]:
    """A finding as rows: a label has one more for the probability of each class."""
    told: dict[str, Any] = {
        "kind": type(finding).__name__.lower(), "finding": finding.concept.meaning,
        "region": finding.tracking.name if finding.tracking else None,
        "code": f"{finding.concept.value} {finding.concept.scheme}",
        "confidence": finding.confidence,
    }  # fmt: skip
    if isinstance(finding, Measurement):
        return [told | {"value": finding.value, "unit": finding.unit,
                        "uncertainty": finding.uncertainty}]  # fmt: skip
    if isinstance(finding, Box):
        return [told]
    each = [
        {"kind": "probability", "finding": f"probability of {name}", "region": told["region"],
         "value": float(p), "unit": "1"}
        for name, p in finding.probabilities.items()
    ]  # fmt: skip
    return [told | {"text": finding.text or None}, *each]


def stored(archive: Archive, cases: Sequence[Case], *, progress: Progress = QUIET) -> Table:
    """The findings of all structured reports in the archive that are about these cases.

    A report is about the series that its findings were seen on; of a study with one case only, a
    report that names no image is about that one.
    """
    studies: dict[str, list[Case]] = {}
    for case in cases:
        studies.setdefault(case.study, []).append(case)
    records: list[dict[str, Any]] = []
    for study, members in progress.over(list(studies.items()), "collecting"):
        known = {c.series: c for c in members}
        answers = archive.search(
            Query(level="SERIES", match={"StudyInstanceUID": study, "Modality": "SR"})
        )
        for answer in answers:
            uid = str(answer["0020000E"]["Value"][0])
            paths = [i.path for i in archive.locate(series=uid) if i.sop_class in CLASSES]
            operation = _made_by(archive, uid) if paths else None
            for finding in read_all(paths).findings if paths else []:
                case = _about(archive, finding, known)
                if case is None:
                    continue
                about = dict(case.facts) | {
                    "state": "stored", "output": uid, "operation": operation,
                }  # fmt: skip
                records += [about | row for row in rows(finding)]
    return table_of(records, COLUMNS)


def _made_by(archive: Archive, uid: str) -> str | None:
    """The operation that made a report; None for what came from elsewhere."""
    try:
        steps = provenance_of(archive, uid).steps
    except SomascopeError:
        return None
    return steps[-1].operation if steps else None


def _about(
    archive: Archive, finding: Label | Box | Measurement, known: dict[str, Case]
) -> Case | None:
    named = [s.name for s in finding.provenance.sources]
    for uid in finding.on[:1]:
        named += [i.series for i in archive.locate(instance=uid)] or [uid]
    for name in named:
        if name in known:
            return known[name]
    return next(iter(known.values())) if not named and len(known) == 1 else None
