"""Text of the indexed attributes: padding, character sets (PS3.5 6.1.2), UID grammar (9.1)."""

from __future__ import annotations

import re

from somascope.core.errors import CorruptFile

_UID = re.compile(r"[0-9]+(\.[0-9]+)*\Z")
_CONTROL = {0x5C, 0x0A, 0x0C, 0x0D, 0x09}
_NAME_CONTROL = {0x5C, 0x5E, 0x3D}


def is_uid(text: str) -> bool:
    """Digits and dots, no empty component, at most 64 characters.

    A leading zero in a component is against PS3.5 9.1 and common; it does no harm and passes.
    """
    return len(text) <= 64 and _UID.match(text) is not None


def plain(value: bytes) -> str:
    """Text of a VR with the default repertoire only (CS, DA, DS, IS, TM, UI ...)."""
    return value.decode("ascii", "replace").strip(" \0").replace("\0", "")


def uid(value: bytes, *, keyword: str, name: str) -> str:
    """A unique identifier, its grammar checked."""
    text = value.decode("ascii", "replace").rstrip(" \0").lstrip(" ")
    if text and not is_uid(text):
        raise CorruptFile(
            f"{name}: {keyword} is {text[:70]!r}; a UID has digits and dots, at most 64 characters"
        )
    return text


def text(value: bytes, charset: str, *, person: bool = False) -> str:
    """Text under the Specific Character Set ``charset`` (backslash-separated defined terms)."""
    if value.isascii() and 0x1B not in value:
        return value.decode("ascii").strip(" \0").replace("\0", "")
    import warnings

    from pydicom.charset import convert_encodings, decode_bytes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns where it falls back; so do we, by U+FFFD
        try:
            encodings = convert_encodings(charset.split("\\"))
            result = decode_bytes(value, encodings, _NAME_CONTROL if person else _CONTROL)
        except (LookupError, UnicodeError, ValueError, AttributeError):
            result = value.decode("utf-8", "replace")
    if not charset and "\ufffd" in result:  # undeclared: Latin-1 maps every byte
        result = value.decode("latin-1")
    return result.strip(" \0").replace("\0", "")
