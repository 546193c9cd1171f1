"""Registration by one pass (Balakrishnan et al., VoxelMorph, IEEE TMI 38, 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from somascope.learn.networks.unet import UNet


class VoxelMorph(nn.Module):
    """A U-Net on both images says, voxel by voxel, how far to go.

    Inputs ``fixed`` and ``moving`` ``(n, 1, z, y, x)``; output ``(n, 3, z, y, x)`` in voxels, order
    z, y, x: the voxel of ``moving`` that belongs to ``i`` of ``fixed`` is ``i + output(i)``.
    """

    def __init__(self, *, dimensions: int = 3, widths: Sequence[int] = (16, 32, 32, 32),
                 stem: int = 1) -> None:  # fmt: skip
        super().__init__()
        self.net = UNet(
            inputs=2, outputs=dimensions, dimensions=dimensions, widths=widths, stem=stem
        )
        # It starts where it should: with the identity.
        nn.init.normal_(self.net.head.weight, std=1e-4)  # pyright: ignore
        nn.init.zeros_(self.net.head.bias)  # pyright: ignore

    def forward(self, fixed: torch.Tensor, moving: torch.Tensor) -> torch.Tensor:
        """The displacement in voxels."""
        return self.net(torch.cat([fixed, moving], dim=1))


def warped(image: torch.Tensor, flow: torch.Tensor, *, mode: str = "bilinear") -> torch.Tensor:
    """``image`` ``(n, c, ...)`` at ``i + flow(i)``; beyond the edge its border."""
    shape = image.shape[2:]
    lines = [torch.arange(n, dtype=flow.dtype, device=flow.device) for n in shape]
    index = torch.stack(torch.meshgrid(*lines, indexing="ij"))[None] + flow
    scaled = [2 * index[:, a] / max(n - 1, 1) - 1 for a, n in enumerate(shape)]
    grid = torch.stack(scaled[::-1], dim=-1)
    return functional.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=True)
