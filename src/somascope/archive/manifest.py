"""Whole metadata of a series, serialised once: what WADO-RS ``/metadata`` returns in one read.

One file per series: a first line of JSON (version, and for every instance its UID, offset and
length), then the instances' JSON objects parted by commas. It is a cache of what the instances
say, made after the acknowledgement, on first demand or by `warm`; when instances have arrived
since, only those are read.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from somascope.archive import schema
from somascope.core.errors import NotFound
from somascope.io.dicom import header

if TYPE_CHECKING:
    from somascope.archive.archive import Archive
    from somascope.archive.records import Instance, Level

_LOG = logging.getLogger("somascope.archive")
VERSION = 1
BASE = "\x00base\x00"
_MARK = json.dumps(BASE)[1:-1].encode()
MOST_CACHED = 64 << 20
_p, _t, _s, _i = schema.patient, schema.study, schema.series, schema.instance


@dataclass(frozen=True)
class Manifest:
    """Serialised objects of a series, in the order of its instances."""

    places: dict[str, tuple[int, int]]
    body: bytes
    _rendered: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes], compare=False)

    def array(self, base: bytes) -> bytes:
        """All instances as a JSON array, bulk data below ``base``; the last one made is kept."""
        found = self._rendered.get(base)
        if found is None:
            found = b"[" + self.body.replace(_MARK, base) + b"]"
            self._rendered.clear()
            self._rendered[base] = found
        return found

    def object(self, uid: str) -> bytes:
        """One instance, its base not yet put in."""
        at, length = self.places[uid]
        return self.body[at : at + length]


class Manifests:
    """Manifests in memory, newest use last; at most `MOST_CACHED` bytes."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Manifest] = OrderedDict()
        self._bytes = 0
        self._guard = threading.Lock()
        self.building: dict[str, threading.Lock] = {}

    def get(self, series: str, count: int) -> Manifest | None:
        """The manifest of a series of ``count`` instances."""
        with self._guard:
            found = self._held.get(series)
            if found is None or len(found.places) != count:
                return None
            self._held.move_to_end(series)
            return found

    def put(self, series: str, manifest: Manifest) -> None:
        """Keep it, and forget the least used."""
        with self._guard:
            old = self._held.pop(series, None)
            self._bytes += len(manifest.body) - (len(old.body) if old else 0)
            self._held[series] = manifest
            while self._bytes > MOST_CACHED and len(self._held) > 1:
                self._bytes -= len(self._held.popitem(last=False)[1].body)

    def lock(self, series: str) -> threading.Lock:
        """One builder per series."""
        with self._guard:
            if len(self.building) > 4096:
                self.building.clear()
            return self.building.setdefault(series, threading.Lock())


def metadata(
    archive: Archive, *, study: str, series: str | None, instance: str | None, base: str
) -> bytes:
    """See `Archive.metadata`."""
    query = (
        select(_s.c.uid, _s.c.instance_count, _t.c.uid.label("study"))
        .join(_t, _t.c.k == _s.c.study_k)
        .where(_t.c.uid == study)
        .order_by(_s.c.number, _s.c.k)
    )
    if series is not None:
        query = query.where(_s.c.uid == series)
    with archive.database.reading() as c:
        if instance is not None and series is None:
            found = c.execute(select(_i.c.series_k).where(_i.c.uid == instance)).scalar()
            query = query.where(_s.c.k == (-1 if found is None else found))
        rows = c.execute(query).all()
    if not rows:
        raise NotFound(f"no study {study}" + (f" with series {series}" if series else ""))
    uri = json.dumps(base.rstrip("/"))[1:-1].encode()
    manifests = [manifest(archive, r.study, r.uid, r.instance_count) for r in rows]
    if instance is not None:
        for m in manifests:
            if instance in m.places:
                return b"[" + m.object(instance).replace(_MARK, uri) + b"]"
        raise NotFound(f"no instance {instance} in study {study}")
    if len(manifests) == 1:
        return manifests[0].array(uri)
    return b"[" + b",".join(memoryview(m.array(uri))[1:-1] for m in manifests) + b"]"


def one(archive: Archive, level: Level, k: int) -> dict[str, Any]:
    """The full attributes of a row's first instance, for ``includefield``."""
    query = (
        select(_s.c.uid, _s.c.instance_count, _t.c.uid.label("study"), _i.c.uid.label("i"))
        .select_from(_i)
        .join(_s, _s.c.k == _i.c.series_k)
        .join(_t, _t.c.k == _s.c.study_k)
    )
    column = {"PATIENT": _t.c.patient_k, "STUDY": _t.c.k, "SERIES": _s.c.k, "INSTANCE": _i.c.k}
    with archive.database.reading() as c:
        row = c.execute(query.where(column[level] == k).order_by(_i.c.k).limit(1)).first()
    if row is None:
        return {}
    found = archive.manifests.get(row.uid, row.instance_count)
    if found is None and level != "INSTANCE":  # one of many series: not worth all its instances
        (instance,) = archive.locate(instance=row.i)
        return json.loads(_text(instance).replace(_MARK, b""))
    found = found or manifest(archive, row.study, row.uid, row.instance_count)
    return json.loads(found.object(row.i).replace(_MARK, b""))


def manifest(archive: Archive, study: str, series: str, count: int) -> Manifest:
    """The manifest of a series, from memory, from its file, or made now."""
    held = archive.manifests.get(series, count)
    if held is not None:
        return held
    with archive.manifests.lock(series):
        held = archive.manifests.get(series, count)
        if held is not None:
            return held
        path = _path(archive.root, series)
        old = _read(path)
        if old is None or len(old.places) != count:
            old = _build(archive, study, series, old)
            _write(path, old)
        archive.manifests.put(series, old)
        return old


def warm(archive: Archive, series: str) -> None:
    """Make the manifest of a series now, for whoever asks for it next."""
    with archive.database.reading() as c:
        row = c.execute(
            select(_s.c.instance_count, _t.c.uid)
            .join(_t, _t.c.k == _s.c.study_k)
            .where(_s.c.uid == series)
        ).first()
    if row is not None:
        manifest(archive, row[1], series, row[0])


def _build(archive: Archive, study: str, series: str, old: Manifest | None) -> Manifest:
    places: dict[str, tuple[int, int]] = {}
    pieces: list[bytes] = []
    at = 0
    for instance in archive.locate(study=study, series=series):
        uid = instance.sop_uid
        if old is not None and uid in old.places:
            text = old.object(uid)
        else:
            text = _text(instance)
        places[uid] = (at, len(text))
        pieces.append(text)
        at += len(text) + 1
    return Manifest(places, b",".join(pieces))


def _text(instance: Instance) -> bytes:
    """Its whole data set but the pixels, and what only the archive knows."""
    i = instance
    uri = f"{BASE}/studies/{i.study}/series/{i.series}/instances/{i.sop_uid}/bulkdata"
    try:
        found = header.metadata(i.path, bulk_uri=uri)
    except Exception as error:  # one odd instance must not hide the others of its series
        _LOG.warning("no metadata of %s: %r", i.sop_uid, error)
        found = {"00080018": {"vr": "UI", "Value": [i.sop_uid]}}
    found["00083002"] = {"vr": "UI", "Value": [i.transfer_syntax]}
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


def _path(root: Path, series: str) -> Path:
    import hashlib

    digits = hashlib.sha256(series.encode()).hexdigest()[:40]
    return root / "manifests" / digits[:2] / f"{digits}.json"


def _read(path: Path) -> Manifest | None:
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        found = json.loads(head)
        if found["version"] != VERSION or found["bytes"] != len(body):
            return None
        return Manifest({u: (a, n) for u, a, n in found["places"]}, body)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, manifest: Manifest) -> None:
    """A cache: replaced as a whole, needs no sync, and may fail on a full disk."""
    head = {
        "version": VERSION,
        "bytes": len(manifest.body),
        "places": [(u, a, n) for u, (a, n) in manifest.places.items()],
    }
    temporary = path.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(json.dumps(head).encode() + b"\n" + manifest.body)
        temporary.replace(path)
