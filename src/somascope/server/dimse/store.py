"""C-STORE SCP (PS3.4 annex B): the data set goes to the archive as the bytes that came."""

from __future__ import annotations

import errno
import logging
import re
from typing import TYPE_CHECKING

from somascope.core.errors import Conflict, ParameterError, ReadError, WriteError
from somascope.io.dicom.header import scan
from somascope.server.dimse.command import Tag
from somascope.server.dimse.status import Status

if TYPE_CHECKING:
    from somascope.server.dimse.message import Message
    from somascope.server.dimse.session import Session

log = logging.getLogger("somascope.dimse")

_UID = re.compile(r"[0-9.]{1,64}").fullmatch

_EXHAUSTED = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EIO,
    errno.EROFS,
    errno.EFBIG,
}


def store(session: Session, message: Message) -> None:
    """Keep the instance, then answer: success means that the archive says it is durable."""
    status, comment = _keep(session, message)
    if status is not Status.SUCCESS:
        uid = message.command.get(Tag.AFFECTED_SOP_INSTANCE, "")
        log.warning("C-STORE of %r from %r: %04x %r", uid, session.origin, status, comment)
    session.respond(message, status, comment=comment)


def _refusal(message: Message, transfer_syntax: str) -> Status:
    """Whether a refused data set is damaged, or whole and not what the command announced."""
    assert message.dataset is not None
    try:
        found = scan(message.dataset, transfer_syntax=transfer_syntax)
    except ReadError:
        return Status.CANNOT_UNDERSTAND
    announced = (
        message.command.text(Tag.AFFECTED_SOP_CLASS),
        message.command.text(Tag.AFFECTED_SOP_INSTANCE),
    )
    same = (found.sop_class, found.sop_uid) == announced
    return Status.CANNOT_UNDERSTAND if same else Status.DATASET_MISMATCH


def _keep(session: Session, message: Message) -> tuple[Status, str]:
    command = message.command
    sop_class = command.text(Tag.AFFECTED_SOP_CLASS)
    sop_uid = command.text(Tag.AFFECTED_SOP_INSTANCE)
    if session.peer is not None and not session.peer.store:
        return Status.NOT_AUTHORIZED, "this peer may not store"
    if not _UID(sop_uid):
        return Status.DATASET_MISMATCH, "Affected SOP Instance UID is no UID"
    if message.dataset is None:
        return Status.CANNOT_UNDERSTAND, "a C-STORE without a data set"
    try:
        stored = session.archive.store_dataset(
            message.dataset,
            sop_class=sop_class,
            sop_uid=sop_uid,
            transfer_syntax=session.contexts[message.context].transfer_syntax,
            origin=session.origin,
        )
    except ReadError as error:
        return _refusal(message, session.contexts[message.context].transfer_syntax), str(error)
    except ParameterError as error:
        return Status.DATASET_MISMATCH, str(error)
    except Conflict as error:
        return Status.DUPLICATE_INSTANCE, str(error)
    except WriteError as error:
        log.error("C-STORE from %r: %s", session.origin, error)  # noqa: TRY400
        return Status.OUT_OF_RESOURCES, "no space left"
    except MemoryError:
        return Status.OUT_OF_RESOURCES, "out of memory"
    except OSError as error:
        if error.errno in _EXHAUSTED:
            return Status.OUT_OF_RESOURCES, error.strerror or "storage exhausted"
        log.exception("C-STORE from %r", session.origin)
        return Status.PROCESSING_FAILURE, "the archive failed; see the server's log"
    except Exception:
        log.exception("C-STORE from %r", session.origin)
        return Status.PROCESSING_FAILURE, "the archive failed; see the server's log"
    if stored.outcome == "conflict":
        return Status.DUPLICATE_INSTANCE, "same SOP Instance UID, other content: quarantined"
    return Status.SUCCESS, ""
