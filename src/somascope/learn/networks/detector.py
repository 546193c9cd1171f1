"""A detector of objects in volumes (or pictures): where centres are, how large, and how far off."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from somascope.learn.networks.blocks import Block, Norm, convolution
from somascope.learn.networks.unet import UNet


class Detector(UNet):
    """A U-Net on cells of voxels, and two heads (Zhou et al., Objects as Points, 2019).

    One head says for every cell and class how likely a centre is in it, the other the logarithms
    of the sides and the centre's offset. They share the U-Net and nothing after it: what makes a
    centre likely says little of how large the object is.

    Parameters
    ----------
    inputs, classes
        Channels in, and kinds of objects.
    widths
        Channels of each level of the U-Net, the finest first.
    stem
        Edge of the block of voxels that is one cell: the stride of the maps.
    biases
        What each output says before anything is learned.
    """

    def __init__(
        self,
        *,
        inputs: int,
        classes: int,
        dimensions: int = 3,
        widths: Sequence[int] = (16, 32, 64),
        norm: Norm = "batch",
        stem: int = 2,
        biases: Sequence[float] = (),
    ) -> None:
        super().__init__(
            inputs=inputs, outputs=1, dimensions=dimensions, widths=widths, norm=norm, stem=stem
        )
        self.head = Heads(widths[0], classes, dimensions=dimensions, norm=norm, biases=biases)


class Heads(nn.Module):
    """``(n, width, ...)`` to ``(n, classes + 2 d, ...)``: centres, log2 sides, offsets."""

    def __init__(
        self, width: int, classes: int, *, dimensions: int, norm: Norm, biases: Sequence[float]
    ) -> None:
        super().__init__()

        def head(outputs: int) -> nn.Sequential:
            return nn.Sequential(
                Block(width, width, dimensions=dimensions, norm=norm),
                convolution(width, outputs, dimensions=dimensions, size=1),
            )

        self.centres, self.sides = head(classes), head(2 * dimensions)
        if biases:
            with torch.no_grad():
                for part, values in (
                    (self.centres, biases[:classes]), (self.sides, biases[classes:]),
                ):  # fmt: skip
                    part[1].bias.copy_(torch.tensor(values))  # pyright: ignore

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Both answers as one map."""
        return torch.cat([self.centres(x), self.sides(x)], dim=1)
