"""The executor that a setting names: ``local`` or ``ray``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from somascope.core.errors import ParameterError


def executor(
    name: str, root: Path | str, *, workers: int = 1, url: str | None = None
) -> AbstractContextManager[Any]:
    """A context manager that runs the archive's jobs while it is open."""
    if name == "local":
        from somascope.jobs.local import LocalExecutor

        return LocalExecutor(root, workers=workers, url=url)
    if name == "ray":
        from somascope.jobs.ray import RayExecutor

        return RayExecutor(root, workers=workers, url=url)
    raise ParameterError(f"executor is {name!r}; choose one of local, ray")
