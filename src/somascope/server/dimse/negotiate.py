"""Which associations and presentation contexts are accepted (PS3.8 7.1, PS3.7 annex D.3)."""

from __future__ import annotations

import functools
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from somascope.server.dimse import pdu
from somascope.server.dimse.pdu import AssociateAC, AssociateRJ, AssociateRQ, ContextResult, Role
from somascope.server.dimse.settings import Peer, Settings

VERIFICATION = "1.2.840.10008.1.1"
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"

FIND = frozenset({PATIENT_ROOT_FIND, STUDY_ROOT_FIND})
MOVE = frozenset({PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE})
GET = frozenset({PATIENT_ROOT_GET, STUDY_ROOT_GET})
PATIENT_ROOT = frozenset({PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET})

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
PLAIN = (EXPLICIT, IMPLICIT)

_NOT_KEPT = frozenset(
    {
        "1.2.840.10008.1.2.4.94",  # JPIP: the pixels are elsewhere
        "1.2.840.10008.1.2.4.95",
        "1.2.840.10008.1.2.4.204",
        "1.2.840.10008.1.2.4.205",
        "1.2.840.10008.1.2.6.1",  # not encodings of a data set
        "1.2.840.10008.1.2.6.2",
        "1.2.840.10008.1.2.7.1",
        "1.2.840.10008.1.2.7.2",
        "1.2.840.10008.1.2.7.3",
    }
)

ACCEPTANCE, USER_REJECTION = 0, 1
ABSTRACT_NOT_SUPPORTED, TRANSFER_NOT_SUPPORTED = 3, 4

MIN_PDU = 128
"""A peer announcing less than this (but not 0, unlimited) cannot be served sensibly."""


class Accepted(NamedTuple):
    """An accepted presentation context; the roles are those of the association requestor."""

    abstract_syntax: str
    transfer_syntax: str
    scu: bool = True
    scp: bool = False


@dataclass(frozen=True)
class Agreement:
    """What was agreed, from the acceptor's side."""

    answer: AssociateAC
    contexts: Mapping[int, Accepted]
    peer: Peer | None


@functools.cache
def storage_classes() -> frozenset[str]:
    """SOP classes of the Storage service (PS3.4 annexes B and GG), retired ones included."""
    from pydicom._uid_dict import UID_dictionary

    left_out = ("1.2.840.10008.1.", "1.2.840.10008.5.1.1.")
    return frozenset(
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name and not uid.startswith(left_out)
    )


@functools.cache
def storage_transfer_syntaxes() -> frozenset[str]:
    """Transfer syntaxes an instance may be kept in: all that hold the whole data set."""
    from pydicom._uid_dict import UID_dictionary

    kept = {uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"}
    newer = {f"1.2.840.10008.1.2.4.{n}" for n in (110, 111, 112)} | {"1.2.840.10008.1.2.8.1"}
    return frozenset(kept | newer) - _NOT_KEPT


@functools.cache
def _known_uids() -> frozenset[str]:
    from pydicom._uid_dict import UID_dictionary

    return frozenset(UID_dictionary)


def is_storage(uid: str, *, unknown: bool) -> bool:
    """Whether ``uid`` is a storage SOP class; ``unknown``: count private and future ones in."""
    if uid in storage_classes():
        return True
    return unknown and uid not in _known_uids() and uid.replace(".", "").isdigit()


def _choose(proposed: tuple[str, ...], allowed: frozenset[str]) -> str | None:
    """The requestor's first choice among those allowed; big endian and deflated only at need."""
    usable = [uid for uid in proposed if uid in allowed]
    return next((u for u in usable if u not in (BIG_ENDIAN, DEFLATED)), next(iter(usable), None))


def _may(peer: Peer | None, abstract: str) -> bool:
    if peer is None or abstract == VERIFICATION:
        return True
    if abstract in FIND:
        return peer.find
    if abstract in MOVE or abstract in GET:
        return peer.retrieve
    return peer.store or peer.retrieve


def _context(
    context: pdu.ProposedContext, role: Role | None, peer: Peer | None, settings: Settings
) -> tuple[ContextResult, Accepted | None]:
    uid = context.abstract_syntax
    storage = is_storage(uid, unknown=settings.unknown_storage)
    if not (storage or uid == VERIFICATION or uid in FIND | MOVE | GET):
        return ContextResult(context.id, ABSTRACT_NOT_SUPPORTED, ""), None
    if not _may(peer, uid):
        return ContextResult(context.id, USER_REJECTION, ""), None
    allowed = storage_transfer_syntaxes() if storage else frozenset(PLAIN)
    transfer = _choose(context.transfer_syntaxes, allowed)
    if transfer is None:
        return ContextResult(context.id, TRANSFER_NOT_SUPPORTED, ""), None
    scu, scp = (role.scu, role.scp) if role is not None and storage else (True, False)
    accepted = Accepted(uid, transfer, scu, scp)
    return ContextResult(context.id, ACCEPTANCE, transfer), accepted


@functools.lru_cache(maxsize=256)
def _addresses(host: str) -> frozenset[str]:
    try:
        return frozenset(str(info[4][0]) for info in socket.getaddrinfo(host, None))
    except OSError:
        return frozenset()


def same_address(address: str, host: str) -> bool:
    """Whether a connection from ``address`` comes from ``host`` (a name or an address)."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return str(mapped or ip) in _addresses(host)


def negotiate(rq: AssociateRQ, settings: Settings, *, address: str) -> AssociateRJ | Agreement:
    """Answer an A-ASSOCIATE-RQ that came from ``address``."""
    if not rq.protocol_version & 1:
        return pdu.PROTOCOL_NOT_SUPPORTED
    if rq.application_context != pdu.APPLICATION_CONTEXT:
        return pdu.NO_APPLICATION_CONTEXT
    peer = settings.peer(rq.calling)
    if settings.strict:
        if peer is None or not same_address(address, peer.host):
            return pdu.CALLING_NOT_RECOGNIZED
        if rq.called != settings.aet:
            return pdu.CALLED_NOT_RECOGNIZED
    roles = {role.sop_class: role for role in rq.roles}
    results, contexts = [], {}
    for context in rq.contexts:
        result, accepted = _context(context, roles.get(context.abstract_syntax), peer, settings)
        results.append(result)
        if accepted is not None:
            contexts[context.id] = accepted
    kept = {a.abstract_syntax for a in contexts.values()}
    answer = AssociateAC(
        called=rq.called,
        calling=rq.calling,
        contexts=tuple(results),
        roles=tuple(
            r
            for r in roles.values()
            if r.sop_class in kept and is_storage(r.sop_class, unknown=settings.unknown_storage)
        ),
        max_length=settings.limits.max_pdu,
    )
    return Agreement(answer, contexts, peer)
