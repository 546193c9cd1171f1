"""Which rows of a table are unlike the others: by robust deviations, and by what most agree on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from somascope.analyze.cohort.table import Table
from somascope.core.grid import Float

LIMIT = 3.5
"""Robust deviations beyond which a value stands out (Iglewicz and Hoaglin, 1993)."""
FEWEST = 5
"""Rows of a group from which it can be told."""
LEAST = 0.03
"""Of the median: smaller deviations than this share of it do not count, however alike all are."""


@dataclass(frozen=True)
class Oddity:
    """One value that stands out: ``z`` in robust deviations, NaN where it is text that differs."""

    row: int
    column: str
    said: str
    usual: str
    z: float
    group: str


def robust_z(values: Float, *, floor: float = 0.0) -> Float:
    """Deviations from the median over 1.4826 times the median absolute deviation, NaN kept.

    The deviation is `LEAST` of the median and ``floor`` at least.

    Where more than half are one value the mean absolute deviation takes its place (times 1.2533).
    """
    there = values[np.isfinite(values)]
    if there.size == 0:
        return np.full(values.shape, np.nan)
    middle = float(np.median(there))
    away = np.abs(there - middle)
    spread = 1.4826 * float(np.median(away)) or 1.253314 * float(away.mean())
    return (values - middle) / max(spread, LEAST * abs(middle), floor, 1e-12)


def groups(table: Table, by: Sequence[str]) -> dict[tuple[str, ...], list[int]]:
    """Rows by the texts of columns."""
    texts = [table.texts(b) for b in by]
    found: dict[tuple[str, ...], list[int]] = {}
    for i, key in enumerate(zip(*texts, strict=True)):
        found.setdefault(key, []).append(i)
    return found


def outlying(
    table: Table, columns: Sequence[str], *, by: Sequence[str] = ("modality",),
    limit: float = LIMIT, floors: Mapping[str, float] = MappingProxyType({}),
) -> list[Oddity]:  # fmt: skip
    """Numbers that stand out among the rows of their group, the furthest first.

    ``floors`` has the least deviation of columns whose usual value is near 0.
    """
    found: list[Oddity] = []
    for key, rows in groups(table, by).items():
        if len(rows) < FEWEST:
            continue
        for name in columns:
            values = table.numbers(name)[rows]
            if np.isfinite(values).sum() < FEWEST:
                continue
            z = robust_z(values, floor=floors.get(name, 0.0))
            middle = float(np.nanmedian(values))
            found += [
                Oddity(i, name, f"{v:.4g}", f"{middle:.4g}", float(s), ", ".join(key))
                for i, v, s in zip(rows, values, z, strict=True)
                if np.isfinite(s) and abs(s) > limit
            ]
    return sorted(found, key=lambda o: (-abs(o.z), o.row))


def inconsistent(
    table: Table, columns: Sequence[str], *, by: Sequence[str] = ("modality", "protocol"),
    tolerance: float = 0.02,
) -> list[Oddity]:  # fmt: skip
    """Rows whose protocol differs from that of most rows of its name.

    Numbers within ``tolerance`` of the usual one agree. A group of which less than half agree has
    no usual value, and nothing is told of it.
    """
    found: list[Oddity] = []
    for key, rows in groups(table, by).items():
        if len(rows) < 3:
            continue
        for name in columns:
            given = [(i, table.values(name)[i]) for i in rows]
            there = [(i, v) for i, v in given if v not in (None, "")]
            if len(there) < 3:
                continue
            values = [v for _, v in there]
            if all(isinstance(v, (int, float)) for v in values):
                usual = sorted(values, key=float)[len(values) // 2]
            else:
                usual = Counter(values).most_common(1)[0][0]
            if 2 * sum(_near(v, usual, tolerance) for v in values) <= len(values):
                continue
            found += [
                Oddity(i, name, _short(v), _short(usual), float("nan"), ", ".join(key))
                for i, v in there
                if not _near(v, usual, tolerance)
            ]
    return found


def _near(a: object, b: object, tolerance: float) -> bool:
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return abs(a - b) <= tolerance * max(abs(a), abs(b))
    return a == b


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
