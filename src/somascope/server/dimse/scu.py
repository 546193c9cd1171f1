"""Our side as service user: `echo`, `store`, `find`, `move`, `get` against another AE.

A hostile provider cannot make these functions write files: what C-GET brings goes, as bytes, to
the caller's function; names are never made from what came.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from somascope.core.errors import ParameterError, Refused, SomascopeError
from somascope.core.progress import QUIET, Progress
from somascope.io.dicom.header import scan
from somascope.server.dimse import identifier, outbound
from somascope.server.dimse import negotiate as uids
from somascope.server.dimse.command import DATASET, NO_DATASET, RESPONSE, Field, Tag, response
from somascope.server.dimse.outbound import Item, Outcome
from somascope.server.dimse.pdu import MAX_CONTEXTS, InvalidPDU, Role
from somascope.server.dimse.requestor import Association, Remote, associate
from somascope.server.dimse.status import Status

if TYPE_CHECKING:
    from somascope.server.dimse.message import Message

Level = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]
Root = Literal["PATIENT", "STUDY"]

_FIND = {"PATIENT": uids.PATIENT_ROOT_FIND, "STUDY": uids.STUDY_ROOT_FIND}
_MOVE = {"PATIENT": uids.PATIENT_ROOT_MOVE, "STUDY": uids.STUDY_ROOT_MOVE}
_GET = {"PATIENT": uids.PATIENT_ROOT_GET, "STUDY": uids.STUDY_ROOT_GET}

_COMMON = """
1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3.1 4 4.1 4.2 4.3 6.1 6.2 7 7.1 7.2 7.3 7.4 11.1 11.2
12.1 12.1.1 12.2 12.2.1 13.1.1 13.1.2 13.1.3 20 30 66 66.1 66.2 66.3 66.4 66.5 67 77.1.1 77.1.2
77.1.4 77.1.5.1 77.1.5.4 77.1.6 88.11 88.22 88.33 88.34 88.59 88.67 104.1 128 128.1 130 481.1 481.2
481.3 481.5
"""
COMMON_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{n}" for n in _COMMON.split())
"""Storage classes proposed by `get` when none are named."""


@dataclass(frozen=True)
class Sent:
    """One instance of a `store`."""

    sop_uid: str
    outcome: Outcome
    status: int
    why: str = ""


@dataclass(frozen=True)
class Retrieved:
    """How a `move` or `get` ended: counts of sub-operations and the UIDs that failed."""

    status: int
    completed: int
    warning: int
    failed: int
    failed_uids: tuple[str, ...] = ()
    comment: str = ""


@dataclass(frozen=True)
class Arrived:
    """An instance that C-GET brings; ``dataset`` is good within the call only."""

    dataset: memoryview
    sop_class: str
    sop_uid: str
    transfer_syntax: str


def echo(remote: Remote) -> float:
    """C-ECHO; seconds from request to response.

    Raises
    ------
    AssociationEnded
        No association, or it broke.
    Refused
        The peer does not accept Verification, or answers with a failure.
    """
    with associate(remote, [(uids.VERIFICATION, uids.PLAIN)]) as association:
        context = _need(association, uids.VERIFICATION)
        begin = time.perf_counter()
        association.exchange.send(context, _request(association, Field.C_ECHO_RQ, context))
        answer = association.exchange.receive(remote.answer)
        status = answer.command.number(Tag.STATUS)
        if status != Status.SUCCESS:
            raise Refused(f"{remote.aet} answered C-ECHO with {status:#06x}")
        return time.perf_counter() - begin


def _need(association: Association, sop_class: str) -> int:
    context = association.context_for(sop_class)
    if context is None:
        raise Refused(f"{association.remote.aet} accepts no presentation context for {sop_class}")
    return context


def _request(
    association: Association, field: Field, context: int, *, dataset: bool = False
) -> dict[Tag, int | str]:
    values: dict[Tag, int | str] = {
        Tag.AFFECTED_SOP_CLASS: association.contexts[context].abstract_syntax,
        Tag.FIELD: field,
        Tag.MESSAGE_ID: association.next_message(),
        Tag.DATASET_TYPE: DATASET if dataset else NO_DATASET,
    }
    if field is not Field.C_ECHO_RQ:
        values[Tag.PRIORITY] = 0
    return values


# ---------------------------------------------------------------- C-STORE


def _item(source: Path | bytes) -> Item:
    header = scan(source)
    return Item(
        source=source if isinstance(source, Path) else memoryview(source),
        offset=header.dataset_offset,
        sop_class=header.sop_class,
        sop_uid=header.sop_uid,
        transfer_syntax=header.transfer_syntax,
    )


def store(
    remote: Remote, sources: Iterable[Path | bytes], *, progress: Progress = QUIET
) -> list[Sent]:
    """C-STORE of Part 10 files, as stored where the peer allows, else decoded.

    One association, or several where more than 128 presentation contexts are needed. A file that
    cannot be read, or that the peer refuses, is reported and does not stop the others.
    """
    done: list[Sent] = []
    items: list[Item] = []
    for source in sources:
        try:
            items.append(_item(source))
        except SomascopeError as error:
            done.append(Sent("", "failed", Status.CANNOT_UNDERSTAND, str(error)))
    total = len(items)
    for batch in outbound.batches(items):
        with associate(remote, outbound.proposals_for(batch)) as association:
            for item in batch:
                progress((len(done) + 1) / max(total, 1), item.sop_uid)
                outcome, status, why = outbound.send(
                    association.exchange,
                    association.contexts,
                    item,
                    message_id=association.next_message(),
                    wait=remote.answer,
                )
                done.append(Sent(item.sop_uid, outcome, status, why))
    return done


# ---------------------------------------------------------------- C-FIND


def _identifier(level: Level, keys: Mapping[str, str], transfer: str) -> bytes:
    dataset = identifier.build({**keys, "QueryRetrieveLevel": level})
    return identifier.write(dataset, transfer_syntax=transfer)


def _level(level: Level, root: Root) -> None:
    if level == "PATIENT" and root != "PATIENT":
        raise ParameterError("the study root has no PATIENT level; ask with root='PATIENT'")


def find(
    remote: Remote,
    keys: Mapping[str, str],
    *,
    level: Level = "STUDY",
    root: Root = "STUDY",
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """C-FIND: matches as DICOM JSON objects (PS3.18 annex F).

    ``keys`` maps keywords to values; ``""`` asks for the attribute without restricting. Beyond
    ``limit`` matches the query is cancelled.

    Raises
    ------
    Refused
        The peer answers with a failure; the message carries its status and comment.
    """
    _level(level, root)
    found: list[dict[str, Any]] = []
    with associate(remote, [(_FIND[root], uids.PLAIN)]) as association:
        context = _need(association, _FIND[root])
        transfer = association.contexts[context].transfer_syntax
        values = _request(association, Field.C_FIND_RQ, context, dataset=True)
        association.exchange.send(context, values, _identifier(level, keys, transfer))
        number, asked = int(values[Tag.MESSAGE_ID]), False
        for message in _responses(association, Field.C_FIND_RQ, number):
            if message.dataset is None:
                continue
            if limit is not None and len(found) >= limit:
                if not asked:
                    association.cancel(context, number)
                    asked = True
                continue
            answer = identifier.read(message.dataset, transfer_syntax=transfer)
            found.append(answer.to_json_dict(suppress_invalid_tags=True))
    return found


def _responses(association: Association, field: Field, number: int) -> Iterator[Message]:
    """Pending responses to request ``number``. Raises `Refused` when it ends in failure."""
    while True:
        message = association.exchange.receive(association.remote.answer)
        status = _status_of(association, message, field, number)
        if status in (Status.PENDING, Status.PENDING_OPTIONAL):
            yield message
            continue
        if status not in (Status.SUCCESS, Status.CANCEL):
            comment = message.command.get(Tag.ERROR_COMMENT, "")
            raise Refused(f"{association.remote.aet} answered {status:#06x} {comment}".rstrip())
        return


def _status_of(association: Association, message: Message, field: Field, number: int) -> int:
    command = message.command
    status = command.get(Tag.STATUS)
    right = command.get(Tag.FIELD) == field | RESPONSE and command.get(Tag.RESPONDED_TO) == number
    if not right or not isinstance(status, int):
        raise association.exchange.layer.invalid(InvalidPDU("not the response we wait for"))
    return status


# ---------------------------------------------------------------- C-MOVE, C-GET


def _count(message: Message, tag: Tag) -> int:
    value = message.command.get(tag, 0)
    return value if isinstance(value, int) else 0


def _report(message: Message, transfer: str) -> Retrieved:
    failed: tuple[str, ...] = ()
    if message.dataset is not None and len(message.dataset):
        listed = identifier.read(message.dataset, transfer_syntax=transfer)
        text = identifier.key_text(listed.get("FailedSOPInstanceUIDList", ""))
        failed = tuple(u for u in text.split("\\") if u)
    return Retrieved(
        status=message.command.number(Tag.STATUS),
        completed=_count(message, Tag.COMPLETED),
        warning=_count(message, Tag.WARNING),
        failed=_count(message, Tag.FAILED),
        failed_uids=failed,
        comment=str(message.command.get(Tag.ERROR_COMMENT, "")),
    )


def _tell(progress: Progress, message: Message) -> None:
    done = sum(_count(message, t) for t in (Tag.COMPLETED, Tag.WARNING, Tag.FAILED))
    progress(done / max(done + _count(message, Tag.REMAINING), 1), "retrieving")


def move(
    remote: Remote,
    keys: Mapping[str, str],
    *,
    destination: str,
    level: Level = "STUDY",
    root: Root = "STUDY",
    progress: Progress = QUIET,
) -> Retrieved:
    """C-MOVE: ask ``remote`` to send what ``keys`` select to the AE titled ``destination``."""
    _level(level, root)
    with associate(remote, [(_MOVE[root], uids.PLAIN)]) as association:
        context = _need(association, _MOVE[root])
        transfer = association.contexts[context].transfer_syntax
        values = _request(association, Field.C_MOVE_RQ, context, dataset=True)
        values[Tag.MOVE_DESTINATION] = destination
        association.exchange.send(context, values, _identifier(level, keys, transfer))
        number = int(values[Tag.MESSAGE_ID])
        while True:
            message = association.exchange.receive(remote.answer)
            if _status_of(association, message, Field.C_MOVE_RQ, number) != Status.PENDING:
                return _report(message, transfer)
            _tell(progress, message)


def get(
    remote: Remote,
    keys: Mapping[str, str],
    *,
    arrived: Callable[[Arrived], int],
    level: Level = "STUDY",
    root: Root = "STUDY",
    sop_classes: Sequence[str] = COMMON_CLASSES,
    transfer_syntaxes: Sequence[str] = (),
    progress: Progress = QUIET,
) -> Retrieved:
    """C-GET: what ``keys`` select comes on this association and goes to ``arrived``.

    Parameters
    ----------
    arrived
        Keeps an instance and returns the C-STORE status (0 success). What it raises becomes 0110H
        for that instance.
    sop_classes, transfer_syntaxes
        Proposed storage classes, each plain and in each of ``transfer_syntaxes`` (which compressed
        forms may come as they are stored), as far as 128 presentation contexts go.
    """
    _level(level, root)
    proposals = [(_GET[root], uids.PLAIN)] + [(c, uids.PLAIN) for c in sop_classes]
    proposals += [(c, (t,)) for t in transfer_syntaxes for c in sop_classes]
    roles = [Role(c, False, True) for c in sop_classes]
    with associate(remote, proposals[:MAX_CONTEXTS], roles=roles) as association:
        context = _need(association, _GET[root])
        transfer = association.contexts[context].transfer_syntax
        values = _request(association, Field.C_GET_RQ, context, dataset=True)
        association.exchange.send(context, values, _identifier(level, keys, transfer))
        number = int(values[Tag.MESSAGE_ID])
        while True:
            message = association.exchange.receive(remote.answer)
            if message.command.get(Tag.FIELD) == Field.C_STORE_RQ:
                _arrive(association, message, arrived)
                continue
            if _status_of(association, message, Field.C_GET_RQ, number) != Status.PENDING:
                return _report(message, transfer)
            _tell(progress, message)


def _arrive(association: Association, message: Message, arrived: Callable[[Arrived], int]) -> None:
    accepted = association.contexts[message.context]
    command = message.command
    status: int = Status.PROCESSING_FAILURE
    if not accepted.scp or command.text(Tag.AFFECTED_SOP_CLASS) != accepted.abstract_syntax:
        status = Status.SOP_CLASS_NOT_SUPPORTED
    elif message.dataset is None:
        status = Status.CANNOT_UNDERSTAND
    else:
        instance = Arrived(
            message.dataset,
            accepted.abstract_syntax,
            command.text(Tag.AFFECTED_SOP_INSTANCE),
            accepted.transfer_syntax,
        )
        try:
            status = arrived(instance)
        except SomascopeError:
            status = Status.PROCESSING_FAILURE
    association.exchange.send(message.context, response(command, status))
