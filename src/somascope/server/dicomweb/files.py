"""Bytes of stored files for the event loop: at once when the system has them in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from somascope.core.errors import CorruptFile

CHUNK = 1 << 20
"""Bytes of one piece of a file that is sent whole."""

_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def _fill(descriptor: int, view: memoryview, offset: int) -> None:
    done = 0
    while done < len(view):
        got = _pread_into(descriptor, view[done:], offset + done)
        if got == 0:
            raise CorruptFile(
                f"a stored file ends at byte {offset + done}, {len(view) - done} bytes early; "
                "run `somascope doctor` on the archive"
            )
        done += got


def _pread_into(descriptor: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows: the descriptor is ours alone
    data = os.read(descriptor, len(view))
    view[: len(data)] = data
    return len(data)


def _fill_path(path: str | Path, view: memoryview, offset: int) -> None:
    descriptor = os.open(path, _FLAGS)
    try:
        _fill(descriptor, view, offset)
    finally:
        os.close(descriptor)


async def read_into(
    view: memoryview, path: str | Path, offset: int, *, threads: Executor | None
) -> None:
    """Fill ``view`` from ``path`` at ``offset``.

    A read of cached pages takes less time than a change of threads, so it is tried at once with
    RWF_NOWAIT, which never waits for the disk; what is not in memory is read in ``threads``.
    Raises `CorruptFile` where the file is shorter.
    """
    done = 0
    if _NOWAIT:
        descriptor = os.open(path, _FLAGS)
        try:
            done = os.preadv(descriptor, [view], offset, _NOWAIT)
        except OSError:  # EAGAIN, or a file system without it
            done = 0
        finally:
            os.close(descriptor)
    if done < len(view):
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(threads, _fill_path, path, view[done:], offset + done)


async def pieces(
    path: str | Path,
    size: int,
    *,
    before: bytes,
    threads: Executor | None,
    start: int = 0,
    word: int = 1,
    after: bytes = b"",
) -> AsyncIterator[bytearray]:
    """``size`` bytes of a file from ``start``, in pieces of `CHUNK`.

    ``before`` comes in front of the first piece, ``after`` behind the last; numbers of ``word``
    bytes are turned round (``size`` is a multiple of it then).
    """
    at, end = start, start + size
    while at < end or before:
        length = min(CHUNK, end - at)
        last = after if at + length == end else b""
        buffer = bytearray(len(before) + length + len(last))
        buffer[: len(before)] = before
        with memoryview(buffer) as view:
            inside = view[len(before) : len(before) + length]
            await read_into(inside, path, at, threads=threads)
            if word > 1:
                np.frombuffer(inside, f"u{word}").byteswap(inplace=True)
            view[len(before) + length :] = last
            inside.release()
        yield buffer
        before = b""
        at += length
