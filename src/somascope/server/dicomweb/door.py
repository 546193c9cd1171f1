"""What every DICOMweb endpoint needs: the archive, the threads, and where instances lie."""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request

from somascope.archive import Archive, FrameRange, Instance
from somascope.core.errors import CorruptFile, NotFound, UnsupportedFormat
from somascope.server.decode import Decoders
from somascope.server.dicomweb.picture import Options
from somascope.server.security import is_loopback
from somascope.server.settings import Settings

P = ParamSpec("P")
K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

_UID = re.compile(r"[0-9A-Za-z._-]{1,64}")
STORING = 8
"""Received parts held at one time, of all requests: with `multipart.SPOOL` the memory for them."""
KNOWN_INSTANCES = 50_000
KNOWN_FRAMES = 200_000
KNOWN_SECONDS = 60.0


def check_uid(text: str) -> str:
    """``text`` if it can be a UID, else HTTP 400 (letters do occur in old files)."""
    if not _UID.fullmatch(text):
        raise HTTPException(400, f"{text[:70]!r} is no UID: digits and dots, 64 at most")
    return text


def base_url(request: Request) -> str:
    """The service's own address as this client sees it, without a slash at its end.

    Some clients leave the port out of their Host header; on the loopback, where no other server
    stands between, it is put back.
    """
    scope = request.scope
    host = request.headers.get("host", "localhost")
    server = scope.get("server")
    if server and server[1] and not host.rpartition("]")[2].rpartition(":")[1]:
        usual = 443 if scope["scheme"] == "https" else 80
        if server[1] != usual and is_loopback(host):
            host = f"{host}:{server[1]}"
    return f"{scope['scheme']}://{host}{scope.get('root_path', '')}"


class Recent(Generic[K, V]):
    """The most recently used values, up to a total weight."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._weight = 0
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, or ``None``."""
        found = self._items.get(key)
        if found is None:
            return None
        self._items.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, *, weight: int = 1) -> None:
        """Keep ``value``; forget the least recently used ones beyond the limit."""
        if weight > self._most:
            return
        old = self._items.pop(key, None)
        self._weight += weight - (old[1] if old else 0)
        self._items[key] = (value, weight)
        while self._weight > self._most:
            _, (_, gone) = self._items.popitem(last=False)
            self._weight -= gone


@dataclass
class Door:
    """One archive's DICOMweb service.

    Instances are never changed or moved once stored, so what was found once stays true, save that
    the archive may find one damaged: what is known here is forgotten every `KNOWN_SECONDS`.
    """

    archive: Archive
    settings: Settings
    threads: Executor
    decoders: Decoders
    local: bool = False
    """Whether a look-up in the index needs no network: it may then be made in the event loop."""

    def __post_init__(self) -> None:
        self._forget()
        self.local = self.archive.url.startswith("sqlite")
        self.storing = asyncio.Semaphore(STORING)
        self.pictures: Recent[tuple[str, ...], bytes] = Recent(self.settings.thumbnail_cache_bytes)

    def _forget(self) -> None:
        self._instances: Recent[tuple[str, str, str], Instance] = Recent(KNOWN_INSTANCES)
        self._frames: Recent[tuple[str, int], FrameRange] = Recent(KNOWN_FRAMES)
        self._asked: set[str] = set()
        self._known_until = time.monotonic() + KNOWN_SECONDS

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function`` without holding up other requests."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, partial(function, *args, **kwargs))

    async def decoded(self, task: str, *arguments: Any) -> bytes:
        """A task of `decode.tasks` on what others sent, in a process that may crash.

        An instance is kept as it was sent, even where its sender spoilt the pixels. That is no
        fault of the server (HTTP 500, `CorruptFile`): it cannot be given in this form (406).
        """
        try:
            return await self.decoders.ask(task, *arguments)
        except CorruptFile as error:
            raise UnsupportedFormat(f"cannot be decoded: {error}") from error

    async def picture(self, path: Path, number: int, options: Options) -> bytes:
        """Frame ``number`` (from 1) of a stored instance as a JPEG or PNG file."""
        return await self.decoded("render", str(path), number, options.to_json())

    async def instance(self, study: str, series: str, sop: str) -> Instance:
        """The instance at this place; `NotFound` where it is not."""
        if time.monotonic() > self._known_until:
            self._forget()
        key = (study, series, sop)
        found = self._instances.get(key)
        if found is None:
            listed = await self.in_thread(
                self.archive.locate,
                study=check_uid(study),
                series=check_uid(series),
                instance=check_uid(sop),
            )
            if not listed:
                raise NotFound(f"no instance {sop} in series {series} of study {study}")
            found = listed[0]
            if series not in self._asked:
                # Who asks for one instance of a series will ask for the others.
                self._asked.add(series)
                listed = await self.in_thread(self.archive.locate, study=study, series=series)
            for instance in listed:
                self._instances.put((study, series, instance.sop_uid), instance)
        if found.damaged:
            raise CorruptFile(f"instance {sop} is damaged on disk; restore it from a copy")
        return found

    async def instances(
        self, study: str, series: str | None = None, sop: str | None = None
    ) -> list[Instance]:
        """All instances of a study, a series, or one; `NotFound` where there is none."""
        if series is not None and sop is not None:
            return [await self.instance(study, series, sop)]
        listed = await self.in_thread(
            self.archive.locate,
            study=check_uid(study),
            series=None if series is None else check_uid(series),
        )
        if not listed:
            where = f"study {study}" if series is None else f"series {series} of study {study}"
            raise NotFound(f"no {where}")
        return [_whole(instance) for instance in listed]

    async def frame(self, sop: str, number: int) -> FrameRange:
        """Where frame ``number`` (from 1) lies."""
        key = (sop, number)
        found = self._frames.get(key)
        if found is None:
            if self.local:
                found = self.archive.frame(sop, number)
            else:
                found = await self.in_thread(self.archive.frame, sop, number)
            self._frames.put(key, found)
        return found


def _whole(instance: Instance) -> Instance:
    if instance.damaged:
        raise CorruptFile(f"instance {instance.sop_uid} is damaged on disk; restore it from a copy")
    return instance
