"""What is in a ZIP archive, without writing a name of it to disk and without trusting its sizes."""

from __future__ import annotations

import contextlib
import io
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MOST_ENTRIES = 500_000
MOST_DEPTH = 2
RATIO, FREE = 250, 256 << 20
"""Inflated bytes per byte of ZIP, once more than ``FREE`` have come out."""
IN_MEMORY = 64 << 20
CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One file of a ZIP: its bytes, a temporary file for a large one, or what is wrong with it."""

    name: str
    data: bytes | None = None
    spooled: Path | None = None
    problem: str = ""
    refused: bool = False


class _TooMuch(Exception):
    """The limits are reached."""


class _Meter:
    def __init__(self, packed: int) -> None:
        self._most = max(FREE, RATIO * packed)
        self._seen = 0

    def add(self, n: int) -> None:
        self._seen += n
        if self._seen > self._most:
            raise _TooMuch(
                f"unpacks to more than {self._most >> 20} MiB; refused as a bomb; if it is right, "
                "unpack it by hand and import the folder"
            )


def is_zip(head: bytes) -> bool:
    """By content: local header, or the end record of an empty archive."""
    return head[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def entries(path: Path) -> Iterator[Entry]:
    """Every file in the archive, archives in it included to a depth of `MOST_DEPTH`."""
    meter = _Meter(path.stat().st_size)
    try:
        with path.open("rb") as file:
            yield from _walk(file, path.name, meter, 1)
    except _TooMuch as error:
        yield Entry(path.name, problem=str(error), refused=True)


def _walk(file: IO[bytes], name: str, meter: _Meter, depth: int) -> Iterator[Entry]:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        yield Entry(name, problem=f"damaged ZIP archive: {error}")
        return
    with archive:
        listed = archive.infolist()
        if len(listed) > MOST_ENTRIES:
            yield Entry(
                name, problem=f"holds {len(listed)} entries, more than {MOST_ENTRIES}", refused=True
            )
            return
        for info in listed:
            if info.is_dir():
                continue
            label = f"{name}/{info.filename}"
            try:
                with contextlib.ExitStack() as stack:
                    yield from _entry(archive, info, label, meter, depth, stack=stack)
            except (
                zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError,
            ) as error:  # fmt: skip
                yield Entry(label, problem=f"cannot be unpacked: {error}")


def _entry(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, label: str, meter: _Meter, depth: int,
    *, stack: contextlib.ExitStack,
) -> Iterator[Entry]:  # fmt: skip
    kept, spool, size = bytearray(), None, 0
    with archive.open(info) as packed:
        while piece := packed.read(CHUNK):
            meter.add(len(piece))
            size += len(piece)
            if spool is None and size > IN_MEMORY:
                spool = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".import"))  # noqa: SIM115
                spool.write(kept)
                kept.clear()
            if spool is None:
                kept += piece
            else:
                spool.write(piece)
    if spool is not None:
        spool.flush()
    data = bytes(kept)
    head = data[:4]
    if spool is not None:
        spool.seek(0)
        head = spool.read(4)
    if is_zip(head):
        if depth >= MOST_DEPTH:
            yield Entry(label, problem=f"nested deeper than {MOST_DEPTH} archives", refused=True)
            return
        inner: IO[bytes] = io.BytesIO(data) if spool is None else spool  # type: ignore[assignment]
        yield from _walk(inner, label, meter, depth + 1)
    elif spool is not None:
        yield Entry(label, spooled=Path(spool.name))
    else:
        yield Entry(label, data=data)
