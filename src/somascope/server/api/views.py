"""What the interface shows: records as JSON, and the bodies it takes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from somascope.core import Job

NOTICE = "Not for clinical use."


class JobRequest(BaseModel):
    """A run that is asked for."""

    model_config = ConfigDict(extra="forbid")

    operation: str = Field(description="A name from /operations", max_length=200)
    inputs: list[str] = Field(
        description="Series or SOP Instance UIDs in the order of the operation's inputs; UID#n for "
        "the n-th volume of a series that holds several",
        max_length=1000,
    )
    params: dict[str, Any] = Field(
        default_factory=dict[str, Any], description="Parameters; what is left out has its default"
    )
    reuse: bool = Field(
        default=False,
        description="Answer with an equal run that is done, running or waiting, if there is one",
    )


def job_view(job: Job, *, log: str = "") -> dict[str, Any]:
    """A job as JSON."""
    record = asdict(job)
    record.update(
        inputs=list(job.inputs), outputs=list(job.outputs), params=dict(job.params), log=log
    )
    return record
