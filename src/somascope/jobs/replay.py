"""Run again what made a stored result, from the record inside it, and compare."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from somascope import __version__
from somascope.core import QUIET, Acquisition, Box, Mask, Measurement, Progress, Provenance, Warp
from somascope.core.errors import NotFound
from somascope.core.grid import Array
from somascope.core.registry import get_operation
from somascope.jobs.resolve import FINDINGS, Noun, all_from_archive, locate, nouns_of, part, split
from somascope.jobs.run import bundled, compute, encode

if TYPE_CHECKING:
    from somascope.archive import Archive


_HISTORY = ("provenance", "attributes")
"""What a finding carries beside itself."""


@dataclass(frozen=True, kw_only=True)
class ReplayReport:
    """What a replay found.

    ``identical``: every value, place and label is the same. ``same_bytes``: so is every byte of
    every file. ``stored`` and ``again`` are SHA-256 digests of the values; ``difference`` is the
    largest absolute difference of two values (NaN where the shapes differ).
    """

    uid: str
    operation: str
    params: dict[str, Any]
    inputs: tuple[str, ...]
    version: str
    running: str
    identical: bool
    same_bytes: bool
    difference: float
    stored: str
    again: str


def provenance_of(archive: Archive, uid: str) -> Provenance:
    """The record in the first instance of a series (or in the instance) ``uid``."""
    from somascope.io.dicom.provenance import read

    return read(locate(archive, uid)[0].read_bytes())


def replay(archive: Archive, uid: str, *, progress: Progress = QUIET) -> ReplayReport:
    """Repeat the last operation that made ``uid`` (a series or SOP Instance UID) and compare.

    The inputs must still be in the archive; nothing is stored.

    Raises
    ------
    NotFound
        ``uid``, one of its inputs, or the operation is not there, or ``uid`` holds no record.
    """
    paths = locate(archive, uid)
    record = provenance_of(archive, uid)
    if not record.steps:
        raise NotFound(
            f"{uid} holds no record of an operation: it was not made by Somascope, or only "
            "converted by it"
        )
    step = record.steps[-1]
    found = get_operation(step.operation)
    declared = nouns_of(found, len(step.inputs))
    read_from: dict[str, list[tuple[str, ...]]] = {}
    for source in record.sources:
        read_from.setdefault(source.name, []).append(source.uids)
    reading = part(progress, 0.0, 0.2)
    nouns = [
        one
        for i, noun in reading.over(list(zip(step.inputs, declared, strict=True)), "reading")
        for one in all_from_archive(archive, i, noun=noun, instances=_next(read_from, split(i)[0]))
    ]
    params = found.validate(step.params)
    results = compute(found, nouns, step.inputs, params, progress=part(progress, 0.2, 0.9))
    with tempfile.TemporaryDirectory(prefix="somascope-replay-") as folder:
        return _compare(archive, uid, paths, results, Path(folder), record, progress=progress)


def _next(read_from: dict[str, list[tuple[str, ...]]], name: str) -> tuple[str, ...]:
    """The instances read for the next input of that name: two may be of one series."""
    found = read_from.get(name, [])
    return found.pop(0) if len(found) > 1 else (found[0] if found else ())


def _compare(
    archive: Archive,
    uid: str,
    paths: Sequence[Path],
    results: Sequence[Noun],
    folder: Path,
    record: Provenance,
    *,
    progress: Progress,
) -> ReplayReport:
    from somascope.io.dicom.header import scan

    step = record.steps[-1]
    wanted = {scan(p).sop_uid: p for p in paths}
    files = [f for r in bundled(results) for f in encode(r, archive=archive)]
    named = {scan(f).sop_uid: f for f in files}
    if set(wanted) <= set(named):
        files = [named[u] for u in wanted]
        same_bytes = all(p.read_bytes() == named[u] for u, p in wanted.items())
    else:
        kinds = {scan(p).sop_class for p in paths}
        files = [f for f in files if scan(f).sop_class in kinds]
        same_bytes = False
    again: list[Path] = []
    for i, file in enumerate(files):
        again.append(folder / f"{i:06d}.dcm")
        again[-1].write_bytes(file)
    progress(0.95, "comparing")
    old, new = _content(paths), _content(again)
    difference = _difference(old, new)
    progress(1.0, "compared")
    return ReplayReport(
        uid=uid,
        operation=step.operation,
        params=dict(step.params),
        inputs=step.inputs,
        version=step.version,
        running=__version__,
        identical=_digest(old) == _digest(new),
        same_bytes=same_bytes,
        difference=difference,
        stored=_digest(old),
        again=_digest(new),
    )


def _content(paths: Sequence[Path]) -> list[Noun]:
    from somascope.io import read_all

    report = read_all(list(paths))
    return [*report.nouns, *report.findings]


def _digest(nouns: Sequence[Noun]) -> str:
    """SHA-256 over values, places, units and segment names."""
    total = hashlib.sha256()
    for noun in nouns:
        data = _values(noun)
        if isinstance(noun, FINDINGS):
            said = {k: repr(v) for k, v in vars(noun).items() if k not in _HISTORY}
            total.update(repr((type(noun).__name__, said)).encode())
            continue
        grid = cast("Any", noun.operator).grid if isinstance(noun, Acquisition) else noun.grid
        affine = None if grid is None else np.round(grid.affine, 6).tolist()
        facts: list[Any] = [data.dtype.str, data.shape, affine]
        if isinstance(noun, Mask):
            facts.append([(s.number, s.label, s.concept) for s in noun.segments])
        elif not isinstance(noun, Warp):
            facts.append(noun.unit)
        total.update(repr(facts).encode())
        total.update(np.ascontiguousarray(data).tobytes())
    return total.hexdigest()


def _difference(old: Sequence[Noun], new: Sequence[Noun]) -> float:
    if [_values(n).shape for n in old] != [_values(n).shape for n in new]:
        return float("nan")
    gaps: list[float] = []
    for one, other in zip(old, new, strict=True):
        a, b = _values(one), _values(other)
        wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
        gaps.append(float(np.abs(np.subtract(a, b, dtype=wide)).max()))
    return max(gaps, default=0.0)


def _values(noun: Noun) -> Array:
    """The numbers of a result, as an array."""
    if isinstance(noun, Measurement):
        return np.array([noun.value, noun.uncertainty or 0.0, noun.confidence])
    if isinstance(noun, Box):
        return np.array([*noun.lower, *noun.upper, noun.confidence])
    if isinstance(noun, FINDINGS):
        return np.array([noun.confidence, *noun.probabilities.values()])
    if isinstance(noun, Warp):  # where it sends points, in mm
        bent = () if noun.displacement is None else noun.displacement.ravel()
        return np.concatenate([noun.matrix.ravel(), bent])
    return noun.samples if isinstance(noun, Acquisition) else noun.data
