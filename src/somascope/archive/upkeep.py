"""Reading every file to see that it is what was stored."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update

from somascope.archive import schema
from somascope.archive.files import agrees
from somascope.archive.records import Verification
from somascope.core.progress import Progress

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
