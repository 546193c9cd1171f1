"""`Archive`: instances on disk, an index in SQL, and the promise that what it acknowledged stays.

The order of every store: file synced, folder synced, index committed, then the answer.
"""

from __future__ import annotations

import os
import threading
import time
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from sqlalchemy import RowMapping, func, select

from somascope.archive import schema
from somascope.archive.database import Database
from somascope.archive.files import Files
from somascope.archive.intake import Intake
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
from somascope.core.errors import CorruptFile, NotFound, ParameterError
from somascope.core.progress import QUIET, Progress
from somascope.io.dicom.header import Frames

Buffer = bytes | bytearray | memoryview
RESERVE = 64 << 20
CHUNK = 1 << 20
FRAMES_SECONDS = 5.0
"""How long the place of frames is remembered: a scrub in another process may find damage."""
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


class _Place(NamedTuple):
    """What is remembered of an instance for its frames, and until when (`time.monotonic`)."""

    instance: Instance
    frames: Frames | None
    until: float


def _configured(root: Path) -> str:
    """The URL that the environment or the archive's ``somascope.toml`` names, or ``""``."""
    named = os.environ.get("SOMASCOPE_DATABASE", "")
    file = root / "somascope.toml"
    if named or not file.is_file():
        return named
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8")).get("archive", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{file} is not valid TOML: {error}") from error
    url = found.get("database", "") if isinstance(found, dict) else None
    if not isinstance(url, str) or (isinstance(found, dict) and set(found) - {"database"}):
        raise ParameterError(f"{file}: [archive] may hold `database`, a URL as text, and no more")
    return url


class Archive:
    """Instances on disk and their index. Open it with `Archive.open`; safe in threads."""

    def __init__(self, root: Path, database: Database, files: Files) -> None:
        self.root, self.database, self.files = root, database, files
        self._intake = Intake(database, files, self.forget_cached)
        self.statements = self._intake.statements
        self._frames: dict[str, _Place] = {}
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
            SQLAlchemy URL of the index. Default: the variable ``SOMASCOPE_DATABASE``, else
            ``database`` under ``[archive]`` in ``root/somascope.toml``, else a SQLite file in
            ``root``. Processes on the same archive give the same one.
        reserve
            Bytes of disk to keep free; a store that would go below is refused with `OutOfSpace`.

        What a killed process left behind is taken up or removed before this returns.
        """
        root = Path(root).absolute()
        if not root.is_dir():  # patients' names are in it: not for everybody on the machine
            root.parent.mkdir(parents=True, exist_ok=True)
            root.mkdir(mode=0o750, exist_ok=True)
        files = Files(root, reserve=reserve)
        database = Database(url or _configured(root) or f"sqlite:///{root / 'index.sqlite'}")
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
        return self._intake.part10(part10, origin=origin)

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
        return self._intake.dataset(
            dataset, sop_class=sop_class, sop_uid=sop_uid, transfer_syntax=transfer_syntax,
            origin=origin,
        )  # fmt: skip

    def store_file(self, path: Path, *, origin: str = "") -> Stored:
        """As `store`, from a file of any size, read in pieces."""
        return self._intake.file(path, origin=origin)

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
        now = time.monotonic()
        with self._frames_guard:
            known = self._frames.get(sop_uid)
        if known is None or known.until < now:
            with self.database.reading() as c:
                row = c.execute(_INSTANCES.where(_i.c.uid == sop_uid)).mappings().first()
            if row is None:
                raise NotFound(f"no instance {sop_uid} in the archive")
            frames = Frames.unpack(bytes(row["frames"])) if row["frames"] else None
            known = _Place(self._instance(row), frames, now + FRAMES_SECONDS)
            with self._frames_guard:
                if len(self._frames) >= 4096:
                    self._frames.clear()
                self._frames[sop_uid] = known
        if known.instance.damaged:
            raise CorruptFile(f"instance {sop_uid} is damaged on disk; restore it from a copy")
        if known.frames is None:
            raise NotFound(f"instance {sop_uid} has no frames")
        return FrameRange.of(known.instance, known.frames, number)

    def warm(self, series: str) -> None:
        """Serialise the metadata of a series now, so that the next who asks need not wait.

        For a worker to call once a series has been quiet for some seconds.
        """
        from somascope.archive.manifest import warm

        warm(self, series)

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
        """Make the index anew from the files while stores go on; how many instances it holds.

        Readers see the old index until the new one takes its place; writers wait for that moment.
        """
        from somascope.archive.rebuilding import rebuild

        return rebuild(self, progress=progress)

    def verify(self, progress: Progress = QUIET) -> Verification:
        """Read everything and compare with the digests; what differs is no longer served."""
        from somascope.archive.upkeep import verify

        return verify(self, progress=progress)

    def _recover(self) -> None:
        for session, names in self.files.abandoned():
            for name in names:
                self._intake.adopt(name)
            self.files.forget(session)
