"""One process, one archive, two addresses: our viewer and OHIF over the same DICOMweb.

``python -m benchmarks.viewer.both ARCHIVE`` writes the two ports and serves until its input ends;
each line that it reads is answered with what was asked of DICOMweb since the line before.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvicorn

from benchmarks.viewer import ohif
from somascope.archive import Archive
from somascope.server.app import create_app
from somascope.server.limits import protocol
from somascope.server.settings import Settings


async def _serve(archive: Archive) -> None:
    settings, asked = Settings(), []
    folder = ohif.dist()
    if folder is None:
        raise SystemExit(f"no OHIF: {ohif.VARIABLE} does not name its folder")
    ours = ohif.noted(create_app(archive, settings=settings), asked)
    servers = [
        uvicorn.Server(
            uvicorn.Config(
                app, port=0, http=protocol(settings), lifespan="off", log_level="warning",
                access_log=False, server_header=False,
            )
        )
        for app in (ours, ohif.site(folder, ours))
    ]  # fmt: skip
    running = [asyncio.create_task(server.serve()) for server in servers]
    while not all(server.started for server in servers):  # noqa: ASYNC110 there is no event
        await asyncio.sleep(0.01)
    _tell([server.servers[0].sockets[0].getsockname()[1] for server in servers])
    while await asyncio.to_thread(sys.stdin.readline):
        _tell(asked)
        asked.clear()
    for server in servers:
        server.should_exit = server.force_exit = True
    await asyncio.gather(*running)


def _tell(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with Archive.open(sys.argv[1]) as opened:
        asyncio.run(_serve(opened))
