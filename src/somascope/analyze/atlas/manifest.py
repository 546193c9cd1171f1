"""A folder of files with a manifest: what it is, and the SHA-256 of every file. No pickle.

Folders that are given by name lie in ``SOMASCOPE_ATLASES``, or below the user's data folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from somascope.core.errors import Conflict, CorruptFile, NotFound, Refused
from somascope.core.finding import Code, Segment
from somascope.io.atomic import replacing

MANIFEST = "atlas.json"
FORMAT = "somascope-atlas"
VERSION = 1
LARGEST = 1 << 22
"""Bytes of a manifest."""
MOST = 4 << 30
"""Bytes of a file beside it."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}(\.[a-z0-9]{1,8}){1,2}")


def home() -> Path:
    """Where atlases and cohorts with a name lie."""
    named = os.environ.get("SOMASCOPE_ATLASES")
    if named:
        return Path(named)
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "somascope" / "atlases"


def names() -> list[str]:
    """Of the folders with a manifest in `home`."""
    there = home()
    return sorted(p.parent.name for p in there.glob(f"*/{MANIFEST}")) if there.is_dir() else []


def place(name: str | Path) -> Path:
    """The folder or file at a path, or of a name; it need not be there."""
    path = Path(name)
    return home() / path if not path.exists() and str(name) in names() else path


def begin(folder: Path, *, overwrite: bool) -> None:
    """Make the folder; refuse one that holds an atlas already."""
    manifest = folder / MANIFEST
    if manifest.exists() and not overwrite:
        raise Conflict(f"{folder} holds an atlas already; choose another folder or say overwrite")
    folder.mkdir(parents=True, exist_ok=True)
    # Without its manifest a folder is no atlas: what is half written is never taken for one.
    manifest.unlink(missing_ok=True)


def finish(folder: Path, kind: str, facts: Mapping[str, Any], names: list[str]) -> None:
    """Write the manifest of the files that lie in the folder now."""
    files = {n: {"sha256": digest(folder / n), "bytes": (folder / n).stat().st_size} for n in names}
    record = {"format": FORMAT, "version": VERSION, "kind": kind, **facts, "files": files}
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with replacing(folder / MANIFEST) as file:
        file.write(text.encode() + b"\n")


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def opened(folder: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, Path]]:
    """The facts of a manifest of that kind, and its files, each checked to the last byte.

    Raises
    ------
    NotFound
        There is no such folder, or no manifest in it.
    CorruptFile
        The manifest is damaged, of another kind, or a file is not the one it was written with.
    Refused
        A file is a link, too large, or lies outside the folder.
    """
    folder = place(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise NotFound(
            f"{str(folder)!r} is no folder with an {MANIFEST}; of a name there is "
            f"{', '.join(names()) or 'none'} (in {home()})"
        )
    if path.is_symlink() or path.stat().st_size > LARGEST:
        raise Refused(f"{path} is a link or larger than {LARGEST} bytes; it is not read")
    try:
        record: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{path}: not JSON ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CorruptFile(f"{path} is not the manifest of an atlas")
    if record.get("version") != VERSION:
        raise CorruptFile(
            f"{path} is of version {record.get('version')!r}; this program reads {VERSION}"
        )
    if record.get("kind") != kind:
        raise CorruptFile(f"{path} is of kind {record.get('kind')!r} and {kind!r} is needed here")
    listed = record.get("files")
    if not isinstance(listed, dict):
        raise CorruptFile(f"{path} lists no files")
    return record, {str(n): _checked(folder, str(n), said) for n, said in listed.items()}


def _checked(folder: Path, name: str, said: Any) -> Path:
    path = folder / name
    if not _NAME.fullmatch(name):
        raise Refused(f"{folder / MANIFEST} names the file {name!r}, which an atlas does not have")
    if path.is_symlink() or not path.is_file():
        raise CorruptFile(f"{folder / MANIFEST} names {name!r}, which is not there (or is a link)")
    size = path.stat().st_size
    if size > MOST:
        raise Refused(f"{path} has {size} bytes; more than {MOST} are not read")
    if not isinstance(said, dict) or digest(path) != said.get("sha256"):
        raise CorruptFile(f"{path} is not the file its manifest was written for (SHA-256)")
    return path


def written(segments: tuple[Segment, ...]) -> list[dict[str, Any]]:
    """Segments as JSON."""
    return [
        {
            "number": s.number, "label": s.label, "colour": list(s.colour),
            "code": [s.concept.value, s.concept.scheme, s.concept.meaning],
        }
        for s in segments
    ]  # fmt: skip


def segments(record: Mapping[str, Any], folder: str | Path) -> tuple[Segment, ...]:
    """Segments of a manifest; `CorruptFile` where it says none or nonsense."""
    try:
        return tuple(
            Segment(
                int(s["number"]), str(s["label"]), Code(*(str(c) for c in s["code"])),
                colour=(int(s["colour"][0]), int(s["colour"][1]), int(s["colour"][2])),
            )
            for s in record["segments"]
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CorruptFile(
            f"{Path(folder) / MANIFEST}: its segments cannot be read ({error})"
        ) from error
