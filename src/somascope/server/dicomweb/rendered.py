"""WADO-RS rendered resources and thumbnails (PS3.18 10.4.1.1.3 to 10.4.1.1.5): JPEG and PNG."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request

from somascope.archive import Instance
from somascope.server.dicomweb import multipart, transcode, voi
from somascope.server.dicomweb.door import Door, check_uid
from somascope.server.dicomweb.frames import frame_list
from somascope.server.dicomweb.negotiation import accepted
from somascope.server.dicomweb.responses import IMMUTABLE, Answer, Stream, empty

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
    def read(cls, query: QueryParams, *, media: str, thumbnail: bool = False) -> Options:
        """Raises HTTP 400 naming the parameter that is wrong."""
        quality = query.get("quality", "90")
        if not (quality.isascii() and quality.isdigit() and 1 <= int(quality[:4]) <= 100):
            raise HTTPException(400, f"quality={quality[:20]!r}; give 1 to 100")
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
        raise HTTPException(400, f"viewport={text[:60]!r}; give vw,vh or vw,vh,sx,sy,sw,sh")
    width, height = float(items[0]), float(items[1])
    if not (1 <= width <= LARGEST and 1 <= height <= LARGEST):
        raise HTTPException(400, f"viewport {width:g} x {height:g}; give 1 to {LARGEST}")
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
            raise HTTPException(400, "the viewport's source region is outside of the image")
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


def render(path: Any, number: int, options: Options) -> bytes:
    """Frame ``number`` (from 1) of a stored instance as a picture."""
    dataset, stored = transcode.frame_array(path, number)
    if stored.ndim == 3:
        shown = voi.colour(dataset, stored, options.window)
    else:
        shown = voi.grey(dataset, number, stored, options.window)
    return picture(np.ascontiguousarray(shown), options)


def media_of(request: Request) -> tuple[str, bool]:
    """The picture's media type, and whether parts are wanted; HTTP 406 where nothing fits."""
    for choice in accepted(request.headers, request.query_params):
        for media in (JPEG, PNG):
            if choice.covers(media):
                return media, choice.media == "multipart/related"
    raise HTTPException(406, f"pictures are given as {JPEG} or {PNG}")


class Rendered:
    """``/rendered`` of a study, a series, an instance, or frames."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, request: Request) -> Answer | Stream:
        """Answer one request."""
        where = request.path_params
        media, parted = media_of(request)
        options = Options.read(request.query_params, media=media)
        found = await self._door.instances(
            where["study"], where.get("series"), where.get("instance")
        )
        wanted: list[tuple[Instance, int]] = []
        for instance in found:
            if "frames" in where:
                numbers = frame_list(where["frames"], count=max(instance.frames, 1))
            else:
                numbers = range(1, instance.frames + 1)
            wanted += [(instance, n) for n in numbers]
        if not wanted:
            raise HTTPException(406, "there are no pixels to render here")
        single = "instance" in where and (not parted or len(wanted) == 1)
        if single and "frames" in where and len(wanted) > 1:
            single = False
        if single and not parted:
            instance, number = wanted[0]
            body = await self._door.decoded(render, instance.path, number, options)
            return Answer(body, media, headers=_CACHED)
        boundary = multipart.new_boundary()
        return Stream(
            self._parts(wanted, options, boundary),
            f'multipart/related; type="{media}"; boundary={boundary}',
            length=None,
            headers=_CACHED,
        )

    async def _parts(
        self, wanted: Sequence[tuple[Instance, int]], options: Options, boundary: str
    ) -> AsyncIterator[bytes]:
        first = True
        for instance, number in wanted:
            body = await self._door.decoded(render, instance.path, number, options)
            yield multipart.part_head(boundary, options.media, first=first) + body
            first = False
        yield multipart.end(boundary)


class Thumbnail:
    """``/thumbnail`` of a study, a series, an instance or a frame: small, and kept in memory."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        door, where = self._door, {k: v for k, v in request.path_params.items() if k != "frames"}
        for uid in where.values():
            check_uid(uid)
        media, _ = media_of(request)
        options = Options.read(request.query_params, media=media, thumbnail=True)
        frames = request.path_params.get("frames", "")
        if frames:
            frame_list(frames)
        # A study or series may still grow: its picture is that of its instances as of now.
        growing = "instance" not in where
        key = (*where.values(), frames, options.key())
        body = None if growing else door.pictures.get(key)
        if body is None:
            found = await door.instances(where["study"], where.get("series"), where.get("instance"))
            shown = [i for i in found if i.frames > 0]
            if not shown:
                return empty(404)
            instance = shown[len(shown) // 2]
            number = frame_list(frames, count=instance.frames)[0] if frames else 0
            number = number or (instance.frames + 1) // 2
            inner = (instance.sop_uid, str(number), options.key())
            body = door.pictures.get(inner)
            if body is None:
                body = await door.decoded(render, instance.path, number, options)
                door.pictures.put(inner, body, weight=len(body) + 200)
            if not growing:
                door.pictures.put(key, body, weight=len(body) + 200)
        age = "private, max-age=60" if growing else IMMUTABLE
        return Answer(body, media, headers=(("cache-control", age),))


_CACHED = (("cache-control", IMMUTABLE),)
