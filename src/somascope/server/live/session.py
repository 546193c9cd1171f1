"""`Session`: one viewer's live view, between its process and its WebSocket."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from somascope.server.live.process import Process

MODULE = "somascope.server.live.worker"
IN_FLIGHT = 2
"""Frames between capture and the browser's screen."""
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Play:
    """What a viewer asked to see."""

    source: str
    size: int
    rate: float
    chain: Sequence[Any]
    paths: Sequence[Path] = ()


class Session:
    """Frames of one process to one sender, the newest first; never more than `IN_FLIGHT`."""

    def __init__(self, play: Play) -> None:
        self._news = asyncio.Event()
        self._newest: bytes | None = None
        self._texts: list[dict[str, Any]] = []
        self._saving: asyncio.Future[tuple[dict[str, Any], bytes]] | None = None
        self.overtaken = 0
        self.ended = False
        first = {
            "source": play.source, "size": play.size, "rate": play.rate,
            "chain": list(play.chain), "paths": [str(p) for p in play.paths],
        }  # fmt: skip
        self.process = Process(MODULE, first, self._arrived)
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
