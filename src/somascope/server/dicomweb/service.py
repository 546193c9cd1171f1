"""The routes of the DICOMweb service, in one table that also describes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from somascope.server.dicomweb.door import Door
from somascope.server.dicomweb.frames import Frames
from somascope.server.dicomweb.qido import Search
from somascope.server.dicomweb.rendered import Rendered, Thumbnail
from somascope.server.dicomweb.responses import Answer, dump
from somascope.server.dicomweb.stow import Store
from somascope.server.dicomweb.wado import Bulk, Instances, Metadata
from somascope.server.dicomweb.wado_uri import WadoUri

PREFIX = "/dicom-web"
ALIAS = "/dicomweb"
Endpoint = Callable[[Request], Awaitable[ASGIApp]]


@dataclass(frozen=True)
class Entry:
    """One route: method, path below the service, and what it does."""

    method: str
    path: str
    summary: str
    endpoint: Endpoint


def entries(door: Door) -> list[Entry]:
    """All transactions, the busiest first."""
    study, series = "/studies/{study}", "/studies/{study}/series/{series}"
    instance = f"{series}/instances/{{instance}}"
    retrieve, metadata = Instances(door), Metadata(door)
    rendered, thumbnail = Rendered(door), Thumbnail(door)
    store = Store(door)
    studies = Search(door, "STUDY")
    all_series, all_instances = Search(door, "SERIES"), Search(door, "INSTANCE")
    table: list[Entry] = [
        Entry("GET", f"{instance}/frames/{{frames}}", "WADO-RS: frames", Frames(door)),
        Entry("GET", "/studies", "QIDO-RS: search for studies", studies),
        Entry("GET", f"{series}/metadata", "WADO-RS: metadata of a series", metadata),
        Entry("GET", f"{study}/series", "QIDO-RS: series of a study", all_series),
        Entry("GET", f"{series}/instances", "QIDO-RS: instances of a series", all_instances),
        Entry("GET", instance, "WADO-RS: one instance", retrieve),
        Entry("GET", f"{instance}/metadata", "WADO-RS: metadata of an instance", metadata),
        Entry("GET", f"{instance}/rendered", "WADO-RS: an instance as a picture", rendered),
        Entry("GET", f"{instance}/thumbnail", "WADO-RS: a small picture", thumbnail),
        Entry(
            "GET", f"{instance}/frames/{{frames}}/rendered", "WADO-RS: frames as pictures", rendered
        ),
        Entry(
            "GET", f"{instance}/frames/{{frames}}/thumbnail", "WADO-RS: a small picture", thumbnail
        ),
        Entry("GET", f"{instance}/bulkdata/{{path:path}}", "WADO-RS: bulk data", Bulk(door)),
        Entry("GET", series, "WADO-RS: a series", retrieve),
        Entry("GET", f"{series}/rendered", "WADO-RS: a series as pictures", rendered),
        Entry("GET", f"{series}/thumbnail", "WADO-RS: a small picture", thumbnail),
        Entry("GET", study, "WADO-RS: a study", retrieve),
        Entry("GET", f"{study}/metadata", "WADO-RS: metadata of a study", metadata),
        Entry("GET", f"{study}/rendered", "WADO-RS: a study as pictures", rendered),
        Entry("GET", f"{study}/thumbnail", "WADO-RS: a small picture", thumbnail),
        Entry("GET", f"{study}/instances", "QIDO-RS: instances of a study", all_instances),
        Entry("GET", "/series", "QIDO-RS: search for series", all_series),
        Entry("GET", "/instances", "QIDO-RS: search for instances", all_instances),
        Entry("POST", "/studies", "STOW-RS: store instances", store),
        Entry("POST", study, "STOW-RS: store instances of one study", store),
    ]

    async def conformance(_request: Request) -> Answer:
        """What is here, for programs (a short form of PS3.18 8.9.1)."""
        listed = [{"method": e.method, "path": e.path, "summary": e.summary} for e in table]
        return Answer(dump({"service": "DICOMweb", "transactions": listed}), "application/json")

    table.append(Entry("GET", "/conformance", "What this service offers", conformance))
    return table


class _Send:
    """An ASGI endpoint around a handler that returns an ASGI answer."""

    def __init__(self, table: dict[str, Endpoint]) -> None:
        self._table = table

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        method = scope["method"]
        handler = self._table.get("GET" if method == "HEAD" else method)
        if handler is None:
            allow = ", ".join([*self._table, *(["HEAD"] if "GET" in self._table else [])])
            await Response(status_code=405, headers={"allow": allow})(scope, receive, send)
            return
        answer = await handler(Request(scope, receive))
        await answer(scope, receive, send)


def routes(door: Door) -> list[Route]:
    """The routes below ``/dicom-web``, one per path."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for entry in entries(door):
        by_path.setdefault(entry.path, {})[entry.method] = entry.endpoint
    found: list[Route] = []
    for path, table in by_path.items():
        route = Route(path, endpoint=_Send(table), methods=None)
        route.methods = {*table, *({"HEAD"} if "GET" in table else ())}
        found.append(route)
    return found


def wado_route(door: Door) -> Route:
    """The route of WADO-URI, beside the service."""
    route = Route("/wado", endpoint=_Send({"GET": WadoUri(door)}), methods=None)
    route.methods = {"GET", "HEAD"}
    return route


def openapi_paths(door: Door) -> dict[str, dict[str, Any]]:
    """The same table as OpenAPI paths, for ``/openapi.json``."""
    paths: dict[str, dict[str, Any]] = {}
    for entry in entries(door):
        names = [p.split("}")[0] for p in entry.path.split("{")[1:]]
        plain = entry.path.replace(":path}", "}")
        paths.setdefault(PREFIX + plain, {})[entry.method.lower()] = {
            "summary": entry.summary,
            "tags": ["DICOMweb"],
            "parameters": [
                {
                    "name": name.removesuffix(":path"),
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string"},
                }
                for name in names
            ],
            "responses": {
                "200": {"description": "found"},
                "400": {"description": "not understood"},
            },
        }
    return paths
