"""C-MOVE and C-GET SCP, patient root and study root (PS3.4 annexes C.4.2 and C.4.3)."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from somascope.core.errors import NotFound, ParameterError, ReadError
from somascope.server.dimse import identifier, outbound
from somascope.server.dimse.command import Field, InvalidCommand, Tag, response
from somascope.server.dimse.ended import AssociationEnded
from somascope.server.dimse.outbound import Item, Outcome
from somascope.server.dimse.query import cancelled, level_of
from somascope.server.dimse.requestor import Association, Remote, associate
from somascope.server.dimse.settings import Peer
from somascope.server.dimse.status import Status

if TYPE_CHECKING:
    from pydicom import Dataset

    from somascope.archive.records import Instance
    from somascope.server.dimse.message import Message
    from somascope.server.dimse.session import Session

log = logging.getLogger("somascope.dimse")

_PENDING_EVERY = 0.2
"""Seconds between pending responses; the first sub-operation always gets one."""

_MOST_UIDS = 10_000


@dataclass
class _Count:
    """The sub-operations of one retrieve."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list[str])
    _said: float = 0.0

    def add(self, outcome: Outcome, sop_uid: str) -> None:
        """One sub-operation is over."""
        self.remaining -= 1
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome == "failed":
            self.failures.append(sop_uid)

    def values(self, *, remaining: bool) -> dict[Tag, int | str]:
        """The counts of a response, as far as 16 bits hold them."""
        counts: dict[Tag, int | str] = {
            Tag.COMPLETED: min(self.completed, 0xFFFF),
            Tag.FAILED: min(self.failed, 0xFFFF),
            Tag.WARNING: min(self.warning, 0xFFFF),
        }
        return {Tag.REMAINING: min(self.remaining, 0xFFFF), **counts} if remaining else counts

    def due(self) -> bool:
        """Whether a pending response is due."""
        now = time.monotonic()
        if not self.remaining or now - self._said < _PENDING_EVERY:
            return False
        self._said = now
        return True


def _uids(request: Dataset, keyword: str) -> list[str]:
    text = identifier.key_text(request.get(keyword, ""))
    return [uid.strip() for uid in text.split("\\") if uid.strip()]


def instances(session: Session, request: Dataset, level: str) -> list[Instance]:
    """The instances an identifier selects by its unique keys.

    Raises
    ------
    ParameterError
        The unique key of the level is missing, or there are too many of it.
    """
    from somascope.archive import Query

    keyword = {
        "PATIENT": "PatientID",
        "STUDY": "StudyInstanceUID",
        "SERIES": "SeriesInstanceUID",
        "IMAGE": "SOPInstanceUID",
    }[level]
    wanted = _uids(request, keyword)
    if not 0 < len(wanted) <= _MOST_UIDS or any(c in u for u in wanted for c in "*?"):
        raise ParameterError(f"{len(wanted)} values of {keyword}; name at least one, no wild cards")
    archive = session.archive
    if level == "PATIENT":
        studies = archive.search(Query(level="STUDY", match={"PatientID": wanted[0]}))
        wanted = [s["0020000D"]["Value"][0] for s in studies]
        level = "STUDY"
    found: dict[str, Instance] = {}
    for uid in wanted:
        with contextlib.suppress(NotFound):
            if level == "STUDY":
                part = archive.locate(study=uid)
            elif level == "SERIES":
                part = archive.locate(series=uid)
            else:
                part = archive.locate(instance=uid)
            found.update({i.sop_uid: i for i in part})
    return list(found.values())


def _select(session: Session, message: Message) -> list[Instance] | None:
    """The instances asked for; None after an error response."""
    accepted = session.contexts[message.context]
    if message.dataset is None:
        session.respond(message, Status.DATASET_MISMATCH, comment="no identifier")
        return None
    try:
        request = identifier.read(message.dataset, transfer_syntax=accepted.transfer_syntax)
    except ReadError as error:
        session.respond(message, Status.CANNOT_UNDERSTAND, comment=str(error))
        return None
    level = level_of(request, accepted.abstract_syntax)
    if level is None:
        session.respond(message, Status.DATASET_MISMATCH, comment="Query/Retrieve Level")
        return None
    try:
        return instances(session, request, level)
    except ParameterError as error:
        session.respond(message, Status.DATASET_MISMATCH, comment=str(error))
        return None


def _pending(session: Session, message: Message, count: _Count) -> None:
    if count.due():
        values = response(message.command, Status.PENDING) | count.values(remaining=True)
        session.exchange.send(message.context, values)


def _finish(session: Session, message: Message, count: _Count, status: Status) -> None:
    """The last response, with the list of what failed."""
    from pydicom import Dataset

    has_list = bool(count.failures)
    values = response(message.command, status, dataset=has_list)
    values |= count.values(remaining=status is Status.CANCEL)
    data = None
    if has_list:
        failed = Dataset()
        failed.FailedSOPInstanceUIDList = count.failures
        transfer = session.contexts[message.context].transfer_syntax
        data = identifier.write(failed, transfer_syntax=transfer)
    session.exchange.send(message.context, values, data)


def _verdict(count: _Count) -> Status:
    if count.failed and not (count.completed or count.warning):
        return Status.UNABLE_TO_SUBOPERATE
    if count.failed or count.warning:
        return Status.SUBOPERATIONS_WARNING
    return Status.SUCCESS


def _items(found: list[Instance], count: _Count) -> Iterator[Item]:
    for instance in found:
        try:
            yield Item.of(instance)
        except ReadError as error:
            log.warning("not sent: %s", error)
            count.add("failed", instance.sop_uid)


# ---------------------------------------------------------------- C-GET


def get(session: Session, message: Message) -> None:
    """Answer a C-GET-RQ: C-STORE sub-operations on the same association."""
    found = _select(session, message)
    if found is None:
        return
    count = _Count(len(found))
    stop = False

    def other(came: Message) -> bool:
        nonlocal stop
        if came.command.number(Tag.FIELD) != Field.C_CANCEL_RQ:
            return False
        stop = came.command.get(Tag.RESPONDED_TO) == message.command.number(Tag.MESSAGE_ID)
        return True

    for n, item in enumerate(_items(found, count)):
        outcome, status, why = outbound.send(
            session.exchange,
            session.contexts,
            item,
            message_id=n % 0xFFFF + 1,
            wait=session.settings.limits.network * 2,
            scp=True,
            other=other,
            decoders=session.decoders,
        )
        if outcome == "failed":
            log.warning("C-GET of %s: %04x %s", item.sop_uid, status, why)
        count.add(outcome, item.sop_uid)
        if stop or cancelled(session, message):
            _finish(session, message, count, Status.CANCEL)
            return
        _pending(session, message, count)
    _finish(session, message, count, _verdict(count))


# ---------------------------------------------------------------- C-MOVE


def _destination(session: Session, message: Message) -> Peer | None:
    aet = str(message.command.get(Tag.MOVE_DESTINATION, ""))
    if not aet:
        raise InvalidCommand("a C-MOVE without Move Destination")
    peer = session.settings.peer(aet)
    return peer if peer is not None and peer.destination else None


def move(session: Session, message: Message) -> None:
    """Answer a C-MOVE-RQ: C-STORE sub-operations to a configured peer."""
    peer = _destination(session, message)
    if peer is None:
        name = message.command.get(Tag.MOVE_DESTINATION)
        log.warning("C-MOVE to unknown destination %r by %r", name, session.origin)
        session.respond(message, Status.DESTINATION_UNKNOWN, comment="unknown destination")
        return
    found = _select(session, message)
    if found is None:
        return
    count = _Count(len(found))
    remote = Remote(
        host=peer.host, port=peer.port, aet=peer.aet, calling=session.settings.aet,
        tls=session.settings.tls.client() if peer.tls else None,
    )  # fmt: skip

    stop = False

    def after(outcome: Outcome, item: Item) -> bool:
        nonlocal stop
        count.add(outcome, item.sop_uid)
        stop = stop or cancelled(session, message)
        if not stop:
            _pending(session, message, count)
        return not stop

    for batch in outbound.batches(_items(found, count)):
        _move_batch(session, message, remote, batch, after)
        if stop:
            break
    _finish(session, message, count, Status.CANCEL if stop else _verdict(count))


def _move_batch(
    session: Session,
    message: Message,
    remote: Remote,
    batch: list[Item],
    after: Callable[[Outcome, Item], bool],
) -> None:
    """Send a batch over one association until ``after`` says stop; the unsendable is failed."""
    originator = (session.calling, message.command.number(Tag.MESSAGE_ID))
    done = 0
    try:
        with associate(remote, outbound.proposals_for(batch)) as association:
            for item in batch:
                outcome = _send_one(session, association, item, originator)
                done += 1
                if not after(outcome, item):
                    return
    except AssociationEnded as error:
        if not session.exchange.open:
            raise
        log.warning("C-MOVE to %s at %s:%d: %s", remote.aet, remote.host, remote.port, error)
        for item in batch[done:]:
            if not after("failed", item):
                return


def _send_one(
    session: Session, association: Association, item: Item, originator: tuple[str, int]
) -> Outcome:
    outcome, status, why = outbound.send(
        association.exchange,
        association.contexts,
        item,
        message_id=association.next_message(),
        wait=association.remote.answer,
        originator=originator,
        decoders=session.decoders,
    )
    if outcome == "failed":
        log.warning("C-MOVE of %s: %04x %s", item.sop_uid, status, why)
    return outcome
