"""`LocalExecutor`: worker processes on this machine, supervised by threads of one process."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from somascope.core import Job
from somascope.core.errors import ParameterError
from somascope.jobs.drive import GRACE, Place, drive
from somascope.jobs.leases import LEASE, Leases
from somascope.jobs.store import Jobs

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""Threads that wait for each other sleep: where more processes work than there are cores, threads
that spin at the end of each step keep those that they wait for from running."""

_LINE = 4000
"""Characters of a log line that are kept."""


class ChildProcess:
    """A `somascope.jobs.runner` process; begun when needed, begun again when it ended."""

    def __init__(self, root: Path, *, url: str | None = None) -> None:
        self._command = [sys.executable, "-m", "somascope.jobs.runner"]
        self._archive = {"open": str(root.absolute()), "url": url}
        self._process: subprocess.Popen[str] | None = None
        self._said: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._written: queue.SimpleQueue[str] = queue.SimpleQueue()

    def warm(self) -> None:
        """Start the process before the first job."""
        if self._process is not None:
            if self._process.poll() is None:
                return
            self._close(self._process)
        self._said = queue.SimpleQueue()
        self._written = queue.SimpleQueue()
        self._process = subprocess.Popen(  # noqa: S603 (our own interpreter, a list)
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**WAITING, **os.environ, "PYTHONUNBUFFERED": "1"},
        )
        for target in (_read_messages, _read_lines):
            threading.Thread(
                target=target, args=(self._process, self._said, self._written), daemon=True
            ).start()
        self._send(self._archive)  # by the pipe: an address may hold a password

    def start(self, job: Job) -> None:
        """Send the job to the process."""
        self.warm()
        self._send(
            {
                "run": {
                    "operation": job.operation,
                    "inputs": list(job.inputs),
                    "params": dict(job.params),
                }
            }
        )

    def poll(self, timeout: float) -> Sequence[Mapping[str, Any]]:
        """Messages, waiting up to ``timeout`` seconds for the first."""
        found: list[Mapping[str, Any]] = []
        try:
            found.append(self._said.get(timeout=timeout))
            while True:
                found.append(self._said.get_nowait())
        except queue.Empty:
            pass
        return found

    def lines(self) -> Sequence[str]:
        """Lines of standard error."""
        found: list[str] = []
        try:
            while True:
                found.append(self._written.get_nowait())
        except queue.Empty:
            return found

    def cancel(self) -> None:
        """Ask the operation to stop at its next progress report."""
        self._send({"cancel": True})

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is None:
            return
        self._process.kill()
        self._close(self._process)

    def close(self) -> None:
        """Let it end by itself, and see that it does."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=3)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
        self._close(self._process)

    def _close(self, process: subprocess.Popen[str]) -> None:
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):  # what was still to be written has no reader
                process.stdin.close()
        self._process = None

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:  # it is gone: its end is on its way as "died"
            pass


def _read_messages(
    process: subprocess.Popen[str],
    said: queue.SimpleQueue[Mapping[str, Any]],
    _written: queue.SimpleQueue[str],
) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            try:
                said.put(json.loads(line))
            except ValueError:
                _written.put(line[:_LINE].rstrip("\n"))
    code = process.wait()
    how = f"signal {-code}" if code < 0 else f"exit status {code}"
    said.put({"died": f"the worker process ended ({how})"})


def _read_lines(
    process: subprocess.Popen[str],
    _said: queue.SimpleQueue[Mapping[str, Any]],
    written: queue.SimpleQueue[str],
) -> None:
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            written.put(line[:_LINE].rstrip("\n"))


class LocalExecutor:
    """Runs an archive's jobs in ``workers`` child processes while the context is open.

    Parameters
    ----------
    root
        The archive's folder.
    workers
        How many jobs run at once.
    url
        The archive's database, where it is not in the folder.
    lease, grace
        Seconds a job belongs to a silent worker; seconds from a cancel to the end by force.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        workers: int = 1,
        url: str | None = None,
        lease: float = LEASE,
        grace: float = GRACE,
    ) -> None:
        if workers < 1:
            raise ParameterError(f"workers is {workers}; give at least 1")
        self.root = Path(root)
        self.workers = workers
        self._url = url
        self._lease = lease
        self._grace = grace
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> Self:
        """Begin to take jobs."""
        from somascope.archive import Archive

        self._stop.clear()
        archive = Archive.open(self.root, url=self._url)
        self._archive = archive
        leases = Leases(archive.database)
        for i in range(self.workers):
            name = f"{socket.gethostname()}:{os.getpid()}:{i}:{uuid.uuid4().hex[:8]}"
            thread = threading.Thread(
                target=self._serve, args=(leases, name), name=f"jobs-{i}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        return self

    def stop(self) -> None:
        """End; a running job goes back to the queue and begins again with the next worker."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._threads:
            self._archive.close()
        self._threads = []

    def place(self) -> Place:
        """A new place to run in."""
        child = ChildProcess(self.root, url=self._url)
        child.warm()
        return child

    def _serve(self, leases: Leases, name: str) -> None:
        while not self._stop.is_set():
            try:
                drive(
                    leases,
                    self.place(),
                    worker=name,
                    stop=self._stop,
                    lease=self._lease,
                    grace=self._grace,
                )
            except Exception as error:
                # The database may be away for a moment; the lease sees to the job.
                sys.stderr.write(f"job worker {name}: {type(error).__name__}: {error}\n")
                self._stop.wait(2.0)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def wait(jobs: Jobs, ids: Sequence[str], *, timeout: float = 60.0) -> list[Job]:
    """The jobs once all of them have ended; `TimeoutError` where they do not in time."""
    until = time.monotonic() + timeout
    while True:
        found = [jobs.get(i) for i in ids]
        if all(j.state in ("done", "failed", "cancelled") for j in found):
            return found
        if time.monotonic() > until:
            states = ", ".join(f"{j.id[:8]} {j.state} ({j.message})" for j in found)
            raise TimeoutError(f"jobs still at work after {timeout:g} s: {states}")
        time.sleep(0.05)
