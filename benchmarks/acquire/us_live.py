"""A live probe through three filters to the screen of headless Chromium: how late, how often.

One server as users start it and a page with the three filters of the live screen (Lee, CLAHE,
Gaussian); then, as the yardstick, the same page with none of them. The simulated probe is
beamformed as its channel data arrives. *Latency* runs from the arrival of a frame's channel data to
the end of its drawing on the page's canvas, the page's clock set by the quickest of its exchanges
with the server's. The first seconds are left out. The small case has one filter.

Three lines per case, with the same times: what is drawn per second, the 99th percentile of the
latency, and by how much the median of the last third is above that of the first third (no queue
grows where that is about nothing).
"""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.viewer.first_image import FLAGS

SCREEN = [
    *FLAGS, "--disable-gpu-rasterization", "--disable-accelerated-2d-canvas",
    "--disable-gpu-compositing",
]  # fmt: skip
"""Without a GPU the CPU draws text and canvases and puts the page together, as Chromium does by
itself where it finds none; only WebGL is left to the software that stands for the GPU."""
FILTERS = ("process.lee", "process.clahe", "process.gaussian")


@dataclass
class Seen:
    """Latencies in ms, in order, and the frames and seconds they were drawn in."""

    late: list[float]
    frames: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.frames / self.seconds

    @property
    def p99(self) -> float:
        return sorted(self.late)[min(len(self.late) - 1, int(0.99 * len(self.late)))]

    @property
    def growth(self) -> float:
        third = max(len(self.late) // 3, 1)
        return statistics.median(self.late[-third:]) - statistics.median(self.late[:third])


def chromium() -> str:
    return shutil.which("chromium") or shutil.which("chromium-browser") or ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(root: Path) -> Iterator[str]:
    port = _free_port()
    server = subprocess.Popen(
        [
            sys.executable, "-m", "somascope.cli", "serve", str(root), "--port", str(port),
            "--dicom-port", str(_free_port()), "--workers", "0", "--acceptors", "1",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{url}/api/system", timeout=2).close()
                break
            except OSError:
                if time.monotonic() > until or server.poll() is not None:
                    raise
                time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait(30)


@contextmanager
def live(browser: Any, url: str, *, size: int, filters: tuple[str, ...]) -> Iterator[Any]:
    """A page that shows the probe through these of the filters."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.set_default_timeout(300_000)
        page.goto(f"{url}/live")
        for name in FILTERS:
            page.locator(f"[data-step='{name}']").wait_for()
        remove(page, [name for name in FILTERS if name not in filters])
        page.select_option("select[aria-label=Size]", str(size))
        page.click("button:has-text('Start')")
        page.wait_for_selector("[data-live=running]")
        # The first beat is still being simulated: it has 25 frames.
        page.wait_for_function("() => somascope.live().drawn > 30")
        yield page
    finally:
        context.close()


def remove(page: Any, filters: Iterable[str]) -> None:
    for name in filters:
        page.click(f"[aria-label='Remove {name}']")
        page.locator(f"[data-step='{name}']").wait_for(state="detached")


def watch(page: Any, *, settling: float, seconds: float) -> Seen:
    """The page as it is now, looked at for so long."""
    page.wait_for_timeout(settling * 1000)
    began = page.evaluate("[performance.now(), somascope.live().drawn]")
    page.wait_for_timeout(seconds * 1000)
    # A starved machine may need longer than that for a frame.
    page.wait_for_function(f"() => somascope.live().drawn > {began[1]}")
    ended = page.evaluate("[performance.now(), somascope.live().drawn, somascope.live().latencies]")
    frames = int(ended[1] - began[1])
    return Seen(ended[2][-frames:], frames, (ended[0] - began[0]) / 1000)


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Three lines; none where Chromium is not there."""
    if not chromium():
        sys.stderr.write("benchmark us.live skipped: no Chromium\n")
        return
    from playwright.sync_api import sync_playwright

    size, rounds, settling, seconds = (128, 1, 0.5, 1.5) if small else (512, 3, 3.0, 9.0)
    filters = FILTERS[:1] if small else FILTERS
    seen: dict[bool, list[Seen]] = {True: [], False: []}
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=SCREEN)
        try:
            for _ in range(rounds):
                with live(browser, url, size=size, filters=filters) as page:
                    seen[True].append(watch(page, settling=settling, seconds=seconds))
                    remove(page, filters)
                    seen[False].append(watch(page, settling=settling, seconds=seconds))
        finally:
            browser.close()
    times = {
        k: {"min": min(min(s.late) for s in v),
            "median": statistics.median([x for s in v for x in s.late])}
        for k, v in seen.items()
    }  # fmt: skip
    for metric, figure in (
        ("frames drawn per second", "rate"),
        ("99th percentile, ms", "p99"),
        ("growth from first to last third, ms", "growth"),
    ):
        good, yard = (
            statistics.median([getattr(s, figure) for s in seen[k]]) for k in (True, False)
        )
        yield {
            "name": "us.live",
            "case": f"{size} x {size}, 25/s, beamformed, {len(filters)} filters, to the screen",
            "ours_ms": times[True],
            "peer": "no filter",
            "peer_version": version("somascope"),
            "peer_ms": times[False],
            "ratio": times[False]["median"] / times[True]["median"],
            "quality_metric": metric,
            "quality_ours": round(good, 2),
            "quality_peer": round(yard, 2),
        }
