"""Timing on a CUDA device, and saying so where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.turns import compared

Array = np.ndarray


def cuda(name: str) -> bool:
    """Whether there is a CUDA device; else one line on stderr."""
    try:
        import torch

        # Written at once, so that no line of another device is taken for one of these.
        if torch.cuda.is_available():
            return True
        missing = "no CUDA device"
    except ImportError:
        missing = "torch is not installed"
    sys.stderr.write(f"benchmark {name} skipped: {missing}\n")
    return False


def finished(run: Callable[[], Any]) -> Callable[[], Array]:
    """``run`` with what the device has to do for it; the result stays there until asked for."""
    import torch

    def timed() -> Any:
        made = run()
        torch.cuda.synchronize()
        return made

    return timed


def on_cuda(
    name: str,
    case: str,
    *,
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    package: str,
    quality: Callable[[Array], float],
    metric: str,
    rounds: int,
) -> dict[str, Any]:
    """`benchmarks.turns.compared` of two programs on one device, copies not counted."""
    import torch

    def judged(made: Any) -> float:
        return quality(made.cpu().numpy() if isinstance(made, torch.Tensor) else made)

    where = torch.cuda.get_device_name()
    return compared(
        name, f"{case}; {where}", ours=finished(ours), peer=finished(peer), package=package,
        quality=judged, metric=metric, rounds=rounds,
    )  # fmt: skip
