"""Unique identifiers (PS3.5 section 9, B.2), derived from content: a replay repeats them."""

from __future__ import annotations

import hashlib
import re

import numpy as np

from somascope.core.grid import Array

_GRAMMAR = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_DIGITS = re.compile(r"[0-9]+(\.[0-9]+)+")

IMPLEMENTATION = "2.25.273886712957364925873925129874620393017"
"""Implementation Class UID of Somascope's writer (PS3.7 D.3.3.2)."""


def derive(*parts: str | bytes) -> str:
    """A UID under 2.25 from the SHA-256 of ``parts``; equal parts give equal UIDs.

    The first 128 bits of the digest become a UUID of version 8 (RFC 9562 section 5.8).
    """
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big") + raw)
    number = int.from_bytes(digest.digest()[:16], "big")
    number = number & ~(0xF << 76) | (8 << 76)
    number = number & ~(0b11 << 62) | (0b10 << 62)
    return f"2.25.{number}"


def digest(data: Array) -> bytes:
    """SHA-256 of an array's type, shape and values."""
    result = hashlib.sha256(f"{data.dtype.str}{data.shape}".encode())
    for block in data if data.ndim > 2 and not data.flags.c_contiguous else (data,):
        result.update(np.ascontiguousarray(block).data)
    return result.digest()


def is_usable(uid: str) -> bool:
    """Whether ``uid`` is numbers parted by points, at most 64 characters, leading zeros or not."""
    return len(uid) <= 64 and _DIGITS.fullmatch(uid) is not None


def is_valid(uid: str) -> bool:
    """Whether ``uid`` follows the grammar: numbers without leading zeros, at most 64 characters."""
    return len(uid) <= 64 and _GRAMMAR.fullmatch(uid) is not None
