from __future__ import annotations

import hashlib
import shutil
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest

from somascope.core.errors import CorruptFile
from somascope.server.dimse.acceptor import Acceptor
from somascope.server.dimse.serve import listen
from somascope.server.dimse.settings import Limits, Settings

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
DCMTK = ("echoscu", "storescu", "findscu", "movescu", "getscu", "storescp")
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


@dataclass
class Recorder:
    """An archive of digests: enough to see what a C-STORE delivered, and to fail on demand."""

    got: dict[str, tuple[str, str, int, str]] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)
    origins: set[str] = field(default_factory=set)
    fail: Exception | None = None
    calls: int = 0

    def store_dataset(
        self, dataset: Any, *, sop_class: str, sop_uid: str, transfer_syntax: str, origin: str
    ) -> Any:
        self.calls += 1
        if self.fail is not None:
            raise self.fail
        if len(dataset) == 0:
            raise CorruptFile("empty")
        new = (sop_class, transfer_syntax, len(dataset), hashlib.sha256(dataset).hexdigest())
        old = self.got.setdefault(sop_uid, new)
        self.data.setdefault(sop_uid, bytes(dataset))
        self.origins.add(origin)
        if self.calls > 1 and old is not new:
            return SimpleNamespace(outcome="duplicate" if old == new else "conflict", reason="")
        return SimpleNamespace(outcome="stored", reason="")


@dataclass
class Door:
    """A running acceptor in a thread of this process."""

    port: int
    archive: Any
    acceptor: Acceptor

    def connect(self, *, source: str = "127.0.0.1", timeout: float = 5.0) -> socket.socket:
        return socket.create_connection(
            ("127.0.0.1", self.port), timeout=timeout, source_address=(source, 0)
        )


@contextmanager
def door(archive: Any, root: Path, **settings: Any) -> Iterator[Door]:
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    acceptor = Acceptor(listener, archive, settings=Settings(root=str(root), **settings))
    thread = threading.Thread(target=acceptor.serve)
    thread.start()
    try:
        yield Door(port, archive, acceptor)
    finally:
        acceptor.stop()
        thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def quick(recorder: Recorder, tmp_path: Path) -> Iterator[Door]:
    """A door with short timers."""
    limits = Limits(artim=1.0, network=8.0, idle=20.0, per_address=8)
    with door(recorder, tmp_path, limits=limits) as running:
        yield running


@pytest.fixture(scope="session")
def opened():
    return door


@pytest.fixture
def dcmtk() -> None:
    missing = [name for name in DCMTK if shutil.which(name) is None]
    if missing:
        pytest.skip(f"DCMTK is not installed: no {', '.join(missing)}")


# ------------------------------------------------------------ hand-made bytes


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def associate_rq(
    contexts: tuple[tuple[int, str, tuple[str, ...]], ...] = (
        (1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),
    ),
    *,
    calling: str = "TEST",
    called: str = "SOMASCOPE",
    max_length: int = 16384,
) -> bytes:
    """Made here from PS3.8 section 9.3.2, not by the code under test."""
    body = struct.pack(">Hxx", 1) + called.ljust(16).encode() + calling.ljust(16).encode()
    body += bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, abstract, transfers in contexts:
        inner = item(0x30, abstract.encode())
        inner += b"".join(item(0x40, t.encode()) for t in transfers)
        body += item(0x20, bytes([number, 0, 0, 0]) + inner)
    info = item(0x51, struct.pack(">I", max_length)) + item(0x52, b"1.2.3")
    body += item(0x50, info)
    return struct.pack(">BxI", 1, len(body)) + body


def pdata(context: int, control: int, data: bytes) -> bytes:
    pdv = struct.pack(">IBB", len(data) + 2, context, control) + data
    return struct.pack(">BxI", 4, len(pdv)) + pdv


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def command(elements: dict[int, bytes]) -> bytes:
    body = b"".join(element(n, v) for n, v in sorted(elements.items()))
    return element(0, struct.pack("<I", len(body))) + body


def echo_rq(message: int = 1) -> bytes:
    return command(
        {
            0x0002: b"1.2.840.10008.1.1\0",
            0x0100: b"\x30\x00",
            0x0110: struct.pack("<H", message),
            0x0800: b"\x01\x01",
        }
    )


def store_rq(uid: str = "1.2.3.4", sop_class: str = CT) -> bytes:
    def even(text: str) -> bytes:
        raw = text.encode()
        return raw + b"\0" * (len(raw) % 2)

    return command(
        {
            0x0002: even(sop_class),
            0x0100: b"\x01\x00",
            0x0110: b"\x01\x00",
            0x0700: b"\0\0",
            0x0800: b"\x01\x00",
            0x1000: even(uid),
        }
    )


def exactly(sock: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        piece = sock.recv(n - len(data))
        if not piece:
            raise EOFError(data)
        data += piece
    return data


def read_pdu(sock: socket.socket) -> tuple[int, bytes]:
    head = exactly(sock, 6)
    return head[0], exactly(sock, int.from_bytes(head[2:6], "big"))


def established(running: Door, contexts: Any = None, **kw: Any) -> socket.socket:
    sock = running.connect()
    sock.sendall(associate_rq(contexts, **kw) if contexts else associate_rq(**kw))
    kind, _ = read_pdu(sock)
    if kind != 2:
        sock.close()
    assert kind == 2, f"association not accepted: PDU type {kind}"
    return sock


def echo(running: Door, **kw: Any) -> None:
    """A whole verification, by hand."""
    with established(running, **kw) as sock:
        sock.sendall(pdata(1, 3, echo_rq()))
        kind, body = read_pdu(sock)
        assert kind == 4
        assert body[4:6] == b"\x01\x03"
        assert element(0x0900, b"\0\0") in body
        sock.sendall(struct.pack(">BxI4x", 5, 4))
        assert read_pdu(sock)[0] == 6


@pytest.fixture(scope="session")
def wire() -> Any:
    """The hand-made bytes, as a name space."""
    return SimpleNamespace(
        associate_rq=associate_rq,
        pdata=pdata,
        element=element,
        command=command,
        echo_rq=echo_rq,
        store_rq=store_rq,
        read_pdu=read_pdu,
        established=established,
        echo=echo,
        CT=CT,
        EXPLICIT=EXPLICIT,
        FILES=FILES,
    )
