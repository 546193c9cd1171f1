"""Networks, composed from convolution, ReLU, pooling and fully connected layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from somascope.core.errors import ParameterError
from somascope.learn.networks.convnext import ConvNeXt
from somascope.learn.networks.densenet import DenseNet
from somascope.learn.networks.lenet import LeNet
from somascope.learn.networks.plain import VGG
from somascope.learn.networks.resnet import ResNet
from somascope.learn.networks.sequence import Reader
from somascope.learn.networks.transformer import ViT
from somascope.learn.networks.unet import UNet
from somascope.learn.networks.voxelmorph import VoxelMorph

__all__ = [
    "KINDS", "VGG", "ConvNeXt", "DenseNet", "LeNet", "Reader", "ResNet", "UNet", "ViT",
    "VoxelMorph", "build",
]  # fmt: skip

KINDS: dict[str, type[nn.Module]] = {
    "convnext": ConvNeXt,
    "densenet": DenseNet,
    "lenet": LeNet,
    "reader": Reader,
    "resnet": ResNet,
    "unet": UNet,
    "vgg": VGG,
    "vit": ViT,
    "voxelmorph": VoxelMorph,
}


def build(description: Mapping[str, Any]) -> nn.Module:
    """The network a plan describes: ``{"kind": "resnet", "inputs": 1, ...}``.

    Raises
    ------
    ParameterError
        An unknown kind, or settings it does not have.
    """
    settings = dict(description)
    kind = settings.pop("kind", "")
    if kind not in KINDS:
        raise ParameterError(f"network kind {kind!r}; choose one of {', '.join(KINDS)}")
    try:
        return KINDS[kind](**settings)
    except TypeError as error:
        raise ParameterError(f"network {kind}: {error}") from error
