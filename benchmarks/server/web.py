"""DICOMweb retrieval, search and storing: ours and Debian's Orthanc, interleaved on one machine.

Both hold the same series of 512 x 512 x 16 bit CT slices and answer the same requests of the same
client over kept connections. The times are per request (per instance for STOW-RS).
"""

from __future__ import annotations

import hashlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.server import servers
from benchmarks.server.client import Connection

STUDY = "1.2.826.0.1.3680043.10.1743.1"
SERIES = f"{STUDY}.1"
FRAME = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
WHOLE = 'multipart/related; type="application/dicom"'
JSON = "application/dicom+json"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def slices(count: int, *, study: str, side: int, seed: int) -> list[bytes]:
    """A made-up CT series: Part 10 files of noise over a disc."""
    from pydicom.dataset import Dataset, FileMetaDataset

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2
    disc = np.where(x**2 + y**2 < (0.4 * side) ** 2, 1040, 24)
    files: list[bytes] = []
    for n in range(count):
        meta: Any = FileMetaDataset()
        d: Any = Dataset()
        d.SOPClassUID = meta.MediaStorageSOPClassUID = CT
        d.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = f"{study}.1.{n + 1}"
        meta.TransferSyntaxUID = EXPLICIT
        d.StudyInstanceUID, d.SeriesInstanceUID = study, f"{study}.1"
        d.FrameOfReferenceUID = f"{study}.2"
        d.PatientID, d.PatientName, d.PatientSex = f"BENCH{seed}", "Bench^Mark", "O"
        d.PatientBirthDate, d.AccessionNumber, d.StudyID = "19700101", f"A{seed}", "1"
        d.StudyDate, d.StudyTime, d.ReferringPhysicianName = "20260101", "120000", ""
        d.StudyDescription, d.SeriesDescription = "Benchmark", "Axial"
        d.Modality, d.Manufacturer, d.SeriesNumber, d.InstanceNumber = "CT", "Somascope", 1, n + 1
        d.ImagePositionPatient, d.ImageOrientationPatient = [0, 0, float(n)], [1, 0, 0, 0, 1, 0]
        d.PixelSpacing, d.SliceThickness = [0.7, 0.7], 1
        d.RescaleSlope, d.RescaleIntercept = 1, -1024
        d.WindowCenter, d.WindowWidth = 40, 400
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.Rows = d.Columns = side
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 0
        noise = rng.integers(0, 40, (side, side))
        d.PixelData = (disc + noise).astype("<u2").tobytes()
        d.file_meta = meta
        out = io.BytesIO()
        d.save_as(out, enforce_file_format=True)
        files.append(out.getvalue())
    return files


def multipart(files: list[bytes]) -> tuple[str, bytes]:
    boundary = "benchmark-boundary-0123456789"
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = b"".join(head + f + b"\r\n" for f in files) + f"--{boundary}--\r\n".encode()
    return f'multipart/related; type="application/dicom"; boundary={boundary}', body


def store(connection: Connection, files: list[bytes]) -> int:
    """STOW-RS in one request; how many instances the answer calls stored."""
    content_type, body = multipart(files)
    reply = connection.post("/dicom-web/studies", content_type, JSON, body)
    if reply.status not in (200, 202):
        raise RuntimeError(f"STOW-RS answered {reply.status}: {reply.body[:300]!r}")
    return len(json.loads(reply.body).get("00081199", {}).get("Value", []))


def part_digest(body: bytes) -> str:
    """SHA-256 of the first part of a multipart body."""
    boundary = body[: body.index(b"\r\n")]
    start = body.index(b"\r\n\r\n") + 4
    return hashlib.sha256(body[start : body.index(b"\r\n" + boundary, start)]).hexdigest()


@dataclass
class Case:
    name: str
    quality: str
    once: Callable[[int], Any]
    """Run one round against a port; returns milliseconds per request."""
    check: Callable[[int], Any]


def get_paths(port: int, paths: list[str], accept: str, connections: int) -> float:
    """Milliseconds per request of fetching ``paths`` over so many kept connections."""
    with ExitStack() as stack:
        opened = [stack.enter_context(Connection(port)) for _ in range(connections)]
        shares = [paths[i::connections] for i in range(connections)]
        for connection, share in zip(opened, shares, strict=True):
            connection.get(share[0], accept, keep=False)

        def fetch(connection: Connection, share: list[str]) -> None:
            for path in share:
                reply = connection.get(path, accept, keep=False)
                if reply.status != 200:
                    raise RuntimeError(f"{path} answered {reply.status}")

        start = time.perf_counter()
        if connections == 1:
            fetch(opened[0], shares[0])
        else:
            with ThreadPoolExecutor(connections) as threads:
                list(threads.map(fetch, opened, shares))
        return (time.perf_counter() - start) * 1000 / len(paths)


def cases(count: int, files: list[bytes], *, requests: int, batch: int, side: int) -> list[Case]:
    base = f"/dicom-web/studies/{STUDY}/series/{SERIES}"
    frames = [f"{base}/instances/{SERIES}.{n % count + 1}/frames/1" for n in range(requests)]
    searches = ["/dicom-web/studies?PatientID=BENCH1"] * requests
    pushed = {"n": 1000}

    def frame_digest(port: int) -> str:
        with Connection(port) as connection:
            return part_digest(connection.get(frames[0], FRAME).body)[:12]

    def found(port: int) -> int:
        with Connection(port) as connection:
            return len(json.loads(connection.get(searches[0], JSON).body))

    def described(port: int) -> int:
        with Connection(port) as connection:
            return len(json.loads(connection.get(f"{base}/metadata", JSON).body))

    def parts(port: int) -> int:
        with Connection(port) as connection:
            body = connection.get(base, WHOLE).body
        boundary = body[: body.index(b"\r\n")]
        sent = {f[-64:] for f in files}
        return sum(part[-66:-2] in sent for part in body.split(boundary)[1:-1])

    def whole(port: int) -> float:
        with Connection(port) as connection:
            start = time.perf_counter()
            reply = connection.get(base, WHOLE, keep=False)
            took = time.perf_counter() - start
        if reply.status != 200:
            raise RuntimeError(f"the series answered {reply.status}")
        return took * 1000

    def stow(port: int) -> float:
        pushed["n"] += 1
        new = slices(batch, study=f"{STUDY}.{pushed['n']}", side=side, seed=2)
        with Connection(port) as connection:
            start = time.perf_counter()
            stored = store(connection, new)
            took = time.perf_counter() - start
        if stored != batch:
            raise RuntimeError(f"{stored} of {batch} stored")
        return took * 1000 / batch

    def metadata(port: int) -> float:
        return get_paths(port, [f"{base}/metadata"] * max(2, requests // 50), JSON, 1)

    def fetching(paths: list[str], accept: str, connections: int) -> Callable[[int], float]:
        return lambda port: get_paths(port, paths, accept, connections)

    table = [
        Case(f"metadata of {count} instances", "instances described", metadata, described),
        Case(f"whole series of {count}", "instances in the answer", whole, parts),
        Case(f"STOW-RS, {batch} per request", "instances stored", stow, lambda _: batch),
    ]
    for n, word in ((8, "8 connections"), (1, "1 connection")):
        search = fetching(searches, JSON, n)
        table.insert(0, Case(f"QIDO by PatientID, {word}", "studies found", search, found))
    for n, word in ((8, "8 connections"), (1, "1 connection")):
        fetch = fetching(frames, FRAME, n)
        table.insert(0, Case(f"frames, {word}", "SHA-256 of a frame", fetch, frame_digest))
    return table


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """One line per case; yields nothing where Orthanc is not installed."""
    version = servers.orthanc_version()
    if not version:
        return
    count, side, rounds, requests, batch = (10, 128, 2, 40, 5) if small else (400, 512, 7, 400, 50)
    files = slices(count, study=STUDY, side=side, seed=1)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        mine = stack.enter_context(servers.ours(Path(folder) / "ours"))
        peer = stack.enter_context(servers.orthanc(Path(folder) / "orthanc"))
        for port in (mine, peer):
            with Connection(port) as connection:
                for start in range(0, count, 50):
                    store(connection, files[start : start + 50])
        for case in cases(count, files, requests=requests, batch=batch, side=side):
            ours_ms: list[float] = []
            peer_ms: list[float] = []
            for _ in range(rounds):
                peer_ms.append(case.once(peer))
                ours_ms.append(case.once(mine))
            a, b = statistics.median(ours_ms), statistics.median(peer_ms)
            yield {
                "name": "web",
                "case": case.name,
                "ours_ms": {"min": min(ours_ms), "median": a},
                "peer": "Orthanc",
                "peer_version": f"{version}, TCP_NODELAY=1",
                "peer_ms": {"min": min(peer_ms), "median": b},
                "ratio": b / a,
                "quality_metric": case.quality,
                "quality_ours": case.check(mine),
                "quality_peer": case.check(peer),
            }
