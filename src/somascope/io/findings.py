"""Findings as plain JSON or a table: for the command line and programs that read no DICOM."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from somascope.core.finding import Box, Label, Measurement


def plain(finding: Label | Box | Measurement) -> dict[str, Any]:
    """One finding as JSON types: ``kind``, its own fields, and where it was seen.

    Boxes give their corners in LPS mm beside their indices; a number that is not finite is null.
    """
    result: dict[str, Any] = {
        "kind": type(finding).__name__.lower(),
        "concept": asdict(finding.concept),
        "confidence": finding.confidence,
        "on": list(finding.on),
    }
    if finding.tracking is not None:
        result["tracking"] = asdict(finding.tracking)
    if isinstance(finding, Measurement):
        if finding.time_point:
            result["time_point"] = finding.time_point
        result |= {
            "value": finding.value if math.isfinite(finding.value) else None,
            "unit": finding.unit,
            "uncertainty": finding.uncertainty,
        }
    elif isinstance(finding, Label):
        result["probabilities"] = dict(finding.probabilities)
        if finding.text:
            result["text"] = finding.text
    else:
        result |= {
            "lower": list(finding.lower),
            "upper": list(finding.upper),
            "world": finding.grid.to_world([finding.lower, finding.upper]).tolist(),
            "frame_of_reference": finding.grid.frame_of_reference,
        }
    return result


def to_json(findings: Sequence[Label | Box | Measurement]) -> str:
    """A JSON array, one object per finding."""
    return json.dumps([plain(f) for f in findings], indent=1, ensure_ascii=False) + "\n"


COLUMNS = (
    "tracking", "finding", "value", "unit", "uncertainty", "confidence", "code", "scheme",
    "time_point", "text", "on",
)  # fmt: skip
"""Of the table: a Measurement has a value and a unit, a Label neither."""


def to_csv(findings: Sequence[Label | Box | Measurement]) -> str:
    """A table with the names of `COLUMNS`, one row per finding; several ``on`` are spaced apart."""
    buffer = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(
        buffer, COLUMNS, lineterminator="\n", extrasaction="ignore"
    )
    writer.writeheader()
    for finding in findings:
        row = plain(finding)
        row |= {
            "tracking": finding.tracking.name if finding.tracking else "",
            "finding": finding.concept.meaning,
            "code": finding.concept.value,
            "scheme": finding.concept.scheme,
            "on": " ".join(finding.on),
        }
        writer.writerow(row)
    return buffer.getvalue()
