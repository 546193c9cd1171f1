"""Answers sent with as few copies and messages as there can be."""

from __future__ import annotations

import gzip
import hashlib
import ipaddress
import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

JSON = "application/dicom+json"
IMMUTABLE = "private, max-age=3600, immutable"
"""For what a UID names for ever: frames and their pictures, in this user's browser only."""
GZIP_FROM = 4096


class Answer:
    """A whole body in one piece, ``bytes`` or ``bytearray``."""

    def __init__(
        self,
        body: bytes | bytearray,
        content_type: str,
        *,
        status: int = 200,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.body = body
        self.status = status
        self.headers = [
            (b"content-type", content_type.encode("latin-1")),
            (b"content-length", str(len(body)).encode()),
            *((name.encode(), value.encode("latin-1")) for name, value in headers),
        ]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it (ASGI)."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Stream:
    """A body of known length that is made piece by piece, no faster than the client reads."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes | bytearray],
        content_type: str,
        *,
        length: int | None,
        status: int = 200,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.pieces = pieces
        self.status = status
        self.headers = [
            (b"content-type", content_type.encode("latin-1")),
            *((name.encode(), value.encode("latin-1")) for name, value in headers),
        ]
        if length is not None:
            self.headers.append((b"content-length", str(length).encode()))

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it (ASGI)."""
        head = scope["method"] == "HEAD"
        # What fails at once must still be able to say so with a status of its own.
        first = None if head else await anext(self.pieces, None)
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        if first is not None:
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for piece in self.pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def empty(status: int, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """An answer without a body."""
    answer = Answer(b"", "text/plain", status=status, headers=headers)
    if status in (204, 304):
        answer.headers = answer.headers[2:]
    return answer


def dump(value: Any) -> bytes:
    """JSON text as it goes out: compact UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def json_answer(
    request: Request,
    body: bytes,
    *,
    media: str = JSON,
    status: int = 200,
    headers: Sequence[tuple[str, str]] = (),
) -> Answer:
    """JSON, compressed where it saves time: for clients on other machines that take gzip."""
    if (
        len(body) >= GZIP_FROM
        and "gzip" in request.headers.get("accept-encoding", "")
        and not _here(request)
    ):
        headers = [*headers, ("content-encoding", "gzip"), ("vary", "accept-encoding")]
        body = gzip.compress(body, compresslevel=3)
    return Answer(body, media, status=status, headers=headers)


def _here(request: Request) -> bool:
    try:
        return request.client is None or ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def etag(body: bytes) -> str:
    """A strong validator of ``body``."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def byte_range(request: Request, total: int) -> tuple[int, int] | None:
    """First byte and number of bytes that a ``Range`` header asks for of ``total`` (RFC 9110 14).

    ``None`` where the whole is to be sent: no header, several ranges, or one that is no range.
    Raises HTTP 416 where the range begins behind the end.
    """
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if match is None or "if-range" in request.headers or request.method == "HEAD":
        return None
    first, last = match[1], match[2]
    if not first:
        if not last:
            return None
        length = min(int(last), total)
        start = total - length
    else:
        start = int(first)
        if last and int(last) < start:
            return None
        length = min(int(last) + 1 if last else total, total) - start
    if length <= 0:
        raise HTTPException(
            416, f"the value has {total} bytes", {"content-range": f"bytes */{total}"}
        )
    return start, length


_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})", re.ASCII)


def not_modified(request: Request, tag: str) -> bool:
    """Whether the client has this version already (``If-None-Match``)."""
    given = request.headers.get("if-none-match", "")
    return tag in (t.strip().removeprefix("W/") for t in given.split(",")) or given.strip() == "*"
