"""C-ECHO and C-STORE, as DCMTK, pynetdicom and hand-made bytes see them."""

from __future__ import annotations

import errno
import hashlib
import struct
import subprocess
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from somascope.core.errors import Conflict, CorruptFile, ParameterError
from somascope.io.dicom.header import Header, scan
from somascope.io.dicom.header_meta import wrap
from somascope.server.dimse.message import Body
from somascope.server.dimse.pdu import decode_associate_ac
from somascope.server.dimse.settings import Limits, Peer

PRIVATE = "1.3.46.670589.11.0.0.12.1"


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60)


def _part10(header: Header, dataset: bytes) -> bytes:
    meta = wrap(
        sop_class=header.sop_class, sop_uid=header.sop_uid, transfer_syntax=header.transfer_syntax
    )
    return bytes(meta) + dataset


@pytest.mark.dcmtk
def test_echoscu(dcmtk, quick):
    assert _run("echoscu", "127.0.0.1", str(quick.port)).returncode == 0
    assert _run("echoscu", "--propose-ts", "38", "127.0.0.1", str(quick.port)).returncode == 0


@pytest.mark.dcmtk
@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("-xe", "CT_small.dcm"),
        ("-xi", "MR_small_implicit.dcm"),
        ("-xb", "MR_small_bigendian.dcm"),
        ("-xy", "SC_rgb_jpeg_dcmtk.dcm"),
        ("-xs", "SC_rgb_jpeg_gdcm.dcm"),
        ("-xv", "MR_small_jp2klossless.dcm"),
        ("-xw", "JPEG2000.dcm"),
        ("-xt", "MR_small_jpeg_ls_lossless.dcm"),
        ("-xr", "MR_small_RLE.dcm"),
        ("-xd", "image_dfl.dcm"),
    ],
)
def test_storescu_every_encoding_arrives_with_its_pixels(dcmtk, quick, wire, option, name):
    path = wire.FILES / name
    done = _run("storescu", option, "127.0.0.1", str(quick.port), path)
    assert done.returncode == 0, done.stderr
    header = scan(path)
    assert quick.archive.got[header.sop_uid][:2] == (header.sop_class, header.transfer_syntax)
    arrived = _part10(header, quick.archive.data[header.sop_uid])
    assert pydicom.dcmread(BytesIO(arrived)).PixelData == pydicom.dcmread(path).PixelData


@pytest.mark.dcmtk
def test_storescu_many_classes_in_one_association(dcmtk, quick, wire):
    names = ("CT_small", "MR_small", "rtplan", "rtdose", "reportsi")
    files = [wire.FILES / f"{n}.dcm" for n in names]
    done = _run("storescu", "-aet", "MODALITY", "127.0.0.1", str(quick.port), *files)
    assert done.returncode == 0, done.stderr
    assert set(quick.archive.got) == {scan(f).sop_uid for f in files}
    assert quick.archive.origins == {"dimse:MODALITY@127.0.0.1"}


@pytest.mark.parametrize("peer_max", [0, 4096, 65536])
def test_pynetdicom_stores_and_repeats(quick, wire, peer_max):
    from pynetdicom import AE

    ae = AE(ae_title="NETDICOM")
    ae.maximum_pdu_size = peer_max
    ae.add_requested_context(wire.CT, wire.EXPLICIT)
    ae.add_requested_context("1.2.840.10008.1.1")
    assoc = ae.associate("127.0.0.1", quick.port)
    assert assoc.is_established
    dataset = pydicom.dcmread(wire.FILES / "CT_small.dcm")
    assert assoc.send_c_echo().Status == 0
    assert [assoc.send_c_store(dataset).Status for _ in range(3)] == [0, 0, 0]
    dataset.PatientName = "Other^Content"
    assert assoc.send_c_store(dataset).Status == 0x0111
    assert assoc.send_c_echo().Status == 0
    assoc.release()
    assert assoc.is_released
    assert len(quick.archive.got) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CorruptFile("x"), 0xC000),
        (ParameterError("x"), 0xA900),
        (Conflict("x"), 0x0111),
        (OSError(errno.ENOSPC, "No space left"), 0xA700),
        (OSError(errno.EIO, "I/O error"), 0xA700),
        (MemoryError(), 0xA700),
        (RuntimeError("bug"), 0x0110),
    ],
)
def test_what_the_archive_raises_becomes_a_status(quick, wire, error, status):
    quick.archive.fail = error
    with wire.established(quick, ((1, wire.CT, (wire.EXPLICIT,)),)) as sock:
        sock.sendall(wire.pdata(1, 3, wire.store_rq()) + wire.pdata(1, 2, b"\xff" * 64))
        kind, body = wire.read_pdu(sock)
        assert kind == 4
        assert wire.element(0x0900, status.to_bytes(2, "little")) in body
    quick.archive.fail = None


def test_out_of_space_of_the_archive_is_a700(quick, wire):
    from somascope.archive.records import OutOfSpace

    test_what_the_archive_raises_becomes_a_status(quick, wire, OutOfSpace("full"), 0xA700)


@pytest.mark.parametrize("step", [1, 2, 7, 5000])
def test_a_data_set_in_odd_fragments_several_to_a_pdu(quick, wire, step):
    data = bytes(range(256)) * 20
    pdvs = [wire.pdata(1, 3, wire.store_rq())[6:]]
    for at in range(0, len(data), step):
        last = 2 if at + step >= len(data) else 0
        part = data[at : at + step]
        pdvs.append(struct.pack(">IBB", len(part) + 2, 1, last) + part)
    with wire.established(quick, ((1, wire.CT, (wire.EXPLICIT,)),)) as sock:
        for first in range(0, len(pdvs), 50):
            body = b"".join(pdvs[first : first + 50])
            sock.sendall(struct.pack(">BxI", 4, len(body)) + body)
        assert wire.element(0x0900, b"\0\0") in wire.read_pdu(sock)[1]
    assert quick.archive.got["1.2.3.4"][2:] == (len(data), hashlib.sha256(data).hexdigest())


def test_a_class_that_is_not_the_contexts_is_refused(quick, wire):
    with wire.established(quick, ((1, wire.CT, (wire.EXPLICIT,)),)) as sock:
        wrong = wire.store_rq(sop_class="1.2.840.10008.5.1.4.1.1.4")
        sock.sendall(wire.pdata(1, 3, wrong) + wire.pdata(1, 2, bytes(64)))
        assert wire.element(0x0900, b"\x22\x01") in wire.read_pdu(sock)[1]
    assert quick.archive.calls == 0


def test_private_classes_are_taken_unless_told_otherwise(recorder, tmp_path, opened, wire):
    contexts = (
        (1, PRIVATE, (wire.EXPLICIT,)),
        (3, "1.2.840.10008.1.20.1", (wire.EXPLICIT,)),
        (5, wire.CT, ("1.2.840.10008.1.2.4.204",)),
    )
    for unknown, results in ((True, [0, 3, 4]), (False, [3, 3, 4])):
        with opened(recorder, tmp_path, unknown_storage=unknown) as door, door.connect() as sock:
            sock.sendall(wire.associate_rq(contexts))
            kind, body = wire.read_pdu(sock)
            assert kind == 2
            assert [c.result for c in decode_associate_ac(body).contexts] == results


def test_strangers_are_refused_where_peers_are_required(recorder, tmp_path, opened, wire):
    peers = (
        Peer(name="ct", host="127.0.0.1", port=104, aet="CT1"),
        Peer(name="far", host="192.0.2.1", port=104, aet="FAR"),
        Peer(name="asks", host="127.0.0.1", port=104, aet="ASKS", store=False, retrieve=False),
    )
    with opened(recorder, tmp_path, peers=peers, known_peers_only=True) as door:
        for calling, called, answer in (
            ("NOBODY", "SOMASCOPE", (3, bytes([0, 1, 1, 3]))),
            ("FAR", "SOMASCOPE", (3, bytes([0, 1, 1, 3]))),
            ("CT1", "OTHER", (3, bytes([0, 1, 1, 7]))),
        ):
            with door.connect() as sock:
                sock.sendall(wire.associate_rq(calling=calling, called=called))
                assert wire.read_pdu(sock) == answer
        wire.echo(door, calling="CT1")
        with door.connect() as sock:
            sock.sendall(wire.associate_rq(((1, wire.CT, (wire.EXPLICIT,)),), calling="ASKS"))
            assert [c.result for c in decode_associate_ac(wire.read_pdu(sock)[1]).contexts] == [1]


def test_a_large_data_set_goes_to_an_unlinked_file(recorder, tmp_path, opened, wire):
    data = b"0123456789abcdef" * 40_000
    with (
        opened(recorder, tmp_path, limits=Limits(spool_above=100_000)) as door,
        wire.established(door, ((1, wire.CT, (wire.EXPLICIT,)),)) as sock,
    ):
        for uid in ("1.2.3", "1.2.5"):
            sock.sendall(wire.pdata(1, 3, wire.store_rq(uid)))
            for at in range(0, len(data), 65_536):
                last = 2 if at + 65_536 >= len(data) else 0
                sock.sendall(wire.pdata(1, last, data[at : at + 65_536]))
            assert list(tmp_path.iterdir()) == []
            assert wire.element(0x0900, b"\0\0") in wire.read_pdu(sock)[1]
    assert {g[2:] for g in recorder.got.values()} == {(len(data), hashlib.sha256(data).hexdigest())}


def test_body_gives_back_what_was_put_in(tmp_path):
    for spool in (10, 1000, 1 << 20):
        body = Body(spool_above=spool, folder=tmp_path)
        for round_ in range(3):
            want = b""
            for n in (1, 0, 500, 3, 2000):
                piece = bytes([n % 251]) * n
                body.room(n)[:] = piece
                body.commit(n)
                want += piece
            assert body.size == len(want)
            assert bytes(body.view()) == want, (spool, round_)
            body.clear()


def test_a_dataset_beyond_the_limit_is_aborted(recorder, tmp_path, opened, wire):
    with (
        opened(recorder, tmp_path, limits=Limits(max_dataset=50_000)) as door,
        wire.established(door, ((1, wire.CT, (wire.EXPLICIT,)),)) as sock,
    ):
        sock.sendall(wire.pdata(1, 3, wire.store_rq()) + wire.pdata(1, 0, bytes(50_001)))
        assert wire.read_pdu(sock)[0] == 7
    assert recorder.calls == 0
