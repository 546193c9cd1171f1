"""`serve_dimse`: the supervisor of the acceptor processes."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from somascope.core.errors import Refused, SomascopeError
from somascope.server.dimse.ledger import Ledger
from somascope.server.dimse.settings import PEERS_FILE, Limits, Peer, Settings, load_peers
from somascope.server.dimse.tls import Tls

log = logging.getLogger("somascope.dimse")

BACKLOG = 512
_RESTARTS = 10
"""An acceptor may die this often within a minute."""


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises `Refused` when the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise Refused(
            f"DICOM port {port} on {host} cannot be used ({error.strerror}); stop the program that "
            "has it, or choose another"
        ) from error
    return sock


class _Child:
    """One acceptor process."""

    def __init__(self, settings: Settings, *, index: int, listener: int, ledger: int) -> None:
        command = [sys.executable, "-m", "somascope.server.dimse.process"]
        command += ["--listener", str(listener), "--ledger", str(ledger), "--index", str(index)]
        self.index = index
        self.process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(listener, ledger),
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(settings.to_json().encode() + b"\n")
            self.process.stdin.flush()
        self.said = self.process.stdout

    def ready(self, seconds: float) -> bool:
        """Whether it said so within ``seconds``."""
        readable, _, _ = select.select([self.said], [], [], seconds)
        return bool(readable) and os.read(self.said.fileno(), 16) != b""

    def end(self, seconds: float) -> None:
        """Stop it, at the latest after ``seconds``."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def serve_dimse(
    root: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 11112,
    aet: str = "SOMASCOPE",
    processes: int = 2,
    peers: Sequence[Peer] | None = None,
    known_peers_only: bool | None = None,
    unknown_storage: bool = True,
    limits: Limits | None = None,
    tls: Tls | None = None,
    ready: Callable[[int], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Serve the archive in ``root`` on a DICOM port until SIGTERM, SIGINT or ``stop``.

    Parameters
    ----------
    root
        The archive's folder.
    host, port
        Where to listen; port 0 takes a free one, `ready` tells which.
    aet
        Our application entity title.
    processes
        Acceptor processes sharing the port; one that dies is started again.
    peers
        Known application entities; None reads ``dicom-peers.toml`` in ``root``, if there is one.
    known_peers_only
        Refuse other calling titles and addresses. None: unless ``host`` is a loopback address.
    unknown_storage
        Also store private SOP classes and those newer than our dictionary.
    tls
        Certificate and key of the port; None reads ``[dicom]`` of ``somascope.toml`` in ``root``.
    ready
        Called once with the port when all acceptors serve.
    stop
        Ends the server when set; needed where signals are not ours (not the main thread).

    Raises
    ------
    Refused
        The port cannot be had.
    ParameterError
        A certificate or key cannot be used.
    SomascopeError
        An acceptor does not start, or keeps dying.
    """
    if peers is None:
        file = Path(root) / PEERS_FILE
        peers = load_peers(file) if file.exists() else ()
    stop = stop or threading.Event()
    if threading.current_thread() is threading.main_thread():

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            stop.set()

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
    settings = Settings(
        root=str(Path(root).resolve()),
        aet=aet,
        host=host,
        port=port,
        processes=processes,
        peers=tuple(peers),
        known_peers_only=known_peers_only,
        unknown_storage=unknown_storage,
        limits=limits or Limits(),
        tls=Tls.load(root) if tls is None else tls,
    )
    if settings.tls:
        settings.tls.server()  # what is wrong with it is said here, once
    _supervise(settings, stop=stop, ready=ready)


def _supervise(
    settings: Settings, *, stop: threading.Event, ready: Callable[[int], None] | None
) -> None:
    listener = listen(settings.host, settings.port)
    ledger = Ledger(settings.processes, settings.limits.associations)

    def start(index: int) -> _Child:
        ledger.wipe(index)
        return _Child(settings, index=index, listener=listener.fileno(), ledger=ledger.fd)

    children = []
    deaths: list[float] = []
    try:
        children = [start(index) for index in range(settings.processes)]
        for child in children:
            until = time.monotonic() + 60
            while not child.ready(0.2):
                if stop.is_set():
                    return
                if child.process.poll() is not None or time.monotonic() > until:
                    raise SomascopeError("a DICOM acceptor did not start; its message stands above")
        if ready is not None:
            ready(listener.getsockname()[1])
        while not stop.wait(0.2):
            for index, child in enumerate(children):
                if child.process.poll() is None:
                    continue
                now = time.monotonic()
                deaths = [t for t in deaths if now - t < 60] + [now]
                if len(deaths) > _RESTARTS:
                    raise SomascopeError("a DICOM acceptor keeps dying; see its messages above")
                log.warning("acceptor %d ended with %s", index, child.process.returncode)
                child.end(0)
                children[index] = start(index)
    finally:
        listener.close()
        for child in children:
            if child.process.poll() is None:
                child.process.terminate()
        for child in children:
            child.end(8.0)
        ledger.close()
