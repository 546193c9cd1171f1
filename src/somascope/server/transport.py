"""One system call per answer instead of two."""

from __future__ import annotations

import asyncio
from typing import Any

SMALL = 16 << 10
"""Writes up to this many bytes wait for what follows in the same turn of the event loop."""


class Joined:
    """A transport that sends an answer's head together with its body.

    uvicorn writes both apart, and uvloop sends each write at once: two system calls, and two times
    that the client wakes up, which for small answers is most of their cost.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | bytearray | memoryview = b""
        self._flush_soon: asyncio.Handle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, with what is held; hold a small first piece until the end of this turn."""
        if not self._held:
            if len(data) > SMALL:
                self._transport.write(data)
            elif data:
                self._held = data
                self._flush_soon = self._loop.call_soon(self._flush)
            return
        held = self._take()
        if len(data) <= SMALL:
            self._transport.write(b"".join((held, data)))
        else:
            self._transport.writelines((held, data))

    def close(self) -> None:
        """Send what is held, then close."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether it is closed or being closed."""
        return self._transport.is_closing()

    def _take(self) -> bytes | bytearray | memoryview:
        held, self._held = self._held, b""
        if self._flush_soon is not None:
            self._flush_soon.cancel()
            self._flush_soon = None
        return held

    def _flush(self) -> None:
        if held := self._take():
            self._transport.write(held)
