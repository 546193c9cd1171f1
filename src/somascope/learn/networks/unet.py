"""U-Net (Ronneberger et al., MICCAI 2015; Cicek et al., 2016), plain or residual, 2-D or 3-D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from somascope.learn.networks.blocks import (
    Block,
    Norm,
    Residual,
    block_of,
    convolution,
    pooling,
    upwards,
)

SURE = 8.0
"""Logit of the background where nothing is looked at."""


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
    stem
        Edge of the block of voxels that is one cell of the finest level: 2 is an eighth of the work
        in 3-D. The head says every voxel of a cell (where ``finest`` is 0), so that the output is
        as fine as the input.
    middle
        Edge of the part in the middle of the input that is looked at, where nothing of interest
        lies further out: what lies there is background, and costs nothing. 0: all of it.
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
        stem: int = 1,
        middle: int = 0,
    ) -> None:
        super().__init__()
        self.middle = middle

        def block(before: int, after: int) -> nn.Module:
            if residual:
                return Residual(before, after, dimensions=dimensions, norm=norm)
            return nn.Sequential(
                Block(before, after, dimensions=dimensions, norm=norm),
                Block(after, after, dimensions=dimensions, norm=norm),
            )

        self.stem = (
            block_of(inputs, widths[0], dimensions=dimensions, edge=stem)
            if stem > 1
            else nn.Identity()
        )
        befores = [inputs if stem == 1 else widths[0], *widths[:-1]]
        self.down = nn.ModuleList(block(b, w) for b, w in zip(befores, widths, strict=True))
        self.pool = pooling(dimensions)
        levels = range(len(widths) - 2, finest - 1, -1)
        self.levels = tuple(levels)
        self.up = nn.ModuleList(
            upwards(widths[i + 1], widths[i], dimensions=dimensions) for i in levels
        )
        self.join = nn.ModuleList(block(2 * widths[i], widths[i]) for i in levels)
        self.head = (
            upwards(widths[0], outputs, dimensions=dimensions, edge=stem)
            if stem > 1 and not finest
            else convolution(widths[finest], outputs, dimensions=dimensions, size=1)
        )
        if biases:
            with torch.no_grad():
                self.head.bias.copy_(torch.tensor(biases))  # pyright: ignore

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The last maps, ``(n, widths[finest], ...)``."""
        x = self.stem(x)
        across: list[torch.Tensor] = []
        for i, level in enumerate(self.down):
            x = level(x if i == 0 else self.pool(x))
            across.append(x)
        for i, up, join in zip(self.levels, self.up, self.join, strict=True):
            x = join(torch.cat([up(x), across[i]], dim=1))
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(n, outputs, ...)``; edges are multiples of ``stem * 2 ** (levels - 1)``."""
        if not self.middle:
            return self.head(self.features(x))
        around: list[int] = []  # of the last axis first, before and after
        for n in reversed(x.shape[2:]):
            before = max(n - self.middle, 0) // 2
            around += [before, max(n - self.middle, 0) - before]
        found = self.head(self.features(functional.pad(x, [-n for n in around])))
        outside = [functional.pad(found[:, :1], around, value=SURE)]
        outside.append(functional.pad(found[:, 1:], around, value=-SURE))
        return torch.cat(outside, dim=1)
