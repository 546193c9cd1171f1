"""A measurement explained by age, sex, site and whatever else a table holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from somascope.analyze.cohort.table import Table
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.process.combat import combat

MOST_LEVELS = 40
"""Of a column of text that explains."""


@dataclass(frozen=True)
class Term:
    """One coefficient: ``effect`` in units of the measurement per unit of the column (text: against
    the first level), its standard error, 95 % interval, t, p, and the partial correlation.
    """

    name: str
    effect: float
    error: float
    low: float
    high: float
    t: float
    p: float
    partial: float


@dataclass(frozen=True)
class Regression:
    """Ordinary least squares with one row for each patient (their means)."""

    value: str
    unit: str
    terms: tuple[Term, ...]
    patients: int
    dof: int
    r2: float
    residual_sd: float
    residuals: Float
    design: Float
    measured: Float


def design(
    table: Table, columns: Sequence[str], *, rows: Array
) -> tuple[Float, list[str], list[int]]:
    """Columns of numbers as they are, text as differences to its first level; a constant first.

    Returns
    -------
    tuple
        ``(n, k)``, the names of its columns, and which of ``columns`` each is of (-1: constant).
    """
    made = [np.ones(int(rows.sum()))]
    names, of = ["constant"], [-1]
    for k, name in enumerate(columns):
        if table.columns[table.at(name)].kind == "text":
            texts = np.array(table.texts(name))[rows]
            levels = sorted(set(texts.tolist()))
            if len(levels) > MOST_LEVELS:
                raise ParameterError(
                    f"column {name!r} has {len(levels)} different texts; {MOST_LEVELS} at most "
                    "explain anything"
                )
            for level in levels[1:]:
                made.append((texts == level).astype(float))
                names.append(f"{name}: {level}")
                of.append(k)
        else:
            made.append(table.numbers(name)[rows])
            names.append(name)
            of.append(k)
    return np.stack(made, axis=1), names, of


def known(table: Table, columns: Sequence[str]) -> Array:
    """Rows ``(n,)`` bool in which none of the columns is missing."""
    keep = np.ones(len(table), bool)
    for name in columns:
        keep &= np.array([v not in (None, "") for v in table.values(name)], bool)
    return keep


def regressed(
    table: Table, value: str, on: Sequence[str], *, patient: str = "patient"
) -> Regression:  # fmt: skip
    """Explain ``value`` by the columns ``on`` at once (say ``age``, ``sex`` and ``site``).

    Rows of one patient are averaged first where all of ``on`` are numbers that vary or stay; text
    must be the same in all rows of a patient.

    Raises
    ------
    ParameterError
        Too few patients, columns that explain each other (named), or a patient in two groups.
    """
    if not on:
        raise ParameterError(f"what shall explain {value!r}? Name a column, such as age")
    table = averaged(table, [value], on, patient=patient)
    rows = known(table, [value, *on])
    x, names, of = design(table, on, rows=rows)
    y = table.numbers(value)[rows]
    n, k = x.shape
    if n <= k:
        raise ParameterError(
            f"{n} patients do not determine {k} coefficients of {value!r}; explain it by fewer "
            "columns"
        )
    _independent(x, of, on, value)
    from scipy import special

    q, r = np.linalg.qr(x)
    beta = np.linalg.solve(r, q.T @ y)
    left = y - x @ beta
    free = n - k
    variance = float(left @ left) / free
    inverse = np.linalg.inv(r)
    errors = np.sqrt(variance * (inverse**2).sum(axis=1))
    reach = float(special.stdtrit(free, 0.975))
    terms: list[Term] = []
    for j, name in enumerate(names):
        t = float(beta[j] / errors[j]) if errors[j] > 0 else float("nan")
        p = float(2 * special.stdtr(free, -abs(t))) if np.isfinite(t) else float("nan")
        partial = float(np.sign(t) * np.sqrt(t * t / (t * t + free))) if np.isfinite(t) else t
        effect, error = float(beta[j]), float(errors[j])
        low, high = effect - reach * error, effect + reach * error
        terms.append(Term(name, effect, error, low, high, t, p, partial))
    spread = float(((y - y.mean()) ** 2).sum())
    r2 = 1 - float(left @ left) / spread if spread > 0 else float("nan")
    unit = table.columns[table.at(value)].unit
    return Regression(value, unit, tuple(terms), n, free, r2, float(np.sqrt(variance)), left, x, y)


def _independent(x: Float, of: list[int], on: Sequence[str], value: str) -> None:
    scaled = x / np.maximum(np.abs(x).max(axis=0), 1e-300)
    rank = np.linalg.matrix_rank(scaled)
    if rank == x.shape[1]:
        return
    guilty = [
        name for k, name in enumerate(on)
        if np.linalg.matrix_rank(scaled[:, [o != k for o in of]]) == rank
    ]  # fmt: skip
    raise ParameterError(
        f"{value!r} cannot be explained by {', '.join(on)} at once: {', '.join(guilty)} say the "
        "same, or do not vary; leave one out"
    )


def averaged(
    table: Table, values: Sequence[str], keep: Sequence[str], *, patient: str = "patient"
) -> Table:
    """One row for each patient: means of numbers; text that must be the same in all rows.

    Rows without a patient are left out.
    """
    names = list(dict.fromkeys([patient, *keep, *values]))
    members: dict[str, list[int]] = {}
    for i, p in enumerate(table.texts(patient)):
        if p:
            members.setdefault(p, []).append(i)
    columns = tuple(
        replace(c, kind="number" if c.kind == "integer" else c.kind)
        for c in (table.columns[table.at(n)] for n in names)
    )
    rows: list[tuple[str | float | bool | None, ...]] = []
    for p, mine in members.items():
        row: list[str | float | bool | None] = []
        for c in columns:
            if c.name == patient:
                row.append(p)
                continue
            there = [v for i in mine for v in (table.rows[i][table.at(c.name)],) if v is not None]
            if c.kind == "number":
                row.append(float(np.mean([float(v) for v in there])) if there else None)
                continue
            if len({str(v) for v in there}) > 1:
                raise ParameterError(
                    f"patient {p} has the values {', '.join(sorted({str(v) for v in there}))} of "
                    f"{c.name!r}; it has to be one. Take one examination of each patient"
                )
            row.append(there[0] if there else None)
        rows.append(tuple(row))
    kinds = tuple(replace(c, kind="text") if c.name == patient else c for c in columns)
    return Table(kinds, tuple(rows))


def harmonised(
    table: Table, values: Sequence[str], site: str = "site", *, keep: Sequence[str] = ()
) -> Table:
    """The table with the sites' shifts and scales taken out of ``values`` (ComBat), row by row.

    ``keep`` are columns whose effect stays (age, sex, diagnosis); without them a site with older
    patients is made young. Rows that lack a value, the site or one of ``keep`` become missing.

    Raises
    ------
    ParameterError
        One site only, a site with a single row, or ``keep`` that the sites explain.
    """
    rows = known(table, [*values, site, *keep])
    if rows.sum() < 3:
        raise ParameterError(f"{int(rows.sum())} rows have {', '.join([*values, site])}; too few")
    numbers = np.stack([table.numbers(v)[rows] for v in values], axis=1)
    _, which = np.unique(np.array(table.texts(site))[rows], return_inverse=True)
    kept = design(table, keep, rows=rows)[0][:, 1:] if keep else None
    made, _ = combat(numbers, which, covariates=kept)
    for k, name in enumerate(values):
        full = np.full(len(table), np.nan)
        full[rows] = made[:, k]
        column = replace(table.columns[table.at(name)], kind="number")
        table = table.having(column, full.tolist())
    return table
