"""`Presets`: named chains of operations, kept in the archive's folder."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from somascope.core.errors import NotFound, ParameterError
from somascope.process.chain import parse

FILE = "chains.json"
MOST = 200
LONGEST = 60
MOST_BYTES = 4 << 20


class Presets:
    """The named chains of one archive; all who may use the server share them.

    Parameters
    ----------
    root
        The archive's folder; `FILE` in it is replaced as a whole with every change.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        self._lock = threading.Lock()

    def all(self) -> list[dict[str, Any]]:
        """``{"name", "steps": [{"operation", "params", "on"}]}`` in the order of names.

        Chains that hold an operation which is not installed any more are left out.
        """
        found: list[dict[str, Any]] = []
        for name, steps in sorted(self._read().items()):
            try:
                found.append({"name": name, "steps": checked(steps)})
            except (ParameterError, NotFound):
                continue
        return found

    def put(self, name: str, steps: Any) -> dict[str, Any]:
        """Keep a chain under a name; one of that name is replaced.

        Raises `ParameterError` for a name that is none, a wrong chain, or too many.
        """
        name = " ".join(name.split())
        if not 1 <= len(name) <= LONGEST or not name.isprintable():
            raise ParameterError(f"a name of 1 to {LONGEST} printable characters is needed")
        complete = checked(steps)
        if not complete:
            raise ParameterError("the chain has no steps; add an operation first")
        with self._lock:
            known = self._read()
            if name not in known and len(known) >= MOST:
                raise ParameterError(f"there are {MOST} presets already; delete one")
            self._write({**known, name: complete})
        return {"name": name, "steps": complete}

    def delete(self, name: str) -> None:
        """Forget a chain; `NotFound` where there is none of that name."""
        with self._lock:
            known = self._read()
            if name not in known:
                raise NotFound(f"no preset {name[:LONGEST]!r}")
            del known[name]
            self._write(known)

    def _read(self) -> dict[str, Any]:
        try:
            if self._path.stat().st_size > MOST_BYTES:
                raise ParameterError(f"{self._path} is larger than {MOST_BYTES} bytes; remove it")
            record = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as error:
            raise ParameterError(f"{self._path} cannot be read: {error}; remove it") from error
        if not isinstance(record, dict):
            raise ParameterError(f"{self._path} holds no presets; remove it")
        return cast("dict[str, Any]", record)

    def _write(self, record: dict[str, Any]) -> None:
        text = json.dumps(record, indent=1, sort_keys=True)
        if len(text) > MOST_BYTES:
            raise ParameterError("the presets together are too large; delete one")
        fresh = self._path.with_name(f"{FILE}.new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


def checked(steps: Any) -> list[dict[str, Any]]:
    """Steps with all their parameters valid; ``on`` false keeps one that is switched off."""
    found = parse(steps)
    given = cast("Sequence[Any]", steps)
    return [
        {"operation": s.operation.name, "params": json.loads(json.dumps(dict(s.params))),
         "on": item.get("on", True) is not False}
        for s, item in zip(found, given, strict=True)
    ]  # fmt: skip
