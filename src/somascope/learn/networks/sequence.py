"""Slices or frames one after the other: an encoder of pictures, and a memory that reads on.

Sources: Hochreiter and Schmidhuber, Neural Computation 9, 1997 (LSTM); Cho et al., EMNLP 2014
(GRU); Bahdanau et al., ICLR 2015 (attention over the steps).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import nn

from somascope.learn.networks.blocks import everywhere
from somascope.learn.networks.resnet import ResNet

Memory: TypeAlias = Literal["gru", "lstm", "attention"]


class Reader(nn.Module):
    """Each slice through the same small residual network, then a memory from both ends.

    Input ``(n, inputs, z, y, x)``: ``z`` slices (or frames) in order; output ``(n, outputs)``
    logits. What the memory says at the steps is weighed by a learned attention; with ``memory``
    ``attention`` there is nothing else.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        widths: Sequence[int] = (16, 32, 64),
        memory: Memory = "gru",
        hidden: int = 64,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        encoder = ResNet(inputs=inputs, outputs=1, dimensions=2, widths=widths, blocks=1)
        self.stem, self.stages = encoder.stem, encoder.stages
        kinds = {"gru": nn.GRU, "lstm": nn.LSTM}
        self.memory = (
            kinds[memory](widths[-1], hidden, batch_first=True, bidirectional=True)
            if memory in kinds
            else None
        )
        wide = 2 * hidden if self.memory is not None else widths[-1]
        self.weigh = nn.Sequential(nn.Linear(wide, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(wide, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        n, c, z = x.shape[:3]
        slices = x.transpose(1, 2).reshape(n * z, c, *x.shape[3:])
        steps = everywhere(self.stages(self.stem(slices))).reshape(n, z, -1)
        if self.memory is not None:
            steps = self.memory(steps)[0]
        weight = self.weigh(steps).softmax(dim=1)
        return self.head(self.dropout((weight * steps).sum(dim=1)))
