"""The process that does the work: `python -m somascope.jobs.runner`.

Its master writes JSON lines to its standard input and reads JSON lines from its standard output::

    -> {"open": folder, "url": address of the index or null}             (first, once)
    -> {"run": {"operation": ..., "inputs": [...], "params": {...}}}    -> {"cancel": true}
    <- {"ready": true}   {"progress": 0.4, "message": "..."}
    <- {"done": [uid, ...]}  {"failed": "message", "again": false, "trace": [line, ...]}
    <- {"cancelled": "message"}

Standard error goes to the job's log. It ends when its standard input does, so it never outlives
its master.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from somascope.core import Progress
from somascope.core.errors import Cancelled, SomascopeError

if TYPE_CHECKING:
    from somascope.archive import Archive

REPORTS_PER_SECOND = 4


class Channel:
    """Lines to the master; dense progress is thinned."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._next = 0.0

    def send(self, message: Mapping[str, Any]) -> None:
        """One JSON line."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def progress(self, fraction: float, message: str) -> None:
        """A progress line, if the last one is long enough ago."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 1 / REPORTS_PER_SECOND
            self.send({"progress": fraction, "message": message})


def transient(error: BaseException) -> bool:
    """Whether another attempt may go better: the machine's state, not the request, was at fault."""
    if isinstance(error, (MemoryError, ConnectionError, TimeoutError)):
        return True
    if isinstance(error, OSError):
        return not isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError))
    return type(error).__name__ == "OperationalError"  # SQLAlchemy: database locked or gone


def outcome(archive: Archive, run: Mapping[str, Any], *, progress: Progress) -> Mapping[str, Any]:
    """Run it; what to tell the master."""
    from somascope.jobs.run import execute

    try:
        uids = execute(archive, run["operation"], run["inputs"], run["params"], progress=progress)
    except Cancelled as error:
        return {"cancelled": str(error)}
    except SomascopeError as error:
        return {"failed": str(error), "again": False}
    except Exception as error:
        trace = "".join(traceback.format_exception(error)).splitlines()[-60:]
        name = type(error).__name__
        return {"failed": f"{name}: {error}", "again": transient(error), "trace": trace}
    return {"done": list(uids)}


def main() -> None:
    """Serve the master until it goes."""
    faulthandler.enable()
    # Only the channel writes to the pipe; what an operation prints goes to the log.
    channel = Channel(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    first = json.loads(sys.stdin.readline() or "null")
    if first is None:
        return
    stop = threading.Event()
    work: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if "run" in message:
                stop.clear()
                work.put(message["run"])
            else:
                stop.set()
        work.put(None)
        stop.set()
        # Whoever computes now computes for nobody.
        time.sleep(5)
        os._exit(1)

    threading.Thread(target=listen, name="listen", daemon=True).start()
    from somascope.archive import Archive

    archive = Archive.open(first["open"], url=first["url"])
    channel.send({"ready": True})
    progress = Progress(channel.progress, stop.is_set)
    while (run := work.get()) is not None:
        result = outcome(archive, run, progress=progress)
        sys.stderr.flush()
        channel.send(result)
    archive.close()


if __name__ == "__main__":
    main()
