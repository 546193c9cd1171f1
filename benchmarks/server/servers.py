"""Start our HTTP server and Debian's Orthanc on free loopback ports, each in a new folder."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.server.client import Connection

PLUGINS = Path("/usr/share/orthanc/plugins")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait(port: int, process: subprocess.Popen[bytes], path: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode} while starting")
        try:
            with Connection(port) as connection:
                if connection.get(path, "*/*").status < 500:
                    return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the server did not answer within 60 s")


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def ours(folder: Path) -> Iterator[int]:
    """Our server over a new archive; yields its port."""
    port = free_port()
    code = (
        "import sys; from somascope.server.app import serve_http; "
        "serve_http(sys.argv[1], port=int(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(folder), str(port)]
    with _running(command, dict(os.environ)) as process:
        wait(port, process, "/dicom-web/studies?limit=1")
        yield port


def orthanc_version() -> str:
    """Its version, or ``""`` where Orthanc or its DICOMweb plug-in is not installed."""
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None or not (PLUGINS / "libOrthancDicomWeb.so").exists():
        return ""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return (told.stdout.split() or ["", "?"])[1]


@contextmanager
def orthanc(folder: Path) -> Iterator[int]:
    """Debian's Orthanc with its DICOMweb plug-in; without TCP_NODELAY it would stall on Nagle."""
    folder.mkdir(parents=True, exist_ok=True)
    port, dicom = free_port(), free_port()
    settings = folder / "orthanc.json"
    settings.write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "index"),
                "HttpPort": port,
                "DicomPort": dicom,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "KeepAlive": True,
                "TcpNoDelay": True,
                "StorageAccessOnFind": "Answers",
                "HttpThreadsCount": 16,
                "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so")],
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
            }
        )
    )
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program is not None
    environment = {**os.environ, "TCP_NODELAY": "1"}
    with _running([program, str(settings)], environment) as process:
        wait(port, process, "/dicom-web/studies?limit=1")
        yield port
