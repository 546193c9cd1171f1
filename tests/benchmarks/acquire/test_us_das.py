"""The smallest case of the benchmark runs, and its lines are complete and exact."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import KEYS

ROOT = Path(__file__).parents[3]


def test_small_case_runs():
    pytest.importorskip("pymust")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "us.das", "--small", "--json"],
        capture_output=True, text=True, cwd=ROOT, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(text) for text in done.stdout.splitlines()]
    assert len(lines) >= 2
    for line in lines:
        assert set(line) == set(KEYS)
        assert line["quality_ours"] < 1e-3, line
        assert line["quality_ours"] <= line["quality_peer"], line
