"""Design matrices: what the signal of every voxel is explained with.

Columns, in this order: conditions (each with its basis functions), confounds, slow drifts (a
discrete cosine set), and the constant.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from somascope.acquire.fmri import hrf
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

FINE = 0.1
"""Step in s of the time axis on which events meet the response."""


@dataclass(frozen=True, eq=False)
class Events:
    """What was shown when: one entry per event.

    ``onset`` and ``duration`` in s after the first scan's first slice; ``condition`` its name;
    ``amplitude`` a weight.
    """

    onset: Float
    duration: Float
    condition: tuple[str, ...]
    amplitude: Float

    @property
    def names(self) -> tuple[str, ...]:
        """The conditions in the order of the alphabet."""
        return tuple(sorted(set(self.condition)))

    def tsv(self) -> str:
        """As the text of a BIDS ``events.tsv``."""
        rows = zip(self.onset, self.duration, self.condition, self.amplitude, strict=True)
        lines = [f"{o:.10g}\t{d:.10g}\t{c}\t{a:.10g}" for o, d, c, a in rows]
        return "\n".join(["onset\tduration\ttrial_type\tmodulation", *lines]) + "\n"


@dataclass(frozen=True, eq=False)
class Design:
    """``matrix`` ``(scans, columns)`` float64 and the name of each column."""

    matrix: Float
    names: tuple[str, ...]


def events_from_arrays(
    onsets: Sequence[float], durations: Sequence[float], conditions: Sequence[float]
) -> Events:
    """Events from numbers; condition 1 is named ``c1``. One duration serves all events."""
    n = len(onsets)
    if n == 0:
        raise ParameterError("no onsets; give the time of each event in s")
    given = list(durations) * n if len(durations) == 1 else list(durations) or [0.0] * n
    kinds = list(conditions) or [1.0] * n
    for name, values in (("durations", given), ("conditions", kinds)):
        if len(values) != n:
            raise ParameterError(f"{name} has {len(values)} entries for {n} onsets; give one each")
    if any(k != int(k) or k < 1 for k in kinds):
        raise ParameterError(f"conditions is {kinds}; number them 1, 2, 3...")
    names = tuple(f"c{int(k)}" for k in kinds)
    return _checked(Events(np.array(onsets, float), np.array(given, float), names, np.ones(n)))


def read_events(text: str) -> Events:
    """Events from the text of a BIDS ``events.tsv``.

    Columns ``onset`` and ``duration`` (s), ``trial_type`` (``event`` where there is none), and
    ``modulation`` where there is one. Rows whose onset is ``n/a`` are left out.
    """
    names, rows = _table(text, "events")
    for needed in ("onset", "duration"):
        if needed not in names:
            raise ParameterError(f"events has the columns {', '.join(names)}; {needed!r} is needed")
    at = {name: i for i, name in enumerate(names)}
    rows = [r for r in rows if r[at["onset"]].lower() not in ("n/a", "na", "")]
    if not rows:
        raise ParameterError("events lists no event; give at least one row with an onset")

    def column(name: str, missing: float) -> Float:
        if name not in at:
            return np.full(len(rows), missing)
        return np.array([_number(r[at[name]], f"events, column {name!r}", missing) for r in rows])

    kind = at.get("trial_type")
    conditions = tuple(r[kind] if kind is not None else "event" for r in rows)
    return _checked(
        Events(column("onset", 0.0), column("duration", 0.0), conditions, column("modulation", 1.0))
    )


def read_confounds(text: str, scans: int) -> tuple[Float, tuple[str, ...]]:
    """Columns ``(scans, k)`` and their names from tab-separated text; ``n/a`` becomes 0."""
    names, rows = _table(text, "confounds")
    if len(rows) != scans:
        raise ParameterError(
            f"confounds has {len(rows)} rows for {scans} scans; give one row per scan"
        )
    values = [[_number(v, "confounds", 0.0) for v in row] for row in rows]
    return np.array(values, np.float64).reshape(scans, len(names)), tuple(names)


def confounds_of(text: str, stated: str, scans: int) -> tuple[Float, tuple[str, ...]]:
    """As `read_confounds`; text of one line names columns of the table ``stated``.

    ``trans_*, rot_*, csf``: names with ``*`` and ``?``, separated by commas.
    """
    if len(text.strip().splitlines()) > 1:
        return read_confounds(text, scans)
    if not stated.strip():
        raise ParameterError(
            f"confounds is {text.strip()!r}, and the run states no confounds to take columns from; "
            "give the table itself, or the run with the BIDS derivative that holds it"
        )
    values, names = read_confounds(stated, scans)
    chosen: list[int] = []
    for wanted in (w.strip() for w in text.split(",") if w.strip()):
        found = [i for i, n in enumerate(names) if fnmatchcase(n, wanted)]
        if not found:
            raise ParameterError(
                f"no confound {wanted!r}; the run states {', '.join(names[:30])}"
                + (f" and {len(names) - 30} more" if len(names) > 30 else "")
            )
        chosen += [i for i in found if i not in chosen]
    return values[:, chosen], tuple(names[i] for i in chosen)


def _table(text: str, what: str) -> tuple[list[str], list[list[str]]]:
    lines = [line for line in io.StringIO(text.lstrip("\ufeff")) if line.strip()]
    if not lines:
        raise ParameterError(f"{what} is empty; give tab-separated text with a line of names")
    cells = [[c.strip() for c in line.rstrip("\r\n").split("\t")] for line in lines]
    for number, row in enumerate(cells[1:], 2):
        if len(row) != len(cells[0]):
            raise ParameterError(
                f"{what}, line {number} has {len(row)} cells and the line of names "
                f"{len(cells[0])}; separate all by tabs"
            )
    return cells[0], cells[1:]


def _number(text: str, what: str, missing: float) -> float:
    if text.lower() in ("n/a", "na", "nan", ""):
        return missing
    try:
        value = float(text)
    except ValueError as error:
        raise ParameterError(f"{what}: {text!r} is not a number") from error
    if not np.isfinite(value):
        raise ParameterError(f"{what}: {text!r} is not finite")
    return value


def _checked(events: Events) -> Events:
    if (events.duration < 0).any():
        raise ParameterError(f"a duration is {events.duration.min():g} s; durations are 0 or more")
    return events


def regressors(
    events: Events, frame_times: Float, *, model: hrf.Model = "canonical", delays: int = 8
) -> tuple[Float, tuple[str, ...]]:
    """Columns of the conditions ``(scans, k)`` and their names.

    Events meet the response on an axis of 0.1 s: a duration of 0 is an impulse of unit area, a
    longer one a box of height ``amplitude``. ``fir`` gives ``delays`` columns per condition, one
    per scan after the event.
    """
    frame_times = np.asarray(frame_times, np.float64)
    repetition = float(np.diff(frame_times).mean()) if frame_times.size > 1 else 1.0
    start = min(float(frame_times[0]), float(events.onset.min()))
    dt = min(FINE, repetition / 16)
    fine = np.arange(start, frame_times[-1] + 2 * dt, dt)
    columns: list[Float] = []
    names: list[str] = []
    shapes, endings = hrf.basis(model, dt) if model != "fir" else (np.zeros((0, 0)), ())
    for name in events.names:
        chosen = np.array([c == name for c in events.condition])
        stimulus = _stimulus(events, chosen, fine, dt)
        if model == "fir":
            for k in range(delays):
                columns.append(_binned(events, chosen, frame_times - k * repetition, repetition))
                names.append(f"{name}_delay_{k}")
            continue
        from scipy.signal import fftconvolve

        for j, ending in enumerate(endings):
            response = fftconvolve(stimulus, shapes[:, j])[: fine.size] * dt
            columns.append(np.interp(frame_times, fine, response))
            names.append(f"{name}{ending}")
    return np.stack(columns, axis=1), tuple(names)


def _stimulus(events: Events, chosen: Array, fine: Float, dt: float) -> Float:
    """Box per event, its edges shared between samples: the area is exact at any onset."""
    edges = np.concatenate([fine - dt / 2, [fine[-1] + dt / 2]])
    area = np.zeros(fine.size)
    rows = zip(events.onset[chosen], events.duration[chosen], events.amplitude[chosen], strict=True)
    for onset, duration, amplitude in rows:
        if duration < dt:
            # An impulse of unit area; short boxes likewise count by their area.
            at = (onset - fine[0]) / dt
            i, part = int(np.floor(at)), at - np.floor(at)
            weight = amplitude / dt * (duration if duration > 0 else 1.0)
            for k, w in ((i, 1 - part), (i + 1, part)):
                if 0 <= k < fine.size:
                    area[k] += w * weight
            continue
        covered = np.clip(np.minimum(edges[1:], onset + duration) - np.maximum(edges[:-1], onset),
                          0, None)  # fmt: skip
        area += amplitude * covered / dt
    return area


def _binned(events: Events, chosen: Array, at: Float, width: float) -> Float:
    """Weight of the events that begin within a scan of each time."""
    column = np.zeros(at.size)
    for onset, amplitude in zip(events.onset[chosen], events.amplitude[chosen], strict=True):
        column[np.abs(at - onset) <= 0.5 * width * (1 - 1e-9)] += amplitude
    return column


def cosines(scans: int, repetition: float, *, period: float) -> Float:
    """Discrete cosines slower than ``period`` s, ``(scans, k)``, unit norm, without the constant.

    ``k = floor(2 scans repetition / period)`` as in SPM's ``spm_filter`` (which counts the
    constant).
    """
    order = min(int(np.floor(2 * scans * repetition / period)), scans - 1)
    k = np.arange(1, order + 1)
    n = np.arange(scans)
    return np.sqrt(2 / scans) * np.cos(np.pi * (n[:, None] + 0.5) * k / scans)


def design(
    events: Events | None,
    *,
    scans: int,
    repetition: float,
    model: hrf.Model = "canonical",
    delays: int = 8,
    high_pass: float | None = 128.0,
    confounds: Mapping[str, Float] | None = None,
    reference: float = 0.0,
) -> Design:
    """The whole design of a run, checked.

    Parameters
    ----------
    events
        None for a design of confounds alone.
    repetition
        s between scans.
    high_pass
        Longest period in s that is kept; None for no drifts.
    confounds
        Columns ``(scans,)`` by name; their means are taken off.
    reference
        s after a scan's start at which its values count (half a repetition after slice timing
        correction to the middle).

    Raises
    ------
    ParameterError
        Columns that depend on each other or are zero, by name; fewer scans than columns.
    """
    times = np.arange(scans, dtype=np.float64) * repetition + reference
    columns: list[Float] = []
    names: list[str] = []
    if events is not None:
        late = events.onset > times[-1]
        if late.any():
            raise ParameterError(
                f"{int(late.sum())} event(s) begin after the last scan at {times[-1]:.4g} s, the "
                f"latest at {events.onset.max():.4g} s; onsets are in seconds from the first scan"
            )
        task, task_names = regressors(events, times, model=model, delays=delays)
        columns += list(task.T)
        names += task_names
    for name, column in (confounds or {}).items():
        values = np.asarray(column, np.float64)
        if values.shape != (scans,):
            raise ParameterError(f"confound {name!r} has shape {values.shape} for {scans} scans")
        columns.append(values - values.mean())
        names.append(name)
    if high_pass is not None:
        slow = cosines(scans, repetition, period=high_pass)
        columns += list(slow.T)
        names += [f"drift_{k + 1}" for k in range(slow.shape[1])]
    columns.append(np.ones(scans))
    names.append("constant")
    made = Design(np.stack(columns, axis=1), tuple(names))
    check(made)
    return made


def check(design: Design) -> None:
    """Refuse a design that cannot be estimated, naming the columns at fault."""
    matrix, names = design.matrix, design.names
    scans, count = matrix.shape
    if count != len(names):
        raise ParameterError(f"the design has {count} columns and {len(names)} names")
    if len(set(names)) != count:
        twice = sorted({n for n in names if names.count(n) > 1})
        raise ParameterError(f"columns {', '.join(twice)} occur twice; give each a name of its own")
    if scans <= count:
        raise ParameterError(
            f"{scans} scans are too few for {count} columns ({', '.join(names)}); at least "
            f"{count + 1} are needed: take fewer confounds or a longer high-pass period"
        )
    size = np.linalg.norm(matrix, axis=0)
    if not np.isfinite(size).all():
        bad = [n for n, s in zip(names, size, strict=True) if not np.isfinite(s)]
        raise ParameterError(f"column {', '.join(bad)} has values that are not finite")
    empty = [n for n, s in zip(names, size, strict=True) if s == 0]
    if empty:
        raise ParameterError(
            f"column {', '.join(empty)} is zero throughout; drop that condition or confound"
        )
    unit = matrix / size
    values, vectors = np.linalg.eigh(unit.T @ unit)
    if values[0] < 1e-8:
        involved = np.abs(vectors[:, 0]) > 0.05 * np.abs(vectors[:, 0]).max()
        listed = ", ".join(n for n, i in zip(names, involved, strict=True) if i)
        raise ParameterError(
            f"the design is rank deficient: columns {listed} depend on each other; drop one of them"
        )
