"""`Archive.import_paths`: folders, files, ZIP archives and DICOMDIRs, every file accounted for.

What is no DICOM is listed, never skipped in silence; the report's ``other`` files are the ones a
caller may convert. Links that lead out of a folder are not followed. Files are taken by several
threads: of two in one import that contradict each other, the one that is ready first is kept.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from somascope.archive import zipped
from somascope.archive.records import ImportReport, Listed, OutOfSpace, Stored
from somascope.core.errors import CorruptFile, ReadError, SomascopeError, UnsupportedFormat
from somascope.core.progress import Progress
from somascope.io.dicom.header_dicomdir import is_dicomdir, referenced

if TYPE_CHECKING:
    from somascope.archive.archive import Archive

WORKERS = 4
"""Threads: two keep two cores busy while the others wait for the disk."""
IN_MEMORY = 64 << 20

Kind = Literal["corrupt", "other", "conflict", "refused"]


@dataclass
class _Item:
    """One candidate; the fraction of the work that is done once it is taken."""

    name: str
    path: Path | None = None
    data: bytes | None = None
    problem: Listed | None = None
    done: float = 0.0
    wait: bool = False
    """Its bytes are in a temporary file that goes with the next step of the iteration."""


@dataclass
class _Tally:
    stored: int = 0
    duplicates: int = 0
    problems: list[Listed] = field(default_factory=list[Listed])
    studies: dict[str, None] = field(default_factory=dict[str, None])
    series: dict[str, None] = field(default_factory=dict[str, None])


def import_paths(archive: Archive, paths: list[Path], *, progress: Progress) -> ImportReport:
    """See `Archive.import_paths`. On cancel, what is stored stays stored."""
    tally, waiting = _Tally(), deque[tuple[_Item, Future[Stored]]]()
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="import") as pool:
        try:
            for item in _items(paths):
                progress(item.done, item.name)
                if item.problem is not None:
                    tally.problems.append(item.problem)
                    continue
                waiting.append((item, pool.submit(_store, archive, item)))
                while len(waiting) > (0 if item.wait else 2 * WORKERS):
                    _count(tally, *waiting.popleft())
            while waiting:
                _count(tally, *waiting.popleft())
        except BaseException:
            for _, future in waiting:
                future.cancel()
            raise
    progress(1.0, "")
    return ImportReport(
        tally.stored, tally.duplicates, tuple(tally.problems), tuple(tally.studies),
        tuple(tally.series),
    )  # fmt: skip


def _store(archive: Archive, item: _Item) -> Stored:
    if item.data is not None:
        return archive.store(item.data, origin="import")
    assert item.path is not None
    try:
        if item.path.stat().st_size > IN_MEMORY:
            return archive.store_file(item.path, origin="import")
        return archive.store(item.path.read_bytes(), origin="import")
    except OSError as error:
        if error.filename != str(item.path):
            raise
        raise CorruptFile(f"{item.name}: cannot be read: {error.strerror}") from error


def _count(tally: _Tally, item: _Item, future: Future[Stored]) -> None:
    try:
        answer = future.result()
    except OutOfSpace:
        raise
    except UnsupportedFormat as error:
        tally.problems.append(Listed(item.name, "other", _reason(error), item.path))
        return
    except (ReadError, SomascopeError) as error:
        tally.problems.append(Listed(item.name, "corrupt", _reason(error), item.path))
        return
    if answer.outcome == "conflict":
        tally.problems.append(Listed(item.name, "conflict", answer.reason, item.path))
        return
    tally.stored += answer.outcome == "stored"
    tally.duplicates += answer.outcome == "duplicate"
    tally.studies.setdefault(answer.study)
    tally.series.setdefault(answer.series)


def _reason(error: Exception) -> str:
    return str(error).removeprefix("the instance: ")


def _items(paths: list[Path]) -> Iterator[_Item]:
    """All candidates, with how far each brings the work, by bytes."""
    found: list[tuple[Path, str, int]] = []
    for path in paths:
        if path.is_dir():
            found.extend(_folder(path))
        elif path.is_file():
            found.append((path, path.name, path.stat().st_size))
        else:
            problem = Listed(str(path), "refused", "there is no such file or folder", path)
            yield _Item(str(path), problem=problem)
    total = sum(size for _, _, size in found) or 1
    done = 0
    taken: set[Path] = set()
    explicit = {p for p in paths if p.is_file()}
    for path, name, size in found:
        done += size
        if path in taken:
            continue
        taken.add(path)
        for item in _open(path, name, follow=path in explicit):
            if item.path in taken and item.path != path:
                continue
            if item.path is not None:
                taken.add(item.path)
            item.done = done / total
            yield item


def _open(path: Path, name: str, *, follow: bool) -> Iterator[_Item]:
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        yield _bad(name, "corrupt", f"cannot be opened: {error.strerror}", path)
        return
    if zipped.is_zip(head):
        yield from _zip(path)
    elif is_dicomdir(path):
        yield from _dicomdir(path, name, follow=follow)
    else:
        yield _Item(name, path=path)


def _zip(path: Path) -> Iterator[_Item]:
    for entry in zipped.entries(path):
        if entry.problem:
            yield _bad(entry.name, "refused" if entry.refused else "corrupt", entry.problem, None)
        elif is_dicomdir(Path(entry.name)):
            continue  # the files it lists are in the archive beside it
        else:
            yield _Item(
                entry.name, path=entry.spooled, data=entry.data, wait=entry.spooled is not None
            )


def _dicomdir(path: Path, name: str, *, follow: bool) -> Iterator[_Item]:
    """Its files where it was named itself; in a folder they come anyway, lost ones are listed."""
    try:
        files, problems = referenced(path)
    except CorruptFile as error:
        yield _bad(name, "corrupt", str(error), path)
        return
    for other, reason in problems:
        yield _bad(
            f"{name}: {other}", "refused" if "followed" in reason else "corrupt", reason, None
        )
    if follow:
        for file in files:
            yield _Item(file.name, path=file)


def _bad(name: str, kind: Kind, reason: str, path: Path | None) -> _Item:
    return _Item(name, problem=Listed(name, kind, reason, path))


def _folder(root: Path) -> Iterator[tuple[Path, str, int]]:
    """Files below ``root`` in the order of their names; no link leads out of it."""
    real = root.resolve()
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_symlink() and not path.resolve().is_relative_to(real):
                continue
            if path.is_file():
                yield path, str(path.relative_to(root)), path.stat().st_size
