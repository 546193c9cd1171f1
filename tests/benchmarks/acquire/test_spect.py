"""The SPECT benchmark runs on its smallest case, and ours is as good as the peer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import KEYS

ROOT = Path(__file__).resolve().parent.parent.parent.parent


def test_the_small_case():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "spect.osem", "--small", "--json"],
        capture_output=True, text=True, cwd=ROOT, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if not done.stdout:
        pytest.skip("PyTomography is not installed")
    (line,) = [json.loads(text) for text in done.stdout.splitlines()]
    assert set(line) == set(KEYS)
    assert line["ratio"] > 0
    assert line["quality_ours"] <= 1.1 * line["quality_peer"], line
