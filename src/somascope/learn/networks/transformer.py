"""A vision transformer (Dosovitskiy et al., ICLR 2021) in 2-D and 3-D: patches that look around."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Attention(nn.Module):
    """Every token asks every other, in several heads (Vaswani et al., NeurIPS 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.asked = nn.Linear(width, 3 * width)
        self.said = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens ``(n, t, width)`` to the same shape."""
        n, t, width = x.shape
        parts = self.asked(x).reshape(n, t, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        weight = query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5
        found = weight.softmax(dim=-1) @ value
        return self.said(found.transpose(1, 2).reshape(n, t, width))


class Layer(nn.Module):
    """Look around, then think: each normalised before and with a way around it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.between = nn.LayerNorm(width)
        self.think = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(4 * width, width),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens ``(n, t, width)`` to the same shape."""
        x = x + self.attention(self.before(x))
        return x + self.think(self.between(x))


class ViT(nn.Module):
    """The image as patches, a learned place for each, layers of attention, the mean, one linear.

    Parameters
    ----------
    size
        Of the image, ``(y, x)`` or ``(z, y, x)``: places are learned for it.
    patch
        Edge of a patch; divides every edge.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        size: Sequence[int],
        patch: int = 4,
        width: int = 96,
        depth: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        kind = nn.Conv2d if len(size) == 2 else nn.Conv3d
        if any(n % patch for n in size) or width % heads:
            raise TypeError(f"size {tuple(size)} is no multiple of the patch {patch}, or width "
                            f"{width} none of {heads} heads")  # fmt: skip
        tokens = 1
        for n in size:
            tokens *= n // patch
        self.stages = kind(inputs, width, patch, stride=patch)
        self.place = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.layers = nn.Sequential(*(Layer(width, heads, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens laid out as maps again: ``(n, width, ...)``."""
        maps = self.stages(x)
        tokens = self.norm(self.layers(maps.flatten(2).transpose(1, 2) + self.place))
        return tokens.transpose(1, 2).reshape(maps.shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each class."""
        return self.head(self.features(x).flatten(2).mean(dim=2))
