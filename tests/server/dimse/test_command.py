"""Command sets against pynetdicom and pydicom."""

from __future__ import annotations

import random
import struct
from io import BytesIO

import pytest

from somascope.server.dimse import command
from somascope.server.dimse.command import Field, InvalidCommand, Tag


def test_pydicom_reads_what_we_encode():
    from pydicom.filereader import read_dataset

    values = {
        Tag.FIELD: Field.C_STORE_RQ,
        Tag.AFFECTED_SOP_CLASS: "1.2.840.10008.5.1.4.1.1.2",
        Tag.MESSAGE_ID: 65_535,
        Tag.MOVE_ORIGINATOR: "ODD",
        Tag.DATASET_TYPE: 1,
    }
    raw = command.encode(values)
    read = read_dataset(BytesIO(raw), is_implicit_VR=True, is_little_endian=True)
    assert read.CommandGroupLength == len(raw) - 12
    assert read.CommandField == 1
    assert read.MessageID == 65_535
    assert read.AffectedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert read.MoveOriginatorApplicationEntityTitle == "ODD"
    assert [e.tag for e in read] == sorted(e.tag for e in read)


def test_we_read_what_pynetdicom_encodes():
    from pynetdicom.dimse_messages import C_STORE_RQ
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode

    primitive = C_STORE()
    primitive.MessageID = 7
    primitive.AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    primitive.AffectedSOPInstanceUID = "1.2.3"
    primitive.Priority = 1
    primitive.MoveOriginatorMessageID = 12
    primitive.DataSet = BytesIO(b"\0\0")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    raw = encode(message.command_set, True, True)
    assert raw is not None
    read = command.decode(raw)
    assert read.number(Tag.MESSAGE_ID) == 7
    assert read.text(Tag.AFFECTED_SOP_CLASS) == "1.2.840.10008.5.1.4.1.1.4"
    assert read.text(Tag.AFFECTED_SOP_INSTANCE) == "1.2.3"
    assert read.number(Tag.MOVE_ORIGINATOR_MESSAGE) == 12
    assert read.has_dataset


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 7,
        struct.pack("<HHI", 8, 0x16, 0),
        struct.pack("<HHI", 0, 0x100, 0xFFFFFFFF),
        struct.pack("<HHI", 0, 0x100, 4) + b"\1\0\0\0",
        struct.pack("<HHIH", 0, 0x110, 2, 1),
    ],
)
def test_what_is_no_command_set_is_refused(raw):
    with pytest.raises(InvalidCommand):
        command.decode(raw)


def test_mutations_are_read_or_refused(wire):
    rng = random.Random(7)
    for _ in range(3000):
        bad = bytearray(wire.store_rq())
        for _ in range(rng.randint(1, 6)):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        try:
            assert command.decode(bad).number(Tag.FIELD) >= 0
        except InvalidCommand:
            continue


def test_a_response_answers_its_request(wire):
    request = command.decode(wire.echo_rq(300))
    answer = command.decode(command.encode(command.response(request, 0)))
    assert answer.number(Tag.RESPONDED_TO) == 300
    assert answer.number(Tag.FIELD) == 0x8030
    assert not answer.has_dataset
