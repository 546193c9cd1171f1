"""`Process`: a worker of one viewer; what it says is handed to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from somascope.jobs.local import WAITING
from somascope.server.decode.pool import environment, widen
from somascope.server.decode.tasks import HEAD
from somascope.server.live.pipe import merged

MOST_TEXT = 1 << 20
MOST_DATA = 512 << 20
"""Bytes of one answer that are believed."""


class Process:
    """A process that runs ``module``: commands are written at once, answers handed to the loop.

    Parameters
    ----------
    module
        What it runs; it reads lines of JSON and answers with `HEAD`, JSON and data.
    first
        Its first line.
    told
        Hears, in the event loop, every answer; ``{"kind": "end", "message": ...}`` is the last.
    """

    def __init__(
        self,
        module: str,
        first: Mapping[str, Any],
        told: Callable[[dict[str, Any], bytes], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._told = told
        self._popen = subprocess.Popen(  # noqa: S603 (our own interpreter, a list)
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**environment(), **WAITING},
        )  # fmt: skip
        assert self._popen.stdout is not None
        widen(self._popen.stdout)
        self._first = first
        self._commands: dict[str, Any] = {}
        self._news = threading.Condition()
        self._over = False
        self._threads = [
            threading.Thread(target=run, name=f"live-{name}", daemon=True)
            for name, run in (("read", self._read), ("write", self._write))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    def say(self, command: Mapping[str, Any]) -> None:
        """Give a command; of those that wait, the last of each kind stays. Never waits itself."""
        with self._news:
            merged(self._commands, command)
            self._news.notify()

    def mute(self) -> None:
        """Hear no more of it: its end is meant."""
        self._told = _nothing

    def _write(self) -> None:
        assert self._popen.stdin is not None
        line: Mapping[str, Any] = self._first
        with contextlib.suppress(OSError, ValueError):
            while True:
                self._popen.stdin.write(json.dumps(line).encode() + b"\n")
                self._popen.stdin.flush()
                with self._news:
                    while not self._commands and not self._over:
                        self._news.wait()
                    if self._over:
                        return
                    line, self._commands = self._commands, {}

    def end(self) -> None:
        """Kill it and take back what it had; blocks for a moment."""
        with self._news:
            self._over = True
            self._news.notify()
        self._popen.kill()
        self._popen.wait()
        for thread in self._threads:
            thread.join(5)
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        out = self._popen.stdout
        said: dict[str, Any] = {}
        while True:
            head = out.read(HEAD.size)
            if len(head) != HEAD.size:
                break
            text, data = HEAD.unpack(head)
            if text > MOST_TEXT or data > MOST_DATA:
                break
            body = out.read(text)
            content = out.read(data)
            if len(content) != data:
                break
            try:
                said = json.loads(body)
            except ValueError:
                break
            if not self._hand(said, content):
                return
        if said.get("kind") != "end":
            self._hand({"kind": "end", "message": "the process ended; its message is in the "
                        "server's log"}, b"")  # fmt: skip

    def _hear(self, said: dict[str, Any], data: bytes) -> None:
        self._told(said, data)  # looked up in the loop: it may have been muted meanwhile

    def _hand(self, said: dict[str, Any], data: bytes) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._hear, said, data)
        except RuntimeError:  # the loop is closed: the server has ended
            return False
        return True


def _nothing(_said: dict[str, Any], _data: bytes) -> None:
    pass
