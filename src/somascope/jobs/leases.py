"""What a worker asks of the job table: lease, heartbeat, finish, give back.

A worker holds a job by a lease that it renews; a lease that runs out gives the job back to the
queue, and after `ATTEMPTS` of them the job has failed. A worker that lost its lease cannot finish
the job any more: every update names the worker and the attempt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from somascope.core import JobState
from somascope.jobs.records import Lease, job_of, now, say
from somascope.jobs.table import EVENT, JOB, LOG, create

if TYPE_CHECKING:
    from somascope.archive.database import Database

ATTEMPTS = 3
"""A job that lost this many workers has failed."""

LEASE = 30.0
"""Seconds a job belongs to a worker that says nothing."""

KEPT_EVENTS = 10_000
KEPT_LOG = 500
"""Lines of one job's log."""


class Leases:
    """The workers' side of an archive's job table."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        create(database)

    def lease(self, worker: str, *, seconds: float = LEASE) -> Lease | None:
        """Take the oldest waiting job, or None."""
        moment = self._clock()
        expired = and_(JOB.c.state == "running", JOB.c.lease_until < moment)
        waiting = and_(JOB.c.state == "queued", JOB.c.available_at <= moment)
        with self._database.reading() as connection:
            # Asked often: no write lock while idle.
            if (
                connection.execute(select(JOB.c.id).where(or_(expired, waiting)).limit(1)).first()
                is None
            ):
                return None
        with self._database.writing() as connection:
            for row in connection.execute(select(JOB).where(expired)).all():
                self._give_back(connection, row, f"worker {row.worker} stopped answering", 0.0)
            first = (
                select(JOB.c.id).where(waiting).order_by(JOB.c.number).limit(1).scalar_subquery()
            )
            row = connection.execute(
                update(JOB)
                .where(JOB.c.id == first, JOB.c.state == "queued")
                .values(
                    state="running",
                    worker=worker,
                    attempts=JOB.c.attempts + 1,
                    lease_until=moment + seconds,
                    heartbeat=moment,
                    started=now(),
                    progress=0.0,
                    message="starting",
                )
                .returning(JOB)
            ).first()
            if row is None:
                return None
            say(connection, row)
            return Lease(job_of(row), worker, row.attempts, row.lease_until)

    def heartbeat(
        self,
        lease: Lease,
        *,
        progress: float | None = None,
        message: str | None = None,
        seconds: float = LEASE,
    ) -> str:
        """Renew the lease and say how far it is: ``"go on"``, ``"cancel"`` or ``"lost"``."""
        moment = self._clock()
        values: dict[str, Any] = {"lease_until": moment + seconds, "heartbeat": moment}
        if progress is not None:
            values["progress"] = progress
        if message is not None:
            values["message"] = message
        with self._database.writing() as connection:
            row = connection.execute(
                update(JOB).where(_held(lease)).values(values).returning(JOB)
            ).first()
            if row is None:
                return "lost"
            if progress is not None:
                say(connection, row)
            return "cancel" if row.cancel_requested else "go on"

    def finish(
        self,
        lease: Lease,
        state: JobState,
        *,
        outputs: Sequence[str] = (),
        message: str = "",
    ) -> bool:
        """End a leased job as ``done``, ``failed`` or ``cancelled``; False if it was lost."""
        values: dict[str, Any] = {
            "state": state,
            "outputs": list(outputs),
            "message": message,
            "finished": now(),
            "lease_until": 0.0,
        }
        if state == "done":
            values["progress"] = 1.0
        with self._database.writing() as connection:
            row = connection.execute(
                update(JOB).where(_held(lease)).values(values).returning(JOB)
            ).first()
            if row is None:
                return False
            say(connection, row)
            self._prune(connection)
            return True

    def release(self, lease: Lease, reason: str, *, delay: float = 0.0, count: bool = True) -> None:
        """Give a job back to the queue, or end it after too many attempts.

        ``count=False``: this attempt was stopped for no fault of the job's.
        """
        with self._database.writing() as connection:
            row = connection.execute(select(JOB).where(_held(lease))).first()
            if row is not None:
                self._give_back(connection, row, reason, delay, count=count)

    def write_log(self, id: str, lines: Sequence[str]) -> None:  # noqa: A002
        """Append lines; the log of a job keeps the last `KEPT_LOG`."""
        if not lines:
            return
        stamp = now()
        with self._database.writing() as connection:
            connection.execute(
                insert(LOG), [{"job": id, "time": stamp, "text": line} for line in lines]
            )
            mine = select(LOG.c.number).where(LOG.c.job == id)
            oldest = connection.execute(
                mine.order_by(LOG.c.number.desc()).offset(KEPT_LOG).limit(1)
            ).scalar()
            if oldest is not None:
                connection.execute(delete(LOG).where(LOG.c.job == id, LOG.c.number <= oldest))

    def _give_back(
        self, connection: Connection, row: Any, reason: str, delay: float, *, count: bool = True
    ) -> None:
        values: dict[str, Any] = {"lease_until": 0.0, "worker": "", "progress": 0.0}
        if row.cancel_requested:
            values |= {"state": "cancelled", "message": "cancelled", "finished": now()}
        elif count and row.attempts >= ATTEMPTS:
            values |= {
                "state": "failed",
                "message": f"given up after {row.attempts} attempts: {reason}",
                "finished": now(),
            }
        else:
            values |= {
                "state": "queued",
                "message": f"waiting again: {reason}",
                "available_at": self._clock() + delay,
                "attempts": row.attempts if count else row.attempts - 1,
            }
        changed = connection.execute(
            update(JOB).where(JOB.c.id == row.id).values(values).returning(JOB)
        ).one()
        connection.execute(insert(LOG).values(job=row.id, time=now(), text=values["message"]))
        say(connection, changed)

    def _prune(self, connection: Connection) -> None:
        last = connection.execute(select(func.max(EVENT.c.seq))).scalar() or 0
        connection.execute(delete(EVENT).where(EVENT.c.seq <= last - KEPT_EVENTS))


def _held(lease: Lease) -> Any:
    return and_(
        JOB.c.id == lease.job.id,
        JOB.c.state == "running",
        JOB.c.worker == lease.worker,
        JOB.c.attempts == lease.attempt,
    )
