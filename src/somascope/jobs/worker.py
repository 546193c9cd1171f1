"""`python -m somascope.jobs.worker --archive ROOT [--url URL] [--workers N] [--executor NAME]`.

Takes jobs from an archive until SIGTERM or SIGINT. Several may serve one archive.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from somascope.core.errors import SomascopeError


def main(argv: list[str] | None = None) -> int:
    """Serve; the exit status."""
    parser = argparse.ArgumentParser(prog="somascope.jobs.worker", description=__doc__)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--url", default=None, help="SQLAlchemy URL of the archive's database")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--executor", choices=("local", "ray"), default="local")
    args = parser.parse_args(argv)
    stop = threading.Event()

    def listen() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())

    listen()
    from somascope.jobs.executor import executor

    try:
        with executor(args.executor, args.archive, workers=args.workers, url=args.url):
            listen()  # Ray puts a handler of its own there
            stop.wait()
    except SomascopeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
