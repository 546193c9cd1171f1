"""The live screen in real Chromium: frames on the canvas, sliders, colours, freeze, save."""

from __future__ import annotations

from typing import Any

import numpy as np


def live(screen: Any) -> None:
    screen.worklist()
    screen.page.click("button:has-text('Live')")
    screen.page.wait_for_selector("[data-step='process.lee']")


def begin(screen: Any, source: str, *, size: str = "128") -> None:
    screen.page.select_option("select[aria-label=Source]", source)
    if size:
        screen.page.select_option("select[aria-label=Size]", size)
    screen.page.click("button:has-text('Start')")
    screen.page.wait_for_selector("[data-live=running]", timeout=180_000)


def frames(screen: Any, more: int) -> None:
    """Wait until that many more frames are drawn."""
    screen.page.wait_for_function(
        "n => somascope.live().drawn >= n",
        arg=screen.page.evaluate("somascope.live().drawn") + more,
        timeout=180_000,
    )


def canvas(screen: Any) -> np.ndarray:
    """The frame as drawn, RGB."""
    found = screen.page.evaluate(
        """() => { const c = document.querySelector('.live-canvas');
          const d = c.getContext('2d').getImageData(0, 0, c.width, c.height);
          return [c.width, c.height, Array.from(d.data)] }"""
    )
    return np.asarray(found[2], np.uint8).reshape(found[1], found[0], 4)[..., :3]


def test_a_probe_is_seen_enhanced_coloured_frozen_and_saved(screen: Any) -> None:
    live(screen)
    page = screen.page
    begin(screen, "ultrasound")
    frames(screen, 8)
    told = page.evaluate("somascope.live()")
    assert 0 < told["p50"] <= told["p99"] < 60_000
    assert [name for name, _ in told["stages"]] == [
        "beamform", "B-mode", "lee", "clahe", "gaussian", "display",
    ]  # fmt: skip
    assert "ms" in page.inner_text(".live-figures [data-figure=p50]")
    grey = canvas(screen)
    assert grey.std() > 15
    assert np.ptp(grey.astype(int), axis=2).max() == 0
    screen.shot("live-ultrasound")
    page.click("[data-colormap=soma-hot_iron]")
    frames(screen, 2)
    assert np.ptp(canvas(screen).astype(int), axis=2).max() > 100
    page.wait_for_selector(".legend")
    page.click("button:has-text('Freeze')")
    page.wait_for_selector("[data-live=frozen]")
    page.wait_for_function(
        "() => { const n = somascope.live().drawn; return new Promise(r => setTimeout("
        "() => r(somascope.live().drawn === n), 600)) }"
    )
    still = canvas(screen)
    page.fill("[aria-label='Frames to save']", "5")
    page.click("button:has-text('Save as series')")
    page.wait_for_selector(".live-panel [data-study]")
    np.testing.assert_array_equal(canvas(screen), still)
    screen.shot("live-frozen")
    page.click(".live-panel [data-study]")
    screen.shown("stack-0")
    screen.wait_corner("stack-0", "bl", "1 / 5")
    assert "processed" in screen.corner("stack-0", "tr")


def test_a_slider_changes_the_frames_that_follow(screen: Any) -> None:
    live(screen)
    page = screen.page
    begin(screen, "fluoroscopy")
    frames(screen, 3)
    for name in ("process.lee", "process.clahe"):
        page.click(f"[aria-label='Remove {name}']")
    page.click("[data-step='process.gaussian'] button[aria-expanded]")
    before = canvas(screen).astype(float)
    page.fill("[data-step='process.gaussian'] [name=sigma]", "12")
    page.wait_for_function("() => somascope.live().stages.length === 3", timeout=60_000)
    frames(screen, 4)
    after = canvas(screen).astype(float)
    rough = [np.abs(np.diff(p[..., 0], n=2)).mean() for p in (before, after)]
    assert rough[1] < 0.5 * rough[0]
    page.fill("[data-step='process.gaussian'] [name=sigma]", "-1")
    text = page.wait_for_selector(".live-panel [role=alert]").inner_text()
    assert "sigma" in text
    frames(screen, 2)
    page.fill("[data-step='process.gaussian'] [name=sigma]", "2")
    page.wait_for_selector(".live-panel [role=alert]", state="detached")
    screen.shot("live-fluoroscopy")
    page.click("button:has-text('Stop')")
    page.wait_for_selector("[data-live=idle]")


def test_a_cine_of_the_archive_plays(screen: Any) -> None:
    live(screen)
    page = screen.page
    page.select_option("select[aria-label=Source]", "series")
    assert page.is_disabled("button:has-text('Start')")
    page.wait_for_selector("select[aria-label=Series] option:nth-child(2)", state="attached")
    page.select_option("select[aria-label=Series]", index=1)
    page.click("button:has-text('Start')")
    page.wait_for_selector("[data-live=running]", timeout=180_000)
    frames(screen, 5)
    assert canvas(screen).std() > 5
    page.click("button:has-text('Worklist')")
    page.wait_for_selector("tr[data-study]")
