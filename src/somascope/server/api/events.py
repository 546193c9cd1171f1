"""Live events: what changed in the archive and in the jobs, as Server-Sent Events.

The database is the bus: every process writes its changes there in the order of their numbers, and
this one looks there only while somebody listens. An event's id holds both numbers, so a browser
that reconnects with ``Last-Event-ID`` misses nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool

from somascope.archive import Archive
from somascope.core.errors import NotFound, ParameterError
from somascope.jobs import Jobs
from somascope.server.api.views import job_view

POLL = 0.25
"""Seconds between two looks."""

BEAT = 15.0
"""Seconds of silence after which a comment keeps the line open."""

BEHIND = 1000
"""A listener further back than this is told to load everything anew."""


@dataclass(frozen=True)
class Position:
    """Numbers of the last change and the last job event that were seen."""

    archive: int
    jobs: int

    def __str__(self) -> str:
        return f"{self.archive}-{self.jobs}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read an event id; `ParameterError` for anything else."""
        first, _, second = text.partition("-")
        if not (first.isdecimal() and second.isdecimal() and len(text) < 40):
            raise ParameterError(f"Last-Event-ID {text[:40]!r} is not one of this server's ids")
        return cls(int(first), int(second))


class Feed:
    """What happened, for any number of listeners in this process; one of them looks for all."""

    def __init__(self, archive: Archive, jobs: Jobs, *, poll: float = POLL) -> None:
        self._archive = archive
        self._jobs = jobs
        self._poll = poll
        self._listeners = 0
        self._end = Position(0, 0)
        self._changed = asyncio.Condition()
        self._watch: asyncio.Task[None] | None = None

    @property
    def looking(self) -> bool:
        """Whether the database is being watched."""
        return self._watch is not None and not self._watch.done()

    async def follow(
        self, start: Position | None = None, *, beat: float = BEAT
    ) -> AsyncIterator[str]:
        """Blocks of the stream from ``start`` (default: now), for ever."""
        self._listeners += 1
        try:
            position = start if start is not None else await run_in_threadpool(self._now)
            if not self.looking:
                self._end = position
                self._watch = asyncio.create_task(self._look())
            yield f"retry: 1000\nid: {position}\n: listening\n\n"
            spoken = time.monotonic()
            while True:
                position, blocks = await run_in_threadpool(self._since, position)
                for block in blocks:
                    yield block
                    spoken = time.monotonic()
                if not blocks and time.monotonic() - spoken > beat:
                    yield ": beat\n\n"
                    spoken = time.monotonic()
                if not blocks:
                    await self._wait(position, min(beat, 1.0))
        finally:
            self._listeners -= 1
            if not self._listeners and self._watch is not None:
                self._watch.cancel()
                self._watch = None

    async def _wait(self, position: Position, seconds: float) -> None:
        async with self._changed:
            if self._end != position:
                return
            try:
                await asyncio.wait_for(self._changed.wait(), seconds)
            except TimeoutError:
                return

    async def _look(self) -> None:
        """The one reader of the newest numbers; wakes the listeners."""
        while True:
            end = await run_in_threadpool(self._now)
            if end != self._end:
                async with self._changed:
                    self._end = end
                    self._changed.notify_all()
            await asyncio.sleep(self._poll)

    def _now(self) -> Position:
        return Position(last_change(self._archive), self._jobs.last_event())

    def _since(self, position: Position) -> tuple[Position, list[str]]:
        end = self._now()
        if end == position:
            return position, []
        behind = max(end.archive - position.archive, end.jobs - position.jobs)
        if behind > BEHIND or end.archive < position.archive or end.jobs < position.jobs:
            return end, [_block("resync", {"behind": behind}, end)]
        changes = self._archive.changes(after=position.archive, limit=BEHIND)
        events = self._jobs.events(position.jobs, limit=BEHIND)
        reached = Position(
            changes[-1].seq if changes else position.archive,
            events[-1].seq if events else position.jobs,
        )
        told: list[tuple[str, Mapping[str, Any]]] = []
        series: dict[tuple[str, str, str], dict[str, Any]] = {}
        for change in changes:  # one event per series, however many of its slices came
            key = (change.kind, change.study, change.series)
            entry = series.setdefault(key, {"count": 0})
            entry.update(
                kind=change.kind,
                study=change.study,
                series=change.series,
                instance=change.instance,
                time=change.time.isoformat(),
                count=entry["count"] + 1,
            )
        told += [("archive", entry) for entry in series.values()]
        for id_ in dict.fromkeys(e.job for e in events):
            try:
                told.append(("job", job_view(self._jobs.get(id_))))
            except NotFound:
                continue
        # Only the last block names the new position: a line cut in between repeats the others.
        blocks = [_block(kind, data, None) for kind, data in told]
        if blocks:
            blocks[-1] = _block(told[-1][0], told[-1][1], reached)
        return reached, blocks


def last_change(archive: Archive) -> int:
    """The number of the archive's newest change."""
    from sqlalchemy import func, select

    from somascope.archive.schema import change

    with archive.database.reading() as connection:
        return int(
            connection.execute(select(func.coalesce(func.max(change.c.seq), 0))).scalar_one()
        )


def _block(kind: str, data: Mapping[str, Any], position: Position | None) -> str:
    id_ = f"id: {position}\n" if position is not None else ""
    return f"event: {kind}\n{id_}data: {json.dumps(data)}\n\n"
