"""Jobs as records: events, leases, and a job from its row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

from sqlalchemy import Connection, insert

from somascope import __version__
from somascope.core import Job, JobState
from somascope.jobs.table import EVENT


@dataclass(frozen=True)
class Event:
    """A job changed: ``seq`` rises by one with each, over all jobs."""

    seq: int
    job: str
    state: JobState
    progress: float
    message: str
    time: str


Listing: TypeAlias = list[Job]
Events: TypeAlias = list[Event]


@dataclass(frozen=True)
class Lease:
    """A job that is this worker's until ``until`` (seconds since 1970)."""

    job: Job
    worker: str
    attempt: int
    until: float


def now() -> str:
    """ISO 8601 UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def key_of(operation: str, inputs: Sequence[str], params: Mapping[str, Any]) -> str:
    """The digest that is equal for runs that must give equal results."""
    record = [operation, list(inputs), dict(params), __version__]
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def job_of(row: Any) -> Job:
    """The job in a row of the table; its log is asked for separately."""
    return Job(
        id=row.id,
        operation=row.operation,
        inputs=tuple(row.inputs),
        params=dict(row.params),
        state=cast("JobState", row.state),
        progress=row.progress,
        message=row.message,
        outputs=tuple(row.outputs),
        created=row.created,
        started=row.started,
        finished=row.finished,
    )


def say(connection: Connection, row: Any) -> None:
    """Add the event that this row changed."""
    connection.execute(
        insert(EVENT).values(
            job=row.id, state=row.state, progress=row.progress, message=row.message, time=now()
        )
    )
