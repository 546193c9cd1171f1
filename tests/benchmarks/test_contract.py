"""The benchmark contract: every line has its keys, ours and the peer's come from one run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.viewer import ohif

ROOT = Path(__file__).resolve().parent.parent.parent
KEYS = {
    "name", "case", "ours_ms", "peer", "peer_version", "peer_ms", "ratio",
    "quality_metric", "quality_ours", "quality_peer", "machine",
}  # fmt: skip


def benchmark(*args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *args],
        capture_output=True, text=True, cwd=ROOT, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(text: str, name: str) -> list[dict]:
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines
    for line in lines:
        assert set(line) == KEYS
        assert line["name"] == name
        for side in ("ours_ms", "peer_ms"):
            assert 0 < line[side]["min"] <= line[side]["median"]
        expected = line["peer_ms"]["median"] / line["ours_ms"]["median"]
        assert line["ratio"] == pytest.approx(expected, rel=0.02)
    return lines


def test_list_names_every_benchmark():
    names = {line.split()[0] for line in benchmark("--list").splitlines()}
    assert {"load", "store", "web", "query"} <= names


def test_load_reads_the_same_voxels_as_its_peers():
    lines = check(benchmark("load", "--small", "--json"), "load")
    assert {line["peer"] for line in lines} == {"SimpleITK", "pydicom"}


def test_query_finds_the_same_at_both_sizes():
    check(benchmark("query", "--small", "--json"), "query")


@pytest.mark.skipif(shutil.which("Orthanc") is None, reason="Orthanc is not installed")
@pytest.mark.parametrize("name", ["store", "web"])
def test_against_orthanc(name: str):
    check(benchmark(name, "--small", "--json"), name)


def test_without_ohif_its_benchmark_says_that_it_is_skipped():
    clean = {k: v for k, v in os.environ.items() if k != ohif.VARIABLE}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "viewer", "--small", "--json"],
        capture_output=True, text=True, cwd=ROOT, timeout=280, env=clean,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "skipped" in done.stderr
    assert ohif.VARIABLE in done.stderr


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(ohif.dist() is None, reason=f"{ohif.VARIABLE} names no OHIF")
def test_both_viewers_show_the_same_series():
    lines = check(benchmark("viewer", "--small", "--json"), "viewer")
    assert len(lines) == 4
    for line in lines:  # the disc is mid-grey in the header's window, its noise a few levels
        assert line["quality_ours"] == pytest.approx(line["quality_peer"], abs=40)
