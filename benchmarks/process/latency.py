"""From a slider to the pixel: CLAHE, bilateral filter and Frangi on a visible slice, in Chromium.

One server as users start it and one page with a CT of 512 x 512 pixels. A slider of the processing
page is moved every tenth of a second, as a hand does; *latency* runs from its event to the end of
the drawing of the slice computed with that value (WebGL finished), through browser, WebSocket,
server, worker and back. In turn with each operation, the yardstick: the same page with
``process.gamma``, whose work is next to nothing, which shows what the way costs alone. The first
moves of each are left out.

Three lines, one per operation; the quality is the 99th percentile.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.acquire.us_live import SCREEN, chromium, serving

CASES = {
    "process.clahe": ("clip_limit", 1.5, 0.1, {"dimensions": "slice"}),
    "process.bilateral": ("sigma", 0.8, 0.02, {"dimensions": "slice"}),
    "process.frangi": ("contrast", 5.0, 0.5, {"dimensions": "slice"}),
}
"""The parameter that is moved, its first value, how far each move goes, and what stays."""
YARDSTICK = ("process.gamma", ("gamma", 0.5, 0.02, {}))
WARMING = 5
BEAT = 100
"""ms between two moves."""

MOVE = """async ([name, values, beat]) => {
  const found = [...document.querySelectorAll(`.process [name='${name}']`)].pop();
  const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
  const seen = [];
  for (const value of values) {
    const before = somascope.preview().latencies; // a new list with every picture
    set.call(found, String(value));
    found.dispatchEvent(new Event('input', { bubbles: true }));
    const until = performance.now() + 20000;
    while (somascope.preview().waiting || somascope.preview().latencies === before) {
      if (performance.now() > until) throw new Error('no answer within 20 s');
      await new Promise(r => setTimeout(r, 2));
    }
    seen.push(somascope.preview().latencies.at(-1));
    await new Promise(r => setTimeout(r, Math.max(beat - seen.at(-1), 5)));
  }
  return seen;
}"""


def study(size: int) -> list[bytes]:
    """A CT of five slices with noise."""
    from somascope import phantoms
    from somascope.io.dicom import write

    grid = phantoms.thorax_grid((5, size, size), (3.0, 384 / size, 384 / size))
    return write.instances(phantoms.thorax_ct(grid, noise_hu=12.0), series_description="Latency")


def opened(browser: Any, url: str) -> Any:
    """The processing page over the study."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(180_000)
    page.goto(url)
    page.click("tr[data-study]")
    page.wait_for_selector("[data-pane='stack-0'][data-waiting=false]")
    page.click("[data-panel=process]")
    page.wait_for_selector("option[value='process.clahe']", state="attached")
    page.uncheck("text=Compute the whole volume behind the slice")
    return page


def moved(page: Any, name: str, case: tuple[Any, ...], *, moves: int) -> list[float]:
    """Latencies in ms of that many moves of an operation's slider."""
    parameter, first, step, others = case
    page.select_option(".process [aria-label='Add an operation']", name)
    form = f".process [data-step='{name}']"
    page.wait_for_selector(f"{form} .form")
    if page.locator(f"{form} button:has-text('more')").count():
        page.click(f"{form} .form button:has-text('more')")
    for key, value in others.items():
        page.select_option(f"{form} select[name={key}]", f'"{value}"')
    page.wait_for_function(
        "() => somascope.preview().stage === 'slice' && !somascope.preview().waiting"
    )
    values = [round(first + step * k, 4) for k in range(moves + WARMING)]
    found = page.evaluate(MOVE, [parameter, values, BEAT])
    page.click(f"[aria-label='Remove {name}']")
    page.wait_for_selector(".preview-canvas", state="detached")
    return found[WARMING:]


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Three lines; none where Chromium is not there."""
    if not chromium():
        sys.stderr.write("benchmark process.latency skipped: no Chromium\n")
        return
    from playwright.sync_api import sync_playwright

    from somascope.archive import Archive

    size, rounds, moves = (64, 1, 5) if small else (512, 4, 50)
    ours: dict[str, list[float]] = {name: [] for name in CASES}
    yard: dict[str, list[float]] = {name: [] for name in CASES}
    with tempfile.TemporaryDirectory() as folder:
        with Archive.open(Path(folder)) as archive:
            for part10 in study(size):
                archive.store(part10)
        with serving(Path(folder)) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=SCREEN)
            try:
                page = opened(browser, url)
                for _ in range(rounds):
                    for name, case in CASES.items():
                        yard[name] += moved(page, *YARDSTICK, moves=moves)
                        ours[name] += moved(page, name, case, moves=moves)
            finally:
                browser.close()
    for name in CASES:
        yield {
            "name": "process.latency",
            "case": f"{name.removeprefix('process.')}, {size} x {size}, slider to pixel",
            "ours_ms": {"min": min(ours[name]), "median": statistics.median(ours[name])},
            "peer": "gamma alone",
            "peer_version": version("somascope"),
            "peer_ms": {"min": min(yard[name]), "median": statistics.median(yard[name])},
            "ratio": statistics.median(yard[name]) / statistics.median(ours[name]),
            "quality_metric": "99th percentile, ms",
            "quality_ours": round(late(ours[name]), 1),
            "quality_peer": round(late(yard[name]), 1),
        }


def late(times: list[float]) -> float:
    """The 99th percentile."""
    return sorted(times)[min(len(times) - 1, int(0.99 * len(times)))]
