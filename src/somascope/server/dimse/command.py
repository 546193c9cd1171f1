"""Command sets of PS3.7 section 6.3 and annex E: implicit little endian, group 0000, nothing else.

A `Command` maps element numbers of group 0000 (`Tag`) to ``int`` or ``str``. AT values are read
as tuples of ints. Unknown elements are passed over; lengths are checked before anything is sliced.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum

from somascope.core.errors import ReadError

NO_DATASET = 0x0101
DATASET = 0x0001
"""Command Data Set Type: anything but 0101H says that a data set follows."""

MAX_COMMAND = 64 * 1024
"""Largest command set read, bytes."""


class InvalidCommand(ReadError):
    """Not a command set, or one without an element its service needs."""


class Tag(IntEnum):
    """Element numbers of group 0000 (PS3.7 table E.1-1)."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS = 0x0002
    REQUESTED_SOP_CLASS = 0x0003
    FIELD = 0x0100
    MESSAGE_ID = 0x0110
    RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    DATASET_TYPE = 0x0800
    STATUS = 0x0900
    OFFENDING_ELEMENT = 0x0901
    ERROR_COMMENT = 0x0902
    ERROR_ID = 0x0903
    AFFECTED_SOP_INSTANCE = 0x1000
    REQUESTED_SOP_INSTANCE = 0x1001
    REMAINING = 0x1020
    COMPLETED = 0x1021
    FAILED = 0x1022
    WARNING = 0x1023
    MOVE_ORIGINATOR = 0x1030
    MOVE_ORIGINATOR_MESSAGE = 0x1031


class Field(IntEnum):
    """Command Field values (PS3.7 table E.1-1); a response is the request with 8000H set."""

    C_STORE_RQ = 0x0001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_GET_RQ = 0x0110
    N_SET_RQ = 0x0120
    N_ACTION_RQ = 0x0130
    N_CREATE_RQ = 0x0140
    N_DELETE_RQ = 0x0150
    C_CANCEL_RQ = 0x0FFF


RESPONSE = 0x8000

_TEXT = {
    Tag.AFFECTED_SOP_CLASS,
    Tag.REQUESTED_SOP_CLASS,
    Tag.AFFECTED_SOP_INSTANCE,
    Tag.REQUESTED_SOP_INSTANCE,
    Tag.MOVE_DESTINATION,
    Tag.MOVE_ORIGINATOR,
    Tag.ERROR_COMMENT,
}
_UIDS = {
    Tag.AFFECTED_SOP_CLASS,
    Tag.REQUESTED_SOP_CLASS,
    Tag.AFFECTED_SOP_INSTANCE,
    Tag.REQUESTED_SOP_INSTANCE,
}
_SKIPPED = {Tag.GROUP_LENGTH, Tag.OFFENDING_ELEMENT}
_TAGS = {int(tag): tag for tag in Tag}


class Command(dict[Tag, int | str]):
    """A decoded command set; a plain dict with two readers that refuse what is missing."""

    def number(self, tag: Tag) -> int:
        """The integer of ``tag``. Raises `InvalidCommand` when it is not there."""
        value = self.get(tag)
        if not isinstance(value, int):
            raise InvalidCommand(f"the command set has no {tag.name}")
        return value

    def text(self, tag: Tag) -> str:
        """The string of ``tag``. Raises `InvalidCommand` when it is missing or empty."""
        value = self.get(tag)
        if not isinstance(value, str) or not value:
            raise InvalidCommand(f"the command set has no {tag.name}")
        return value

    @property
    def has_dataset(self) -> bool:
        """Whether a data set follows."""
        return self.get(Tag.DATASET_TYPE, NO_DATASET) != NO_DATASET


def decode(data: bytes | bytearray | memoryview) -> Command:
    """Decode a command set. Raises `InvalidCommand`."""
    data = bytes(data)
    at, end, command = 0, len(data), Command()
    while at < end:
        if end - at < 8:
            raise InvalidCommand(f"{end - at} stray bytes after the last element")
        group, element, length = struct.unpack_from("<HHI", data, at)
        at += 8
        if group != 0:
            raise InvalidCommand(f"element of group {group:04x} in a command set")
        if length > end - at:
            raise InvalidCommand(f"(0000,{element:04x}) claims {length} bytes, {end - at} are left")
        tag = _TAGS.get(element)
        if tag is not None and tag not in _SKIPPED:
            value = data[at : at + length]
            if tag in _TEXT:
                command[tag] = value.decode("ascii", "replace").strip("\0 ")
            elif length == 2:
                command[tag] = int.from_bytes(value, "little")
            else:
                raise InvalidCommand(f"{tag.name} has {length} bytes; it is one US")
        at += length
    command.number(Tag.FIELD)
    return command


def encode(values: Mapping[Tag, int | str]) -> bytes:
    """Encode a command set with its group length, elements in ascending order."""
    body = b""
    for tag in sorted(values):
        value = values[tag]
        if isinstance(value, int):
            raw = struct.pack("<H", value)
        else:
            raw = value.encode("ascii", "replace")
            if len(raw) % 2:
                raw += b"\0" if tag in _UIDS else b" "
        body += struct.pack("<HHI", 0, tag, len(raw)) + raw
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def response(request: Command, status: int, *, dataset: bool = False) -> dict[Tag, int | str]:
    """The elements every response has (PS3.7 section 9.3), for the caller to add to."""
    values: dict[Tag, int | str] = {
        Tag.FIELD: request.number(Tag.FIELD) | RESPONSE,
        Tag.RESPONDED_TO: request.number(Tag.MESSAGE_ID),
        Tag.DATASET_TYPE: DATASET if dataset else NO_DATASET,
        Tag.STATUS: status,
    }
    for tag in (Tag.AFFECTED_SOP_CLASS, Tag.AFFECTED_SOP_INSTANCE):
        if tag in request:
            values[tag] = request[tag]
    return values
