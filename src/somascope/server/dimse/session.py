"""`Session`: one accepted association, from A-ASSOCIATE-AC to the close; dispatches to services."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from somascope.server.dimse.command import RESPONSE, Field, InvalidCommand, Tag, response
from somascope.server.dimse.ended import AssociationEnded
from somascope.server.dimse.message import Exchange, Message
from somascope.server.dimse.negotiate import FIND, GET, MOVE, VERIFICATION, Accepted
from somascope.server.dimse.pdu import InvalidPDU
from somascope.server.dimse.settings import Peer, Settings
from somascope.server.dimse.status import Status

if TYPE_CHECKING:
    from somascope.archive import Archive
    from somascope.server.decode import Decoders

log = logging.getLogger("somascope.dimse")


@dataclass(kw_only=True)
class Session:
    """What a service needs to answer a request."""

    exchange: Exchange
    archive: Archive
    settings: Settings
    contexts: Mapping[int, Accepted]
    calling: str
    address: str
    peer: Peer | None
    decoders: Decoders | None = None

    @property
    def origin(self) -> str:
        """Who sent it, for the archive's record."""
        return f"dimse:{self.calling}@{self.address}"

    def respond(self, message: Message, status: int, *, comment: str = "") -> None:
        """Answer ``message`` without a data set; a comment is cut to the 64 characters of LO."""
        values = response(message.command, status)
        if comment:
            values[Tag.ERROR_COMMENT] = "".join(c if " " <= c <= "~" else "?" for c in comment)[:64]
        self.exchange.send(message.context, values)

    def serve(self) -> None:
        """Answer messages until the association ends (raises `AssociationEnded`)."""
        while True:
            message = self.exchange.receive(self.settings.limits.idle)
            try:
                self._dispatch(message)
            except InvalidCommand as error:
                raise self.exchange.layer.invalid(InvalidPDU(str(error))) from None
            except AssociationEnded:
                raise
            except Exception:
                log.exception("request of %r", self.origin)
                self.respond(message, Status.PROCESSING_FAILURE, comment="see the server's log")

    def _dispatch(self, message: Message) -> None:
        field = message.command.number(Tag.FIELD)
        if field == Field.C_CANCEL_RQ:
            return  # what it would cancel is already answered
        if field & RESPONSE:
            raise InvalidCommand(f"a response ({field:#06x}) to nothing we asked")
        service = services().get(field)
        if service is None:
            self.respond(message, Status.UNRECOGNIZED_OPERATION)
            return
        allowed, run = service
        accepted = self.contexts[message.context]
        sop_class = message.command.text(Tag.AFFECTED_SOP_CLASS)
        if sop_class != accepted.abstract_syntax or not accepted.scu:
            self.respond(message, Status.SOP_CLASS_NOT_SUPPORTED)
            return
        if allowed is not None and sop_class not in allowed:
            self.respond(message, Status.UNRECOGNIZED_OPERATION)
            return
        run(self, message)


def _echo(session: Session, message: Message) -> None:
    session.respond(message, Status.SUCCESS)


@functools.cache
def services() -> dict[int, tuple[frozenset[str] | None, Callable[[Session, Message], None]]]:
    """Command Field -> (SOP classes it goes with, None: any; what answers it)."""
    from somascope.server.dimse.query import find
    from somascope.server.dimse.retrieve import get, move
    from somascope.server.dimse.store import store

    return {
        Field.C_ECHO_RQ: (frozenset({VERIFICATION}), _echo),
        Field.C_STORE_RQ: (None, store),
        Field.C_FIND_RQ: (FIND, find),
        Field.C_GET_RQ: (GET, get),
        Field.C_MOVE_RQ: (MOVE, move),
    }
