"""The GPU benchmarks say where they cannot run, and their peer measures the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.acquire.ct_case import head, sinogram
from benchmarks.acquire.ct_gpu import sampled

ROOT = Path(__file__).resolve().parent.parent.parent.parent
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", ["ct.gpu", "mri.gpu"])
def test_without_a_device_nothing_is_measured(name: str):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--small", "--json"],
        capture_output=True, text=True, cwd=ROOT, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if torch.cuda.is_available():
        assert all(json.loads(line)["name"] == name for line in done.stdout.splitlines())
    else:
        assert done.stdout == ""
        assert done.stderr == f"benchmark {name} skipped: no CUDA device\n"


def test_the_peer_in_torch_projects_the_same():
    truth, _, shapes = head(64)
    angles, lines = sinogram(shapes, 7, 92)
    found = sampled(torch.from_numpy(truth[None]), angles, 92)().numpy()
    assert np.linalg.norm(found - lines) < 0.06 * np.linalg.norm(lines)
