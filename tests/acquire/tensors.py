"""An operator that takes torch tensors, seen as one of arrays: for the contract's checks."""

from __future__ import annotations

from typing import Any

import numpy as np


class OnTensors:
    """``operator`` whose work is done on tensors."""

    def __init__(self, operator: Any) -> None:
        self.operator = operator
        self.domain, self.range = tuple(operator.domain), tuple(operator.range)

    def forward(self, x: np.ndarray) -> np.ndarray:
        import torch

        return self.operator.forward(torch.from_numpy(np.array(x))).numpy()

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        import torch

        return self.operator.adjoint(torch.from_numpy(np.array(y))).numpy()


def gap(found: np.ndarray, truth: np.ndarray) -> float:
    """Relative difference of two arrays."""
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))
