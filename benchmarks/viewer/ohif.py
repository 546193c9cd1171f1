"""The ready-built OHIF viewer in front of our DICOMweb, same origin; the peer of `first_image`.

OHIF is not part of this project. Get its static site once (48 MB) and name its folder::

    npm pack @ohif/app@3.12.10
    tar xf ohif-app-3.12.10.tgz            # package/dist is the site
    export SOMASCOPE_OHIF_DIST=$PWD/package/dist
"""

from __future__ import annotations

import os
import time
from collections.abc import MutableSequence
from pathlib import Path

from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

VERSION = "3.12.10"
VARIABLE = "SOMASCOPE_OHIF_DIST"
CONFIG = """
window.config = {
  routerBasename: null, extensions: [], modes: [], showStudyList: true,
  maxNumberOfWebWorkers: 2, showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: false, showLoadingIndicator: true, strictZSpacingForVolumeViewport: true,
  investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'somascope',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'somascope',
    configuration: {
      friendlyName: 'Somascope', name: 'somascope',
      wadoUriRoot: '/wado', qidoRoot: '/dicom-web', wadoRoot: '/dicom-web',
      qidoSupportsIncludeField: true, supportsReject: false, supportsStow: true,
      imageRendering: 'wadors', thumbnailRendering: 'wadors', enableStudyLazyLoad: true,
      supportsFuzzyMatching: true, supportsWildcard: true, singlepart: 'bulkdata,video',
      bulkDataURI: { enabled: true, relativeResolution: 'studies' },
      omitQuotationForMultipartRequest: true,
    },
  }],
};
"""
"""OHIF's own default settings, pointed at our server."""


def dist() -> Path | None:
    """The folder of the site, or None where `VARIABLE` names none."""
    folder = Path(os.environ.get(VARIABLE, "no-such-folder"))
    return folder if (folder / "index.html").is_file() else None


def site(folder: Path, ours: ASGIApp) -> ASGIApp:
    """OHIF's files at ``/``; what it asks of DICOMweb is answered by ``ours``."""
    folder = folder.resolve()

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(("/dicom-web", "/wado")):
            await ours(scope, receive, send)
            return
        if path == "/app-config.js":
            answer = Response(CONFIG, media_type="text/javascript")
        else:
            file = (folder / path.lstrip("/")).resolve()
            inside = file.is_relative_to(folder) and file.is_file()
            answer = FileResponse(file if inside else folder / "index.html")
        await answer(scope, receive, send)

    return front


Asked = tuple[str, int, float]
"""Method and path, status, and when its answer began (seconds since the epoch)."""


def noted(app: ASGIApp, asked: MutableSequence[Asked]) -> ASGIApp:
    """``app``, with every DICOMweb request that it answers written into ``asked``."""

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if not path.startswith(("/dicom-web", "/wado")):
            await app(scope, receive, send)
            return

        async def note(message) -> None:
            if message["type"] == "http.response.start":
                asked.append((f"{scope['method']} {path}", message["status"], time.time()))
            await send(message)

        await app(scope, receive, note)

    return noting
