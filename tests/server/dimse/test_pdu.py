"""PDUs against pynetdicom's encoder and decoder, and against bytes that lie."""

from __future__ import annotations

import random
import struct

import pytest

from somascope.server.dimse import pdu
from somascope.server.dimse.pdu import InvalidPDU


def _theirs() -> bytes:
    from pynetdicom import build_context, build_role
    from pynetdicom.pdu import A_ASSOCIATE_RQ
    from pynetdicom.pdu_primitives import (
        A_ASSOCIATE,
        ImplementationClassUIDNotification,
        MaximumLengthNotification,
    )

    primitive = A_ASSOCIATE()
    primitive.application_context_name = pdu.APPLICATION_CONTEXT
    primitive.calling_ae_title = "THEIRS"
    primitive.called_ae_title = "SOMASCOPE"
    contexts = [
        build_context("1.2.840.10008.1.1", ["1.2.840.10008.1.2"]),
        build_context(
            "1.2.840.10008.5.1.4.1.1.2", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"]
        ),
    ]
    for i, context in enumerate(contexts):
        context.context_id = 2 * i + 1
    primitive.presentation_context_definition_list = contexts
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 40_000
    implementation.implementation_class_uid = "1.2.3"
    role = build_role("1.2.840.10008.5.1.4.1.1.2", scu_role=False, scp_role=True)
    primitive.user_information = [length, implementation, role]
    encoded = A_ASSOCIATE_RQ()
    encoded.from_primitive(primitive)
    return encoded.encode()


def test_a_request_made_by_pynetdicom_is_read():
    rq = pdu.decode_associate_rq(_theirs()[6:])
    assert (rq.calling, rq.called, rq.max_length) == ("THEIRS", "SOMASCOPE", 40_000)
    assert rq.application_context == pdu.APPLICATION_CONTEXT
    assert [c.id for c in rq.contexts] == [1, 3]
    assert rq.contexts[1].transfer_syntaxes == ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90")
    assert rq.roles == (pdu.Role("1.2.840.10008.5.1.4.1.1.2", False, True),)


def test_our_pdus_are_read_by_pynetdicom():
    from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

    role = pdu.Role("1.2.840.10008.5.1.4.1.1.2", False, True)
    rq = pdu.AssociateRQ(
        called="THEM",
        calling="US",
        contexts=(pdu.ProposedContext(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),),
        roles=(role,),
        max_length=77_777,
    )
    read = A_ASSOCIATE_RQ()
    read.decode(pdu.encode_associate_rq(rq))
    primitive = read.to_primitive()
    assert primitive.calling_ae_title == "US"
    assert primitive.maximum_length_received == 77_777
    assert primitive.presentation_context_definition_list[0].abstract_syntax == "1.2.840.10008.1.1"

    ac = pdu.AssociateAC(
        called="THEM",
        calling="US",
        contexts=(pdu.ContextResult(1, 0, "1.2.840.10008.1.2"), pdu.ContextResult(3, 3, "")),
        max_length=5_000,
    )
    answer = A_ASSOCIATE_AC()
    answer.decode(pdu.encode_associate_ac(ac))
    results = answer.to_primitive().presentation_context_definition_results_list
    assert [(c.context_id, c.result) for c in results] == [(1, 0), (3, 3)]

    rj = A_ASSOCIATE_RJ()
    rj.decode(pdu.encode_associate_rj(pdu.LOCAL_LIMIT_EXCEEDED))
    assert (rj.result, rj.source, rj.reason_diagnostic) == (2, 3, 2)
    abort = A_ABORT_RQ()
    abort.decode(pdu.encode_abort(pdu.Abort(2, 6)))
    assert (abort.source, abort.reason_diagnostic) == (2, 6)


def test_our_request_survives_our_reading():
    body = _theirs()[6:]
    rq = pdu.decode_associate_rq(body)
    assert pdu.decode_associate_rq(pdu.encode_associate_rq(rq)[6:]).contexts == rq.contexts


def test_every_truncation_of_a_request_is_refused():
    body = _theirs()[6:]
    for n in range(len(body)):
        with pytest.raises(InvalidPDU):
            pdu.decode_associate_rq(body[:n])


def test_mutated_requests_are_read_or_refused_but_never_anything_else():
    rng = random.Random(20261122)
    body, refused = _theirs()[6:], 0
    for _ in range(3000):
        bad = bytearray(body)
        for _ in range(rng.randint(1, 8)):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        try:
            pdu.decode_associate_rq(bytes(bad))
        except InvalidPDU:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize(
    ("kind", "length", "fits"),
    [
        (1, 200, True),
        (1, 67, False),
        (1, pdu.MAX_NEGOTIATION + 1, False),
        (4, 16384, True),
        (4, 16385, False),
        (4, 0xFFFFFFF0, False),
        (4, 5, False),
        (5, 4, True),
        (7, 5, False),
        (0, 4, False),
        (9, 4, False),
    ],
)
def test_a_header_is_judged_before_its_body(kind, length, fits):
    if fits:
        assert pdu.check_header(kind, length, max_length=16384) == kind
    else:
        with pytest.raises(InvalidPDU):
            pdu.check_header(kind, length, max_length=16384)


def test_titles_lose_padding_and_controls():
    body = bytearray(_theirs()[6:])
    body[20:36] = b"  A\x1b[2J B\xff\0\0\0\0\0\0"
    assert pdu.decode_associate_rq(bytes(body)).calling == "A?[2J B?"


def test_even_and_repeated_context_ids_are_refused(wire):
    verification = ("1.2.840.10008.1.1", ("1.2.840.10008.1.2",))
    for ids in ((2,), (1, 1)):
        raw = wire.associate_rq(tuple((n, *verification) for n in ids))
        with pytest.raises(InvalidPDU):
            pdu.decode_associate_rq(raw[6:])
    assert struct.unpack(">I", raw[2:6])[0] == len(raw) - 6
