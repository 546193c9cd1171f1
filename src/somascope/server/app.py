"""The HTTP application and the process that serves it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shutil
import signal
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from somascope import __version__
from somascope.archive import Archive
from somascope.core.errors import (
    Cancelled,
    Conflict,
    CorruptFile,
    MissingExtra,
    NotFound,
    ParameterError,
    ReadError,
    Refused,
    SomascopeError,
)
from somascope.server import pages
from somascope.server.credentials import Credentials
from somascope.server.decode import Decoders
from somascope.server.dicomweb.door import Door
from somascope.server.dicomweb.service import ALIAS, PREFIX, openapi_paths, routes, wado_route
from somascope.server.dimse.tls import CIPHERS
from somascope.server.gate import Gate
from somascope.server.limits import protocol
from somascope.server.logs import configure
from somascope.server.security import Guard, check_bind
from somascope.server.settings import Settings

API = "/api"
STALE_SECONDS = 24 * 3600.0
STATIC = Path(__file__).parent / "static"
"""Where the build puts the viewer."""

_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (ParameterError, 400),
    (NotFound, 404),
    (Conflict, 409),
    (Refused, 403),
    (MissingExtra, 501),
    (Cancelled, 409),
    (CorruptFile, 500),  # what is stored was whole when it was taken: this is our fault
    (ReadError, 406),  # stored, but not in a form that can be turned into what was asked for
    (SomascopeError, 500),
)
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}$")
"""A file's name ends like this; a UID, which has dots too, does not."""
_LOG = logging.getLogger("somascope.server")


def create_app(
    archive: Archive,
    *,
    settings: Settings | None = None,
    host: str = "127.0.0.1",
    static: Path = STATIC,
    decoders: Decoders | None = None,
) -> Starlette:
    """The whole HTTP side of an archive as an ASGI application.

    DICOMweb at ``/dicom-web`` (and ``/dicomweb``), WADO-URI at ``/wado``, the application
    interface at ``/api`` where it is installed, ``/docs``, and the viewer at ``/``. ``host`` is
    the address it will be bound to; it decides which Host headers are good. ``decoders`` end with
    the application; by default they are made of the settings. Raises `Refused` for
    an address that others reach while ``settings`` holds no token.
    """
    settings = settings or Settings.load(archive.root)
    check_bind(archive.root, host, settings=settings)
    credentials = Credentials(archive.root, settings)
    guard = Guard(settings, host=host, credentials=credentials)
    threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="dicomweb")
    decoders = decoders or _decoders(settings)
    door = Door(archive, settings, threads, decoders)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(decoders.close)
        threads.shutdown(wait=True, cancel_futures=True)

    service = Router(routes=routes(door), redirect_slashes=False, default=_no_such_route)
    api = _api(archive, settings)
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            inner = api.openapi()
            paths = {f"{API}{path}": entry for path, entry in inner.get("paths", {}).items()}
            document.update(inner, paths={**paths, **openapi_paths(door)})
        return document

    async def openapi_json(_request: Request) -> Response:
        return JSONResponse(openapi())

    async def docs(_request: Request) -> Response:
        return HTMLResponse(pages.describe(openapi()))

    app = Starlette(
        routes=[
            Mount(PREFIX, app=service, name="dicom-web"),
            Mount(ALIAS, app=service, name="dicomweb"),
            wado_route(door),
            Mount(API, app=api, name="api"),
            Route("/openapi.json", openapi_json),
            Route("/docs", docs),
            Route("/{path:path}", _Viewer(static)),
        ],
        middleware=[Middleware(Gate, settings=settings, guard=guard)],
        exception_handlers=_handlers(),
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _decoders(settings: Settings) -> Decoders:
    return Decoders(
        workers=settings.decoders, seconds=settings.decode_seconds, memory=settings.decode_bytes
    )


def _api(archive: Archive, settings: Settings) -> FastAPI:
    """The application interface; empty where it is not installed."""
    api = FastAPI(
        title="Somascope",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers=_handlers(),
    )
    if find_spec("somascope.server.api") and find_spec("somascope.jobs"):
        from somascope.jobs import Jobs
        from somascope.server.api import create_router
        from somascope.server.api.upload import Limits
        from somascope.server.learning.routes import learning_router
        from somascope.server.live.routes import live_router
        from somascope.server.monailabel.routes import label_router
        from somascope.server.preview.routes import preview_router

        limits = Limits(
            file_bytes=settings.part_bytes, files=settings.parts,
            convert_bytes=settings.convert_bytes, convert_seconds=settings.convert_seconds,
        )  # fmt: skip
        jobs = Jobs(archive)
        api.include_router(create_router(archive, jobs, limits=limits))
        api.include_router(label_router(archive, jobs, limits=limits), prefix="/monailabel")
        api.include_router(learning_router(archive))
        api.include_router(live_router(archive))
        api.include_router(preview_router(archive))
    return api


def _handlers() -> dict[Any, Any]:
    return {
        **{error: _handler(status) for error, status in _STATUS},
        HTTPException: _http_error,
        Exception: _unexpected,
    }


async def _no_such_route(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise HTTPException(404, "there is nothing at this path; /docs lists what there is")


def _handler(status: int) -> Any:
    async def answer(_request: Request, error: Exception) -> Response:
        if status >= 500:
            _LOG.error("%s", error)
        return JSONResponse({"detail": str(error)}, status)

    return answer


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)


async def _unexpected(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"detail": "an error of the server; its log has the details"}, 500)


class _Viewer:
    """The viewer's files; every path that is no file's gives its page (client-side routes)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return JSONResponse({"detail": "not found"}, 404)
        path = scope["path"].lstrip("/")
        if "\0" in path or len(path) > 1024:
            return JSONResponse({"detail": "no such file"}, 404)
        if path:
            file = (self._folder / path).resolve()
            if file.is_relative_to(self._folder) and file.is_file():
                hashed = "assets/" in path  # the build puts a hash into these names
                age = "private, max-age=31536000, immutable" if hashed else "no-cache"
                return FileResponse(file, headers={"cache-control": age})
            if _SUFFIX.search(path):
                return JSONResponse({"detail": "no such file"}, 404)
        index = self._folder / "index.html"
        if index.is_file():
            return FileResponse(index, headers={"cache-control": "no-cache"})
        return HTMLResponse(pages.NOT_BUILT, 200 if not path else 404)


def web_server(
    archive: Archive,
    *,
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = 0,
    decoders: Decoders | None = None,
) -> uvicorn.Server:
    """The server that `serve_http` runs; ``port`` 0 takes a free one."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(archive, settings=settings, host=host, decoders=decoders),
            host=host,
            port=port,
            http=protocol(settings),
            ws="none" if find_spec("websockets") is None else "auto",
            ws_max_size=128 << 10,
            ws_per_message_deflate=False,  # frames hardly shrink, and it would cost their time
            loop="auto",
            log_level="warning",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_keep_alive=int(settings.keep_alive_seconds),
            timeout_graceful_shutdown=5,
            ssl_certfile=settings.tls_certificate or None,
            ssl_keyfile=settings.tls_key or None,
            ssl_ciphers=CIPHERS,
        )
    )


def sweep(root: Path) -> None:
    """Remove what uploads of a killed server left, once it is a day old."""
    for folder in root.glob("upload-*"):
        with contextlib.suppress(OSError):
            if folder.is_dir() and time.time() - folder.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def serve_http(
    root: Path | str, *, host: str = "127.0.0.1", port: int = 8742, settings: Settings | None = None
) -> None:
    """Serve the archive at ``root`` until SIGINT or SIGTERM; requests in flight are finished.

    Raises `Refused` for an address that others reach while no token is configured.
    """
    settings = settings or Settings.load(root)
    check_bind(root, host, settings=settings)
    configure()
    archive = Archive.open(root)
    sweep(archive.root)
    try:
        decoders = _decoders(settings)
        decoders.warm()  # the first picture need not wait for it
        server = web_server(archive, settings=settings, host=host, port=port, decoders=decoders)
        # uvicorn repeats the signal after its graceful end; with this the process then ends
        # normally, and the archive is closed.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        server.run()
    finally:
        archive.close()
