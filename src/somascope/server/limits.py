"""What one client may cost: bytes and seconds of a request's head and body, connections."""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from somascope.server.settings import Settings
from somascope.server.transport import Joined

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

SLOWEST = 256
"""Bytes per second that a body must bring on average, after its first `body_seconds`."""


def content_length(value: str) -> int:
    """The number in a Content-Length header; raises HTTP 400 where it is none."""
    if not value.isascii() or not value.isdigit() or len(value) > 18:
        raise HTTPException(400, f"Content-Length {value[:40]!r} is not a number")
    return int(value)


class BoundedBody:
    """An ASGI ``receive`` that ends a body which is too large (413) or too slow (408)."""

    def __init__(self, receive: Receive, *, limit: int, seconds: float) -> None:
        self._receive = receive
        self._limit = limit
        self._seconds = seconds
        self._got = 0
        self._done = False
        self._started = 0.0

    async def __call__(self) -> Message:
        """The next piece of the body (ASGI)."""
        if self._done:
            return await self._receive()
        now = asyncio.get_running_loop().time
        self._started = self._started or now()
        try:
            async with asyncio.timeout(self._seconds):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(
                408, f"the request body stopped for {self._seconds:g} s", {"connection": "close"}
            ) from None
        if message["type"] != "http.request":
            self._done = True
            return message
        self._got += len(message.get("body", b""))
        self._done = not message.get("more_body", False)
        if self._got > self._limit:
            raise HTTPException(413, too_large(self._limit), {"connection": "close"})
        took = now() - self._started
        if not self._done and took > self._seconds and self._got < SLOWEST * took:
            raise HTTPException(408, "the request body is too slow", {"connection": "close"})
        return message


def too_large(limit: int) -> str:
    """What a client is told whose body is over ``limit`` bytes."""
    return f"the request body is larger than the {limit} bytes allowed here"


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection with limits on its head, its idleness and its number.

    uvicorn bounds none of these with httptools: a socket that sends one byte and stops, a head
    without end, and a client that never reads its answer would each be kept for ever.
    """

    limits: Settings

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first request's head."""
        super().connection_made(cast("asyncio.Transport", Joined(transport, self.loop)))
        self._head_bytes = 0
        self._in_head = True
        self._heads = 0
        self._head_timer: TimerHandle | None = None
        self._stall_timer: TimerHandle | None = None
        if len(self.connections) > self.limits.max_connections:
            transport.abort()
            return
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop(head=True, stall=True)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head that is not complete yet."""
        if self._in_head and self._head_timer is None:
            self._wait_for_head()
        before = (self._in_head, self._heads)
        super().data_received(data)
        if before == (True, self._heads) and self._in_head:  # nothing but a part of one head
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.header_bytes:
                self._refuse(431)

    def on_headers_complete(self) -> None:
        """The head is here: what follows is the body's business."""
        self._in_head = False
        self._heads += 1
        self._stop(head=True)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next byte belongs to the next head."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client reads slower than we write: give it `body_seconds` to go on."""
        super().pause_writing()
        self._stall_timer = self.loop.call_later(self.limits.body_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        self._stop(stall=True)
        super().resume_writing()

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.header_seconds, self._refuse, 408)

    def _stop(self, *, head: bool = False, stall: bool = False) -> None:
        if head and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if stall and self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _refuse(self, status: int) -> None:
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(
                    STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
                )
            self.transport.close()


def protocol(settings: Settings) -> type[asyncio.Protocol]:
    """The connection class for these settings, as `uvicorn.Config` wants it."""
    return cast(
        "type[asyncio.Protocol]", type("Connection", (BoundedProtocol,), {"limits": settings})
    )
