"""One stored instance over an association: which context, in which encoding, with what outcome."""

from __future__ import annotations

import logging
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from somascope.core.errors import CorruptFile
from somascope.server.dimse.command import DATASET, RESPONSE, Command, Field, Tag
from somascope.server.dimse.ended import AssociationEnded
from somascope.server.dimse.message import Exchange, Message
from somascope.server.dimse.negotiate import EXPLICIT, IMPLICIT, PLAIN, Accepted
from somascope.server.dimse.pdu import MAX_CONTEXTS, InvalidPDU
from somascope.server.dimse.status import Status
from somascope.server.dimse.upper_layer import Buffer

if TYPE_CHECKING:
    from somascope.archive.records import Instance
    from somascope.server.decode import Decoders

log = logging.getLogger("somascope.dimse")

Outcome = Literal["completed", "warning", "failed"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """A Part 10 file, on disk or in memory: its UIDs, and where its data set starts."""

    source: Path | memoryview
    offset: int
    sop_class: str
    sop_uid: str
    transfer_syntax: str

    @classmethod
    def of(cls, instance: Instance) -> Item:
        """From the archive. Raises `CorruptFile` for one that is known to be damaged."""
        if instance.damaged:
            raise CorruptFile(f"instance {instance.sop_uid} is damaged on disk")
        return cls(
            source=instance.path,
            offset=instance.offset,
            sop_class=instance.sop_class,
            sop_uid=instance.sop_uid,
            transfer_syntax=instance.transfer_syntax,
        )

    @property
    def proposals(self) -> list[tuple[str, tuple[str, ...]]]:
        """Presentation contexts to propose for it: as stored, and plain for a poorer peer."""
        others = tuple(t for t in PLAIN if t != self.transfer_syntax)
        return [(self.sop_class, (self.transfer_syntax,)), (self.sop_class, others)]


@contextmanager
def dataset_of(item: Item) -> Iterator[memoryview]:
    """The bytes of the data set, mapped; good within the block."""
    if not isinstance(item.source, Path):
        yield item.source[item.offset :]
        return
    with (
        item.source.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
        whole[item.offset :] as view,
    ):
        yield view


def choose(item: Item, contexts: Mapping[int, Accepted], *, scp: bool) -> tuple[int, str] | None:
    """The context to send ``item`` in: as stored, else explicit, else implicit little endian.

    ``scp``: the peer is the association requestor and must have taken the SCP role (C-GET).
    """
    usable = {
        accepted.transfer_syntax: number
        for number, accepted in contexts.items()
        if accepted.abstract_syntax == item.sop_class and (accepted.scp if scp else accepted.scu)
    }
    for transfer in (item.transfer_syntax, EXPLICIT, IMPLICIT):
        if transfer in usable:
            return usable[transfer], transfer
    return None


def store_rq(
    item: Item, message_id: int, *, originator: tuple[str, int] | None
) -> dict[Tag, int | str]:
    """The command set of a C-STORE-RQ; ``originator``: AE title and Message ID of a C-MOVE."""
    values: dict[Tag, int | str] = {
        Tag.AFFECTED_SOP_CLASS: item.sop_class,
        Tag.FIELD: Field.C_STORE_RQ,
        Tag.MESSAGE_ID: message_id,
        Tag.PRIORITY: 0,
        Tag.DATASET_TYPE: DATASET,
        Tag.AFFECTED_SOP_INSTANCE: item.sop_uid,
    }
    if originator is not None:
        values[Tag.MOVE_ORIGINATOR], values[Tag.MOVE_ORIGINATOR_MESSAGE] = originator
    return values


def _send(
    exchange: Exchange,
    context: int,
    values: dict[Tag, int | str],
    item: Item,
    decoders: Decoders | None,
) -> None:
    transfer = exchange.contexts[context].transfer_syntax
    if transfer == item.transfer_syntax:
        with dataset_of(item) as view:
            exchange.send(context, values, view)
        return
    data: Buffer
    if decoders is not None and isinstance(item.source, Path):
        data = decoders.work("plain", str(item.source), transfer)
    else:
        from somascope.server.dimse.transcode import plain

        data = plain(item.source, transfer_syntax=transfer)
    exchange.send(context, values, data)


def outcome_of(status: int) -> Outcome:
    """How a C-STORE status counts (PS3.7 annex C; B000H to BFFFH are warnings)."""
    if status == Status.SUCCESS:
        return "completed"
    if status in (0x0001, 0x0107, 0x0116) or 0xB000 <= status <= 0xBFFF:
        return "warning"
    return "failed"


def send(
    exchange: Exchange,
    contexts: Mapping[int, Accepted],
    item: Item,
    *,
    message_id: int,
    wait: float,
    scp: bool = False,
    originator: tuple[str, int] | None = None,
    other: Callable[[Message], bool] | None = None,
    decoders: Decoders | None = None,
) -> tuple[Outcome, int, str]:
    """Send one instance and wait for its C-STORE-RSP.

    ``decoders`` decode what the peer does not take as it is stored; without them it is done here.

    Returns
    -------
    outcome, status, why
        ``status`` is 0122H when the peer accepted no context for it, 0110H when it could not be
        read or decoded here.

    Raises
    ------
    AssociationEnded
        ``other`` is asked about messages that are no C-STORE-RSP; where it says no, we abort.
    """
    chosen = choose(item, contexts, scp=scp)
    if chosen is None:
        return "failed", Status.SOP_CLASS_NOT_SUPPORTED, "no presentation context accepted"
    try:
        values = store_rq(item, message_id, originator=originator)
        _send(exchange, chosen[0], values, item, decoders)
    except AssociationEnded:
        raise
    except Exception as error:  # files and codecs can fail in any way
        log.warning("cannot send %s: %s", item.sop_uid, error)
        return "failed", Status.PROCESSING_FAILURE, str(error)
    while True:
        message = exchange.receive(wait)
        if message.command.number(Tag.FIELD) == Field.C_STORE_RQ | RESPONSE:
            break
        if other is None or not other(message):
            raise exchange.layer.invalid(InvalidPDU("not the response to our C-STORE"))
    status = _status(exchange, message.command, message_id)
    return outcome_of(status), status, str(message.command.get(Tag.ERROR_COMMENT, ""))


def _status(exchange: Exchange, command: Command, message_id: int) -> int:
    status = command.get(Tag.STATUS)
    if command.get(Tag.RESPONDED_TO) != message_id or not isinstance(status, int):
        raise exchange.layer.invalid(InvalidPDU("a response to another message"))
    return status


def proposals_for(items: Iterable[Item]) -> list[tuple[str, tuple[str, ...]]]:
    """The distinct presentation contexts to propose for ``items``."""
    return list(dict.fromkeys(p for item in items for p in item.proposals))


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Runs of items that need no more presentation contexts than one association has."""
    batch: list[Item] = []
    contexts: set[tuple[str, tuple[str, ...]]] = set()
    for item in items:
        more = contexts | set(item.proposals)
        if len(more) > MAX_CONTEXTS:
            yield batch
            batch, more = [], set(item.proposals)
        batch.append(item)
        contexts = more
    if batch:
        yield batch
