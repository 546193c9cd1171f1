"""DIMSE messages over P-DATA (PS3.7 section 8, PS3.8 annex E): assembled and fragmented here.

A data set is received straight into a reused buffer, a large one into an unlinked file; memory
grows with the bytes that arrived, never with a length that was claimed.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from somascope.server.dimse import command as commands
from somascope.server.dimse.command import Command, InvalidCommand, Tag
from somascope.server.dimse.ended import Aborted
from somascope.server.dimse.fsm import Evt, Sta
from somascope.server.dimse.negotiate import Accepted
from somascope.server.dimse.pdu import InvalidPDU, PDUType
from somascope.server.dimse.upper_layer import Buffer, UpperLayer

_START = 1 << 20
_KEEP = 4 << 20
"""Buffer size kept between messages, bytes."""


class Body:
    """Where the data set of one message at a time is received."""

    def __init__(self, *, spool_above: int, folder: Path | None = None) -> None:
        self._spool_above = spool_above
        self._folder = folder
        self._buffer = bytearray()
        self._used = 0
        self._file: IO[bytes] | None = None
        self._spooled = 0

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self._spooled + self._used

    def room(self, n: int) -> memoryview:
        """Writable view of the next ``n`` bytes; `commit` says that they are filled."""
        if self._used + n > len(self._buffer):
            if self._used + n > self._spool_above and self._used:
                self._flush()
            if self._used + n > len(self._buffer):
                larger = bytearray(max(_START, 2 * len(self._buffer), self._used + n))
                larger[: self._used] = memoryview(self._buffer)[: self._used]
                self._buffer = larger
        return memoryview(self._buffer)[self._used : self._used + n]

    def commit(self, n: int) -> None:
        """``n`` bytes of `room` are filled."""
        self._used += n

    def _flush(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        self._file.write(memoryview(self._buffer)[: self._used])
        self._spooled += self._used
        self._used = 0

    def view(self) -> memoryview:
        """The whole data set, read-only; good until `clear`."""
        if self._file is None:
            return memoryview(self._buffer)[: self._used].toreadonly()
        if self._used:
            self._flush()
        self._file.flush()
        return memoryview(mmap.mmap(self._file.fileno(), self._spooled, access=mmap.ACCESS_READ))

    def clear(self) -> None:
        """Forget the data set, and give a large buffer back."""
        self._used = self._spooled = 0
        if self._file is not None:
            self._file.close()
            self._file = None
        if len(self._buffer) > _KEEP:
            self._buffer = bytearray()


@dataclass(frozen=True, slots=True)
class Message:
    """One DIMSE message. ``dataset`` is good until the next `Exchange.receive`."""

    context: int
    command: Command
    dataset: memoryview | None


class Exchange:
    """Sends and receives DIMSE messages on an established association.

    Parameters
    ----------
    contexts
        Accepted presentation contexts by id.
    max_dataset, max_identifier
        Bytes allowed for the data set of a C-STORE-RQ, and for all others.
    """

    def __init__(
        self,
        layer: UpperLayer,
        contexts: Mapping[int, Accepted],
        *,
        body: Body,
        max_dataset: int,
        max_identifier: int = 1 << 20,
    ) -> None:
        self.layer = layer
        self.contexts = contexts
        self._body = body
        self._max_dataset = max_dataset
        self._max_identifier = max_identifier

    def receive(self, wait: float) -> Message:
        """The next whole message.

        Raises
        ------
        AssociationEnded
            Released, aborted (by either side), closed or timed out; the layer is closed.
        """
        self._body.clear()
        command_bytes = bytearray()
        command: Command | None = None
        context = 0
        while True:
            length, head = self.layer.next_data(wait)
            wait = self.layer.network
            deadline = time.monotonic() + wait
            left = length
            pdv_head = bytes(head[6:12])
            while True:
                item, number, control = struct.unpack(">IBB", pdv_head)
                left -= 6
                size = item - 2
                if not 0 <= size <= left or control > 3:
                    raise self._bad(f"a PDV claims {item} bytes, {left + 2} are left in the PDU")
                if number not in self.contexts or (context and number != context):
                    raise self._bad(f"a PDV for presentation context {number}")
                context = number
                if bool(control & 1) is not (command is None):
                    raise self._bad("command and data set fragments out of order")
                if command is None:
                    if len(command_bytes) + size > commands.MAX_COMMAND:
                        raise self._bad("the command set is too long")
                    part = bytearray(size)
                    self.layer.read_exactly(memoryview(part), deadline)
                    command_bytes += part
                else:
                    self._check_size(command, size)
                    with self._body.room(size) as view:
                        self.layer.read_exactly(view, deadline)
                    self._body.commit(size)
                left -= size
                last = bool(control & 2)
                if last and command is None:
                    command, last = self._decode(command_bytes), False
                    if not command.has_dataset:
                        if left:
                            raise self._bad("more PDVs after a message without a data set")
                        return Message(context, command, None)
                if last and command is not None:
                    if left:
                        raise self._bad("more PDVs after the last fragment")
                    return Message(context, command, self._body.view())
                if left == 0:
                    break
                if left < 6:
                    raise self._bad(f"{left} stray bytes after the last PDV")
                following = bytearray(6)
                self.layer.read_exactly(memoryview(following), deadline)
                pdv_head = bytes(following)

    def _bad(self, why: str) -> Aborted:
        return self.layer.invalid(InvalidPDU(why))

    def _decode(self, data: bytearray) -> Command:
        try:
            return commands.decode(data)
        except InvalidCommand as error:
            raise self._bad(str(error)) from None

    def _check_size(self, command: Command, more: int) -> None:
        store = command[Tag.FIELD] == commands.Field.C_STORE_RQ
        limit = self._max_dataset if store else self._max_identifier
        if self._body.size + more > limit:
            raise self._bad(f"the data set is longer than {limit} bytes")

    def send(
        self, context: int, values: Mapping[Tag, int | str], dataset: Buffer | None = None
    ) -> None:
        """Send a command set and, when given, its data set, fragmented to the peer's maximum."""
        buffers: list[Buffer] = []
        self._fragment(buffers, context, memoryview(commands.encode(values)), 1)
        if dataset is not None:
            self._fragment(buffers, context, memoryview(dataset), 0)
        self.layer.fire(Evt.DATA_REQUEST, buffers)

    def _fragment(self, out: list[Buffer], context: int, data: memoryview, kind: int) -> None:
        step = (self.layer.peer_max - 6) & ~1
        total = len(data)
        for at in range(0, total, step) if total else (0,):
            part = data[at : at + step]
            last = 2 if at + step >= total else 0
            pad = len(part) & 1  # only a deflated stream can be odd (PS3.5 A.5: pad with a zero)
            n = len(part) + pad
            out.append(struct.pack(">BxIIBB", PDUType.DATA_TF, n + 6, n + 2, context, kind | last))
            if n:
                out.append(part)
            if pad:
                out.append(b"\0")

    @property
    def open(self) -> bool:
        """Whether messages can still be sent."""
        return self.layer.state is Sta.Sta6

    def waiting(self) -> bool:
        """Whether a message, or an end, has arrived that nobody has read."""
        return self.layer.waiting()
