"""The ASGI layer in front of everything: Host, token, cross-site, body limits, security headers."""

from __future__ import annotations

import contextlib
import html
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from somascope.server.attempts import Attempts
from somascope.server.limits import BoundedBody, Message, Receive, content_length, too_large
from somascope.server.pages import LOGIN
from somascope.server.security import COOKIE, HEADERS, SAFE_METHODS, Guard
from somascope.server.settings import Settings

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

UPLOADS = (
    *("/dicom-web/studies", "/dicomweb/studies", "/api/upload"),
    *("/api/monailabel/datastore", "/api/monailabel/session", "/api/monailabel/infer"),
)
"""Paths that take bodies up to `Settings.upload_bytes`."""
LOGIN_PATH = "/login"
LOGOUT_PATH = "/logout"
OPEN = frozenset({LOGIN_PATH})
"""The only path that answers without a token; everything it needs is in the page itself."""


class Gate:
    """Nothing behind it runs before the request's head has passed all checks."""

    def __init__(self, app: App, *, settings: Settings, guard: Guard) -> None:
        self._app = app
        self._settings = settings
        self._guard = guard
        self._attempts = Attempts(each=settings.login_attempts, total=settings.login_attempts_total)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request (ASGI)."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if kind == "websocket":
            allowed = False
            with contextlib.suppress(HTTPException):  # it guessed too often
                allowed = self._websocket_allowed(scope, headers)
            if allowed:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
            return
        origin = self._guard.cors_origin(headers)
        send = _with_headers(send, origin)
        try:
            receive = self._check(scope, headers, receive, cors=bool(origin))
        except HTTPException as refusal:
            await _refuse(scope, headers, send, refusal)
            return
        if origin and scope["method"] == "OPTIONS":
            await _answer(send, 204, b"", [(b"access-control-max-age", b"600")])
        elif self._guard.locked and scope["path"] in (LOGIN_PATH, LOGOUT_PATH):
            await self._login(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _websocket_allowed(self, scope: Scope, headers: Headers) -> bool:
        scheme = {"ws": "http", "wss": "https"}.get(scope.get("scheme", "ws"), "http")
        return (
            self._guard.host_allowed(headers.get("host", ""))
            and self._authenticated(scope, headers)
            and not self._guard.cross_site(headers, scheme=scheme)
        )

    def _check(self, scope: Scope, headers: Headers, receive: Receive, *, cors: bool) -> Receive:
        """Raise what is wrong with the head, else return the bounded body."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._guard.host_allowed(hosts[0]):
            shown = ", ".join(hosts)[:100]
            raise HTTPException(
                400, f"Host {shown!r} is not a name of this server; add it to allowed_hosts"
            )
        method, path = scope["method"], scope["path"]
        preflight = cors and method == "OPTIONS"
        if path not in OPEN and not preflight and not self._authenticated(scope, headers):
            raise HTTPException(401, "a token is needed", _challenge(headers))
        if method not in SAFE_METHODS and self._guard.cross_site(headers, scheme=scope["scheme"]):
            raise HTTPException(403, "another site's page may not change anything here")
        declared = headers.get("content-length")
        if declared is None and "transfer-encoding" not in headers:
            return receive
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise HTTPException(415, "compressed request bodies are not taken; send it as it is")
        upload = method in ("POST", "PUT") and path.startswith(UPLOADS)
        limit = self._settings.upload_bytes if upload else self._settings.body_bytes
        if declared is not None:
            length = content_length(declared)
            if length == 0:
                return receive
            if length > limit:
                raise HTTPException(413, too_large(limit))
        return BoundedBody(receive, limit=limit, seconds=self._settings.body_seconds)

    def _authenticated(self, scope: Scope, headers: Headers) -> bool:
        """Whether the request may go on; HTTP 429 where its sender guessed too often."""
        guesses = self._guard.locked and "authorization" in headers
        if guesses:
            self._demand_patience(scope)
        good = self._guard.authenticated(headers)
        if guesses:
            self._count(scope, good=good)
        return good

    def _demand_patience(self, scope: Scope) -> None:
        wait = self._attempts.wait(_address(scope))
        if wait:
            raise HTTPException(
                429, f"too many wrong tokens; try again in {wait} s", {"retry-after": str(wait)}
            )

    def _count(self, scope: Scope, *, good: bool) -> None:
        (self._attempts.succeeded if good else self._attempts.failed)(_address(scope))

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        flags = "; Path=/; HttpOnly; SameSite=Strict"
        if scope["scheme"] == "https":
            flags += "; Secure"
        if scope["path"] == LOGOUT_PATH:
            gone = f"{COOKIE}=; Max-Age=0{flags}".encode()
            await _answer(send, 303, b"", [(b"location", b"/login"), (b"set-cookie", gone)])
            return
        if scope["method"] != "POST":
            await _answer(send, 200, LOGIN.encode(), [_HTML])
            return
        body = b""
        more = True
        try:
            while more and len(body) <= 4096:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
        except HTTPException as refusal:
            await _refuse(scope, Headers(scope=scope), send, refusal)
            return
        try:
            self._demand_patience(scope)
        except HTTPException as refusal:
            note = f"<p role='alert'>{html.escape(str(refusal.detail))}.</p>"
            given = [(k.encode(), v.encode()) for k, v in (refusal.headers or {}).items()]
            page = LOGIN.replace("<!--note-->", note).encode()
            await _answer(send, refusal.status_code, page, [_HTML, *given])
            return
        token = parse_qs(body[:4096].decode("utf-8", "replace")).get("token", [""])[0]
        good = self._guard.token_matches(token)
        self._count(scope, good=good)
        if not good:
            note = "<p role='alert'>That is not the token of this server.</p>"
            await _answer(send, 401, LOGIN.replace("<!--note-->", note).encode(), [_HTML])
            return
        session = f"{COOKIE}={self._guard.new_session()}{flags}".encode()
        await _answer(send, 303, b"", [(b"location", b"/"), (b"set-cookie", session)])


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


_HTML = (b"content-type", b"text/html; charset=utf-8")


def _challenge(headers: Headers) -> dict[str, str]:
    if "sec-fetch-mode" in headers:  # a page's script: no password window of the browser
        return {"www-authenticate": 'Bearer realm="somascope"'}
    return {"www-authenticate": 'Bearer realm="somascope", Basic realm="somascope"'}


def _with_headers(send: Send, origin: str) -> Send:
    extra = list(HEADERS)
    if origin:
        extra += [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-methods", b"GET, HEAD, POST, OPTIONS"),
            (b"access-control-allow-headers", b"authorization, content-type, accept"),
            (b"access-control-expose-headers", b"content-type, content-length, etag, warning"),
            (b"cross-origin-resource-policy", b"cross-origin"),
            (b"vary", b"origin"),
        ]
    else:
        extra.append((b"cross-origin-resource-policy", b"same-origin"))

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            given += [pair for pair in extra if pair[0] not in names]
            if b"cache-control" not in names:
                given.append((b"cache-control", b"no-store"))
            message["headers"] = given
        await send(message)

    return wrapped


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    if status != 204:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse(scope: Scope, headers: Headers, send: Send, refusal: HTTPException) -> None:
    given = [(k.lower().encode(), v.encode()) for k, v in (refusal.headers or {}).items()]
    if scope["method"] not in SAFE_METHODS or "content-length" in headers:
        given.append((b"connection", b"close"))  # the rest of the body is not wanted
    reader = refusal.status_code == 401 and headers.get("sec-fetch-mode") == "navigate"
    if reader and scope["method"] == "GET":
        await _answer(send, 303, b"", [(b"location", LOGIN_PATH.encode()), *given])
        return
    body = json.dumps({"detail": str(refusal.detail)}).encode()
    given.append((b"content-type", b"application/json"))
    await _answer(send, refusal.status_code, body, given)
