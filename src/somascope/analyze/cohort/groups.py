"""A measurement in groups of patients: means with intervals, tests, sizes of effects.

The unit is the patient: rows of one patient are averaged first, as rows that belong together would
make every p value too small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from somascope.analyze.cohort.adjust import Correction, adjusted
from somascope.analyze.cohort.table import Table
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

DRAWS = 2000
FEWEST = 3
"""Patients of a group that is compared."""
MOST = 12
"""Groups; more are no groups but a measurement."""


@dataclass(frozen=True)
class Group:
    """One group: ``low`` and ``high`` are the 95 % bootstrap interval of the mean."""

    name: str
    patients: int
    mean: float
    low: float
    high: float
    sd: float
    median: float
    quartiles: tuple[float, float]


@dataclass(frozen=True)
class Test:
    """One test of all groups: ``statistic`` with its degrees of freedom, and its p value."""

    __test__ = False  # it is no test of pytest's

    name: str
    statistic: float
    dof: tuple[float, ...]
    p: float


@dataclass(frozen=True)
class Pair:
    """Two groups: the second minus the first.

    ``low`` and ``high`` are Welch's 95 % interval of the difference; ``g`` is Hedges' (standardised
    difference, corrected for few patients), ``delta`` Cliff's (how much more often the second is
    above the first than below); ``p_t`` of Welch's t and ``p_u`` of Mann and Whitney's U, each with
    its correction for the number of pairs.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    g: float
    delta: float
    p_t: float
    p_u: float
    p_t_adjusted: float
    p_u_adjusted: float


@dataclass(frozen=True)
class Comparison:
    """What `compared` found; ``adjusted`` is ``p`` corrected for all measurements of a call."""

    value: str
    unit: str
    by: str
    groups: tuple[Group, ...]
    tests: tuple[Test, ...]
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]
    p: float
    adjusted: float
    values: tuple[Float, ...]
    """Of each group, one a patient."""


def bootstrap_mean(
    values: Float, *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float, float]:  # fmt: skip
    """Mean of ``(n,)`` and its 95 % interval by drawing with replacement (percentiles)."""
    n = len(values)
    if n < 2:
        return float(values.mean()) if n else float("nan"), float("nan"), float("nan")
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    low, high = np.percentile(counts @ values / n, (2.5, 97.5))
    return float(values.mean()), float(low), float(high)


def hedges(first: Float, second: Float) -> float:
    """Hedges' g of the second minus the first (J. Educ. Stat. 6, 1981): Cohen's d times J."""
    n, m = len(first), len(second)
    free = n + m - 2
    pooled = ((n - 1) * first.var(ddof=1) + (m - 1) * second.var(ddof=1)) / free
    if pooled <= 0:
        return float("nan")
    return float((second.mean() - first.mean()) / np.sqrt(pooled) * (1 - 3 / (4 * free - 1)))


def cliff(first: Float, second: Float) -> float:
    """Cliff's delta, -1 to 1 (Psychol. Bull. 114, 1993)."""
    above = np.searchsorted(np.sort(first), second, side="left").sum()
    below = (len(first) - np.searchsorted(np.sort(first), second, side="right")).sum()
    return float((above - below) / (len(first) * len(second)))


def per_patient(
    table: Table, value: str, by: str, *, patient: str = "patient"
) -> tuple[list[str], Float, list[str]]:
    """Patients, their mean values and their groups; rows that lack one of the three are left out.

    Raises
    ------
    ParameterError
        A patient is in two groups.
    """
    values, groups, patients = table.numbers(value), table.texts(by), table.texts(patient)
    found: dict[str, list[float]] = {}
    group: dict[str, str] = {}
    for v, g, p in zip(values, groups, patients, strict=True):
        if not np.isfinite(v) or g == "" or p == "":
            continue
        if group.setdefault(p, g) != g:
            raise ParameterError(
                f"patient {p} is in the groups {group[p]!r} and {g!r} of {by!r}; these groups are "
                "not of different patients. Take one examination of each, or compare changes"
            )
        found.setdefault(p, []).append(float(v))
    names = list(found)
    return names, np.array([float(np.mean(found[p])) for p in names]), [group[p] for p in names]


def compared(
    table: Table,
    values: str | Sequence[str],
    by: str,
    *,
    patient: str = "patient",
    correction: Correction = "holm",
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Comparison]:
    """Compare measurements between the groups of a column.

    Parameters
    ----------
    values
        Columns of numbers, each compared by itself; ``adjusted`` corrects for how many they are.
    by
        The column with the groups. Groups of fewer than `FEWEST` patients are left out and named.
    correction
        Of the pairs, and of the measurements.

    Two groups: Welch's t and Mann and Whitney's U; more: analysis of variance and Kruskal and
    Wallis's H, with all pairs. The p value of a comparison is that of the first of the two.

    Raises
    ------
    ParameterError
        Fewer than two groups with enough patients, more than `MOST`, a patient in two of them, or
        a measurement that is text.
    """
    listed = [values] if isinstance(values, str) else list(values)
    if not listed:
        raise ParameterError("nothing to compare; name a column of numbers")
    made = [
        _one(table, v, by, patient=patient, correction=correction, draws=draws, seed=seed)
        for v in listed
    ]
    together = adjusted([c.p for c in made], correction)
    from dataclasses import replace

    return [replace(c, adjusted=float(p)) for c, p in zip(made, together, strict=True)]


def _one(
    table: Table, value: str, by: str, *, patient: str, correction: Correction, draws: int,
    seed: int,
) -> Comparison:  # fmt: skip
    _, numbers, whose = per_patient(table, value, by, patient=patient)
    names = sorted(set(whose))
    if len(names) > MOST:
        raise ParameterError(
            f"{by!r} has {len(names)} different values; groups are at most {MOST}. Use regression "
            "for a measurement such as age"
        )
    parts: list[Float] = []
    kept: list[str] = []
    left_out: list[str] = []
    labels = np.array(whose)
    for name in names:
        part = numbers[labels == name]
        if len(part) < FEWEST:
            left_out.append(f"{name} ({len(part)} patients)")
            continue
        kept.append(name)
        parts.append(part)
    if len(kept) < 2:
        said = ", ".join([*kept, *left_out]) or "none"
        raise ParameterError(
            f"{value!r} by {by!r}: fewer than two groups of {FEWEST} patients or more ({said})"
        )
    groups = tuple(_group(n, p, draws, seed) for n, p in zip(kept, parts, strict=True))
    pairs = _pairs(kept, parts, correction)
    tests = _tests(parts, pairs)
    unit = table.columns[table.at(value)].unit
    return Comparison(
        value, unit, by, groups, tests, pairs, tuple(left_out), tests[0].p, tests[0].p,
        tuple(parts),
    )  # fmt: skip


def _group(name: str, part: Float, draws: int, seed: int) -> Group:
    mean, low, high = bootstrap_mean(part, draws=draws, seed=seed)
    q1, median, q3 = np.percentile(part, (25, 50, 75))
    return Group(name, len(part), mean, low, high, float(part.std(ddof=1)), float(median),
                 (float(q1), float(q3)))  # fmt: skip


def welch(first: Float, second: Float) -> tuple[float, float, float, float]:
    """Welch's t of the second minus the first, its degrees of freedom, p, and standard error."""
    from scipy import special

    a, b = first.var(ddof=1) / len(first), second.var(ddof=1) / len(second)
    error = float(np.sqrt(a + b))
    if error == 0:
        return float("nan"), float("nan"), float("nan"), 0.0
    t = float((second.mean() - first.mean()) / error)
    free = float((a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1)))
    return t, free, float(2 * special.stdtr(free, -abs(t))), error


def _pairs(names: list[str], parts: list[Float], correction: Correction) -> tuple[Pair, ...]:
    from scipy import special, stats

    rows: list[tuple[str, str, float, float, float, float, float, float, float]] = []
    for (i, a), (j, b) in combinations(enumerate(parts), 2):
        _, free, p, error = welch(a, b)
        difference = float(b.mean() - a.mean())
        reach = error * float(special.stdtrit(free, 0.975)) if error else 0.0
        # Where all values are one there are no ranks.
        p_u = float(stats.mannwhitneyu(a, b).pvalue) if np.ptp([*a, *b]) > 0 else float("nan")
        rows.append((names[i], names[j], difference, difference - reach, difference + reach,
                     hedges(a, b), cliff(a, b), p, p_u))  # fmt: skip
    by_t = adjusted([r[7] for r in rows], correction)
    by_u = adjusted([r[8] for r in rows], correction)
    return tuple(Pair(*r, float(t), float(u)) for r, t, u in zip(rows, by_t, by_u, strict=True))


def anova(parts: Sequence[Array]) -> tuple[float, tuple[float, float], float]:
    """One-way analysis of variance (Fisher): F, its degrees of freedom, p."""
    from scipy import special

    every = np.concatenate(parts)
    between = sum(len(p) * (p.mean() - every.mean()) ** 2 for p in parts)
    within = sum(((p - p.mean()) ** 2).sum() for p in parts)
    free = (float(len(parts) - 1), float(len(every) - len(parts)))
    if within <= 0 or free[1] <= 0:
        return float("nan"), free, float("nan")
    f = float(between / free[0] / (within / free[1]))
    return f, free, float(special.fdtrc(*free, f))


def _tests(parts: list[Float], pairs: tuple[Pair, ...]) -> tuple[Test, ...]:
    from scipy import stats

    if len(parts) == 2:
        t, free, p, _ = welch(*parts)
        n, m = map(len, parts)
        u = (pairs[0].delta + 1) * n * m / 2
        return Test("Welch t", t, (free,), p), Test("Mann-Whitney U", u, (), pairs[0].p_u)
    f, free, p = anova(parts)
    if np.ptp(np.concatenate(parts)) > 0:
        h = stats.kruskal(*parts)
        rank = Test("Kruskal-Wallis H", float(h.statistic), (len(parts) - 1.0,), float(h.pvalue))
    else:  # all values are one: there are no ranks
        rank = Test("Kruskal-Wallis H", float("nan"), (len(parts) - 1.0,), float("nan"))
    return Test("ANOVA F", f, free, p), rank
