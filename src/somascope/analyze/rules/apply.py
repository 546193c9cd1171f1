"""The operation `analyze.apply_rules`: reports in, answers with their explanation out."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from somascope.analyze.rules.answers import decide
from somascope.analyze.rules.reading import load
from somascope.core import QUIET, Box, Label, Measurement, Param, Progress, Provenance, operation
from somascope.core.errors import ParameterError


@operation("analyze.apply_rules")
def apply_rules(
    *findings: Label | Box | Measurement,
    rules: Annotated[
        str,
        Param(
            "Names of shipped rules or paths of rule files, with commas between: recist-1.1, "
            "percist-1.0, fleischner-2017, fleischner-2017-volume, lung-rads-2022, "
            "lv-ejection-fraction, evans-index, deauville-suv",
            opens="rules",
        ),
    ],
    progress: Progress = QUIET,
) -> list[Label]:
    """Say what guidelines make of measurements and findings, with the reason and the source.

    One answer for the examination or for each lesion, as the rules want it: a category, "cannot
    say" with what is missing, or "conflict" with what contradicts what.
    """
    names = [n.strip() for n in rules.split(",") if n.strip()]
    if not names:
        raise ParameterError("analyze.apply_rules: rules is empty; name a rule set, as recist-1.1")
    if not findings:
        raise ParameterError("analyze.apply_rules has no findings to judge; give a report")
    # Rule sets are read before any is asked: a bad file is refused whole.
    tables = [load(n) for n in names]
    sources = dict.fromkeys(s for f in findings for s in f.provenance.sources)
    record = Provenance(tuple(sources), findings[0].provenance.steps)
    answers: list[Label] = []
    for table in progress.over(tables, "rules"):
        answers += [
            replace(a, provenance=record, attributes=findings[0].attributes)
            for a in decide(table, findings)
        ]
    return answers
