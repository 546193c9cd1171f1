"""A WebSocket of JSON messages, with what one page may say bounded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from fastapi import WebSocket, WebSocketDisconnect

from somascope.core.errors import ParameterError, SomascopeError

MOST_MESSAGE = 64 << 10
"""Characters of one message."""
MESSAGES = 250.0
"""Per second, for long; a browser sends two per frame."""


class Pace:
    """A bucket of messages that fills with time."""

    def __init__(self, rate: float) -> None:
        self._rate = self._left = rate
        self._then = time.monotonic()

    def spend(self) -> bool:
        """Take one; false where there is none left."""
        now = time.monotonic()
        self._left = min(self._rate, self._left + (now - self._then) * self._rate)
        self._then = now
        self._left -= 1
        return self._left >= 0


class Ending(Protocol):
    """What a page began."""

    async def end(self) -> None:
        """Stop it and free what it holds."""
        ...


S = TypeVar("S", bound=Ending)


class Held(Generic[S]):
    """The one session of a page, and the task that sends what the session says."""

    def __init__(self) -> None:
        self.session: S | None = None
        self._sender: asyncio.Task[None] | None = None

    def begin(self, session: S, send: Callable[[S], Coroutine[Any, Any, None]]) -> None:
        """Hold this session; the last one must have ended."""
        self.session = session
        self._sender = asyncio.create_task(self._until_gone(send(session)))

    async def end(self) -> None:
        """End the session, if there is one."""
        session, self.session = self.session, None
        if self._sender is not None:
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._sender
            self._sender = None
        if session is not None:
            await session.end()

    @staticmethod
    async def _until_gone(sending: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await sending


async def pong(socket: WebSocket, message: dict[str, Any]) -> None:
    """Answer a ping with the server's clock, seconds since the epoch."""
    if "ping" in message:
        await tell(socket, {"kind": "pong", "ping": message["ping"], "now": time.time()})


async def listen(
    socket: WebSocket, obey: Callable[[dict[str, Any]], Awaitable[None]], *, silence: float
) -> None:
    """Obey messages until the page goes, says nothing for ``silence`` seconds, or too much.

    What is wrong with a message is told (``problem``), and the line stays.
    """
    pace = Pace(MESSAGES)
    try:
        while True:
            try:
                text = await asyncio.wait_for(socket.receive_text(), silence)
            except TimeoutError:
                await close(socket, 1001, "nothing was heard from the page")
                return
            except KeyError:  # a binary message
                await close(socket, 1003, "messages are JSON text")
                return
            if len(text) > MOST_MESSAGE or not pace.spend():
                await close(socket, 1008, "too much at once")
                return
            try:
                message = json.loads(text)
                if not isinstance(message, dict):
                    raise ParameterError("a message is a JSON object")
                await obey(message)
            except SomascopeError as error:
                await tell(socket, {"kind": "problem", "message": str(error)})
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
                shown = f"the message cannot be read: {type(error).__name__}"
                await tell(socket, {"kind": "problem", "message": shown})
    except (WebSocketDisconnect, RuntimeError):  # it closed while we wrote
        return


async def tell(socket: WebSocket, said: dict[str, Any]) -> None:
    """Send JSON."""
    await socket.send_text(json.dumps(said))


async def close(socket: WebSocket, code: int, reason: str) -> None:
    """Say why, and close."""
    with contextlib.suppress(RuntimeError):
        await tell(socket, {"kind": "end", "message": reason})
        await socket.close(code, reason)
