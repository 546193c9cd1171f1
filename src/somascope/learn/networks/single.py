"""A network that classifies one object of an image by its look, its surroundings and its place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from somascope.learn.networks.blocks import Norm
from somascope.learn.networks.resnet import ResNet


class SingleNet(nn.Module):
    """Two residual networks and six numbers (four in 2-D), then two fully connected layers.

    One network sees the crop around the object, a narrower one the whole image with the object
    marked in it; centre and size of the mark say where in the image it lies. As
    `somascope.models.single` stacks them: input ``(n, 2 inputs + 1, ...)``, output ``(n,
    outputs)`` logits.

    Parameters
    ----------
    inputs
        Channels of the image.
    widths, blocks, stem
        Of the network that sees the crop, see `ResNet`; the other one is half as wide.
    hidden
        Numbers between the two fully connected layers.
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
        hidden: int = 64,
        dropout: float = 0.2,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.inputs, self.dimensions = inputs, dimensions
        narrow = [max(w // 2, 4) for w in widths]

        def trunk(channels: int, widths: Sequence[int], blocks: int) -> ResNet:
            made = ResNet(
                inputs=channels, outputs=1, dimensions=dimensions, widths=widths, blocks=blocks,
                stem=stem, dropout=0.0, norm=norm,
            )  # fmt: skip
            made.head = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
            return made

        self.near = trunk(inputs, widths, blocks)
        self.around = trunk(inputs + 1, narrow, 1)
        self.mix = nn.Sequential(
            nn.Linear(widths[-1] + narrow[-1] + 2 * dimensions, hidden), nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )  # fmt: skip
        self.head = nn.Linear(hidden, outputs)

    @property
    def stages(self) -> nn.Module:
        """The stages that see the crop: what class activation maps weigh."""
        return self.near.stages

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The last maps of the crop ``(n, widths[-1], ...)``."""
        return self.near.features(x[:, : self.inputs])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        c = self.inputs
        parts = [self.near(x[:, :c]), self.around(x[:, c:]), place(x[:, 2 * c])]
        return self.head(self.mix(torch.cat(parts, dim=1)))


def place(mark: torch.Tensor) -> torch.Tensor:
    """Where ``mark`` ``(n, ...)`` lies, -1 to 1 along each axis, and the logarithms of its sides:
    ``(n, 2 d)``.
    """
    d = mark.ndim - 1
    mark = mark.clamp(0, 1)
    total = mark.flatten(1).sum(dim=1).clamp_min(1e-6)
    found: list[torch.Tensor] = []
    sizes: list[torch.Tensor] = []
    for axis in range(d):
        others = [1 + a for a in range(d) if a != axis]
        line = mark.sum(dim=others)
        at = torch.linspace(-1.0, 1.0, line.shape[1], device=mark.device, dtype=mark.dtype)
        centre = (line * at).sum(dim=1) / total
        # Of a box the variance is a twelfth of the square of its side; of all there is, 1/3.
        spread = (line * (at - centre[:, None]).square()).sum(dim=1) / total
        found.append(centre)
        sizes.append((3 * spread.clamp_min(0) + 1e-4).log() / 4 + 1)
    return torch.stack([*found, *sizes], dim=1)
