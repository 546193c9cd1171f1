"""A decoder with tasks that no decoder should survive; run as a module by the tests beside it."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

from somascope.core.errors import NotFound
from somascope.server.decode.tasks import TASKS
from somascope.server.decode.worker import main


def crash(*_: object) -> bytes:
    ctypes.string_at(0)
    return b""


def spin(*_: object) -> bytes:
    while True:
        pass


def sleep(*_: object) -> bytes:
    time.sleep(600)
    return b""


def hog(_name: str, size: int) -> bytes:
    return bytes(len(bytearray(size)) * 0)


def stop(*_: object) -> bytes:
    os._exit(3)


def lie(*_: object) -> bytes:
    os.write(4, b"\xff" * 64)
    return b""


def wrong(*_: object) -> bytes:
    raise NotFound("no such thing")


def broken(*_: object) -> bytes:
    raise ZeroDivisionError("a bug")


def echo(text: str) -> bytes:
    return text.encode()


def who(*_: object) -> bytes:
    return str(os.getpid()).encode()


def secrets(*_: object) -> bytes:
    return repr([k for k in os.environ if k.startswith("SOMASCOPE")]).encode()


def forbidden(what: str) -> bytes:
    """The error that a thing gives which a decoder may not do, or ``done``."""
    import socket
    import subprocess
    import threading

    def thread() -> None:
        one = threading.Thread(target=lambda: None)
        one.start()
        one.join()

    things = {
        "socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "fork": os.fork,
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "popen": lambda: subprocess.Popen(["/bin/true"]),
        "write": lambda: Path("/tmp/somascope-decoder-was-here").write_text("x"),
        "unlink": Path("/tmp/somascope-no-such-file").unlink,
        "mkdir": Path("/tmp/somascope-decoder-folder").mkdir,
        "kill": lambda: os.kill(os.getppid(), 0),
        "chmod": lambda: Path("/tmp").chmod(0o777),
        "rename": lambda: Path("/tmp/somascope-a").rename("/tmp/somascope-b"),
        "read": Path("/etc/passwd").read_bytes,
        "thread": thread,
    }
    try:
        things[what]()
    except OSError as error:
        return (error.strerror or "").encode()
    return b"done"


if __name__ == "__main__":
    mine = (crash, spin, sleep, hog, stop, lie, wrong, broken, echo, who, secrets, forbidden)
    sys.exit(main({**TASKS, **{f.__name__: f for f in mine}}))
