"""A live probe through three filters to the screen of headless Chromium: how late, how often.

One server as users start it; in turn a page with the three filters of the live screen (Lee, CLAHE,
Gaussian) and, as the yardstick, the same page with none. The simulated probe is beamformed as its
channel data arrives. *Latency* runs from the arrival of a frame's channel data to the end of its
drawing on the page's canvas, the page's clock set by the quickest of its exchanges with the
server's. The first seconds are left out.

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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.viewer.first_image import FLAGS

FILTERS = ("process.lee", "process.clahe", "process.gaussian")
SETTLING = 3.0


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


def watch(browser: Any, url: str, *, size: int, filters: bool, seconds: float) -> Seen:
    """One page from its start until it has been looked at for so long."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.set_default_timeout(300_000)
        page.goto(f"{url}/live")
        for name in FILTERS:
            step = page.locator(f"[data-step='{name}']")
            step.wait_for()
            if not filters:
                page.click(f"[aria-label='Remove {name}']")
        page.select_option("select[aria-label=Size]", str(size))
        page.click("button:has-text('Start')")
        page.wait_for_selector("[data-live=running]")
        # The first beat is still being simulated: it has 25 frames.
        page.wait_for_function("() => somascope.live().drawn > 30")
        page.wait_for_timeout(SETTLING * 1000)
        began = page.evaluate("[performance.now(), somascope.live().drawn]")
        page.wait_for_timeout(seconds * 1000)
        ended = page.evaluate(
            "[performance.now(), somascope.live().drawn, somascope.live().latencies]"
        )
        frames = int(ended[1] - began[1])
        if frames < 1:
            raise RuntimeError(f"no frame was drawn within {seconds:g} s")
        return Seen(ended[2][-frames:], frames, (ended[0] - began[0]) / 1000)
    finally:
        context.close()


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Three lines; none where Chromium is not there."""
    if not chromium():
        sys.stderr.write("benchmark us.live skipped: no Chromium\n")
        return
    from playwright.sync_api import sync_playwright

    size, rounds, seconds = (128, 1, 3.0) if small else (512, 3, 9.0)
    seen: dict[bool, list[Seen]] = {True: [], False: []}
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            for _ in range(rounds):
                for filters in (False, True):
                    found = watch(browser, url, size=size, filters=filters, seconds=seconds)
                    seen[filters].append(found)
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
            "case": f"{size} x {size}, 25/s, beamformed, three filters, to the screen",
            "ours_ms": times[True],
            "peer": "no filter",
            "peer_version": version("somascope"),
            "peer_ms": times[False],
            "ratio": times[False]["median"] / times[True]["median"],
            "quality_metric": metric,
            "quality_ours": round(good, 2),
            "quality_peer": round(yard, 2),
        }
