"""`Archive`: instances on disk, an index in SQL, and the promise that what it acknowledged stays.

The order of every store: file synced, folder synced, index committed, then the answer.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from sqlalchemy import RowMapping, func, select, update

from somascope.archive import schema
from somascope.archive.database import Database
from somascope.archive.files import Files, new_name
from somascope.archive.index import Arrival, Committer, instance_row
from somascope.archive.manifest import Manifests
from somascope.archive.records import (
    Change,
    FrameRange,
    ImportReport,
    Instance,
    Quarantined,
    Query,
    Stats,
    Stored,
    Verification,
)
from somascope.core.errors import CorruptFile, NotFound, ParameterError, ReadError
from somascope.core.progress import QUIET, Progress
from somascope.io.dicom import header
from somascope.io.dicom.header import Frames, Header
from somascope.io.dicom.header_meta import wrap

Buffer = bytes | bytearray | memoryview
RESERVE = 64 << 20
CHUNK = 1 << 20
_KINDS: tuple[Literal["stored", "quarantined"], ...] = ("stored", "quarantined")
_i, _s, _t = schema.instance, schema.series, schema.study
_COLUMNS = (
    _t.c.uid.label("study"), _s.c.uid.label("series"), _i.c.uid, _i.c.sop_class,
    _i.c.transfer_syntax, _i.c.number, _i.c.frame_count, _i.c.name, _i.c.dataset_offset,
    _i.c.size, _i.c.sha256, _i.c.damaged, _i.c.frames,
)  # fmt: skip
_INSTANCES = (
    select(*_COLUMNS)
    .select_from(_i)
    .join(_s, _s.c.k == _i.c.series_k)
    .join(_t, _t.c.k == _s.c.study_k)
)


class _Known(NamedTuple):
    """The row of an instance that is there already, and where its file should be."""

    k: int
    path: Path


class Archive:
    """Instances on disk and their index. Open it with `Archive.open`; safe in threads."""

    def __init__(self, root: Path, database: Database, files: Files) -> None:
        self.root, self.database, self.files = root, database, files
        self._committer = Committer(database, files)
        self.statements = self._committer.statements
        self._frames: dict[str, tuple[Instance, Frames | None]] = {}
        self._frames_guard = threading.Lock()
        self.manifests = Manifests()

    @classmethod
    def open(cls, root: Path | str, *, url: str | None = None, reserve: int = RESERVE) -> Archive:
        """Open or create the archive in the folder ``root``.

        Parameters
        ----------
        root
            Folder of the instances; created with its parents.
        url
            SQLAlchemy URL of the index; default a SQLite file in ``root``. Processes on the same
            archive give the same one.
        reserve
            Bytes of disk to keep free; a store that would go below is refused with `OutOfSpace`.

        What a killed process left behind is taken up or removed before this returns.
        """
        root = Path(root).absolute()
        root.mkdir(parents=True, exist_ok=True)
        files = Files(root, reserve=reserve)
        database = Database(url or f"sqlite:///{root / 'index.sqlite'}")
        database.migrate(root / "migrate.lock")
        archive = cls(root, database, files)
        archive._recover()
        return archive

    @property
    def url(self) -> str:
        """The URL of the index, password included: to open the same archive elsewhere."""
        return self.database.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Give back connections and this process's session."""
        self.files.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------- storing

    def store(self, part10: Buffer, *, origin: str = "") -> Stored:
        """Keep one Part 10 file; durable when this returns.

        The data set is kept bit for bit; the preamble is set to zero unless it makes the file a
        TIFF (PS3.10 7.1). A bare data set or a damaged wrapper gets our File Meta Information.

        Raises
        ------
        CorruptFile, UnsupportedFormat
            It is not a whole DICOM instance with its UIDs; nothing was kept.
        OutOfSpace
            No room; nothing was kept.
        """
        data = part10 if isinstance(part10, bytes) else memoryview(part10)
        found = header.scan(data)
        view = memoryview(data)
        dataset = view[found.dataset_offset :]
        return self._store(found, _prefix(found, view), dataset, origin=origin)

    def store_dataset(
        self,
        dataset: Buffer,
        *,
        sop_class: str,
        sop_uid: str,
        transfer_syntax: str,
        origin: str = "",
    ) -> Stored:
        """Keep a bare data set as C-STORE delivers it; otherwise as `store`.

        ``sop_class`` and ``sop_uid`` are what the command set said; a data set that says otherwise
        is refused with `CorruptFile`.
        """
        data = dataset if isinstance(dataset, bytes) else memoryview(dataset)
        found = header.scan(data, transfer_syntax=transfer_syntax, name=f"instance {sop_uid}")
        if (found.sop_uid, found.sop_class) != (sop_uid, sop_class):
            raise CorruptFile(
                f"announced as instance {sop_uid} of class {sop_class}, the data set is "
                f"{found.sop_uid!r} of class {found.sop_class!r}; correct the sender"
            )
        meta = wrap(sop_class=sop_class, sop_uid=sop_uid, transfer_syntax=transfer_syntax)
        return self._store(found, [meta], memoryview(data), origin=origin)

    def store_file(self, path: Path, *, origin: str = "") -> Stored:
        """As `store`, from a file of any size, read in pieces."""
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
            name = new_name(found.sop_uid, b"".join(prefix))
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
        name = new_name(found.sop_uid, b"".join(prefix))
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
        return _Known(k, path.with_suffix(".damaged") if damaged else path)

    def _index(self, arrival: Arrival, known: _Known | None) -> Stored:
        if known is None:
            return self._committer.commit([arrival])[0]
        with self.database.writing() as c:  # the sender's copy takes the place of a lost one
            row = instance_row(arrival)
            c.execute(update(_i).where(_i.c.k == known.k).values(**row))
        self.files.settle(arrival.name)
        self.forget_cached()
        return _duplicate(arrival.header)

    # ---------------------------------------------------------------- finding

    def forget_cached(self) -> None:
        """Drop what is held in memory about instances; it is read again when asked for."""
        with self._frames_guard:
            self._frames.clear()
        self.manifests = Manifests()

    def locate(
        self, *, study: str | None = None, series: str | None = None, instance: str | None = None
    ) -> list[Instance]:
        """Instances of a study, a series, or one, ordered by series and instance number."""
        if study is None and series is None and instance is None:
            raise ParameterError("locate needs study, series or instance: a UID")
        query = _INSTANCES
        for column, uid in ((_t.c.uid, study), (_s.c.uid, series), (_i.c.uid, instance)):
            if uid is not None:
                query = query.where(column == uid)
        query = query.order_by(_s.c.number, _s.c.k, _i.c.number, _i.c.k)
        with self.database.reading() as c:
            return [self._instance(row) for row in c.execute(query).mappings()]

    def _instance(self, row: RowMapping) -> Instance:
        return Instance(
            row["study"], row["series"], row["uid"], row["sop_class"], row["transfer_syntax"],
            row["number"], row["frame_count"] or (1 if row["frames"] is not None else 0),
            self.files.path(bytes(row["name"])), row["dataset_offset"], row["size"],
            bytes(row["sha256"]).hex(), bool(row["damaged"]),
        )  # fmt: skip

    def frame(self, sop_uid: str, number: int) -> FrameRange:
        """Where frame ``number`` (from 1) is; the file is not looked at."""
        with self._frames_guard:
            known = self._frames.get(sop_uid)
        if known is None:
            with self.database.reading() as c:
                row = c.execute(_INSTANCES.where(_i.c.uid == sop_uid)).mappings().first()
            if row is None:
                raise NotFound(f"no instance {sop_uid} in the archive")
            packed = row["frames"]
            known = self._instance(row), Frames.unpack(bytes(packed)) if packed else None
            with self._frames_guard:
                if len(self._frames) >= 4096:
                    self._frames.clear()
                self._frames[sop_uid] = known
        instance, frames = known
        if instance.damaged:
            raise CorruptFile(f"instance {sop_uid} is damaged on disk; restore it from a copy")
        if frames is None:
            raise NotFound(f"instance {sop_uid} has no frames")
        return FrameRange.of(instance, frames, number)

    def search(self, query: Query) -> list[dict[str, Any]]:
        """Answers to a query in the DICOM JSON model, in a stable order, counts included.

        Order: studies newest first, series and instances by number.
        """
        from somascope.archive.search import search

        return search(self, query)

    def metadata(
        self, *, study: str, series: str | None = None, instance: str | None = None,
        base: str = "/dicom-web",
    ) -> bytes:  # fmt: skip
        """A DICOM JSON array of whole data sets without pixels; BulkDataURIs begin with ``base``.

        Serialised once per series and kept.
        """
        from somascope.archive.manifest import metadata

        return metadata(self, study=study, series=series, instance=instance, base=base)

    def changes(self, after: int = 0, limit: int = 1000) -> list[Change]:
        """Events after number ``after``, oldest first, from all processes on this archive."""
        t = schema.change
        query = select(t).where(t.c.seq > after).order_by(t.c.seq).limit(limit)
        with self.database.reading() as c:
            return [
                Change(
                    r["seq"], _KINDS[r["kind"]], r["study"], r["series"], r["instance"],
                    datetime.fromtimestamp(r["time"], UTC),
                )
                for r in c.execute(query).mappings()
            ]  # fmt: skip

    def quarantine(self, limit: int = 1000) -> list[Quarantined]:
        """Objects that were kept apart, newest first."""
        t = schema.quarantine
        with self.database.reading() as c:
            return [
                Quarantined(
                    r["uid"], r["study"], r["series"], r["reason"], r["origin"],
                    self.files.quarantined(bytes(r["name"])),
                    datetime.fromtimestamp(r["time"], UTC),
                )
                for r in c.execute(select(t).order_by(t.c.k.desc()).limit(limit)).mappings()
            ]  # fmt: skip

    def stats(self) -> Stats:
        """Totals; counts the rows, so it is for a status page and not for every request."""
        tables = schema.patient, _t, _s, _i
        with self.database.reading() as c:
            counts = [c.execute(select(func.count()).select_from(t)).scalar_one() for t in tables]
            size = c.execute(select(func.coalesce(func.sum(_i.c.size), 0))).scalar_one()
            apart = c.execute(select(func.count()).select_from(schema.quarantine)).scalar_one()
            last = c.execute(select(func.coalesce(func.max(schema.change.c.seq), 0))).scalar_one()
        patients, studies, series, instances = counts
        return Stats(patients, studies, series, instances, int(size), apart, last)

    # ---------------------------------------------------------------- keeping

    def import_paths(
        self, paths: Iterable[Path | str], *, progress: Progress = QUIET
    ) -> ImportReport:
        """Take in folders, files, ZIP archives and DICOMDIRs; see `somascope.archive.importing`."""
        from somascope.archive.importing import import_paths

        return import_paths(self, [Path(p) for p in paths], progress=progress)

    def rebuild(self, progress: Progress = QUIET) -> int:
        """Make the index anew from the files; the number of instances in it."""
        from somascope.archive.upkeep import rebuild

        return rebuild(self, progress=progress)

    def verify(self, progress: Progress = QUIET) -> Verification:
        """Read everything and compare with the digests; what differs is no longer served."""
        from somascope.archive.upkeep import verify

        return verify(self, progress=progress)

    def _recover(self) -> None:
        for session, names in self.files.abandoned():
            for name in names:
                self.adopt(name)
            self.files.forget(session)

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
            file.seek(found.dataset_offset)
            while piece := file.read(CHUNK):
                sha.update(piece)
        offset = found.dataset_offset
        return self._index(
            _arrival(found, name, sha.digest(), found.size, offset=offset, origin="recovered"), None
        )


def _require(found: Header) -> None:
    """An instance needs its four UIDs (PS3.3 C.12.1, C.7.2.1, C.7.3.1)."""
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
