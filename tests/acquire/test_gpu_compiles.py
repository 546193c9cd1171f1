"""No GPU is at hand in the tests, but Triton's compiler is: the kernels become machine code."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux", reason="Triton brings no assembler"
)
def test_every_kernel_compiles_for_hopper(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/acquire/compiled.py")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    sizes = [int(line.rsplit(" ", 1)[1]) for line in done.stdout.splitlines()]
    assert len(sizes) == 20
    assert min(sizes) > 1000
