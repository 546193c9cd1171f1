"""Where a plan's network learns: the GPU it was planned for, where there is one, else the CPU."""

from __future__ import annotations

import torch

from somascope.learn.plan import Plan


def device_of(plan: Plan) -> torch.device:
    """The device of a plan's training, and of what comes before it."""
    return torch.device("cuda" if torch.cuda.is_available() and plan.machine.gpu else "cpu")


def awake() -> bool:
    """Whether there is a GPU; its driver has then opened what it needs."""
    if not torch.cuda.is_available():
        return False
    torch.zeros(1, device="cuda")
    return True
