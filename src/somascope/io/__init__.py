"""Bytes to nouns and back: `read`, `read_all`, `write`; one module per format."""

from __future__ import annotations

from somascope.io.read import Reader, read, read_acquisition, read_all, read_findings
from somascope.io.report import ConvertReport, ReadReport
from somascope.io.write import write

__all__ = [
    "ConvertReport",
    "ReadReport",
    "Reader",
    "read",
    "read_acquisition",
    "read_all",
    "read_findings",
    "write",
]
