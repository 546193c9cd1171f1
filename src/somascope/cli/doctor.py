"""`doctor`: explain this installation, part by part, and what to do where something is missing."""

from __future__ import annotations

import importlib
import json
import platform
import shutil
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

BASE = (
    "numpy", "scipy", "numba", "finufft", "PyWavelets", "h5py", "pydicom", "pynetdicom",
    "highdicom", "imagecodecs", "pillow", "nibabel", "scikit-image", "fastapi", "uvicorn",
    "sqlalchemy", "alembic", "pydantic",
)  # fmt: skip
EXTRAS = {"torch": "learn", "ray": "ray", "psycopg": "postgres"}


@dataclass(frozen=True)
class Check:
    """One line of the report. ``state`` is ``ok``, ``note`` (works without it) or ``bad``."""

    name: str
    state: str
    detail: str
    remedy: str = ""


def _python() -> Check:
    ok = sys.version_info >= (3, 11)
    return Check(
        "python", "ok" if ok else "bad", platform.python_version(), "" if ok else "use Python 3.11+"
    )


def _packages() -> list[Check]:
    checks: list[Check] = []
    for name in BASE:
        try:
            checks.append(Check(name, "ok", version(name)))
        except PackageNotFoundError:
            checks.append(Check(name, "bad", "missing", "pip install somascope"))
    for name, extra in EXTRAS.items():
        try:
            checks.append(Check(name, "ok", version(name)))
        except PackageNotFoundError:
            checks.append(
                Check(name, "note", "not installed", f'pip install "somascope[{extra}]" if wanted')
            )
    return checks


def _codecs() -> Check:
    """Encode and decode a ramp with each codec that DICOM needs."""
    import numpy as np

    codecs = importlib.import_module("imagecodecs")
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    lossless: dict[str, Callable[[], bytes]] = {
        "jpegls": lambda: codecs.jpegls_encode(ramp),
        "jpeg2k": lambda: codecs.jpeg2k_encode(ramp, level=0, codecformat="j2k"),
        "ljpeg": lambda: codecs.ljpeg_encode(ramp),
    }
    bad: list[str] = []
    for name, encode in lossless.items():
        try:
            back = getattr(codecs, f"{name}_decode")(encode())
            if not np.array_equal(back, ramp):
                bad.append(name)
        except Exception as error:
            bad.append(f"{name} ({error})")
    bad += [name for name in ("HTJ2K", "JPEG8", "JPEGXL") if not getattr(codecs, name).available]
    if bad:
        return Check("codecs", "bad", f"failing: {', '.join(bad)}", "reinstall imagecodecs")
    return Check("codecs", "ok", "JPEG, JPEG lossless, JPEG-LS, JPEG 2000, HTJ2K, JPEG XL, RLE")


def _compiler() -> Check:
    import numpy as np
    from numba import get_num_threads, njit

    @njit
    def total(values: np.ndarray) -> float:
        s = 0.0
        for v in values:
            s += v
        return s

    good = bool(total(np.arange(5.0)) == 10.0)
    return Check("kernels", "ok" if good else "bad", f"numba, {get_num_threads()} threads")


def _database() -> Check:
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "t.db")
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        connection.close()
    good = mode == "wal"
    return Check(
        "database", "ok" if good else "bad", f"SQLite {sqlite3.sqlite_version}, {mode}",
        "" if good else "put the archive on a local disk",
    )  # fmt: skip


def _viewer() -> Check:
    import somascope.server

    built = Path(somascope.server.__file__).parent / "static" / "index.html"
    if built.is_file():
        return Check("viewer", "ok", "built")
    return Check("viewer", "bad", "not built", "pip install . builds it (Node comes along by pip)")


def _operations() -> Check:
    from somascope.core.registry import get_operation, operation_names

    names = operation_names()
    broken: list[str] = []
    for name in names:
        try:
            get_operation(name)
        except Exception as error:
            broken.append(f"{name}: {error}")
    if broken or not names:
        return Check(
            "operations", "bad", "; ".join(broken) or "none", "reinstall, or remove the plug-in"
        )
    return Check("operations", "ok", f"{len(names)} published")


def _port(name: str, port: int) -> Check:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return Check(
                name, "note", f"{port} is in use", "choose another with --port / --dicom-port"
            )
    return Check(name, "ok", f"{port} is free")


def _disk() -> Check:
    free = shutil.disk_usage(Path.home()).free / 2**30
    return Check("disk", "ok" if free > 2 else "note", f"{free:.0f} GiB free in the home folder")


def _gpu() -> Check:
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return Check("gpu", "note", "not used (needs the learn extra)")
    if torch.cuda.is_available():
        return Check("gpu", "ok", str(torch.cuda.get_device_name(0)))
    return Check("gpu", "note", "none; everything runs on the CPU")


def examine() -> list[Check]:
    """All checks; one that raises is itself a finding."""
    checks = [_python(), *_packages()]
    single: list[tuple[str, Callable[[], Check]]] = [
        ("codecs", _codecs), ("kernels", _compiler), ("database", _database), ("viewer", _viewer),
        ("operations", _operations), ("http port", lambda: _port("http port", 8742)),
        ("dicom port", lambda: _port("dicom port", 11112)), ("disk", _disk), ("gpu", _gpu),
    ]  # fmt: skip
    for name, check in single:
        try:
            checks.append(check())
        except Exception as error:
            checks.append(Check(name, "bad", f"{type(error).__name__}: {error}"))
    return checks


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check the installation and explain what is missing."""
    checks = examine()
    healthy = all(c.state != "bad" for c in checks)
    if json_:
        typer.echo(json.dumps({"healthy": healthy, "checks": [asdict(c) for c in checks]}))
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, show_header=False, pad_edge=False)
        signs = {"ok": "[green]ok[/]", "note": "[yellow]--[/]", "bad": "[red]bad[/]"}
        for c in checks:
            table.add_row(signs[c.state], c.name, escape(c.detail), escape(c.remedy))
        console = Console()
        console.print(table)
        console.print(
            "[green]healthy[/]" if healthy else "[red]not healthy[/]: see the lines above"
        )
    if not healthy:
        raise typer.Exit(1)
