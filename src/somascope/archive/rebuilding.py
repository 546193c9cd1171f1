"""`Archive.rebuild`: the index made anew from the files, beside the old one, while stores go on.

Reading and hashing every file takes hours; that is done first, into a SQLite file of its own.
Writers wait only while its rows are copied into the index, with what has come in meanwhile.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from somascope.archive import schema
from somascope.archive.database import Database
from somascope.archive.files import agrees, locked
from somascope.archive.index import Statements, Writer
from somascope.archive.rows import Arrival
from somascope.archive.upkeep import digest
from somascope.core.errors import Conflict, ReadError
from somascope.core.progress import Progress
from somascope.io.dicom import header

if TYPE_CHECKING:
    from somascope.archive.archive import Archive

BATCH = 500
COPIED = 5000
"""Rows copied at a time."""
WORKERS = 2
_i = schema.instance
_TABLES = ("patient", "patient_word", "study", "series", "instance", "change")
"""Parents before their children."""

Entry = tuple[float, bytes]
"""When a file was written, and its name."""


@dataclass
class _Beside:
    """The index that is being made."""

    archive: Archive
    database: Database
    origins: dict[bytes, str]
    progress: Progress
    seen: set[bytes] = field(default_factory=set[bytes])
    refused: list[bytes] = field(default_factory=list[bytes])
    apart: list[bytes] = field(default_factory=list[bytes])

    def __post_init__(self) -> None:
        self.statements = Statements(self.database)

    def add(self, entries: Iterable[Entry], *, share: float) -> None:
        """Take in files, in this order; they are ``share`` of the work."""
        listed = list(entries)
        self.seen.update(name for _, name in listed)
        done = 0
        with ThreadPoolExecutor(WORKERS) as pool:
            for batch in _batches(listed, BATCH):
                arrivals = [a for a in pool.map(self._look, batch) if a is not None]
                with self.database.writing() as c:
                    answers = Writer(c, self.statements, self.apart.append).add(arrivals)
                self.refused += [
                    a.name for a, s in zip(arrivals, answers, strict=True) if s.outcome != "stored"
                ]
                done += len(batch)
                self.progress(share * done / len(listed), f"{done} of {len(listed)} files")

    def _look(self, entry: Entry) -> Arrival | None:
        """What is good in a file; damaged ones, known by their names, get no row."""
        mtime, name = entry
        path = self.archive.files.path(name)
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
            self.origins.get(name, "rebuild"), mtime,
        )  # fmt: skip


def rebuild(archive: Archive, *, progress: Progress) -> int:
    """See `Archive.rebuild`; raises `Conflict` where another process does the same.

    Files are taken in the order of their arrival (their time stamps). Damaged ones get no row;
    `Archive.verify` lists them. Origins that the old index knew are kept.
    """
    with locked(archive.root / "rebuild.lock") as mine:
        if not mine:
            raise Conflict(f"{archive.root} is being rebuilt already; wait for the end of that")
        return _rebuild(archive, progress)


def _rebuild(archive: Archive, progress: Progress) -> int:
    with _scratch(archive.root) as url:
        database = Database(url)
        try:
            database.migrate()
            with archive.database.reading() as c:
                origins = {bytes(n): o for n, o in c.execute(select(_i.c.name, _i.c.origin))}
            beside = _Beside(archive, database, origins, progress)
            listed = sorted((s.st_mtime, name) for name, s in archive.files.names())
            # what a living writer has placed and not committed is its own to index
            pending = archive.files.pending() - set(origins)
            beside.add((e for e in listed if e[1] not in pending), share=0.95)
            count = _exchange(archive, beside)
        finally:
            database.close()
    for name in beside.refused:
        archive.files.drop(name)
    archive.forget_cached()
    progress(1.0, f"{count} instances")
    return count


def _exchange(archive: Archive, beside: _Beside) -> int:
    """Put the new rows in the place of the old ones, in one transaction; how many instances."""
    quarantine = schema.quarantine
    with archive.database.writing() as c:
        there = {name: s.st_mtime for name, s in archive.files.names()}
        _forget(beside, beside.seen - set(there))
        rows = c.execute(select(_i.c.name, _i.c.origin)).all()
        came = {bytes(n): o for n, o in rows if bytes(n) not in beside.seen}
        beside.origins |= came
        beside.add(sorted((there[n], n) for n in came if n in there), share=0.98)
        last = c.execute(select(func.coalesce(func.max(schema.change.c.seq), 0))).scalar_one()
        for name in reversed(_TABLES):
            c.execute(delete(schema.metadata.tables[name]))
        cursor = c.connection.cursor()
        with beside.database.reading() as made:
            for name in _TABLES:
                table = schema.metadata.tables[name]
                put = archive.statements.insert[name]
                for part in _rows(made, table):
                    for row in part if name == "change" else ():
                        row["seq"] += last
                    put.many(cursor, part)
            known = {
                (u, bytes(h)) for u, h in c.execute(select(quarantine.c.uid, quarantine.c.sha256))
            }
            k = c.execute(select(func.coalesce(func.max(quarantine.c.k), 0))).scalar_one()
            for row in made.execute(select(quarantine).order_by(quarantine.c.k)).mappings():
                if (row["uid"], bytes(row["sha256"])) not in known:
                    k += 1
                    archive.files.isolate(bytes(row["name"]))
                    c.execute(insert(quarantine), {**row, "k": k})
        cursor.close()
        return int(c.execute(select(func.count()).select_from(_i)).scalar_one())


def _forget(beside: _Beside, gone: set[bytes]) -> None:
    """Take back the rows of files that were removed since: a better copy has come in."""
    if not gone:
        return
    p, w, t, r = schema.patient.c, schema.word, schema.study.c, schema.series.c
    with beside.database.writing() as c:
        for name in gone:
            uid = c.execute(select(_i.c.uid).where(_i.c.name == name)).scalar()
            if uid is not None:
                c.execute(delete(_i).where(_i.c.name == name))
                c.execute(delete(schema.change).where(schema.change.c.instance == uid))
        count = select(func.count()).where(_i.c.series_k == r.k).scalar_subquery()
        c.execute(update(schema.series).values(instance_count=count))
        c.execute(delete(schema.series).where(r.instance_count == 0))
        parts = select(func.count()).where(r.study_k == t.k).scalar_subquery()
        total = select(func.coalesce(func.sum(r.instance_count), 0)).where(r.study_k == t.k)
        c.execute(
            update(schema.study).values(series_count=parts, instance_count=total.scalar_subquery())
        )
        c.execute(delete(schema.study).where(t.instance_count == 0))
        left = select(t.patient_k)
        c.execute(delete(w).where(w.c.patient_k.not_in(left)))
        c.execute(delete(schema.patient).where(p.k.not_in(left)))
    beside.refused = [name for name in beside.refused if name not in gone]


def _rows(connection: Connection, table: Table) -> Iterator[list[dict[str, object]]]:
    """All rows of a table, some thousands at a time, in the order of their keys."""
    ordered = select(table).order_by(*table.primary_key.columns)
    found = connection.execution_options(yield_per=COPIED).execute(ordered)
    for part in found.mappings().partitions(COPIED):
        yield [dict(row) for row in part]


@contextlib.contextmanager
def _scratch(root: Path) -> Iterator[str]:
    """URL of a new SQLite file in the archive's folder; it is gone afterwards."""
    path = root / f"rebuild-{secrets.token_hex(6)}.sqlite"
    try:
        yield f"sqlite:///{path}"
    finally:
        for left in root.glob("rebuild-*.sqlite*"):  # of a killed one, too: we hold the lock
            left.unlink(missing_ok=True)


def _batches(entries: list[Entry], size: int) -> Iterator[list[Entry]]:
    iterator: Iterable[Entry] = iter(entries)
    while batch := list(islice(iterator, size)):
        yield batch
