"""Routes of learning for the viewer: models, the next cases, whether anything can be trained.

Training itself, and keeping what a reader outlined, are those of ``/api/monailabel``.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from somascope.archive import Archive
from somascope.core.errors import SomascopeError
from somascope.core.registry import operation_names
from somascope.server.api.errors import Route
from somascope.server.learning.following import MODELS, MOST, Following
from somascope.server.monailabel.store import outlines
from somascope.server.monailabel.training import kept, unable

EXPLAINED = ("classify", "segment", "detect", "register")


class NextRequest(BaseModel):
    """Which models are to doubt, and how many cases to name."""

    models: list[Annotated[str, Field(max_length=200)]] = Field(min_length=1, max_length=MODELS)
    count: int = Field(default=10, ge=1, le=MOST)
    anyway: bool = False


def learning_router(archive: Archive) -> APIRouter:
    """The routes over an archive; mount it at ``/api``."""
    router = APIRouter(route_class=Route, tags=["learning"])
    following = Following(archive.root)

    @router.get("/learning/models")
    def models() -> list[dict[str, Any]]:
        """Installed models: task, classes, the operation that runs each, whether it can be
        opened (to be trained on), and why its answers cannot be explained, if so.
        """
        return listed()

    @router.get("/learning/training")
    def training() -> dict[str, Any]:
        """Whether anything can be trained here, why not, and how many series are outlined."""
        images, outlined = outlines(archive)
        cases = sum(uid in outlined for uid in images)
        why = unable() or (
            "" if cases else "no series is outlined yet: correct a segmentation and save it"
        )
        return {"able": not why, "why_not": why, "cases": cases}

    @router.post("/learning/next")
    def begin(asked: NextRequest) -> dict[str, Any]:
        """Look for the series that models doubt most; ``GET`` tells how far it is."""
        return following.start(asked.models, count=asked.count, anyway=asked.anyway)

    @router.get("/learning/next")
    def found() -> dict[str, Any]:
        """How the search stands, or what the last one found: ``{"status": "NONE"}`` before any."""
        return following.status() if following.known else {"status": "NONE"}

    @router.delete("/learning/next")
    def stop() -> dict[str, Any]:
        """End the search."""
        return following.stop()

    return router


def listed() -> list[dict[str, Any]]:
    """What `models` tells."""
    from somascope.models import installed

    offered = set(operation_names())
    why = _unexplained()
    found: list[dict[str, Any]] = []
    for name, path in installed.models().items():
        file = path / "card.json" if path.is_dir() else path
        told = _told(path, file.stat().st_mtime_ns)
        if told is None:
            continue
        own = name.replace("-", "_")
        operation = own if own in offered else f"models.{told['task']}"
        why_not = told["why_not"] or why
        if told["task"] not in EXPLAINED:
            why_not = f"a model to {told['task']} is not explained"
        found.append({**told, "name": name, "operation": operation, "why_not": why_not})
    return found


def _unexplained() -> str:
    from importlib.util import find_spec

    missing = [m for m in ("torch", "safetensors") if find_spec(m) is None]
    if not missing:
        return ""
    return f'explaining needs {" and ".join(missing)}: pip install "somascope[learn]"'


@lru_cache(maxsize=256)
def _told(path: Path, stamp: int) -> dict[str, Any] | None:
    """What a model's card says; None where it cannot be read."""
    from somascope.models import package

    del stamp  # another file of the same name is read again
    try:
        packed = package.read(path)
    except SomascopeError:
        return None
    whole = kept(packed)
    return {
        "task": packed.card.task, "classes": [c.name for c in packed.card.classes],
        "summary": packed.card.summary, "modalities": list(packed.card.modalities),
        "dimensions": packed.card.dimensions,
        "kept": whole, "why_not": "" if whole else "this model was kept without its plan",
    }  # fmt: skip
