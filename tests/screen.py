"""Real Chromium, and a page of the viewer with what tests ask of it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SHOTS = Path(__file__).parent / "browser" / "shots"
FLAGS = [
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    # What stands for the GPU here is slow: only WebGL and putting the page together are left to it.
    "--disable-gpu-rasterization", "--disable-accelerated-2d-canvas",
]  # fmt: skip
PATIENCE = 60_000
"""Milliseconds: pictures are drawn by the CPU here, on a machine that may be busy."""


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("chromium is not installed")
    return found


@contextmanager
def open_browser() -> Iterator[Any]:
    """Headless Chromium; skips where it is not installed."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = chromium()
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield found
        finally:
            found.close()


class Screen:
    """A page of the viewer, and what tests ask of it."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        self.errors: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("console", self._console)

    def _console(self, message: Any) -> None:
        if "Content Security Policy" in message.text:
            self.errors.append(message.text)

    @staticmethod
    def number(pattern: str, text: str) -> float:
        """The number in the one group of ``pattern``."""
        found = re.search(pattern, text)
        assert found is not None, (pattern, text)
        return float(found[1])

    def worklist(self) -> None:
        self.page.goto(self.url)
        self.page.wait_for_selector("tr[data-study]")

    def listening(self) -> None:
        """Wait until the page hears the server's events."""
        self.page.wait_for_function("somascope.listening()")

    def open(self, text: str) -> None:
        """Open the study whose row shows ``text`` and wait for its first image."""
        self.worklist()
        self.page.click(f"tr[data-study]:has-text('{text}')")
        self.shown("stack-0")

    def shown(self, pane: str) -> None:
        self.page.wait_for_selector(f"[data-pane='{pane}'][data-waiting=false]")

    def loaded(self, pane: str) -> None:
        self.page.wait_for_function(
            "p => { const [a, b] = document.querySelector(`[data-pane='${p}']`).dataset.loaded"
            ".split('/').map(Number); return b > 0 && a === b }",
            arg=pane,
        )

    def layout(self, name: str) -> None:
        self.page.click(f"[data-layout={name}].tool")

    def panel(self, name: str) -> None:
        self.page.click(f"[data-panel={name}]")

    def corner(self, pane: str, which: str) -> str:
        return self.page.inner_text(f"[data-pane='{pane}'] .corner.{which}")

    def wait_corner(self, pane: str, which: str, text: str) -> None:
        self.page.wait_for_selector(f"[data-pane='{pane}'] .corner.{which}:has-text('{text}')")

    def settled(self, selector: str) -> str:
        """The text of an element, once it has stayed the same for longer than its updates take."""
        last, since = "", 0.0
        deadline = time.monotonic() + PATIENCE / 1000
        while time.monotonic() < deadline:
            now = self.page.inner_text(selector)
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > 1.0:
                return now
            self.page.wait_for_timeout(100)
        raise AssertionError(f"{selector} never came to rest")

    def still(self, pane: str) -> np.ndarray:
        """The pane as shown, once two looks in a row are the same but for a grey level."""
        last = self.picture(pane)
        deadline = time.monotonic() + PATIENCE / 1000
        while time.monotonic() < deadline:
            self.page.wait_for_timeout(150)
            now = self.picture(pane)
            if now.shape == last.shape and np.abs(now.astype(int) - last).max() <= 2:
                return now
            last = now
        raise AssertionError(f"{pane} never came to rest")

    def letters(self, pane: str) -> str:
        return "".join(
            self.page.inner_text(f"[data-pane='{pane}'] .letter.{side}") for side in "tlrb"
        )

    def box(self, pane: str) -> dict[str, float]:
        return self.page.locator(f"[data-pane='{pane}'] .picture").bounding_box()

    def drag(self, pane: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """From and to in CSS pixels from the middle of the pane."""
        b = self.box(pane)
        x, y = b["x"] + b["width"] / 2, b["y"] + b["height"] / 2
        mouse = self.page.mouse
        mouse.move(x + start[0], y + start[1])
        mouse.down()
        mouse.move(x + (start[0] + end[0]) / 2, y + (start[1] + end[1]) / 2, steps=3)
        mouse.move(x + end[0], y + end[1], steps=3)
        mouse.up()

    def picture(self, pane: str) -> np.ndarray:
        """The pane as shown, RGB uint8 of shape (y, x, 3)."""
        from PIL import Image

        shot = self.page.locator(f"[data-pane='{pane}']").screenshot()
        with Image.open(BytesIO(shot)) as image:
            return np.asarray(image.convert("RGB"))

    def until_picture(self, pane: str, holds: Callable[[np.ndarray], Any]) -> None:
        """Wait until the pane as shown satisfies ``holds``."""
        deadline = time.monotonic() + PATIENCE / 1000
        while not holds(self.picture(pane)):
            assert time.monotonic() < deadline, f"{pane} never came to look as awaited"
            self.page.wait_for_timeout(100)

    def shot(self, name: str) -> Path:
        SHOTS.mkdir(exist_ok=True)
        path = SHOTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path
