"""Who may ask: the bind rule, the Host list, the token, the session cookie, cross-site requests."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import socket
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

from somascope.core.errors import Refused
from somascope.server.credentials import Credentials, read
from somascope.server.settings import FILE, Settings

COOKIE = "somascope_session"
SHORTEST_TOKEN = 16
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-embedder-policy", b"require-corp"),
)
"""Sent with every answer. The last two give the viewer shared memory between its workers."""


def is_loopback(host: str) -> bool:
    """Whether binding to ``host`` reaches this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").split("%")[0]).is_loopback
    except ValueError:
        return False


def check_bind(root: Path | str, host: str, *, settings: Settings | None = None) -> None:
    """Raise `Refused` if ``host`` is not loopback and no (good enough) token is configured.

    ``settings`` default to those of the archive folder ``root`` and the environment.
    """
    settings = settings or Settings.load(root)
    if settings.token and len(settings.token) < SHORTEST_TOKEN:
        raise Refused(
            f"the configured token has {len(settings.token)} characters; give at least "
            f"{SHORTEST_TOKEN}, e.g. what `python -c 'import secrets; "
            "print(secrets.token_urlsafe())'` prints"
        )
    kept = read(root)  # refuses what others can read, wherever we listen
    known = settings.token or settings.token_sha256 or (kept is not None and kept.token_sha256)
    if not is_loopback(host) and not known:
        raise Refused(
            f"host {host!r} can be reached from other machines and no token is configured; "
            f"make one with --new-token, set SOMASCOPE_TOKEN or `token` under [http] in "
            f"{Path(root) / FILE}, or listen on 127.0.0.1"
        )


class Guard:
    """Decides about one request's head; knows nothing of what is behind.

    ``host`` is the address the server is bound to; with a wildcard address (``0.0.0.0``) any
    literal address is accepted in the Host header, since rebinding needs a name. ``credentials``
    default to the settings' token and a key for sessions that ends with this process.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        host: str = "127.0.0.1",
        credentials: Credentials | None = None,
    ) -> None:
        self._credentials = credentials or Credentials(None, settings)
        self._session_seconds = settings.session_hours * 3600
        self._origins = frozenset(o.rstrip("/").lower() for o in settings.cors_origins)
        names = {"localhost", "127.0.0.1", "::1", *settings.allowed_hosts}
        self._any_literal = not is_loopback(host)
        if self._any_literal:
            names.add(socket.gethostname())
        names.add(host)
        self._names = frozenset(n.strip("[]").rstrip(".").lower() for n in names)
        self._good_hosts: dict[str, bool] = {}

    @property
    def locked(self) -> bool:
        """Whether a token is needed."""
        return bool(self._credentials.digest)

    def host_allowed(self, host: str) -> bool:
        """Whether a Host header names this server (guards against DNS rebinding)."""
        known = self._good_hosts.get(host)
        if known is None:
            known = self._host_allowed(host)
            if len(self._good_hosts) < 1000:
                self._good_hosts[host] = known
        return known

    def _host_allowed(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if not name or "@" in host or "/" in host:
            return False
        name = name.rstrip(".").lower()
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_literal

    def token_matches(self, token: str) -> bool:
        """Compare in constant time."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        known = self._credentials.digest
        return bool(known) and hmac.compare_digest(digest, known)

    def authenticated(self, headers: Mapping[str, str]) -> bool:
        """Whether the request's Authorization or session cookie is good; true without a token."""
        if not self.locked:
            return True
        scheme, _, rest = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.token_matches(rest.strip())
        if scheme.lower() == "basic":
            try:
                text = base64.b64decode(rest.strip(), validate=True).decode("utf-8")
            except (binascii.Error, ValueError):
                return False
            return self.token_matches(text.partition(":")[2])
        cookie = headers.get("cookie", "")
        if COOKIE not in cookie:
            return False
        try:
            morsel = SimpleCookie(cookie).get(COOKIE)
        except CookieError:
            return False
        return morsel is not None and self.session_valid(morsel.value)

    def new_session(self, *, now: float | None = None) -> str:
        """A cookie value good for `Settings.session_hours`; holds no secret."""
        expires = str(int((time.time() if now is None else now) + self._session_seconds))
        return f"{expires}.{self._sign(expires)}"

    def session_valid(self, value: str, *, now: float | None = None) -> bool:
        """Whether we made this cookie value and it has not expired."""
        expires, _, signature = value.partition(".")
        if not expires.isascii() or not expires.isdigit() or len(expires) > 12:
            return False
        if not hmac.compare_digest(signature.encode(), self._sign(expires).encode()):
            return False
        return int(expires) > (time.time() if now is None else now)

    def _sign(self, expires: str) -> str:
        key = self._credentials.session_key
        return hmac.new(key, expires.encode(), hashlib.sha256).hexdigest()

    def cross_site(self, headers: Mapping[str, str], *, scheme: str) -> bool:
        """Whether a browser says that another site's page made this request.

        Requests without ``Sec-Fetch-Site`` and ``Origin`` come from programs, not from pages.
        """
        origin = headers.get("origin", "").lower().rstrip("/")
        if origin and origin in self._origins:
            return False
        site = headers.get("sec-fetch-site", "").lower()
        if site:
            return site not in ("same-origin", "none")
        return bool(origin) and origin != f"{scheme}://{headers.get('host', '').lower()}"

    def cors_origin(self, headers: Mapping[str, str]) -> str:
        """The request's Origin if its pages may read our answers, else ``""``."""
        if not self._origins:
            return ""
        origin = headers.get("origin", "")
        return origin if origin.lower().rstrip("/") in self._origins else ""
