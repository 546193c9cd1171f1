"""Networks, composed from convolution, ReLU, pooling and fully connected layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from somascope.core.errors import ParameterError
from somascope.learn.networks.committee import Committee
from somascope.learn.networks.convnext import ConvNeXt
from somascope.learn.networks.densenet import DenseNet
from somascope.learn.networks.detector import Detector
from somascope.learn.networks.lenet import LeNet
from somascope.learn.networks.plain import VGG
from somascope.learn.networks.resnet import ResNet
from somascope.learn.networks.sequence import Reader
from somascope.learn.networks.single import SingleNet
from somascope.learn.networks.transformer import ViT
from somascope.learn.networks.unet import UNet
from somascope.learn.networks.voxelmorph import VoxelMorph

__all__ = [
    "KINDS", "VGG", "Committee", "ConvNeXt", "DenseNet", "Detector", "LeNet", "Reader", "ResNet",
    "SingleNet", "UNet", "ViT", "VoxelMorph", "build",
]  # fmt: skip

KINDS: dict[str, type[nn.Module]] = {
    "committee": Committee,
    "convnext": ConvNeXt,
    "densenet": DenseNet,
    "detector": Detector,
    "lenet": LeNet,
    "reader": Reader,
    "resnet": ResNet,
    "single": SingleNet,
    "unet": UNet,
    "vgg": VGG,
    "vit": ViT,
    "voxelmorph": VoxelMorph,
}

LARGEST, LONGEST, DEEPEST = 1 << 16, 1 << 12, 128
"""The largest number, the longest list, and the most stages or blocks of one in a description."""


def build(description: Mapping[str, Any]) -> nn.Module:
    """The network a plan describes: ``{"kind": "resnet", "inputs": 1, ...}``.

    Raises
    ------
    ParameterError
        An unknown kind, settings it does not have, or beyond any network's.
    """
    _bounded(description)
    settings = dict(description)
    kind = settings.pop("kind", "")
    if kind not in KINDS:
        raise ParameterError(f"network kind {kind!r}; choose one of {', '.join(KINDS)}")
    try:
        return KINDS[kind](**settings)
    except TypeError as error:
        raise ParameterError(f"network {kind}: {error}") from error


def _bounded(value: Any) -> None:
    """Refuse what no network is like: a description may come with a file from anywhere."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            _bounded(one)
            counts = [len(one)] if key == "widths" and isinstance(one, Sequence) else []
            if key in ("blocks", "depth"):
                counts = [*one] if isinstance(one, Sequence) else [one]
            if any(isinstance(n, int) and n > DEEPEST for n in counts):
                raise ParameterError(f"a network so deep is not built: {key} up to {DEEPEST}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) > LONGEST:
            raise ParameterError(f"a network's list of {len(value)} is not built; up to {LONGEST}")
        for one in value:
            _bounded(one)
    elif isinstance(value, int | float) and not abs(value) <= LARGEST:
        raise ParameterError(f"a network with a setting of {value} is not built; up to {LARGEST}")
