"""`Settings`: how the HTTP server behaves, from `somascope.toml` and ``SOMASCOPE_*`` variables."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from somascope.core.errors import ParameterError

FILE = "somascope.toml"
SECTION = "http"
MIB = 1 << 20
DECODERS = max(2, min(8, os.cpu_count() or 2))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The ``[http]`` table of ``somascope.toml``; a variable ``SOMASCOPE_<FIELD>`` wins over it.

    Sizes are bytes, times are seconds.
    """

    token: str = field(default="", repr=False)
    """Shared secret; when set, every request must carry it (Bearer, Basic password, or login)."""
    token_sha256: str = field(default="", repr=False)
    """The same as its SHA-256 in hexadecimal, so that the file holds no secret."""
    session_hours: float = 12.0
    """How long a login in the browser lasts."""
    login_attempts: int = 10
    """Wrong tokens within a minute after which an address has to wait."""
    login_attempts_total: int = 100
    """The same for all addresses together; those that gave the right one before do not wait."""
    allowed_hosts: tuple[str, ...] = ()
    """Names accepted in the Host header beside the loopback names and the bound address."""
    cors_origins: tuple[str, ...] = ()
    """Origins (``https://viewer.example``) whose pages may read from here; none by default."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of reverse proxies whose X-Forwarded-For and -Proto are believed."""
    tls_certificate: str = ""
    """PEM file; with it the server speaks HTTPS."""
    tls_key: str = ""
    """PEM file of the certificate's private key."""
    body_bytes: int = 1 * MIB
    """Largest request body of anything but an upload."""
    upload_bytes: int = 64 * 1024 * MIB
    """Largest body of one STOW-RS or upload request."""
    part_bytes: int = 4 * 1024 * MIB
    """Largest single instance within an upload."""
    parts: int = 100_000
    """Most instances within one upload."""
    header_bytes: int = 64 * 1024
    """Largest request head (request line and headers)."""
    header_seconds: float = 20.0
    """Time in which a request head must arrive."""
    body_seconds: float = 30.0
    """Longest silence within a request body, or of a client that does not read its answer."""
    keep_alive_seconds: float = 30.0
    """How long an idle connection is kept."""
    max_connections: int = 1000
    """Connections at one time; more are closed at once."""
    page: int = 10_000
    """Most results of one search; more are announced by a Warning header."""
    threads: int = 8
    """Threads for searching and storing."""
    decoders: int = DECODERS
    """Processes that decode pixels, begun when needed."""
    decode_seconds: float = 30.0
    """Time for one frame, picture or file; then its decoder is killed."""
    decode_bytes: int = 4 * 1024 * MIB
    """Memory that a decoder may take."""
    convert_seconds: float = 900.0
    """Time in which the files of one upload must be converted to DICOM."""
    convert_bytes: int = 16 * 1024 * MIB
    """Memory that their conversion may take."""
    thumbnail_cache_bytes: int = 64 * MIB
    """Memory for thumbnails."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, (int, float)) and not value > 0:
                raise ParameterError(f"setting {item.name} is {value}; give a number above 0")
        digest = self.token_sha256
        if digest and (len(digest) != 64 or set(digest.lower()) - set("0123456789abcdef")):
            raise ParameterError(
                "setting token_sha256 is not 64 hexadecimal digits; make it with "
                "`printf %s TOKEN | sha256sum`"
            )
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ParameterError("settings tls_certificate and tls_key go together; give both")

    @classmethod
    def load(cls, root: Path | str, *, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the archive folder's ``somascope.toml`` (if there) and the environment.

        Raises `ParameterError` naming the key for unknown keys and wrong types.
        """
        environ = os.environ if environ is None else environ
        path = Path(root) / FILE
        table: Any = {}
        if path.is_file():
            try:
                table = tomllib.loads(path.read_text(encoding="utf-8")).get(SECTION, {})
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise ParameterError(f"{path} is not valid TOML: {error}") from error
        if not isinstance(table, dict):
            raise ParameterError(f"{path}: [{SECTION}] is not a table")
        known = {item.name: item for item in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in table.items():
            if name not in known:
                raise ParameterError(
                    f"{path}: [{SECTION}] has no setting {name!r}; there is {', '.join(known)}"
                )
            values[name] = _typed(name, value, known[name].default, where=str(path))
        for name, item in known.items():
            text = environ.get(f"SOMASCOPE_{name.upper()}")
            if text is not None:
                values[name] = _typed(
                    name, text, item.default, where=f"variable SOMASCOPE_{name.upper()}"
                )
        return cls(**values)


def _typed(name: str, value: Any, default: Any, *, where: str) -> Any:
    assert default is not MISSING
    wanted = type(default)
    if wanted is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(i, str) for i in items):
            return tuple(i.strip() for i in items if i.strip())
    elif wanted is str:
        if isinstance(value, str):
            return value
    elif not isinstance(value, bool) and isinstance(value, (str, int, float)):
        try:
            return wanted(value)
        except ValueError:
            pass
    kinds = {tuple: "a list of texts", str: "a text", int: "a whole number", float: "a number"}
    shown = "" if name.startswith("token") else f" {value!r}"
    raise ParameterError(f"{where}: {name}{shown} must be {kinds[wanted]}")
