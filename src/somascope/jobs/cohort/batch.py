"""Run steps on every case of a cohort, as jobs: recorded, cancellable, and never twice.

A job that has been done with the same inputs, parameters and version is taken as it is, so that a
run that was killed goes on where it was. A case that fails does not stop the others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from somascope.core import QUIET, Job, Progress
from somascope.core.errors import Cancelled, NotFound, ParameterError, SomascopeError
from somascope.jobs.cohort.select import Case, mask_of
from somascope.jobs.cohort.steps import IMAGE, MASK, Step, checked
from somascope.jobs.records import job_of, key_of
from somascope.jobs.store import Jobs
from somascope.jobs.table import JOB

AHEAD = 8
"""Jobs that wait beyond those that can run."""
_POLL = 0.1


@dataclass(frozen=True)
class Ran:
    """What became of a case: ``jobs`` by step, ``reason`` where one failed.

    ``state`` is ``done``, ``failed`` or ``cancelled``; ``step`` the last one that was begun;
    ``fresh`` how many jobs were not there before.
    """

    case: Case
    state: str
    step: str
    reason: str = ""
    jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    fresh: int = 0


@dataclass
class _Under:
    """A case on its way."""

    case: Case
    at: int = 0
    job: str = ""
    jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    fresh: int = 0


def run(
    jobs: Jobs,
    steps: Sequence[Step],
    cases: Sequence[Case],
    *,
    workers: int = 1,
    place: str = "local",
    again: bool = False,
    progress: Progress = QUIET,
) -> list[Ran]:
    """Put every case through the steps; what became of each, in the order of ``cases``.

    Parameters
    ----------
    workers
        Processes started for it; 0 leaves the work to those of a running ``somascope serve``.
    place
        ``local`` or ``ray``.
    again
        Run cases again that have failed before (transient failures are tried again by themselves).

    Raises
    ------
    ParameterError
        Steps that do not fit together; see `steps.checked`.
    NotFound
        A UID named for all cases is not in the archive.
    Cancelled
        ``progress`` was stopped: what waits or runs is cancelled, what is done stays done.
    """
    ready = checked(steps)
    if workers < 0:
        raise ParameterError(f"workers is {workers}; give 0 or more")
    _there(jobs, ready)
    waiting = [_Under(c) for c in cases]
    ended: dict[int, Ran] = {}
    active: list[_Under] = []
    most = max(workers, 4) + AHEAD
    following = 0
    with ExitStack() as stack:
        begun = False
        try:
            while len(ended) < len(waiting):
                while following < len(waiting) and len(active) < most:
                    one = waiting[following]
                    following += 1
                    if not _advanced(jobs, ready, one, ended, again=again):
                        active.append(one)
                    progress(len(ended) / len(waiting), f"{len(ended)} of {len(waiting)} cases")
                active = [
                    o for o in active
                    if not _looked_after(jobs, ready, o, ended, again=again)
                ]  # fmt: skip
                progress(len(ended) / len(waiting), f"{len(ended)} of {len(waiting)} cases")
                if active and not begun:  # where all is done already nobody is needed
                    stack.enter_context(_workers(jobs, workers, place))
                    begun = True
                if active:
                    time.sleep(_POLL)
        except Cancelled:
            for one in active:
                if one.job:
                    jobs.cancel(one.job)
            raise
    return [ended[id(o)] for o in waiting]


def _workers(jobs: Jobs, workers: int, place: str) -> AbstractContextManager[Any]:
    if workers == 0:
        return nullcontext()
    from somascope.jobs.executor import executor

    return executor(place, jobs.archive.root, workers=workers, url=jobs.archive.url)


def _there(jobs: Jobs, steps: Sequence[Step]) -> None:
    from somascope.jobs.resolve import locate

    for step in steps:
        for text in step.inputs:
            if text not in (IMAGE, MASK) and text.partition(":")[0] not in {s.name for s in steps}:
                locate(jobs.archive, text)


def _advanced(
    jobs: Jobs, steps: Sequence[Step], one: _Under, ended: dict[int, Ran], *, again: bool
) -> bool:
    """Submit the next step, or take what is there; whether the case has ended."""
    while one.at < len(steps):
        step = steps[one.at]
        try:
            inputs = [_input(jobs, one, text) for text in step.inputs]
            job = _known(jobs, step, inputs, again=again)
            if job is None:
                job = jobs.submit(step.operation, inputs, step.params, reuse=True)
                one.fresh += 1
        except SomascopeError as error:
            ended[id(one)] = Ran(one.case, "failed", step.name, str(error), one.jobs, one.fresh)
            return True
        if not _settled(one, step, job, ended):
            one.job = job.id
            return False
        if id(one) in ended:
            return True
    ended[id(one)] = Ran(one.case, "done", steps[-1].name, "", one.jobs, one.fresh)
    return True


def _looked_after(
    jobs: Jobs, steps: Sequence[Step], one: _Under, ended: dict[int, Ran], *, again: bool
) -> bool:
    """See whether the running job has ended and go on; whether the case has ended."""
    if not _settled(one, steps[one.at], jobs.get(one.job), ended):
        return False
    return id(one) in ended or _advanced(jobs, steps, one, ended, again=again)


def _settled(one: _Under, step: Step, job: Job, ended: dict[int, Ran]) -> bool:
    """Note the end of a job; whether it has one."""
    if job.state in ("queued", "running"):
        return False
    one.jobs[step.name] = job
    one.job = ""
    if job.state == "done":
        one.at += 1
    else:
        ended[id(one)] = Ran(one.case, job.state, step.name, job.message, one.jobs, one.fresh)
    return True


def _input(jobs: Jobs, one: _Under, text: str) -> str:
    if text == IMAGE:
        return one.case.series
    if text == MASK:
        found = mask_of(jobs.archive, one.case)
        if found is None:
            raise NotFound(
                f"no Segmentation of series {one.case.series} is in the archive; segment it first, "
                "or add a step that does"
            )
        return found
    name, _, number = text.partition(":")
    if name not in one.jobs:
        return text
    outputs = one.jobs[name].outputs
    place = int(number) - 1 if number.isdigit() else 0
    if not 0 <= place < len(outputs):
        raise NotFound(f"step {name} made {len(outputs)} series; there is no {text!r}")
    return outputs[place]


def _known(jobs: Jobs, step: Step, inputs: Sequence[str], *, again: bool) -> Job | None:
    """The last job of the same kind that was done (its results still there) or has failed."""
    key = key_of(step.operation, inputs, json.loads(json.dumps(dict(step.params))))
    states = ("done",) if again else ("done", "failed")
    query = select(JOB).where(JOB.c.key == key, JOB.c.state.in_(states))
    with jobs.archive.database.reading() as connection:
        row = connection.execute(query.order_by(JOB.c.number.desc())).first()
    if row is None:
        return None
    job = job_of(row)
    there = all(jobs.archive.locate(series=u) for u in job.outputs)
    return job if there else None
