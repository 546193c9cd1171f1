"""kill -9 of the whole server during ingest: what was acknowledged is there, as it was sent."""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from somascope.archive import Archive
from somascope.core import Grid, Image
from somascope.io.dicom import header
from somascope.io.dicom.write import instances
from tests.servers import free_port, start

MULTIPART = 'multipart/related; type="application/dicom"; boundary=b'
ROUNDS = int(os.environ.get("SOMASCOPE_KILL_ROUNDS", "4"))


@pytest.fixture(scope="module")
def template() -> tuple[bytes, bytes]:
    """One instance of 128x128, and its SOP Instance UID, to be replaced in each copy."""
    rng = np.random.default_rng(3)
    data = rng.integers(-1000, 1000, (1, 128, 128)).astype(np.int16)
    (raw,) = instances(Image(data, Grid.from_spacing((1, 128, 128), (1, 1, 1)), "CT", "[hnsf'U]"))
    return raw, str(header.scan(raw).attributes["SOPInstanceUID"]).encode()


@dataclass
class Sender:
    """Sends until the server is gone; remembers what was acknowledged."""

    template: tuple[bytes, bytes]
    port: int
    first: int
    acknowledged: dict[str, str] = field(default_factory=dict)

    def instance(self, number: int) -> tuple[str, bytes]:
        raw, uid = self.template
        new = b"2.25." + str(10 ** (len(uid) - 6) + number).encode()
        return new.decode(), raw.replace(uid, new)

    def stow(self) -> None:
        with httpx.Client(timeout=10) as client:
            for number in range(self.first, self.first + 10_000):
                uid, part = self.instance(number)
                body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n--b--\r\n"
                try:
                    answer = client.post(
                        f"http://127.0.0.1:{self.port}/dicom-web/studies",
                        content=body,
                        headers={"Content-Type": MULTIPART},
                    )  # fmt: skip
                except httpx.HTTPError:
                    return
                if answer.status_code == 200:
                    self.acknowledged[uid] = digest(part)

    def store(self) -> None:
        """C-STORE with pynetdicom, one instance after the other on one association."""
        from pynetdicom import AE
        from pynetdicom.dsutils import encode

        dataset = pydicom.dcmread(io.BytesIO(self.template[0]))
        ae = AE()
        ae.add_requested_context(dataset.SOPClassUID, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", self.port, ae_title="SOMASCOPE")
        if not association.is_established:
            return
        try:
            for number in range(self.first, self.first + 10_000):
                uid, _ = self.instance(number)
                dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
                encoded = encode(dataset, is_implicit_vr=False, is_little_endian=True)
                assert encoded is not None
                answer = association.send_c_store(dataset)
                if "Status" not in answer:
                    return
                if answer.Status == 0:
                    self.acknowledged[uid] = hashlib.sha256(encoded).hexdigest()
        except (RuntimeError, ValueError):
            return
        finally:
            # pynetdicom forgets its socket when the peer dies in the middle of a message
            wrapper = association.dul.socket
            association.join(10)
            if wrapper is not None and wrapper.socket is not None:
                wrapper.socket.close()


def digest(part10: bytes) -> str:
    """Of the dataset alone: preamble and file meta information are the archive's business."""
    return hashlib.sha256(part10[header.scan(part10).dataset_offset :]).hexdigest()


@pytest.mark.timeout(900)
def test_nothing_acknowledged_is_lost(tmp_path: Path, template: tuple[bytes, bytes]):
    rng = random.Random(11)
    acknowledged: dict[str, str] = {}
    for number in range(ROUNDS):
        http, dicom = free_port(), free_port()
        server = start(tmp_path, http, dicom)
        senders = [
            Sender(template, port, 100_000 * number + 20_000 * i)
            for i, port in enumerate((http, http, dicom, dicom))
        ]
        threads = [threading.Thread(target=s.stow if s.port == http else s.store) for s in senders]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 30
        while not all(s.acknowledged for s in senders) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, 0.8))
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        for sender in senders:
            acknowledged |= sender.acknowledged
        assert any(s.acknowledged for s in senders if s.port == http)
        assert any(s.acknowledged for s in senders if s.port == dicom)

    archive = Archive.open(tmp_path)
    try:
        for uid, wanted in acknowledged.items():
            (found,) = archive.locate(instance=uid)
            assert digest(found.path.read_bytes()) == wanted
        report = archive.verify()
    finally:
        archive.close()
    assert not report.damaged
    assert not report.missing
    assert report.checked >= len(acknowledged)
