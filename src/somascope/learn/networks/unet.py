"""U-Net (Ronneberger et al., MICCAI 2015; Cicek et al., 2016), plain or residual, 2-D or 3-D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from somascope.learn.networks.blocks import (
    Block,
    Norm,
    Residual,
    convolution,
    pooling,
    upwards,
)


class UNet(nn.Module):
    """Down by pooling, up by learned kernels, and across at every level.

    Parameters
    ----------
    inputs, outputs
        Channels in and out.
    widths
        Channels of each level, the finest first.
    residual
        Residual blocks instead of two plain ones.
    finest
        The level at which it stops coming up: 0 gives an output as large as the input, 2 one of a
        quarter of the edge (a detector's map).
    biases
        What each output says before anything is learned.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        dimensions: int = 3,
        widths: Sequence[int] = (16, 32, 64, 128),
        residual: bool = False,
        norm: Norm = "instance",
        finest: int = 0,
        biases: Sequence[float] = (),
    ) -> None:
        super().__init__()

        def block(before: int, after: int) -> nn.Module:
            if residual:
                return Residual(before, after, dimensions=dimensions, norm=norm)
            return nn.Sequential(
                Block(before, after, dimensions=dimensions, norm=norm),
                Block(after, after, dimensions=dimensions, norm=norm),
            )

        befores = [inputs, *widths[:-1]]
        self.down = nn.ModuleList(block(b, w) for b, w in zip(befores, widths, strict=True))
        self.pool = pooling(dimensions)
        levels = range(len(widths) - 2, finest - 1, -1)
        self.levels = tuple(levels)
        self.up = nn.ModuleList(
            upwards(widths[i + 1], widths[i], dimensions=dimensions) for i in levels
        )
        self.join = nn.ModuleList(block(2 * widths[i], widths[i]) for i in levels)
        self.head = convolution(widths[finest], outputs, dimensions=dimensions, size=1)
        if biases:
            with torch.no_grad():
                self.head.bias.copy_(torch.tensor(biases))  # pyright: ignore

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The last maps, ``(n, widths[finest], ...)``."""
        across: list[torch.Tensor] = []
        for i, level in enumerate(self.down):
            x = level(x if i == 0 else self.pool(x))
            across.append(x)
        for i, up, join in zip(self.levels, self.up, self.join, strict=True):
            x = join(torch.cat([up(x), across[i]], dim=1))
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(n, outputs, ...)``; every edge must be a multiple of ``2 ** (levels - 1)``."""
        return self.head(self.features(x))
