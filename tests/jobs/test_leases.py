import threading

import pytest

from somascope.jobs import leases as module
from somascope.jobs.leases import ATTEMPTS, KEPT_LOG

GAUSSIAN = "process.gaussian"


def test_the_oldest_first_and_each_once(jobs, leases):
    ids = [jobs.submit(GAUSSIAN, ["1.2.3"], {"sigma": i}).id for i in range(3)]
    assert [leases.lease(f"w{i}").job.id for i in range(3)] == ids
    assert leases.lease("w4") is None
    running = jobs.get(ids[0])
    assert running.state == "running"
    assert running.started


def test_many_workers_never_take_the_same_job(jobs, leases):
    for i in range(24):
        jobs.submit(GAUSSIAN, ["1.2.3"], {"sigma": i})
    taken, lock = [], threading.Lock()

    def work(name):
        while (held := leases.lease(name)) is not None:
            with lock:
                taken.append(held.job.id)
            leases.finish(held, "done")

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(taken) == len(set(taken)) == 24
    assert jobs.counts()["done"] == 24


def test_a_silent_worker_loses_the_job_and_cannot_end_it(jobs, leases, clock):
    job = jobs.submit(GAUSSIAN, ["1.2.3"])
    first = leases.lease("w1", seconds=30)
    assert leases.lease("w2") is None
    clock.pass_(31)
    second = leases.lease("w2")
    assert second.job.id == job.id
    assert leases.heartbeat(first, progress=0.9) == "lost"
    assert leases.finish(first, "done", outputs=["1.9"]) is False
    assert jobs.get(job.id).state == "running"
    assert leases.finish(second, "done", outputs=["1.8"]) is True
    assert jobs.get(job.id).outputs == ("1.8",)
    assert "w1 stopped answering" in jobs.log(job.id)


def test_a_heartbeat_keeps_the_lease(jobs, leases, clock):
    jobs.submit(GAUSSIAN, ["1.2.3"])
    held = leases.lease("w1", seconds=30)
    for _ in range(5):
        clock.pass_(20)
        assert leases.heartbeat(held, seconds=30) == "go on"
    assert leases.lease("w2") is None


def test_poison_ends_after_its_attempts(jobs, leases):
    job = jobs.submit(GAUSSIAN, ["1.2.3"])
    for i in range(ATTEMPTS):
        held = leases.lease("w")
        assert held.attempt == i + 1
        leases.release(held, "segmentation fault")
    assert leases.lease("w") is None
    ended = jobs.get(job.id)
    assert ended.state == "failed"
    assert f"{ATTEMPTS} attempts: segmentation fault" in ended.message
    assert ended.finished


def test_a_stop_is_no_attempt_and_a_delay_is_kept(jobs, leases, clock):
    job = jobs.submit(GAUSSIAN, ["1.2.3"])
    for _ in range(2 * ATTEMPTS):
        leases.release(leases.lease("w"), "restart", count=False)
    assert jobs.get(job.id).state == "queued"
    leases.release(leases.lease("w"), "out of memory", delay=4.0)
    assert leases.lease("w") is None
    clock.pass_(4.1)
    assert leases.lease("w").attempt == 2


def test_cancelling_a_running_job(jobs, leases, clock):
    job = jobs.submit(GAUSSIAN, ["1.2.3"])
    held = leases.lease("w", seconds=30)
    assert jobs.cancel(job.id).state == "running"
    assert leases.heartbeat(held, seconds=30) == "cancel"
    clock.pass_(31)  # and its worker dies: it is not begun again
    assert leases.lease("w2") is None
    assert jobs.get(job.id).state == "cancelled"


def test_cancelling_an_ended_job_changes_nothing(jobs, leases):
    job = jobs.submit(GAUSSIAN, ["1.2.3"])
    leases.finish(leases.lease("w"), "done", outputs=["1.9"])
    assert jobs.cancel(job.id).state == "done"


def test_logs_keep_their_end(jobs, leases):
    job = jobs.submit(GAUSSIAN, ["1.2.3"])
    leases.write_log(job.id, [f"line {i}" for i in range(KEPT_LOG + 50)])
    lines = jobs.log(job.id).splitlines()
    assert len(lines) == KEPT_LOG
    assert lines[-1].endswith(f"line {KEPT_LOG + 49}")
    assert lines[0].endswith("line 50")


def test_old_events_go_and_numbers_go_on(jobs, leases, monkeypatch):
    monkeypatch.setattr(module, "KEPT_EVENTS", 4)
    for i in range(5):
        jobs.submit(GAUSSIAN, ["1.2.3"], {"sigma": i})
        leases.finish(leases.lease("w"), "done")
    events = jobs.events()
    assert len(events) == 4
    assert events[-1].seq == 15
    assert jobs.last_event() == 15


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_ends(jobs, leases, state):
    job = jobs.submit(GAUSSIAN, ["1.2.3"])
    leases.finish(leases.lease("w"), state, message="so")
    ended = jobs.get(job.id)
    assert (ended.state, ended.message) == (state, "so")
    assert ended.progress == (1.0 if state == "done" else 0.0)
