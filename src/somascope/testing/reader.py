"""The contract of a reader plug-in, as a check that anybody can run on theirs."""

from __future__ import annotations

import random
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.errors import ReadError
from somascope.core.image import Image

_FOREIGN: dict[str, bytes] = {
    "an empty file": b"",
    "a text file": b"Patient came in walking, left in good health.\n" * 8,
    "a DICOM file": bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00\xc0\x00\x00\x00" + bytes(64),
    "a NIfTI file": b"\x5c\x01\x00\x00" + bytes(340) + b"n+1\x00" + bytes(100),
    "an NRRD file": b"NRRD0005\ntype: short\ndimension: 3\n",
    "a MetaImage file": b"ObjectType = Image\nNDims = 3\n",
    "a PNG file": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(32),
    "a ZIP file": b"PK\x03\x04" + bytes(64),
    "noise": random.Random(7).randbytes(600),  # noqa: S311
}

_ROOM = 64 << 20
"""Bytes of memory that reading a damaged file may take beyond what reading the good one took."""


def check_reader(
    reader: Any, samples: Sequence[str | Path], *, scratch: Path | None = None, flips: int = 96
) -> None:
    """Check that ``reader`` keeps the contract of `somascope.io.read.Reader`.

    It recognises its samples by content and not by their names, and at most one foreign format; it
    gives images that are placed, finite where they must be, read-only and the same each time; of
    truncated and damaged copies it says `ReadError` and nothing else, within a bound of memory.

    Parameters
    ----------
    reader
        The object behind the entry point.
    samples
        Good files; one at least, each complete in itself (no data file beside).
    scratch
        An empty folder for damaged copies; default a temporary one.
    flips
        Number of damaged copies per sample, seeded.

    Raises
    ------
    AssertionError
        The first rule that is broken, in words.
    """
    if scratch is None:
        with tempfile.TemporaryDirectory() as folder:
            check_reader(reader, samples, scratch=Path(folder), flips=flips)
        return
    assert samples, "check_reader needs at least one sample file"
    for name in ("matches", "read"):
        assert callable(getattr(reader, name, None)), f"the reader has no method {name}()"
    claimed = [what for what, head in _FOREIGN.items() if _matches(reader, head, scratch / "file")]
    assert len(claimed) <= 1, f"matches() claims formats that are not its own: {', '.join(claimed)}"
    for sample in map(Path, samples):
        whole = sample.read_bytes()
        assert _matches(reader, whole[:4096], sample), f"matches() does not know {sample.name}"
        renamed = scratch / "renamed.bin"
        renamed.write_bytes(whole)
        assert _matches(reader, whole[:4096], renamed), (
            f"matches() goes by the name: it does not know {sample.name} as renamed.bin"
        )
        images, room = _measured(reader, renamed)
        _check_images(images, renamed)
        _check_same(images, reader.read(renamed), "a second time")
        _check_damage(reader, whole, images, scratch=scratch, room=room + _ROOM, flips=flips)


def _matches(reader: Any, head: bytes, path: Path) -> bool:
    answer = reader.matches(head, path)
    assert isinstance(answer, bool), f"matches() gives {answer!r}; it must give True or False"
    return answer


def _measured(reader: Any, path: Path) -> tuple[list[Image], int]:
    """What is read and the most memory it took on the way."""
    tracemalloc.start()
    try:
        images = reader.read(path)
        return images, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _check_images(images: Any, path: Path) -> None:
    assert isinstance(images, list), f"read() gives {type(images).__name__}; it must give a list"
    assert images, "read() gives an empty list; raise ReadError with the reason instead"
    for image in images:
        assert isinstance(image, Image), f"read() gives {type(image).__name__} in its list"
        assert image.data.dtype.isnative, (
            f"data has dtype {image.data.dtype}: not native byte order"
        )
        assert not image.data.flags.writeable, "data is writeable"
        assert image.modality, "modality is empty; use 'OT' where it is unknown"
        sources = image.provenance.sources
        assert sources, "provenance names no source"
        assert sources[0].name, "the source in provenance has no name"
        assert str(path.parent) not in sources[0].name, (
            f"the source {sources[0].name!r} tells the folder; name the file only"
        )


def _check_same(images: list[Image], again: list[Image], when: str) -> None:
    assert len(images) == len(again), f"read() gives another number of images {when}"
    for a, b in zip(images, again, strict=True):
        same = a.data.dtype == b.data.dtype and np.array_equal(
            a.data, b.data, equal_nan=a.data.dtype.kind in "fc"
        )
        assert same, f"read() gives other values {when}"
        assert a.grid == b.grid, f"read() gives another grid {when}"


def _check_damage(
    reader: Any, whole: bytes, images: list[Image], *, scratch: Path, room: int, flips: int
) -> None:
    path = scratch / "damaged.bin"
    for fraction in (0.0, 0.02, 0.1, 0.5, 0.9, 0.99):
        part = whole[: int(len(whole) * fraction)]
        path.write_bytes(part)
        found = _attempt(reader, path, f"a file cut to {len(part)} of {len(whole)} bytes", room)
        if found is not None:
            _check_same(images, found, f"from a file cut to {len(part)} of {len(whole)} bytes")
    dice = random.Random(20260102)  # noqa: S311
    for _ in range(flips):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 3)):
            # Runs, because sizes and offsets have several bytes; most of them stand early.
            start = dice.randrange(min(len(whole), dice.choice((64, 600))))
            length = min(dice.randint(1, 8), len(whole) - start)
            damaged[start : start + length] = (
                bytes([dice.choice((0, 1, 0x7F, 0x80, 0xFF))]) * length
            )
        path.write_bytes(damaged)
        _attempt(reader, path, "a file with damaged header bytes", room)


def _attempt(reader: Any, path: Path, what: str, room: int) -> list[Image] | None:
    """Images, or None for a `ReadError`; anything else breaks the contract."""
    tracemalloc.start()
    try:
        return reader.read(path)
    except ReadError as error:
        if not str(error):
            raise AssertionError(
                f"for {what} read() raises a ReadError without a message"
            ) from error
        return None
    except Exception as error:
        raise AssertionError(
            f"for {what} read() raises {type(error).__name__}({error}); it must be a ReadError "
            "that says what is wrong"
        ) from error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= room, f"for {what} read() took {peak >> 20} MiB of memory"
