"""The scale benchmark runs on its smallest case, and keeps its bound on memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.__main__ import KEYS

ROOT = Path(__file__).resolve().parent.parent.parent.parent


def test_the_small_case():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "ct.scale", "--small", "--json"],
        capture_output=True, text=True, cwd=ROOT, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(text) for text in done.stdout.splitlines()]
    assert all(set(line) == set(KEYS) and line["ratio"] > 0 for line in lines)
    assert len(lines) in (12, 13)  # the last where the system tells a process its memory
    if len(lines) == 13:
        assert "within" in lines[-1]["case"]
        assert 0 < lines[-1]["quality_ours"] < lines[-1]["quality_peer"]
