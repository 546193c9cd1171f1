"""Errors as JSON: ``{"error": "NotFound", "message": "..."}``, never a trace."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from somascope.archive import OutOfSpace
from somascope.core.errors import (
    Cancelled,
    Conflict,
    GeometryError,
    MissingExtra,
    NotFound,
    ParameterError,
    ReadError,
    Refused,
    SomascopeError,
    UnitError,
    WriteError,
)

_LOG = logging.getLogger("somascope.server.api")

STATUS: tuple[tuple[type[SomascopeError], int], ...] = (
    (ParameterError, 400),
    (Refused, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Cancelled, 409),
    (OutOfSpace, 507),
    (ReadError, 422),
    (WriteError, 422),
    (GeometryError, 422),
    (UnitError, 422),
    (MissingExtra, 503),
    (SomascopeError, 500),
)


def answer(status: int, error: str, message: str) -> JSONResponse:
    """The body every error has."""
    return JSONResponse({"error": error, "message": message}, status)


def answer_to(error: Exception) -> JSONResponse:
    """What is said about an exception; what nobody foresaw is told to the log only."""
    if isinstance(error, SomascopeError):
        status = next(s for kind, s in STATUS if isinstance(error, kind))
        if status >= 500:
            _LOG.error("%s", error)
        return answer(status, type(error).__name__, str(error))
    if isinstance(error, HTTPException):
        response = answer(error.status_code, "HTTP", str(error.detail))
        response.headers.update(error.headers or {})
        return response
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        return answer(422, "ParameterError", f"{where}: {first['msg']}")
    if type(error).__name__ == "OperationalError":
        _LOG.error("the index does not answer: %s", error)
        return answer(503, "Unavailable", "the index does not answer now; try again in a moment")
    _LOG.exception("unforeseen error", exc_info=error)
    return answer(500, "InternalError", "an error of the server; its log has the details")


class Route(APIRoute):
    """A route whose errors are answered by `answer_to`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with errors turned into answers."""
        handler = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handler(request)
            except Exception as error:
                return answer_to(error)

        return guarded
