"""DIMSE over TLS (PS3.15 B.9, B.12: BCP 195): contexts, and a TLS socket as `UpperLayer` needs it.

TLS 1.2 and 1.3 with forward secrecy and authenticated encryption only. With a certificate
configured the DICOM port speaks TLS and nothing else; there is no second, plain port.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from somascope.core.errors import ParameterError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
FILE, SECTION = "somascope.toml", "dicom"
_TICK = 1.0


@dataclass(frozen=True, kw_only=True)
class Tls:
    """The ``[dicom]`` table of ``somascope.toml``; ``SOMASCOPE_DICOM_<FIELD>`` wins over it."""

    tls_certificate: str = ""
    """PEM file; with it the DICOM port speaks TLS."""
    tls_key: str = ""
    """PEM file of its private key."""
    tls_client_ca: str = ""
    """PEM file; with it peers must show a certificate that these authorities signed."""
    tls_ca: str = ""
    """PEM file of the authorities of the peers that we call; default: the system's."""

    def __post_init__(self) -> None:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ParameterError("[dicom] tls_certificate and tls_key go together; give both")
        if self.tls_client_ca and not self.tls_certificate:
            raise ParameterError("[dicom] tls_client_ca needs tls_certificate and tls_key")

    def __bool__(self) -> bool:
        """Whether the port speaks TLS."""
        return bool(self.tls_certificate)

    @classmethod
    def load(cls, root: Path | str, *, environ: Mapping[str, str] | None = None) -> Tls:
        """From the archive's folder and the environment; `ParameterError` names what is wrong."""
        environ = os.environ if environ is None else environ
        path = Path(root) / FILE
        table: Any = {}
        if path.is_file():
            try:
                table = tomllib.loads(path.read_text(encoding="utf-8")).get(SECTION, {})
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise ParameterError(f"{path} is not valid TOML: {error}") from error
        names = [f.name for f in fields(cls)]
        if not isinstance(table, dict) or set(table) - set(names):
            raise ParameterError(f"{path}: [{SECTION}] may hold {', '.join(names)}")
        values: dict[str, str] = {}
        for name in names:
            value = environ.get(f"SOMASCOPE_DICOM_{name.upper()}", table.get(name, ""))
            if not isinstance(value, str):
                raise ParameterError(f"{path}: [{SECTION}] {name} must be a text: a file's path")
            values[name] = value
        return cls(**values)

    def server(self) -> ssl.SSLContext:
        """For the acceptor. Raises `ParameterError` where a file cannot be used."""
        context = _context(ssl.PROTOCOL_TLS_SERVER)
        self._chain(context)
        if self.tls_client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            _load(context.load_verify_locations, self.tls_client_ca)
        return context

    def client(self) -> ssl.SSLContext:
        """For calling peers: their certificates are verified, ours is shown where we have one."""
        context = _context(ssl.PROTOCOL_TLS_CLIENT)
        if self.tls_ca:
            _load(context.load_verify_locations, self.tls_ca)
        else:
            context.load_default_certs()
        if self.tls_certificate:
            self._chain(context)
        return context

    def _chain(self, context: ssl.SSLContext) -> None:
        _load(context.load_cert_chain, self.tls_certificate, self.tls_key)


def _context(kind: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(kind)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def _load(load: Any, *files: str) -> None:
    try:
        load(*files)
    except (OSError, ssl.SSLError) as error:
        raise ParameterError(f"[dicom] {' and '.join(files)} cannot be used: {error}") from error


class TlsSocket:
    """What `UpperLayer` asks of a socket, over TLS.

    Receiving waits at most a tick, as the kernel does it for a plain socket; sending `send`
    seconds. Where nothing has come, `BlockingIOError` or `TimeoutError` is raised.
    """

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self._peeked = b""
        self._receive_timeout: float | None = _TICK
        self._send_timeout: float | None = 30.0
        self._blocking = sock.gettimeout() != 0.0

    def fileno(self) -> int:
        """Of the socket below."""
        return self._sock.fileno()

    def timeouts(self, *, receive: float, send: float) -> None:
        """Seconds, for `dimse.upper_layer.set_timeouts`."""
        self._receive_timeout, self._send_timeout = receive, send

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001
        """Whether calls wait (up to their timeouts)."""
        self._blocking = flag
        self._sock.settimeout(self._receive_timeout if flag else 0.0)

    def setsockopt(self, *arguments: Any) -> None:
        """Of the socket below."""
        self._sock.setsockopt(*arguments)

    def handshake(self) -> int | None:
        """Go on with the handshake: ``None`` when it is done, else what to wait for.

        1 is readable, 2 is writable, as in `selectors`. Raises `OSError` where it failed.
        """
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            return 1
        except ssl.SSLWantWriteError:
            return 2
        return None

    @property
    def pending(self) -> bool:
        """Whether bytes are here that the system below does not know of any more."""
        return bool(self._peeked) or self._sock.pending() > 0

    def recv(self, size: int) -> bytes:
        """As `socket.recv`."""
        buffer = bytearray(size)
        return bytes(buffer[: self.recv_into(memoryview(buffer), 0, 0)])

    def recv_into(self, view: memoryview, size: int = 0, flags: int = 0) -> int:
        """As `socket.recv_into`; of the flags, MSG_PEEK (of one byte) and MSG_DONTWAIT count."""
        if size:
            view = view[:size]
        peek = flags & socket.MSG_PEEK
        if self._peeked and len(view):
            view[:1] = self._peeked
            if not peek:
                self._peeked = b""
            return 1
        wait = self._blocking and not flags & getattr(socket, "MSG_DONTWAIT", 0)
        self._sock.settimeout(self._receive_timeout if wait else 0.0)
        try:
            n = self._sock.recv_into(view)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error
        except ssl.SSLEOFError:
            return 0
        finally:
            if self._blocking:
                self._sock.settimeout(self._receive_timeout)
        if peek and n:
            self._peeked = bytes(view[:1])
        return n

    def sendall(self, data: Any) -> None:
        """As `socket.sendall`, in pieces, each within the timeout."""
        if self._blocking:
            self._sock.settimeout(self._send_timeout)
        try:
            with memoryview(data).cast("B") as view:
                for at in range(0, len(view), 1 << 16):
                    self._sock.sendall(view[at : at + (1 << 16)])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error
        finally:
            if self._blocking:
                self._sock.settimeout(self._receive_timeout)

    def shutdown(self, how: int) -> None:
        """End one direction; the end of what we send is told first (close_notify)."""
        if how != socket.SHUT_RD:
            self._tell()
        socket.socket.shutdown(self._sock, how)  # SSLSocket's would go on without encryption

    def close(self) -> None:
        """Tell the peer, and close."""
        if self._sock.fileno() >= 0:
            self._tell()
        self._sock.close()

    def _tell(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._sock.settimeout(0.0)
            self._sock.unwrap()
