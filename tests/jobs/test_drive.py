import threading
import time

import pytest

from somascope.jobs.drive import drive, run_leased

GAUSSIAN = "process.gaussian"


class Script:
    """A place that says what it is told to say, one list of messages a poll."""

    def __init__(self, *says, deaf=False):
        self.says = list(says)
        self.calls = []
        self.deaf = deaf

    def start(self, job):
        self.calls.append("start")

    def poll(self, timeout):
        time.sleep(0.01)
        if "cancel" in self.calls and not self.deaf:
            return [{"cancelled": "stopped at 50%"}]
        return self.says.pop(0) if self.says else []

    def lines(self):
        return ["a line"] if self.calls == ["start"] else []

    def cancel(self):
        self.calls.append("cancel")

    def kill(self):
        self.calls.append("kill")

    def close(self):
        self.calls.append("close")


def run(leases, place, **more):
    run_leased(leases, place, leases.lease("w"), stop=more.pop("stop", threading.Event()), **more)


@pytest.fixture
def job(jobs):
    return jobs.submit(GAUSSIAN, ["1.2.3"])


def test_progress_then_done(jobs, leases, job):
    place = Script(
        [{"ready": True}], [{"progress": 0.4, "message": "smoothing"}], [{"done": ["1.9"]}]
    )
    run(leases, place)
    ended = jobs.get(job.id)
    assert (ended.state, ended.outputs, ended.progress) == ("done", ("1.9",), 1.0)
    assert ("running", 0.4, "smoothing") in [
        (e.state, e.progress, e.message) for e in jobs.events()
    ]
    assert "a line" in jobs.log(job.id)


def test_a_wrong_request_fails_at_once(jobs, leases, job):
    run(leases, Script([{"failed": "no such thing", "again": False, "trace": ["File x"]}]))
    ended = jobs.get(job.id)
    assert (ended.state, ended.message) == ("failed", "no such thing")
    assert "File x" in jobs.log(job.id)


@pytest.mark.parametrize(
    "message", [{"failed": "MemoryError", "again": True}, {"died": "it ended (signal 11)"}]
)
def test_a_crash_is_tried_again_later(jobs, leases, job, message):
    run(leases, Script([message]))
    waiting = jobs.get(job.id)
    assert waiting.state == "queued"
    assert "waiting again" in waiting.message
    assert leases.lease("w") is None  # not at once


def test_cancel_reaches_the_place(jobs, leases, job):
    place = Script()
    threading.Timer(0.1, jobs.cancel, [job.id]).start()
    run(leases, place, lease=0.1)
    assert jobs.get(job.id).state == "cancelled"
    assert place.calls == ["start", "cancel"]


def test_a_deaf_place_is_ended_by_force(jobs, leases, job):
    place = Script(deaf=True)
    threading.Timer(0.05, jobs.cancel, [job.id]).start()
    run(leases, place, lease=0.1, grace=0.2)
    assert jobs.get(job.id).state == "cancelled"
    assert place.calls == ["start", "cancel", "kill"]
    assert "by force" in jobs.log(job.id)


def test_a_lost_lease_ends_the_work(jobs, leases, job):
    place = Script()

    def steal():
        leases.release(steal.held, "taken away", count=False)

    held = steal.held = leases.lease("w")
    threading.Timer(0.05, steal).start()
    run_leased(leases, place, held, stop=threading.Event(), lease=0.1)
    assert place.calls == ["start", "kill"]
    assert jobs.get(job.id).state == "queued"


def test_a_stop_gives_the_job_back(jobs, leases, job):
    place, stop = Script(), threading.Event()
    threading.Timer(0.1, stop.set).start()
    drive(leases, place, worker="w", stop=stop)
    assert place.calls == ["start", "kill", "close"]
    assert jobs.get(job.id).state == "queued"
    assert leases.lease("w2").attempt == 1
