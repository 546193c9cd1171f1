"""`supervise`: one command, several processes (HTTP, DICOM acceptors, job workers), one archive."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from somascope.core.errors import Refused, SomascopeError

if TYPE_CHECKING:
    from somascope.archive import Archive

QUIET = 2.0
"""Seconds without a new instance after which a series is taken to be complete."""
RESTARTS = 5
"""How often one part may die within a minute before the whole server stops."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to serve, and where."""

    root: Path
    host: str = "127.0.0.1"
    port: int = 8742
    aet: str = "SOMASCOPE"
    dicom_port: int = 11112
    workers: int = 1
    executor: str = "local"
    acceptors: int = 2
    busy_port_moves: bool = False
    """Take a free port, and say so, when the wanted one is taken."""


def _watch_parent() -> None:
    """End this process when the supervisor is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="watch-parent", daemon=True).start()


def _http(plan: Plan) -> None:
    _watch_parent()
    from somascope.server.app import serve_http

    serve_http(plan.root, host=plan.host, port=plan.port)


def _dimse(plan: Plan) -> None:
    _watch_parent()
    from somascope.server.dimse import serve_dimse

    serve_dimse(
        plan.root, host=plan.host, port=plan.dicom_port, aet=plan.aet, processes=plan.acceptors
    )


def _jobs(plan: Plan) -> None:
    _watch_parent()
    from somascope.archive import Archive
    from somascope.jobs.executor import executor

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    archive = Archive.open(plan.root)
    try:
        with executor(plan.executor, plan.root, workers=plan.workers):
            _keep_warm(archive, stop)
    finally:
        archive.close()


def _keep_warm(archive: Archive, stop: threading.Event) -> None:
    """Serialise the metadata of each series once nothing has come for it for `QUIET` seconds."""
    last = archive.stats().last_change
    waiting: dict[str, float] = {}
    while not stop.wait(0.5):
        for change in archive.changes(after=last):
            last = change.seq
            if change.series:
                waiting[change.series] = time.monotonic()
        for series in [s for s, since in waiting.items() if time.monotonic() - since > QUIET]:
            del waiting[series]
            try:
                archive.warm(series)
            except SomascopeError:  # what cannot be read says so to whoever asks for it
                continue


def free_port(host: str, wanted: int, *, what: str, may_move: bool) -> int:
    """``wanted`` if it can be bound, else another free one, or `Refused`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError as error:
            if not may_move or wanted == 0:
                raise Refused(
                    f"{what} port {wanted} on {host} cannot be used ({error.strerror}); stop the "
                    "program that has it, or choose another with --port / --dicom-port"
                ) from error
        else:
            return int(probe.getsockname()[1])
    return free_port(host, 0, what=what, may_move=False)


def _wait_until_open(host: str, port: int, process: BaseProcess, *, seconds: float) -> None:
    until = time.monotonic() + seconds
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    while time.monotonic() < until:
        if not process.is_alive():
            raise SomascopeError("the HTTP server ended while starting; its message stands above")
        try:
            with socket.create_connection((address, port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise SomascopeError(f"the HTTP server did not open port {port} within {seconds:g} s")


def supervise(
    plan: Plan, *, say: Callable[[str], Any], ready: Callable[[str], None] | None = None
) -> None:
    """Run all parts until SIGINT or SIGTERM; restart a part that dies.

    ``ready(url)`` is called in a thread of its own once the HTTP port answers.
    """
    from somascope.archive import Archive
    from somascope.server.security import check_bind

    Archive.open(plan.root).close()  # migrate once, before anybody else opens it
    check_bind(plan.root, plan.host)
    port = free_port(plan.host, plan.port, what="HTTP", may_move=plan.busy_port_moves)
    dicom = free_port(plan.host, plan.dicom_port, what="DICOM", may_move=plan.busy_port_moves)
    plan = replace(plan, port=port, dicom_port=dicom)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)

    context = multiprocessing.get_context("spawn")
    targets: dict[str, Callable[[Plan], None]] = {"http": _http}
    if plan.acceptors:
        targets["dicom"] = _dimse
    if plan.workers:
        targets["jobs"] = _jobs

    def start(name: str) -> BaseProcess:
        process = context.Process(target=targets[name], args=(plan,), name=f"somascope-{name}")
        process.start()
        return process

    parts = {name: start(name) for name in targets}
    deaths: list[float] = []
    try:
        _wait_until_open(plan.host, plan.port, parts["http"], seconds=60)
        shown = f"[{plan.host}]" if ":" in plan.host else plan.host
        url = f"http://{shown}:{plan.port}/"
        say(f"viewer   {url}")
        say(f"DICOMweb {url}dicom-web   API {url}docs")
        if plan.acceptors:
            say(f"DICOM    {plan.aet}@{shown}:{plan.dicom_port}")
        say("Not for clinical use.")
        if ready is not None:
            threading.Thread(target=ready, args=(url,), name="ready", daemon=True).start()
        while not stop.wait(0.5):
            for name, process in list(parts.items()):
                if process.is_alive():
                    continue
                now = time.monotonic()
                deaths = [t for t in deaths if now - t < 60] + [now]
                if len(deaths) > RESTARTS:
                    raise SomascopeError(f"the {name} part keeps dying; see its messages above")
                say(f"restarting {name} (it ended with {process.exitcode})")
                parts[name] = start(name)
    finally:
        for process in parts.values():
            process.terminate()
        for process in parts.values():
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()
