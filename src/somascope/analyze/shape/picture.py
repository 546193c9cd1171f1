"""Pictures of modes: the mean and what a mode makes of it, in 2-D as outlines, in 3-D as bodies."""

from __future__ import annotations

from typing import Any

import numpy as np

from somascope.analyze.shape.mesh import normals
from somascope.analyze.shape.model import ShapeModel
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.process.chart import INKS
from somascope.process.palettes import palette

SIZE = (720, 300)
"""Width and height of one mode's picture."""

LIGHT = np.array([0.35, -0.75, 0.55])


def browser(
    model: ShapeModel, modes: int, *, spread: float = 2.0, at: Float | None = None
) -> Array:
    """One picture per mode, ``(m, height, width, 3)`` uint8: -spread sd, mean, +spread sd.

    ``at`` ``(k,)``: the modes of one shape in standard deviations, marked on each mode's scale.
    """
    if modes < 1:
        raise ParameterError(f"{modes} modes are to be drawn; give 1 or more")
    return np.stack([_mode(model, k, spread, at) for k in range(min(modes, len(model.variances)))])


def _mode(model: ShapeModel, k: int, spread: float, at: Float | None) -> Array:
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    width, height = SIZE
    font = ImageFont.load_default(13)
    made = Picture.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(made)
    b = np.zeros(k + 1)
    shapes: list[Float] = []
    for side in (-1.0, 0.0, 1.0):
        b[k] = side * spread * model.deviations[k]
        shapes.append(model.shape(b))
    reach = 1.08 * max(float(np.abs(_flat(s)).max()) for s in shapes)
    box = min(width / 3, height - 76)
    scale = box / (2 * reach)
    move = np.einsum("nd,nd->n", shapes[2] - shapes[0], normals(model.mean, model.faces)) / 2
    most = max(float(np.abs(move).max()), 1e-9)
    for i, points in enumerate(shapes):
        middle = np.array([width * (2 * i + 1) / 6, 32 + (height - 76) / 2])
        if model.d == 2:
            for j in (1, i):
                ink = (165, 172, 180) if j == 1 else INKS[0 if i == 0 else 1]
                _outline(pen, model, shapes[j], middle, scale, ink, 2 if j == 1 else 3)
        else:
            _body(pen, model, points, middle, scale, (i - 1) * move / most)
    part = float(model.variances[k] / model.variances.sum()) * model.card.kept
    said = f"mode {k + 1}: {100 * part:.1f} % of the variance, up to {most:.2f} mm"
    pen.text((10, 7), said, fill="black", font=font)
    names = (f"-{spread:g} sd", "mean", f"+{spread:g} sd")
    for i, name in enumerate(names):
        x = width * (2 * i + 1) / 6 - font.getlength(name) / 2
        pen.text((x, height - 44), name, fill=(60, 70, 80), font=font)
    if at is not None:
        _scale(pen, font, float(at[k]), width, height)
    return np.asarray(made)


def _flat(points: Float) -> Float:
    """Points ``(n, 2)`` right and down: a slice as it lies, a body seen from the left."""
    if points.shape[1] == 2:
        return points[:, ::-1]
    return np.stack([points[:, 1], -points[:, 2]], axis=1)


def _outline(
    pen: Any, model: ShapeModel, points: Float, middle: Float, scale: float,
    ink: tuple[int, int, int], width: int,
) -> None:  # fmt: skip
    flat = middle + scale * _flat(points)
    for a, b in model.faces:
        pen.line([*map(float, flat[a]), *map(float, flat[b])], fill=ink, width=width)


def _body(
    pen: Any, model: ShapeModel, points: Float, middle: Float, scale: float, move: Float
) -> None:
    """The farthest faces first; the colour says where the mode moves the surface out or in."""
    flat = middle + scale * _flat(points)
    corners = points[model.faces]
    out = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
    table = palette("tide").table()
    # Seen from the left: what has most of L is nearest.
    seen = out[:, 0] > 0
    order = np.flatnonzero(seen)[np.argsort(corners[seen].mean(axis=1)[:, 0])]
    light = 0.45 + 0.55 * np.clip(out @ (LIGHT * [1, 1, 1] / np.linalg.norm(LIGHT)), 0, 1)
    bright = np.maximum(light, 0.45 + 0.4 * np.clip(out[:, 0], 0, 1))
    value = np.clip(127.5 * (1 + move[model.faces].mean(axis=1)), 0, 255).astype(int)
    for f in order:
        red, green, blue = (int(c * bright[f]) for c in table[value[f]])
        corners_at = [(float(x), float(y)) for x, y in flat[model.faces[f]]]
        pen.polygon(corners_at, fill=(red, green, blue))


def _scale(pen: Any, font: Any, value: float, width: int, height: int) -> None:
    """A line from -4 to 4 sd with this shape's place on it."""
    left, right, y = 60.0, width - 60.0, height - 16.0
    pen.line((left, y, right, y), fill=(150, 160, 170))
    for t in range(-4, 5):
        x = left + (t + 4) / 8 * (right - left)
        pen.line((x, y - 4, x, y + 4), fill=(150, 160, 170))
    x = left + (np.clip(value, -4, 4) + 4) / 8 * (right - left)
    pen.ellipse((x - 6, y - 6, x + 6, y + 6), fill=INKS[1])
    said = f"{value:+.1f} sd"
    pen.text((x + 9 if x < width - 130 else x - 15 - font.getlength(said), y - 16), said,
             fill=INKS[1], font=font)  # fmt: skip
