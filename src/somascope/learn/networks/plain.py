"""VGG-like networks: nothing but convolutions of three, pooling, and fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from somascope.learn.networks.blocks import Block, Norm, everywhere, pooling


class VGG(nn.Module):
    """Stages of small convolutions, each followed by pooling, then two fully connected layers.

    Source: Simonyan and Zisserman, ICLR 2015; with normalisation, and the mean over space in place
    of the largest fully connected layer, so that any size of image fits. ``widths`` are the
    channels of each stage. Input ``(n, inputs, ...)``, output ``(n, outputs)`` logits.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        dimensions: int = 2,
        widths: Sequence[int] = (32, 64, 128),
        blocks: int = 2,
        hidden: int = 128,
        dropout: float = 0.2,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = inputs
        for i, width in enumerate(widths):
            if i:
                layers.append(pooling(dimensions))
            for _ in range(blocks):
                layers.append(Block(before, width, dimensions=dimensions, norm=norm))
                before = width
        self.stages = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Linear(before, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(hidden, outputs),
        )  # fmt: skip

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The last maps ``(n, widths[-1], ...)``."""
        return self.stages(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        return self.head(everywhere(self.features(x)))
