"""How palettes and colour images look: in grey print, and to the colour blind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal, TypeAlias, get_args

import numpy as np

from somascope.core import Image, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.process.oklab import to_oklab
from somascope.process.palettes import palette

# Machado, Oliveira, Fernandes, IEEE TVCG 15 (2009), full severity, in linear sRGB.
_BLIND = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
               (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
               (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602),
               (0.004733, 0.691367, 0.303900)),
}  # fmt: skip

Deficiency: TypeAlias = Literal["protan", "deutan", "tritan"]


def as_seen(rgb: Array, deficiency: Deficiency) -> Array:
    """Bytes of sRGB as somebody without one kind of cones sees them."""
    s = np.asarray(rgb, np.float64) / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(_BLIND[deficiency]).T, 0, 1)
    s = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * s).astype(np.uint8)


@dataclass(frozen=True)
class Look:
    """How faithfully a palette shows values.

    ``monotone``: lightness only rises (or only falls). ``evenness``: the smallest step of
    perceived difference as a share of the mean one; near 0, a range of values looks alike.
    ``told_apart``: per deficiency, the smallest distance of colours a quarter of the palette
    apart, in units where black and white are 1 apart.
    ``in_order``: per deficiency, whether lightness still rises (or falls) throughout: somebody who
    sees so can still tell higher from lower.
    """

    monotone: bool
    evenness: float
    told_apart: dict[str, float]
    in_order: dict[str, bool]


@cache
def look(name: str) -> Look:
    """Judge a palette: is it even, does it survive grey print and colour blindness."""
    table = palette(name).table()
    lab = to_oklab(table)
    coarse = lab[::8]
    steps = np.linalg.norm(np.diff(coarse, axis=0), axis=1)
    apart: dict[str, float] = {}
    order: dict[str, bool] = {}
    for kind in get_args(Deficiency):
        seen = to_oklab(as_seen(table, kind))
        apart[kind] = min(
            float(np.linalg.norm(seen[k:] - seen[: 256 - k], axis=1).min()) for k in (64, 96, 128)
        )
        order[kind] = _ordered(seen[:, 0])
    return Look(_ordered(lab[:, 0]), float(steps.min() / steps.mean()), apart, order)


def _ordered(light: Float) -> bool:
    """Whether lightness only rises or only falls, but for less than an eye sees."""
    step = np.diff(light[::4])
    return bool((step > -0.003).all() or (step < 0.003).all())


@operation("process.colour_blind")
def colour_blind(
    image: Image,
    *,
    deficiency: Annotated[
        Deficiency, Param("Without red (protan), green (deutan) or blue (tritan) cones")
    ] = "deutan",
) -> Image:
    """Show a colour image as somebody without one kind of cones sees it.

    Machado, Oliveira and Fernandes (IEEE TVCG 15, 2009), full severity. Shape, axes and dtype as
    they came; the image has an axis ``channel`` (R, G, B) of bytes.
    """
    names = [a.name for a in image.axes]
    if "channel" not in names or image.data.dtype != np.uint8:
        raise ParameterError(
            f"process.colour_blind takes an RGB image of bytes and was given {image!r}; colour it "
            "with process.pseudo_colour first"
        )
    at = names.index("channel")
    seen = as_seen(np.moveaxis(image.data, at, -1), deficiency)
    return image.with_data(np.ascontiguousarray(np.moveaxis(seen, -1, at)))
