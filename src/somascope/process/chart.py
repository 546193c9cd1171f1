"""A picture of curves: axes with round ticks, their names and units, and a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.legend import ticks

INKS = ((11, 110, 153), (210, 90, 40), (70, 140, 70), (140, 80, 160), (90, 90, 90))
"""Blue, orange, green, violet, grey: the first two differ for every kind of colour vision."""


@dataclass(frozen=True)
class Curve:
    """``x`` and ``y`` of one length; ``name`` in the key; its points joined, marked, or both."""

    x: Array
    y: Array
    name: str = ""
    line: bool = True
    dots: bool = False
    ink: int = 0


def chart(
    curves: Sequence[Curve],
    *,
    across: str,
    up: str,
    size: tuple[int, int] = (640, 320),
    floor: float | None = 0.0,
    top: float | None = None,
) -> Array:
    """Curves in one frame, ``(height, width, 3)`` uint8, dark on white.

    Parameters
    ----------
    across, up
        What the axes show, with the unit: ``"diameter (mm)"``.
    size
        Width and height in pixels.
    floor, top
        Ends of the upright axis; None: of the curves.

    Raises
    ------
    ParameterError
        No curve, none with a finite point, or axes without extent.
    """
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    points = [_finite(c) for c in curves]
    if not any(len(p) for p in points):
        raise ParameterError("a chart of no finite point; give curves with numbers")
    every = np.concatenate(points)
    left, right = _extent(every[:, 0], None, None)
    low, high = _extent(every[:, 1], floor, top)
    width, height = size
    font = ImageFont.load_default(12)
    marks, beside = ticks(left, right, most=9), ticks(low, high, most=7)
    wide = max(int(font.getlength(t)) for t in _said(beside))
    x0, x1, y0, y1 = 30 + wide, width - 14, height - 42, 26
    picture = Picture.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)

    def at(x: float, y: float) -> tuple[float, float]:
        h = x0 + (x - left) / (right - left) * (x1 - x0)
        v = y0 - (min(max(y, low), high) - low) / (high - low) * (y0 - y1)
        return float(h), float(v)

    for mark, text in zip(marks, _said(marks), strict=True):
        h, _ = at(mark, low)
        pen.line((h, y0, h, y1), fill=(232, 236, 239))
        pen.text((h - font.getlength(text) / 2, y0 + 5), text, fill=(60, 70, 80), font=font)
    for mark, text in zip(beside, _said(beside), strict=True):
        _, v = at(left, mark)
        pen.line((x0, v, x1, v), fill=(232, 236, 239))
        pen.text((x0 - 6 - font.getlength(text), v - 8), text, fill=(60, 70, 80), font=font)
    pen.rectangle((x0, y1, x1, y0), outline=(150, 160, 170))
    pen.text(((x0 + x1 - font.getlength(across)) / 2, height - 19), across, fill="black", font=font)
    pen.text((6, 5), up, fill="black", font=font)
    for curve, found in zip(curves, points, strict=True):
        ink, placed = INKS[curve.ink % len(INKS)], [at(*p) for p in found]
        if curve.line and len(placed) > 1:
            pen.line(placed, fill=ink, width=2)
        if curve.dots or len(placed) == 1:
            for h, v in placed:
                pen.ellipse((h - 3, v - 3, h + 3, v + 3), fill=ink)
    edge = float(x1)
    for curve in [c for c in curves if c.name][::-1]:
        edge -= font.getlength(curve.name)
        pen.text((edge, 5), curve.name, fill=INKS[curve.ink % len(INKS)], font=font)
        pen.line((edge - 22, 12, edge - 6, 12), fill=INKS[curve.ink % len(INKS)], width=3)
        edge -= 38
    return np.asarray(picture)


def _finite(curve: Curve) -> Array:
    x, y = (np.asarray(v, dtype=np.float64).ravel() for v in (curve.x, curve.y))
    if len(x) != len(y):
        raise ParameterError(f"curve {curve.name!r} has {len(x)} x and {len(y)} y")
    both = np.stack([x, y], axis=1)
    return both[np.isfinite(both).all(axis=1)]


def _extent(values: Array, low: float | None, high: float | None) -> tuple[float, float]:
    least = float(values.min()) if low is None else low
    most = float(values.max()) if high is None else high
    if high is None and low is not None:
        most += 0.05 * abs(most - least)
    return (least, most) if most > least else (least - 0.5, least + 0.5)


def _said(marks: Sequence[float]) -> list[str]:
    digits = max(0, int(np.ceil(-np.log10(marks[1] - marks[0])))) if len(marks) > 1 else 2
    return [f"{m:.{digits}f}" if digits < 6 else f"{m:.3g}" for m in marks]
