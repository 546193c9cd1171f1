"""The models that are there by name: shipped ones, imported ones, and other packages' models."""

from __future__ import annotations

import os
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


def add(path: str | Path, *, overwrite: bool = False) -> NetworkCard:
    """Check a model and copy it among the user's own, under its card's name."""
    packed = package.read(path)
    name = packed.card.name
    if not name or name != Path(name).name or name.startswith("."):
        raise Refused(f"the card's name is {name!r}, which cannot be a file's name")
    return package.write(packed, own() / f"{name}.zip", overwrite=overwrite)


def take(name: str, path: str | Path, *, overwrite: bool = False) -> NetworkCard:
    """Copy an installed model out, as a ZIP file or a folder."""
    known = models()
    source = Path(name) if Path(name).exists() else known.get(name)
    if source is None:
        raise NotFound(f"there is no model {name!r}; installed are {', '.join(known) or 'none'}")
    return package.write(package.read(source), path, overwrite=overwrite)
