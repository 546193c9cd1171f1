"""``multipart/related`` (RFC 2387): parts out with a known length, parts in as a stream."""

from __future__ import annotations

import mmap
import re
import secrets
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from starlette.exceptions import HTTPException

SPOOL = 4 << 20
"""Parts up to this many bytes stay in memory; larger ones go to a temporary file."""
HEAD = 16 << 10
"""Largest head (all header lines) of one part."""

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,70}")


def new_boundary() -> str:
    """A boundary that is in no file: 96 random bits."""
    return f"somascope-{secrets.token_hex(12)}"


def part_head(boundary: str, content_type: str, *, location: str = "", first: bool) -> bytes:
    """Everything between the bytes of two parts (or before those of the first)."""
    lines = [f"--{boundary}", f"Content-Type: {content_type}"]
    if location:
        lines.append(f"Content-Location: {location}")
    text = "\r\n".join(lines) + "\r\n\r\n"
    return (text if first else f"\r\n{text}").encode("latin-1")


def end(boundary: str) -> bytes:
    """What follows the bytes of the last part."""
    return f"\r\n--{boundary}--\r\n".encode("latin-1")


@dataclass
class Part:
    """One received part; use it within ``with`` so that its temporary file goes away."""

    headers: dict[str, str]
    data: bytes | bytearray | mmap.mmap
    file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self.data, mmap.mmap):
            self.data.close()
        if self.file is not None:
            self.file.close()

    @property
    def content_type(self) -> str:
        """The media type without parameters, lower case; ``""`` where none was sent."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def boundary_of(content_type: str) -> str:
    """The ``boundary`` parameter of a Content-Type; raises HTTP 400 where there is none."""
    match = re.search(r';\s*boundary\s*=\s*(?:"([^"]*)"|([^\s;]+))', content_type, re.IGNORECASE)
    text = (match[1] if match[1] is not None else match[2]) if match else ""
    if not _BOUNDARY.fullmatch(text):
        raise HTTPException(400, "the Content-Type names no usable boundary")
    return text


class Body:
    """The bytes of one part, in memory until they are many."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._size = 0

    def add(self, data: bytes | bytearray | memoryview) -> None:
        """Append; raises HTTP 413 beyond the limit."""
        self._size += len(data)
        if self._size > self._limit:
            self.drop()
            raise HTTPException(413, f"one part is larger than the {self._limit} bytes allowed")
        if self._file is None and self._size > SPOOL:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            self._file.write(self._memory)
            self._memory = bytearray()
        if self._file is not None:
            self._file.write(data)
        else:
            self._memory += data

    def drop(self) -> None:
        """Forget it."""
        if self._file is not None:
            self._file.close()

    def part(self, headers: dict[str, str]) -> Part:
        """All that was added, as a part."""
        if self._file is None:
            return Part(headers, self._memory)
        self._file.flush()
        data = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return Part(headers, data, self._file)


def _headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in block.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if line and colon:
            headers[name.strip().lower()] = value.strip()
    return headers


async def parts(
    stream: AsyncIterator[bytes], boundary: str, *, folder: Path, part_bytes: int, most: int
) -> AsyncIterator[Part]:
    """The parts of a body as they arrive.

    Memory is bounded by one part of `SPOOL` bytes and one chunk of ``stream``; larger parts are
    files without a name in ``folder``. Raises HTTP 400 where the body is no multipart body or
    ends before its closing boundary, 413 where a part or their number is over the limit.
    """
    delimiter = f"\r\n--{boundary}".encode("latin-1")
    buffer = bytearray(b"\r\n")  # the first delimiter may stand at the very start
    state = "preamble"
    headers: dict[str, str] = {}
    body: Body | None = None
    count = 0
    try:
        async for chunk in stream:
            if state == "end":
                continue
            buffer += chunk
            while True:
                if state in ("preamble", "body"):
                    found = buffer.find(delimiter)
                    keep = len(delimiter) - 1
                    if found < 0:
                        if state == "body" and len(buffer) > keep:
                            assert body is not None
                            with memoryview(buffer) as view:
                                body.add(view[: len(buffer) - keep])
                        if len(buffer) > keep:
                            del buffer[: len(buffer) - keep]
                        break
                    if body is not None:
                        with memoryview(buffer) as view:
                            body.add(view[:found])
                        done, body = body.part(headers), None
                        del buffer[: found + len(delimiter)]
                        state = "delimiter"
                        yield done
                    else:
                        del buffer[: found + len(delimiter)]
                        state = "delimiter"
                elif state == "delimiter":
                    if len(buffer) < 2:
                        break
                    if buffer[:2] == b"--":
                        state = "end"
                        buffer.clear()
                        break
                    line = buffer.find(b"\r\n")
                    if line < 0 and len(buffer) < 80:
                        break
                    if line < 0 or buffer[:line].strip(b" \t"):
                        raise HTTPException(400, "a multipart boundary does not end its line")
                    del buffer[:line]  # the line end belongs to an empty head, too
                    state = "head"
                else:
                    stop = buffer.find(b"\r\n\r\n")
                    if stop < 0:
                        if len(buffer) > HEAD:
                            raise HTTPException(400, f"the head of a part is over {HEAD} bytes")
                        break
                    if stop > HEAD:
                        raise HTTPException(400, f"the head of a part is over {HEAD} bytes")
                    count += 1
                    if count > most:
                        raise HTTPException(413, f"more than {most} parts in one request")
                    headers = _headers(bytes(buffer[:stop]))
                    del buffer[: stop + 4]
                    body = Body(folder, part_bytes)
                    state = "body"
        if state != "end":
            raise HTTPException(400, "the multipart body ends before its closing boundary")
    finally:
        if body is not None:
            body.drop()
