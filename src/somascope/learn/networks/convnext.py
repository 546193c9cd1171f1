"""ConvNeXt (Liu et al., CVPR 2022) in 2-D and 3-D: convolutions, arranged as a transformer is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from somascope.learn.networks.blocks import everywhere


class Wide(nn.Module):
    """Each map looks around by itself with a large kernel; then every place thinks by itself.

    A depthwise convolution of ``size``, normalisation over channels, two 1 x 1 convolutions with a
    GELU between them, and a way around it all that starts as the identity nearly.
    """

    def __init__(self, width: int, *, dimensions: int, size: int) -> None:
        super().__init__()
        kind = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.around = kind(width, width, size, padding=size // 2, groups=width)
        self.norm = nn.GroupNorm(1, width)
        self.think = nn.Sequential(kind(width, 4 * width, 1), nn.GELU(), kind(4 * width, width, 1))
        self.scale = nn.Parameter(torch.full((1, width, *[1] * dimensions), 0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(n, c, ...)`` to the same shape."""
        return x + self.scale * self.think(self.norm(self.around(x)))


class ConvNeXt(nn.Module):
    """Patches, stages of `Wide` blocks with halving between them, the mean, one linear layer.

    ``stem`` is the edge of the patches; ``widths`` and ``blocks`` count for each stage.
    Normalisation is over channels and space (GroupNorm of one group), which is the same in 2-D and
    3-D and in ONNX; the paper's is over channels only.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        dimensions: int = 2,
        widths: Sequence[int] = (32, 64, 128),
        blocks: Sequence[int] = (2, 2, 4),
        stem: int = 2,
        size: int = 7,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        kind = nn.Conv2d if dimensions == 2 else nn.Conv3d
        stages: list[nn.Module] = []
        before = inputs
        for i, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            edge = 2 if i else stem
            if i:
                stages.append(nn.GroupNorm(1, before))
            stages.append(kind(before, width, edge, stride=edge))
            stages += [Wide(width, dimensions=dimensions, size=size) for _ in range(count)]
            before = width
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(before)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(before, outputs)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The last maps ``(n, widths[-1], ...)``."""
        return self.stages(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        return self.head(self.dropout(self.norm(everywhere(self.features(x)))))
