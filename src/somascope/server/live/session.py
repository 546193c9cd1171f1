"""`Session`: one viewer's live view, between its process and its WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from somascope.jobs.local import WAITING
from somascope.server.decode.pool import environment
from somascope.server.decode.tasks import HEAD

MODULE = "somascope.server.live.worker"
IN_FLIGHT = 2
"""Frames between capture and the browser's screen."""
MOST_TEXT = 1 << 20
MOST_DATA = 512 << 20
"""Bytes of one answer that are believed."""
_LENGTH = struct.Struct("<I")
_LOG = logging.getLogger("somascope.server.live")


@dataclass(frozen=True)
class Play:
    """What a viewer asked to see."""

    source: str
    size: int
    rate: float
    chain: Sequence[Any]
    paths: Sequence[Path] = ()


class Process:
    """The worker; what it says is handed to the event loop, commands are written at once."""

    def __init__(self, play: Play, told: Callable[[dict[str, Any], bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._told = told
        self._popen = subprocess.Popen(  # noqa: S603 (our own interpreter, a list)
            [sys.executable, "-P", "-m", MODULE],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**environment(), **WAITING},
        )  # fmt: skip
        self._first = {
            "source": play.source, "size": play.size, "rate": play.rate,
            "chain": list(play.chain), "paths": [str(p) for p in play.paths],
        }  # fmt: skip
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
            self._hand({"kind": "end", "message": "the live source ended; its message is in the "
                        "server's log"}, b"")  # fmt: skip

    def _hand(self, said: dict[str, Any], data: bytes) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._told, said, data)
        except RuntimeError:  # the loop is closed: the server has ended
            return False
        return True


def merged(waiting: dict[str, Any], command: Mapping[str, Any]) -> None:
    """Put a command into those that wait: credits add up, of all else the newest counts."""
    credit = waiting.get("credit", 0) + command.get("credit", 0)
    waiting.update(command)
    if credit:
        waiting["credit"] = credit


class Session:
    """Frames of one process to one sender, the newest first; never more than `IN_FLIGHT`."""

    def __init__(self, play: Play) -> None:
        self._news = asyncio.Event()
        self._newest: bytes | None = None
        self._texts: list[dict[str, Any]] = []
        self._saving: asyncio.Future[tuple[dict[str, Any], bytes]] | None = None
        self.overtaken = 0
        self.ended = False
        self.process = Process(play, self._arrived)
        self.process.say({"credit": IN_FLIGHT})

    def _arrived(self, said: dict[str, Any], data: bytes) -> None:
        kind = said.get("kind")
        if kind == "frame":
            if self._newest is not None:  # not sent yet: this one is newer
                self.overtaken += 1
                self.process.say({"credit": 1})
            said["sent"] = time.time()
            head = json.dumps(said).encode()
            head += b" " * (-(len(head) + _LENGTH.size) % 8)
            self._newest = _LENGTH.pack(len(head)) + head + data
        elif kind == "saved":
            if self._saving is not None and not self._saving.done():
                self._saving.set_result((said, data))
            return
        else:
            self.ended = self.ended or kind == "end"
            if len(self._texts) < 32:
                self._texts.append(said)
            if self.ended and self._saving is not None and not self._saving.done():
                self._saving.set_result(({"message": "the live source has ended"}, b""))
        self._news.set()

    async def next(self) -> tuple[list[dict[str, Any]], bytes | None]:
        """What is to be sent now: texts in their order, and the newest frame."""
        await self._news.wait()
        self._news.clear()
        texts, self._texts = self._texts, []
        frame, self._newest = self._newest, None
        return texts, frame

    def drawn(self) -> None:
        """The browser has drawn a frame: another one may be captured."""
        self.process.say({"credit": 1})

    async def save(
        self, count: int, attributes: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[bytes]]:
        """The last ``count`` frames as DICOM files, or what was wrong."""
        if self._saving is not None:
            return {"message": "the frames are being saved already"}, []
        self._saving = asyncio.get_running_loop().create_future()
        try:
            self.process.say({"save": count, "attributes": attributes})
            said, data = await asyncio.wait_for(self._saving, 60)
        except TimeoutError:
            return {"message": "saving took more than a minute; save fewer frames"}, []
        finally:
            self._saving = None
        files: list[bytes] = []
        at = 0
        for size in said.get("sizes", []):
            files.append(data[at : at + size])
            at += size
        return said, files

    async def end(self) -> None:
        """End the process."""
        await asyncio.to_thread(self.process.end)
