"""The whole server as users start it, in processes of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(root: Path, http: int, dicom: int) -> subprocess.Popen[bytes]:
    """The whole server, a process group of its own, once both its ports answer."""
    server = subprocess.Popen(
        [
            sys.executable, "-m", "somascope.cli", "serve", str(root), "--port", str(http),
            "--dicom-port", str(dicom), "--workers", "0", "--acceptors", "1",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    for port in (http, dicom):
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < until, "the server did not start"
                time.sleep(0.05)
    return server
