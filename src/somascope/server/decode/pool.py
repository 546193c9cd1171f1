"""`Decoders`: processes that decode for one server; one that dies is replaced, the others go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any

from somascope.core import errors
from somascope.core.errors import SomascopeError, UnsupportedFormat
from somascope.server.decode.tasks import HEAD

MODULE = "somascope.server.decode.worker"
START_SECONDS = 60.0
"""In which a new process must have imported what it needs."""
BAD_SECONDS = 120.0
"""How long a file that broke a decoder is not given to another one."""
MOST_BAD = 10_000
_TICK = 0.2
_LOG = logging.getLogger("somascope.server.decode")


class _Broken(Exception):
    """The process ended, or spoke nonsense."""


@dataclass(eq=False)
class _Process:
    """One decoder and its pipe; used by one thread at a time."""

    popen: subprocess.Popen[bytes]
    most: int
    """Bytes of an answer that are believed."""
    until: float = 0.0
    """When the watchdog ends it (`time.monotonic`); 0: never."""
    overdue: bool = False
    confined: bool = False
    ready: bool = False
    last: bool = False
    """It has said that it will end."""

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def ask(self, request: dict[str, Any], *, seconds: float) -> bytes:
        """Send a request and read its answer."""
        if not self.ready:
            self.until = time.monotonic() + START_SECONDS
            said, _ = self._read()
            self.ready, self.confined = True, bool(said.get("confined"))
        self.until = time.monotonic() + seconds
        try:
            self._write(json.dumps(request).encode() + b"\n")
            said, data = self._read()
        finally:
            self.until = 0.0
        self.last = bool(said.get("last"))
        if "error" in said:
            if "trace" in said:
                _LOG.error("a decoder failed at %r:\n%s", request, str(said["trace"]))
            raise _error(str(said["error"]), str(said.get("message", "")))
        return data

    def _write(self, line: bytes) -> None:
        assert self.popen.stdin is not None
        try:
            self.popen.stdin.write(line)
            self.popen.stdin.flush()
        except OSError as error:
            raise _Broken from error

    def _read(self) -> tuple[dict[str, Any], bytes]:
        text_bytes, data_bytes = HEAD.unpack(self._exactly(HEAD.size))
        if text_bytes > 1 << 16 or data_bytes > self.most:
            raise _Broken
        try:
            said = json.loads(self._exactly(text_bytes))
        except ValueError as error:
            raise _Broken from error
        return said, bytes(self._exactly(data_bytes))

    def _exactly(self, size: int) -> bytes | bytearray:
        assert self.popen.stdout is not None
        got = self.popen.stdout.read(size)
        if got is None or len(got) != size:
            raise _Broken
        return got

    def end(self) -> None:
        """Kill it, and give back its pipes."""
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Decoders:
    """At most ``workers`` decoder processes, begun when needed, each limited.

    Parameters
    ----------
    workers
        Processes, and requests that are worked on at one time; the others wait.
    seconds
        Of CPU, and of waiting, for one request; then its process is killed.
    memory
        Bytes that a process may take beyond what it needs to be there.
    module
        What they run; for tests.
    """

    def __init__(
        self, *, workers: int = 2, seconds: float = 30.0, memory: int = 4 << 30,
        module: str = MODULE,
    ) -> None:  # fmt: skip
        self._seconds, self._memory, self._module = seconds, memory, module
        self.threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._mine = threading.local()
        self._all: set[_Process] = set()
        self._guard = threading.Lock()
        self._bad: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._closed = threading.Event()
        self._watchdog: threading.Thread | None = None

    async def ask(self, task: str, *arguments: Any) -> bytes:
        """As `work`, without holding up the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, self._work, task, arguments)

    def work(self, task: str, *arguments: Any) -> bytes:
        """Do ``task`` of `tasks.TASKS` in one of the processes.

        Raises what the task raised. Where its process crashed, took too long or too much memory,
        that is `UnsupportedFormat`, and the same file is refused at once for `BAD_SECONDS`.
        """
        return self.threads.submit(self._work, task, arguments).result()

    def warm(self) -> None:
        """Start one process now; returns at once."""
        self.threads.submit(self._process)

    def close(self) -> None:
        """End all processes."""
        self._closed.set()
        with self._guard:
            left = list(self._all)
        for process in left:  # a thread that waits for one sees that it ended
            process.popen.kill()
        self.threads.shutdown(wait=True, cancel_futures=True)
        with self._guard:
            for process in self._all:
                process.end()
            self._all.clear()
        if self._watchdog is not None:
            self._watchdog.join()

    @property
    def processes(self) -> list[int]:
        """Process ids of the living decoders."""
        with self._guard:
            return [p.popen.pid for p in self._all if p.alive]

    def _work(self, task: str, arguments: tuple[Any, ...]) -> bytes:
        key = json.dumps(arguments[:2])
        self._refuse_bad(key)
        process = self._process()
        if process.last or (process.ready and not process.alive):
            self._drop(process)
            process = self._process()
        request = {"task": task, "arguments": arguments}
        try:
            return process.ask(request, seconds=self._seconds)
        except _Broken:
            code = self._drop(process)
            if self._closed.is_set():
                raise SomascopeError("the server is stopping") from None
            why = self._why(code, overdue=process.overdue)
            _LOG.warning("a decoder %s at %s of %s", why, task, key)
            if not process.ready:
                raise SomascopeError(
                    f"a decoder {why} while it started; its message is in the server's log"
                ) from None
            self._remember(key, why)
            self._process()  # the next request need not wait for it
            raise UnsupportedFormat(f"cannot be decoded: its decoder {why}") from None

    def _why(self, code: int, *, overdue: bool) -> str:
        if overdue or code == -24:  # SIGXCPU
            return f"was stopped after {self._seconds:g} s"
        return f"ended with signal {-code}" if code < 0 else f"ended with status {code}"

    def _process(self) -> _Process:
        """The process of this thread."""
        found: _Process | None = getattr(self._mine, "process", None)
        if found is None:
            found = self._mine.process = self._start()
        return found

    def _start(self) -> _Process:
        if self._closed.is_set():
            raise SomascopeError("the server is stopping")
        popen = subprocess.Popen(  # noqa: S603 (our own interpreter, a list)
            [sys.executable, "-P", "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        process = _Process(popen, self._memory)
        assert popen.stdin is not None
        assert popen.stdout is not None
        widen(popen.stdout)
        limits = {"memory": self._memory, "seconds": self._seconds}
        with contextlib.suppress(OSError):
            popen.stdin.write(json.dumps(limits).encode() + b"\n")
            popen.stdin.flush()
        with self._guard:
            self._all.add(process)
            if self._watchdog is None:
                self._watchdog = threading.Thread(target=self._watch, name="decode-watch")
                self._watchdog.daemon = True
                self._watchdog.start()
        return process

    def _drop(self, process: _Process) -> int:
        """Forget a process that is of no use any more; its exit status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.popen.wait(1.0)  # its own end tells more than our kill
        process.end()
        with self._guard:
            self._all.discard(process)
        self._mine.process = None
        return int(process.popen.returncode)

    def _watch(self) -> None:
        while not self._closed.wait(_TICK):
            now = time.monotonic()
            with self._guard:
                late = [p for p in self._all if 0 < p.until < now]
            for process in late:
                process.overdue = True
                process.popen.kill()

    def _refuse_bad(self, key: str) -> None:
        with self._guard:
            until, why = self._bad.get(key, (0.0, ""))
        if until > time.monotonic():
            raise UnsupportedFormat(f"cannot be decoded: a decoder {why} a moment ago")

    def _remember(self, key: str, why: str) -> None:
        with self._guard:
            self._bad[key] = (time.monotonic() + BAD_SECONDS, why)
            self._bad.move_to_end(key)
            while len(self._bad) > MOST_BAD:
                self._bad.popitem(last=False)


def _error(name: str, message: str) -> SomascopeError:
    kind = getattr(errors, name, None) if name.isidentifier() else None
    if isinstance(kind, type) and issubclass(kind, SomascopeError):
        return kind(message)
    return SomascopeError(f"a decoder failed: {message}")


def environment() -> dict[str, str]:
    """Ours without what a decoder has no business to know, and with one thread per process."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith("SOMASCOPE_")}
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **one}


def widen(pipe: IO[bytes]) -> None:
    """A larger buffer of the pipe: fewer changes between the processes."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, 1 << 20)
