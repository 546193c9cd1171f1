"""`Acceptor`: one process's share of the DICOM port.

A selector holds every connection that has not yet sent a whole A-ASSOCIATE-RQ (Sta2) or awaits
its close (Sta13): such a connection costs a few hundred bytes and no thread, has a budget of its
own, and the ARTIM timer ends it. Only an established association gets a thread.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from somascope.server.decode import Decoders
from somascope.server.dimse import pdu
from somascope.server.dimse.ended import AssociationEnded, Released
from somascope.server.dimse.fsm import Evt, Sta
from somascope.server.dimse.ledger import Ledger
from somascope.server.dimse.message import Body, Exchange
from somascope.server.dimse.negotiate import MIN_PDU, negotiate
from somascope.server.dimse.pdu import AssociateRJ, AssociateRQ, InvalidPDU, PDUType
from somascope.server.dimse.session import Session
from somascope.server.dimse.settings import Settings
from somascope.server.dimse.tls import TlsSocket
from somascope.server.dimse.upper_layer import LINGER_BYTES, TICK, UpperLayer, set_timeouts

if TYPE_CHECKING:
    from somascope.archive import Archive

log = logging.getLogger("somascope.dimse")

_ACCEPT_AT_ONCE = 32
_YIELD = 0.003
"""How long a busier process lets the others take a new connection first, seconds."""


@dataclass(eq=False)
class _Young:
    """A connection in Sta2 or Sta13."""

    layer: UpperLayer
    address: str
    until: float
    data: bytearray = field(default_factory=bytearray)
    drained: int = 0
    handshake: bool = False
    """The TLS handshake is not over."""


class Acceptor:
    """Serves one listening socket, which other processes may serve too, until `stop`.

    Parameters
    ----------
    listener
        Bound and listening; it is made non-blocking and closed at the end.
    archive
        Open, safe to call from several threads.
    """

    def __init__(
        self,
        listener: socket.socket,
        archive: Archive,
        *,
        settings: Settings,
        ledger: Ledger | None = None,
    ) -> None:
        self._listener = listener
        self._archive = archive
        self._settings = settings
        self._limits = settings.limits
        self._ledger = ledger or Ledger(1, settings.limits.associations)
        self._selector = selectors.DefaultSelector()
        self._young: dict[_Young, None] = {}
        self._young_bytes = 0
        self._threads: dict[threading.Thread, socket.socket | TlsSocket] = {}
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._tls = settings.tls.server() if settings.tls else None
        self._decoders = Decoders()  # begun when a peer does not take what is stored
        self._stopping = False
        self._paused_until = 0.0

    def stop(self) -> None:
        """Ask `serve` to end; safe from a signal handler and from other threads."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._wake.send(b"x")

    # ------------------------------------------------------------ the loop

    def serve(self) -> None:
        """Accept and serve until `stop`; running services may finish their message."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._ledger.begin()
        try:
            while not self._stopping:
                for key, _ in self._selector.select(self._next_deadline()):
                    if key.fileobj is self._listener:
                        self._accept()
                    elif isinstance(key.data, _Young):
                        self._readable(key.data)
                self._expire()
        finally:
            self._end()

    def _next_deadline(self) -> float:
        now = time.monotonic()
        until = min((y.until for y in self._young), default=now + 5.0)
        if self._paused_until:
            until = min(until, self._paused_until)
        return max(until - now, 0.0)

    def _expire(self) -> None:
        now = time.monotonic()
        for young in [y for y in self._young if y.until <= now]:
            self._drop(young, Evt.ARTIM_EXPIRED)
        if self._paused_until and now >= self._paused_until:
            self._paused_until = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ, None)

    def _accept(self) -> None:
        yielded = False
        for _ in range(_ACCEPT_AT_ONCE):
            if self._ledger.busier():
                if yielded:
                    return  # the selector asks again
                time.sleep(_YIELD)
                yielded = True
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of descriptors: leave the port alone for a moment
                log.warning("accept: %s", error)
                self._selector.unregister(self._listener)
                self._paused_until = time.monotonic() + 0.2
                return
            sock.setblocking(False)
            layer = UpperLayer(
                self._secured(sock),
                max_pdu=self._limits.max_pdu,
                network=self._limits.network,
                artim=self._limits.artim,
                requestor=False,
            )
            layer.fire(Evt.TRANSPORT_INDICATION)
            young = _Young(layer, str(address[0]), time.monotonic() + self._limits.artim)
            young.handshake = self._tls is not None
            self._young[young] = None
            self._selector.register(layer.sock, selectors.EVENT_READ, young)
            self._make_room()
            self._ledger.half_open(len(self._young))

    def _secured(self, sock: socket.socket) -> socket.socket | TlsSocket:
        """The same, or its TLS side before the handshake."""
        if self._tls is None:
            return sock
        with_tls = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return TlsSocket(with_tls)

    def _handshake(self, young: _Young) -> None:
        """Go on with the TLS handshake; the ARTIM timer bounds it."""
        sock = young.layer.sock
        assert isinstance(sock, TlsSocket)
        try:
            events = sock.handshake()
        except OSError as error:
            log.warning("from %s: TLS: %s", young.address, error)
            self._drop(young, Evt.TRANSPORT_CLOSED)
            return
        young.handshake = events is not None
        self._selector.modify(sock, events or selectors.EVENT_READ, young)

    def _make_room(self) -> None:
        """Over budget: the oldest of the address that has the most half-open connections goes."""
        while (
            len(self._young) > self._limits.half_open
            or self._young_bytes > self._limits.half_open_bytes
        ):
            most = Counter(y.address for y in self._young).most_common(1)[0][0]
            self._drop(next(y for y in self._young if y.address == most), Evt.ARTIM_EXPIRED)

    def _forget(self, young: _Young) -> None:
        del self._young[young]
        self._young_bytes -= len(young.data)
        self._selector.unregister(young.layer.sock)
        self._ledger.half_open(len(self._young))

    def _drop(self, young: _Young, event: Evt) -> None:
        self._forget(young)
        young.layer.fire(event)

    # ------------------------------------------------------------ Sta2 and Sta13

    def _readable(self, young: _Young) -> None:
        if young in self._young and young.handshake:
            self._handshake(young)
            if young.handshake:
                return
        self._read(young)
        sock = young.layer.sock
        while young in self._young and isinstance(sock, TlsSocket) and sock.pending:
            self._read(young)  # the selector does not know of what is decrypted already

    def _read(self, young: _Young) -> None:
        if young not in self._young:
            return
        if young.layer.state is Sta.Sta13:
            self._drain(young)
            return
        have = len(young.data)
        needed = pdu.HEADER
        if have >= pdu.HEADER:
            needed = pdu.HEADER + int.from_bytes(young.data[2:6], "big")
        try:
            piece = young.layer.sock.recv(min(needed - have, 65_536))
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._drop(young, Evt.TRANSPORT_CLOSED)
            return
        young.data += piece
        self._young_bytes += len(piece)
        try:
            self._progress(young)
        except InvalidPDU as error:
            log.info("from %s: invalid PDU: %s", young.address, error)
            self._farewell(young, Evt.INVALID_PDU, error.reason)
        else:
            self._make_room()

    def _progress(self, young: _Young) -> None:
        """Judge what has come so far. Raises `InvalidPDU`."""
        data = young.data
        if len(data) < pdu.HEADER:
            return
        length = int.from_bytes(data[2:6], "big")
        if len(data) == pdu.HEADER:
            kind = pdu.check_header(data[0], length, max_length=self._limits.max_pdu)
            if kind is PDUType.ABORT:
                self._drop(young, Evt.ABORT)
            elif kind is not PDUType.ASSOCIATE_RQ:
                self._farewell(young, _EARLY[kind], None)
        elif len(data) == pdu.HEADER + length:
            rq = pdu.decode_associate_rq(bytes(data[pdu.HEADER :]))
            if 0 < rq.max_length < MIN_PDU:
                raise InvalidPDU(f"maximum length {rq.max_length}")
            self._establish(young, rq)

    def _farewell(self, young: _Young, event: Evt, payload: object) -> None:
        """Fire an event that leads to Sta13, and wait for the close there, not for long."""
        young.layer.fire(event, payload)
        with contextlib.suppress(OSError):
            young.layer.sock.shutdown(socket.SHUT_WR)
        self._young_bytes -= len(young.data)
        young.data = bytearray()
        young.until = time.monotonic() + min(self._limits.artim, 1.0)

    def _drain(self, young: _Young) -> None:
        try:
            piece = young.layer.sock.recv(16_384)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        young.drained += len(piece)
        if not piece or young.drained >= LINGER_BYTES:
            self._drop(young, Evt.TRANSPORT_CLOSED)

    # ------------------------------------------------------------ Sta3 and on

    def _establish(self, young: _Young, rq: AssociateRQ) -> None:
        slot = self._ledger.enter(young.address, per_address=self._limits.per_address)
        if slot is None:
            log.warning("from %s: too many associations", young.address)
            self._farewell(young, Evt.ASSOCIATE_RQ, pdu.LOCAL_LIMIT_EXCEEDED)
            return
        self._forget(young)
        young.layer.fire(Evt.ASSOCIATE_RQ)
        thread = threading.Thread(
            target=self._run, args=(young.layer, young.address, rq, slot), name="association"
        )
        thread.daemon = True
        with self._lock:
            self._threads[thread] = young.layer.sock
        try:
            thread.start()
        except RuntimeError:  # no more threads
            with self._lock:
                self._threads.pop(thread, None)
            self._ledger.leave(slot)
            young.layer.fire(Evt.ASSOCIATE_REJECT, pdu.LOCAL_LIMIT_EXCEEDED)
            young.layer.close()

    def _run(self, layer: UpperLayer, address: str, rq: AssociateRQ, slot: int) -> None:
        """The life of one association, in its thread."""
        try:
            layer.sock.setblocking(True)
            set_timeouts(layer.sock, receive=TICK, send=self._limits.network)
            self._associate(layer, address, rq)
        except Released:
            pass
        except AssociationEnded as error:
            log.info("association with %r at %s: %s", rq.calling, address, error)
        except OSError as error:
            log.info("association with %r at %s: %s", rq.calling, address, error)
        except Exception:
            log.exception("association with %r at %s", rq.calling, address)
            layer.abort()
        finally:
            layer.close()
            self._ledger.leave(slot)
            with self._lock:
                self._threads.pop(threading.current_thread(), None)

    def _associate(self, layer: UpperLayer, address: str, rq: AssociateRQ) -> None:
        agreed = negotiate(rq, self._settings, address=address)
        if isinstance(agreed, AssociateRJ):
            log.warning("rejected %r at %s calling %r", rq.calling, address, rq.called)
            layer.fire(Evt.ASSOCIATE_REJECT, agreed)
            return
        layer.peer_max = min(rq.max_length or 1 << 20, 1 << 20)
        layer.fire(Evt.ASSOCIATE_ACCEPT, agreed.answer)
        root = Path(self._settings.root)
        body = Body(spool_above=self._limits.spool_above, folder=root if root.is_dir() else None)
        exchange = Exchange(
            layer,
            agreed.contexts,
            body=body,
            max_dataset=self._limits.max_dataset,
            max_identifier=self._limits.max_identifier,
        )
        session = Session(
            exchange=exchange,
            archive=self._archive,
            settings=self._settings,
            contexts=agreed.contexts,
            calling=rq.calling,
            address=address,
            peer=agreed.peer,
            decoders=self._decoders,
        )
        try:
            session.serve()
        finally:
            body.clear()

    def _end(self) -> None:
        """No new data is read; what is being answered may be answered."""
        self._selector.close()
        self._listener.close()
        for young in list(self._young):
            young.layer.sock.close()
        with self._lock:
            running = dict(self._threads)
        for sock in running.values():
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)
        until = time.monotonic() + 5.0
        for thread in running:
            thread.join(max(until - time.monotonic(), 0.0))
        self._decoders.close()
        self._wake.close()
        self._woken.close()


_EARLY = {
    PDUType.ASSOCIATE_AC: Evt.ASSOCIATE_AC,
    PDUType.ASSOCIATE_RJ: Evt.ASSOCIATE_RJ,
    PDUType.DATA_TF: Evt.DATA_TF,
    PDUType.RELEASE_RQ: Evt.RELEASE_RQ,
    PDUType.RELEASE_RP: Evt.RELEASE_RP,
}
