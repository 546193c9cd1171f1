"""File names a DICOMDIR refers to (PS3.3 annex F, PS3.10 8), which never leave its folder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from somascope.core.errors import CorruptFile

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"


def is_dicomdir(path: Path) -> bool:
    """Whether the file is a DICOMDIR by its name (PS3.10 8.6)."""
    return path.name.upper() == "DICOMDIR"


def referenced(path: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """Files of the file set, and ``(name, reason)`` of references that cannot be followed.

    A Referenced File ID names folders and a file below the DICOMDIR's; one that is absolute, goes
    up, or leads outside through a link is not followed. Where upper and lower case differ on
    disk, the file is found all the same.
    """
    import pydicom

    root = path.resolve().parent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset: Any = pydicom.dcmread(path)
            records = [r.get("ReferencedFileID") for r in dataset.DirectoryRecordSequence]
        except Exception as error:
            raise CorruptFile(f"{path.name}: the directory cannot be read: {error}") from error
    files: list[Path] = []
    problems: list[tuple[str, str]] = []
    for record in records:
        if record is None or record == "":
            continue
        parts = [str(record)] if isinstance(record, str) else [str(p) for p in record]
        name = "/".join(parts)
        if any(
            p in ("", ".", "..") or "/" in p or "\\" in p or ":" in p or "\0" in p for p in parts
        ):
            problems.append((name, "the reference leaves the folder of the DICOMDIR; not followed"))
            continue
        found = _find(root, parts)
        if found is None:
            problems.append((name, "the DICOMDIR refers to it, it is not there"))
        elif not found.resolve().is_relative_to(root):
            problems.append((name, "the reference leaves the folder through a link; not followed"))
        else:
            files.append(found)
    return files, problems


def _find(folder: Path, parts: list[str]) -> Path | None:
    direct = folder.joinpath(*parts)
    if direct.is_file():
        return direct
    for part in parts:
        try:
            names = {p.name.lower().rstrip("."): p for p in folder.iterdir()}
        except OSError:
            return None
        following = names.get(part.lower()) or names.get(part.lower() + ";1")
        if following is None:
            return None
        folder = following
    return folder if folder.is_file() else None
