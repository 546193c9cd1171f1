"""`Jobs`: submit operations, look at their runs, cancel them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, insert, select, update

from somascope.core import Job, JobState
from somascope.core.errors import NotFound, ParameterError
from somascope.core.registry import get_operation
from somascope.jobs.records import Event, Events, Listing, job_of, key_of, now, say
from somascope.jobs.resolve import nouns_of, split
from somascope.jobs.table import EVENT, JOB, LOG, create

if TYPE_CHECKING:
    from somascope.archive import Archive
    from somascope.jobs.local import LocalExecutor


class Jobs:
    """The jobs of an archive, kept in its database."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._database = archive.database
        create(self._database)

    def submit(
        self,
        operation: str,
        inputs: Sequence[str],
        params: Mapping[str, Any] | None = None,
        *,
        reuse: bool = False,
    ) -> Job:
        """Queue a run of ``operation`` on series or SOP instance UIDs.

        Parameters
        ----------
        reuse
            Give back a finished (or waiting) job of the same operation, inputs, parameters and
            version where there is one, rather than run again.

        Raises
        ------
        NotFound
            No such operation or UID.
        ParameterError
            A parameter outside its declaration, or the wrong number of inputs.
        """
        found = get_operation(operation)
        complete = found.validate(params or {})
        if isinstance(inputs, str):
            raise ParameterError(f"inputs is {inputs!r}; give a list of UIDs")
        nouns_of(found, len(inputs))
        for uid in inputs:
            name, _ = split(uid)
            if not (self.archive.locate(series=name) or self.archive.locate(instance=name)):
                raise NotFound(f"no series or instance {name!r} in this archive")
        params_json = json.loads(json.dumps(complete))
        key = key_of(operation, inputs, params_json)
        with self._database.writing() as connection:
            if reuse:
                row = connection.execute(
                    select(JOB)
                    .where(JOB.c.key == key, JOB.c.state.in_(("done", "queued", "running")))
                    .order_by(JOB.c.number.desc())
                ).first()
                if row is not None:
                    return job_of(row)
            number = connection.execute(
                select(func.coalesce(func.max(JOB.c.number), 0))
            ).scalar_one()
            values: dict[str, Any] = {
                "id": uuid.uuid4().hex,
                "number": number + 1,
                "operation": operation,
                "inputs": list(inputs),
                "params": params_json,
                "key": key,
                "state": "queued",
                "outputs": [],
                "created": now(),
            }
            connection.execute(insert(JOB).values(values))
            row = connection.execute(select(JOB).where(JOB.c.id == values["id"])).one()
            say(connection, row)
            return job_of(row)

    def get(self, id: str) -> Job:  # noqa: A002
        """The job of that id, or `NotFound`."""
        with self._database.reading() as connection:
            return job_of(self._row(connection, id))

    def list(self, *, limit: int = 100, offset: int = 0, state: JobState | None = None) -> Listing:
        """Jobs, the newest first."""
        query = select(JOB).order_by(JOB.c.number.desc()).limit(limit).offset(offset)
        if state is not None:
            query = query.where(JOB.c.state == state)
        with self._database.reading() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state; all five states are named."""
        query = select(JOB.c.state, func.count()).group_by(JOB.c.state)
        with self._database.reading() as connection:
            found: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
        return {s: found.get(s, 0) for s in ("queued", "running", "done", "failed", "cancelled")}

    def cancel(self, id: str) -> Job:  # noqa: A002
        """Ask a job to stop: at once where it waits, soon where it runs; else nothing changes."""
        with self._database.writing() as connection:
            changed = connection.execute(
                update(JOB)
                .where(JOB.c.id == id, JOB.c.state == "queued")
                .values(
                    state="cancelled", cancel_requested=True, finished=now(), message="cancelled"
                )
            ).rowcount
            if not changed:
                connection.execute(
                    update(JOB)
                    .where(JOB.c.id == id, JOB.c.state == "running")
                    .values(cancel_requested=True, message="stopping")
                )
            row = self._row(connection, id)
            say(connection, row)
            return job_of(row)

    def log(self, id: str) -> str:  # noqa: A002
        """What was written while the job ran, one time-stamped line each."""
        query = select(LOG.c.time, LOG.c.text).where(LOG.c.job == id).order_by(LOG.c.number)
        with self._database.reading() as connection:
            self._row(connection, id)
            return "".join(f"{row[0]} {row[1]}\n" for row in connection.execute(query))

    def events(self, after: int = 0, *, limit: int = 1000) -> Events:
        """What changed since event ``after``, oldest first."""
        query = select(EVENT).where(EVENT.c.seq > after).order_by(EVENT.c.seq).limit(limit)
        with self._database.reading() as connection:
            return [
                Event(r.seq, r.job, r.state, r.progress, r.message, r.time)
                for r in connection.execute(query)
            ]

    def last_event(self) -> int:
        """The number of the newest event; 0 where there is none."""
        query = select(func.coalesce(func.max(EVENT.c.seq), 0))
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def run_local(self, *, workers: int = 1) -> AbstractContextManager[LocalExecutor]:
        """Worker processes on this machine, for a ``with`` block."""
        from somascope.jobs.local import LocalExecutor

        return LocalExecutor(self.archive.root, workers=workers, url=self.archive.url)

    def _row(self, connection: Connection, id: str) -> Any:  # noqa: A002
        row = connection.execute(select(JOB).where(JOB.c.id == id)).first()
        if row is None:
            raise NotFound(f"no job {id!r}; GET /api/jobs lists them")
        return row
