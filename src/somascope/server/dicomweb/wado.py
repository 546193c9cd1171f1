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
    JSON,
    Answer,
    Stream,
    empty,
    etag,
    json_answer,
    not_modified,
)

DICOM = "application/dicom"


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
        return await self._door.decoded(transcode.explicit_file, instance.path)


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
    """One binary value, or all pixel data of an instance, by its BulkDataURI."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        where = request.path_params
        instance = await self._door.instance(where["study"], where["series"], where["instance"])
        data = await self._door.decoded(transcode.bulk, instance.path, where["path"])
        octets = "application/octet-stream"
        for choice in accepted(request.headers, request.query_params):
            if not choice.covers(octets):
                continue
            if not choice.multipart or choice.media == "*/*":
                return Answer(data, octets)
            boundary = multipart.new_boundary()
            head = multipart.part_head(boundary, octets, location=str(request.url), first=True)
            return Answer(
                b"".join((head, data, multipart.end(boundary))),
                f'multipart/related; type="{octets}"; boundary={boundary}',
            )
        raise HTTPException(406, f"bulk data is given as {octets}, in parts or alone")
