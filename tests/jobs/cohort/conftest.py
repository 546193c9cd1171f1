"""An archive with a few patients of two sites."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from somascope.archive import Archive
from somascope.core import Progress
from somascope.jobs import Jobs
from somascope.jobs.drive import run_leased
from somascope.jobs.leases import Leases
from somascope.jobs.runner import outcome
from tests.jobs.cohort.people import person, put


@pytest.fixture
def archive(tmp_path):
    with Archive.open(tmp_path / "archive") as opened:
        yield opened


@pytest.fixture
def people(archive):
    """Series UIDs of five MR; a CT of the first patient lies beside."""
    found = [put(archive, person(i)) for i in range(5)]
    put(archive, replace(person(0, modality="CT"), unit="[hnsf'U]"))
    return found


@pytest.fixture
def jobs(archive):
    return Jobs(archive)


class Here:
    """A worker in a thread of this process: no start-up to wait for."""

    def __init__(self, archive):
        self._archive, self._said = archive, []

    def start(self, job):
        run = {"operation": job.operation, "inputs": list(job.inputs), "params": dict(job.params)}
        self._said = [outcome(self._archive, run, progress=Progress())]

    def poll(self, timeout):
        said, self._said = self._said, []
        return said

    def lines(self):
        return []

    def cancel(self):
        pass

    kill = close = cancel


@pytest.fixture
def working(archive, jobs):
    """Jobs are done as soon as they are there; how many were."""
    stop, done = threading.Event(), []
    leases = Leases(archive.database)

    def work():
        place = Here(archive)
        while not stop.is_set():
            held = leases.lease("here")
            if held is None:
                stop.wait(0.02)
                continue
            run_leased(leases, place, held, stop=stop)
            done.append(held.job.operation)

    thread = threading.Thread(target=work)
    thread.start()
    yield done
    stop.set()
    thread.join()
