"""Person names and identities: folding, words, sounds (PS3.5 6.2.1, PS3.4 C.2.2.2.1)."""

from __future__ import annotations

import re
import unicodedata

_PARTS = re.compile(r"[\^=\s,.\-\\]+")
_GROUPS = {"1": "bfpv", "2": "cgjkqsxz", "3": "dt", "4": "l", "5": "mn", "6": "r"}
_CODES = {letter: digit for digit, letters in _GROUPS.items() for letter in letters}


def fold(text: str) -> str:
    """For comparison without regard to case."""
    return unicodedata.normalize("NFC", text).casefold()


def plain(text: str) -> str:
    """Folded and without accents."""
    pieces = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in pieces if not unicodedata.combining(c)).replace("ß", "ss")


def words(name: str) -> list[str]:
    """The words of a person name, folded and without accents, each once."""
    return list(dict.fromkeys(w[:64] for w in _PARTS.split(plain(name)) if w))[:16]


def sound(word: str) -> str:
    """Soundex (Russell and Odell, US patent 1261167) of a Latin word, else the word itself."""
    letters = [c for c in plain(word) if "a" <= c <= "z"]
    if not letters or len(letters) != len(plain(word)):
        return plain(word)
    digits, last = "", _CODES.get(letters[0], "")
    for c in letters[1:]:
        code = _CODES.get(c, "")
        if code and code != last:
            digits += code
        if c not in "hw":
            last = code
    return (letters[0] + digits + "000")[:4]


def identity(patient_id: str, issuer: str, name: str, birth: str, study: str) -> str:
    """One text per patient: ID and issuer, else name and birth date, else nobody but this study."""
    if patient_id:
        return f"{patient_id}\x1f{issuer}"
    if name.strip("^= "):
        return f"\x1f{fold(name)}\x1f{birth}"
    return f"\x1f\x1f\x1f{study}"
