"""The same jobs on a local Ray cluster of two workers: the same bytes out."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from somascope.core.errors import MissingExtra, Refused
from somascope.jobs import Jobs
from somascope.jobs.local import wait
from somascope.jobs.ray import RayExecutor, _ray
from somascope.jobs.run import execute

installed = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not installed, reason="Ray is not installed (extra ray)")


def test_without_ray_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"somascope\[ray\]"):
        _ray()


def test_a_cluster_is_not_joined_without_its_token(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    with pytest.raises(Refused, match="RAY_AUTH_TOKEN"):
        RayExecutor(tmp_path, address="127.0.0.1:6379").start()


def assert_closed():
    """What Ray listens on is the loopback, there is no dashboard, and no token means no entry."""
    if shutil.which("ss") is None:
        return
    lines = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True).stdout.splitlines()
    of_ray = [line for line in lines if re.search(r'"(raylet|gcs_server|ray::|python)', line)]
    heads = {line.split()[3]: line for line in of_ray if re.search("raylet|gcs_server", line)}
    assert heads
    assert all(a.startswith(("127.0.0.1:", "[::1]:", "[::ffff:127.0.0.1]:")) for a in heads), heads
    assert not any(a.endswith(":8265") for a in heads)
    gcs = next(a for a, line in heads.items() if "gcs_server" in line)
    script = f"import ray; ray.init(address='127.0.0.1:{gcs.rpartition(':')[2]}')"
    entered = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=120,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip
    assert entered.returncode != 0


@needs_ray
@pytest.mark.slow
def test_two_workers_give_the_bytes_of_one_process(archive, series, store_volume):
    jobs = Jobs(archive)
    other = store_volume(seed=1)
    a = jobs.submit("process.gaussian", [series], {"sigma": 1.5})
    b = jobs.submit("segment.threshold", [other], {"lower": 300})
    bad = jobs.submit("segment.threshold", [series], {})
    # More work than two seconds of a progress report apart: it is stopped on the way.
    big = store_volume(seed=2, shape=(40, 256, 256))
    long = jobs.submit("process.resample", [big], {"spacing": [0.2], "order": "cubic"})
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "somascope.jobs.worker",
            "--archive",
            str(archive.root),
            "--workers",
            "2",
            "--executor",
            "ray",
        ],
        env={k: v for k, v in os.environ.items() if not k.startswith("RAY_")},
    )
    try:
        ended = wait(jobs, [a.id, b.id, bad.id], timeout=150)
        assert [j.state for j in ended] == ["done", "done", "failed"]
        assert "give lower" in ended[2].message
        end = time.monotonic() + 60
        while jobs.get(long.id).state == "queued" and time.monotonic() < end:
            time.sleep(0.05)
        jobs.cancel(long.id)
        assert wait(jobs, [long.id], timeout=60)[0].state == "cancelled"
        assert_closed()
    finally:
        worker.terminate()
        assert worker.wait(timeout=60) == 0
    for job in ended[:2]:
        (out,) = job.outputs
        on_ray = {i.sop_uid: i.read() for i in archive.locate(series=out)}
        assert execute(archive, job.operation, job.inputs, job.params) == [out]
        from somascope.archive import Archive

        with Archive.open(archive.root.parent / "here") as here:
            for i in archive.locate(series=job.inputs[0]):
                here.store(i.read())
            assert execute(here, job.operation, job.inputs, job.params) == [out]
            assert {i.sop_uid: i.read() for i in here.locate(series=out)} == on_ray
