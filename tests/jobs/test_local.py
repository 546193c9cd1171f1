import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from somascope.core.errors import ParameterError
from somascope.jobs import Jobs
from somascope.jobs.executor import executor
from somascope.jobs.local import LocalExecutor, wait
from somascope.jobs.run import execute


@pytest.fixture
def jobs(archive):
    return Jobs(archive)


def children():
    """Process ids of our runners."""
    out = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True
    ).stdout
    return [int(line.split()[0]) for line in out.splitlines() if "somascope.jobs.runner" in line]


def until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


def test_jobs_run_in_other_processes_with_the_same_bytes_out(archive, jobs, series, store_volume):
    other = store_volume(seed=1)
    a = jobs.submit("process.gaussian", [series], {"sigma": 1.5})
    b = jobs.submit("segment.threshold", [other], {"lower": 300})
    bad = jobs.submit("segment.threshold", [series], {})  # valid in form, refused when run
    with LocalExecutor(archive.root, workers=2):
        ended = wait(jobs, [a.id, b.id, bad.id])
        assert children()
    assert [j.state for j in ended] == ["done", "done", "failed"]
    assert "give lower" in ended[2].message
    assert "Traceback" not in ended[2].message
    stored = {i.sop_uid: i.read() for i in archive.locate(series=ended[0].outputs[0])}
    assert len(stored) == 6
    assert execute(archive, "process.gaussian", [series], {"sigma": 1.5}) == list(ended[0].outputs)
    again = {i.sop_uid: i.read() for i in archive.locate(series=ended[0].outputs[0])}
    assert again == stored
    assert children() == []
    told = [e for e in jobs.events() if e.job == a.id]
    assert [e.state for e in told][0 :: len(told) - 1] == ["queued", "done"]
    assert [e.progress for e in told] == sorted(e.progress for e in told)


def test_a_killed_worker_process_is_replaced_and_its_job_done(archive, jobs, store_volume):
    big = store_volume(seed=2, shape=(24, 160, 160))
    job = jobs.submit("process.clahe", [big], {"dimensions": "volume"})
    with LocalExecutor(archive.root, workers=1):
        until(lambda: jobs.get(job.id).state == "running" and children())
        os.kill(children()[0], signal.SIGKILL)
        (ended,) = wait(jobs, [job.id])
    assert ended.state == "done"
    assert "signal 9" in jobs.log(job.id)


def test_a_cancel_ends_a_running_job(archive, jobs, store_volume):
    big = store_volume(seed=3, shape=(40, 256, 256))
    job = jobs.submit("process.resample", [big], {"spacing": [0.25, 0.25, 0.25], "order": "cubic"})
    with LocalExecutor(archive.root, workers=1, grace=0.5):
        until(lambda: jobs.get(job.id).state == "running")
        jobs.cancel(job.id)
        begun = time.monotonic()
        (ended,) = wait(jobs, [job.id], timeout=20)
        assert ended.state == "cancelled"
        assert time.monotonic() - begun < 10
        small = jobs.submit("process.gaussian", [store_volume(seed=4)])
        assert wait(jobs, [small.id])[0].state == "done"  # the worker goes on
    assert ended.outputs == ()


def test_a_stopped_executor_gives_back_what_it_had(archive, jobs, store_volume):
    big = store_volume(seed=5, shape=(40, 256, 256))
    job = jobs.submit("process.resample", [big], {"spacing": [0.25, 0.25, 0.25], "order": "cubic"})
    with LocalExecutor(archive.root, workers=1):
        until(lambda: jobs.get(job.id).state == "running")
    assert jobs.get(job.id).state == "queued"
    assert children() == []


def test_the_worker_command_survives_kill_minus_nine(archive, jobs, series):
    """A master that is killed leaves no runner behind, and its job is done by the next one."""
    command = [sys.executable, "-m", "somascope.jobs.worker", "--archive", str(archive.root)]
    first = jobs.submit("process.gaussian", [series], {"sigma": 1.0})
    worker = subprocess.Popen(command)
    try:
        (ended,) = wait(jobs, [first.id])
        assert ended.state == "done"
        listed = ["ps", "-o", "pid=", "--ppid", str(worker.pid)]
        (runner,) = subprocess.run(listed, capture_output=True, text=True).stdout.split()
    finally:
        worker.kill()
        worker.wait()
    until(lambda: not Path(f"/proc/{runner}").exists(), 10)
    second = jobs.submit("process.gaussian", [series], {"sigma": 2.0})
    worker = subprocess.Popen(command)
    assert wait(jobs, [second.id])[0].state == "done"
    worker.terminate()
    assert worker.wait(timeout=10) == 0


def test_settings(archive):
    with pytest.raises(ParameterError, match="choose one of local, ray"):
        executor("cloud", archive.root)
    with pytest.raises(ParameterError, match="at least 1"):
        LocalExecutor(archive.root, workers=0)
    assert isinstance(Jobs(archive).run_local(workers=2), LocalExecutor)
