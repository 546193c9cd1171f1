"""``python -m somascope.server.decode.worker``: a decoder process, started by `Decoders`.

Standard input brings requests, one line of JSON each, the first one the limits; standard output
gives for each a head of 16 bytes (how many of JSON, how many of data) and both. Nothing that comes
back is code: a decoder that was taken over can answer wrong pixels and no more.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping
from typing import IO, Any

from somascope.core.errors import SomascopeError
from somascope.server.decode import cell
from somascope.server.decode.tasks import HEAD, TASKS, Task, warm

MOST_RESIDENT = 1 << 30
"""Bytes that a decoder may hold between two tasks; it ends when it holds more."""


def main(tasks: Mapping[str, Task] = TASKS) -> int:
    """Answer requests until standard input ends."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no answer
    limits = json.loads(requests.readline())
    memory, seconds = int(limits["memory"]), float(limits["seconds"])
    warm()
    confined = cell.confine(memory=memory)
    _answer(answers, {"ready": True, "confined": confined}, b"")
    while line := requests.readline():
        cell.spend(seconds)
        request = json.loads(line)
        try:
            data = tasks[request["task"]](*request["arguments"])
            said: dict[str, Any] = {}
        except SomascopeError as error:
            data, said = b"", {"error": type(error).__name__, "message": str(error)}
        except MemoryError:
            data = b""
            said = {
                "error": "UnsupportedFormat",
                "message": f"needs more than the {memory >> 20} MiB that a decoder may take",
            }
        except Exception as error:
            trace = traceback.format_exc(limit=-8)[-4000:]  # nothing can be written here
            message = f"{type(error).__name__}: {error}"[:500]
            data, said = b"", {"error": "", "message": message, "trace": trace}
        last = cell.resident() > MOST_RESIDENT + len(data)
        _answer(answers, {**said, "last": last}, data)
        if last:
            break
    return 0


def _answer(answers: IO[bytes], said: dict[str, Any], data: bytes) -> None:
    text = json.dumps(said).encode()
    for piece in (HEAD.pack(len(text), len(data)) + text, data):
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(answers.fileno(), rest) :]


if __name__ == "__main__":
    sys.exit(main())
