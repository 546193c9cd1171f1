"""Slices of one kind become stacks: places along the normal, repeats along leading axes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from somascope.core.grid import Array, Float
from somascope.core.image import Axis
from somascope.io.dicom import geometry
from somascope.io.dicom.slices import Slice

_LABEL_UNITS = {
    "echo": "ms", "ti": "ms", "flip": "deg", "kvp": "kV", "b": "s/mm2", "energy": "1",
    "detector": "1", "phase": "1", "rotation": "1", "rr": "1", "timeslot": "1", "view": "1",
}  # fmt: skip
_GRADIENT = ("gx", "gy", "gz")
_TIME_SCALE = {"offset": 1.0, "reference": 1e-3, "trigger": 1e-3, "acquired": 1.0, "content": 1.0}
"""Times that are times, and their factor to seconds."""
_CLOCKS = ("acquired", "content")
HALF_DAY = 43200.0
_TIME_ORDER = (
    "offset",
    "temporal",
    "trigger",
    "reference",
    "acquisition",
    "acquired",
    "content",
    "number",
)


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices on one grid: ``table[leading..., z]`` numbers into ``slices``."""

    slices: Sequence[Slice]
    table: Array
    axes: tuple[Axis, ...]
    step: Float | None
    positions: Float | None
    """``(nz, 3)`` LPS mm."""
    uneven: bool = False
    gradients: tuple[tuple[float, ...], ...] = ()


def without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], int]:
    """Drop slices that are there twice: same SOP Instance UID, same frame, same tile."""
    seen: set[tuple[object, ...]] = set()
    kept: list[Slice] = []
    for s in slices:
        key = (s.uid or id(s.instance), s.frame, s.tile)
        if key not in seen:
            seen.add(key)
            kept.append(s)
    return kept, len(slices) - len(kept)


def stacks(slices: list[Slice], *, allow_uneven: bool) -> tuple[list[Stack], list[str]]:
    """Build stacks from slices that agree in kind, size, orientation and spacing.

    Returns
    -------
    stacks, remarks
        Everything that could be placed, and what had to be told apart or dropped, in words.
    """
    slices, copies = without_copies(slices)
    remarks = [f"{copies} slice(s) are there twice; the copies were left out"] if copies else []
    first = slices[0]
    if first.orientation is None or any(s.position is None for s in slices):
        return _flat(slices), remarks
    positions = np.array([s.position for s in slices], np.float64)
    index, unique = geometry.places(positions, geometry.normal_of(first.orientation))
    found: list[Stack] = []
    pieces = geometry.runs(unique)
    if len(pieces) > 1:
        said = geometry.gap_report(unique)
        if allow_uneven:
            remarks.append(f"{said}; resampled to even slices")
            pieces = [
                geometry.Run(
                    tuple(range(len(unique))), (unique[-1] - unique[0]) / (len(unique) - 1)
                )
            ]
        else:
            remarks.append(
                f"{said}; told apart into {len(pieces)} volumes (allow_uneven=True resamples "
                "them to one)"
            )
    uneven = len(pieces) == 1 and not geometry.even(unique)
    for piece in pieces:
        number = {place: z for z, place in enumerate(piece.members)}
        chosen = [i for i in range(len(slices)) if int(index[i]) in number]
        z = np.array([number[int(index[i])] for i in chosen])
        made, said, apart = _arranged([slices[i] for i in chosen], z, len(piece.members))
        remarks += said
        for group in apart:
            inner, said = stacks(group, allow_uneven=allow_uneven)
            found += inner
            remarks += said
        places = unique[list(piece.members)]
        for part, table, axes, gradients in made:
            found.append(Stack(part, table, axes, piece.step, places, uneven, gradients))
    return found, remarks


def _flat(slices: list[Slice]) -> list[Stack]:
    """Slices without a place: frames of an instance along ``t``, ``frame`` or ``z``."""
    groups: dict[int, list[Slice]] = {}
    for s in slices:
        groups.setdefault(id(s.instance), []).append(s)
    found: list[Stack] = []
    for group in groups.values():
        if group[0].flat == "z":
            z = np.arange(len(group))
            made = [(group, z, (), ())]
            repeats = {tuple(sorted(s.labels.items())) for s in group}
            if len(repeats) > 1 and len(group) % len(repeats) == 0:
                depth = len(group) // len(repeats)
                made, _, _ = _arranged(group, np.arange(len(group)) % depth, depth)
        else:
            made, _, _ = _arranged(group, np.zeros(len(group), np.intp), 1)
        for part, table, axes, gradients in made:
            found.append(Stack(part, table, axes, None, None, False, gradients))
    return found


_Made = tuple[list[Slice], Array, tuple[Axis, ...], tuple[tuple[float, ...], ...]]


def _pictures(slices: Sequence[Slice]) -> bool:
    """Single pictures of one place that only their number sets apart: no series in time."""
    modality = slices[0].instance.elements.text("Modality")
    single = len({id(s.instance) for s in slices}) == len(slices)
    return single and modality not in ("CT", "MR", "NM", "PT")


_Arranged = tuple[list[_Made], list[str], list[list[Slice]]]
"""What fitted, remarks, and slices that are to be assembled by themselves."""


def _arranged(slices: list[Slice], z: Array, nz: int) -> _Arranged:
    """Fill a table ``(*leading, nz)``; leading axes are found from what differs at one place."""
    n = len(slices)
    if n == nz and len(set(z.tolist())) == nz:
        table = np.empty(nz, np.intp)
        table[z] = np.arange(n)
        return [(slices, table, (), ())], [], []
    keys: list[tuple[float, ...]] = [()] * n
    names: list[str] = []

    def distinct() -> int:
        return len({(int(a), k) for a, k in zip(z, keys, strict=True)})

    for name in dict.fromkeys(k for s in slices for k in s.labels):
        if name in _GRADIENT:
            continue
        before = distinct()
        if before == n:
            break
        trial = [(*k, s.labels.get(name, float("-inf"))) for k, s in zip(keys, slices, strict=True)]
        if len({(int(a), k) for a, k in zip(z, trial, strict=True)}) > before:
            keys, names = trial, [*names, name]
    directed = "b" in names or any("gx" in s.labels for s in slices)
    if directed and distinct() < n:
        trial = [
            (*k, *(s.labels.get(g, 0.0) for g in _GRADIENT))
            for k, s in zip(keys, slices, strict=True)
        ]
        if len({(int(a), k) for a, k in zip(z, trial, strict=True)}) > distinct():
            keys, names = trial, [*names, *_GRADIENT]
    source = ""
    if distinct() < n:
        keys, source = _ranked(slices, z, keys)
        names = [*names, "t"]
        if nz == 1 and source in ("number", "order", "content") and _pictures(slices):
            return [], [], [[s] for s in slices]
    if distinct() < n:
        return (
            [],
            ["slices lie at the same place and nothing tells them apart"],
            [[s] for s in slices],
        )
    return _tabled(slices, z, nz=nz, keys=keys, names=names, source=source)


def _ranked(
    slices: list[Slice], z: Array, keys: list[tuple[float, ...]]
) -> tuple[list[tuple[float, ...]], str]:
    """Append the rank in time among the slices of one place and one key."""
    groups: dict[tuple[int, tuple[float, ...]], list[int]] = {}
    for i, (a, k) in enumerate(zip(z, keys, strict=True)):
        groups.setdefault((int(a), k), []).append(i)
    candidates = [
        *_TIME_ORDER,
        *dict.fromkeys(t for s in slices for t in s.times if t.startswith("dimension")),
    ]
    source = "order"
    for name in candidates:
        if all(
            len({slices[i].times.get(name) for i in members} - {None}) == len(members)
            for members in groups.values()
            if len(members) > 1
        ):
            source = name
            break
    result = list(keys)
    stamps: dict[int, float] = {}
    if source != "order":
        known = [i for i, s in enumerate(slices) if source in s.times]
        values = [slices[i].times[source] for i in known]
        values = _over_midnight(values) if source in _CLOCKS and values else values
        stamps = dict(zip(known, values, strict=True))
    for members in groups.values():
        if source == "order":
            # no single attribute tells all apart: all of them, in the order of trust
            ordered = sorted(
                members, key=lambda i: ([slices[i].times.get(t, 0.0) for t in candidates], i)
            )
        else:
            ordered = sorted(members, key=lambda i: stamps.get(i, 0.0))
        for rank, i in enumerate(ordered):
            result[i] = (*keys[i], float(rank))
    return result, source


def _tabled(
    slices: list[Slice],
    z: Array,
    *,
    nz: int,
    keys: list[tuple[float, ...]],
    names: list[str],
    source: str,
) -> _Arranged:
    remarks: list[str] = []
    order = (
        {k: min(i for i, other in enumerate(keys) if other == k) for k in set(keys)}
        if len(set(keys)) < 64
        else _firsts(keys)
    )
    counts = Counter(keys)
    whole = [k for k in counts if counts[k] == nz]
    broken = [k for k in counts if counts[k] != nz]
    apart: list[list[Slice]] = []
    if broken:
        apart = [[s for s, k in zip(slices, keys, strict=True) if k == key] for key in broken]
        sizes = ", ".join(str(counts[k]) for k in broken[:5])
        remarks.append(
            f"{len(broken)} of {len(counts)} repeats have {sizes} of {nz} slices; told apart"
        )
    if not whole:
        return [], remarks, apart
    values = [sorted({k[d] for k in whole}) for d in range(len(names))]
    simple = not set(names) & set(_GRADIENT)
    if simple and np.prod([len(v) for v in values]) == len(whole):
        axes_order = [d for d in range(len(names)) if len(values[d]) > 1]
        shape = tuple(len(values[d]) for d in axes_order)
        table = np.full((*shape, nz), -1, np.intp)
        kept = set(whole)
        lookups = [{v: j for j, v in enumerate(values[d])} for d in range(len(names))]
        for i, (a, k) in enumerate(zip(z, keys, strict=True)):
            if k in kept:
                table[(*(lookups[d][k[d]] for d in axes_order), int(a))] = i
        axes = tuple(
            _axis(names[d], values[d], source, slices=slices, table=table, dim=j)
            for j, d in enumerate(axes_order)
        )
        return [(slices, table, axes, ())], remarks, apart
    whole.sort(key=lambda k: order[k])
    rows = {k: j for j, k in enumerate(whole)}
    table = np.full((len(whole), nz), -1, np.intp)
    for i, (a, k) in enumerate(zip(z, keys, strict=True)):
        if k in rows:
            table[rows[k], int(a)] = i
    name = "b" if "b" in names or set(names) & set(_GRADIENT) else names[0]
    heads = [slices[int(row[0])] for row in table]
    axis_values = tuple(h.labels.get(name, 0.0) for h in heads) if name in _LABEL_UNITS else ()
    gradients = (
        tuple(tuple(h.labels.get(g, 0.0) for g in _GRADIENT) for h in heads) if name == "b" else ()
    )
    return (
        [(slices, table, (Axis(name, axis_values, _LABEL_UNITS.get(name, "1")),), gradients)],
        remarks,
        apart,
    )


def _firsts(keys: list[tuple[float, ...]]) -> dict[tuple[float, ...], int]:
    result: dict[tuple[float, ...], int] = {}
    for i, k in enumerate(keys):
        result.setdefault(k, i)
    return result


def _axis(
    name: str,
    values: list[float],
    source: str,
    *,
    slices: list[Slice],
    table: Array,
    dim: int,
) -> Axis:
    if name != "t":
        good = all(np.isfinite(values))
        return Axis(name, tuple(values) if good else (), _LABEL_UNITS.get(name, "1"))
    heads = np.take(np.moveaxis(table, dim, -1).reshape(-1, table.shape[dim]), 0, axis=0)
    chosen = [slices[int(i)] for i in heads]
    if source in _TIME_SCALE:
        return Axis("t", _seconds(chosen, source), "s")
    for clock in ("offset", "reference", "acquired", "trigger", "content"):
        if all(clock in s.times for s in chosen):
            seconds = _seconds(chosen, clock)
            if all(b > a for a, b in pairwise(seconds)):
                return Axis("t", seconds, "s")
    resolution = chosen[0].instance.elements.number("TemporalResolution") or 0.0
    if source == "temporal" and resolution > 0:
        return Axis("t", tuple(i * resolution / 1000 for i in range(len(chosen))), "s")
    if chosen[0].flat == "frame" and table.ndim == 2 and table.shape[-1] == 1:
        return Axis("t" if source in ("temporal", "acquisition") else "frame")
    return Axis("t")


def _seconds(chosen: list[Slice], source: str) -> tuple[float, ...]:
    values = [s.times[source] * _TIME_SCALE[source] for s in chosen]
    if source in _CLOCKS:
        values = _over_midnight(values)
        values = [v - values[0] for v in values]
    return tuple(round(v, 6) for v in values)


def _over_midnight(values: list[float]) -> list[float]:
    """Times of day of one scan; one that spans half a day went over midnight."""
    if max(values) - min(values) <= HALF_DAY:
        return values
    return [v + 2 * HALF_DAY if v < HALF_DAY else v for v in values]
