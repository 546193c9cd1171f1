"""gzip whole, which libdeflate does in half the time, where a file allows it."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from somascope.core.grid import Array
from somascope.io.stream import put_array

_WHOLE = 1 << 30
"""Up to this many bytes are packed and unpacked in one piece; larger files as a stream."""
_LEVEL = 2


def unpack(packed: bytes, dtype: np.dtype, shape: Sequence[int], *, skip: int = 0) -> Array | None:
    """The array that begins ``skip`` bytes into what ``packed`` holds, its check sum compared.

    None where it is not one gzip member of exactly that length (RFC 1952): then read it as a
    stream, which also says what is wrong.
    """
    import imagecodecs

    if len(packed) > _WHOLE:
        return None
    out = np.empty(skip + math.prod(shape) * dtype.itemsize, np.uint8)
    try:
        got = imagecodecs.gzip_decode(packed, out=out.data)
    except imagecodecs.DeflateError:
        return None
    if len(got) != len(out):
        return None
    values = out[skip:]
    if skip % dtype.alignment:
        values = values.copy()
    return values.view(dtype).reshape(shape)


def pack(file: BinaryIO, data: Array, *, before: bytes = b"") -> None:
    """Write ``before`` and the C-contiguous ``data`` as one gzip member without a time stamp."""
    if len(before) + data.nbytes <= _WHOLE:
        import imagecodecs

        flat = data.reshape(-1).view(np.uint8)
        whole = np.concatenate([np.frombuffer(before, np.uint8), flat]) if before else flat
        file.write(imagecodecs.gzip_encode(whole.data, level=_LEVEL))  # pyright: ignore[reportArgumentType]
        return
    with gzip.GzipFile("", "wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as stream:
        stream.write(before)
        put_array(stream, data)  # pyright: ignore[reportArgumentType]
