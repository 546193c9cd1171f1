"""Rebuilding the index from the files, and reading every file to see that it is what was stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from somascope.archive import schema
from somascope.archive.files import agrees
from somascope.archive.index import Writer
from somascope.archive.records import Verification
from somascope.archive.rows import Arrival
from somascope.core.errors import ReadError
from somascope.core.progress import Progress
from somascope.io.dicom import header

if TYPE_CHECKING:
    from somascope.archive.archive import Archive

CHUNK = 1 << 20
BATCH = 500
WORKERS = 2
_i = schema.instance


def digest(path: Path, offset: int) -> tuple[bytes, bytes, int]:
    """SHA-256 of the data set that begins at ``offset``; what precedes it; size of the file."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        prefix = file.read(offset)
        size = len(prefix)
        while piece := file.read(CHUNK):
            sha.update(piece)
            size += len(piece)
    return sha.digest(), prefix, size


def rebuild(archive: Archive, *, progress: Progress) -> int:
    """Make the index anew from the files, in one transaction: readers see the old one until then.

    Writers wait meanwhile. Files are taken in the order of their arrival (their time stamps).
    Damaged ones, known by their names, get no row; `verify` lists them. Origins that the
    old index knew are kept.
    """

    def look(entry: tuple[float, bytes, int]) -> Arrival | None:
        mtime, name, size = entry
        path = archive.files.path(name)
        try:
            found = header.scan(path)
            sha, prefix, size = digest(path, found.dataset_offset)
        except (ReadError, OSError):
            return None
        if not agrees(name, prefix, sha):
            return None
        if not (found.sop_uid and found.sop_class and found.series and found.study):
            return None
        return Arrival(
            found, name, sha, size, found.dataset_offset, found.transfer_syntax,
            origins.get(name, "rebuild"), mtime,
        )  # fmt: skip

    done = 0
    origins: dict[bytes, str] = {}
    refused: list[bytes] = []
    with ThreadPoolExecutor(WORKERS) as pool, archive.database.writing() as c:
        last = c.execute(select(func.coalesce(func.max(schema.change.c.seq), 0))).scalar_one()
        origins |= {bytes(n): o for n, o in c.execute(select(_i.c.name, _i.c.origin))}
        listed = sorted((s.st_mtime, name, s.st_size) for name, s in archive.files.names())
        # what a living writer has placed and not committed is its own to index
        pending = archive.files.pending() - set(origins)
        listed = [entry for entry in listed if entry[1] not in pending]
        for name in ("change", "instance", "series", "study", "patient_word", "patient"):
            c.execute(delete(schema.metadata.tables[name]))
        for batch in _batches(listed):
            arrivals = [a for a in pool.map(look, batch) if a is not None]
            answers = Writer(c, archive.statements, archive.files.isolate, after=last).add(arrivals)
            refused += [
                a.name for a, s in zip(arrivals, answers, strict=True) if s.outcome != "stored"
            ]
            done += len(batch)
            progress(done / len(listed), f"{done} of {len(listed)} files")
        count = c.execute(select(func.count()).select_from(_i)).scalar_one()
    for name in refused:
        archive.files.drop(name)
    archive.forget_cached()
    return int(count)


def verify(archive: Archive, *, progress: Progress) -> Verification:
    """Read every file and compare it with its digest; damaged ones are no longer served."""
    with archive.database.reading() as c:
        total = c.execute(select(func.count()).select_from(_i)).scalar_one()
    damaged: list[str] = []
    missing: list[str] = []
    known: set[bytes] = set()
    last = checked = 0
    columns = _i.c.k, _i.c.uid, _i.c.name, _i.c.dataset_offset, _i.c.size, _i.c.sha256, _i.c.damaged
    while True:
        with archive.database.reading() as c:
            rows = c.execute(
                select(*columns).where(_i.c.k > last).order_by(_i.c.k).limit(BATCH)
            ).all()
        if not rows:
            break
        with ThreadPoolExecutor(WORKERS) as pool:
            states = list(pool.map(lambda r: _state(archive, r), rows))
        changed: dict[int, int] = {}
        for row, state in zip(rows, states, strict=True):
            known.add(bytes(row.name))
            if state == "missing":
                missing.append(row.uid)
            elif state == "damaged":
                damaged.append(row.uid)
            if (state != "good") != bool(row.damaged):
                changed[row.k] = int(state != "good")
        if changed:
            with archive.database.writing() as c:
                for k, value in changed.items():
                    c.execute(update(_i).where(_i.c.k == k).values(damaged=value))
        last = rows[-1].k
        checked += len(rows)
        progress(min(checked / max(total, 1), 1.0), f"{checked} of {total} instances")
    extra = tuple(archive.files.path(n) for n, _ in archive.files.names() if n not in known)
    archive.forget_cached()
    return Verification(checked, tuple(damaged), tuple(missing), extra)


def _state(archive: Archive, row: object) -> str:
    r: dict[str, object] = row._mapping  # type: ignore[attr-defined]  # noqa: SLF001
    name = bytes(r["name"])  # type: ignore[arg-type]
    try:
        sha, prefix, size = digest(archive.files.path(name), int(r["dataset_offset"]))  # type: ignore[call-overload]
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "damaged"
    same = sha == bytes(r["sha256"]) and size == r["size"] and agrees(name, prefix, sha)  # type: ignore[arg-type]
    return "good" if same else "damaged"


def _batches(entries: list[tuple[float, bytes, int]]) -> Iterator[list[tuple[float, bytes, int]]]:
    iterator: Iterable[tuple[float, bytes, int]] = iter(entries)
    while batch := list(islice(iterator, BATCH)):
        yield batch
