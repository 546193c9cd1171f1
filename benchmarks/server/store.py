"""Durable C-STORE of 526-kB CT slices by DCMTK's storescu: ours, Orthanc, pynetdicom storescp.

Every round makes new instances and gives the same files to each server, peers and ours in turn.
Orthanc runs with ``TCP_NODELAY=1`` in its environment (its default stalls on Nagle's algorithm;
beating that proves nothing); the sender once with it and once as it comes. pynetdicom's storescp
promises no durability and keeps no index.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

NODELAY = {"TCP_NODELAY": "1"}
_START = """
import sys
from somascope.server.dimse import serve_dimse
serve_dimse(sys.argv[1], port=int(sys.argv[2]))
"""


def _port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Slices:
    """CT slices that differ in their UIDs (of equal length) and nothing else."""

    def __init__(self) -> None:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

        rng = np.random.default_rng(1)
        smooth = np.add.outer(np.arange(512), np.arange(512)) + rng.integers(0, 64, (512, 512))
        d = Dataset()
        d.file_meta = FileMetaDataset()
        d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d.SOPClassUID = CTImageStorage
        d.SOPInstanceUID = self._uid(3, 0, 0)
        d.StudyInstanceUID, d.SeriesInstanceUID = self._uid(1, 0, 0), self._uid(2, 0, 0)
        d.PatientID, d.PatientName = "BENCH", "Bench^Store"
        d.StudyDate, d.StudyTime, d.Modality = "20260101", "120000", "CT"
        d.AccessionNumber = d.StudyID = ""
        d.Manufacturer, d.SeriesDescription = "Somascope", "benchmark"
        d.SeriesNumber = d.InstanceNumber = 1
        d.ImagePositionPatient, d.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
        d.PixelSpacing, d.SliceThickness = [0.7, 0.7], 1.0
        d.FrameOfReferenceUID = "1.2.826.0.1.3680043.9.9.9"
        d.Rows = d.Columns = 512
        d.BitsAllocated, d.BitsStored, d.HighBit = 16, 12, 11
        d.PixelRepresentation, d.SamplesPerPixel = 0, 1
        d.PhotometricInterpretation = "MONOCHROME2"
        d.RescaleSlope, d.RescaleIntercept = 1, -1024
        d.PixelData = smooth.astype("<u2").tobytes()
        with tempfile.NamedTemporaryFile() as file:
            d.save_as(file.name, enforce_file_format=True)
            self._template = Path(file.name).read_bytes()

    @staticmethod
    def _uid(kind: int, group: int, number: int) -> str:
        return f"1.2.826.0.1.3680043.8.498.{kind}.1{group:06d}.1{number:06d}"

    def write(self, folder: Path, group: int, count: int) -> None:
        """``count`` slices of a new study, numbered ``group``."""
        folder.mkdir(parents=True)
        for n in range(count):
            data = self._template
            for kind, number in ((1, 0), (2, 0), (3, n)):
                old, new = self._uid(kind, 0, 0), self._uid(kind, group, number)
                data = data.replace(old.encode(), new.encode())
            (folder / f"{n:05d}.dcm").write_bytes(data)


class Server:
    """A server in a process of its own."""

    name = version = ""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, _port()
        root.mkdir(parents=True)
        self.process = self._start()
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.1)
        done = subprocess.run(["echoscu", "127.0.0.1", str(self.port)], check=False)
        while done.returncode and time.monotonic() < until:
            time.sleep(0.1)
            done = subprocess.run(["echoscu", "127.0.0.1", str(self.port)], check=False)

    def _start(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _run(self, *command: str, **env: str) -> subprocess.Popen[bytes]:
        with (self.root.parent / f"{self.root.name}.log").open("wb") as log:
            return subprocess.Popen(
                command, env={**os.environ, **env}, stdout=log, stderr=log, cwd=self.root
            )

    def found(self) -> int:
        """Instances it has, asked of itself."""
        raise NotImplementedError

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)


class Ours(Server):
    name = "somascope"

    def _start(self) -> subprocess.Popen[bytes]:
        return self._run(sys.executable, "-c", _START, str(self.root / "archive"), str(self.port))

    def found(self) -> int:
        from somascope.archive import Archive

        with Archive.open(self.root / "archive") as archive:
            return archive.stats().instances


class Orthanc(Server):
    name = "Orthanc"

    def _start(self) -> subprocess.Popen[bytes]:
        self._http = _port()
        config = {
            "StorageDirectory": str(self.root / "db"),
            "IndexDirectory": str(self.root / "db"),
            "DicomPort": self.port,
            "HttpPort": self._http,
            "Plugins": [],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
        }
        (self.root / "orthanc.json").write_text(json.dumps(config))
        said = subprocess.run(["Orthanc", "--version"], capture_output=True, text=True, check=True)
        self.version = said.stdout.split()[1]
        return self._run("Orthanc", str(self.root / "orthanc.json"), **NODELAY)

    def found(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._http}/statistics") as answer:
            return int(json.load(answer)["CountInstances"])


class Pynetdicom(Server):
    name = "pynetdicom storescp"

    def _start(self) -> subprocess.Popen[bytes]:
        from pynetdicom import __version__

        self.version = __version__
        folder = str(self.root / "files")
        return self._run(
            sys.executable, "-m", "pynetdicom", "storescp", str(self.port), "-od", folder, "-q"
        )

    def found(self) -> int:
        return sum(1 for p in (self.root / "files").rglob("*") if p.is_file())


def _send(server: Server, folders: list[Path], env: dict[str, str]) -> float:
    """Milliseconds to store all folders, one association each."""
    environment = {k: v for k, v in os.environ.items() if k != "TCP_NODELAY"} | env
    begin = time.perf_counter()
    senders = [
        subprocess.Popen(
            ["storescu", "+sd", "127.0.0.1", str(server.port), str(folder)], env=environment
        )
        for folder in folders
    ]
    codes = [sender.wait() for sender in senders]
    if any(codes):
        raise RuntimeError(f"storescu to {server.name} ended with {codes}")
    return (time.perf_counter() - begin) * 1000


def _peers() -> list[type[Server]]:
    return ([Orthanc] if shutil.which("Orthanc") else []) + [Pynetdicom]


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Lines of the benchmark contract; milliseconds are for all slices of a case."""
    if shutil.which("storescu") is None:
        raise RuntimeError("DCMTK's storescu is not installed")
    count, rounds = (24, 1) if small else (400, 3)
    cases = [(1, NODELAY), (4, NODELAY), (1, {}), (4, {})]
    if small:
        cases = [(4, NODELAY)]
    slices, group = Slices(), 0
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers: list[Server] = []
        for i, kind in enumerate([Ours, *_peers()]):
            servers.append(kind(top / f"{i}"))
            stack.callback(servers[-1].close)
        sent = 0
        for associations, env in cases:
            times: dict[str, list[float]] = {s.name: [] for s in servers}
            for _ in range(rounds):
                group += 10
                folders = [top / "slices" / str(a) for a in range(associations)]
                for a, folder in enumerate(folders):
                    slices.write(folder, group + a, count // associations)
                sent += count // associations * associations
                for server in [*servers[1:], servers[0]]:
                    times[server.name].append(_send(server, folders, env))
                shutil.rmtree(top / "slices")
            ours = times["somascope"]
            found = servers[0].found()
            for server in servers[1:]:
                theirs = times[server.name]
                yield {
                    "name": "store",
                    "case": f"{count} CT slices of 526 kB, {associations} association"
                    f"{'s' if associations > 1 else ''}, sender {'NODELAY' if env else 'default'}",
                    "ours_ms": {"min": min(ours), "median": statistics.median(ours)},
                    "peer": server.name,
                    "peer_version": server.version,
                    "peer_ms": {"min": min(theirs), "median": statistics.median(theirs)},
                    "ratio": statistics.median(theirs) / statistics.median(ours),
                    "quality_metric": f"instances found of {sent}",
                    "quality_ours": found,
                    "quality_peer": server.found(),
                }
