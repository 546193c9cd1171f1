"""C-FIND SCP, patient root and study root (PS3.4 annex C.4.1), over the archive's search."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from somascope.archive.records import Level
from somascope.core.errors import ParameterError, ReadError
from somascope.server.dimse import identifier
from somascope.server.dimse.command import Field, Tag, response
from somascope.server.dimse.negotiate import PATIENT_ROOT
from somascope.server.dimse.pdu import InvalidPDU
from somascope.server.dimse.status import Status

if TYPE_CHECKING:
    from pydicom import Dataset

    from somascope.server.dimse.message import Message
    from somascope.server.dimse.session import Session

log = logging.getLogger("somascope.dimse")

LEVELS: dict[str, Level] = {
    "PATIENT": "PATIENT",
    "STUDY": "STUDY",
    "SERIES": "SERIES",
    "IMAGE": "INSTANCE",
}
"""Query/Retrieve Level (0008,0052) -> level of the archive."""

_PAGE = 500


def level_of(request: Dataset, sop_class: str) -> str | None:
    """The Query/Retrieve Level, when the information model has it."""
    level = str(request.get("QueryRetrieveLevel", "") or "").strip()
    if level not in LEVELS or (level == "PATIENT" and sop_class not in PATIENT_ROOT):
        return None
    return level


def cancelled(session: Session, message: Message) -> bool:
    """Whether a C-CANCEL-RQ for ``message`` has come; anything else that came ends it all."""
    if not session.exchange.waiting():
        return False
    other = session.exchange.receive(session.settings.limits.network)
    command = other.command
    if command.number(Tag.FIELD) != Field.C_CANCEL_RQ:
        raise session.exchange.layer.invalid(
            InvalidPDU("a request while another one is being answered")
        )
    return command.get(Tag.RESPONDED_TO) == message.command.number(Tag.MESSAGE_ID)


def find(session: Session, message: Message) -> None:
    """Answer a C-FIND-RQ."""
    accepted = session.contexts[message.context]
    if message.dataset is None:
        session.respond(message, Status.DATASET_MISMATCH, comment="a C-FIND without identifier")
        return
    try:
        request = identifier.read(message.dataset, transfer_syntax=accepted.transfer_syntax)
    except ReadError as error:
        session.respond(message, Status.CANNOT_UNDERSTAND, comment=str(error))
        return
    level = level_of(request, accepted.abstract_syntax)
    if level is None:
        session.respond(message, Status.DATASET_MISMATCH, comment="Query/Retrieve Level")
        return
    try:
        status, comment = _answer(session, message, request, level)
    except ParameterError as error:
        status, comment = Status.CANNOT_UNDERSTAND, str(error)
    session.respond(message, status, comment=comment)


def _answer(session: Session, message: Message, request: Dataset, level: str) -> tuple[Status, str]:
    transfer = session.contexts[message.context].transfer_syntax
    pending = response(message.command, Status.PENDING, dataset=True)
    for n, found in enumerate(matches(session, request, level)):
        if n == session.settings.limits.max_matches:
            return Status.OUT_OF_RESOURCES, f"more than {n} matches; ask for less"
        if cancelled(session, message):
            return Status.CANCEL, ""
        answer = identifier.from_json(found, request)
        answer.QueryRetrieveLevel = level
        answer.SpecificCharacterSet = "ISO_IR 192"
        answer.RetrieveAETitle = session.settings.aet
        answer.InstanceAvailability = "ONLINE"
        data = identifier.write(answer, transfer_syntax=transfer)
        session.exchange.send(message.context, pending, data)
    return Status.SUCCESS, ""


def matches(session: Session, request: Dataset, level: str) -> Iterator[Mapping[str, Any]]:
    """Matches as DICOM JSON objects, a page at a time."""
    from somascope.archive import Query

    match, fields = identifier.keys(request)
    offset = 0
    while True:
        page = session.archive.search(
            Query(
                level=LEVELS[level],
                match=match,
                fields=tuple(fields),
                limit=_PAGE,
                offset=offset,
                fuzzy=False,
            )
        )
        yield from page
        if len(page) < _PAGE:
            return
        offset += _PAGE
