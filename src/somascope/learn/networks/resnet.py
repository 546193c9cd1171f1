"""Residual networks for whole images, in 2-D and 3-D, as small as the data asks for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from somascope.learn.networks.blocks import Block, Norm, Residual, everywhere


class ResNet(nn.Module):
    """A first convolution, stages of residual blocks, the mean over space, one linear layer.

    ``widths`` are the channels of each stage; every stage but the first halves the image.
    ``stem`` is the stride of the first convolution. Input ``(n, inputs, ...)``, output
    ``(n, outputs)`` logits.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        dimensions: int = 2,
        widths: Sequence[int] = (32, 64, 128),
        blocks: int = 2,
        stem: int = 1,
        dropout: float = 0.2,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.stem = Block(inputs, widths[0], dimensions=dimensions, norm=norm, stride=stem)
        stages: list[nn.Module] = []
        before = widths[0]
        for i, width in enumerate(widths):
            for j in range(blocks):
                stride = 2 if i and not j else 1
                stages.append(
                    Residual(before, width, dimensions=dimensions, norm=norm, stride=stride)
                )
                before = width
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(before, outputs)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The last maps ``(n, widths[-1], ...)``: what class activation maps weigh."""
        return self.stages(self.stem(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        return self.head(self.dropout(everywhere(self.features(x))))
