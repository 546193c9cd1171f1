"""``python -m somascope.server.decode.convert``: files of other formats made DICOM, in a process.

Standard input brings one line of JSON (files, folder for what is made, limits). What is made are
``<noun>/<number>.dcm`` in that folder, and ``report.json``. `convert` starts it and reads that.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from somascope.core.errors import SomascopeError, UnsupportedFormat

REPORT = "report.json"
MOST_REPORT = 32 << 20
MODULE = "somascope.server.decode.convert"


@dataclass(frozen=True)
class Made:
    """One image, mask or acquisition: what it was read from, and its instances or the reason."""

    sources: tuple[str, ...]
    files: tuple[Path, ...]
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """What became of all files; names are those of the files without their folders."""

    made: tuple[Made, ...]
    skipped: tuple[str, ...]
    """Of no known format."""
    problems: tuple[tuple[str, str], ...]
    """Name and reason."""


def convert(
    files: Sequence[Path], folder: Path, *, memory: int, seconds: float, module: str = MODULE
) -> Report:
    """Read ``files`` and write them as DICOM into ``folder``, in a process of its own.

    Raises `UnsupportedFormat` where that process crashed, or needed more than ``memory`` bytes or
    ``seconds``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    request = {
        "files": [str(f) for f in files],
        "folder": str(folder),
        "memory": memory,
        "seconds": seconds,
    }
    ended(module, request, seconds=seconds)
    try:
        if (folder / REPORT).stat().st_size > MOST_REPORT:
            raise UnsupportedFormat("conversion wrote a report that is too long")
        return _read(json.loads((folder / REPORT).read_bytes()), folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnsupportedFormat(f"conversion wrote no good report: {error}") from error


def ended(module: str, request: Mapping[str, Any], *, seconds: float) -> None:
    """Run ``module`` in a process of its own, which reads ``request`` and confines itself.

    Raises `UnsupportedFormat` where it crashed or took longer than ``seconds``.
    """
    from somascope.server.decode.pool import environment

    with subprocess.Popen(  # noqa: S603 (our own interpreter, a list)
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment(),
    ) as child:
        try:
            child.communicate(json.dumps(request).encode() + b"\n", timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            raise UnsupportedFormat(f"conversion was stopped after {seconds:g} s") from None
    if child.returncode != 0:
        why = f"signal {-child.returncode}" if child.returncode < 0 else "an error"
        raise UnsupportedFormat(f"conversion ended with {why}; the file may be damaged")


def _read(found: dict[str, Any], folder: Path) -> Report:
    made: list[Made] = []
    for n, item in enumerate(found["made"]):
        count = int(item["files"])
        files = tuple(folder / str(n) / f"{k}.dcm" for k in range(count))
        if any(f.is_symlink() or not f.is_file() for f in files):
            raise ValueError(f"an instance of {n} is not there")
        made.append(Made(tuple(map(str, item["sources"])), files, str(item["reason"])))
    problems = tuple((str(name), str(reason)) for name, reason in found["problems"])
    return Report(tuple(made), tuple(map(str, found["skipped"])), problems)


def main() -> int:
    """Convert once."""
    from somascope.io import read_all
    from somascope.jobs.run import encode
    from somascope.server.decode import cell

    request = json.loads(sys.stdin.buffer.readline())
    files = [Path(f) for f in request["files"]]
    folder = Path(request["folder"])
    cell.confine(memory=int(request["memory"]), writes=True)
    cell.spend(float(request["seconds"]))
    report = read_all(files)
    made: list[dict[str, Any]] = []
    for n, noun in enumerate(report.nouns):
        item: dict[str, Any] = {"sources": [s.name for s in noun.provenance.sources]}
        count, reason = 0, ""
        try:
            target = folder / str(n)
            target.mkdir()
            for data in encode(noun):
                (target / f"{count}.dcm").write_bytes(data)
                count += 1
        except (SomascopeError, MemoryError) as error:
            count, reason = 0, str(error) or "needs more memory than a conversion may take"
        made.append({**item, "files": count, "reason": reason})
    text = json.dumps({"made": made, "skipped": report.skipped, "problems": report.problems})
    (folder / REPORT).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
