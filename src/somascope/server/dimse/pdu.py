"""The seven PDUs of PS3.8 section 9.3: strict decoding from bytes, encoding from frozen values.

All integers are big endian. Every declared length is checked against the bytes at hand before
anything is sliced; a PDU that does not add up raises `InvalidPDU` with the A-ABORT reason to send.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from somascope.core.errors import ReadError

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""DICOM Application Context Name (PS3.7 annex A.2.1)."""

IMPLEMENTATION_CLASS_UID = "2.25.270172521288353658656834987280463874542"
IMPLEMENTATION_VERSION = "SOMASCOPE_0_1"

HEADER = 6
"""Bytes of PDU type, reserved byte and length."""

MAX_NEGOTIATION = 256 * 1024
"""Largest A-ASSOCIATE PDU read, bytes of the variable field; 128 contexts need about 20 KiB."""

MAX_CONTEXTS = 128
MAX_TRANSFER_SYNTAXES = 128


class PDUType(IntEnum):
    """First byte of a PDU."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class AbortReason(IntEnum):
    """Reason of a provider-initiated A-ABORT (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class InvalidPDU(ReadError):
    """Evt19: an unrecognised or invalid PDU; `reason` goes into the A-ABORT."""

    def __init__(self, message: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class ProposedContext:
    """Presentation context item of an A-ASSOCIATE-RQ (PS3.8 section 9.3.2.2)."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class ContextResult:
    """Presentation context item of an A-ASSOCIATE-AC; result 0 is acceptance (section 9.3.3.2)."""

    id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True)
class Role:
    """SCP/SCU role selection (PS3.7 annex D.3.3.4)."""

    sop_class: str
    scu: bool
    scp: bool


@dataclass(frozen=True, kw_only=True)
class AssociateRQ:
    """A-ASSOCIATE-RQ (section 9.3.2). ``max_length`` 0 means unlimited."""

    called: str
    calling: str
    contexts: tuple[ProposedContext, ...]
    roles: tuple[Role, ...] = ()
    max_length: int = 0
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1
    implementation: str = ""


@dataclass(frozen=True, kw_only=True)
class AssociateAC:
    """A-ASSOCIATE-AC (section 9.3.3); the titles repeat the request's."""

    called: str
    calling: str
    contexts: tuple[ContextResult, ...]
    roles: tuple[Role, ...] = ()
    max_length: int = 0
    implementation: str = ""


@dataclass(frozen=True)
class AssociateRJ:
    """A-ASSOCIATE-RJ (section 9.3.4, table 9-21)."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True)
class Abort:
    """A-ABORT (section 9.3.8); source 0 is the service user, 2 the service provider."""

    source: int
    reason: int


NO_APPLICATION_CONTEXT = AssociateRJ(1, 1, 2)
CALLING_NOT_RECOGNIZED = AssociateRJ(1, 1, 3)
CALLED_NOT_RECOGNIZED = AssociateRJ(1, 1, 7)
PROTOCOL_NOT_SUPPORTED = AssociateRJ(1, 2, 2)
LOCAL_LIMIT_EXCEEDED = AssociateRJ(2, 3, 2)

RELEASE_RQ = struct.pack(">BxI4x", PDUType.RELEASE_RQ, 4)
RELEASE_RP = struct.pack(">BxI4x", PDUType.RELEASE_RP, 4)


# ---------------------------------------------------------------- decoding


def _items(data: bytes, *, what: str) -> Iterator[tuple[int, bytes]]:
    """Yield (type, body) of ``type, reserved, length16, body`` items that fill ``data`` exactly."""
    at, end = 0, len(data)
    while at < end:
        if end - at < 4:
            raise InvalidPDU(f"{what}: {end - at} stray bytes after the last item")
        kind, length = struct.unpack_from(">BxH", data, at)
        at += 4
        if length > end - at:
            raise InvalidPDU(f"{what}: item {kind:#04x} claims {length} bytes, {end - at} are left")
        yield kind, data[at : at + length]
        at += length


def _uid(data: bytes, *, what: str) -> str:
    text = data.rstrip(b"\0 ").decode("ascii", "replace")
    if not 0 < len(text) <= 64:
        raise InvalidPDU(f"{what}: a UID of {len(text)} characters; 1 to 64 are allowed")
    return text


def _title(data: bytes) -> str:
    """AE title: ISO 646 basic set, spaces around are not significant; controls become ``?``."""
    text = data.decode("ascii", "replace").replace("\0", " ").strip()
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _role(data: bytes) -> Role:
    if len(data) < 4:
        raise InvalidPDU("role selection: shorter than 4 bytes")
    (length,) = struct.unpack_from(">H", data)
    if length + 4 != len(data):
        raise InvalidPDU(f"role selection: UID length {length} in an item of {len(data)} bytes")
    return Role(_uid(data[2 : 2 + length], what="role selection"), data[-2] == 1, data[-1] == 1)


def _user_information(data: bytes) -> tuple[int, tuple[Role, ...], str]:
    """(maximum length, roles, implementation version); sub-items not known are passed over."""
    max_length, roles, version = 0, [], ""
    for kind, body in _items(data, what="user information"):
        if kind == 0x51:
            if len(body) != 4:
                raise InvalidPDU(f"maximum length sub-item of {len(body)} bytes; it has 4")
            (max_length,) = struct.unpack(">I", body)
        elif kind == 0x54:
            roles.append(_role(body))
        elif kind == 0x55:
            version = _title(body[:16])
    return max_length, tuple(roles), version


def _proposed(body: bytes) -> ProposedContext:
    if len(body) < 4:
        raise InvalidPDU("presentation context: shorter than 4 bytes")
    number, abstract, transfers = body[0], "", []
    if number % 2 == 0:
        raise InvalidPDU(f"presentation context: id {number} is not odd")
    for kind, inner in _items(body[4:], what=f"presentation context {number}"):
        if kind == 0x30:
            if abstract:
                raise InvalidPDU(f"presentation context {number}: two abstract syntaxes")
            abstract = _uid(inner, what=f"presentation context {number}")
        elif kind == 0x40:
            if len(transfers) == MAX_TRANSFER_SYNTAXES:
                raise InvalidPDU(f"presentation context {number}: too many transfer syntaxes")
            transfers.append(_uid(inner, what=f"presentation context {number}"))
    if not abstract or not transfers:
        raise InvalidPDU(f"presentation context {number}: no abstract or no transfer syntax")
    return ProposedContext(number, abstract, tuple(transfers))


def _result(body: bytes) -> ContextResult:
    if len(body) < 4:
        raise InvalidPDU("presentation context result: shorter than 4 bytes")
    number, result, transfer = body[0], body[2], ""
    for kind, inner in _items(body[4:], what=f"presentation context result {number}"):
        if kind == 0x40 and result == 0:
            transfer = _uid(inner, what=f"presentation context result {number}")
    if result == 0 and not transfer:
        raise InvalidPDU(f"presentation context {number}: accepted without a transfer syntax")
    return ContextResult(number, result, transfer)


def _head(body: bytes, *, what: str) -> tuple[int, str, str]:
    """(protocol version, called, calling) of the 68 fixed bytes of an A-ASSOCIATE PDU."""
    if len(body) < 68:
        raise InvalidPDU(f"{what}: {len(body)} bytes, the fixed fields alone take 68")
    (version,) = struct.unpack_from(">H", body)
    return version, _title(body[4:20]), _title(body[20:36])


def decode_associate_rq(body: bytes) -> AssociateRQ:
    """Decode the variable field of an A-ASSOCIATE-RQ (everything after the 6 header bytes)."""
    version, called, calling = _head(body, what="A-ASSOCIATE-RQ")
    application, contexts, info = "", [], None
    for kind, item in _items(body[68:], what="A-ASSOCIATE-RQ"):
        if kind == 0x10:
            application = _uid(item, what="application context")
        elif kind == 0x20:
            contexts.append(_proposed(item))
        elif kind == 0x50:
            info = _user_information(item)
    if len(contexts) > MAX_CONTEXTS or len({c.id for c in contexts}) != len(contexts):
        raise InvalidPDU("A-ASSOCIATE-RQ: presentation context ids are not unique")
    if not contexts or info is None:
        raise InvalidPDU("A-ASSOCIATE-RQ: no presentation context or no user information")
    return AssociateRQ(
        called=called,
        calling=calling,
        contexts=tuple(contexts),
        roles=info[1],
        max_length=info[0],
        application_context=application,
        protocol_version=version,
        implementation=info[2],
    )


def decode_associate_ac(body: bytes) -> AssociateAC:
    """Decode the variable field of an A-ASSOCIATE-AC."""
    _, called, calling = _head(body, what="A-ASSOCIATE-AC")
    contexts, info = [], (0, (), "")
    for kind, item in _items(body[68:], what="A-ASSOCIATE-AC"):
        if kind == 0x21:
            contexts.append(_result(item))
        elif kind == 0x50:
            info = _user_information(item)
    return AssociateAC(
        called=called,
        calling=calling,
        contexts=tuple(contexts),
        roles=info[1],
        max_length=info[0],
        implementation=info[2],
    )


def decode_associate_rj(body: bytes) -> AssociateRJ:
    """Decode the 4 bytes of an A-ASSOCIATE-RJ."""
    return AssociateRJ(*_four(body, what="A-ASSOCIATE-RJ")[1:])


def decode_abort(body: bytes) -> Abort:
    """Decode the 4 bytes of an A-ABORT."""
    return Abort(*_four(body, what="A-ABORT")[2:])


def _four(body: bytes, *, what: str) -> tuple[int, ...]:
    if len(body) != 4:
        raise InvalidPDU(f"{what}: {len(body)} bytes; it has 4")
    return tuple(body)


def check_header(kind: int, length: int, *, max_length: int) -> PDUType:
    """Judge a PDU by its 6 header bytes alone, before any of its body is read.

    ``max_length`` is what this side announced for P-DATA-TF. Raises `InvalidPDU`.
    """
    try:
        pdu = PDUType(kind)
    except ValueError:
        raise InvalidPDU(f"PDU type {kind:#04x}", AbortReason.UNRECOGNIZED_PDU) from None
    if pdu is PDUType.DATA_TF:
        low, high = 6, max_length
    elif pdu in (PDUType.ASSOCIATE_RQ, PDUType.ASSOCIATE_AC):
        low, high = 68, MAX_NEGOTIATION
    else:
        low = high = 4
    if not low <= length <= high:
        raise InvalidPDU(f"{pdu.name} claims {length} bytes; {low} to {high} are allowed here")
    return pdu


# ---------------------------------------------------------------- encoding


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def _encode_title(text: str) -> bytes:
    return text.encode("ascii", "replace")[:16].ljust(16)


def _encode_information(max_length: int, roles: tuple[Role, ...]) -> bytes:
    body = _item(0x51, struct.pack(">I", max_length))
    body += _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
    for role in roles:
        uid = role.sop_class.encode()
        body += _item(0x54, struct.pack(">H", len(uid)) + uid + bytes([role.scu, role.scp]))
    return _item(0x50, body + _item(0x55, IMPLEMENTATION_VERSION.encode()))


def _encode_associate(kind: PDUType, called: str, calling: str, items: bytes) -> bytes:
    body = struct.pack(">Hxx", 1) + _encode_title(called) + _encode_title(calling) + bytes(32)
    body += _item(0x10, APPLICATION_CONTEXT.encode()) + items
    return struct.pack(">BxI", kind, len(body)) + body


def encode_associate_rq(rq: AssociateRQ) -> bytes:
    """Encode an A-ASSOCIATE-RQ; our implementation class and version are filled in."""
    items = b""
    for context in rq.contexts:
        inner = _item(0x30, context.abstract_syntax.encode())
        inner += b"".join(_item(0x40, t.encode()) for t in context.transfer_syntaxes)
        items += _item(0x20, struct.pack(">B3x", context.id) + inner)
    items += _encode_information(rq.max_length, rq.roles)
    return _encode_associate(PDUType.ASSOCIATE_RQ, rq.called, rq.calling, items)


def encode_associate_ac(ac: AssociateAC) -> bytes:
    """Encode an A-ASSOCIATE-AC; a refused context also names a transfer syntax."""
    items = b""
    for context in ac.contexts:
        inner = _item(0x40, (context.transfer_syntax or "1.2.840.10008.1.2").encode())
        items += _item(0x21, struct.pack(">BxBx", context.id, context.result) + inner)
    items += _encode_information(ac.max_length, ac.roles)
    return _encode_associate(PDUType.ASSOCIATE_AC, ac.called, ac.calling, items)


def encode_associate_rj(rj: AssociateRJ) -> bytes:
    """Encode an A-ASSOCIATE-RJ."""
    return struct.pack(">BxIxBBB", PDUType.ASSOCIATE_RJ, 4, rj.result, rj.source, rj.reason)


def encode_abort(abort: Abort) -> bytes:
    """Encode an A-ABORT."""
    return struct.pack(">BxIxxBB", PDUType.ABORT, 4, abort.source, abort.reason)
