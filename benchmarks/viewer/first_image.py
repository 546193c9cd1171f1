"""From a click to the first image: our viewer and OHIF on the same server, in headless Chromium.

One CT series of 300 slices of 512 x 512 lies in one archive; one process serves it under two
addresses, with our viewer at one and OHIF's ready-built site at the other (`both`). Each trial has
a fresh browser context, so nothing is in its cache. In turn, for each viewer:

* *click in the list*: the list of studies is opened and left alone until the network is quiet and
  `READING` seconds have gone, as a reader would; then the study is opened by its last click.
* *address opened*: the address of the study is opened at once.

The picture counts as drawn when the grey levels of some large canvas deviate by more than
`CONTRAST` from their mean: the same script watches both pages, once per animation frame. *All
frames* is when the server had begun to answer for the last of the series' frames.

OHIF is not installed with this project: without its folder in ``SOMASCOPE_OHIF_DIST`` (how to get
it is told in `benchmarks.viewer.ohif`) or without Chromium nothing is measured and a line on
standard error says so.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.server.web import STUDY, slices
from benchmarks.viewer import ohif
from somascope.archive import Archive

READING = 4.0
"""Seconds that the list is looked at before the click."""
CONTRAST = 10
FLAGS = [
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WATCH = """
(contrast => {
  const small = document.createElement("canvas");
  small.width = small.height = 32;
  const pen = small.getContext("2d", { willReadFrequently: true });
  window.measured = { opened: performance.timeOrigin, clicked: 0, drawn: 0, grey: 0 };
  addEventListener("click", e => {
    if (!measured.drawn) measured.clicked = performance.timeOrigin + e.timeStamp;
  }, true);
  // Reading pixels back is slow: only canvases that were drawn on since the last look are read.
  const fresh = new Set();
  const prototype = CanvasRenderingContext2D.prototype;
  for (const name of ["drawImage", "putImageData"]) {
    const original = prototype[name];
    prototype[name] = function (...given) {
      if (this.canvas !== small) fresh.add(this.canvas);
      return original.apply(this, given);
    };
  }
  const look = () => {
    for (const canvas of fresh) {
      const box = canvas.getBoundingClientRect();
      if (box.width < 200 || box.height < 200) continue;
      pen.drawImage(canvas, 0, 0, 32, 32);
      const { data } = pen.getImageData(0, 0, 32, 32);
      const grey = Array.from({ length: 1024 }, (_, i) => data[4 * i]);
      const mean = grey.reduce((a, b) => a + b) / 1024;
      const variance = grey.reduce((a, b) => a + (b - mean) ** 2, 0) / 1024;
      if (Math.sqrt(variance) > contrast) {
        measured.drawn = performance.timeOrigin + performance.now();
        measured.grey = grey[16 * 32 + 16];
        return;
      }
    }
    fresh.clear();
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})
"""
"""Run in a page before its own scripts; both viewers show their pictures on 2D canvases."""


class Server:
    """Both viewers' addresses, and what was asked of DICOMweb."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.ours, self.ohif = self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the server with both viewers ended")
        return json.loads(line)

    def asked(self) -> list[ohif.Asked]:
        """Requests since the last call."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return [(path, status, when) for path, status, when in self._read()]


@contextmanager
def serving(root: Path) -> Iterator[Server]:
    """The process of `both`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.viewer.both", str(root)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield Server(process)
    finally:
        process.terminate()
        process.communicate()


def _click_ours(page: Any, port: int) -> None:
    page.goto(f"http://127.0.0.1:{port}/")
    row = page.locator("tr[data-study]").first
    row.wait_for()
    _read(page)
    row.click()


def _click_ohif(page: Any, port: int) -> None:
    page.goto(f"http://127.0.0.1:{port}/")
    page.get_by_text("Bench").first.click()
    button = page.locator('[data-cy^="mode-viewer"]').first
    button.wait_for()
    _read(page)
    button.click()


def _read(page: Any) -> None:
    page.wait_for_load_state("load")
    page.wait_for_timeout(READING * 1000)


def _open_ours(page: Any, port: int) -> None:
    page.goto(f"http://127.0.0.1:{port}/study/{STUDY}", wait_until="commit")


def _open_ohif(page: Any, port: int) -> None:
    page.goto(f"http://127.0.0.1:{port}/viewer?StudyInstanceUIDs={STUDY}", wait_until="commit")


CASES = {
    "click in the list": (_click_ours, _click_ohif, "clicked"),
    "address opened": (_open_ours, _open_ohif, "opened"),
}


def _trial(
    browser: Any, server: Server, port: int, open_study: Any, since: str, count: int
) -> tuple[float, float, float]:
    """Milliseconds to the first image and to the last frame's answer, and a grey level."""
    context = browser.new_context(service_workers="block", viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.set_default_timeout(180_000)
        page.add_init_script(f"({WATCH.strip()})({CONTRAST})")
        server.asked()
        open_study(page, port)
        until = time.monotonic() + 180
        while not (measured := page.evaluate("window.measured"))["drawn"]:
            if time.monotonic() > until:
                raise TimeoutError(f"no image was drawn within 180 s: {measured}")
            page.wait_for_timeout(250)
        frames: dict[str, float] = {}
        while len(frames) < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{len(frames)} of {count} frames were asked for")
            for path, _, when in server.asked():
                if "/frames/" in path:
                    frames.setdefault(path, when * 1e3)
            page.wait_for_timeout(100)
        start = measured[since]
        return measured["drawn"] - start, max(frames.values()) - start, measured["grey"]
    finally:
        context.close()


def _chromium() -> str:
    return shutil.which("chromium") or shutil.which("chromium-browser") or ""


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Two lines per case: first image and all frames; none where OHIF or Chromium is not there."""
    if ohif.dist() is None or not _chromium():
        missing = "Chromium" if ohif.dist() else f"OHIF: {ohif.VARIABLE} does not name its folder"
        sys.stderr.write(f"benchmark viewer skipped: no {missing}\n")
        return
    from playwright.sync_api import sync_playwright

    count, side, rounds = (12, 128, 1) if small else (300, 512, 5)
    with tempfile.TemporaryDirectory() as folder:
        with Archive.open(Path(folder)) as archive:
            for part10 in slices(count, study=STUDY, side=side, seed=1):
                archive.store(part10)
        with serving(Path(folder)) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=_chromium(), args=FLAGS)
            try:
                for case, (ours, peer, since) in CASES.items():
                    mine: list[tuple[float, float, float]] = []
                    theirs: list[tuple[float, float, float]] = []
                    for _ in range(rounds):
                        theirs.append(_trial(browser, server, server.ohif, peer, since, count))
                        mine.append(_trial(browser, server, server.ours, ours, since, count))
                    shape = f"{count} x {side} x {side}, {case}"
                    yield _line(f"first image, {shape}", mine, theirs, 0)
                    yield _line(f"all frames, {shape}", mine, theirs, 1)
            finally:
                browser.close()


def _line(
    case: str,
    mine: list[tuple[float, float, float]],
    theirs: list[tuple[float, float, float]],
    which: int,
) -> dict[str, Any]:
    ours_ms, peer_ms = [t[which] for t in mine], [t[which] for t in theirs]
    return {
        "name": "viewer",
        "case": case,
        "ours_ms": {"min": min(ours_ms), "median": statistics.median(ours_ms)},
        "peer": "OHIF",
        "peer_version": ohif.VERSION,
        "peer_ms": {"min": min(peer_ms), "median": statistics.median(peer_ms)},
        "ratio": statistics.median(peer_ms) / statistics.median(ours_ms),
        "quality_metric": "grey in the middle of the first image",
        "quality_ours": round(statistics.median(t[2] for t in mine), 1),
        "quality_peer": round(statistics.median(t[2] for t in theirs), 1),
    }
