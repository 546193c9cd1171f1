"""What an archive keeps to know its users: a random key for session cookies, a token's digest.

One file in the archive's folder, readable by its owner only, made once and replaced as a whole::

    DIR/credentials.json    {"session": "<64 hex digits>", "token_sha256": "<the same, or none>"}

A running server notices within `CHECKED` seconds that it was replaced: then all sessions end.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from somascope.core.errors import Refused
from somascope.server.settings import Settings

FILE = "credentials.json"
CHECKED = 1.0
"""Seconds after which the file is looked at again."""
_LOG = logging.getLogger("somascope.server.security")


@dataclass(frozen=True)
class Stored:
    """The contents of the file."""

    session: bytes
    token_sha256: str = ""


class Credentials:
    """The token's digest and the key of session cookies, as they are now.

    ``root`` is the archive's folder; ``None`` keeps a key in memory only. A token in ``settings``
    wins over the one of the file.
    """

    def __init__(self, root: Path | str | None, settings: Settings) -> None:
        self._root = None if root is None else Path(root)
        self._fixed = settings.token_sha256.lower()
        if settings.token:
            self._fixed = hashlib.sha256(settings.token.encode()).hexdigest()
        self._stamp: tuple[int, ...] | None = None
        self._next = 0.0
        self._digest, self._key = self._fixed, secrets.token_bytes(32)
        self._look()

    @property
    def digest(self) -> str:
        """SHA-256 of the token in hexadecimal; ``""`` where none is needed."""
        self._look()
        return self._digest

    @property
    def session_key(self) -> bytes:
        """32 bytes that sign cookies; another one once the token or the file's key changes."""
        self._look()
        return self._key

    def _look(self) -> None:
        now = time.monotonic()
        if self._root is None or now < self._next:
            return
        self._next = now + CHECKED
        stamp = _stamp(self._root / FILE)
        if stamp is not None and stamp == self._stamp:
            return
        try:
            found = read(self._root)
        except Refused as error:
            if self._stamp is None:
                raise
            _LOG.error("%s; what was valid stays valid", error)
            self._stamp = stamp
            return
        if found is None and self._stamp is not None:  # removed: that must not open the door
            return
        digest = self._fixed or (found.token_sha256 if found else "")
        if found is None and digest:
            found = _keep(self._root, Stored(secrets.token_bytes(32)), new=True)
        self._stamp = _stamp(self._root / FILE)
        self._digest = digest
        if found is not None:
            self._key = hmac.new(found.session, digest.encode(), hashlib.sha256).digest()


def read(root: Path | str) -> Stored | None:
    """What the archive folder ``root`` keeps; ``None`` where nothing (good) is kept.

    Raises `Refused` where others than the owner may read it.
    """
    path = Path(root) / FILE
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(4096)
    except FileNotFoundError:
        return None
    if os.name != "nt" and mode & 0o077:
        raise Refused(
            f"{path} can be read by others (mode {mode & 0o777:o}); if nobody did, "
            f"`chmod 600 {path}`, else make new ones with `somascope serve --new-token`"
        )
    try:
        found = json.loads(text)
        session, digest = bytes.fromhex(found["session"]), str(found.get("token_sha256", ""))
        bytes.fromhex(digest)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refused(
            f"{path} is damaged; remove it, or make a new one with `somascope serve --new-token`"
        ) from error
    if len(session) != 32 or len(digest) not in (0, 64):
        raise Refused(f"{path} is damaged: a key of {len(session)} bytes; remove it")
    return Stored(session, digest.lower())


def new_token(root: Path | str) -> str:
    """Make a token and keep its digest; what was valid before, sessions included, ends.

    The token is nowhere else: whoever calls this shows it once. Raises `Refused` where the
    settings name a token, which would win.
    """
    settings = Settings.load(root)
    if settings.token or settings.token_sha256:
        raise Refused(
            "the settings name a token already (SOMASCOPE_TOKEN, or [http] in somascope.toml); "
            "remove it there, then make a new one"
        )
    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    Path(root).mkdir(parents=True, exist_ok=True)
    _keep(Path(root), Stored(secrets.token_bytes(32), digest), new=False)
    return token


def _keep(root: Path, stored: Stored, *, new: bool) -> Stored:
    """Write the file, durable and as a whole; with ``new`` the one that is there first stays."""
    path = root / FILE
    temporary = root / f".{FILE}-{secrets.token_hex(6)}"
    text = json.dumps({"session": stored.session.hex(), "token_sha256": stored.token_sha256})
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        if new and path.exists():
            return read(root) or stored
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _LOG.info("%s: a new key for sessions", path)
    return stored


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode
