"""How long until something happens: Kaplan and Meier's curve, and the log-rank test.

Kaplan and Meier, J. Am. Stat. Assoc. 53 (1958); Mantel, Cancer Chemother. Rep. 50 (1966).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from somascope.analyze.cohort.groups import FEWEST, MOST
from somascope.analyze.cohort.table import Table
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float


@dataclass(frozen=True, eq=False)
class Curve:
    """``alive`` after each time of an event, with the 95 % interval (log-log, Greenwood).

    ``median`` is the first time at which half or fewer are left, NaN where it is not reached.
    """

    name: str
    times: Float
    alive: Float
    low: Float
    high: Float
    at_risk: Array
    events: int
    patients: int

    @property
    def median(self) -> float:
        """First time at which one half or fewer are left."""
        below = np.flatnonzero(self.alive <= 0.5)
        return float(self.times[below[0]]) if below.size else float("nan")


def _checked(times: ArrayLike, events: ArrayLike) -> tuple[Float, Array]:
    t, e = np.asarray(times, np.float64), np.asarray(events)
    if t.shape != e.shape or t.ndim != 1 or not t.size:
        raise ParameterError(f"{t.shape} times and {e.shape} events; give one of each a patient")
    if not np.isfinite(t).all() or t.min() < 0:
        raise ParameterError("times must be finite and not negative; leave out who has none")
    if not np.isin(e, (0, 1)).all():
        raise ParameterError("an event is 1 (it happened) or 0 (followed until then)")
    return t, e.astype(bool)


def kaplan_meier(times: ArrayLike, events: ArrayLike, *, name: str = "") -> Curve:
    """The curve of ``times`` ``(n,)``; ``events`` 1 where it happened, 0 where follow-up ended."""
    t, e = _checked(times, events)
    at = np.unique(t[e])
    risk = np.array([(t >= x).sum() for x in at])
    hit = np.array([(e & (t == x)).sum() for x in at])
    alive: Float = np.asarray(np.cumprod(1 - hit / risk), np.float64) if at.size else np.zeros(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(hit / (risk * (risk - hit)))
        reach = 1.959963984540054 * np.sqrt(greenwood) / np.log(alive)
        low, high = alive ** np.exp(-reach), alive ** np.exp(reach)
    done = alive <= 0
    low, high = np.where(done, 0.0, low), np.where(done, 0.0, high)
    return Curve(name, at, alive, low, high, risk, int(e.sum()), len(t))


def log_rank(
    times: ArrayLike, events: ArrayLike, groups: Sequence[object]
) -> tuple[float, int, float]:  # fmt: skip
    """Chi squared, degrees of freedom and p of equal curves in all groups."""
    from scipy import special

    t, e = _checked(times, events)
    labels = np.array([str(g) for g in groups])
    names = np.unique(labels)
    if len(labels) != len(t) or len(names) < 2:
        raise ParameterError(f"{len(labels)} groups, {len(names)} different, of {len(t)} patients")
    k = len(names)
    missing = np.zeros(k)
    spread = np.zeros((k, k))
    for x in np.unique(t[e]):
        risk = np.array([((t >= x) & (labels == g)).sum() for g in names], float)
        hit = np.array([(e & (t == x) & (labels == g)).sum() for g in names], float)
        n, d = risk.sum(), hit.sum()
        missing += hit - d * risk / n
        if n > 1:
            share = risk / n
            spread += d * (n - d) / (n - 1) * (np.diag(share) - np.outer(share, share))
    if not e.any():
        raise ParameterError("nothing happened to anybody; there is nothing to compare")
    chi = float(missing[:-1] @ np.linalg.pinv(spread[:-1, :-1]) @ missing[:-1])
    return chi, k - 1, float(special.chdtrc(k - 1, chi))


@dataclass(frozen=True, eq=False)
class Survival:
    """Curves of the groups of ``by``, and the log-rank test between them.

    ``left_out`` says who is not in it, and why.
    """

    time: str
    event: str
    by: str
    unit: str
    curves: tuple[Curve, ...]
    chi: float
    dof: int
    p: float
    left_out: tuple[str, ...] = ()


def survived(table: Table, time: str, event: str, by: str) -> Survival:
    """Times of events in groups of patients: a curve for each group, and whether they differ.

    Parameters
    ----------
    time, event
        Columns: how long a patient was followed, and 1 where it happened then, 0 where not.
        Several rows of one patient have to say the same.
    by
        Column with the groups; numbers of more than `groups.MOST` values are parted at their
        median.

    Raises
    ------
    NotFound
        No such column.
    ParameterError
        Times or events that are none or contradict each other; fewer than two groups of
        `groups.FEWEST` patients; nothing happened to anybody.
    """
    times, events = table.numbers(time), table.numbers(event)
    column = table.columns[table.at(by)]
    labels, names = table.texts(by), table.texts("patient")
    if column.kind in ("number", "integer") and len(set(labels) - {""}) > MOST:
        labels = _halves(table.numbers(by), by, column.unit)
    told: dict[str, tuple[float, float, str]] = {}
    missing = 0
    for i, name in enumerate(names):
        row = (float(times[i]), float(events[i]), labels[i])
        if not np.isfinite(row[:2]).all() or not row[2]:
            missing += 1
            continue
        if told.setdefault(name, row) != row:
            raise ParameterError(
                f"patient {name!r} has {time} {told[name][0]:g}, {event} {told[name][1]:g}, {by} "
                f"{told[name][2]!r} in one row and {row[0]:g}, {row[1]:g}, {row[2]!r} in another; "
                "leave one row for each patient"
            )
    groups = sorted({g for _, _, g in told.values()})
    sizes = {g: sum(r[2] == g for r in told.values()) for g in groups}
    kept = [g for g in groups if sizes[g] >= FEWEST]
    if not 2 <= len(kept) <= MOST:
        said = ", ".join(f"{g} ({n})" for g, n in list(sizes.items())[:MOST]) or "none"
        raise ParameterError(
            f"{by} has {len(kept)} groups of {FEWEST} patients or more with a time ({said}); 2 to "
            f"{MOST} can be compared"
        )
    rows = [r for r in told.values() if r[2] in kept]
    t, e, g = (np.array(v) for v in zip(*rows, strict=True))
    chi, dof, p = log_rank(t, e, g.tolist())
    curves = tuple(kaplan_meier(t[g == k], e[g == k], name=k) for k in kept)
    left = [f"{k}: {sizes[k]} patients" for k in groups if k not in kept]
    if missing:
        left.append(f"{missing} rows without {time}, {event} or {by}")
    unit = table.columns[table.at(time)].unit
    return Survival(time, event, by, unit, curves, chi, dof, p, tuple(left))


def _halves(values: Float, by: str, unit: str) -> list[str]:
    """Up to the median and above it; empty where there is no value."""
    middle = float(np.nanmedian(values))
    tail = f" {unit}" if unit not in ("", "1") else ""
    low, high = f"{by} up to {middle:.4g}{tail}", f"{by} above {middle:.4g}{tail}"
    return ["" if np.isnan(v) else low if v <= middle else high for v in values]
