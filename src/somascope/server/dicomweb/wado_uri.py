"""WADO-URI, the older way to ask for one object by query parameters (PS3.18 section 9)."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request

from somascope.server.dicomweb import picture
from somascope.server.dicomweb.door import Door, check_uid
from somascope.server.dicomweb.files import pieces
from somascope.server.dicomweb.frames import frame_list
from somascope.server.dicomweb.negotiation import EXPLICIT, parse
from somascope.server.dicomweb.responses import IMMUTABLE, Answer, Stream
from somascope.server.dicomweb.voi import Window

_UIDS = ("studyUID", "seriesUID", "objectUID")


class WadoUri:
    """``GET /wado?requestType=WADO&studyUID=...&seriesUID=...&objectUID=...``."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, request: Request) -> Answer | Stream:
        """Answer one request."""
        query = request.query_params
        if query.get("requestType", "").upper() != "WADO":
            raise HTTPException(400, "requestType must be WADO")
        missing = [name for name in _UIDS if not query.get(name)]
        if missing:
            raise HTTPException(400, f"{missing[0]} is missing")
        instance = await self._door.instance(*(check_uid(query[name]) for name in _UIDS))
        text = ", ".join(query.getlist("contentType"))
        wanted = [choice.media for choice in parse(text)] or ["image/jpeg"]
        if not query.get("contentType") and instance.frames == 0:
            wanted = ["application/dicom"]  # PS3.18 9.1.2.1.1: the default for what is no image
        for media in wanted:
            if media == "application/dicom":
                return await self._object(request, instance)
            if media in (picture.JPEG, picture.PNG, "image/*", "*/*") and instance.frames:
                number = frame_list(query.get("frameNumber", "1"), count=instance.frames)[0]
                options = self._options(
                    request, picture.PNG if media == picture.PNG else picture.JPEG
                )
                body = await self._door.picture(instance.path, number, options)
                return Answer(body, options.media, headers=(("cache-control", IMMUTABLE),))
        raise HTTPException(
            406, f"contentType={text[:60]!r}; give application/dicom, image/jpeg or image/png"
        )

    async def _object(self, request: Request, instance: object) -> Answer | Stream:
        from somascope.archive import Instance

        assert isinstance(instance, Instance)
        syntax = request.query_params.get("transferSyntax", "") or EXPLICIT
        kind = "application/dicom"
        if syntax == instance.transfer_syntax or "transferSyntax" not in request.query_params:
            # Without transferSyntax the standard's default is explicit little endian, but any
            # client that asks this way reads what scanners send.
            one = pieces(instance.path, instance.size, before=b"", threads=self._door.threads)
            return Stream(one, kind, length=instance.size)
        if syntax != EXPLICIT:
            raise HTTPException(
                406, f"this object is given in {instance.transfer_syntax} or {EXPLICIT}"
            )
        return Answer(await self._door.decoded("explicit", str(instance.path)), kind)

    def _options(self, request: Request, media: str) -> picture.Options:
        query = request.query_params
        window = None
        if "windowCenter" in query or "windowWidth" in query:
            window = Window.parse(f"{query.get('windowCenter', '')},{query.get('windowWidth', '')}")
        quality = query.get("imageQuality", "90")
        sides: list[int] = []
        for name in ("columns", "rows"):
            side = query.get(name, str(picture.LARGEST))
            if not (side.isascii() and side.isdigit() and 1 <= int(side[:9]) <= picture.LARGEST):
                raise HTTPException(400, f"{name}={side[:20]!r}; give 1 to {picture.LARGEST}")
            sides.append(int(side))
        if not (quality.isascii() and quality.isdigit() and 1 <= int(quality[:4]) <= 100):
            raise HTTPException(400, f"imageQuality={quality[:20]!r}; give 1 to 100")
        given = "columns" in query or "rows" in query
        return picture.Options(
            media=media,
            window=window,
            quality=int(quality),
            size=(sides[0], sides[1]) if given else None,
        )
