"""`Job`: one recorded run of an operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

JobState: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Inputs and outputs are UIDs of series or instances; times are ISO 8601 UTC."""

    id: str
    operation: str
    inputs: tuple[str, ...]
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    state: JobState = "queued"
    progress: float = 0.0
    message: str = ""
    log: str = ""
    outputs: tuple[str, ...] = ()
    created: str = ""
    started: str = ""
    finished: str = ""
