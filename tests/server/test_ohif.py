"""A viewer by others against our DICOMweb: the ready-built OHIF, same-origin, in Chromium.

OHIF is not part of this project. Get its static site once (48 MB) and name its folder::

    npm pack @ohif/app@3.12.10
    tar xf ohif-app-3.12.10.tgz            # package/dist is the site
    export SOMASCOPE_OHIF_DIST=$PWD/package/dist

Without the variable these tests are skipped: they pass by themselves, but at the end of a whole run
of the suite the three planes of OHIF have been seen not to come up in time. Screenshots are kept
in the folder that SOMASCOPE_SCREENSHOTS names.
"""

from __future__ import annotations

import io
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from starlette.responses import FileResponse, Response

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(280)]

VERSION = "3.12.10"
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
FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    return found


def dist() -> Path:
    folder = Path(os.environ.get("SOMASCOPE_OHIF_DIST", "no-such-folder"))
    if not (folder / "index.html").is_file():
        pytest.skip(f"no OHIF {VERSION} at {folder} (SOMASCOPE_OHIF_DIST); see the head")
    return folder


def body(number: int, count: int, side: int) -> np.ndarray:
    """Slice of a made body: a trunk, two lungs of different size, a spine; left is not right."""
    z = (number - 0.5) / count * 2 - 1
    y, x = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    values = np.full((side, side), -1000.0)
    values[(x / 0.85) ** 2 + (y / 0.65) ** 2 < 1] = 40
    values[((x - 0.38) / 0.26) ** 2 + ((y + 0.05) / 0.4) ** 2 + (z / 0.9) ** 2 < 1] = -800
    values[((x + 0.4) / 0.2) ** 2 + ((y + 0.05) / 0.33) ** 2 + (z / 0.6) ** 2 < 1] = -700
    values[(x / 0.1) ** 2 + ((y - 0.42) / 0.1) ** 2 < 1] = 700
    return values


@pytest.fixture(scope="module")
def archive(tmp_path_factory, make_slice):
    import pydicom

    from somascope.archive import Archive

    count, side = 48, 128
    with Archive.open(tmp_path_factory.mktemp("ohif")) as found:
        for n in range(1, count + 1):
            d = pydicom.dcmread(io.BytesIO(make_slice(n, side=side, name="Ohif^Guest")))
            d.PixelSpacing, d.SliceThickness = [2.5, 2.5], 5
            d.ImagePositionPatient = [-160, -160, 5.0 * n]
            d.PixelData = (body(n, count, side) + 1024).astype("<u2").tobytes()
            out = io.BytesIO()
            d.save_as(out, enforce_file_format=True)
            found.store(out.getvalue())
        yield found


@contextmanager
def serving(app) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(15)


@pytest.fixture(scope="module")
def ohif(archive) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Its URL, and the DICOMweb requests that it made with their answers' status."""
    from somascope.server.app import create_app
    from somascope.server.settings import Settings

    site, ours = dist(), create_app(archive, settings=Settings())
    asked: list[tuple[str, int]] = []

    async def front(scope, receive, send) -> None:
        path = scope["path"]
        if path.startswith(("/dicom-web", "/wado")):

            async def noted(message) -> None:
                if message["type"] == "http.response.start":
                    asked.append((f"{scope['method']} {path}", message["status"]))
                await send(message)

            await ours(scope, receive, noted)
            return
        if path == "/app-config.js":
            answer = Response(CONFIG, media_type="text/javascript")
        else:
            file = (site / path.lstrip("/")).resolve()
            inside = file.is_relative_to(site.resolve()) and file.is_file()
            answer = FileResponse(file if inside else site / "index.html")
        await answer(scope, receive, send)

    with serving(front) as url:
        yield url, asked


@pytest.fixture(scope="module")
def page(ohif):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        context = browser.new_context(
            service_workers="block", viewport={"width": 1280, "height": 800}
        )
        opened = context.new_page()
        opened.set_default_timeout(150_000)
        yield opened
        browser.close()


def shoot(page, name: str) -> np.ndarray:
    from PIL import Image

    png = page.screenshot(timeout=150_000)
    if folder := os.environ.get("SOMASCOPE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"ohif-{name}.png").write_bytes(png)
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=float)


def wait_for(condition, what: str, *, seconds: float = 150) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.25)


def test_the_study_is_listed(page, ohif):
    page.goto(f"{ohif[0]}/")
    page.get_by_text("Ohif").first.wait_for()
    shoot(page, "list")
    assert any(r == ("GET /dicom-web/studies", 200) for r in ohif[1])


def test_it_opens_and_scrolls(page, ohif, make_slice):
    url, asked = ohif
    study = "1.2.826.0.1.3680043.10.1743.7"
    page.goto(f"{url}/viewer?StudyInstanceUIDs={study}")
    page.locator(".cornerstone-canvas").first.wait_for()
    wait_for(lambda: sum("/frames/" in r for r, _ in asked) >= 40, "fetching the frames")
    page.get_by_text("Skip all").click()  # the tour of OHIF darkens what we want to see
    box = page.locator(".cornerstone-canvas").first.bounding_box()
    rows = slice(int(box["y"] + box["height"] * 0.3), int(box["y"] + box["height"] * 0.7))
    columns = slice(int(box["x"] + box["width"] * 0.3), int(box["x"] + box["width"] * 0.7))

    def middle(name: str) -> np.ndarray:
        return shoot(page, name)[rows, columns]

    wait_for(lambda: middle("stack").std() > 10, "drawing a slice")
    first = middle("stack")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for _ in range(20):
        page.mouse.wheel(0, 100)
        time.sleep(0.1)
    wait_for(lambda: np.abs(first - middle("scrolled")).mean() > 3, "scrolling to another slice")


def test_mpr(page, ohif):
    study = "1.2.826.0.1.3680043.10.1743.7"
    page.goto(f"{ohif[0]}/viewer?StudyInstanceUIDs={study}&hangingProtocolId=mpr")
    wait_for(lambda: page.locator(".cornerstone-canvas").count() == 3, "three viewports")

    def drawn() -> bool:
        """Whether every plane shows something."""
        shown = shoot(page, "mpr")
        spreads: list[float] = []
        for canvas in page.locator(".cornerstone-canvas").all():
            box = canvas.bounding_box()
            rows = slice(int(box["y"] + box["height"] * 0.25), int(box["y"] + box["height"] * 0.75))
            columns = slice(
                int(box["x"] + box["width"] * 0.25), int(box["x"] + box["width"] * 0.75)
            )
            spreads.append(shown[rows, columns].std())
        return min(spreads) > 10

    wait_for(drawn, "drawing three planes")


def test_every_answer_was_good(ohif):
    asked = ohif[1]
    assert len(asked) > 40
    bad = [r for r in asked if r[1] not in (200, 204, 304)]
    assert not bad
