"""How an instance comes in: looked at, hashed, made durable on disk, then given its row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select, update

from somascope.archive.database import Database
from somascope.archive.files import Files, agrees, new_name
from somascope.archive.index import Committer
from somascope.archive.records import Stored
from somascope.archive.rows import Arrival, instance_row
from somascope.archive.schema import instance
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.io.dicom import header
from somascope.io.dicom.header import Header
from somascope.io.dicom.header_dicomdir import MEDIA_DIRECTORY
from somascope.io.dicom.header_meta import wrap

Buffer = bytes | bytearray | memoryview
CHUNK = 1 << 20
_i = instance


class _Known(NamedTuple):
    """The row of an instance that is there already, and where its file should be."""

    k: int
    name: bytes
    path: Path


class Intake:
    """Stores for one archive; what its methods promise stands at `Archive.store`."""

    def __init__(self, database: Database, files: Files, forget: Callable[[], None]) -> None:
        self.database, self.files, self._forget = database, files, forget
        self._committer = Committer(database, files)
        self.statements = self._committer.statements

    def part10(self, part10: Buffer, *, origin: str) -> Stored:
        """A Part 10 file in memory."""
        data = part10 if isinstance(part10, bytes) else memoryview(part10)
        found = header.scan(data)
        view = memoryview(data)
        dataset = view[found.dataset_offset :]
        return self._store(found, _prefix(found, view), dataset, origin=origin)

    def dataset(
        self,
        dataset: Buffer,
        *,
        sop_class: str,
        sop_uid: str,
        transfer_syntax: str,
        origin: str,
    ) -> Stored:
        """A bare data set in memory."""
        data = dataset if isinstance(dataset, bytes) else memoryview(dataset)
        found = header.scan(data, transfer_syntax=transfer_syntax, name=f"instance {sop_uid}")
        if (found.sop_uid, found.sop_class) != (sop_uid, sop_class):
            raise CorruptFile(
                f"announced as instance {sop_uid} of class {sop_class}, the data set is "
                f"{found.sop_uid!r} of class {found.sop_class!r}; correct the sender"
            )
        meta = wrap(sop_class=sop_class, sop_uid=sop_uid, transfer_syntax=transfer_syntax)
        return self._store(found, [meta], memoryview(data), origin=origin)

    def file(self, path: Path, *, origin: str) -> Stored:
        """A Part 10 file on disk, of any size."""
        found = header.scan(path)
        with path.open("rb") as file:
            start = memoryview(file.read(found.dataset_offset))
            prefix = _prefix(found, start)
            _require(found)
            sha = hashlib.sha256()
            while piece := file.read(CHUNK):
                sha.update(piece)
            known = self._answered(found, sha.digest())
            if known is not None and known.path.exists():
                return _duplicate(found)
            file.seek(found.dataset_offset)
            name = new_name(found.sop_uid, b"".join(prefix), sha.digest())
            size = found.size - found.dataset_offset
            offset = sum(map(len, prefix))
            again = hashlib.sha256()

            def pieces() -> Iterator[bytes | memoryview]:
                yield from prefix
                while piece := file.read(CHUNK):
                    again.update(piece)
                    yield piece

            self.files.place(name, pieces(), offset + size)
        if again.digest() != sha.digest():
            self.files.drop(name)
            raise CorruptFile(f"{path.name}: changed while it was read; import it again")
        arrival = _arrival(found, name, sha.digest(), offset + size, offset=offset, origin=origin)
        return self._index(arrival, known)

    def _store(
        self, found: Header, prefix: list[bytes | memoryview], dataset: memoryview, *, origin: str
    ) -> Stored:
        _require(found)
        digest = hashlib.sha256(dataset).digest()
        known = self._answered(found, digest)
        if known is not None and known.path.exists():
            return _duplicate(found)
        name = new_name(found.sop_uid, b"".join(prefix), digest)
        offset = sum(map(len, prefix))
        self.files.place(name, [*prefix, dataset], offset + len(dataset))
        arrival = _arrival(found, name, digest, offset + len(dataset), offset=offset, origin=origin)
        return self._index(arrival, known)

    def _answered(self, found: Header, digest: bytes) -> _Known | None:
        """Whether this very data set is there already, so that its file need not be written.

        The ``path`` is one that does not exist where the stored file is lost or damaged.
        """
        row = self.database.lookup(self.statements.instance, {"u": found.sop_uid})
        if row is None:
            return None
        k, sha256, transfer_syntax, name, damaged = row
        if bytes(sha256) != digest or transfer_syntax != found.transfer_syntax:
            return None
        path = self.files.path(bytes(name))
        return _Known(k, bytes(name), path.with_suffix(".damaged") if damaged else path)

    def _index(self, arrival: Arrival, known: _Known | None) -> Stored:
        if known is None:
            return self._committer.commit([arrival])[0]
        with self.database.writing() as c:  # the sender's copy takes the place of a lost one
            row = instance_row(arrival)
            c.execute(update(_i).where(_i.c.k == known.k).values(**row))
        self.files.settle(arrival.name)
        self.files.drop(known.name)
        self._forget()
        return _duplicate(arrival.header)

    def adopt(self, name: bytes) -> Stored | None:
        """Index a file that is in its place and has no row; ``None`` where it has, or is none."""
        path = self.files.path(name)
        try:
            found = header.scan(path)
            _require(found)
        except ReadError:
            self.files.drop(name)
            return None
        with self.database.reading() as c:
            row = c.execute(select(_i.c.name).where(_i.c.uid == found.sop_uid)).first()
        if row is not None and bytes(row[0]) == name:
            return None
        sha = hashlib.sha256()
        with path.open("rb") as file:
            prefix = file.read(found.dataset_offset)
            while piece := file.read(CHUNK):
                sha.update(piece)
        if not agrees(name, prefix, sha.digest()):  # never acknowledged: its sync did not return
            self.files.drop(name)
            return None
        offset = found.dataset_offset
        return self._index(
            _arrival(found, name, sha.digest(), found.size, offset=offset, origin="recovered"), None
        )


def _require(found: Header) -> None:
    """An instance needs its four UIDs (PS3.3 C.12.1, C.7.2.1, C.7.3.1)."""
    if found.meta.get("MediaStorageSOPClassUID") == MEDIA_DIRECTORY:
        raise UnsupportedFormat(
            "is a DICOMDIR: a list of files, not an instance; import its folder"
        )
    for keyword in ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not found.text(keyword):
            raise CorruptFile(
                f"the instance {found.sop_uid!r} has no {keyword}; an archive cannot place it"
            )


def _prefix(found: Header, data: memoryview) -> list[bytes | memoryview]:
    """What goes before the data set: the file's own wrapper, its preamble cleared, or ours."""
    whole = bytes(data[128:132]) == b"DICM" and "TransferSyntaxUID" in found.meta
    if not whole:
        return [
            wrap(
                sop_class=found.sop_class,
                sop_uid=found.sop_uid,
                transfer_syntax=found.transfer_syntax,
            )
        ]
    tiff = bytes(data[:4]) in (b"II*\0", b"MM\0*")
    preamble = bytes(data[:128]) if tiff else bytes(128)
    return [preamble, data[128 : found.dataset_offset]]


def _arrival(
    found: Header, name: bytes, digest: bytes, size: int, *, offset: int, origin: str
) -> Arrival:
    """The row to be of a placed file, whose data set may begin elsewhere than in what was sent."""
    frames, by = found.frames, offset - found.dataset_offset
    if by and frames is not None and not frames.inflated:
        found = replace(found, frames=replace(frames, offset=frames.offset + by))
    return Arrival(found, name, digest, size, offset, found.transfer_syntax, origin[:256])


def _duplicate(found: Header) -> Stored:
    return Stored(
        "duplicate", found.study, found.series, found.sop_uid, found.sop_class,
        warnings=found.warnings,
    )  # fmt: skip
