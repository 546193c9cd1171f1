"""The legend of a picture in colours: a bar with ticks in the image's unit."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from somascope.core import Axis, Grid, Image, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.process.choices import First, Last, Steps
from somascope.process.colour import Name, range_of, single
from somascope.process.palettes import palette

_SPOKEN = {"[hnsf'U]": "HU", "g/ml": "SUV", "1": "", "ml/min/(100.g)": "ml/min/100 g",
           "ml/(100.g)": "ml/100 g", "/min": "1/min" }  # fmt: skip


def ticks(lower: float, upper: float, *, most: int = 7) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) from ``lower`` to ``upper``.

    Raises `ParameterError` where the range is empty or not finite.
    """
    if not (np.isfinite(lower) and np.isfinite(upper) and upper > lower):
        raise ParameterError(f"a legend from {lower:g} to {upper:g}; lower must be below upper")
    raw = (upper - lower) / max(most - 1, 1)
    scale = 10.0 ** np.floor(np.log10(raw))
    step = next(float(m * scale) for m in (1, 2, 5, 10) if m * scale >= raw * (1 - 1e-9))
    first = int(np.ceil(lower / step - 1e-9))
    last = int(np.floor(upper / step + 1e-9))
    return [k * step for k in range(first, last + 1)]


def bar(
    name: str, lower: float, upper: float, *, unit: str = "1", slices: int = 0, height: int = 320
) -> Array:
    """A picture of the palette, ``(height, width, 3)`` uint8: highest value on top, ticks beside.

    ``slices`` above 1: as many bands of one colour.
    """
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    marks = ticks(lower, upper)
    shown = palette(name)
    size = max(round(height / 22), 9)
    font = ImageFont.load_default(size)
    pad, thick = size, max(height // 12, 12)
    digits = max(0, int(np.ceil(-np.log10(marks[1] - marks[0])))) if len(marks) > 1 else 3
    texts = [f"{m:.{digits}f}" if digits < 6 else f"{m:.3g}" for m in marks]
    spoken = _SPOKEN.get(unit, unit)
    widest = max(int(font.getlength(t)) for t in (*texts, spoken, shown.label))
    picture = Picture.new("RGB", (pad + thick + size + widest + pad, height), "black")
    pen = ImageDraw.Draw(picture)
    top, foot = pad + 2 * size, height - pad
    rows = foot - top
    steps = slices if slices > 1 else rows
    table = shown.table(max(steps, 2))[::-1]
    colours = table[np.minimum(np.arange(rows) * steps // rows, len(table) - 1)]
    strip = np.repeat(colours[:, None], thick, axis=1)
    picture.paste(Picture.fromarray(strip), (pad, top))
    pen.rectangle((pad - 1, top - 1, pad + thick, foot), outline=(150, 150, 150))
    pen.text((pad, pad - size // 2), f"{spoken or shown.label}", fill="white", font=font)
    for mark, text in zip(marks, texts, strict=True):
        y = foot - (mark - lower) / (upper - lower) * (rows - 1) - 1
        pen.line((pad + thick, y, pad + thick + size // 2, y), fill="white")
        pen.text((pad + thick + size, y - 0.62 * size), text, fill="white", font=font)
    return np.asarray(picture)


@operation("process.legend")
def legend(
    image: Image,
    *,
    colours: Annotated[Name, Param("Palette")] = "ember",
    lower: First = None,
    upper: Last = None,
    slices: Steps = 0,
    height: Annotated[int, Param("Of the picture, in pixels", minimum=96, maximum=2048)] = 320,
) -> Image:
    """Draw the colour bar of an image: its palette with ticks in the image's unit.

    The range is that of `process.pseudo_colour` with the same parameters. A flat RGB picture
    ``(3, 1, ny, nx)`` uint8; it has no place in the patient.
    """
    single(image, "process.legend")
    low, high = range_of(image, lower, upper)
    drawn = bar(colours, low, high, unit=image.unit, slices=slices, height=height)
    data = np.ascontiguousarray(np.moveaxis(drawn, -1, 0)[:, None])
    grid = Grid.from_spacing(
        data.shape[-3:], (1.0, 1.0, 1.0), frame_of_reference=image.grid.frame_of_reference
    )
    attributes = {k: v for k, v in image.attributes.items() if not k.startswith("Window")}
    described = str(image.attributes.get("SeriesDescription", "")).strip()
    attributes["SeriesDescription"] = f"{described} legend".strip()[:64]
    return Image(data, grid, image.modality, "1", (Axis("channel"),), image.provenance, attributes)
