"""``/api/preview``: slices of results while sliders move; ``/api/chains``: chains with names."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from somascope.archive import Archive
from somascope.core.errors import NotFound, ParameterError
from somascope.process import chain
from somascope.server.api.errors import Route
from somascope.server.preview.presets import Presets
from somascope.server.preview.session import Session
from somascope.server.sockets import Held, close, listen, pong

MOST_VIEWS = 4
"""At one time; each has up to two processes."""
SILENCE = 90.0
"""Seconds after which a page that says nothing is taken to be gone."""


class ChainBody(BaseModel):
    """A chain that is to be kept."""

    model_config = ConfigDict(extra="forbid")

    steps: list[dict[str, Any]] = Field(
        max_length=chain.MOST_STEPS,
        description="{operation, params, on} in their order; on: false keeps a step switched off",
    )


def preview_router(
    archive: Archive, *, most: int = MOST_VIEWS, silence: float = SILENCE
) -> APIRouter:
    """The preview interface; mount it at ``/api``. ``most`` pages at one time."""
    router = APIRouter(route_class=Route)
    presets = Presets(archive.root)
    views: set[_View] = set()

    @router.get("/chains", tags=["processing"])
    def chains() -> dict[str, Any]:
        """Operations that a chain may hold, and the chains that were kept."""
        return {
            "operations": chain.names(),
            "most_steps": chain.MOST_STEPS,
            "chains": presets.all(),
        }

    @router.put("/chains/{name}", tags=["processing"])
    def keep(name: str, body: ChainBody) -> dict[str, Any]:
        """Keep a chain under a name."""
        return presets.put(name, body.steps)

    @router.delete("/chains/{name}", tags=["processing"], status_code=204)
    def forget(name: str) -> None:
        """Forget a chain."""
        presets.delete(name)

    @router.websocket("/preview")
    async def preview(socket: WebSocket) -> None:
        """Questions in JSON; slices are binary: length, JSON, values."""
        await socket.accept()
        if len(views) >= most:
            await close(socket, 1013, f"{most} pages process already; close one of them")
            return
        view = _View(socket, archive)
        views.add(view)
        try:
            await listen(socket, view.obey, silence=silence)
        finally:
            await view.stop()
            views.discard(view)

    return router


class _View:
    """One browser's page."""

    def __init__(self, socket: WebSocket, archive: Archive) -> None:
        self._socket = socket
        self._archive = archive
        self._held: Held[Session] = Held()

    async def obey(self, message: dict[str, Any]) -> None:
        await pong(self._socket, message)
        if "open" in message:
            await self._open(message["open"])
        session = self._held.session
        if session is None or session.ended:
            if {"ask", "histogram", "volume"} & message.keys():
                raise ParameterError("open a series first")
            return
        session.obey(message)

    async def _open(self, asked: Any) -> None:
        series = asked.get("series") if isinstance(asked, dict) else None
        if not isinstance(series, str) or not series:
            raise ParameterError("open needs the UID of a series")
        await self.stop()
        found = await run_in_threadpool(lambda: self._archive.locate(series=series))
        if not found:
            raise NotFound(f"no series {series[:64]!r} in the archive")
        self._held.begin(Session([i.path for i in found]), self._send)

    async def _send(self, session: Session) -> None:
        while True:
            for message in await session.next():
                if isinstance(message, bytes):
                    await self._socket.send_bytes(message)
                else:
                    await self._socket.send_text(message)

    async def stop(self) -> None:
        """End what was begun for this page."""
        await self._held.end()
