"""Our side as service user against DCMTK, pynetdicom, our own door, and a hostile provider."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest

from somascope.archive import Archive
from somascope.core.errors import ParameterError, Refused
from somascope.server.dimse import scu
from somascope.server.dimse.ended import (
    Aborted,
    AssociationEnded,
    Rejected,
    TimedOut,
    TransportClosed,
)
from somascope.server.dimse.pdu import AssociateAC, ContextResult, encode_associate_ac
from somascope.server.dimse.requestor import Remote


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture(scope="module")
def here(tmp_path_factory, opened, wire) -> Iterator[Any]:
    root = tmp_path_factory.mktemp("here")
    with Archive.open(root) as archive, opened(archive, root) as door:
        remote = Remote(host="127.0.0.1", port=door.port, aet="SOMASCOPE", calling="US")
        names = ("CT_small", "JPEG2000", "image_dfl", "MR_small_bigendian")
        files = [wire.FILES / f"{n}.dcm" for n in names]
        assert {s.outcome for s in scu.store(remote, files)} == {"completed"}
        yield remote, archive


def test_echo(here):
    assert 0 < scu.echo(here[0]) < 5


def test_what_was_stored_is_what_was_sent(here, wire):
    _, archive = here
    for name in ("CT_small", "JPEG2000", "image_dfl", "MR_small_bigendian"):
        path = wire.FILES / f"{name}.dcm"
        want = pydicom.dcmread(path)
        (instance,) = archive.locate(instance=str(want.SOPInstanceUID))
        assert instance.transfer_syntax == want.file_meta.TransferSyntaxUID
        raw = path.read_bytes()
        mine = instance.dataset()
        assert raw.endswith((mine, mine[:-1]))  # deflated: padded to even


def test_store_reports_what_cannot_be_read_and_goes_on(here, wire):
    sent = scu.store(here[0], [b"no DICOM", (wire.FILES / "rtplan.dcm").read_bytes()])
    assert [s.outcome for s in sent] == ["failed", "completed"]
    assert "no DICOM" in sent[0].why or "DICOM" in sent[0].why


def test_find_and_limit(here):
    remote, _ = here
    found = scu.find(remote, {"PatientID": "", "StudyInstanceUID": "", "PatientName": ""})
    assert len(found) >= 4
    assert all(f["0020000D"]["Value"] for f in found)
    assert len(scu.find(remote, {"StudyInstanceUID": ""}, limit=2)) == 2
    patients = scu.find(remote, {"PatientID": "1CT1"}, level="PATIENT", root="PATIENT")
    assert [p["00100020"]["Value"] for p in patients] == [["1CT1"]]
    with pytest.raises(ParameterError, match="no PATIENT level"):
        scu.find(remote, {}, level="PATIENT")
    with pytest.raises(ParameterError, match="keyword"):
        scu.find(remote, {"Nonsense": "1"})


def test_get_brings_bytes_as_stored_and_decoded(here, wire):
    want = pydicom.dcmread(wire.FILES / "JPEG2000.dcm")
    keys = {"StudyInstanceUID": str(want.StudyInstanceUID)}
    got: list[tuple[str, bytes]] = []

    def arrived(instance: scu.Arrived) -> int:
        assert instance.sop_uid == want.SOPInstanceUID
        got.append((instance.transfer_syntax, bytes(instance.dataset)))
        return 0

    j2k = "1.2.840.10008.1.2.4.91"
    done = scu.get(
        here[0], keys, arrived=arrived, sop_classes=[want.SOPClassUID], transfer_syntaxes=[j2k]
    )
    assert (done.status, done.completed, done.failed) == (0, 1, 0)
    assert scu.get(here[0], keys, arrived=arrived).completed == 1
    assert [t for t, _ in got] == [j2k, wire.EXPLICIT]
    assert (wire.FILES / "JPEG2000.dcm").read_bytes().endswith(got[0][1])


def test_get_tells_what_we_could_not_keep(here, wire):
    want = pydicom.dcmread(wire.FILES / "CT_small.dcm")
    keys = {"StudyInstanceUID": str(want.StudyInstanceUID)}
    done = scu.get(here[0], keys, arrived=lambda _: 0xA700)
    assert (done.status, done.failed) == (0xA702, 1)
    assert done.failed_uids == (str(want.SOPInstanceUID),)


def test_a_move_to_nobody_is_reported(here):
    done = scu.move(here[0], {"StudyInstanceUID": "1.2.3"}, destination="NOBODY")
    assert done.status == 0xA801


# ---------------------------------------------------------------- other providers


@contextmanager
def _process(*command: str, port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                threading.Event().wait(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.mark.dcmtk
def test_against_dcmtks_archive(dcmtk, tmp_path, wire):
    """Store, find, get and move with DCMTK's dcmqrscp; move to DCMTK's storescp."""
    if shutil.which("dcmqrscp") is None:
        pytest.skip("DCMTK's dcmqrscp is not installed")
    port, store_port = _free_port(), _free_port()
    database, received = tmp_path / "db", tmp_path / "received"
    database.mkdir()
    received.mkdir()
    config = tmp_path / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nstore = (STORE, 127.0.0.1, {store_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMTK {database} RW (200, 1024mb) ANY\nAETable END\n"
    )
    remote = Remote(host="127.0.0.1", port=port, aet="DCMTK", calling="US")
    with (
        _process("dcmqrscp", "-c", str(config), port=port),
        _process("storescp", "-od", str(received), str(store_port), port=store_port),
    ):
        assert scu.echo(remote) > 0
        files = [wire.FILES / "CT_small.dcm", wire.FILES / "MR_small.dcm"]
        assert [s.outcome for s in scu.store(remote, files)] == ["completed"] * 2
        ct = pydicom.dcmread(files[0])
        keys = {"StudyInstanceUID": str(ct.StudyInstanceUID), "PatientName": ""}
        found = scu.find(remote, keys)
        assert [f["00100010"]["Value"][0]["Alphabetic"] for f in found] == [str(ct.PatientName)]
        got: list[bytes] = []
        keys = {"StudyInstanceUID": str(ct.StudyInstanceUID)}
        done = scu.get(remote, keys, arrived=lambda i: got.append(bytes(i.dataset)) or 0)
        assert (done.completed, done.failed) == (1, 0)
        assert ct.PixelData in got[0]
        done = scu.move(remote, keys, destination="STORE")
        assert (done.status, done.completed) == (0, 1)
        assert len(list(received.iterdir())) == 1


def test_store_to_pynetdicom_that_takes_implicit_only(wire):
    from pynetdicom import AE, evt

    want = pydicom.dcmread(wire.FILES / "JPEG2000.dcm")
    got: list[Any] = []

    def on_store(event: Any) -> int:
        got.append(event.dataset)
        return 0

    ae = AE(ae_title="PLAIN")
    ae.add_supported_context(want.SOPClassUID, "1.2.840.10008.1.2")
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)]
    )
    try:
        remote = Remote(host="127.0.0.1", port=server.server_address[1], aet="PLAIN")
        files = [wire.FILES / "JPEG2000.dcm", wire.FILES / "CT_small.dcm"]
        sent = scu.store(remote, files)
    finally:
        server.shutdown()
    assert [(s.outcome, s.status) for s in sent] == [("completed", 0), ("failed", 0x0122)]
    assert len(got[0].PixelData) >= want.Rows * want.Columns
    assert got[0].PatientName == want.PatientName


# ---------------------------------------------------------------- hostile providers


@contextmanager
def _provider(behave: Callable[[socket.socket], None]) -> Iterator[Remote]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            sock, _ = listener.accept()
            sock.settimeout(10)
            with sock:
                try:
                    behave(sock)
                except (OSError, EOFError):
                    return

        thread = threading.Thread(target=run)
        thread.start()
        port = listener.getsockname()[1]
        yield Remote(host="127.0.0.1", port=port, aet="EVIL", network=1.0, answer=2.0)
        thread.join(15)


def _accept(wire: Any, sock: socket.socket, *results: ContextResult) -> None:
    wire.read_pdu(sock)
    sock.sendall(
        encode_associate_ac(AssociateAC(called="A", calling="B", contexts=results, max_length=0))
    )


def test_nobody_there():
    with pytest.raises(TransportClosed):
        scu.echo(Remote(host="127.0.0.1", port=_free_port(), aet="NONE"))


def test_a_rejection_is_told(wire):
    def behave(sock: socket.socket) -> None:
        wire.read_pdu(sock)
        sock.sendall(struct.pack(">BxIxBBB", 3, 4, 1, 1, 7))

    with _provider(behave) as remote, pytest.raises(Rejected, match="reason 7"):
        scu.echo(remote)


def test_a_silent_provider_is_left(wire):
    with _provider(lambda sock: sock.recv(1 << 20) and threading.Event().wait(3)) as remote:  # noqa: SIM117
        with pytest.raises(TimedOut):
            scu.echo(remote)


@pytest.mark.parametrize(
    "answer",
    [
        struct.pack(">BxI", 2, 0xFFFFFFF0),
        struct.pack(">BxI", 4, 0xFFFFFFF0),
        struct.pack(">BxI", 2, 68) + bytes(68) + b"xx",
        struct.pack(">BxI", 1, 68) + bytes(68),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_an_answer_that_is_none(wire, answer):
    def behave(sock: socket.socket) -> None:
        wire.read_pdu(sock)
        sock.sendall(answer)
        sock.recv(1 << 16)

    with _provider(behave) as remote, pytest.raises((AssociationEnded, Refused)):
        scu.echo(remote)


def test_contexts_it_made_up_are_not_used(wire):
    def behave(sock: socket.socket) -> None:
        _accept(wire, sock, ContextResult(99, 0, "1.2.840.10008.1.2"), ContextResult(1, 0, "1.2"))
        wire.read_pdu(sock)

    with _provider(behave) as remote, pytest.raises(Refused, match="no presentation context"):
        scu.echo(remote)


def test_instances_nobody_asked_for_are_not_taken(wire, tmp_path, monkeypatch):
    """CVE-2026-50003's way: a provider that answers C-GET with paths for names."""
    monkeypatch.chdir(tmp_path)
    arrived: list[scu.Arrived] = []

    def behave(sock: socket.socket) -> None:
        _accept(wire, sock, ContextResult(1, 0, wire.EXPLICIT), ContextResult(3, 0, wire.EXPLICIT))
        for _ in range(2):  # command and identifier
            wire.read_pdu(sock)
        for uid in ("../../evil", "/tmp/evil"):
            sock.sendall(wire.pdata(3, 3, wire.store_rq(uid)) + wire.pdata(3, 2, bytes(64)))
            kind, body = wire.read_pdu(sock)
            assert kind == 4
            assert wire.element(0x0900, b"\x22\x01") in body  # no SCP role was agreed
        sock.sendall(wire.pdata(3, 3, wire.echo_rq()))
        sock.recv(1 << 16)

    with _provider(behave) as remote, pytest.raises(Aborted):
        scu.get(remote, {"StudyInstanceUID": "1.2"}, arrived=lambda i: arrived.append(i) or 0)
    assert arrived == []
    assert list(Path(tmp_path).iterdir()) == []
