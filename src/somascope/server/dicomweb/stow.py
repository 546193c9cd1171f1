"""STOW-RS, storing instances (PS3.18 10.5): each part is stored as it arrives."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from somascope.archive.records import OutOfSpace, Stored
from somascope.core.errors import (
    Conflict,
    CorruptFile,
    ReadError,
    SomascopeError,
    UnsupportedFormat,
)
from somascope.server.dicomweb.assemble import (
    JSON_TYPES,
    MOST_BYTES,
    MOST_METADATA,
    MOST_PARTS,
    assemble,
    location,
    named,
    objects,
)
from somascope.server.dicomweb.door import Door, base_url, check_uid
from somascope.server.dicomweb.multipart import Body, Part, boundary_of, parts
from somascope.server.dicomweb.negotiation import accepted, require
from somascope.server.dicomweb.responses import JSON, Answer, dump

# Failure Reason (0008,1197), PS3.18 table I.2-2 and PS3.4 B.2.3.
PROCESSING_FAILURE = 0x0110
CONFLICT = 0x0111
CLASS_NOT_SUPPORTED = 0x0122
OUT_OF_RESOURCES = 0xA700
OTHER_STUDY = 0xA900
CANNOT_UNDERSTAND = 0xC000
_LOG = logging.getLogger("somascope.server.dicomweb")
_TYPE = re.compile(r';\s*type\s*=\s*(?:"([^"]*)"|([^\s;]+))', re.IGNORECASE)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})


@dataclass(frozen=True)
class Outcome:
    """What became of one part."""

    sop_class: str = ""
    sop_uid: str = ""
    study: str = ""
    series: str = ""
    failure: int = 0
    reason: str = ""


@dataclass
class _Tally:
    """Outcomes in the order of the parts."""

    outcomes: dict[int, Outcome] = field(default_factory=dict[int, Outcome])

    def report(self, base: str, study: str | None) -> tuple[int, dict[str, Any]]:
        """HTTP status and the STOW-RS response (PS3.18 table I.2-1)."""
        stored: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        unknown: list[dict[str, Any]] = []
        studies: dict[str, None] = {} if study is None else {study: None}
        for _, one in sorted(self.outcomes.items()):
            item: dict[str, Any] = {}
            if one.sop_class:
                item["00081150"] = {"vr": "UI", "Value": [one.sop_class]}
            if one.sop_uid:
                item["00081155"] = {"vr": "UI", "Value": [one.sop_uid]}
            if one.failure:
                item["00081197"] = {"vr": "US", "Value": [one.failure]}
                if one.reason:
                    item["00000902"] = {"vr": "LO", "Value": [one.reason]}
                (failed if one.sop_uid else unknown).append(item)
            else:
                url = f"{base}/studies/{one.study}/series/{one.series}/instances/{one.sop_uid}"
                item["00081190"] = {"vr": "UR", "Value": [url]}
                studies.setdefault(one.study)
                stored.append(item)
        body: dict[str, Any] = {}
        if len(studies) == 1:
            url = f"{base}/studies/{next(iter(studies))}"
            body["00081190"] = {"vr": "UR", "Value": [url]}
        for tag, items in (("00081198", failed), ("00081199", stored), ("0008119A", unknown)):
            if items:
                body[tag] = {"vr": "SQ", "Value": items}
        if not stored:
            return 409, body
        return (202 if failed or unknown else 200), body


class Store:
    """``POST /studies`` and ``POST /studies/{study}``."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        media = require(accepted(request.headers, request.query_params), [JSON, "application/json"])
        study = request.path_params.get("study")
        if study is not None:
            check_uid(study)
        tally = _Tally()
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._receive(request, study, tally, tasks)
        except* HTTPException as group:
            raise group.exceptions[0] from None
        except* ClientDisconnect:
            raise HTTPException(400, "the client left before the end of its request") from None
        if not tally.outcomes:
            raise HTTPException(400, "the request holds no instance")
        status, body = tally.report(base_url(request), study)
        return Answer(dump(body), media, status=status)

    async def _receive(
        self, request: Request, study: str | None, tally: _Tally, tasks: asyncio.TaskGroup
    ) -> None:
        if self._is_metadata(request):
            await self._assemble(request, study, tally)
            return
        slots = self._door.storing

        async def keep(number: int, part: Part) -> None:
            try:
                tally.outcomes[number] = await self._door.in_thread(self._store, part, study)
            finally:
                slots.release()

        number = 0
        async for part in self._parts(request):
            await slots.acquire()
            number += 1
            tasks.create_task(keep(number, part))

    def _is_metadata(self, request: Request) -> bool:
        """Whether it is DICOM JSON with bulk data; HTTP 415 for XML, which is not read here."""
        content_type = request.headers.get("content-type", "")
        match = _TYPE.search(content_type)
        inner = (match[1] or match[2] or "").lower() if match else ""
        if inner in ("application/dicom+xml", "application/xml") or "xml" in content_type[:60]:
            raise HTTPException(
                415,
                "metadata as XML is not taken; send application/dicom+json with bulk data, or "
                "application/dicom",
            )
        return content_type.lower().startswith("multipart/related") and inner in JSON_TYPES

    async def _assemble(self, request: Request, study: str | None, tally: _Tally) -> None:
        """Metadata and bulk data: all parts are needed before the first instance is whole."""
        settings = self._door.settings
        with ExitStack() as stack:
            listed: list[Part] = []
            bulk: dict[str, Part] = {}
            total = 0
            async for part in parts(
                request.stream(),
                boundary_of(request.headers.get("content-type", "")),
                folder=self._folder,
                part_bytes=min(settings.part_bytes, MOST_BYTES),
                most=min(settings.parts, MOST_PARTS),
            ):
                stack.enter_context(part)
                total += len(part.data)
                if total > MOST_BYTES:
                    raise HTTPException(
                        413, f"more than {MOST_BYTES} bytes; send them as application/dicom"
                    )
                if part.content_type in JSON_TYPES:
                    if len(part.data) > MOST_METADATA:
                        raise HTTPException(413, f"more than {MOST_METADATA} bytes of metadata")
                    listed.append(part)
                else:
                    bulk[location(part)] = part
            async with self._door.storing:
                found = [
                    one for p in listed for one in await self._door.in_thread(self._objects, p)
                ]
                for number, one in enumerate(found, 1):
                    tally.outcomes[number] = await self._door.in_thread(
                        self._join, one, bulk, study
                    )

    def _objects(self, part: Part) -> list[dict[str, Any]]:
        try:
            return objects(part.data if isinstance(part.data, bytearray) else bytes(part.data))
        except CorruptFile as error:
            raise HTTPException(400, str(error)) from error

    def _join(self, found: dict[str, Any], bulk: dict[str, Part], study: str | None) -> Outcome:
        names = Outcome(
            named(found, "00080016"), named(found, "00080018"), named(found, "0020000D"),
            named(found, "0020000E"),
        )  # fmt: skip
        try:
            if study is not None and names.study != study:
                return _failed(names, OTHER_STUDY, "is of another study")
            made = assemble(found, bulk)
            stored = self._door.archive.store_dataset(
                made.dataset, sop_class=made.sop_class, sop_uid=made.sop_uid,
                transfer_syntax=made.transfer_syntax, origin="STOW-RS",
            )  # fmt: skip
        except Exception as error:
            return _failed(names, _reason(error), str(error))
        return _outcome(stored)

    def _parts(self, request: Request) -> AsyncIterator[Part]:
        content_type = request.headers.get("content-type", "")
        media = content_type.partition(";")[0].strip().lower()
        if media == "application/dicom":
            return self._single(request)
        if media != "multipart/related":
            raise HTTPException(
                415,
                f"Content-Type {media[:60]!r}; send multipart/related with parts of type "
                "application/dicom (or application/dicom+json and bulk data), or one instance as "
                "application/dicom",
            )
        settings = self._door.settings
        return parts(
            request.stream(),
            boundary_of(content_type),
            folder=self._folder,
            part_bytes=settings.part_bytes,
            most=settings.parts,
        )

    async def _single(self, request: Request) -> AsyncIterator[Part]:
        """One instance as the whole body: the same rules, without boundaries."""
        body = Body(self._folder, self._door.settings.part_bytes)
        async for chunk in request.stream():
            body.add(chunk)
        yield body.part({"content-type": "application/dicom"})

    @property
    def _folder(self) -> Path:
        return Path(self._door.archive.root)

    def _store(self, part: Part, study: str | None) -> Outcome:
        with part:
            if part.content_type not in ("application/dicom", ""):
                return Outcome(
                    failure=CANNOT_UNDERSTAND, reason=f"a part is {part.content_type[:40]}"
                )
            named = Outcome()
            try:
                with memoryview(part.data) as view:
                    if study is not None:
                        named = _name(view)
                        if named.study != study:
                            return _failed(named, OTHER_STUDY, "is of another study")
                    stored = self._door.archive.store(view, origin="STOW-RS")
            except Exception as error:
                if not named.sop_uid:
                    named = _name_if_possible(part)
                return _failed(named, _reason(error), str(error))
        return _outcome(stored)


def _outcome(stored: Stored) -> Outcome:
    outcome = Outcome(stored.sop_class, stored.sop_uid, stored.study, stored.series)
    if stored.outcome == "conflict":
        return _failed(outcome, CONFLICT, stored.reason or "is stored with other content")
    return outcome


def _failed(named: Outcome, failure: int, reason: str) -> Outcome:
    """A refused part. The answer has room for 64 characters, the log for all."""
    _LOG.warning("STOW-RS of %r refused: %.500r", named.sop_uid, reason)
    reason = reason.removeprefix(f"instance {named.sop_uid}: ").removeprefix("the instance: ")
    return Outcome(named.sop_class, named.sop_uid, named.study, named.series, failure, reason[:64])


def _reason(error: Exception) -> int:
    if isinstance(error, Conflict):
        return CONFLICT
    if isinstance(error, OutOfSpace):
        return OUT_OF_RESOURCES
    if isinstance(error, UnsupportedFormat):
        return CLASS_NOT_SUPPORTED if "class" in str(error).lower() else CANNOT_UNDERSTAND
    if isinstance(error, (CorruptFile, ReadError, SomascopeError)):
        return CANNOT_UNDERSTAND
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _FULL):
        return OUT_OF_RESOURCES
    return PROCESSING_FAILURE


def _name(view: memoryview) -> Outcome:
    from somascope.io.dicom.header import scan

    header = scan(view)
    return Outcome(header.sop_class, header.sop_uid, header.study, header.series)


def _name_if_possible(part: Part) -> Outcome:
    try:
        with memoryview(part.data) as view:
            return _name(view)
    except Exception:
        return Outcome()
