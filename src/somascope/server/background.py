"""`Background`: one long run at a time in a process of its own, told of in a file.

Where the run is, and how it ended, is in ``state.json`` of its folder, so that a server that was
started again still knows it. The process is ``python -m MODULE``, whose ``main`` is `worked`;
standard input brings it one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from somascope.core import Progress
from somascope.core.errors import Cancelled, Conflict, NotFound, SomascopeError
from somascope.io.atomic import replacing

STATE = "state.json"
LOG = "log.txt"
TAIL = 20_000
"""Bytes of the log's end that are looked at."""


class Background:
    """The one run of a kind in an archive.

    Parameters
    ----------
    folder
        The run's own, in the archive's folder; made with the first run.
    what
        What runs, for errors: ``training``.
    remedy
        How it is stopped, for errors.
    """

    def __init__(self, folder: Path, *, what: str, remedy: str) -> None:
        self._folder = folder
        self._what, self._remedy = what, remedy
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether a run of this server is going on."""
        return self._process is not None and self._process.poll() is None

    @property
    def known(self) -> bool:
        """Whether there has been a run, of this server or of an earlier one."""
        return bool(_read(self._folder))

    def begin(
        self, module: str, request: Mapping[str, Any], state: Mapping[str, Any], *,
        env: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Start ``python -m module``; ``state`` is what is told of the run beside its progress.

        ``env`` is its environment; default this process's.

        Raises
        ------
        Conflict
            A run is going on.
        """
        with self._lock:
            if self.running:
                raise Conflict(f"a {self._what} is running; stop it first ({self._remedy})")
            self._folder.mkdir(exist_ok=True)
            line = json.dumps({**request, "folder": str(self._folder)})
            _write(self._folder, {"status": "RUNNING", **state, "progress": 0.0,
                                  "started": time.time()})  # fmt: skip
            with (self._folder / LOG).open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603 (our own interpreter, a list)
                    [sys.executable, "-P", "-m", module], stdin=subprocess.PIPE, stdout=log,
                    stderr=log, start_new_session=os.name == "posix", env=env,
                )  # fmt: skip
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):  # it ended at once: `status` says so
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.close()
        return self.status()

    def stop(self) -> dict[str, Any]:
        """End the run.

        Raises
        ------
        NotFound
            None is running.
        """
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                raise NotFound(f"no {self._what} is running")
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            if process.poll() is None:
                process.kill()
                process.wait()
            state = _read(self._folder)
            _write(self._folder, {**state, "status": "CANCELED", "ended": time.time()})
        return self.status()

    def status(self) -> dict[str, Any]:
        """How the run stands, or how the last one ended.

        Raises
        ------
        NotFound
            There was none.
        """
        state = _read(self._folder)
        if not state:
            raise NotFound(f"no {self._what} was started here")
        if state.get("status") == "RUNNING" and not self.running:
            state = _read(self._folder)  # it may have ended just now
            if state.get("status") == "RUNNING":
                state |= {"status": "ERROR", "message": f"the {self._what} ended without a word"}
        lines: list[str] = []
        with suppress(OSError), (self._folder / LOG).open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - TAIL, 0))
            lines = log.read(TAIL).decode("utf-8", "replace").splitlines()[-50:]
        return {**state, "details": lines}


def worked(work: Callable[[Mapping[str, Any], Path, Progress], Mapping[str, Any]]) -> int:
    """The whole of a run's process: ``work(request, folder, progress)`` gives what is told at its
    end. The exit status; a run whose server has ended ends too.
    """
    request = json.loads(sys.stdin.buffer.readline())
    folder = Path(request["folder"])
    state = _read(folder)
    told, parent = 0.0, os.getppid()

    def report(fraction: float, message: str) -> None:
        nonlocal told
        if os.getppid() != parent:
            raise Cancelled("the server ended")
        if time.monotonic() - told > 1.0:
            told = time.monotonic()
            _write(folder, {**state, "progress": round(fraction, 4), "message": message})

    try:
        found = work(request, folder, Progress(report))
    except (SomascopeError, MemoryError, OSError) as error:
        _write(folder, {**state, "status": "ERROR", "message": str(error), "ended": time.time()})
        return 1
    _write(folder, {**state, "status": "DONE", "progress": 1.0, **found, "ended": time.time()})
    return 0


def _read(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / STATE).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(folder: Path, state: Mapping[str, Any]) -> None:
    with replacing(folder / STATE) as file:
        file.write(json.dumps(state).encode())
