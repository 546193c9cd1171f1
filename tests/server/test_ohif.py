"""A viewer by others against our DICOMweb: the ready-built OHIF, same-origin, in Chromium.

OHIF is not part of this project; without it these tests are skipped. How to get its site and name
it in SOMASCOPE_OHIF_DIST is told in `benchmarks.viewer.ohif`. Screenshots are kept in the folder
that SOMASCOPE_SCREENSHOTS names.

Each test has a browser context of its own. Opened again in a context that has its bundles in the
cache, about every second time OHIF does not start: the page stays empty and nothing is asked of the
server (seen with 3.12.10 in 2 of 4 loads; in a new context in none of 12).
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn

from benchmarks.viewer import ohif as ohif_site
from tests.screen import open_browser

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def dist() -> Path:
    folder = ohif_site.dist()
    if folder is None:
        pytest.skip(f"{ohif_site.VARIABLE} names no OHIF {ohif_site.VERSION}; see the head")
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
def ohif(archive, dist) -> Iterator[tuple[str, list[ohif_site.Asked]]]:
    """Its URL, and the DICOMweb requests that it made with their answers' status."""
    from somascope.server.app import create_app
    from somascope.server.settings import Settings

    asked: list[ohif_site.Asked] = []
    ours = ohif_site.noted(create_app(archive, settings=Settings()), asked)
    with serving(ohif_site.site(dist, ours)) as url:
        yield url, asked


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as found:
        yield found


@pytest.fixture
def page(browser, ohif) -> Iterator[Any]:
    """A page of its own for each test: nothing remembered, and what it complained of is told."""
    context = browser.new_context(service_workers="block", viewport={"width": 1280, "height": 800})
    opened, heard = context.new_page(), []
    opened.set_default_timeout(150_000)
    opened.on("pageerror", lambda e: heard.append(f"error: {e}"))
    opened.on("console", lambda m: m.type != "log" and heard.append(f"{m.type}: {m.text}"))
    opened.on("requestfailed", lambda r: heard.append(f"failed: {r.url} {r.failure}"))
    del ohif[1][:]
    yield opened
    print("\n".join(heard[-40:]))  # pytest shows it where the test failed
    print("\n".join(map(str, ohif[1][-20:])))
    context.close()


def shoot(page, name: str) -> np.ndarray:
    from PIL import Image

    png = page.screenshot(timeout=150_000)
    if folder := os.environ.get("SOMASCOPE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"ohif-{name}.png").write_bytes(png)
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=float)


def wait_for(page, condition, what: str, *, seconds: float = 150) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            shoot(page, "failed")
            pytest.fail(f"{what} did not happen within {seconds:g} s")
        page.wait_for_timeout(250)


def all_good(asked: list[ohif_site.Asked]) -> None:
    assert asked
    bad = [r for r in asked if r[1] not in (200, 204, 304)]
    assert not bad


def test_the_study_is_listed(page, ohif):
    page.goto(f"{ohif[0]}/")
    page.get_by_text("Ohif").first.wait_for()
    shoot(page, "list")
    assert any(r[:2] == ("GET /dicom-web/studies", 200) for r in ohif[1])
    all_good(ohif[1])


def test_it_opens_and_scrolls(page, ohif):
    url, asked = ohif
    study = "1.2.826.0.1.3680043.10.1743.7"
    page.goto(f"{url}/viewer?StudyInstanceUIDs={study}")
    page.locator(".cornerstone-canvas").first.wait_for()
    wait_for(page, lambda: sum("/frames/" in r[0] for r in asked) >= 40, "fetching the frames")
    page.get_by_text("Skip all").click()  # the tour of OHIF darkens what we want to see
    box = page.locator(".cornerstone-canvas").first.bounding_box()
    rows = slice(int(box["y"] + box["height"] * 0.3), int(box["y"] + box["height"] * 0.7))
    columns = slice(int(box["x"] + box["width"] * 0.3), int(box["x"] + box["width"] * 0.7))

    def middle(name: str) -> np.ndarray:
        return shoot(page, name)[rows, columns]

    wait_for(page, lambda: middle("stack").std() > 10, "drawing a slice")
    first = middle("stack")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for _ in range(20):
        page.mouse.wheel(0, 100)
        page.wait_for_timeout(100)
    wait_for(
        page, lambda: np.abs(first - middle("scrolled")).mean() > 3, "scrolling to another slice"
    )
    all_good(asked)


def test_mpr(page, ohif):
    study = "1.2.826.0.1.3680043.10.1743.7"
    page.goto(f"{ohif[0]}/viewer?StudyInstanceUIDs={study}&hangingProtocolId=mpr")

    def drawn() -> bool:
        """Whether three planes show something; OHIF may have a fourth canvas for a while."""
        shown = shoot(page, "mpr")
        spreads = [0.0] * 3
        for canvas in page.locator(".cornerstone-canvas").all():
            box = canvas.bounding_box()
            if box is None or min(box["width"], box["height"]) < 100:
                continue
            rows = slice(int(box["y"] + box["height"] * 0.25), int(box["y"] + box["height"] * 0.75))
            columns = slice(
                int(box["x"] + box["width"] * 0.25), int(box["x"] + box["width"] * 0.75)
            )
            spreads.append(shown[rows, columns].std())
        return sorted(spreads)[-3] > 10

    wait_for(page, drawn, "drawing three planes")
    all_good(ohif[1])
