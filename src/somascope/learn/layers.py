"""Look inside a network: what every layer makes of one image, as a page to walk through."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from somascope.core.grid import Array
from somascope.learn import pictures

KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "convolution", nn.Conv3d: "convolution", nn.ReLU: "ReLU", nn.MaxPool2d: "pooling",
    nn.MaxPool3d: "pooling", nn.Linear: "fully connected", nn.ConvTranspose2d: "upwards",
    nn.ConvTranspose3d: "upwards", nn.BatchNorm2d: "normalisation", nn.BatchNorm3d: "normalisation",
    nn.InstanceNorm2d: "normalisation", nn.InstanceNorm3d: "normalisation",
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A layer's name, what it is, and its answer: maps ``(c, y, x)`` or numbers ``(n,)``.

    ``kernels`` are the weights of a 2-D convolution ``(outputs, inputs, y, x)``, else empty.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    values: Array
    kernels: Array


def layers(network: nn.Module, *inputs: torch.Tensor) -> list[Layer]:
    """What each layer says to one input ``(1, c, ...)``, in the order of the calculation.

    Of a volume the middle slice is kept.
    """
    found: list[Layer] = []

    def keep(name: str, kind: str, module: nn.Module, out: torch.Tensor) -> None:
        values = out[0].detach().float().numpy()
        shape = tuple(values.shape)
        if values.ndim == 4:
            values = values[:, values.shape[1] // 2]
        weight = module.weight.detach().numpy() if isinstance(module, nn.Conv2d) else np.zeros(0)
        found.append(Layer(name, kind, shape, np.array(values), np.array(weight)))

    hooks = [
        module.register_forward_hook(lambda m, _i, out, n=name: keep(n, KINDS[type(m)], m, out))
        for name, module in network.named_modules()
        if type(module) in KINDS
    ]
    try:
        with torch.inference_mode():
            network.eval()(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def mosaic(maps: Array, *, most: int = 16, edge: int = 96) -> Array:
    """Maps ``(n, y, x)`` side by side, each in its own gray scale, ``(rows, columns)`` uint8."""
    some = maps[:most]
    factor = max(edge // max(some.shape[1:]), 1)
    tiles: list[Array] = []
    for one in some:
        low, high = float(one.min()), float(one.max())
        gray = ((one - low) / max(high - low, 1e-9) * 255).astype(np.uint8)
        gray = gray.repeat(factor, axis=0).repeat(factor, axis=1)
        tiles.append(np.pad(gray, 2, constant_values=255))
    across = min(len(tiles), 8)
    while len(tiles) % across:
        tiles.append(np.full_like(tiles[0], 255))
    rows = [np.concatenate(tiles[i : i + across], axis=1) for i in range(0, len(tiles), across)]
    return np.concatenate(rows)


def bars(values: Array, *, height: int = 64) -> Array:
    """Numbers ``(n,)`` as bars, positive ones dark, negative ones light, ``(y, x)`` uint8."""
    some = values[:256]
    wide = max(512 // len(some), 2)
    most = max(float(np.abs(some).max()), 1e-9)
    result = np.full((height, wide * len(some)), 255, np.uint8)
    for i, v in enumerate(some):
        n = max(round(abs(float(v)) / most * (height - 1)), 1)
        result[height - n :, i * wide : (i + 1) * wide - 1] = 40 if v >= 0 else 170
    return result


def picture(layer: Layer) -> bytes:
    """The layer's answer as a PNG: maps side by side, or bars."""
    return pictures.png(
        mosaic(layer.values) if layer.values.ndim == 3 else bars(layer.values.reshape(-1))
    )


def page(found: list[Layer], *, title: str) -> str:
    """One HTML page: every layer with its size, its first kernels, and its answer."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for i, layer in enumerate(found):
        size = " x ".join(map(str, layer.shape))
        shown = [picture(layer)]
        if layer.kernels.size and layer.kernels.shape[1] <= 3 and layer.kernels.shape[2] > 1:
            shown.insert(0, pictures.png(mosaic(layer.kernels.mean(axis=1), edge=40)))
        images = "".join(
            f"<p><img alt='{html.escape(layer.name)}' "
            f"src='data:image/png;base64,{base64.b64encode(p).decode()}'></p>"
            for p in shown
        )
        parts.append(
            f"<details {'open' if i < 4 else ''}><summary>{i + 1}. <b>{html.escape(layer.name)}</b>"
            f" {layer.kind}: {size}</summary>{images}</details>"
        )
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
        "img{image-rendering:pixelated;max-width:100%}summary{cursor:pointer;margin:.4em 0}"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{style}</style>{''.join(parts)}</html>\n"
    )
