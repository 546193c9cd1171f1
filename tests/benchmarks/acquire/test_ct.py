"""The CT benchmarks run on their smallest cases, and ours is as good as the peers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import KEYS

ROOT = Path(__file__).resolve().parent.parent.parent.parent


@pytest.mark.parametrize(
    "name",
    ["ct.fbp", "ct.forward", "ct.fan_fbp", pytest.param("ct.fdk", marks=pytest.mark.slow)],
)
def test_the_small_case(name: str):
    # In a process of its own: a peer's bindings crash where warnings are errors.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--small", "--json"],
        capture_output=True, text=True, cwd=ROOT, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if not done.stdout:
        pytest.skip(f"no peer of {name} is installed")
    for text in done.stdout.splitlines():
        line = json.loads(text)
        assert set(line) == set(KEYS)
        assert line["ratio"] > 0
        if "error" in line["quality_metric"]:
            worse = 1.75 if line["peer"] == "our parallel FBP" else 1.3
            assert line["quality_ours"] <= worse * line["quality_peer"], line
