"""The files of a folder or ZIP archive by name, read within limits; links are not followed."""

from __future__ import annotations

import json
import lzma
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from somascope.core.errors import CorruptFile, NotFound, Refused
from somascope.models.package import DENSEST

MOST_FILES = 10_000
JSON_BYTES = 1 << 24


class Tree:
    """Names with ``/`` below the top; a single folder around everything is left out.

    Raises
    ------
    NotFound
        Nothing there.
    CorruptFile
        Neither a folder nor a ZIP file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        self._own: dict[str, str] = {}
        names: list[str]
        if path.is_dir():
            found = (p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
            names = [p.relative_to(path).as_posix() for p, _ in zip(found, range(MOST_FILES + 1),
                                                                     strict=False)]  # fmt: skip
        elif path.is_file():
            try:
                self._archive = zipfile.ZipFile(path)
            except (zipfile.BadZipFile, OSError, ValueError) as error:
                raise CorruptFile(f"{path.name} is not a ZIP file ({error})") from error
            names = [n for n in self._archive.namelist() if not n.endswith("/")]
        else:
            raise NotFound(f"there is no file or folder {str(path)!r}")
        if len(names) > MOST_FILES:
            raise Refused(f"{path.name} holds more than {MOST_FILES} files; that is no model")
        for name in names:
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if not parts or ".." in parts or name.startswith("/"):
                raise Refused(f"{path.name} holds a file {name!r} outside itself")
        tops = {PurePosixPath(n).parts[0] for n in names}
        around = f"{tops.pop()}/" if len(tops) == 1 and all("/" in n for n in names) else ""
        self._own = {n.removeprefix(around): n for n in names}

    @property
    def names(self) -> list[str]:
        """Of all files, sorted."""
        return sorted(self._own)

    def ending(self, *suffixes: str) -> list[str]:
        """Names that end with one of ``suffixes``."""
        return [n for n in self.names if n.lower().endswith(suffixes)]

    def read(self, name: str, *, most: int) -> bytes:
        """The bytes of a file; `Refused` where there are more than ``most``."""
        if name not in self._own:
            raise NotFound(f"{self.path.name} holds no {name}")
        own = self._own[name]
        if self._archive is None:
            file = self.path / own
            if file.stat().st_size > most:
                raise Refused(f"{name} has {file.stat().st_size} bytes; {most} is the most")
            return file.read_bytes()
        entry = self._archive.getinfo(own)
        dense = entry.file_size > (1 << 20) and entry.file_size > DENSEST * entry.compress_size
        if entry.file_size > most or dense:
            raise Refused(f"{name} unfolds to {entry.file_size} bytes, which is not read")
        try:
            with self._archive.open(entry) as packed:
                data = packed.read(most + 1)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError,
                ValueError, zlib.error, lzma.LZMAError) as error:  # fmt: skip
            raise CorruptFile(f"{self.path.name}: {name} is damaged ({error})") from error
        if len(data) != entry.file_size:
            raise CorruptFile(f"{self.path.name}: {name} is longer than the archive says")
        return data

    def record(self, name: str) -> dict[str, Any]:
        """A JSON object."""
        try:
            found = json.loads(self.read(name, most=JSON_BYTES))
        except (ValueError, RecursionError) as error:
            raise CorruptFile(f"{self.path.name}: {name} is not JSON ({error})") from error
        if not isinstance(found, dict):
            raise CorruptFile(f"{self.path.name}: {name} holds no JSON object")
        return found
