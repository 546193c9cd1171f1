"""`UpperLayer`: one socket, the PS3.8 state machine, and nothing allocated on a stranger's word.

Synchronous. The receive timeout of the socket is a short tick, so that one ``recv`` is one system
call and deadlines are still kept. Only the peer's bytes that have really arrived take memory.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from somascope.core.errors import SomascopeError
from somascope.server.dimse import pdu
from somascope.server.dimse.ended import Aborted, Rejected, Released, TimedOut, TransportClosed
from somascope.server.dimse.fsm import TABLE, Evt, Sta
from somascope.server.dimse.pdu import AbortReason, InvalidPDU, PDUType
from somascope.server.dimse.tls import TlsSocket

Buffer = bytes | bytearray | memoryview

TICK = 1.0
"""Longest single wait in ``recv``, seconds."""

LINGER_BYTES = 64 * 1024
"""Read and dropped after our A-ABORT or A-ASSOCIATE-RJ, so that the peer can still read it."""

_BUFFERS_PER_SEND = 128

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Acknowledge at once: a sender with Nagle's algorithm on would else wait 40 ms for us."""

_BY_TYPE = {
    PDUType.ASSOCIATE_RQ: Evt.ASSOCIATE_RQ,
    PDUType.ASSOCIATE_AC: Evt.ASSOCIATE_AC,
    PDUType.ASSOCIATE_RJ: Evt.ASSOCIATE_RJ,
    PDUType.DATA_TF: Evt.DATA_TF,
    PDUType.RELEASE_RQ: Evt.RELEASE_RQ,
    PDUType.RELEASE_RP: Evt.RELEASE_RP,
    PDUType.ABORT: Evt.ABORT,
}


def set_timeouts(sock: socket.socket | TlsSocket, *, receive: float, send: float) -> None:
    """Kernel timeouts of a blocking socket (SO_RCVTIMEO, SO_SNDTIMEO), seconds."""
    if isinstance(sock, TlsSocket):
        sock.timeouts(receive=receive, send=send)
        return
    for option, seconds in ((socket.SO_RCVTIMEO, receive), (socket.SO_SNDTIMEO, send)):
        if sys.platform == "win32":
            sock.setsockopt(socket.SOL_SOCKET, option, int(seconds * 1000))
        else:
            value = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
            sock.setsockopt(socket.SOL_SOCKET, option, value)


class UpperLayer:
    """The upper layer service of PS3.8 section 7 on one connected socket."""

    def __init__(
        self, sock: socket.socket | TlsSocket, *, max_pdu: int, network: float, artim: float,
        requestor: bool,
    ) -> None:  # fmt: skip
        self.sock = sock
        self.max_pdu = max_pdu
        self.network = network
        self.artim = artim
        self.requestor = requestor
        self.peer_max = 16_384
        """Largest variable field of a P-DATA-TF the peer takes."""
        self.state = Sta.Sta1
        self.artim_until: float | None = None
        self.answer: pdu.AssociateAC | None = None
        self._head = bytearray(12)
        self._head_view = memoryview(self._head)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # ------------------------------------------------------------ the machine

    def fire(self, event: Evt, payload: Any = None) -> None:
        """Let ``event`` happen: do the action of PS3.8 table 9-10 and enter the next state."""
        entry = TABLE.get((event, self.state))
        if entry is None:
            raise SomascopeError(f"{event.name} cannot happen in {self.state.name}")
        action, following = entry
        chosen = self._ACTIONS[action](self, payload)
        self.state = following if following is not None else chosen

    def _start_artim(self) -> None:
        self.artim_until = time.monotonic() + self.artim

    def _nothing(self, _payload: Any) -> None:
        """Actions that only tell the user: the caller of `fire` is the user."""

    def _ae_2(self, rq: pdu.AssociateRQ) -> None:
        self.send([pdu.encode_associate_rq(rq)])

    def _ae_3(self, ac: pdu.AssociateAC) -> None:
        self.answer = ac

    def _ae_5(self, _payload: Any) -> None:
        self._start_artim()

    def _ae_6(self, rj: pdu.AssociateRJ | None) -> Sta:
        self.artim_until = None
        if rj is None:
            return Sta.Sta3
        self._ae_8(rj)
        return Sta.Sta13

    def _ae_7(self, ac: pdu.AssociateAC) -> None:
        self.send([pdu.encode_associate_ac(ac)])

    def _ae_8(self, rj: pdu.AssociateRJ) -> None:
        self._try_send(pdu.encode_associate_rj(rj))
        self._start_artim()

    def _data(self, buffers: Sequence[Buffer]) -> None:
        self.send(buffers)

    def _ar_1(self, _payload: Any) -> None:
        self.send([pdu.RELEASE_RQ])

    def _ar_4(self, _payload: Any) -> None:
        self._try_send(pdu.RELEASE_RP)
        self._start_artim()

    def _ar_8(self, _payload: Any) -> Sta:
        return Sta.Sta9 if self.requestor else Sta.Sta10

    def _ar_9(self, _payload: Any) -> None:
        self._try_send(pdu.RELEASE_RP)

    def _aa_1(self, _payload: Any) -> None:
        self._try_send(pdu.encode_abort(pdu.Abort(0, 0)))
        self._start_artim()

    def _close(self, _payload: Any) -> None:
        self.artim_until = None
        self.sock.close()

    def _aa_7(self, reason: AbortReason | None) -> None:
        reason = AbortReason.UNEXPECTED_PDU if reason is None else reason
        self._try_send(pdu.encode_abort(pdu.Abort(2, reason)))

    def _aa_8(self, reason: AbortReason | None) -> None:
        self._aa_7(reason)
        self._start_artim()

    _ACTIONS: ClassVar[dict[str, Callable[[Any, Any], Any]]] = {
        "AE-1": _nothing,
        "AE-2": _ae_2,
        "AE-3": _ae_3,
        "AE-4": _close,
        "AE-5": _ae_5,
        "AE-6": _ae_6,
        "AE-7": _ae_7,
        "AE-8": _ae_8,
        "DT-1": _data,
        "DT-2": _nothing,
        "AR-1": _ar_1,
        "AR-2": _nothing,
        "AR-3": _close,
        "AR-4": _ar_4,
        "AR-5": _close,
        "AR-6": _nothing,
        "AR-7": _data,
        "AR-8": _ar_8,
        "AR-9": _ar_9,
        "AR-10": _nothing,
        "AA-1": _aa_1,
        "AA-2": _close,
        "AA-3": _close,
        "AA-4": _close,
        "AA-5": _close,
        "AA-6": _nothing,
        "AA-7": _aa_7,
        "AA-8": _aa_8,
    }

    # ------------------------------------------------------------ bytes out

    def _try_send(self, data: bytes) -> None:
        """Send a farewell; a peer that does not take it has had its chance."""
        with contextlib.suppress(OSError):
            self.sock.sendall(data)

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send all buffers in order. Raises `TransportClosed` or `TimedOut`."""
        try:
            for first in range(0, len(buffers), _BUFFERS_PER_SEND):
                self._send_some(buffers[first : first + _BUFFERS_PER_SEND])
        except (BlockingIOError, TimeoutError) as error:
            self.state = Sta.Sta1
            self.sock.close()
            raise TimedOut("the peer does not take our data") from error
        except OSError as error:
            self.state = Sta.Sta1
            self.sock.close()
            raise TransportClosed(f"connection lost while sending: {error}") from error

    def _send_some(self, buffers: Sequence[Buffer]) -> None:
        if len(buffers) == 1:
            self.sock.sendall(buffers[0])
            return
        if isinstance(self.sock, TlsSocket) or not hasattr(self.sock, "sendmsg"):
            for buffer in buffers:
                self.sock.sendall(buffer)
            return
        sent = self.sock.sendmsg(buffers)
        for buffer in buffers:
            if sent >= len(buffer):
                sent -= len(buffer)
            else:
                self.sock.sendall(memoryview(buffer)[sent:])
                sent = 0

    # ------------------------------------------------------------ bytes in

    def _timed_out(self, what: str) -> TimedOut:
        if self.state is Sta.Sta2:
            self.fire(Evt.ARTIM_EXPIRED)
        elif (Evt.ABORT_REQUEST, self.state) in TABLE:
            self.fire(Evt.ABORT_REQUEST)
        return TimedOut(what)

    def _gone(self, why: str) -> TransportClosed:
        if (Evt.TRANSPORT_CLOSED, self.state) in TABLE:
            self.fire(Evt.TRANSPORT_CLOSED)
        self.sock.close()
        return TransportClosed(why)

    def _receive(self, view: memoryview, deadline: float, flags: int) -> int:
        """At least one byte into ``view``."""
        while True:
            try:
                n = self.sock.recv_into(view, 0, flags)
            except (BlockingIOError, TimeoutError):
                n = -1
            except OSError as error:
                raise self._gone(f"connection lost: {error}") from error
            if n > 0:
                return n
            if n == 0:
                raise self._gone("the peer closed the connection")
            if time.monotonic() > deadline:
                raise self._timed_out("the peer is silent")

    def read_exactly(self, view: memoryview, deadline: float) -> None:
        """Fill ``view``. Raises `TransportClosed` or `TimedOut`."""
        while view:
            view = view[self._receive(view, deadline, socket.MSG_WAITALL) :]

    def invalid(self, error: InvalidPDU) -> Aborted:
        """Evt19: send A-ABORT; the caller raises what comes back."""
        self.fire(Evt.INVALID_PDU, error.reason)
        return Aborted(f"invalid PDU: {error}")

    def next_header(self, wait: float) -> tuple[PDUType, int, int]:
        """Header of the next PDU: (type, length, bytes of the body already in `head_rest`).

        Waits ``wait`` seconds for its first byte, then the network timeout for the rest. Up to 12
        bytes are read: P-DATA-TF has at least that many, and no shorter PDU is followed by another.
        """
        if _QUICKACK is not None:
            self.sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        got = self._receive(self._head_view, time.monotonic() + wait, 0)
        deadline = time.monotonic() + self.network
        while True:
            if got >= pdu.HEADER:
                length = int.from_bytes(self._head[2:6], "big")
                try:
                    kind = pdu.check_header(self._head[0], length, max_length=self.max_pdu)
                except InvalidPDU as error:
                    raise self.invalid(error) from None
                if got >= (12 if kind is PDUType.DATA_TF else pdu.HEADER):
                    return kind, length, min(got - pdu.HEADER, length)
            got += self._receive(self._head_view[got:], deadline, 0)

    def next_data(self, wait: float) -> tuple[int, bytearray]:
        """Wait for a P-DATA-TF; (length of its variable field, the 12 bytes read of it).

        The caller reads the remaining ``length - 6`` bytes. Other PDUs are dealt with here.
        Raises `AssociationEnded` in one of its forms.
        """
        while True:
            kind, length, have = self.next_header(wait)
            if kind is PDUType.DATA_TF:
                self.fire(Evt.DATA_TF)
                if self.state not in (Sta.Sta6, Sta.Sta7):
                    raise Aborted(f"P-DATA-TF came in the wrong state, now {self.state.name}")
                return length, self._head
            self.other(kind, self._body(kind, length, have))

    def _body(self, kind: PDUType, length: int, have: int) -> bytes:
        body = bytearray(length)
        body[:have] = self._head[pdu.HEADER : pdu.HEADER + have]
        if kind not in (PDUType.ASSOCIATE_RQ, PDUType.ASSOCIATE_AC) or self.state is Sta.Sta5:
            self.read_exactly(memoryview(body)[have:], time.monotonic() + self.network)
        return bytes(body)

    def other(self, kind: PDUType, body: bytes) -> None:
        """Deal with a PDU that is not data; returns only when there is more to wait for."""
        event = _BY_TYPE[kind]
        try:
            if kind is PDUType.ABORT:
                told = pdu.decode_abort(body)
                self.fire(event)
                raise Aborted(f"the peer aborted: source {told.source}, reason {told.reason}")
            if self.state is Sta.Sta5 and kind is PDUType.ASSOCIATE_AC:
                self.fire(event, pdu.decode_associate_ac(body))
                return
            if self.state is Sta.Sta5 and kind is PDUType.ASSOCIATE_RJ:
                self.fire(event)
                raise Rejected(pdu.decode_associate_rj(body))
        except InvalidPDU as error:
            raise self.invalid(error) from None
        self.fire(event)
        if self.state in (Sta.Sta8, Sta.Sta9, Sta.Sta12):
            self.fire(Evt.RELEASE_RESPONSE)
        if self.state is Sta.Sta13 and kind is PDUType.RELEASE_RQ:
            raise Released("released by the peer")
        if self.state is Sta.Sta1:
            raise Released("released")
        if self.state is Sta.Sta13:
            raise Aborted(f"{kind.name} came at the wrong time")

    def waiting(self) -> bool:
        """Whether the peer has sent something (or gone) that is not yet read."""
        try:
            self.sock.recv_into(
                self._head_view[:1], 0, socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0)
            )
        except (BlockingIOError, TimeoutError):
            return False
        except OSError:
            return True
        return True

    # ------------------------------------------------------------ the ends

    def request(self, rq: pdu.AssociateRQ) -> pdu.AssociateAC:
        """A-ASSOCIATE as requestor on the connected socket.

        Raises
        ------
        Rejected, Aborted, TransportClosed, TimedOut
        """
        self.fire(Evt.ASSOCIATE_REQUEST)
        self.fire(Evt.TRANSPORT_CONFIRM, rq)
        kind, length, have = self.next_header(self.network)
        self.other(kind, self._body(kind, length, have))
        if self.answer is None:
            raise Aborted("no answer to the association request")
        self.peer_max = self.answer.max_length or 1 << 20
        return self.answer

    def release(self) -> None:
        """A-RELEASE as the one who asks; data still coming in is dropped."""
        self.fire(Evt.RELEASE_REQUEST)
        scratch = memoryview(bytearray(65_536))
        try:
            while True:
                length, _ = self.next_data(self.network)
                left = length - 6
                while left:
                    part = scratch[: min(left, len(scratch))]
                    self.read_exactly(part, time.monotonic() + self.network)
                    left -= len(part)
        except Released:
            return

    def abort(self) -> None:
        """A-ABORT by the service user, where there is still somebody to tell."""
        if (Evt.ABORT_REQUEST, self.state) in TABLE:
            self.fire(Evt.ABORT_REQUEST)

    def close(self) -> None:
        """Sta13 to Sta1: let the peer read our last words, briefly, then close."""
        if self.state is Sta.Sta13:
            with contextlib.suppress(OSError):
                set_timeouts(self.sock, receive=0.25, send=0.25)
                self.sock.shutdown(socket.SHUT_WR)
                left, until = LINGER_BYTES, time.monotonic() + min(self.artim, 1.0)
                while left > 0 and time.monotonic() < until:
                    n = len(self.sock.recv(min(left, 16_384)))
                    if n == 0:
                        break
                    left -= n
        self.state = Sta.Sta1
        self.sock.close()
