"""Colour palettes: control points, tables of 256 colours, and how they look to the colour blind.

Positions run from 0 to 1, colours are sRGB in bytes, joined by straight lines. Those of the DICOM
standard (PS3.6 B.1) are its tables to within a step of a byte. ``tide``, ``ember`` and ``lagoon``
are made here, in even steps of perceived difference (OKLab, Ottosson 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import numpy as np

from somascope.core.errors import NotFound
from somascope.core.grid import Array, Float

Kind: TypeAlias = Literal["sequential", "diverging", "clinical", "rainbow"]
Point: TypeAlias = tuple[float, int, int, int]


@dataclass(frozen=True)
class Palette:
    """Colours from the lowest value to the highest.

    ``kind`` says what for: ``sequential`` and ``diverging`` show differences where they are,
    ``clinical`` is what readers are used to, ``rainbow`` shows edges where there are none.
    ``uid`` is the well-known palette's of PS3.6, where it is one. ``stepped`` holds each colour
    until the next.
    """

    name: str
    label: str
    kind: Kind
    points: tuple[Point, ...]
    uid: str = ""
    stepped: bool = False

    def table(self, size: int = 256) -> Array:
        """Its colours at even places, ``(size, 3)`` uint8."""
        place = np.array([p[0] for p in self.points])
        colours = np.array([p[1:] for p in self.points], np.float64)
        x = np.linspace(0, 1, size)
        if self.stepped:
            return colours[np.searchsorted(place, x + 1e-9, side="right") - 1].astype(np.uint8)
        found = np.stack([np.interp(x, place, c) for c in colours.T], axis=1)
        return np.rint(found).astype(np.uint8)


def _hex(*colours: str) -> tuple[Point, ...]:
    n = len(colours) - 1
    return tuple(
        (i / n, int(c[:2], 16), int(c[2:4], 16), int(c[4:], 16)) for i, c in enumerate(colours)
    )


def _at(scale: float, *points: Point) -> tuple[Point, ...]:
    return tuple((p[0] / scale, *p[1:]) for p in points)


_WELL_KNOWN = "1.2.840.10008.1.5."

_STEPS = (
    (0, 0, 0, 0), (13, 96, 0, 80), (26, 48, 48, 80), (39, 48, 48, 112), (51, 80, 80, 128),
    (64, 96, 96, 176), (77, 112, 112, 192), (90, 128, 128, 224), (102, 48, 96, 48),
    (115, 48, 144, 48), (128, 80, 192, 80), (141, 64, 224, 64), (153, 224, 224, 80),
    (166, 208, 208, 96), (179, 208, 176, 64), (192, 208, 144, 0), (204, 192, 96, 0),
    (217, 176, 48, 0), (230, 255, 0, 0), (243, 255, 255, 255),
)  # fmt: skip

_TABLES = (
    Palette("grey", "Grey", "sequential", _hex("000000", "ffffff")),
    Palette("grey_inverted", "Grey, inverted", "sequential", _hex("ffffff", "000000")),
    Palette(
        "hot_iron", "Hot iron", "clinical",
        _at(255, (0, 0, 0, 0), (127.5, 255, 0, 0), (128, 255, 0, 0), (191, 255, 126, 0),
            (255, 255, 255, 255)),
        _WELL_KNOWN + "1",
    ),
    Palette(
        "pet", "PET", "clinical",
        _at(255, (0, 0, 0, 0), (63.5, 0, 127, 125), (128, 128, 0, 255), (192, 255, 128, 0),
            (255, 255, 255, 255)),
        _WELL_KNOWN + "2",
    ),
    Palette(
        "hot_metal_blue", "Hot metal blue", "clinical",
        _at(255, (0, 0, 0, 0), (59, 0, 0, 116), (85, 0, 0, 167), (102, 48, 0, 200),
            (119, 91, 0, 150), (136, 141, 32, 50), (153, 190, 64, 0), (170, 255, 96, 0),
            (240, 255, 228, 206), (255, 255, 255, 255)),
        _WELL_KNOWN + "3",
    ),
    Palette("pet_20_step", "PET, 20 steps", "clinical", _at(255, *_STEPS), _WELL_KNOWN + "4", True),
    Palette("spring", "Spring", "clinical", _hex("ff00ff", "ffff00"), _WELL_KNOWN + "5"),
    Palette(
        "summer", "Summer", "clinical",
        _at(255, (0, 0, 255, 0), (127, 0, 192, 0), (255, 0, 128, 254)), _WELL_KNOWN + "6",
    ),
    Palette("fall", "Fall", "clinical", _hex("ffff00", "ff0000"), _WELL_KNOWN + "7"),
    Palette(
        "winter", "Winter", "clinical",
        _at(255, (0, 0, 0, 255), (127, 0, 127, 192), (255, 127, 255, 128)), _WELL_KNOWN + "8",
    ),
    Palette(
        "bone", "Bone", "sequential",
        _hex("000000", "2d2d3f", "535975", "798b95", "a5b9bc", "d6dede", "ffffff"),
    ),
    Palette(
        "nih", "NIH", "clinical",
        _hex("000000", "55007f", "2a00d4", "0055ff", "00d4d4", "00d42a", "aaff00", "ffd400",
             "ff5500", "d40000", "ffffff"),
    ),
    Palette(
        "cardiac", "Cardiac", "clinical",
        _hex("000000", "1c1c66", "3a3acc", "00a0a0", "22c022", "c8c800", "ff8000", "ff2020",
             "ffffff"),
    ),
    Palette(
        "rainbow", "Rainbow", "rainbow",
        _hex("00008f", "0000ff", "00ffff", "80ff80", "ffff00", "ff0000", "800000"),
    ),
    Palette(
        "flow", "Flow", "diverging",
        _hex("7fe7ff", "1f6fff", "0a1f8f", "000000", "8f0a0a", "ff4f1f", "ffe77f"),
    ),
)  # fmt: skip


def to_oklab(rgb: Array) -> Float:
    """Bytes of sRGB ``(..., 3)`` to OKLab lightness and two colour axes."""
    s = np.asarray(rgb, np.float64) / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T


def from_oklab(lab: Array) -> Array:
    """OKLab to sRGB bytes; what lies outside is clipped."""
    linear = np.clip(_linear(np.asarray(lab)), 0, 1)
    s = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * s).astype(np.uint8)


_TO_LMS = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
_TO_LAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip


def _linear(lab: Float) -> Float:
    return (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T


def _displayable(light: Float, chroma: Float, hue: Float) -> Float:
    """OKLab of the strongest chroma up to the given one that a screen can show."""
    best = np.stack([light, 0 * light, 0 * light], axis=1)
    for share in np.linspace(0.02, 1, 50):
        c = share * chroma
        lab = np.stack([light, c * np.cos(hue), c * np.sin(hue)], axis=1)
        rgb = _linear(lab)
        fits = ((rgb > -1e-4) & (rgb < 1.0001)).all(axis=1)
        best[fits] = lab[fits]
    return best


def uniform(
    name: str, label: str, kind: Kind, stops: Sequence[tuple[float, float, float]]
) -> Palette:
    """A palette through OKLCh ``stops`` (lightness, chroma, hue in degrees), in even steps.

    The lightness of a sequential palette rises throughout, so that it survives a grey printer.
    """
    l, c, h = (np.array(v) for v in zip(*stops, strict=True))
    t = np.linspace(0, len(stops) - 1, 513)
    at = np.arange(len(stops))
    light, chroma, hue = (np.interp(t, at, v) for v in (l, c, np.deg2rad(h)))
    lab = _displayable(light, chroma, hue)
    step = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(step)])
    even = np.interp(np.linspace(0, along[-1], 65), along, np.arange(along.size))
    picked = np.stack([np.interp(even, np.arange(along.size), v) for v in lab.T], axis=1)
    points = tuple(
        (i / 64, int(r), int(g), int(b)) for i, (r, g, b) in enumerate(from_oklab(picked))
    )
    return Palette(name, label, kind, points)


_MADE = (
    uniform("ember", "Ember", "sequential", [
        (0.12, 0.04, -20), (0.30, 0.10, -5), (0.50, 0.17, 22), (0.70, 0.16, 55), (0.86, 0.14, 90),
        (0.98, 0.03, 105),
    ]),
    uniform("lagoon", "Lagoon", "sequential", [
        (0.12, 0.06, 300), (0.32, 0.11, 275), (0.50, 0.10, 240), (0.66, 0.11, 190),
        (0.82, 0.15, 145), (0.95, 0.15, 108),
    ]),
    uniform("tide", "Tide", "diverging", [
        (0.38, 0.13, 262), (0.68, 0.10, 250), (0.94, 0.0, 250), (0.94, 0.0, 40), (0.68, 0.12, 40),
        (0.38, 0.13, 28),
    ]),
)  # fmt: skip

PALETTES: dict[str, Palette] = {p.name: p for p in (*_TABLES[:1], *_MADE, *_TABLES[1:])}


def palette(name: str) -> Palette:
    """The palette of this name; `NotFound` names those there are."""
    if name not in PALETTES:
        raise NotFound(f"no palette {name!r}; there are {', '.join(PALETTES)}")
    return PALETTES[name]


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
    """

    monotone: bool
    evenness: float
    told_apart: dict[str, float]


@cache
def look(name: str) -> Look:
    """Judge a palette: is it even, does it survive grey print and colour blindness."""
    table = palette(name).table()
    lab = to_oklab(table)
    light = lab[:, 0]
    coarse = lab[::8]
    steps = np.linalg.norm(np.diff(coarse, axis=0), axis=1)
    apart: dict[str, float] = {}
    for kind in _BLIND:
        seen = to_oklab(as_seen(table, kind))  # pyright: ignore[reportArgumentType]
        apart[kind] = min(
            float(np.linalg.norm(seen[k:] - seen[: 256 - k], axis=1).min()) for k in (64, 96, 128)
        )
    rises = np.diff(light[::4])
    return Look(
        bool((rises > -0.003).all() or (rises < 0.003).all()),
        float(steps.min() / steps.mean()),
        apart,
    )
