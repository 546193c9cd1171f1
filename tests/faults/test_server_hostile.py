"""Hostile instances at both doors of the running server: refused, and its memory stays small."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

import httpx
import pytest

from somascope.archive import Archive
from somascope.testing.archive import part10
from tests.hostile import hostile
from tests.servers import free_port, start

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
MULTIPART = 'multipart/related; type="application/dicom"; boundary=b'
MOST = 64 << 20
"""Bytes by which a process of the server may grow."""


def processes(session: int) -> list[int]:
    """All of a session, the server's own children with it."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[3]) == session:
                found.append(int(entry.name))
    return found


def memory(pid: int, what: str) -> int:
    """``VmRSS`` or ``VmHWM`` (its highest value) in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"process {pid} has no {what}")


def stow(port: int, part: bytes) -> httpx.Response:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n--b--\r\n"
    return httpx.post(
        f"http://127.0.0.1:{port}/dicom-web/studies",
        content=body, headers={"Content-Type": MULTIPART}, timeout=60,
    )  # fmt: skip


def c_store(port: int, dataset: bytes, syntax: str) -> tuple[int | None, str]:
    """Status and comment of a C-STORE of bytes as they are; None where the answer was an abort."""
    from pynetdicom import AE
    from pynetdicom.dimse_primitives import C_STORE

    ae = AE()
    ae.add_requested_context(CT, syntax)
    association = ae.associate("127.0.0.1", port, ae_title="SOMASCOPE")
    assert association.is_established
    try:
        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CT, "1.2.3.66"
        request.DataSet = io.BytesIO(dataset)
        association._reactor_checkpoint.clear()  # or the answer would be taken by its own loop
        context = association.accepted_contexts[0].context_id
        assert context is not None
        association.dimse.send_msg(request, context)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        return (answer.Status, answer.ErrorComment or "") if answer is not None else (None, "")
    finally:
        association.release()
        association.join(10)


def after_meta(raw: bytes) -> bytes:
    """The data set of a Part 10 file whose meta group tells its length; other bytes unchanged."""
    if raw[128:132] != b"DICM":
        return raw
    return raw[144 + int.from_bytes(raw[140:144], "little") :]


def reasons(answer: httpx.Response) -> list[int]:
    """Failure Reasons of the instances that it names and of those that it cannot name."""
    told = answer.json()
    lists = (told[tag]["Value"] for tag in ("00081198", "0008119A") if tag in told)
    return [one["00081197"]["Value"][0] for several in lists for one in several]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.timeout(280)
def test_both_doors_refuse_with_a_reason_in_bounded_memory(tmp_path: Path):
    http, dicom = free_port(), free_port()
    server = start(tmp_path, http, dicom)
    try:
        assert stow(http, part10(SOPInstanceUID="1.2.3.1")).status_code == 200
        good = after_meta(part10(SOPInstanceUID="1.2.3.66", seed=1))
        assert c_store(dicom, good, EXPLICIT)[0] == 0
        before = {pid: memory(pid, "VmRSS") for pid in processes(server.pid)}
        assert len(before) >= 3, "supervisor, HTTP, acceptor"
        for pid in before:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # forget the highest value so far
        whole = part10(side=64, SOPInstanceUID="1.2.3.66", seed=2)
        cut = {f"cut at {end}": whole[:end] for end in (100, 400, len(whole) // 2, len(whole) - 2)}
        for name, raw in {**hostile(), **cut}.items():
            answer = stow(http, raw)
            assert answer.status_code in (400, 409), (name, answer.status_code, answer.text[:300])
            assert reasons(answer) == [0xC000], (name, answer.text[:300])
            if not (dataset := after_meta(raw)):
                continue  # no C-STORE can be made of nothing
            syntax = DEFLATED if name == "deflate_bomb" else EXPLICIT
            status, comment = c_store(dicom, dataset, syntax)
            assert status is None or status & 0xF000 in (0xA000, 0xC000), (name, status)
            assert status is None or comment, name
        grown = {pid: memory(pid, "VmHWM") - was for pid, was in before.items()}
        assert max(grown.values()) < MOST, grown
        assert stow(http, part10(SOPInstanceUID="1.2.3.2")).status_code == 200
        good = after_meta(part10(SOPInstanceUID="1.2.3.66", seed=1))
        assert c_store(dicom, good, EXPLICIT)[0] == 0
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    with Archive.open(tmp_path) as archive:
        assert archive.stats().instances == 3
        assert archive.verify().ok
