"""A decoder may crash, hang, hog or lie: one request fails, and nothing else."""

from __future__ import annotations

import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from somascope.core.errors import NotFound, SomascopeError, UnsupportedFormat
from somascope.server.decode import Decoders, cell, pool
from somascope.server.dicomweb import picture, transcode
from somascope.server.settings import Settings
from tests.server.conftest import running

REPOSITORY = Path(__file__).resolve().parents[3]
OCTETS = "application/octet-stream"
linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="system calls are filtered on Linux (x86-64) only",
)
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such limits")


@pytest.fixture(scope="module")
def bad():
    """One decoder with the tasks of `bad`, limited to 3 s and 512 MiB."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(REPOSITORY)  # where it finds itself
    found = Decoders(workers=1, seconds=3.0, memory=512 << 20, module="tests.server.decode.bad")
    try:
        yield found
    finally:
        found.close()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "MR_small_RLE.dcm", "examples_palette.dcm"])
def test_same_bytes_as_in_this_process(bad, pydicom_files, name):
    path = pydicom_files / name
    assert bad.work("frame", str(path), 1) == transcode.frame_bytes(path, 1)
    options = picture.Options(media=picture.PNG, size=(50, 40), region=(1.0, 2.0, -20.0, 10.0))
    assert picture.Options.from_json(options.to_json()) == options
    shown = bad.work("render", str(path), 1, options.to_json())
    assert shown == picture.render(path, 1, options)
    assert bad.work("explicit", str(path)) == transcode.explicit_file(path)


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ("crash", "ended with signal 11"),
        ("stop", "ended with status 3"),
        ("spin", "was stopped after 3 s"),
        ("sleep", "was stopped after 3 s"),
        ("lie", "ended with"),
    ],
)
@posix
def test_what_kills_a_decoder_is_said_and_the_next_request_is_served(bad, task, why):
    before = bad.work("who")
    with pytest.raises(UnsupportedFormat, match=why):
        bad.work(task, f"/{task}", 1)
    after = bad.work("who")
    assert before != after
    with pytest.raises(UnsupportedFormat, match="a moment ago"):
        bad.work(task, f"/{task}", 1)  # not given to another one
    assert bad.work("who") == after
    assert bad.processes == [int(after)]


@posix
def test_too_much_memory_is_an_error_and_no_more(bad):
    before = bad.work("who")
    with pytest.raises(UnsupportedFormat, match="512 MiB"):
        bad.work("hog", "x", 2 << 30)
    assert bad.work("hog", "y", 64 << 20) == b""
    assert bad.work("who") == before


def test_errors_keep_their_kind(bad):
    with pytest.raises(NotFound, match="no such thing"):
        bad.work("wrong")
    with pytest.raises(SomascopeError, match="ZeroDivisionError: a bug"):
        bad.work("broken")
    assert bad.work("echo", "größer \n x") == "größer \n x".encode()


def test_a_decoder_knows_no_secret(bad, monkeypatch):
    monkeypatch.setenv("SOMASCOPE_TOKEN", "a-token-of-good-length")
    fresh = Decoders(workers=1, module="tests.server.decode.bad")
    try:
        assert fresh.work("secrets") == b"[]"
    finally:
        fresh.close()


@linux
@pytest.mark.parametrize(
    "what",
    ["socket", "fork", "exec", "popen", "write", "unlink", "mkdir", "kill", "chmod", "rename"],
)
def test_a_decoder_may_not(bad, what):
    assert bad.work("forbidden", what) in (b"Operation not permitted", b"Permission denied")


@linux
@pytest.mark.parametrize("what", ["read", "thread"])
def test_a_decoder_may(bad, what):
    assert bad.work("forbidden", what) == b"done"


def test_the_filter_is_a_whole_program():
    code = cell._compiled()
    assert len(code) % 8 == 0
    jumps = [code[n : n + 8] for n in range(0, len(code), 8)]
    for at, line in enumerate(jumps):
        yes, no = line[2], line[3]
        assert at + 1 + max(yes, no) < len(jumps) + (line[0] == 0x06)


def test_several_at_a_time_and_an_end(tmp_path):
    decoders = Decoders(workers=2)
    try:
        with ThreadPoolExecutor(6) as threads:
            wrong = [
                threads.submit(decoders.work, "frame", str(tmp_path / "no"), n) for n in range(6)
            ]
            for future in wrong:
                assert isinstance(future.exception(), SomascopeError)
        assert 1 <= len(decoders.processes) <= 2
    finally:
        decoders.close()
    assert decoders.processes == []
    with pytest.raises(RuntimeError):
        decoders.work("frame", "x", 1)


def test_one_that_cannot_start_is_said():
    decoders = Decoders(workers=1, module="somascope.no_such_module")
    try:
        with pytest.raises(SomascopeError, match="while it started"):
            decoders.work("frame", "x", 1)
    finally:
        decoders.close()


@posix
def test_one_that_does_not_start_in_time_is_ended(monkeypatch):
    monkeypatch.setattr(pool, "START_SECONDS", 0.5)
    decoders = Decoders(
        workers=1, module="timeit"
    )  # reads its input for ever, says nothing of ours
    try:
        with pytest.raises(SomascopeError, match="while it started"):
            decoders.work("frame", "x", 1)
    finally:
        decoders.close()


class Rigged(Decoders):
    """Real decoders, whose task for one file is the one that crashes."""

    def __init__(self, poisoned: str) -> None:
        super().__init__(workers=1, seconds=10, module="tests.server.decode.bad")
        self._poisoned = poisoned

    async def ask(self, task, *arguments):
        if arguments[0] == self._poisoned:
            task = "crash"
        return await super().ask(task, *arguments)


@posix
def test_a_crash_costs_one_frame_of_one_request(bad, tmp_path, pydicom_files, monkeypatch):
    from somascope.archive import Archive

    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    with Archive.open(tmp_path / "archive") as archive:
        good = archive.store((pydicom_files / "JPEG2000.dcm").read_bytes())
        evil = archive.store((pydicom_files / "MR_small_RLE.dcm").read_bytes())
        (poisoned,) = archive.locate(instance=evil.sop_uid)
        with (
            running(archive, Settings(), decoders=Rigged(str(poisoned.path))) as url,
            httpx.Client(base_url=f"{url}/dicom-web", timeout=30) as client,
        ):

            def get(one, tail):
                path = f"/studies/{one.study}/series/{one.series}/instances/{one.sop_uid}{tail}"
                return client.get(path, headers={"accept": "*/*;q=0.1, image/png"})

            assert get(good, "/rendered").status_code == 200
            for tail in ("/rendered", "/frames/1/rendered", "/thumbnail"):
                answer = get(evil, tail)
                assert answer.status_code == 406, tail
                assert "decoder" in answer.json()["detail"]
                assert get(good, "/frames/1/rendered").status_code == 200
            stored = client.get(
                f"/studies/{evil.study}/series/{evil.series}/instances/{evil.sop_uid}/frames/1",
                headers={"accept": f'multipart/related; type="{OCTETS}"; transfer-syntax=*'},
            )
            assert stored.status_code == 200  # what is not decoded is served


def test_a_conversion_has_limits_too(tmp_path):
    import numpy as np

    from somascope.core import Grid, Image
    from somascope.io import write
    from somascope.server.decode.convert import convert

    values = np.arange(8 * 64 * 64, dtype=np.int16).reshape(8, 64, 64)
    image = Image(values, Grid.from_spacing(values.shape, (2, 1, 1)), "MR", "1")
    write(image, tmp_path / "good.nii.gz")
    (tmp_path / "junk.xyz").write_bytes(b"no image at all")
    files = [tmp_path / "good.nii.gz", tmp_path / "junk.xyz"]
    report = convert(files, tmp_path / "a", memory=4 << 30, seconds=120)
    assert [len(m.files) for m in report.made] == [8]
    assert len(report.skipped) + len(report.problems) == 1
    with pytest.raises(UnsupportedFormat, match="stopped after"):
        convert(files, tmp_path / "b", memory=4 << 30, seconds=0.05)
    with pytest.raises(UnsupportedFormat, match="ended with"):
        convert(files, tmp_path / "c", memory=4 << 30, seconds=60, module="somascope.none")
