"""``/api/live``: what there is to see, and the WebSocket that shows it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.concurrency import run_in_threadpool

from somascope.archive import Archive
from somascope.core.errors import NotFound, ParameterError, SomascopeError
from somascope.server.live import chain
from somascope.server.live.session import Play, Session
from somascope.server.live.sources import SIZES, kinds
from somascope.server.sockets import Held, close, listen, pong, tell

MOST_VIEWS = 4
"""At one time; each has a process of its own."""
SILENCE = 60.0
"""Seconds after which a page that says nothing is taken to be gone."""


def live_router(archive: Archive, *, most: int = MOST_VIEWS, silence: float = SILENCE) -> APIRouter:
    """The live interface; mount it at ``/api``. ``most`` views at one time."""
    router = APIRouter()
    open_views: set[View] = set()

    @router.get("/live/sources", tags=["live"])
    def sources() -> dict[str, Any]:
        """Sources, sizes of frames, and the operations that may be run on every frame."""
        return {
            "sources": [asdict(k) for k in kinds()],
            "sizes": list(SIZES),
            "operations": chain.names(),
            "views": len(open_views),
            "most": most,
        }

    @router.websocket("/live")
    async def live(socket: WebSocket) -> None:
        """Messages in JSON; frames are binary: length, JSON, pixels."""
        await socket.accept()
        if len(open_views) >= most:
            await close(socket, 1013, f"{most} live views are open already; close one of them")
            return
        view = View(socket, archive, silence=silence)
        open_views.add(view)
        try:
            await view.run()
        finally:
            open_views.discard(view)

    return router


class View:
    """One browser's page."""

    def __init__(self, socket: WebSocket, archive: Archive, *, silence: float) -> None:
        self._socket = socket
        self._archive = archive
        self._silence = silence
        self._held: Held[Session] = Held()
        self._play: Play | None = None
        self._series = ""
        self._saver: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Answer messages until the page goes, or says too much."""
        try:
            await listen(self._socket, self._obey, silence=self._silence)
        finally:
            await self._held.end()
            if self._saver is not None:
                self._saver.cancel()

    async def _obey(self, message: dict[str, Any]) -> None:
        await pong(self._socket, message)
        if "start" in message:
            await self._start(message["start"])
        if message.get("stop"):
            await self._held.end()
            await self._tell({"kind": "stopped"})
        session = self._held.session
        if session is None:
            return
        if "drawn" in message:
            session.drawn()
        if "chain" in message:
            await run_in_threadpool(chain.parse, message["chain"])  # refused here, by name
            session.process.say({"chain": message["chain"]})
        for name in ("freeze", "rate", "limits"):
            if name in message:
                session.process.say({name: _checked(name, message[name])})
        if "save" in message:
            count = int(message["save"])
            if self._saver is not None and not self._saver.done():
                raise ParameterError("the frames are being saved already")
            self._saver = asyncio.create_task(self._save(count))

    async def _start(self, asked: Any) -> None:
        if not isinstance(asked, dict):
            raise ParameterError("start needs an object: source, size, rate, chain")
        await self._held.end()
        steps = asked.get("chain", [])
        await run_in_threadpool(chain.parse, steps)
        self._series = str(asked.get("series", "")) if asked.get("source") == "series" else ""
        paths = []
        if self._series:
            found = await run_in_threadpool(lambda: self._archive.locate(series=self._series))
            paths = [i.path for i in found]
            if not paths:
                raise NotFound(f"no series {self._series[:64]!r} in the archive")
        elif asked.get("source") == "series":
            raise ParameterError("say which series is to be played")
        if asked.get("source") not in {k.name for k in kinds()}:
            raise ParameterError(f"no source {str(asked.get('source'))[:40]!r}")
        size = int(asked.get("size", 512))
        if size not in SIZES:
            raise ParameterError(f"a size of {size}; choose {', '.join(map(str, SIZES))}")
        self._play = Play(
            str(asked["source"]), size, _checked("rate", asked.get("rate", 25.0)), steps, paths
        )
        self._held.begin(Session(self._play), self._send)

    async def _send(self, session: Session) -> None:
        while True:
            texts, frame = await session.next()
            for text in texts:
                await self._tell(text)
            if frame is not None:
                await self._socket.send_bytes(frame)
            if session.ended:
                return

    async def _save(self, count: int) -> None:
        session, play = self._held.session, self._play
        assert session is not None
        assert play is not None
        try:
            attributes = (
                _facts(play.source)
                if not self._series
                else {"SeriesDescription": "Live, processed"}
            )
            said, files = await session.save(min(max(count, 1), 512), attributes)
            if not files:
                raise ParameterError(str(said.get("message", "nothing was saved")))
            stored = [await run_in_threadpool(self._archive.store, f, origin="live") for f in files]
            await self._tell(
                {
                    "kind": "saved", "study": stored[0].study, "series": stored[0].series,
                    "frames": said.get("frames", 0), "outcome": stored[0].outcome,
                }
            )  # fmt: skip
        except SomascopeError as error:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await self._tell({"kind": "problem", "message": f"not saved: {error}"})
        except (WebSocketDisconnect, RuntimeError):
            return

    async def _tell(self, said: dict[str, Any]) -> None:
        await tell(self._socket, said)


def _checked(name: str, value: Any) -> Any:
    if name == "freeze":
        return bool(value)
    if name == "limits":
        if value is None:
            return None
        low, high = map(float, value)
        if not low < high:
            raise ParameterError(f"limits {low:g} and {high:g}; the first must be the lower one")
        return [low, high]
    rate = float(value)
    if not 1 <= rate <= 60:
        raise ParameterError(f"a rate of {rate:g} frames per second; give 1 to 60")
    return rate


def _facts(source: str) -> dict[str, Any]:
    """A study of today for what has no patient."""
    now = datetime.now(UTC).astimezone()
    date, clock = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    title = next(k.title for k in kinds() if k.name == source)
    return {
        "PatientName": f"Live^{title}", "PatientID": f"LIVE-{source.upper()}",
        "StudyDescription": f"Live {title.lower()}", "SeriesDescription": f"{title}, processed",
        "StudyDate": date, "StudyTime": clock, "SeriesDate": date, "SeriesTime": clock,
        "ContentDate": date, "ContentTime": clock, "AcquisitionDate": date,
        "AcquisitionTime": clock, "Manufacturer": "Somascope",
    }  # fmt: skip
