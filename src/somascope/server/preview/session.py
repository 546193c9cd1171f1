"""`Session`: one viewer's previews, between its processes and its WebSocket."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from somascope.server.live.process import Process

MODULE = "somascope.server.preview.worker"
PATIENCE = 1.5
"""Seconds that an overtaken volume has to stop before its process is killed."""
_LENGTH = struct.Struct("<I")


class Session:
    """A process for slices, and one for volumes from the first that is asked for.

    What waits to be sent is at most one message of each kind: the newest.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = [str(p) for p in paths]
        self._news = asyncio.Event()
        self._out: dict[str, tuple[dict[str, Any], bytes]] = {}
        self._slices = self._process("slice")
        self._volumes: Process | None = None
        self._busy = False
        self._started = False
        self._wanted: Mapping[str, Any] = {}
        self._killing: asyncio.TimerHandle | None = None
        self._ends: set[asyncio.Task[None]] = set()
        self.ended = False

    def _process(self, role: str) -> Process:
        def told(said: dict[str, Any], data: bytes) -> None:
            self._told(role, said, data)

        return Process(MODULE, {"role": role, "paths": self._paths}, told)

    def _told(self, role: str, said: dict[str, Any], data: bytes) -> None:
        kind = str(said.get("kind"))
        if role == "volume":
            if kind == "end":
                self._volumes, self._busy, self._started = None, False, False
                said = {"kind": "volume", "state": "failed", "message": said.get("message", "")}
                kind = "volume"
            elif kind == "ready":
                self._started = True
                return
            elif kind == "volume":
                self._busy = said.get("state") == "running"
                if not self._busy:
                    self._spare()
            elif kind == "problem" and said.get("of") == "volume":
                self._busy = False
                said = {"kind": "volume", "state": "failed", "message": said.get("message", "")}
                kind = "volume"
        elif kind == "end":
            self.ended = True
        said["sent"] = time.time()
        self._out[f"{kind} {said.get('of', '')}"] = (said, data)
        self._news.set()

    def obey(self, message: Mapping[str, Any]) -> None:
        """Pass a question on to the process that can answer it."""
        for kind in ("ask", "histogram"):
            asked = message.get(kind)
            if not isinstance(asked, dict):
                continue
            if asked.get("whole") or (asked.get("scope") == "volume" and asked.get("chain")):
                if self._volumes is None or self._busy:
                    self._told(
                        "slice",
                        {"kind": "problem", "of": kind, "id": asked.get("id", 0), "stale": True,
                         "message": "the volume is not computed yet"}, b"",
                    )  # fmt: skip
                else:
                    self._volumes.say({kind: asked})
            else:
                self._slices.say({kind: asked})
        wanted = message.get("volume")
        if isinstance(wanted, dict):
            if self._volumes is None:
                self._volumes = self._process("volume")
            self._volumes.say({"volume": wanted})
            self._wanted = wanted
            if self._busy and self._started and self._killing is None:
                loop = asyncio.get_running_loop()
                self._killing = loop.call_later(PATIENCE, self._replace)
            self._busy = True

    def _spare(self) -> None:
        if self._killing is not None:
            self._killing.cancel()
            self._killing = None

    def _replace(self) -> None:
        """The process for volumes does not hear: a new one takes the newest question."""
        self._killing = None
        old, self._volumes = self._volumes, None
        if old is not None:
            old.mute()
            task = asyncio.create_task(asyncio.to_thread(old.end))
            self._ends.add(task)
            task.add_done_callback(self._ends.discard)
        self._volumes = self._process("volume")
        self._volumes.say({"volume": self._wanted})
        self._busy, self._started = True, False

    async def next(self) -> list[bytes | str]:
        """What is to be sent now."""
        await self._news.wait()
        self._news.clear()
        out, self._out = self._out, {}
        return [_message(said, data) for said, data in out.values()]

    async def end(self) -> None:
        """End the processes."""
        self._spare()
        for process in (self._slices, self._volumes):
            if process is not None:
                process.mute()
                await asyncio.to_thread(process.end)
        await asyncio.gather(*self._ends, return_exceptions=True)


def _message(said: dict[str, Any], data: bytes) -> bytes | str:
    if not data:
        return json.dumps(said)
    head = json.dumps(said).encode()
    head += b" " * (-(len(head) + _LENGTH.size) % 8)
    return _LENGTH.pack(len(head)) + head + data
