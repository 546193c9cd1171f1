"""LeNet-5 (LeCun et al., Proc. IEEE 86, 1998): the shortest network that is one."""

from __future__ import annotations

import torch
from torch import nn


class LeNet(nn.Module):
    """Two convolutions with pooling between, then three fully connected layers.

    As published but for three habits of today: ReLU for tanh, largest for mean in pooling, and
    softmax (in the loss) for radial units. Input ``(n, inputs, size, size)``, ``size`` 28 or 32
    and more; output ``(n, outputs)`` logits.
    """

    def __init__(self, *, inputs: int = 1, outputs: int = 10, size: int = 28) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(inputs, 6, 5, padding=2)  # strokes
        self.s2 = nn.MaxPool2d(2)
        self.c3 = nn.Conv2d(6, 16, 5)  # corners and ends
        self.s4 = nn.MaxPool2d(2)
        edge = (size // 2 - 4) // 2
        self.c5 = nn.Linear(16 * edge * edge, 120)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        x = self.s2(torch.relu(self.c1(x)))
        x = self.s4(torch.relu(self.c3(x)))
        x = torch.relu(self.c5(x.flatten(1)))
        x = torch.relu(self.f6(x))
        return self.output(x)
