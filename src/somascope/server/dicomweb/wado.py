"""WADO-RS, retrieving instances and their metadata (PS3.18 10.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

from somascope.archive import Instance
from somascope.core.errors import NotFound
from somascope.server.dicomweb import multipart, transcode
from somascope.server.dicomweb.door import Door, base_url, check_uid
from somascope.server.dicomweb.files import pieces
from somascope.server.dicomweb.negotiation import EXPLICIT, Accepted, accepted, require
from somascope.server.dicomweb.responses import (
    IMMUTABLE,
    JSON,
    Answer,
    Stream,
    byte_range,
    empty,
    etag,
    json_answer,
    not_modified,
)

DICOM = "application/dicom"
OCTETS = "application/octet-stream"


@dataclass(frozen=True)
class _Form:
    """How instances go out: in parts or alone, as stored (``*``) or in one transfer syntax."""

    multipart: bool
    syntax: str


def choose(choices: Sequence[Accepted], instances: Sequence[Instance]) -> _Form:
    """The first choice of the client that all ``instances`` can be given in, else HTTP 406.

    Without a transfer syntax the standard's default is Explicit VR Little Endian (PS3.18
    8.7.3.5.2); a client that takes anything gets what is stored.
    """
    alone = len(instances) == 1
    for choice in choices:
        if not choice.covers(DICOM) or not (choice.multipart or alone):
            continue
        wanted = choice.transfer_syntax or ("*" if choice.inner == "*/*" else EXPLICIT)
        if wanted in ("*", EXPLICIT) or all(i.transfer_syntax == wanted for i in instances):
            return _Form(choice.multipart, wanted)
    raise HTTPException(
        406,
        'instances are given as multipart/related; type="application/dicom" (one alone also as '
        f"application/dicom), with transfer-syntax=* as stored, or in {EXPLICIT}",
    )


class Instances:
    """All instances of a study, a series, or one."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, request: Request) -> Answer | Stream:
        """Answer one request."""
        where = request.path_params
        found = await self._door.instances(
            where["study"], where.get("series"), where.get("instance")
        )
        form = choose(accepted(request.headers, request.query_params), found)
        base = base_url(request)
        stored = all(form.syntax in ("*", i.transfer_syntax) for i in found)
        if not form.multipart:
            if not stored:
                body = await self._explicit(found[0])
                return Answer(body, f"{DICOM}; transfer-syntax={EXPLICIT}")
            one = pieces(found[0].path, found[0].size, before=b"", threads=self._door.threads)
            kind = f"{DICOM}; transfer-syntax={found[0].transfer_syntax}"
            return Stream(one, kind, length=found[0].size)
        boundary = multipart.new_boundary()
        kind = f'multipart/related; type="{DICOM}"; boundary={boundary}'
        heads = [
            multipart.part_head(
                boundary,
                f"{DICOM}; transfer-syntax="
                f"{i.transfer_syntax if form.syntax == '*' else form.syntax}",
                location=f"{base}/studies/{i.study}/series/{i.series}/instances/{i.sop_uid}",
                first=n == 0,
            )
            for n, i in enumerate(found)
        ]
        tail = multipart.end(boundary)
        length = None
        if stored:
            length = sum(map(len, heads)) + sum(i.size for i in found) + len(tail)
        return Stream(self._parts(found, heads, tail, form.syntax), kind, length=length)

    async def _parts(
        self, found: Sequence[Instance], heads: Sequence[bytes], tail: bytes, syntax: str
    ) -> AsyncIterator[bytes | bytearray]:
        for instance, head in zip(found, heads, strict=True):
            if syntax in ("*", instance.transfer_syntax):
                async for piece in pieces(
                    instance.path, instance.size, before=head, threads=self._door.threads
                ):
                    yield piece
            else:
                yield head + await self._explicit(instance)
        yield tail

    async def _explicit(self, instance: Instance) -> bytes:
        return await self._door.decoded("explicit", str(instance.path))


class Metadata:
    """The attributes of instances as DICOM JSON, bulk data by reference."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        media = require(accepted(request.headers, request.query_params), [JSON, "application/json"])
        uids = {name: check_uid(uid) for name, uid in request.path_params.items()}
        body = await self._door.in_thread(self._read, uids, base_url(request))
        tag = etag(body)
        headers = [("etag", tag), ("cache-control", "private, no-cache")]
        if not_modified(request, tag):
            return empty(304, headers)
        return json_answer(request, body, media=media, headers=headers)

    def _read(self, uids: dict[str, str], base: str) -> bytes:
        body = self._door.archive.metadata(
            study=uids["study"],
            series=uids.get("series"),
            instance=uids.get("instance"),
            base=base,
        )
        if body == b"[]":
            raise NotFound(f"no instance at {'/'.join(uids.values())}")
        return body


class Bulk:
    """One value, or all pixel data of an instance, by its BulkDataURI.

    A value that lies in one piece in its file goes out as that piece of the file, of any size and
    by ``Range``; only compressed pixels, and values of a deflated data set, are made in memory.
    """

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, request: Request) -> Answer | Stream:
        """Answer one request."""
        where, door = request.path_params, self._door
        instance = await door.instance(where["study"], where["series"], where["instance"])
        parts = self._in_parts(request)
        place = await door.in_thread(transcode.place, instance.path, where["path"])
        data = b""
        if place is None:
            data = await door.decoded("bulk", str(instance.path), where["path"])
        total = len(data) if place is None else place.length
        kind = OCTETS
        head = tail = b""
        start, length, status = 0, total, 200
        headers = [("cache-control", IMMUTABLE)]
        if parts:
            boundary = multipart.new_boundary()
            head = multipart.part_head(boundary, OCTETS, location=str(request.url), first=True)
            tail = multipart.end(boundary)
            kind = f'multipart/related; type="{OCTETS}"; boundary={boundary}'
        else:
            headers.append(("accept-ranges", "bytes"))
            asked = byte_range(request, total)
            if asked is not None and (place is None or place.word == 1):
                start, length = asked
                status = 206
                headers.append(("content-range", f"bytes {start}-{start + length - 1}/{total}"))
        if place is None:
            body = b"".join((head, data[start : start + length], tail))
            return Answer(body, kind, status=status, headers=headers)
        return Stream(
            pieces(
                instance.path, length, before=head, after=tail, start=place.offset + start,
                word=place.word, threads=door.threads,
            ),
            kind,
            length=len(head) + length + len(tail),
            status=status,
            headers=headers,
        )  # fmt: skip

    def _in_parts(self, request: Request) -> bool:
        """Whether the client wants ``multipart/related``; HTTP 406 where it wants neither."""
        for choice in accepted(request.headers, request.query_params):
            if choice.covers(OCTETS):
                return choice.multipart and choice.media != "*/*"
        raise HTTPException(406, f"bulk data is given as {OCTETS}, in parts or alone")
