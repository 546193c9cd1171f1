"""The four bricks of every network here: convolution, ReLU, pooling, fully connected."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from somascope.learn.networks.gradient import Convolution3d
from somascope.learn.networks.normalised import lean, normalised

Norm: TypeAlias = Literal["batch", "instance", "none"]


def convolution(inputs: int, outputs: int, *, dimensions: int, size: int = 3, stride: int = 1,
                bias: bool = True) -> nn.Module:  # fmt: skip
    """A convolution in 2-D or 3-D that keeps the size (over ``stride``)."""
    kind = nn.Conv2d if dimensions == 2 else nn.Conv3d
    if dimensions == 3 and size in (1, 3) and stride == 1:
        kind = Convolution3d
    return kind(inputs, outputs, size, stride=stride, padding=size // 2, bias=bias)


def pooling(dimensions: int) -> nn.Module:
    """The largest of two neighbours along every axis."""
    return nn.MaxPool2d(2) if dimensions == 2 else nn.MaxPool3d(2)


def upwards(inputs: int, outputs: int, *, dimensions: int, edge: int = 2) -> nn.Module:
    """``edge`` times the size by a learned kernel of that edge."""
    kind = nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d
    return kind(inputs, outputs, edge, stride=edge)


def block_of(inputs: int, outputs: int, *, dimensions: int, edge: int) -> nn.Module:
    """Every block of ``edge`` voxels a side becomes one cell: none is seen twice, none is lost."""
    kind = nn.Conv2d if dimensions == 2 else nn.Conv3d
    return kind(inputs, outputs, edge, stride=edge)


def normalisation(channels: int, *, dimensions: int, norm: Norm) -> nn.Module:
    """Batch (classification), instance (segmentation: batches are small), or none."""
    if norm == "none":
        return nn.Identity()
    if norm == "batch":
        return nn.BatchNorm2d(channels) if dimensions == 2 else nn.BatchNorm3d(channels)
    kind = nn.InstanceNorm2d if dimensions == 2 else nn.InstanceNorm3d
    return kind(channels, affine=True)


class Block(nn.Sequential):
    """Convolution, normalisation, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, *, dimensions: int, norm: Norm, stride: int = 1
    ) -> None:
        super().__init__(
            convolution(inputs, outputs, dimensions=dimensions, stride=stride, bias=norm == "none"),
            normalisation(outputs, dimensions=dimensions, norm=norm),
            nn.ReLU(inplace=True),
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """``(n, c, ...)`` to ``(n, outputs, ...)``."""
        if self.training:
            x, norm = self[0](input), self[1]
            return normalised(x, norm) if lean(x, norm) else self[2](norm(x))
        return super().forward(input)


class Residual(nn.Module):
    """Two convolutions and a way around them (He et al., CVPR 2016)."""

    def __init__(
        self, inputs: int, outputs: int, *, dimensions: int, norm: Norm, stride: int = 1
    ) -> None:
        super().__init__()
        plain = stride == 1 and inputs == outputs
        self.first = Block(inputs, outputs, dimensions=dimensions, norm=norm, stride=stride)
        self.second = nn.Sequential(
            convolution(outputs, outputs, dimensions=dimensions, bias=norm == "none"),
            normalisation(outputs, dimensions=dimensions, norm=norm),
        )
        self.around = (
            nn.Identity()
            if plain
            else nn.Sequential(
                convolution(inputs, outputs, dimensions=dimensions, size=1, stride=stride),
                normalisation(outputs, dimensions=dimensions, norm=norm),
            )
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(n, c, ...)`` to ``(n, outputs, ...)``."""
        return self.relu(self.second(self.first(x)) + self.around(x))


def everywhere(x: torch.Tensor) -> torch.Tensor:
    """The mean over space: ``(n, c, ...)`` to ``(n, c)``."""
    return x.flatten(2).mean(dim=2)


def parameters(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in network.parameters())


def multiplications(network: nn.Module, *inputs: tuple[int, ...]) -> int:
    """Multiply-adds of one pass over inputs of these shapes; nothing is computed."""
    total = 0

    def count(module: Any, _: Any, out: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        if isinstance(module, nn.Linear):
            total += weight.numel() * out.shape[0]
        elif isinstance(module, (nn.ConvTranspose2d, nn.ConvTranspose3d)):
            strides = math.prod(module.stride)
            total += weight.numel() * out[:, :1].numel() // strides
        else:
            total += weight.numel() // module.groups * out[:, :1].numel()

    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, kinds)]
    places = [p.device for p in network.parameters()][:1]
    try:
        network.to("meta")(*(torch.empty(s, device="meta") for s in inputs))
    finally:
        for hook in hooks:
            hook.remove()
    assert places
    return total
