"""The DICOM upper layer state machine: PS3.8 table 9-10, as a table and under its own names.

``TABLE[event, state]`` is ``(action, next state)``. AE-6 and AR-8 choose their next state
themselves (Sta3 or Sta13, Sta9 or Sta10): the table holds ``None`` there. A pair that is not in
the table cannot happen from the network; a local primitive issued in such a state is our mistake.
"""

from __future__ import annotations

from enum import IntEnum


class Sta(IntEnum):
    """States (PS3.8 section 9.2.1)."""

    Sta1 = 1
    """Idle."""
    Sta2 = 2
    """Transport connection open, awaiting A-ASSOCIATE-RQ."""
    Sta3 = 3
    """Awaiting the local A-ASSOCIATE response."""
    Sta4 = 4
    """Awaiting the transport connection."""
    Sta5 = 5
    """Awaiting A-ASSOCIATE-AC or -RJ."""
    Sta6 = 6
    """Association established, ready for data."""
    Sta7 = 7
    """Awaiting A-RELEASE-RP."""
    Sta8 = 8
    """Awaiting the local A-RELEASE response."""
    Sta9 = 9
    """Release collision, requestor: awaiting the local A-RELEASE response."""
    Sta10 = 10
    """Release collision, acceptor: awaiting A-RELEASE-RP."""
    Sta11 = 11
    """Release collision, requestor: awaiting A-RELEASE-RP."""
    Sta12 = 12
    """Release collision, acceptor: awaiting the local A-RELEASE response."""
    Sta13 = 13
    """Awaiting the close of the transport connection."""


class Evt(IntEnum):
    """Events (PS3.8 section 9.2.2)."""

    ASSOCIATE_REQUEST = 1
    TRANSPORT_CONFIRM = 2
    ASSOCIATE_AC = 3
    ASSOCIATE_RJ = 4
    TRANSPORT_INDICATION = 5
    ASSOCIATE_RQ = 6
    ASSOCIATE_ACCEPT = 7
    ASSOCIATE_REJECT = 8
    DATA_REQUEST = 9
    DATA_TF = 10
    RELEASE_REQUEST = 11
    RELEASE_RQ = 12
    RELEASE_RP = 13
    RELEASE_RESPONSE = 14
    ABORT_REQUEST = 15
    ABORT = 16
    TRANSPORT_CLOSED = 17
    ARTIM_EXPIRED = 18
    INVALID_PDU = 19


_ROWS: dict[int, dict[str, tuple[str, int | None]]] = {
    1: {"1": ("AE-1", 4)},
    2: {"4": ("AE-2", 5)},
    3: {"2": ("AA-1", 13), "5": ("AE-3", 6), "3 6-12": ("AA-8", 13), "13": ("AA-6", 13)},
    4: {"2": ("AA-1", 13), "5": ("AE-4", 1), "3 6-12": ("AA-8", 13), "13": ("AA-6", 13)},
    5: {"1": ("AE-5", 2)},
    6: {"2": ("AE-6", None), "3 5-12": ("AA-8", 13), "13": ("AA-7", 13)},
    7: {"3": ("AE-7", 6)},
    8: {"3": ("AE-8", 13)},
    9: {"6": ("DT-1", 6), "8": ("AR-7", 8)},
    10: {
        "2": ("AA-1", 13),
        "3 5 8-12": ("AA-8", 13),
        "6": ("DT-2", 6),
        "7": ("AR-6", 7),
        "13": ("AA-6", 13),
    },
    11: {"6": ("AR-1", 7)},
    12: {
        "2": ("AA-1", 13),
        "3 5 8-12": ("AA-8", 13),
        "6": ("AR-2", 8),
        "7": ("AR-8", None),
        "13": ("AA-6", 13),
    },
    13: {
        "2": ("AA-1", 13),
        "3 5 6 8 9 12": ("AA-8", 13),
        "7": ("AR-3", 1),
        "10": ("AR-10", 12),
        "11": ("AR-3", 1),
        "13": ("AA-6", 13),
    },
    14: {"8": ("AR-4", 13), "9": ("AR-9", 11), "12": ("AR-4", 13)},
    15: {"3 5-12": ("AA-1", 13), "4": ("AA-2", 1)},
    16: {"2": ("AA-2", 1), "3 5-12": ("AA-3", 1), "13": ("AA-2", 1)},
    17: {"2": ("AA-5", 1), "3-12": ("AA-4", 1), "13": ("AR-5", 1)},
    18: {"2": ("AA-2", 1), "13": ("AA-2", 1)},
    19: {"2": ("AA-1", 13), "3 5-12": ("AA-8", 13), "13": ("AA-7", 13)},
}


def _states(text: str) -> list[Sta]:
    found = []
    for part in text.split():
        low, _, high = part.partition("-")
        found += [Sta(n) for n in range(int(low), int(high or low) + 1)]
    return found


TABLE: dict[tuple[Evt, Sta], tuple[str, Sta | None]] = {
    (Evt(event), state): (action, None if following is None else Sta(following))
    for event, row in _ROWS.items()
    for states, (action, following) in row.items()
    for state in _states(states)
}
"""(event, state) -> (action, next state)."""
