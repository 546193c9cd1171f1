"""WADO-RS, retrieving frames (PS3.18 10.4.1.1.6): byte ranges of the stored file where possible."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

from somascope.archive import FrameRange
from somascope.core.errors import NotFound
from somascope.server.dicomweb import multipart
from somascope.server.dicomweb.door import Door
from somascope.server.dicomweb.files import read_into
from somascope.server.dicomweb.negotiation import (
    EXPLICIT,
    MEDIA_TYPE_OF,
    Accepted,
    accepted,
)
from somascope.server.dicomweb.responses import IMMUTABLE, Answer, Stream

OCTETS = "application/octet-stream"
IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
MOST_FRAMES = 10_000
"""Most frames of one request."""
PLAIN = frozenset({IMPLICIT, EXPLICIT, DEFLATED})
"""Transfer syntaxes whose stored frames are already what Explicit VR Little Endian holds."""


def frame_list(text: str, *, count: int | None = None) -> list[int]:
    """The numbers of ``1,2,5``; HTTP 400 where it is no such list, 404 beyond ``count``."""
    if len(text) > 8 * MOST_FRAMES:
        raise HTTPException(400, f"more than {MOST_FRAMES} frames in one request")
    numbers: list[int] = []
    for item in text.split(","):
        if not (item.isascii() and item.isdigit() and len(item) <= 10) or int(item) == 0:
            raise HTTPException(
                400, f"frame list {text[:40]!r}; give numbers from 1, separated by commas"
            )
        numbers.append(int(item))
    if len(numbers) > MOST_FRAMES:
        raise HTTPException(400, f"more than {MOST_FRAMES} frames in one request")
    if count is not None and max(numbers) > count:
        raise NotFound(f"no frame {max(numbers)}; the instance has frames 1 to {count}")
    return numbers


@dataclass(frozen=True)
class Form:
    """How frames go out: in parts or alone, as stored or decoded, and under what name."""

    multipart: bool
    stored: bool
    content_type: str
    media: str


def choose(choices: Sequence[Accepted], syntax: str, *, alone: bool) -> Form:
    """The client's first choice that frames stored in ``syntax`` can be given, else HTTP 406."""
    compressed = MEDIA_TYPE_OF.get(syntax)
    plain = syntax in PLAIN
    for choice in choices:
        parted = choice.multipart
        if not (parted or alone):
            continue
        wanted, inner = choice.transfer_syntax, choice.inner
        natural = compressed and inner != OCTETS and choice.covers(compressed)
        if compressed and natural and wanted in ("", "*", syntax):
            kind = f"{compressed}; transfer-syntax={syntax}"
            return Form(parted, stored=True, content_type=kind, media=compressed)
        if not choice.covers(OCTETS):
            continue
        if compressed and wanted in ("*", syntax):
            kind = f"{OCTETS}; transfer-syntax={syntax}"
            return Form(parted, stored=True, content_type=kind, media=OCTETS)
        if wanted in ("", "*", EXPLICIT) or (plain and wanted == IMPLICIT):
            kind = f"{OCTETS}; transfer-syntax={EXPLICIT}"
            return Form(parted, stored=plain, content_type=kind, media=OCTETS)
    raise HTTPException(
        406,
        f"these frames are stored in {syntax}; they are given as {OCTETS} with transfer-syntax=* "
        f"(as stored) or {EXPLICIT}" + (f", or as {compressed}" if compressed else ""),
    )


class Frames:
    """``/frames/{list}``."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, request: Request) -> Answer | Stream:
        """Answer one request."""
        where, door = request.path_params, self._door
        instance = await door.instance(where["study"], where["series"], where["instance"])
        numbers = frame_list(where["frames"], count=max(instance.frames, 1))
        first = await door.frame(instance.sop_uid, numbers[0])
        choices = accepted(request.headers, request.query_params)
        form = choose(choices, first.transfer_syntax, alone=len(numbers) == 1)
        boundary = multipart.new_boundary() if form.multipart else ""
        if len(numbers) == 1:
            head = tail = b""
            kind = form.content_type
            if form.multipart:
                head = multipart.part_head(
                    boundary, form.content_type, location=_location(request), first=True
                )
                tail = multipart.end(boundary)
                kind = f'multipart/related; type="{form.media}"; boundary={boundary}'
            body = await self._frame(first, numbers[0], form, head=head, tail=tail)
            return Answer(body, kind, headers=_CACHED)
        return Stream(
            self._parts(instance.sop_uid, numbers, form, boundary),
            f'multipart/related; type="{form.media}"; boundary={boundary}',
            length=None,
            headers=_CACHED,
        )

    async def _parts(
        self, sop: str, numbers: Sequence[int], form: Form, boundary: str
    ) -> AsyncIterator[bytes | bytearray]:
        for n, number in enumerate(numbers):
            place = await self._door.frame(sop, number)
            head = multipart.part_head(boundary, form.content_type, first=n == 0)
            yield await self._frame(place, number, form, head=head, tail=b"")
        yield multipart.end(boundary)

    async def _frame(
        self, place: FrameRange, number: int, form: Form, *, head: bytes, tail: bytes
    ) -> bytes | bytearray:
        """One frame between ``head`` and ``tail``, in one buffer so that it is copied only once."""
        if not form.stored:
            data = await self._door.decoded("frame", str(place.path), number)
            return b"".join((head, data, tail))
        if place.deflated_at is not None or place.shift or place.bits % 8:
            return b"".join((head, await self._door.in_thread(place.read), tail))
        at = len(head)
        buffer = bytearray(at + place.length + len(tail))
        buffer[:at] = head
        with memoryview(buffer) as view:
            for offset, length in place.pieces:
                inside = view[at : at + length]
                await read_into(inside, place.path, offset, threads=self._door.threads)
                at += length
            view[at:] = tail
        return buffer


_CACHED = (("cache-control", IMMUTABLE),)


def _location(request: Request) -> str:
    return str(request.url).partition("?")[0]
