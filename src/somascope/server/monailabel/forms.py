"""Forms in and out: what a client sends with a question, and a label map with its facts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from somascope.core.errors import ParameterError
from somascope.server.api.upload import Limits, file_name
from somascope.server.dicomweb.multipart import Part, boundary_of, new_boundary, parts

FIELD_BYTES = 1 << 20
_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")


async def form(
    request: Request, folder: Path, limits: Limits
) -> tuple[dict[str, str], Path | None]:
    """The fields of a form, and the first of its files; without a body neither."""
    media = request.headers.get("content-type", "")
    if not media.lower().startswith("multipart/form-data"):
        return {}, None
    fields: dict[str, str] = {}
    kept: Path | None = None
    received = parts(
        request.stream(), boundary_of(media), folder=folder, part_bytes=limits.file_bytes, most=32
    )
    async for part in _whole(received):
        with part:
            disposition = part.headers.get("content-disposition", "")
            name = file_name(disposition)
            if name is not None and kept is None:
                lower = name.lower()
                suffix = next((s for s in _SUFFIXES if lower.endswith(s)), "")
                if not suffix:
                    raise ParameterError(f"the file {name[:80]!r} is none of {' '.join(_SUFFIXES)}")
                kept = folder / f"label{suffix}"
                await run_in_threadpool(_copied, part.data, kept)
            elif name is None and len(part.data) <= FIELD_BYTES:
                key = disposition.partition('name="')[2].partition('"')[0]
                fields[key] = bytes(part.data).decode("utf-8", "replace")
    return fields, kept


async def _whole(received: AsyncIterator[Part]) -> AsyncIterator[Part]:
    try:
        async for part in received:
            yield part
    except ClientDisconnect:
        raise HTTPException(400, "the client left before the end of its request") from None


def _copied(data: Any, path: Path) -> None:
    with path.open("wb") as file:
        for start in range(0, len(data), 1 << 20):
            file.write(data[start : start + (1 << 20)])


def record(text: str) -> dict[str, Any]:
    """A JSON object; `ParameterError` for anything else."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"params is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise ParameterError("params is no JSON object")
    return found


def names_of(text: str) -> dict[str, int]:
    """Names of labels: ``{"label_info": [{"name": ..., "idx": 1}, ...]}`` as clients send them."""
    listed = record(text).get("label_info") or []
    names: dict[str, int] = {}
    for item in listed if isinstance(listed, list) else []:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise ParameterError("label_info holds an entry without a name")
        number = item.get("idx", len(names) + 1)
        if not isinstance(number, int) or isinstance(number, bool):
            raise ParameterError(f"label_info: idx is {number!r}; give a whole number")
        names[item["name"]] = number
    return names


def attachment(data: bytes, name: str) -> Response:
    """A file to be saved."""
    return Response(
        data, media_type="application/octet-stream",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )  # fmt: skip


def both(told: dict[str, Any], data: bytes, name: str) -> Response:
    """``multipart/form-data`` (RFC 7578) with the fields ``params`` and ``image``."""
    boundary = new_boundary()
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\n'
        f"Content-Type: application/json\r\n\r\n{json.dumps(told)}\r\n"
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return Response(body, media_type=f"multipart/form-data; boundary={boundary}")
