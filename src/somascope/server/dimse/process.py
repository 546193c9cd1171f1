"""``python -m somascope.server.dimse.process``: an acceptor process, started by `serve_dimse`.

Standard input brings one line, the settings as JSON; its end means that the supervisor is gone.
Standard output says ``ready`` once the archive is open and the port is served.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading

from somascope.server.dimse.acceptor import Acceptor
from somascope.server.dimse.ledger import Ledger
from somascope.server.dimse.settings import Settings
from somascope.server.logs import configure


def _end_with_parent(acceptor: Acceptor) -> None:
    while os.read(0, 4096):
        pass
    acceptor.stop()


def main() -> int:
    """Serve the inherited socket until SIGTERM or the supervisor's end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--ledger", type=int, required=True)
    parser.add_argument("--index", type=int, required=True)
    args = parser.parse_args()
    configure()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            return 1
        line += piece
    settings = Settings.from_json(line.decode())

    from somascope.archive import Archive
    from somascope.server.dimse import identifier, negotiate, session

    session.services()  # all that the first association would import
    negotiate.storage_classes()
    identifier.trust_keys()
    # a thread that waits for the interpreter lock gets it sooner: replies are short
    sys.setswitchinterval(0.001)
    ledger = Ledger(
        settings.processes, settings.limits.associations, index=args.index, fd=args.ledger
    )
    archive = Archive.open(settings.root)
    acceptor = Acceptor(
        socket.socket(fileno=args.listener), archive, settings=settings, ledger=ledger
    )
    signal.signal(signal.SIGTERM, lambda *_: acceptor.stop())
    threading.Thread(target=_end_with_parent, args=(acceptor,), daemon=True).start()
    os.write(1, b"ready\n")
    acceptor.serve()
    archive.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
