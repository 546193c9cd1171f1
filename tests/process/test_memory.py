"""Filters hold at most twice the memory of their input and result."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_peaks_of_memory():
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "memory.py")],
        capture_output=True, text=True, timeout=270,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"},  # freed arrays are given back
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 16
    for name, dtype, arrays, process in lines:
        if name == "histogram":  # its result is nothing beside its input; counts are kept by part
            assert float(arrays) < 3, (name, dtype)
            continue
        assert 1.0 < float(arrays) <= 2.0, (name, dtype)
        # Scratch of the kernels and pages kept by the allocator come on top of the arrays.
        assert float(process) <= 2.5, (name, dtype)
