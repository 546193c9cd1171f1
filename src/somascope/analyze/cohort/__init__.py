"""Tables of many examinations, and what they say: groups, regression, survival, quality."""

from __future__ import annotations

from somascope.analyze.cohort.adjust import adjusted
from somascope.analyze.cohort.groups import Comparison, compared
from somascope.analyze.cohort.pseudonyms import deidentified
from somascope.analyze.cohort.regress import Regression, harmonised, regressed
from somascope.analyze.cohort.survival import Survival, survived
from somascope.analyze.cohort.table import Column, Table, read_table, write_table

__all__ = [
    "Column", "Comparison", "Regression", "Survival", "Table", "adjusted", "compared",
    "deidentified", "harmonised", "read_table", "regressed", "survived", "write_table",
]  # fmt: skip
