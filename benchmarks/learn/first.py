"""From nothing to the first answer of a model, in a new process where PyTorch cannot be imported.

The peer is a process that imports PyTorch and MONAI and runs a network on the same picture.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.turns import compared

OURS = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("PyTorch is not there")

sys.meta_path.insert(0, Nothing())
import numpy as np
from somascope.core import Grid, Image
from somascope.models import load

values = np.load(sys.argv[1])
image = Image(values[None], Grid.from_spacing((1, *values.shape), (1.0, 1.0, 1.0)), "DX")
(label,) = load("classify.pneumonia")(image, anyway=True)
assert "torch" not in sys.modules
print(max(label.probabilities.values()))
"""
PEER = """
import sys
import numpy as np
import torch
from monai.networks.nets import resnet18

values = torch.from_numpy(np.load(sys.argv[1]))[None, None].float()
net = resnet18(spatial_dims=2, n_input_channels=1, num_classes=2, conv1_t_size=3).eval()
with torch.inference_mode():
    print(float(net(values).softmax(1).max()))
"""


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Milliseconds from the start of Python to its end."""
    y, x = np.mgrid[:28, :28] / 28 - 0.5
    values = (90 + 80 * np.exp(-8 * x**2) + 20 * y).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.npy"
        np.save(path, values)
        yield compared(
            "learn.first", "import somascope.models, classify.pneumonia, one picture",
            package="monai", rounds=2 if small else 7, ours=answer(OURS, path),
            peer=answer(PEER, path), quality=float, metric="probability said",
        )  # fmt: skip


def answer(code: str, path: Path) -> Callable[[], float]:
    """The number that a process prints."""

    def one() -> float:
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            capture_output=True, text=True, check=True,
            env={**os.environ, "OMP_NUM_THREADS": "2"},
        )  # fmt: skip
        return float(done.stdout.split()[-1])

    return one
