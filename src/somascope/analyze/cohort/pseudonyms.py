"""Tables without names: keyed pseudonyms, days in place of dates, no free text.

A pseudonym is a keyed digest (HMAC-SHA256): equal for one patient in all tables made with one key,
and without the key nobody can try out which patient it is. Ages above 89 are 90 and dates days
since the patient's first examination, as 45 CFR 164.514(b)(2) asks; sites get pseudonyms too. It is
a help, not a proof: protocol, scanner, regions and columns of your own stay as they are.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import replace

from somascope.analyze.cohort.facts import day
from somascope.analyze.cohort.table import Column, Table, Value
from somascope.core.errors import ParameterError

OLDEST = 90.0
"""Years; everybody older is told to be of this age."""
SHORTEST = 16
"""Bytes of a key."""

_CODED = {"patient": "P", "study": "ST", "series": "SE", "site": "SITE", "job": "J",
          "output": "SE", "on": "I"}  # fmt: skip
"""Columns whose values become pseudonyms, and what these begin with."""
_DROPPED = ("text", "accession", "name", "birth_date", "station")
_UID = re.compile(r"\b\d+(?:\.\d+){4,}\b")


def deidentified(table: Table, key: bytes) -> Table:
    """The table with pseudonyms for patients, studies, series, sites and jobs.

    Column ``date`` becomes ``day`` (days since the patient's first date in this table), ages end at
    `OLDEST`, free text is left out, and reasons of failures lose UIDs, paths and the patient's ID.

    Raises
    ------
    ParameterError
        A key of fewer than `SHORTEST` bytes, or a table without a column ``patient``.
    """
    if len(key) < SHORTEST:
        raise ParameterError(
            f"a key of {len(key)} bytes can be guessed; give {SHORTEST} random bytes or more"
        )
    patients = table.texts("patient")
    made = table
    if "reason" in table.names:
        whose = [
            [v for n in ("patient", "site") if n in table.names for v in (table.texts(n)[i],) if v]
            for i in range(len(table))
        ]
        said = [_scrubbed(t, w) for t, w in zip(table.texts("reason"), whose, strict=True)]
        made = made.having(table.columns[table.at("reason")], [t or None for t in said])
    if "date" in table.names:
        made = _days(made, patients)
    for name, start in _CODED.items():
        if name in made.names:
            column = replace(made.columns[made.at(name)], kind="text")
            made = made.having(column, [_coded(v, key, start) for v in made.values(name)])
    if "age" in made.names:
        old = [None if v is None else min(float(v), OLDEST) for v in made.values("age")]
        made = made.having(made.columns[made.at("age")], old)
    return made.without(*_DROPPED)


def _coded(value: Value, key: bytes, start: str) -> str | None:
    if value in (None, ""):
        return None
    digest = hmac.new(key, f"{start}:{value}".encode(), hashlib.sha256).hexdigest()
    return f"{start}-{digest[:12]}"


def _days(table: Table, patients: list[str]) -> Table:
    dates = [day(t) for t in table.texts("date")]
    first = {
        p: min(d for d, q in zip(dates, patients, strict=True) if d is not None and q == p)
        for p in {q for d, q in zip(dates, patients, strict=True) if d is not None}
    }
    days = [
        None if d is None else (d - first[p]).days for d, p in zip(dates, patients, strict=True)
    ]
    k = table.at("date")
    column = Column("day", "integer", "d", "Since the patient's first examination of this table")
    columns = (*table.columns[:k], column, *table.columns[k + 1 :])
    rows = tuple((*r[:k], v, *r[k + 1 :]) for r, v in zip(table.rows, days, strict=True))
    return Table(columns, rows)


def _scrubbed(text: str, identifiers: list[str]) -> str:
    for one in sorted(identifiers, key=len, reverse=True):
        text = text.replace(one, "[removed]")
    text = _UID.sub("[UID]", text)
    return re.sub(r"(?:[A-Za-z]:)?(?:[\\/][^\s\\/:;,'\"]+)+", "[path]", text)
