"""Uploads: a form's files, streamed, told apart by content, stored or converted, each answered."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from somascope.archive import Archive, Stored
from somascope.core.errors import SomascopeError
from somascope.io.read import HEAD, is_dicom
from somascope.server.decode.convert import convert
from somascope.server.dicomweb.multipart import Part, boundary_of, parts

_ZIP = b"PK\x03\x04"
_UNSAFE = re.compile(r"[^A-Za-z0-9._ -]")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one upload: bytes of a file, number of files, what converting them may take."""

    file_bytes: int = 4 << 30
    files: int = 10_000
    convert_bytes: int = 16 << 30
    """Memory that a conversion may take."""
    convert_seconds: float = 900.0


@dataclass(kw_only=True)
class Outcome:
    """What became of one file."""

    name: str
    outcome: str
    reason: str = ""
    instances: int = 0
    study: str = ""
    series: str = ""


class Uploads:
    """Takes the files of ``multipart/form-data`` requests into an archive."""

    def __init__(self, archive: Archive, limits: Limits) -> None:
        self._archive = archive
        self._limits = limits
        self._converting = asyncio.Semaphore(1)  # volumes are large: one at a time

    async def receive(self, request: Request) -> list[dict[str, Any]]:
        """One outcome per file of the request.

        DICOM is stored as it arrives. ZIP archives are opened; other files are kept in a temporary
        folder until all are here (a MetaImage header and its data, numbered pictures), read,
        written as DICOM and stored.
        """
        media = request.headers.get("content-type", "")
        if not media.lower().startswith("multipart/form-data"):
            raise HTTPException(415, f"Content-Type {media[:60]!r}; send multipart/form-data")
        batch = Batch(
            self._archive, Path(tempfile.mkdtemp(prefix="upload-", dir=self._archive.root))
        )
        try:
            async for part in parts(
                request.stream(),
                boundary_of(media),
                folder=batch.folder,
                part_bytes=self._limits.file_bytes,
                most=self._limits.files,
            ):
                with part:
                    name = file_name(part.headers.get("content-disposition", ""))
                    if name is not None:  # else another field of the form
                        await run_in_threadpool(batch.take, part, name)
            if batch.others:
                async with self._converting:
                    await run_in_threadpool(batch.convert, self._limits)
        except ClientDisconnect:
            raise HTTPException(400, "the client left before the end of its request") from None
        finally:
            await run_in_threadpool(shutil.rmtree, batch.folder, ignore_errors=True)
        if not batch.outcomes:
            raise HTTPException(400, "the form holds no file; send parts with a filename")
        return [asdict(o) for o in batch.outcomes]


class Batch:
    """The files of one request."""

    def __init__(self, archive: Archive, folder: Path) -> None:
        self._archive = archive
        self.folder = folder
        self.outcomes: list[Outcome] = []
        self.others: dict[Path, str] = {}
        """What is neither DICOM nor ZIP: where it is kept, and the name it was sent under."""

    def take(self, part: Part, name: str) -> None:
        """Store a DICOM file, open a ZIP archive, keep anything else for `convert`."""
        head = bytes(part.data[:HEAD])
        if not head:
            self._reject(name, "is empty (0 bytes)")
        elif is_dicom(head):
            try:
                with memoryview(part.data) as data:
                    self.outcomes.append(_told(name, [self._archive.store(data, origin="upload")]))
            except SomascopeError as error:
                self._reject(name, _reason(error))
        else:
            path = _place(self.folder, name, len(self.others))
            with path.open("wb") as file:
                for start in range(0, len(part.data), 1 << 20):
                    file.write(part.data[start : start + (1 << 20)])
            if head.startswith(_ZIP):
                self.outcomes.append(_zip(self._archive, path, name))
                path.unlink()
            else:
                self.others[path] = name

    def convert(self, limits: Limits) -> None:
        """Read what is no DICOM, write it as DICOM, store it."""
        names = {path.name: name for path, name in self.others.items()}
        left = set(self.others.values())
        try:
            report = convert(
                list(self.others), self.folder / "made", memory=limits.convert_bytes,
                seconds=limits.convert_seconds,
            )  # fmt: skip
        except SomascopeError as error:
            for name in sorted(left):
                self._reject(name, _reason(error))
            return
        for made in report.made:
            found = {names.get(s, s) for s in made.sources} or {"image"}
            left -= found
            name = ", ".join(sorted(found))
            if made.reason:
                self._reject(name, made.reason.removeprefix("the instance: "))
                continue
            try:
                stored = [
                    self._archive.store_file(f, origin="upload:converted") for f in made.files
                ]
                self.outcomes.append(_told(name, stored))
            except SomascopeError as error:
                self._reject(name, _reason(error))
        unknown = [(n, "is of no known image format") for n in report.skipped]
        for source, reason in (*report.problems, *unknown):
            name = names.get(source, source)
            if name in left:
                left.discard(name)
                self._reject(name, reason)

    def _reject(self, name: str, reason: str) -> None:
        self.outcomes.append(Outcome(name=name, outcome="rejected", reason=reason))


def file_name(disposition: str) -> str | None:
    """The file name of a part as it was sent (RFC 7578), or None where it is no file."""
    match = re.search(r';\s*filename="((?:[^"\\]|\\.)*)"', disposition, re.IGNORECASE) or re.search(
        r";\s*filename=([^\s;]+)", disposition, re.IGNORECASE
    )
    if match is None:
        return None
    raw = match[1].replace("%22", '"').replace('\\"', '"').encode("latin-1", "replace")
    return raw.decode("utf-8", "replace") or "file"


def _place(folder: Path, name: str, number: int) -> Path:
    """A path in ``folder``: the last parts of the sent name made harmless, never outside."""
    words = [_UNSAFE.sub("_", w) for w in re.split(r"[/\\]", name)]
    words = [w for w in words if w.strip(". ")][-4:] or ["file"]
    words = [w[-100:] for w in words]
    path = folder / "files" / Path(*words)
    if path.exists():
        path = folder / "files" / str(number) / Path(*words)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _zip(archive: Archive, path: Path, name: str) -> Outcome:
    try:
        report = archive.import_paths([path])
    except SomascopeError as error:
        return Outcome(name=name, outcome="rejected", reason=_reason(error))
    listed = [f"{p.name}: {p.reason}" for p in report.problems]
    reason = "; ".join(listed[:5]) + (f"; and {len(listed) - 5} more" if len(listed) > 5 else "")
    taken = report.stored + report.duplicates
    return Outcome(
        name=name,
        outcome="stored" if report.stored else "duplicate" if taken else "rejected",
        reason=reason or ("" if taken else "the ZIP holds no file"),
        instances=taken,
        study=report.studies[0] if report.studies else "",
        series=report.series[0] if report.series else "",
    )


def _told(name: str, stored: Sequence[Stored]) -> Outcome:
    outcomes = {s.outcome for s in stored}
    worst = next(o for o in ("conflict", "stored", "duplicate") if o in outcomes)
    reasons = [s.reason for s in stored if s.reason]
    return Outcome(
        name=name,
        outcome=worst,
        reason=reasons[0] if reasons else "",
        instances=len(stored),
        study=stored[0].study,
        series=stored[0].series,
    )


def _reason(error: Exception) -> str:
    return str(error).removeprefix("the instance: ")
