"""What the archive promises when processes die, disks fill and bytes lie."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time

import pytest

from somascope.archive import Archive, OutOfSpace
from somascope.core.errors import ReadError
from somascope.testing.archive import part10
from tests.hostile import hostile

ROUNDS = 30


def instance(n: int) -> bytes:
    return part10(SOPInstanceUID=f"1.2.3.{n % 3}.{n}", SeriesInstanceUID=f"1.2.3.{n % 3}", seed=n)


def ingest(root, url, first: int, report: int) -> None:
    """Store without end from four threads; say each number once it is acknowledged."""
    archive = Archive.open(root, url=url)

    def send(offset: int) -> None:
        n = first + offset
        while True:
            assert archive.store(instance(n)).outcome == "stored"
            os.write(report, struct.pack("<I", n))
            n += 4

    threads = [threading.Thread(target=send, args=(i,), daemon=True) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    "make", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_kill_9_loses_nothing_acknowledged(make):
    archive = make()
    root, url = archive.root, make.url
    archive.close()
    dice, acknowledged = random.Random(11), set()
    rounds = 5 if url else ROUNDS
    for turn in range(rounds):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                ingest(root, url, 10_000 * (turn + 1), write)
            finally:
                os._exit(1)
        os.close(write)
        raw = b""
        wanted, until = 4 * dice.randrange(1, 12), time.monotonic() + 20
        while len(raw) < wanted and time.monotonic() < until:
            if select.select([read], [], [], 0.5)[0]:
                raw += os.read(read, 4096)
        time.sleep(dice.random() * 0.004)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while piece := os.read(read, 4096):
            raw += piece
        os.close(read)
        acknowledged |= set(struct.unpack(f"<{len(raw) // 4}I", raw[: len(raw) // 4 * 4]))
        with Archive.open(root, url=url) as archive:
            have = {c.instance for c in archive.changes(limit=100_000)}
            lost = {n for n in acknowledged if f"1.2.3.{n % 3}.{n}" not in have}
            assert not lost, f"round {turn}: {len(lost)} acknowledged and lost"
            assert list((root / "incoming").iterdir()) == []
    assert len(acknowledged) > rounds
    with Archive.open(root, url=url) as archive:
        state = archive.verify()
        assert state.ok
        assert state.unindexed == ()
        assert state.checked == archive.stats().instances >= len(acknowledged)
        for n in dice.sample(sorted(acknowledged), 20):
            (found,) = archive.locate(instance=f"1.2.3.{n % 3}.{n}")
            assert found.read() == instance(n)
        counts = archive.rebuild()
        assert counts == state.checked


_REFUSE = """
import resource, struct, sys
from pathlib import Path
from somascope.archive import Archive
from somascope.core.errors import ReadError
archive = Archive.open(Path(sys.argv[1]))
files = [Path(p) for p in sys.argv[2:]]
archive.store(files[0].read_bytes())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in files[1:]:
    for take in (lambda: archive.store(path.read_bytes()), lambda: archive.store_file(path)):
        try:
            take()
        except ReadError as error:
            assert path.name in str(error) or "instance" in str(error), error
        else:
            raise SystemExit(f"{path.name} was taken")
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert archive.stats().instances == 1
assert len(list((archive.root / "objects").rglob("*.dcm"))) == 1
print(grown)
"""


def test_hostile_files_are_refused_in_bounded_memory(tmp_path):
    good = part10(SOPInstanceUID="1.2.3.9")
    (tmp_path / "good").write_bytes(good)
    paths = [tmp_path / "good"]
    for name, raw in hostile().items():
        (tmp_path / name).write_bytes(raw)
        paths.append(tmp_path / name)
    whole = part10(side=64)
    for end in random.Random(2).sample(range(1, len(whole)), 60):
        path = tmp_path / f"cut{end}"
        path.write_bytes(whole[:end])
        paths.append(path)
    done = subprocess.run(
        [sys.executable, "-c", _REFUSE, tmp_path / "archive", *paths],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 << 10, "KiB of growth"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EMFILE])
@pytest.mark.parametrize("call", ["fdatasync", "fsync", "writev", "open", "link"])
def test_a_failing_system_call_is_never_acknowledged(tmp_path, monkeypatch, call, code):
    """After a failed sync nothing is retried on the same file; a new send writes a new one."""
    with Archive.open(tmp_path / "archive") as archive:
        archive.store(instance(0))
        original = getattr(os, call)

        def fail(*args, **kwargs):
            if call == "open" and "incoming" not in str(args[0]):
                return original(*args, **kwargs)
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(OutOfSpace if code == errno.ENOSPC else OSError):
                archive.store(instance(1))
        assert archive.stats().instances == 1
        assert len(list((archive.root / "objects").rglob("*.dcm"))) == 1
        assert archive.store(instance(1)).outcome == "stored"
        assert archive.verify().ok
        assert archive.verify().unindexed == ()


def test_an_index_that_cannot_commit_leaves_no_file(tmp_path, monkeypatch):
    from somascope.archive.index import Writer

    with Archive.open(tmp_path / "archive") as archive:
        with monkeypatch.context() as patch:
            patch.setattr(Writer, "_flush", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                archive.store(instance(1))
        assert archive.stats().instances == 0
        assert list((archive.root / "objects").rglob("*.dcm")) == []
        assert archive.store(instance(1)).outcome == "stored"


@pytest.fixture
def small_disk(tmp_path):
    """Twelve megabytes of tmpfs, where mounting is allowed."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no mount command: {error}")
    if done.returncode:
        pytest.skip(f"tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_disk_full_loses_nothing_and_recovers(small_disk):
    with Archive.open(small_disk / "archive", reserve=0) as archive:
        kept = []
        for n in range(400):
            try:
                archive.store(part10(side=256, SOPInstanceUID=f"1.2.3.1.{n}", seed=n))
            except OutOfSpace:
                break
            kept.append(n)
        assert n < 399, "the disk did not fill"
        assert len(kept) > 10
        assert archive.verify().ok
        assert archive.stats().instances == len(kept)
        victim = archive.locate(instance="1.2.3.1.0")[0]
        victim.path.unlink()  # room for others, without a restart
        archive.locate(instance="1.2.3.1.1")[0].path.unlink()
        late = part10(side=32, SOPInstanceUID="1.2.3.1.999")
        assert archive.store(late).outcome == "stored"
        assert archive.locate(instance="1.2.3.1.999")[0].read() == late


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here")
def test_order_of_promises(tmp_path):
    """Link, file sync, folder sync, index sync, then the answer: seen in the system calls."""
    script = (
        "import os,sys;from pathlib import Path;from somascope.archive import Archive;"
        "from somascope.testing.archive import part10;a=Archive.open(Path(sys.argv[1]));"
        "a.store(part10());os.write(1,b'BEGIN');a.store(part10(SOPInstanceUID='1.2.3.1.2'));"
        "os.write(1,b'ANSWER')"
    )
    log = tmp_path / "log"
    done = subprocess.run(
        ["strace", "-f", "-y", "-o", log, "-e", "trace=fsync,fdatasync,link,linkat,write",
         sys.executable, "-c", script, tmp_path / "archive"],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"strace does not work here: {done.stderr[-200:]}")
    lines = log.read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if '"BEGIN"' in line)
    end = next(i for i, line in enumerate(lines) if '"ANSWER"' in line)
    steps = []
    for line in lines[begin:end]:
        if "sync(" in line and "incoming" in line:
            steps.append("file")
        elif "link" in line and "objects" in line:
            steps.append("link")
        elif "sync(" in line and "objects" in line:
            steps.append("folder")
        elif "sync(" in line and "sqlite-wal" in line:
            steps.append("index")
    assert steps == ["link", "file", "folder", "index"]


def test_only_read_errors_from_mutated_bytes(tmp_path):
    """Whatever is sent, the answer is an outcome or a reason, and the archive stays consistent."""
    dice = random.Random(8)
    with Archive.open(tmp_path / "archive") as archive:
        good = part10()
        for _ in range(60):
            raw = bytearray(good)
            for _ in range(dice.randrange(1, 5)):
                raw[dice.randrange(132, len(raw))] = dice.randrange(256)
            with contextlib.suppress(ReadError):
                archive.store(bytes(raw))
        assert archive.verify().ok
        assert archive.verify().unindexed == ()
