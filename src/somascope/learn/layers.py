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
from somascope.learn.networks.gradient import Convolution3d

KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "convolution", nn.Conv3d: "convolution", Convolution3d: "convolution",
    nn.ReLU: "ReLU", nn.MaxPool2d: "pooling",
    nn.MaxPool3d: "pooling", nn.Linear: "fully connected", nn.ConvTranspose2d: "upwards",
    nn.ConvTranspose3d: "upwards", nn.BatchNorm2d: "normalisation", nn.BatchNorm3d: "normalisation",
    nn.InstanceNorm2d: "normalisation", nn.InstanceNorm3d: "normalisation",
}  # fmt: skip


MAPS = 16
"""Maps of a layer on the page."""
PLANES = 5
"""Slices of a volume that are kept."""


@dataclass(frozen=True)
class Layer:
    """A layer's name, what it is, and its answer: maps ``(c, y, x)`` or numbers ``(n,)``.

    ``kernels`` are the weights of a 2-D convolution ``(outputs, inputs, y, x)``, else empty;
    ``planes`` the first `MAPS` maps at up to `PLANES` slices ``(slices, c, y, x)``, empty for
    numbers.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    values: Array
    kernels: Array
    planes: Array


def layers(network: nn.Module, *inputs: torch.Tensor) -> list[Layer]:
    """What each layer says to one input ``(1, c, ...)``, in the order of the calculation.

    Of a volume the middle slice is ``values``. A network that reads slices has a batch of them.
    """
    found: list[Layer] = []

    def keep(name: str, kind: str, module: nn.Module, out: torch.Tensor) -> None:
        values = out.detach().float().numpy()
        several = len(values) > 1 and values.ndim == 4  # slices, each an image of its own
        values = np.moveaxis(values, 0, 1) if several else values[0]
        shape = tuple(values.shape)
        planes = np.zeros((0, 0, 0, 0), np.float32)
        if values.ndim == 4:
            planes = values[:MAPS, spread(values.shape[1])].swapaxes(0, 1)
            values = values[:, values.shape[1] // 2]
        elif values.ndim == 3:
            planes = values[None, :MAPS]
        weight = module.weight.detach().numpy() if isinstance(module, nn.Conv2d) else np.zeros(0)
        found.append(Layer(name, kind, shape, np.array(values), np.array(weight), np.array(planes)))

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


def spread(count: int) -> list[int]:
    """Up to `PLANES` slices of ``count``, evenly, the middle one in the middle."""
    most = min(count, PLANES)
    return [int((i + 0.5) * count / most) for i in range(most)]


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


def page(found: list[Layer], *, title: str, image: Array | None = None) -> str:
    """One HTML page to walk through: every layer with its size, its first kernels, its answer.

    ``image`` is the network's input ``(c, y, x)`` or ``(c, z, y, x)``. A click on a map lays it
    over the image, large; of a volume a slider chooses the slice, in all layers at once.
    """
    parts = [f"<h1>{html.escape(title)}</h1>{_viewer(image)}"]
    for i, layer in enumerate(found):
        size = " x ".join(map(str, layer.shape))
        shown = ""
        if layer.kernels.size and layer.kernels.shape[1] <= 3 and layer.kernels.shape[2] > 1:
            kernels = pictures.png(mosaic(layer.kernels.mean(axis=1), edge=40))
            shown = f"<p>its kernels<br><img alt='kernels' src='{_data(kernels)}'></p>"
        shown += _maps(layer) if layer.planes.size else (
            f"<p><img alt='{html.escape(layer.name)}' src='{_data(picture(layer))}'></p>"
        )  # fmt: skip
        parts.append(
            f"<details {'open' if i < 4 else ''}><summary>{i + 1}. <b>{html.escape(layer.name)}</b>"
            f" {layer.kind}: {size}</summary>{shown}</details>"
        )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style>{''.join(parts)}<script>{_SCRIPT}</script></html>\n"
    )


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _gray(values: Array) -> str:
    low, high = float(values.min()), float(values.max())
    gray = (values - low) / max(high - low, 1e-9) * 255
    return _data(pictures.png(gray.astype(np.uint8)))


def _maps(layer: Layer) -> str:
    """Every map as a picture that knows its other slices."""
    cells: list[str] = []
    for c in range(layer.planes.shape[1]):
        planes = [_gray(plane[c]) for plane in layer.planes]
        middle = planes[len(planes) // 2]
        others = f" data-planes='{' '.join(planes)}'" if len(planes) > 1 else ""
        said = f"{html.escape(layer.name)} {c}"
        cells.append(f"<img class=map alt='{said}' title='{said}' src='{middle}'{others}>")
    return f"<p>{''.join(cells)}</p>"


def _viewer(image: Array | None) -> str:
    """The image with a place for a map over it, and the sliders."""
    if image is None:
        return ""
    mean = image.mean(axis=0)
    planes = [_gray(mean)] if mean.ndim == 2 else [_gray(mean[z]) for z in spread(len(mean))]
    slices = (
        f"<label>slice <input id=z type=range min=0 max={len(planes) - 1} "
        f"value={len(planes) // 2}></label>"
        if len(planes) > 1
        else ""
    )
    return (
        f"<aside><div class=stack><img id=image alt='the image' src='{planes[len(planes) // 2]}' "
        f"data-planes='{' '.join(planes)}'><img id=over alt='the chosen map' hidden></div>"
        f"<p id=said>Click on a map to lay it over the image.</p>{slices}"
        "<label>map <input id=mix type=range min=0 max=100 value=60></label></aside>"
    )


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "img{image-rendering:pixelated;max-width:100%}summary{cursor:pointer;margin:.4em 0}"
    ".map{width:84px;margin:2px;cursor:pointer;border:2px solid transparent}"
    ".map.on{border-color:#d60}aside{float:right;position:sticky;top:1em;width:300px;"
    "background:#fff;padding:0 0 1em 1em}.stack{position:relative}.stack img{width:300px;"
    "display:block}#over{position:absolute;inset:0;height:100%;mix-blend-mode:normal}"
    "#over[hidden]{display:none}label{display:block}"
)
_SCRIPT = """
const by = (id) => document.getElementById(id), over = by('over');
const plane = (img) => {
  const all = img.dataset.planes ? img.dataset.planes.split(' ').filter((t) => t) : [img.src];
  const z = by('z') ? +by('z').value / +by('z').max : 0.5;
  return all[Math.round(z * (all.length - 1))];
};
let on = null;
const show = () => {
  document.querySelectorAll('img[data-planes]').forEach((i) => { i.src = plane(i); });
  if (!on || !over) return;
  over.src = plane(on); over.hidden = false; over.style.opacity = +by('mix').value / 100;
  by('said').textContent = on.alt;
};
document.querySelectorAll('.map').forEach((m) => m.addEventListener('click', () => {
  if (on) on.classList.remove('on');
  on = m; m.classList.add('on'); show();
}));
['z', 'mix'].forEach((id) => by(id) && by(id).addEventListener('input', show));
"""
