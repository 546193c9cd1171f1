"""Densely connected networks (Huang et al., CVPR 2017), in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from somascope.learn.networks.blocks import Norm, convolution, everywhere, normalisation


class Dense(nn.Module):
    """Normalisation, ReLU and convolution, whose maps are laid beside what came in."""

    def __init__(self, inputs: int, growth: int, *, dimensions: int, norm: Norm) -> None:
        super().__init__()
        self.narrow = nn.Sequential(
            normalisation(inputs, dimensions=dimensions, norm=norm), nn.ReLU(),
            convolution(inputs, 4 * growth, dimensions=dimensions, size=1, bias=False),
        )  # fmt: skip
        self.look = nn.Sequential(
            normalisation(4 * growth, dimensions=dimensions, norm=norm), nn.ReLU(inplace=True),
            convolution(4 * growth, growth, dimensions=dimensions, bias=False),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(n, c, ...)`` to ``(n, c + growth, ...)``."""
        return torch.cat([x, self.look(self.narrow(x))], dim=1)


class DenseNet(nn.Module):
    """Stages in which every layer sees all before it; between them half the maps, half the size.

    Parameters
    ----------
    growth
        Maps that each layer adds.
    blocks
        Layers of each stage.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        dimensions: int = 2,
        growth: int = 12,
        blocks: Sequence[int] = (4, 6, 8),
        stem: int = 1,
        dropout: float = 0.2,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        width = 2 * growth
        stages: list[nn.Module] = [
            convolution(inputs, width, dimensions=dimensions, stride=stem, bias=False)
        ]
        pool = nn.AvgPool2d if dimensions == 2 else nn.AvgPool3d
        for i, count in enumerate(blocks):
            if i:
                stages += [
                    normalisation(width, dimensions=dimensions, norm=norm), nn.ReLU(inplace=True),
                    convolution(width, width // 2, dimensions=dimensions, size=1, bias=False),
                    pool(2),
                ]  # fmt: skip
                width //= 2
            for _ in range(count):
                stages.append(Dense(width, growth, dimensions=dimensions, norm=norm))
                width += growth
        stages += [normalisation(width, dimensions=dimensions, norm=norm), nn.ReLU(inplace=True)]
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, outputs)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The last maps ``(n, width, ...)``."""
        return self.stages(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        return self.head(self.dropout(everywhere(self.features(x))))
