"""Dates and times of DICOM (PS3.5 6.2: DA, TM) as texts that sort, and back."""

from __future__ import annotations

import re

_DATE = re.compile(r"(\d{4})[.\-]?(\d\d)[.\-]?(\d\d)\Z")
_TIME = re.compile(r"(\d\d):?(?:(\d\d):?(?:(\d\d)(?:\.(\d{1,6}))?)?)?\Z")


def date(text: str) -> str:
    """``YYYYMMDD``; what is no date stays as it is (ACR-NEMA's ``YYYY.MM.DD`` is one)."""
    found = _DATE.match(text.strip())
    return "".join(found.groups()) if found else text.strip()[:16]


def moment(text: str) -> str:
    """``HHMMSS.FFFFFF`` with as many digits as were given; what is no time stays as it is."""
    found = _TIME.match(text.strip())
    if not found:
        return text.strip()[:20]
    hours, minutes, seconds, fraction = found.groups()
    whole = hours + (minutes or "") + (seconds or "")
    return f"{whole}.{fraction}" if fraction else whole


def first(text: str) -> str:
    """A text that sorts at or before every moment from this one on: ``100000`` is ``10``."""
    value = moment(text)
    while len(value) in (4, 6) and value.endswith("00"):
        value = value[:-2]
    return value


def last(text: str) -> str:
    """A text that sorts behind every moment a time stands for: ``10`` is ``105959.999999``."""
    value = moment(text)
    whole, _, fraction = value.partition(".")
    whole += "5959"[len(whole) - 2 :] if len(whole) in (2, 4) else ""
    return f"{whole}.{fraction.ljust(6, '9')}"
