"""What strangers may do to the port, and who is still served meanwhile."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from somascope.server.dimse.settings import Limits


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")


def _ends(sock: socket.socket, within: float) -> list[int]:
    """Types of the PDUs that come until the other side closes."""
    sock.settimeout(within)
    kinds, data = [], b""
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionError:
            piece = b""
        if not piece:
            break
        data += piece
    while len(data) >= 6:
        kinds.append(data[0])
        data = data[6 + int.from_bytes(data[2:6], "big") :]
    return kinds


def _waits(sock: socket.socket) -> bool:
    """Whether the other side has neither answered nor closed so far."""
    sock.setblocking(False)
    try:
        sock.recv(1)
    except BlockingIOError:
        return True
    return False


@needs_proc
def test_two_hundred_idle_sockets_do_not_delay_an_echo(recorder, tmp_path, opened, wire):
    limits = Limits(artim=30.0, half_open=400)
    with opened(recorder, tmp_path, limits=limits) as door, ExitStack() as stack:
        wire.echo(door)
        before, threads = _rss(), threading.active_count()
        idle = [stack.enter_context(door.connect()) for _ in range(200)]
        for sock in idle:
            sock.sendall(b"\1")
        wire.echo(door)
        assert all(map(_waits, idle))
        assert _rss() - before < 20 << 20
        assert threading.active_count() <= threads + 1


def test_idle_sockets_are_dropped(recorder, tmp_path, opened, wire):
    with opened(recorder, tmp_path, limits=Limits(artim=1.0)) as door, ExitStack() as stack:
        idle = [stack.enter_context(door.connect()) for _ in range(20)]
        for sock in idle:
            sock.sendall(b"\1")
        for sock in idle:
            assert _ends(sock, 30.0) == []
        wire.echo(door)


def test_more_half_open_than_the_budget_push_out_the_oldest(recorder, tmp_path, opened, wire):
    with (
        opened(recorder, tmp_path, limits=Limits(artim=20.0, half_open=32)) as door,
        ExitStack() as s,
    ):
        idle = [s.enter_context(door.connect()) for _ in range(100)]
        wire.echo(door)
        idle[0].settimeout(2.0)
        assert idle[0].recv(1) == b""
        assert _waits(idle[-1])


def test_one_address_cannot_take_all_associations(quick, wire):
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(wire.established(quick))
        ninth = stack.enter_context(quick.connect())
        ninth.sendall(wire.associate_rq())
        assert wire.read_pdu(ninth) == (3, bytes([0, 2, 3, 2]))
        other = stack.enter_context(quick.connect(source="127.0.0.2"))
        other.sendall(wire.associate_rq())
        assert wire.read_pdu(other)[0] == 2
    deadline = time.monotonic() + 5
    while True:
        try:
            wire.echo(quick)
            break
        except AssertionError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_three_hundred_mutated_requests_then_at_once_an_echo(recorder, tmp_path, opened, wire):
    rng = random.Random(300)
    good = wire.associate_rq()
    limits = Limits(artim=30.0, half_open=400)
    with opened(recorder, tmp_path, limits=limits) as door, door.connect() as idle:
        idle.sendall(good[:10])
        for _ in range(300):
            bad = bytearray(good)
            for _ in range(rng.randint(1, 10)):
                bad[rng.randrange(len(bad))] = rng.randrange(256)
            with door.connect() as sock:
                sock.sendall(bad)
        wire.echo(door, calling="AFTER")
        assert _waits(idle)  # nobody had to wait for the timer of the half open


@needs_proc
@pytest.mark.parametrize("kind", [1, 4])
@pytest.mark.parametrize("inside", [False, True])
def test_a_pdu_that_claims_four_gigabytes_is_refused_within_64_kib(quick, wire, kind, inside):
    sock = wire.established(quick) if inside else quick.connect()
    before = _rss()
    with sock:
        sock.sendall(struct.pack(">BxI", kind, 0xFFFFFFF0))
        sent, zeros = 0, bytes(16384)
        try:
            while sent < 64 << 20:
                sock.sendall(zeros)
                sent += len(zeros)
        except OSError:
            pass
        assert sent < 16 << 20  # what the kernel's buffers swallow, not the server
    assert _rss() - before < 16 << 20
    wire.echo(quick)
    with wire.established(quick) if inside else quick.connect() as sock:
        sock.sendall(struct.pack(">BxI", kind, 0xFFFFFFF0))
        assert _ends(sock, 3.0) == [7]


def test_a_length_claim_inside_a_pdv_is_refused(quick, wire):
    with wire.established(quick) as sock:
        pdv = struct.pack(">IBB", 0xFFFFFFF0, 1, 3) + b"abcd"
        sock.sendall(struct.pack(">BxI", 4, len(pdv)) + pdv)
        assert _ends(sock, 3.0) == [7]


@pytest.mark.parametrize(
    "make",
    [
        lambda w: w.pdata(3, 3, w.echo_rq()),  # a context that was never accepted
        lambda w: w.pdata(1, 2, b"\0\0"),  # a data set before a command
        lambda w: w.pdata(1, 0xFF, w.echo_rq()),
        lambda w: w.pdata(1, 3, b"\x08\0\x16\0\0\0\0\0"),
        lambda w: w.pdata(1, 3, w.echo_rq()[:-1]),
        lambda w: struct.pack(">BxI", 4, 9) + struct.pack(">IBB", 2, 1, 1) + b"\0\0\0",
        lambda w: w.pdata(1, 3, w.command({0x0100: b"\x30\x80", 0x0120: b"\1\0", 0x800: b"\1\1"})),
        lambda w: w.associate_rq(),
        lambda w: struct.pack(">BxI4x", 6, 4),
        lambda w: struct.pack(">BxI4x", 3, 4),
        lambda w: b"GET / HTTP/1.1\r\n\r\n",
        lambda w: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)  # fmt: skip
def test_what_is_wrong_inside_an_association_is_answered_with_one_abort(quick, wire, make):
    with wire.established(quick) as sock:
        sock.sendall(make(wire))
        assert _ends(sock, 3.0) == [7]
    wire.echo(quick)


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 6])
def test_other_pdus_before_the_request_are_answered_with_an_abort(quick, wire, kind):
    with quick.connect() as sock:
        sock.sendall(struct.pack(">BxI", kind, {2: 80, 4: 20}.get(kind, 4)) + bytes(80))
        assert _ends(sock, 3.0) == [7]
    wire.echo(quick)


def test_random_orders_and_mutations_in_an_association_leave_no_thread(quick, wire):
    """PS3.8 PDUs in random order, some with flipped bytes, fixed seed; then everything is quiet."""
    rng = random.Random(58)
    contexts = ((1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)), (3, wire.CT, (wire.EXPLICIT,)))
    pieces = [
        wire.associate_rq(contexts),
        wire.pdata(1, 3, wire.echo_rq()),
        wire.pdata(3, 3, wire.store_rq()),
        wire.pdata(3, 1, wire.store_rq()[:40]),
        wire.pdata(3, 0, bytes(100)),
        wire.pdata(3, 2, bytes(100)),
        struct.pack(">BxI4x", 5, 4),
        struct.pack(">BxI4x", 6, 4),
        struct.pack(">BxI4x", 7, 4),
        bytes(30),
    ]
    threads = threading.active_count()
    for _ in range(150):
        with quick.connect() as sock:
            if rng.random() < 0.7:
                sock.sendall(pieces[0])
                wire.read_pdu(sock)
            try:
                for _ in range(rng.randint(1, 5)):
                    bad = bytearray(rng.choice(pieces))
                    if rng.random() < 0.5:
                        bad[rng.randrange(len(bad))] = rng.randrange(256)
                    sock.sendall(bad)
            except OSError:
                continue
    wire.echo(quick)
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() == threads
    assert all(size > 0 for _, _, size, _ in quick.archive.got.values())


def test_a_slow_sender_inside_a_message_is_cut_off(recorder, tmp_path, opened, wire):
    limits = Limits(network=2.0, idle=60.0)
    with opened(recorder, tmp_path, limits=limits) as door, wire.established(door) as sock:
        whole = wire.pdata(1, 3, wire.echo_rq())
        sock.sendall(whole[:20])
        assert _ends(sock, 30.0) == [7]  # long before the 60 s between messages


def test_one_who_never_reads_is_cut_off(recorder, tmp_path, opened, wire):
    with opened(recorder, tmp_path, limits=Limits(network=1.0, idle=30.0)) as door:
        with wire.established(door) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            request = wire.pdata(1, 3, wire.echo_rq()) * 500
            sock.settimeout(1.0)
            begin = time.monotonic()
            cut = False
            while not cut and time.monotonic() - begin < 20:
                try:
                    sock.sendall(request)
                except OSError:
                    cut = True
            assert cut
        wire.echo(door)


def test_the_tail_of_an_abandoned_store_is_never_stored(quick, wire):
    contexts = ((1, wire.CT, (wire.EXPLICIT,)),)
    dataset = (wire.FILES / "CT_small.dcm").read_bytes()[1000:]
    for ending in ("close", "abort", "reset"):
        with wire.established(quick, contexts) as sock:
            sock.sendall(wire.pdata(1, 3, wire.store_rq()) + wire.pdata(1, 0, dataset[:10_000]))
            if ending == "abort":
                sock.sendall(struct.pack(">BxI4x", 7, 4))
            elif ending == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.echo(quick)
    assert quick.archive.calls == 0
