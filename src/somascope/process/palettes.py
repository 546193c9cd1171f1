"""Colour palettes: the one table of them in the house, the viewer's included.

Positions run from 0 to 1, colours are sRGB in bytes, joined by straight lines. Those of the DICOM
standard (PS3.6 B.1) are its tables exactly. ``tide``, ``ember`` and ``lagoon`` are made here, in
even steps of perceived difference (OKLab, Ottosson 2020); ``viridis``, ``magma`` and ``cool_warm``
are those that scientific plots use. ``viewer/build_palettes.py`` writes the viewer's table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from somascope.core.errors import NotFound
from somascope.core.grid import Array, Float
from somascope.process.oklab import from_oklab, linear_srgb

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

    @property
    def warning(self) -> str:
        """What a reader should know before trusting it; empty where nothing speaks against it."""
        if self.kind == "rainbow":
            return "shows edges where there are none and hides others; not for reading values"
        return "" if self.kind != "clinical" else "not even: equal steps of value look unequal"

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
        _at(255, (0, 0, 0, 0), (127, 254, 0, 0), (128, 255, 0, 0), (191, 255, 126, 0),
            (254, 255, 252, 252), (255, 255, 255, 255)),
        _WELL_KNOWN + "1",
    ),
    Palette(
        "pet", "PET", "clinical",
        _at(255, (0, 0, 0, 0), (1, 0, 2, 1), (62, 0, 125, 123), (63, 0, 128, 125),
            (64, 1, 126, 127), (95, 63, 64, 189), (96, 65, 63, 191), (118, 108, 19, 235),
            (127, 126, 1, 253), (128, 128, 0, 255), (130, 132, 4, 248), (169, 209, 82, 92),
            (192, 255, 128, 0), (233, 255, 210, 165), (235, 255, 214, 174), (254, 255, 252, 250),
            (255, 255, 255, 255)),
        _WELL_KNOWN + "2",
    ),
    Palette(
        "hot_metal_blue", "Hot metal blue", "clinical",
        _at(255, (0, 0, 0, 0), (17, 0, 0, 33), (42, 0, 0, 83), (44, 0, 0, 86), (75, 0, 0, 147),
            (85, 0, 0, 167), (102, 50, 0, 200), (119, 90, 0, 150), (136, 140, 32, 50),
            (153, 190, 64, 0), (170, 255, 96, 0), (238, 255, 224, 200), (255, 255, 255, 255)),
        _WELL_KNOWN + "3",
    ),
    Palette("pet_20_step", "PET, 20 steps", "clinical", _at(255, *_STEPS), _WELL_KNOWN + "4", True),
    Palette("spring", "Spring", "clinical", _hex("ff00ff", "ffff00"), _WELL_KNOWN + "5"),
    Palette(
        "summer", "Summer", "clinical",
        _at(255, (0, 0, 255, 0), (127, 0, 192, 0), (192, 0, 159, 129), (253, 0, 129, 250),
            (255, 0, 128, 254)), _WELL_KNOWN + "6",
    ),
    Palette("fall", "Fall", "clinical", _hex("ffff00", "ff0000"), _WELL_KNOWN + "7"),
    Palette(
        "winter", "Winter", "clinical",
        _at(255, (0, 0, 0, 255), (127, 0, 127, 192), (190, 63, 190, 160), (193, 65, 193, 159),
            (254, 126, 254, 128), (255, 127, 255, 128)), _WELL_KNOWN + "8",
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
        "viridis", "Viridis", "sequential",
        _hex("440154", "482777", "3f4a8a", "31678e", "26838f", "1f9d8a", "6cce5a", "b6de2b",
             "fee825"),
    ),
    Palette(
        "magma", "Magma", "sequential",
        _hex("000004", "221150", "5f187f", "982d80", "d3436e", "f8765c", "febb81", "fcfdbf"),
    ),
    Palette(
        "cool_warm", "Cool to warm", "diverging",
        _hex("3b4cc0", "8db0fe", "dddddd", "f49a7b", "b40426"),
    ),
    Palette("red", "Red", "sequential", _hex("000000", "ff0000")),
    Palette("green", "Green", "sequential", _hex("000000", "00ff00")),
    Palette("blue", "Blue", "sequential", _hex("000000", "0000ff")),
    Palette("cyan", "Cyan", "sequential", _hex("000000", "00ffff")),
    Palette("magenta", "Magenta", "sequential", _hex("000000", "ff00ff")),
    Palette("yellow", "Yellow", "sequential", _hex("000000", "ffff00")),
    Palette(
        "flow", "Flow", "diverging",
        _hex("7fe7ff", "1f6fff", "0a1f8f", "000000", "8f0a0a", "ff4f1f", "ffe77f"),
    ),
)  # fmt: skip


def _displayable(light: Float, chroma: Float, hue: Float) -> Float:
    """OKLab of the strongest chroma up to the given one that a screen can show."""
    best = np.stack([light, 0 * light, 0 * light], axis=1)
    for share in np.linspace(0.02, 1, 50):
        c = share * chroma
        lab = np.stack([light, c * np.cos(hue), c * np.sin(hue)], axis=1)
        rgb = linear_srgb(lab)
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


def as_json() -> list[dict[str, Any]]:
    """All palettes as JSON types: what a viewer needs to draw with them and to name them."""
    return [
        {
            "name": p.name,
            "label": p.label,
            "kind": p.kind,
            "uid": p.uid,
            "warning": p.warning,
            "stepped": p.stepped,
            "points": [list(point) for point in p.points],
        }
        for p in PALETTES.values()
    ]


def palette(name: str) -> Palette:
    """The palette of this name; `NotFound` names those there are."""
    if name not in PALETTES:
        raise NotFound(f"no palette {name!r}; there are {', '.join(PALETTES)}")
    return PALETTES[name]
