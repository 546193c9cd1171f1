"""C-STORE into a real archive: what is acknowledged is there, what is not leaves nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from somascope.archive import Archive
from somascope.io.dicom.header import scan
from somascope.server.dimse.settings import Limits


@pytest.fixture
def kept(tmp_path, opened) -> Iterator[Any]:
    with (
        Archive.open(tmp_path / "archive") as archive,
        opened(archive, tmp_path / "archive", limits=Limits(network=2.0)) as door,
    ):
        yield door


def _files(archive: Archive) -> list[Path]:
    return [p for p in archive.root.rglob("*") if p.suffix == ".dcm" and p.is_file()]


def _ct(wire: Any) -> tuple[str, bytes]:
    path = wire.FILES / "CT_small.dcm"
    header = scan(path)
    return header.sop_uid, path.read_bytes()[header.dataset_offset :]


def _store(sock: Any, wire: Any, uid: str, data: bytes) -> bytes:
    sock.sendall(wire.pdata(1, 3, wire.store_rq(uid)) + wire.pdata(1, 2, data))
    kind, body = wire.read_pdu(sock)
    assert kind == 4
    at = body.index(struct.pack("<HHI", 0, 0x0900, 2)) + 8
    return bytes(body[at : at + 2][::-1])


def test_an_acknowledged_instance_is_there_byte_for_byte(kept, wire):
    uid, data = _ct(wire)
    with wire.established(kept, ((1, wire.CT, (wire.EXPLICIT,)),)) as sock:
        assert _store(sock, wire, uid, data) == b"\x00\x00"
        (instance,) = kept.archive.locate(instance=uid)
        assert instance.dataset() == data
        assert _store(sock, wire, uid, data) == b"\x00\x00"  # again: no second one
        assert _store(
            sock, wire, uid, data.replace(b"CompressedSamples", b"OtherContents....")
        ) == (b"\x01\x11")
    assert kept.archive.stats().instances == 1
    assert kept.archive.locate(instance=uid)[0].dataset() == data
    assert len(kept.archive.quarantine()) == 1


def test_a_uid_that_is_not_the_data_sets_is_a900(kept, wire):
    _, data = _ct(wire)
    with wire.established(kept, ((1, wire.CT, (wire.EXPLICIT,)),)) as sock:
        assert _store(sock, wire, "1.2.3.4", data) == b"\xa9\x00"
        assert _store(sock, wire, "../../etc/x\x1b[2J", data) == b"\xa9\x00"
    assert _files(kept.archive) == []


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_data_set_is_c000_and_leaves_nothing(kept, wire, keep):
    uid, data = _ct(wire)
    end = int(len(data) * keep) & ~1
    with wire.established(kept, ((1, wire.CT, (wire.EXPLICIT,)),)) as sock:
        assert _store(sock, wire, uid, data[:end]) == b"\xc0\x00"
    assert _files(kept.archive) == []
    assert kept.archive.stats().instances == 0


@pytest.mark.parametrize("ending", ["close", "abort", "release", "echo"])
def test_an_abandoned_store_leaves_no_file_and_no_row(kept, wire, ending):
    uid, data = _ct(wire)
    contexts = ((1, wire.CT, (wire.EXPLICIT,)), (3, "1.2.840.10008.1.1", (wire.EXPLICIT,)))
    with wire.established(kept, contexts) as sock:
        sock.sendall(wire.pdata(1, 3, wire.store_rq(uid)) + wire.pdata(1, 0, data[:20_000]))
        if ending == "abort":
            sock.sendall(struct.pack(">BxI4x", 7, 4))
        elif ending == "release":
            sock.sendall(struct.pack(">BxI4x", 5, 4))
            assert wire.read_pdu(sock)[0] == 6
        elif ending == "echo":
            sock.sendall(wire.pdata(3, 3, wire.echo_rq()))
            assert wire.read_pdu(sock)[0] == 7
    wire.echo(kept)
    assert _files(kept.archive) == []
    assert kept.archive.stats().instances == 0
