"""Which series of an archive belong to a cohort: by DICOM attributes, ages and numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from somascope.analyze.cohort.facts import KEYWORDS, age, facts, years
from somascope.archive import schema
from somascope.archive.attributes import find, searchable
from somascope.archive.records import Query
from somascope.core import QUIET, Progress
from somascope.core.errors import ParameterError

if TYPE_CHECKING:
    from somascope.archive import Archive

NO_IMAGES = frozenset(
    ["SR", "SEG", "PR", "KO", "REG", "RTSTRUCT", "RTPLAN", "DOC", "AU", "FID", "RWV", "PLAN", "M3D"]
)
"""Modalities that are left out unless they are asked for."""

_JOINED = ("text", "uid", "modalities", "number")
"""Kinds of attributes whose alternatives one query can ask for."""
_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})?\s*\.\.\s*({_NUMBER})?")
_DASHED = re.compile(r"(\d+(?:\.\d*)?)\s*-\s*(\d+(?:\.\d*)?)?")
"""A range of numbers that are not negative, in the manner of DICOM."""


@dataclass(frozen=True)
class Case:
    """One image series of a cohort; ``facts`` are the columns of `analyze.cohort.facts`."""

    series: str
    study: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


def conditions(texts: Sequence[str]) -> dict[str, list[str]]:
    """``KEYWORD=VALUE`` as `selected` takes it; a keyword that comes again is an alternative."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise ParameterError(
                f"--where {text!r}: write KEYWORD=VALUE, such as Modality=MR or "
                "PatientAge=040Y-070Y"
            )
        found.setdefault(name.strip(), []).append(value.strip())
    return found


def selected(
    archive: Archive,
    where: Mapping[str, Sequence[str]] | None = None,
    *,
    results: bool = False,
    limit: int | None = None,
    progress: Progress = QUIET,
) -> list[Case]:
    """The series of a cohort, in the order of patient, study and series number.

    Parameters
    ----------
    where
        Values by DICOM keyword; several values of one keyword are alternatives, several keywords
        hold at once. Attributes of the index match as in QIDO-RS (``*`` and ``?``, dates
        ``20250101-20251231``); ``PatientAge`` is a range of years (``040Y-070Y``, ``40-``), also
        where only the date of birth is known; any other attribute is looked up in the series'
        metadata: a text with ``*`` and ``?``, a number (``-5`` is minus five), or a range of
        numbers: ``0.5..1.2``, ``..5``, ``-20..-5``, and ``0.5-1.2`` or ``0.5-`` where none is
        negative.
    results
        Take series too that operations made here.
    limit
        At most so many.

    Raises
    ------
    ParameterError
        No such keyword, or a value that is no range.
    """
    wanted = {k: list(v) for k, v in (where or {}).items()}
    indexed, others = _parted(wanted)
    made = set() if results else _made_here(archive)
    fields = (*KEYWORDS, *others)
    tags = {name: _tag(name) for name in fields}
    found: dict[str, tuple[tuple[Any, ...], Case]] = {}
    for match in _queries(indexed):
        answers = archive.search(Query(level="SERIES", match=match, fields=fields))
        for answer in progress.over(answers, "selecting"):
            told = {name: _value(answer.get(tag)) for name, tag in tags.items()}
            series = str(told["SeriesInstanceUID"])
            if series in made or ("Modality" not in wanted and told["Modality"] in NO_IMAGES):
                continue
            if all(_fits(name, values, told) for name, values in others.items()):
                number = _value(answer.get("00200011"))
                place = (str(told["PatientID"] or ""), str(told["StudyDate"] or ""),
                         str(told["StudyInstanceUID"]), int(number or 0), series)  # fmt: skip
                found[series] = (place, Case(series, str(told["StudyInstanceUID"]), facts(told)))
    ordered = [case for _, case in sorted(found.values(), key=lambda pair: pair[0])]
    return ordered if limit is None else ordered[:limit]


def _parted(wanted: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    known = searchable("SERIES")
    indexed: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for name, values in wanted.items():
        if name == "PatientAge":
            for value in values:
                _ages(value)
            others[name] = values
        elif name in known:
            indexed[name] = values
        else:
            _tag(name)
            others[name] = values
    return indexed, others


def _queries(indexed: Mapping[str, list[str]]) -> list[dict[str, str]]:
    """As few matches as say all alternatives: lists where an attribute takes one."""
    choices: list[list[tuple[str, str]]] = []
    for name, values in indexed.items():
        attribute = find(name)
        assert attribute is not None
        joined = attribute.how in _JOINED
        choices.append([(name, "\\".join(values))] if joined else [(name, v) for v in values])
    return [dict(chosen) for chosen in product(*choices)]


def _tag(name: str) -> str:
    known = find(name)
    if known is not None:
        return known.tag
    from somascope.io.dicom.header import wanted

    try:
        (tag,) = wanted([name], base={})
    except (KeyError, ValueError) as error:
        raise ParameterError(
            f"{name!r} is no DICOM keyword; write it as in Modality or RepetitionTime"
        ) from error
    return f"{tag:08X}"


def _value(element: Any) -> Any:
    """What a DICOM JSON element says: one value, a list of several, None for none."""
    values = [v for v in (element or {}).get("Value", []) if v is not None]
    values = [v.get("Alphabetic", "") if isinstance(v, dict) else v for v in values]
    return values[0] if len(values) == 1 else values or None


def _ages(text: str) -> tuple[float, float]:
    low, dash, high = text.partition(".." if ".." in text else "-")
    least, most = years(low.strip()), years(high.strip())
    good = (not low.strip() or least is not None) and (not high.strip() or most is not None)
    if not good or (not dash and least is None) or (dash and least is None and most is None):
        raise ParameterError(f"PatientAge is {text!r}; write 040Y-070Y, 40..70, 18.. or ..18")
    if not dash:
        assert least is not None
        return least, least + 1 - 1e-9
    # 070Y is said until the next birthday.
    return least if least is not None else 0.0, (most + 1 - 1e-9) if most is not None else 999.0


def _fits(name: str, values: Sequence[str], told: Mapping[str, Any]) -> bool:
    if name == "PatientAge":
        known = age(told)
        return known is not None and any(a <= known <= b for a, b in map(_ages, values))
    there = told.get(name)
    listed = there if isinstance(there, list) else [] if there is None else [there]
    return any(_matches(name, v, text) for v in listed for text in values)


def _matches(name: str, value: Any, text: str) -> bool:
    if isinstance(value, (int, float)):
        found = _RANGE.fullmatch(text) or _DASHED.fullmatch(text)
        if found is not None and (found[1] or found[2]):
            return float(found[1] or "-inf") <= value <= float(found[2] or "inf")
        try:
            return float(text) == float(value)
        except ValueError as error:
            raise ParameterError(
                f"{name} is a number ({value:g}) and {text!r} is none; write 500, 500..600, ..600 "
                "or 500.."
            ) from error
    return fnmatchcase(str(value).strip(), text)


def _made_here(archive: Archive) -> set[str]:
    """Series that operations made in this archive: told from where they came and from the jobs."""
    from somascope.jobs.table import JOB, create

    s, i = schema.series, schema.instance
    create(archive.database)
    came = select(s.c.uid).join(i, i.c.series_k == s.c.k).where(i.c.origin.like("operation:%"))
    with archive.database.reading() as c:
        found = {row[0] for row in c.execute(came.distinct())}
        for (outputs,) in c.execute(select(JOB.c.outputs).where(JOB.c.state == "done")):
            found |= set(outputs)
    return found


def mask_of(archive: Archive, case: Case) -> str | None:
    """The Segmentation of a case's images that was stored last, or None."""
    import json

    s, t = schema.series, schema.study
    listed = (
        select(s.c.uid)
        .join(t, t.c.k == s.c.study_k)
        .where(t.c.uid == case.study, s.c.modality == "SEG")
        .order_by(s.c.k.desc())
    )
    with archive.database.reading() as c:
        names = [row[0] for row in c.execute(listed)]
    for name in names:
        (first, *_) = json.loads(archive.metadata(study=case.study, series=name))
        said = [
            _value(item.get("0020000E"))
            for item in first.get("00081115", {}).get("Value", [])
        ]  # fmt: skip
        if case.series in said:
            return name
    return None
