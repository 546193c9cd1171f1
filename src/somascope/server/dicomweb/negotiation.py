"""The Accept header of DICOMweb (PS3.18 8.7): media types, transfer syntaxes, quality values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException

LONGEST = 4096
"""Bytes of an Accept header that are looked at; more is refused."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z/-]+")
_PARAMETER = re.compile(
    r"\s*;\s*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*"
    r'(?:"((?:[^"\\]|\\.){0,512})"|([^\s;,"]{0,512})))?'
)

EXPLICIT = "1.2.840.10008.1.2.1"
IMAGE_TYPES: dict[str, tuple[str, ...]] = {
    "image/jpeg": (
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.51",
        "1.2.840.10008.1.2.4.57",
    ),
    "image/dicom-rle": ("1.2.840.10008.1.2.5",),
    "image/jls": ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"),
    "image/jp2": ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),
    "image/jpx": ("1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.93"),
    "image/jphc": (
        "1.2.840.10008.1.2.4.201",
        "1.2.840.10008.1.2.4.202",
        "1.2.840.10008.1.2.4.203",
    ),
    "image/jxl": (
        "1.2.840.10008.1.2.4.110",
        "1.2.840.10008.1.2.4.111",
        "1.2.840.10008.1.2.4.112",
    ),
}
"""Compressed frames by media type (PS3.18 table 8.7.3-5); the first syntax is the default."""

MEDIA_TYPE_OF = {uid: media for media, uids in IMAGE_TYPES.items() for uid in uids}


@dataclass(frozen=True)
class Accepted:
    """One choice of the client: ``type/subtype``, its parameters, its quality in [0, 1]."""

    media: str
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    quality: float = 1.0

    @property
    def multipart(self) -> bool:
        """Whether it asks for ``multipart/related`` (or takes anything)."""
        return self.media in ("multipart/related", "multipart/*", "*/*")

    @property
    def inner(self) -> str:
        """The media type of the parts, ``*/*`` where it does not matter."""
        if self.media == "multipart/related":
            return self.parameters.get("type", "*/*").lower()
        return "*/*" if self.media == "multipart/*" else self.media

    @property
    def transfer_syntax(self) -> str:
        """The wanted transfer syntax: a UID, ``*`` for "as it is stored", or ``""``."""
        return self.parameters.get("transfer-syntax", "")

    def covers(self, media: str) -> bool:
        """Whether ``media`` is what the parts (or the single part) may be."""
        inner = self.inner
        return inner in ("*/*", media) or (
            inner.endswith("/*") and media.startswith(inner.removesuffix("*"))
        )


@lru_cache(maxsize=512)
def parse(header: str) -> tuple[Accepted, ...]:
    """The choices of an Accept header, best first; raises HTTP 400 where it cannot be read."""
    if len(header) > LONGEST:
        raise HTTPException(400, f"the Accept header is longer than {LONGEST} characters")
    choices = sorted(_choices(header), key=lambda choice: -choice.quality)
    return tuple(choice for choice in choices if choice.quality > 0)


def _choices(header: str) -> Iterator[Accepted]:
    at = 0
    while at < len(header):
        if header[at] in ", \t":
            at += 1
            continue
        match = _TOKEN.match(header, at)
        media = match.group().lower() if match else ""
        if match is None or media.count("/") != 1:
            raise HTTPException(400, f"the Accept header is not one: {header[at : at + 60]!r}")
        at = match.end()
        parameters: dict[str, str] = {}
        while (match := _PARAMETER.match(header, at)) is not None:
            at = match.end()
            if match[1]:
                parameters[match[1].lower()] = match[2] if match[2] is not None else match[3]
        rest = header[at:].lstrip()
        if rest and not rest.startswith(","):
            raise HTTPException(400, f"the Accept header is not one: {rest[:60]!r}")
        yield Accepted(media, parameters, _quality(parameters.pop("q", "1")))


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        raise HTTPException(400, f"the Accept header has q={text!r}; give 0 to 1") from None


def accepted(headers: Headers, query: QueryParams) -> tuple[Accepted, ...]:
    """What the client takes: ``accept=`` of the query (PS3.18 8.3.3.1) or the Accept header."""
    text = ", ".join(query.getlist("accept")) or ", ".join(headers.getlist("accept"))
    if not text.strip():
        return _ANYTHING
    return parse(text.replace("dicom json", "dicom+json"))  # a plus of the query is a space


_ANYTHING = (Accepted("*/*"),)


def require(choices: Iterable[Accepted], offered: Iterable[str]) -> str:
    """The offered media type that the client likes best; raises HTTP 406 where it takes none."""
    offers = list(offered)
    for choice in choices:
        for media in offers:
            if not choice.media.startswith("multipart/") and choice.covers(media):
                return media
    raise HTTPException(406, f"this resource is given as {', '.join(offers)}")
