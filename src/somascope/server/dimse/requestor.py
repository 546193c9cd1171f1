"""Our side as association requestor: open, negotiate, exchange, release."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from somascope.core.errors import ParameterError
from somascope.server.dimse.command import NO_DATASET, Field, Tag
from somascope.server.dimse.ended import AssociationEnded, TransportClosed
from somascope.server.dimse.fsm import Sta
from somascope.server.dimse.message import Body, Exchange
from somascope.server.dimse.negotiate import ACCEPTANCE, Accepted
from somascope.server.dimse.pdu import (
    MAX_CONTEXTS,
    AssociateAC,
    AssociateRQ,
    ProposedContext,
    Role,
)
from somascope.server.dimse.tls import TlsSocket
from somascope.server.dimse.upper_layer import TICK, UpperLayer, set_timeouts

Proposal = tuple[str, tuple[str, ...]]
"""Abstract syntax and transfer syntaxes of a proposed presentation context."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """Whom to call, as whom. Times in seconds."""

    host: str
    port: int
    aet: str
    calling: str = "SOMASCOPE"
    connect: float = 10.0
    network: float = 30.0
    answer: float = 300.0
    """How long a response may take."""
    max_pdu: int = 262_144
    max_dataset: int = 32 << 30
    spool_folder: Path | None = None
    """Where a data set above 16 MiB is spooled (C-GET); None: the system's temporary folder."""
    tls: ssl.SSLContext | None = None
    """Speak TLS with this context (`dimse.tls.Tls.client`)."""


@dataclass
class Association:
    """An established association with us as requestor."""

    exchange: Exchange
    contexts: dict[int, Accepted]
    remote: Remote
    _message: int = field(default=0)

    def next_message(self) -> int:
        """A fresh Message ID."""
        self._message = self._message % 0xFFFF + 1
        return self._message

    def context_for(self, sop_class: str, transfer_syntax: str | None = None) -> int | None:
        """Id of an accepted context of the class, with the transfer syntax if one is named."""
        for number, accepted in self.contexts.items():
            if accepted.abstract_syntax == sop_class and (
                transfer_syntax is None or accepted.transfer_syntax == transfer_syntax
            ):
                return number
        return None

    def cancel(self, context: int, message: int) -> None:
        """Send a C-CANCEL-RQ for ``message``."""
        self.exchange.send(
            context,
            {
                Tag.FIELD: Field.C_CANCEL_RQ,
                Tag.RESPONDED_TO: message,
                Tag.DATASET_TYPE: NO_DATASET,
            },
        )


def _accepted(rq: AssociateRQ, ac: AssociateAC) -> dict[int, Accepted]:
    """Contexts the peer accepted; what it made up is left out."""
    proposed = {c.id: c for c in rq.contexts}
    roles = {r.sop_class: r for r in ac.roles}
    asked = {r.sop_class: r for r in rq.roles}
    found = {}
    for result in ac.contexts:
        context = proposed.get(result.id)
        if result.result != ACCEPTANCE or context is None:
            continue
        if result.transfer_syntax not in context.transfer_syntaxes:
            continue
        uid = context.abstract_syntax
        scu, scp = True, False
        if uid in asked and uid in roles:
            scu = asked[uid].scu and roles[uid].scu
            scp = asked[uid].scp and roles[uid].scp
        found[result.id] = Accepted(uid, result.transfer_syntax, scu, scp)
    return found


def _secured(sock: socket.socket, remote: Remote) -> TlsSocket:
    """The connected socket after its TLS handshake, which must be over in ``remote.connect`` s."""
    assert remote.tls is not None
    try:
        return TlsSocket(remote.tls.wrap_socket(sock, server_hostname=remote.host))
    except (OSError, ValueError) as error:
        sock.close()
        raise TransportClosed(f"{remote.host}:{remote.port}: TLS: {error}") from error


@contextlib.contextmanager
def associate(
    remote: Remote, proposals: Sequence[Proposal], *, roles: Sequence[Role] = ()
) -> Iterator[Association]:
    """Open an association; it is released at the end of the block, aborted when that fails.

    Raises
    ------
    ParameterError
        More than 128 proposals.
    AssociationEnded
        Rejected, aborted, timed out, or the connection failed (`TransportClosed`).
    """
    if not 0 < len(proposals) <= MAX_CONTEXTS:
        raise ParameterError(f"{len(proposals)} presentation contexts; 1 to {MAX_CONTEXTS} fit")
    sock: socket.socket | TlsSocket
    try:
        sock = socket.create_connection((remote.host, remote.port), timeout=remote.connect)
    except OSError as error:
        raise TransportClosed(f"{remote.host}:{remote.port}: {error}") from error
    if remote.tls is not None:
        sock = _secured(sock, remote)
    else:
        sock.settimeout(None)
    set_timeouts(sock, receive=TICK, send=remote.network)
    layer = UpperLayer(
        sock, max_pdu=remote.max_pdu, network=remote.network, artim=15.0, requestor=True
    )
    rq = AssociateRQ(
        called=remote.aet,
        calling=remote.calling,
        contexts=tuple(
            ProposedContext(2 * i + 1, abstract, transfers)
            for i, (abstract, transfers) in enumerate(proposals)
        ),
        roles=tuple(roles),
        max_length=remote.max_pdu,
    )
    body = Body(spool_above=16 << 20, folder=remote.spool_folder)
    try:
        contexts = _accepted(rq, layer.request(rq))
        exchange = Exchange(
            layer, contexts, body=body, max_dataset=remote.max_dataset, max_identifier=1 << 22
        )
        yield Association(exchange, contexts, remote)
        if layer.state is Sta.Sta6:
            with contextlib.suppress(AssociationEnded):
                layer.release()
    except BaseException:
        layer.abort()
        raise
    finally:
        layer.close()
        body.clear()
