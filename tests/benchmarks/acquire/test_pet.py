"""The PET benchmarks run on their smallest cases, and ours is as good as the C program."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import KEYS

ROOT = Path(__file__).resolve().parent.parent.parent.parent


@pytest.mark.parametrize("name", ["pet.project", "pet.osem", "pet.listmode"])
def test_the_small_case(name: str):
    if name != "pet.listmode" and shutil.which("gcc") is None:
        pytest.skip("the yardstick is a C program; gcc is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--small", "--json"],
        capture_output=True, text=True, cwd=ROOT, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(text) for text in done.stdout.splitlines()]
    assert len(lines) == {"pet.project": 2, "pet.osem": 1, "pet.listmode": 2}[name]
    for line in lines:
        assert set(line) == set(KEYS)
        assert line["ratio"] > 0
        if name == "pet.project":
            assert line["quality_ours"] <= 1.1 * line["quality_peer"] + 1e-4, line
        if name == "pet.listmode":
            assert line["quality_ours"] < 1200  # MiB of the whole process
