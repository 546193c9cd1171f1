"""A training reads pixels of strangers for hours: it gives up first what learning does not need."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module

_NEEDED = (
    "onnx", "onnxruntime", "safetensors.torch", "scipy.ndimage", "scipy.optimize",
    "torch._dynamo", "somascope.learn.calibrate", "somascope.learn.make",
    "somascope.learn.datasets.stored",
)  # fmt: skip
"""What is imported before: compiled libraries are loaded while programs may still be started."""
_ANY = 1 << 46


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """A process's environment without what is told to the server alone: tokens, its database."""
    return {
        k: v for k, v in given.items()
        if not k.upper().startswith("SOMASCOPE_") or k == "SOMASCOPE_MODELS"
    }  # fmt: skip


def confine_training(minutes: float) -> bool:
    """From now on: no network, no other program; files may be written, and a model installed.

    The memory is this machine's (with a GPU any: its driver reserves more addresses than there is
    memory), the processor time twice the budget on all cores and an hour of each. True where system
    calls are filtered, too (Linux).
    """
    import numpy as np

    from somascope.learn.device import awake
    from somascope.process.chunks import cores
    from somascope.process.sampling import sample
    from somascope.server.decode import cell

    for name in _NEEDED:
        import_module(name)
    # Compiled code is loaded while locks may still be made.
    sample(np.zeros((1, 1, 1), np.float32), np.eye(4), (1, 1, 1), order="nearest", fill=0.0)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if _posix() else _ANY
    if awake():
        memory = _ANY
    done = cell.confine(memory=memory, writes=True)
    cell.spend((2 * minutes * 60 + 3600) * cores())
    return done


def _posix() -> bool:
    return os.name == "posix"
