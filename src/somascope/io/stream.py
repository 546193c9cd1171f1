"""Bytes out of files, never more than the file can hold.

A header that claims gigabytes in a small file is refused before memory is taken: stored bytes
must be there, and compressed ones cannot grow by more than their method allows.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from somascope.core.errors import CorruptFile
from somascope.core.grid import Array

Compression = Literal["none", "deflate", "bzip2"]

_GROWTH: dict[Compression, int] = {"none": 1, "deflate": 1032, "bzip2": 50_000}
"""Most bytes one stored byte can become: for deflate 258 bytes from two bits (RFC 1951 3.2.5)."""

_CHUNK = 1 << 20


def check_size(
    shape: Sequence[int], itemsize: int, *, available: int, compression: Compression, name: str
) -> int:
    """Number of bytes of ``shape``, once it is sure that ``available`` stored bytes can give them.

    Raises
    ------
    CorruptFile
        When a size is not positive or the bytes cannot be there.
    """
    if any(n < 1 for n in shape):
        raise CorruptFile(f"{name} declares the shape {tuple(shape)}; every size must be positive")
    wanted = math.prod(int(n) for n in shape) * itemsize
    possible = max(available, 0) * _GROWTH[compression]
    if wanted > possible:
        raise CorruptFile(
            f"{name} declares {wanted} bytes of voxels (shape {tuple(shape)}) but its "
            f"{max(available, 0)} stored bytes give at most {possible}; the file is truncated or "
            "its header is wrong: copy it again from its source"
        )
    return wanted


def read_array(stream: BinaryIO, dtype: np.dtype, shape: Sequence[int], *, name: str) -> Array:
    """Read exactly ``shape`` values in C order; `CorruptFile` when the stream ends before."""
    out = np.empty(tuple(shape), dtype)
    view = out.reshape(-1).view(np.uint8).data
    got = 0
    try:
        while got < len(view):
            n = stream.readinto(view[got : got + _CHUNK])  # pyright: ignore[reportAttributeAccessIssue]
            if not n:
                break
            got += n
    except (EOFError, OSError, zlib.error) as error:
        raise CorruptFile(
            f"{name} cannot be decompressed after {got} of {len(view)} bytes ({error}); copy it "
            "again from its source"
        ) from error
    if got < len(view):
        raise CorruptFile(
            f"{name} ends after {got} of {len(view)} bytes of voxels; it is truncated: copy it "
            "again from its source"
        )
    return out


def put_array(stream: BinaryIO, data: Array) -> None:
    """Write the bytes of a C-contiguous array without a copy."""
    flat = data.reshape(-1).view(np.uint8).data
    stream.writelines(flat[start : start + _CHUNK] for start in range(0, len(flat), _CHUNK))


def check_end(stream: BinaryIO, *, name: str) -> None:
    """Read on to the end of a compressed stream, so that its check sum is compared (RFC 1952)."""
    try:
        for _ in range(64):
            if not stream.read(1 << 16):
                return
    except (EOFError, OSError, zlib.error) as error:
        raise CorruptFile(
            f"{name} fails its check sum ({error}); copy it again from its source"
        ) from error


def inside(folder: Path, named: str, *, name: str) -> Path:
    """The file ``named`` in a header, only when it lies in the header's own folder.

    Raises
    ------
    CorruptFile
        For absolute paths, ``..``, links that lead away, and files that are not there.
    """
    base = folder.resolve()
    try:
        path = (base / named.replace("\\", "/")).resolve()
    except (ValueError, OSError) as error:
        raise CorruptFile(f"{name} names the data file {named[:60]!r}: {error}") from error
    if not path.is_relative_to(base) or path == base:
        raise CorruptFile(
            f"{name} names the data file {named!r}, which lies outside its folder; put it beside "
            "the header and name it without a path"
        )
    if not path.is_file():
        raise CorruptFile(f"{name} names the data file {named!r}, which is not there; put it back")
    return path
