"""Our own File Meta Information (PS3.10 section 7.1), put before a data set without touching it."""

from __future__ import annotations

import struct

IMPLEMENTATION_CLASS_UID = "2.25.302189437203514874066107235408327604197"
IMPLEMENTATION_VERSION = "SOMASCOPE_0"


def wrap(*, sop_class: str, sop_uid: str, transfer_syntax: str) -> bytes:
    """Preamble of zeros, ``DICM`` and group 0002; the data set follows."""
    body = struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, 2) + b"\x00\x01"
    for element, value in (
        (0x0002, sop_class),
        (0x0003, sop_uid),
        (0x0010, transfer_syntax),
        (0x0012, IMPLEMENTATION_CLASS_UID),
    ):
        body += _text(element, b"UI", value.encode("ascii"), b"\0")
    body += _text(0x0013, b"SH", IMPLEMENTATION_VERSION.encode("ascii"), b" ")
    length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(body))
    return bytes(128) + b"DICM" + length + body


def _text(element: int, vr: bytes, value: bytes, pad: bytes) -> bytes:
    value += pad * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, element, vr, len(value)) + value
