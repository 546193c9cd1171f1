"""A frame as a picture file: windowed, cut and scaled as asked (PS3.18 8.3.5.1)."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from somascope.core.errors import ParameterError
from somascope.server.dicomweb import transcode, voi

JPEG, PNG = "image/jpeg", "image/png"
LARGEST = 8192
"""Pixels along one side of a rendered picture."""
THUMBNAIL = 200
_NUMBER = re.compile(r"-?\d{1,6}(\.\d{1,6})?")


@dataclass(frozen=True)
class Options:
    """The query of a rendered resource."""

    media: str = JPEG
    window: voi.Window | None = None
    quality: int = 90
    size: tuple[int, int] | None = None
    """``(width, height)`` of the viewport; the picture is scaled to fit, never distorted."""
    region: tuple[float, float, float, float] | None = None
    """``(x, y, width, height)`` of the source in pixels; a negative size mirrors."""
    enlarge: bool = True

    @classmethod
    def read(cls, query: Mapping[str, str], *, media: str, thumbnail: bool = False) -> Options:
        """Raises `ParameterError` naming the parameter that is wrong."""
        quality = query.get("quality", "90")
        if not (quality.isascii() and quality.isdigit() and 1 <= int(quality[:4]) <= 100):
            raise ParameterError(f"quality={quality[:20]!r}; give 1 to 100")
        window = query.get("window")
        size, region = _viewport(query.get("viewport"))
        if thumbnail:
            region, size = None, size or (THUMBNAIL, THUMBNAIL)
        return cls(
            media=media,
            window=voi.Window.parse(window) if window else None,
            quality=int(quality),
            size=size,
            region=region,
            enlarge=not thumbnail,
        )

    def to_json(self) -> dict[str, Any]:
        """For `from_json`, in another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Options:
        """From what `to_json` gave and JSON has made of it."""
        window, size, region = values["window"], values["size"], values["region"]
        return cls(
            media=str(values["media"]),
            window=voi.Window(**window) if window else None,
            quality=int(values["quality"]),
            size=(int(size[0]), int(size[1])) if size else None,
            region=tuple(map(float, region)) if region else None,  # type: ignore[arg-type]
            enlarge=bool(values["enlarge"]),
        )

    def key(self) -> str:
        """Text that is equal for equal pictures."""
        return repr(self)


def _viewport(
    text: str | None,
) -> tuple[tuple[int, int] | None, tuple[float, float, float, float] | None]:
    if not text:
        return None, None
    items = [item.strip() for item in text.split(",")]
    good = len(items) in (2, 6) and all(_NUMBER.fullmatch(i) for i in items if i)
    if not good or not items[0] or not items[1]:
        raise ParameterError(f"viewport={text[:60]!r}; give vw,vh or vw,vh,sx,sy,sw,sh")
    width, height = float(items[0]), float(items[1])
    if not (1 <= width <= LARGEST and 1 <= height <= LARGEST):
        raise ParameterError(f"viewport {width:g} x {height:g}; give 1 to {LARGEST}")
    size = (int(width), int(height))
    if len(items) == 2:
        return size, None
    x, y, w, h = (float(i) if i else 0.0 for i in items[2:])
    return size, (x, y, w, h)


def picture(data: NDArray[np.uint8], options: Options) -> bytes:
    """``(ny, nx)`` or ``(ny, nx, 3)`` as a JPEG or PNG file, cut and scaled as asked."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    image = Pillow.fromarray(data)
    if options.region is not None:
        x, y, w, h = options.region
        w, h = w or image.width - x, h or image.height - y
        if w < 0:
            image, w = ImageOps.mirror(image), -w
        if h < 0:
            image, h = ImageOps.flip(image), -h
        box = (max(x, 0), max(y, 0), min(x + w, image.width), min(y + h, image.height))
        if box[2] - box[0] < 1 or box[3] - box[1] < 1:
            raise ParameterError("the viewport's source region is outside of the image")
        left, top, right, bottom = (round(v) for v in box)
        image = image.crop((left, top, right, bottom))
    if options.size is not None:
        scale = min(options.size[0] / image.width, options.size[1] / image.height)
        if options.enlarge or scale < 1:
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(size, Pillow.Resampling.BILINEAR)
    out = io.BytesIO()
    if options.media == PNG:
        image.save(out, "PNG", compress_level=3)
    else:
        image.save(out, "JPEG", quality=options.quality)
    return out.getvalue()


def render(path: Path, number: int, options: Options) -> bytes:
    """Frame ``number`` (from 1) of a stored instance as a picture."""
    dataset, stored = transcode.frame_array(path, number)
    if stored.ndim == 3:
        shown = voi.colour(dataset, stored, options.window)
    else:
        shown = voi.grey(dataset, number, stored, options.window)
    return picture(np.ascontiguousarray(shown), options)
