"""WADO-RS rendered resources and thumbnails (PS3.18 10.4.1.1.3 to 10.4.1.1.5): JPEG and PNG."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request

from somascope.archive import Instance
from somascope.server.dicomweb import multipart
from somascope.server.dicomweb.door import Door, check_uid
from somascope.server.dicomweb.frames import frame_list
from somascope.server.dicomweb.negotiation import accepted
from somascope.server.dicomweb.picture import JPEG, PNG, Options
from somascope.server.dicomweb.responses import IMMUTABLE, Answer, Stream, empty


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
            body = await self._door.picture(instance.path, number, options)
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
            body = await self._door.picture(instance.path, number, options)
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
                body = await door.picture(instance.path, number, options)
                door.pictures.put(inner, body, weight=len(body) + 200)
            if not growing:
                door.pictures.put(key, body, weight=len(body) + 200)
        age = "private, max-age=60" if growing else IMMUTABLE
        return Answer(body, media, headers=(("cache-control", age),))


_CACHED = (("cache-control", IMMUTABLE),)
