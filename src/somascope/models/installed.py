"""The models that are there by name: shipped ones, imported ones, and other packages' models."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

from somascope.core.errors import NotFound, Refused
from somascope.models import package
from somascope.models.card import NetworkCard

GROUP = "somascope.models"
"""Entry points of this group name a folder (a `Path`) with models in it."""


def shipped() -> Path:
    """The folder of the models that come with Somascope."""
    return Path(__file__).parent / "shipped"


def own() -> Path:
    """The folder that `add` writes to: ``SOMASCOPE_MODELS``, or below the user's data folder."""
    named = os.environ.get("SOMASCOPE_MODELS")
    if named:
        return Path(named)
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "somascope" / "models"


def models() -> dict[str, Path]:
    """Name and place of every installed model; opens none. The user's own come first."""
    points = sorted(entry_points(group=GROUP), key=lambda p: p.name)
    folders = [own(), shipped(), *(Path(p.load()) for p in points)]
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            if path.suffix == ".zip" or (path / package.CARD).is_file():
                found.setdefault(path.name.removesuffix(".zip"), path)
    return dict(sorted(found.items()))


def drew(algorithms: Iterable[str]) -> bool:
    """Whether installed models alone drew segments of these algorithm names: an answer as it was
    given, which no reader has changed or confirmed.
    """
    known = models()
    names = [a.rpartition(" ")[0].split(" + ") for a in algorithms]  # as `segment.segments` says
    return bool(names) and all(n in known for several in names for n in several)


def add(path: str | Path, *, overwrite: bool = False) -> NetworkCard:
    """Check a model and copy it among the user's own, under its card's name."""
    return keep(package.read(path), overwrite=overwrite)


def keep(packed: package.Package, *, overwrite: bool = False) -> NetworkCard:
    """Write a model among the user's own, under its card's name."""
    name = packed.card.name
    if not name or name != Path(name).name or name.startswith("."):
        raise Refused(f"the card's name is {name!r}, which cannot be a file's name")
    return package.write(packed, own() / f"{name}.zip", overwrite=overwrite)


def place(name: str | Path) -> Path:
    """Where a model is, by path or by name; `NotFound` lists the names."""
    if Path(name).exists():
        return Path(name)
    known = models()
    if str(name) not in known:
        raise NotFound(
            f"there is no model {str(name)!r}: no such file or folder, and installed are "
            f"{', '.join(known) or 'none'}"
        )
    return known[str(name)]


def take(name: str, path: str | Path, *, overwrite: bool = False) -> NetworkCard:
    """Copy an installed model out, as a ZIP file or a folder."""
    return package.write(package.read(place(name)), path, overwrite=overwrite)
