"""What a decoder can be asked for: a name, arguments of JSON, bytes as the answer."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Task = Callable[..., bytes]
HEAD = struct.Struct("<QQ")
"""What an answer begins with: bytes of JSON, bytes of data."""


def frame(path: str, number: int) -> bytes:
    """One frame as Explicit VR Little Endian holds it."""
    from somascope.server.dicomweb import transcode

    return transcode.frame_bytes(Path(path), number)


def render(path: str, number: int, options: Mapping[str, Any]) -> bytes:
    """One frame as a JPEG or PNG file."""
    from somascope.server.dicomweb.picture import Options
    from somascope.server.dicomweb.picture import render as rendered

    return rendered(Path(path), number, Options.from_json(options))


def explicit(path: str) -> bytes:
    """The whole instance in Explicit VR Little Endian."""
    from somascope.server.dicomweb import transcode

    return transcode.explicit_file(Path(path))


def bulk(path: str, where: str) -> bytes:
    """One value that has no place of its own in the file."""
    from somascope.server.dicomweb import transcode

    return transcode.bulk(Path(path), where)


def plain(path: str, transfer_syntax: str) -> bytes:
    """The bare data set in explicit or implicit little endian."""
    from somascope.server.dimse import transcode

    return transcode.plain(Path(path), transfer_syntax=transfer_syntax)


TASKS: Mapping[str, Task] = {
    "frame": frame,
    "render": render,
    "explicit": explicit,
    "bulk": bulk,
    "plain": plain,
}


_NEEDED = (
    "imagecodecs",
    "PIL.ImageOps",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "pydicom.filewriter",
    "pydicom.pixels.processing",
    "somascope.server.dicomweb.picture",
    "somascope.server.dimse.transcode",
)


def warm() -> None:
    """Import what the tasks need, while a library may still be opened."""
    for name in _NEEDED:
        importlib.import_module(name)
