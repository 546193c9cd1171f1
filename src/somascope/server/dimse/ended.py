"""How an association ends, as exceptions: one root, one class for each way."""

from __future__ import annotations

from somascope.core.errors import SomascopeError
from somascope.server.dimse import pdu


class AssociationEnded(SomascopeError):
    """The association is over; the subclasses say how."""


class Released(AssociationEnded):
    """Orderly release."""


class Aborted(AssociationEnded):
    """A-ABORT, sent or received."""


class TransportClosed(AssociationEnded):
    """The connection went away."""


class TimedOut(AssociationEnded):
    """Nothing, or not enough, came in time."""


class Rejected(AssociationEnded):
    """The peer answered A-ASSOCIATE-RJ."""

    def __init__(self, rj: pdu.AssociateRJ) -> None:
        super().__init__(
            f"association rejected: result {rj.result}, source {rj.source}, reason {rj.reason}"
        )
        self.rj = rj
