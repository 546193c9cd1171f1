"""What the DIMSE door allows: peers, limits, and how they travel to the acceptor processes."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from somascope.core.errors import ParameterError
from somascope.server.dimse.tls import Tls

PEERS_FILE = "dicom-peers.toml"
"""Looked for in the archive's folder when no peers are given."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A known application entity: whom C-MOVE may send to, and what it may ask of us."""

    name: str
    host: str
    port: int
    aet: str
    store: bool = True
    """May send us instances."""
    find: bool = True
    """May query."""
    retrieve: bool = True
    """May ask for C-GET and C-MOVE."""
    destination: bool = True
    """May be named as the destination of a C-MOVE."""
    tls: bool = False
    """Its port speaks TLS; its certificate must name ``host``."""

    def __post_init__(self) -> None:
        """Check title and port."""
        if not 0 < len(self.aet.strip()) <= 16 or not self.aet.isascii() or "\\" in self.aet:
            raise ParameterError(
                f"peer {self.name!r}: AE title {self.aet!r}; 1 to 16 ASCII letters"
            )
        if not 0 < self.port < 65536:
            raise ParameterError(f"peer {self.name!r}: port {self.port}; 1 to 65535")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Budgets of one acceptor process unless said otherwise; seconds and bytes."""

    max_pdu: int = 262_144
    """Largest P-DATA-TF variable field we announce and accept."""
    half_open: int = 256
    """Connections that have not yet sent a whole A-ASSOCIATE-RQ; beyond it the oldest goes."""
    half_open_bytes: int = 8 << 20
    """Bytes of unfinished A-ASSOCIATE-RQs kept."""
    associations: int = 64
    """Established associations."""
    per_address: int = 32
    """Established associations of one address, over all processes."""
    artim: float = 15.0
    """Association request/reject/release timer (PS3.8 section 9.1.5), at most 30."""
    network: float = 30.0
    """For the rest of a PDU or message once begun, and for each send."""
    idle: float = 300.0
    """Between messages."""
    spool_above: int = 16 << 20
    """A dataset larger than this goes to an unlinked file instead of memory."""
    max_dataset: int = 32 << 30
    max_identifier: int = 1 << 20
    """Bytes of a C-FIND, C-MOVE or C-GET identifier."""
    max_matches: int = 100_000
    """Responses to one C-FIND."""

    def __post_init__(self) -> None:
        """Refuse what the standard or safety does not allow."""
        if not 0 < self.artim <= 30:
            raise ParameterError(f"artim is {self.artim} s; it must be above 0 and at most 30")
        if not 4096 <= self.max_pdu <= 1 << 20:
            raise ParameterError(f"max_pdu is {self.max_pdu}; 4096 to 1048576")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything an acceptor process needs to know."""

    root: str
    aet: str = "SOMASCOPE"
    host: str = "127.0.0.1"
    port: int = 11112
    processes: int = 2
    peers: tuple[Peer, ...] = ()
    known_peers_only: bool | None = None
    """Refuse calling titles and addresses that are not in ``peers``; None: unless on loopback."""
    unknown_storage: bool = True
    """Accept storage of private SOP classes and of those not yet known to our dictionary."""
    limits: Limits = field(default_factory=Limits)
    tls: Tls = field(default_factory=Tls)

    @property
    def strict(self) -> bool:
        """Whether strangers are refused."""
        if self.known_peers_only is not None:
            return self.known_peers_only
        return not is_loopback(self.host)

    def peer(self, aet: str) -> Peer | None:
        """The peer with this title."""
        return next((p for p in self.peers if p.aet == aet), None)

    def to_json(self) -> str:
        """As JSON, for `from_json`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """From `to_json`."""
        values: dict[str, Any] = json.loads(text)
        values["peers"] = tuple(Peer(**p) for p in values["peers"])
        values["limits"] = Limits(**values["limits"])
        values["tls"] = Tls(**values["tls"])
        return cls(**values)


def is_loopback(host: str) -> bool:
    """Whether a bind to ``host`` is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_peers(path: Path) -> tuple[Peer, ...]:
    """Read ``[[peer]]`` tables (the fields of `Peer`) from a TOML file.

    Raises
    ------
    ParameterError
        The file is not TOML, or a peer has unknown, missing or wrong fields.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("peer", [])
        peers = tuple(Peer(**table) for table in tables)
    except (tomllib.TOMLDecodeError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ParameterError(
            f"{path}: {error}; write [[peer]] tables with name, host, port, aet"
        ) from error
    titles = [p.aet for p in peers]
    if len(set(titles)) != len(titles):
        raise ParameterError(f"{path}: an AE title occurs twice in {titles}")
    return peers
