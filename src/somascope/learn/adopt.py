"""Weights from elsewhere, in the network they were trained in, become a graph.

Weights are plain numbers (safetensors). The network is built from a description, by a name on a
list and arguments that are numbers, words and lists; no code of the model's is run, no name of its
is imported, and no pickle is opened (not even with ``weights_only``, so that one rule holds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from somascope.core.errors import (
    CorruptFile,
    MissingExtra,
    ParameterError,
    Refused,
    SomascopeError,
)
from somascope.learn.bounded import bounded
from somascope.learn.export import graph_of
from somascope.learn.networks import KINDS, build
from somascope.models.foreign import Found

MONAI = (
    "AttentionUnet", "BasicUNet", "DenseNet121", "DenseNet169", "DenseNet201", "DynUNet",
    "EfficientNetBN", "SegResNet", "SwinUNETR", "UNETR", "UNet", "VNet", "ViT", "resnet10",
    "resnet18", "resnet34", "resnet50",
)  # fmt: skip
"""Networks of ``monai.networks.nets`` that are built by name."""
NNUNET = ("PlainConvUNet", "ResidualEncoderUNet")
"""Networks of ``dynamic_network_architectures`` that are built by name."""
_PARTS: dict[str, type[nn.Module]] = {
    f"torch.nn.{where}{kind.__name__}": kind
    for where, kinds in {
        "modules.conv.": (nn.Conv2d, nn.Conv3d),
        "modules.instancenorm.": (nn.InstanceNorm2d, nn.InstanceNorm3d),
        "modules.batchnorm.": (nn.BatchNorm2d, nn.BatchNorm3d),
        "modules.activation.": (nn.LeakyReLU, nn.ReLU),
        "": (nn.Conv2d, nn.Conv3d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.BatchNorm2d,
             nn.BatchNorm3d, nn.LeakyReLU, nn.ReLU),
    }.items() for kind in kinds
}  # fmt: skip
"""Layers that nnU-Net's plans may name."""
_AROUND = ("module.", "network.", "model.", "_orig_mod.", "net.")
_LARGEST = 1 << 16
"""The largest number among the arguments of a network."""
_SPARE = 1 << 27
"""Values that may be made besides the weights themselves while a network is built."""


def adopted(found: Found, *, seed: int = 0) -> Found:
    """``found`` with a graph made of its weights.

    Raises
    ------
    ParameterError
        Nothing says which network the weights belong to, or how large its input is.
    Refused
        A network that is not on the list, or weights that do not fit it.
    MissingExtra
        The package that has the network is not installed.
    """
    if not found.weights:
        return found
    told = found.told
    sizes = told.size if told.task == "classify" else told.patch
    if not sizes or not told.channels:
        raise ParameterError(
            "weights alone do not say how large the network's input is; give --patch (--size to "
            "classify) and --channels"
        )
    tensors = _tensors(found.weights, found.origin)
    # A description may say any width: what is built is as large as the weights that came with it.
    with bounded(2 * sum(t.numel() for t in tensors.values()) + _SPARE, what="the network"):
        network = built(found.network).eval()
    _fill(network, tensors, found.origin)
    shape = (1, told.channels, *sizes)
    generator = torch.Generator().manual_seed(seed)
    examples = [{"image": torch.randn(shape, generator=generator)} for _ in range(2)]
    graph = graph_of(_First(network), examples, output="logits")
    return replace(found, graph=graph, weights=b"")


def built(description: Mapping[str, Any]) -> nn.Module:
    """The network of a description: ours (``kind``), MONAI's (``_target_``) or nnU-Net's.

    Errors as of `adopted`.
    """
    if not description:
        raise ParameterError(
            'nothing says which network the weights belong to; give --network, e.g. {"_target_": '
            '"UNet", "spatial_dims": 3, ...} of MONAI or {"kind": "unet", ...} of Somascope'
        )
    _plain(description)
    if "kind" in description:
        return build(description)
    if "network_class_name" in description:
        return _nnunet(description)
    name = str(description.get("_target_", "")).rsplit(".", 1)[-1]
    if name not in MONAI:
        raise Refused(
            f"the network {name or 'without a name'!r} is not built here; there are "
            f"{', '.join(KINDS)} of Somascope, {', '.join(MONAI)} of MONAI and "
            f"{', '.join(NNUNET)} of nnU-Net. Export the model to ONNX instead"
        )
    if find_spec("monai") is None:
        raise MissingExtra(f"{name} is MONAI's: pip install monai, or export the model to ONNX")
    from monai.networks import nets  # pyright: ignore

    arguments = {k: v for k, v in description.items() if not k.startswith("_")}
    return _called(getattr(nets, name), arguments, name)


def _nnunet(description: Mapping[str, Any]) -> nn.Module:
    name = str(description["network_class_name"]).rsplit(".", 1)[-1]
    if name not in NNUNET:
        raise Refused(f"the network {name!r} is not built here; {', '.join(NNUNET)} are. Export "
                      "the model to ONNX instead")  # fmt: skip
    if find_spec("dynamic_network_architectures") is None:
        raise MissingExtra(f"{name} is nnU-Net's: pip install dynamic-network-architectures, or "
                           "export the model to ONNX")  # fmt: skip
    from dynamic_network_architectures.architectures import unet  # pyright: ignore

    arguments = dict(description.get("arch_kwargs") or {})
    for key in description.get("_kw_requires_import") or ():
        value = arguments.get(key)
        if value is not None and value not in _PARTS:
            raise Refused(f"the network's {key} is {value!r}, which is not built here")
        arguments[key] = _PARTS.get(str(value))
    arguments |= {"input_channels": description["channels"], "num_classes": description["classes"],
                  "deep_supervision": False}  # fmt: skip
    return _called(getattr(unet, name), arguments, name)


def _called(kind: Any, arguments: Mapping[str, Any], name: str) -> nn.Module:
    try:
        made: nn.Module = kind(**arguments)
    except SomascopeError:
        raise
    except Exception as error:  # whatever a network says to arguments it does not have
        raise Refused(f"the network {name} is not built from these arguments: {error}") from error
    return made


def _plain(value: Any, depth: int = 0) -> None:
    """Numbers, words, lists and objects of them; no expression, nothing without end."""
    if depth > 10:
        raise Refused("the network's description is nested too deeply")
    if isinstance(value, Mapping):
        for key, one in value.items():
            _plain(key, depth + 1)
            _plain(one, depth + 1)
    elif isinstance(value, str):
        if value.startswith(("$", "@", "%")):
            raise Refused(f"the network's description holds the expression {value[:60]!r}, which "
                          "is not evaluated; write its value")  # fmt: skip
    elif isinstance(value, Sequence):
        if len(value) > 1000:
            raise Refused(f"the network's description holds a list of {len(value)}")
        for one in value:
            _plain(one, depth + 1)
    elif isinstance(value, int | float):
        if not abs(value) <= _LARGEST:
            raise Refused(f"the network's description holds {value}, larger than any network's")
    elif value is not None:
        raise Refused(f"the network's description holds a {type(value).__name__}")


def _tensors(data: bytes, origin: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, ValueError) as error:
        raise CorruptFile(f"{origin}: the safetensors are damaged ({error})") from error


def _fill(network: nn.Module, tensors: dict[str, torch.Tensor], origin: str) -> None:
    wanted = network.state_dict()
    for around in _AROUND:
        if (
            tensors
            and all(n.startswith(around) for n in tensors)
            and not set(tensors) & set(wanted)
        ):
            tensors = {n.removeprefix(around): t for n, t in tensors.items()}
    missing = sorted(set(wanted) - set(tensors))
    strange = sorted(set(tensors) - set(wanted))
    if missing or strange:
        raise Refused(
            f"{origin}: the weights are of another network: {len(missing)} are missing "
            f"({', '.join(missing[:3])}), {len(strange)} are strange ({', '.join(strange[:3])})"
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise Refused(f"{origin}: {name} has shape {tuple(tensor.shape)} and the network's has "
                          f"{tuple(wanted[name].shape)}")  # fmt: skip
    network.load_state_dict({n: t.to(wanted[n].dtype) for n, t in tensors.items()})


class _First(nn.Module):
    """A network's answer, the first where it gives several."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Of one image."""
        said = self.inner(image)
        return said[0] if isinstance(said, (tuple, list)) else said
