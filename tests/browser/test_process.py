"""The processing page in real Chromium: slices while sliders move, swipe, histogram, presets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.screen import Screen

MIDDLE = (slice(120, -120), slice(140, -140))


@pytest.fixture(scope="module")
def process(server: str, browser: Any) -> Iterator[Screen]:
    """One page on the thorax CT for all tests here, with the processing page open."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    made = Screen(context.new_page(), server)
    made.open("thorax")
    made.loaded("stack-0")
    made.panel("process")
    made.page.wait_for_selector("option[value='process.gaussian']", state="attached")
    yield made
    context.close()
    assert made.errors == []


@pytest.fixture
def screen(process: Screen) -> Screen:
    """The page with nothing chosen, at its middle slice, in the soft tissue window."""
    page = process.page
    process.panel("process")
    for selector in (".process [aria-label^='Remove process.']", "button:text-is('Reset')"):
        while page.locator(selector).count():
            page.locator(selector).first.click()
    clear = page.locator(".process button:text-is('Clear')")
    if clear.count():
        clear.click()
    page.click("[data-side=after]")
    page.click("[data-scope=slice]")
    page.evaluate("document.activeElement?.blur()")
    process.wait_corner("stack-0", "bl", "25 / 48")
    page.keyboard.press("2")
    process.wait_corner("stack-0", "br", "W 400 L 40")
    page.keyboard.press("w")
    return process


def choose(screen: Screen, name: str) -> None:
    screen.page.select_option(".process [aria-label='Add an operation']", f"process.{name}")
    screen.page.wait_for_selector(f".process [data-step='process.{name}'] .form")


def until(screen: Screen, *stages: str) -> None:
    """Wait until the newest question is answered and drawn."""
    screen.page.wait_for_function(
        "s => { const c = document.querySelector('.preview-canvas');"
        " return c && s.includes(c.dataset.stage) && !somascope.preview().waiting }",
        arg=list(stages),
    )


def test_the_layer_lies_where_the_picture_is(screen: Screen) -> None:
    """The image's own values drawn by the layer look as the pane draws them, turned and zoomed."""
    page = screen.page

    def both() -> tuple[np.ndarray, np.ndarray]:
        page.click("[data-side=before]")
        plain = screen.still("stack-0").astype(int)
        page.click("[data-side=after]")
        until(screen, "source")
        return plain, screen.still("stack-0").astype(int)

    page.select_option("[aria-label='Colours of the result']", "soma-grey")
    until(screen, "source")
    pressed: list[str] = []
    try:
        for keys in ((), ("r", "+"), ("h", "+", "ArrowDown")):
            for key in keys:
                page.keyboard.press(key)
                pressed.append(key)
            plain, layer = both()
            assert plain[MIDDLE].std() > 20
            away = np.abs(plain - layer).max(axis=2)[MIDDLE]
            assert np.percentile(away, 99) <= 6, keys
    finally:  # the next test, and another try of this one, begin where this began
        page.keyboard.press("Home")
        if "ArrowDown" in pressed:
            page.keyboard.press("ArrowUp")


def test_display_changes_ask_nobody(screen: Screen) -> None:
    page = screen.page
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.select_option("[aria-label='Colours of the result']", "soma-hot_iron")
    until(screen, "source")
    page.evaluate(
        "() => { window.said = 0; const send = WebSocket.prototype.send;"
        " WebSocket.prototype.send = function (t) { if (!String(t).includes('ping')) said += 1;"
        " return send.call(this, t) } }"
    )
    # The histogram of the slice is asked for a moment after it came: until nothing more is said.
    page.wait_for_function(
        "() => new Promise(r => { const was = said; setTimeout(() => r(said === was), 1500) })"
    )
    sent = page.evaluate("said")
    asked.clear()
    coloured = screen.still("stack-0").astype(int)
    assert (coloured.max(axis=2) - coloured.min(axis=2))[MIDDLE].max() > 100
    page.fill("[aria-label=Gamma]", "0.6")
    screen.until_picture("stack-0", lambda p: p[MIDDLE].mean() > coloured[MIDDLE].mean() + 10)
    page.fill("[aria-label='Opacity of the result']", "0")
    screen.until_picture("stack-0", lambda p: np.ptp(p[MIDDLE].astype(int), axis=2).max() < 12)
    page.fill("[aria-label='Opacity of the result']", "1")
    high = page.evaluate("somascope.preview().counted?.upper") or 1000
    page.fill("[aria-label='Values below are clear']", str(0.9 * high))
    page.wait_for_function("() => document.querySelector('.preview-canvas').dataset.stage")
    assert page.evaluate("said") == sent
    assert not [u for u in asked if "/api/" in u and "/api/jobs" not in u]


def test_a_slider_changes_the_slice_and_the_volume_follows(screen: Screen) -> None:
    """What is kept as a series looks as the preview did, and says how it was made."""
    page = screen.page
    plain = screen.still("stack-0").astype(int)
    choose(screen, "gaussian")
    page.fill(".process [name=sigma]", "2")
    until(screen, "draft", "slice", "volume")
    page.fill(".process [name=sigma]", "9")
    until(screen, "draft", "slice", "volume")
    blurred = screen.still("stack-0").astype(int)
    rough = [np.abs(np.diff(p[MIDDLE][..., 0], n=2, axis=1)).max() for p in (plain, blurred)]
    assert rough[1] < 0.4 * rough[0]
    page.wait_for_selector("[data-volume=ready]", timeout=120_000)
    until(screen, "volume")
    exact = screen.still("stack-0").astype(int)
    told = page.evaluate("somascope.preview()")
    assert len(told["latencies"]) >= 2
    assert all(0 < ms < 60_000 for ms in told["latencies"])
    page.evaluate("document.activeElement?.blur()")
    page.keyboard.press("ArrowDown")
    screen.wait_corner("stack-0", "bl", "26 / 48")
    until(screen, "volume")
    page.keyboard.press("ArrowUp")
    screen.wait_corner("stack-0", "bl", "25 / 48")
    until(screen, "volume")
    screen.shot("process-gaussian")
    page.click("[data-side=swipe]")
    page.wait_for_selector(".curtain")
    half = screen.still("stack-0").astype(int)
    w = half.shape[1] // 2
    left, right = (slice(120, -120), slice(140, w - 60)), (slice(120, -120), slice(w + 60, -140))
    assert np.abs(half - plain)[left].max() <= 4
    assert np.abs(half - exact)[right].max() <= 4
    screen.shot("process-swipe")
    page.click("[data-side=after]")
    page.click("button:has-text('Save as derived series')")
    page.wait_for_selector(".process .job[data-state=done]", timeout=120_000)
    page.click(".process .job[data-state=done] button:has-text('Show result')")
    screen.shown("compare-after")
    page.click("button:has-text('Side by side')")
    screen.layout("one")
    screen.shown("stack-0")
    screen.panel("display")
    page.wait_for_selector(".history b:has-text('process.gaussian')")
    page.keyboard.press("2")
    screen.wait_corner("stack-0", "br", "W 400 L 40")
    screen.wait_corner("stack-0", "bl", "25 / 48")
    kept = screen.still("stack-0").astype(int)
    assert np.abs(kept - exact)[MIDDLE].mean() < 2
    page.click("nav.strip [data-modality=CT] >> nth=0")
    screen.shown("stack-0")
    screen.panel("process")


def test_a_chain_is_kept_by_name_ordered_and_switched(screen: Screen) -> None:
    page = screen.page
    plain = screen.still("stack-0").astype(int)
    choose(screen, "gaussian")
    choose(screen, "clahe")
    names = lambda: [  # noqa: E731
        e.get_attribute("data-step") for e in page.locator(".process .chain li").all()
    ]
    assert names() == ["process.gaussian", "process.clahe"]
    page.click("[aria-label='Move clahe up']")
    assert names() == ["process.clahe", "process.gaussian"]
    until(screen, "draft", "slice", "volume")
    screen.until_picture("stack-0", lambda p: np.abs(p - plain)[MIDDLE].mean() > 0.9)
    both = screen.still("stack-0").astype(int)
    page.uncheck("[aria-label='Use clahe']")
    until(screen, "draft", "slice", "volume")
    screen.until_picture("stack-0", lambda p: np.abs(p - both)[MIDDLE].mean() > 0.9)
    soft = screen.still("stack-0").astype(int)
    assert np.abs(soft - plain)[MIDDLE].mean() < 0.6  # the Gaussian filter alone: 0.33
    page.click("button:has-text('Keep …')")
    page.fill("[aria-label='Name of the preset']", "Even and soft")
    page.keyboard.press("Enter")
    page.wait_for_selector("[aria-label='Name of the preset']", state="detached")
    for name in ("clahe", "gaussian"):
        page.click(f".process [aria-label='Remove process.{name}']")
    page.wait_for_selector(".preview-canvas", state="detached")
    page.select_option("select[aria-label=Preset]", "Even and soft")
    assert names() == ["process.clahe", "process.gaussian"]
    assert page.get_attribute(".process [data-step='process.clahe']", "data-on") == "false"
    until(screen, "draft", "slice", "volume")
    page.click("[aria-label='Delete this preset']")
    page.wait_for_function(
        "() => document.querySelectorAll('select[aria-label=Preset] option').length === 1"
    )


def test_a_wrong_parameter_is_told_and_mended(screen: Screen) -> None:
    page = screen.page
    choose(screen, "gaussian")
    until(screen, "draft", "slice", "volume")
    page.fill(".process [name=sigma]", "-1")
    text = page.wait_for_selector(".process [role=alert]").inner_text()
    assert "sigma" in text
    page.fill(".process [name=sigma]", "1")
    page.wait_for_selector(".process [role=alert]", state="detached")
    until(screen, "draft", "slice", "volume")


def plot(screen: Screen) -> dict[str, float]:
    screen.page.wait_for_selector(".histogram-plot")
    return screen.page.locator(".histogram-plot").bounding_box()


def drag(screen: Screen, start: float, end: float) -> None:
    """Within the plot, in parts of its width."""
    box = plot(screen)
    y = box["y"] + box["height"] / 2
    mouse = screen.page.mouse
    mouse.move(box["x"] + start * box["width"], y)
    mouse.down()
    mouse.move(box["x"] + (start + end) / 2 * box["width"], y, steps=3)
    mouse.move(box["x"] + end * box["width"], y, steps=3)
    mouse.up()


def test_a_range_of_the_histogram_marks_its_voxels(screen: Screen, ct: Any) -> None:
    page = screen.page
    # Frames lie in the order of their places: the middle slice of the phantom.
    values = ct.data[24]
    page.wait_for_function(
        "n => somascope.preview().counted?.count === n", arg=int(values.size), timeout=60_000
    )
    counted = page.evaluate("somascope.preview().counted")
    assert counted["mean"] == pytest.approx(float(values.mean()), abs=0.02)
    assert counted["sd"] == pytest.approx(float(values.std()), abs=0.02)
    drag(screen, 0.3, 0.75)
    low, high = map(
        float, page.wait_for_selector("[data-marked]").get_attribute("data-marked").split()
    )
    assert -1000 < low < high < 2000
    inside = ((values >= low) & (values <= high)).mean()
    assert 0.03 < inside < 0.9
    told = page.inner_text("[data-marked]")
    assert screen.number(r"([\d.]+) %", told) == pytest.approx(100 * inside, abs=3)
    until(screen, "source")
    picture = screen.still("stack-0").astype(int)
    pink = (picture[..., 0] - picture[..., 1] > 60) & (picture[..., 2] - picture[..., 1] > 30)
    size = min(picture.shape[:2]) ** 2  # the square image fills the lesser side
    assert pink.sum() / size == pytest.approx(inside, abs=0.03)
    screen.shot("process-histogram")
    page.click("button:has-text('Clear')")
    page.wait_for_selector(".preview-canvas", state="detached")


def test_a_handle_of_the_histogram_sets_the_window(screen: Screen) -> None:
    page = screen.page
    plot(screen)
    page.keyboard.press("1")
    screen.wait_corner("stack-0", "br", "W 1500 L -600")
    box = plot(screen)
    lower, upper = (
        float(page.get_attribute(".histogram-plot", f"data-{n}")) for n in ("lower", "upper")
    )
    at = (150 - lower) / (upper - lower)  # -600 + 1500 / 2
    drag(screen, at, at + 20 / box["width"])
    page.wait_for_function(
        "() => !document.querySelector(\"[data-pane='stack-0'] .corner.br\")"
        ".innerText.includes('W 1500')"
    )
    width = screen.number(r"W (\S+)", screen.corner("stack-0", "br"))
    moved = 20 / box["width"] * (upper - lower)
    assert width == pytest.approx(1500 + moved, abs=0.6 * moved)


def test_a_region_has_its_own_histogram(screen: Screen, ct: Any) -> None:
    """The phantom has no noise: inside the heart all values are one."""
    page = screen.page
    page.click("[data-scope=region]")
    page.wait_for_selector("text=Draw an ellipse or a rectangle")
    page.keyboard.press("b")
    screen.drag("stack-0", (10, -50), (40, -20))
    heart = float(np.median(ct.data[24, 52:60, 66:74]))
    page.wait_for_function("() => somascope.preview().counted?.area > 0")
    counted = page.evaluate("somascope.preview().counted")
    assert counted["mean"] == pytest.approx(heart, abs=0.05)
    assert counted["sd"] == pytest.approx(0, abs=0.05)
    box = screen.box("stack-0")
    scale = 384 / min(box["width"], box["height"])
    assert counted["area"] == pytest.approx((30 * scale) ** 2, rel=0.25)
    text = re.sub(r"\s+", " ", page.inner_text(".process .facts"))
    assert "mm²" in text
    assert "HU" in page.inner_text(".process")
    screen.shot("process-region")
    page.keyboard.press("w")
    page.click("[data-scope=volume]")
    page.wait_for_function("() => somascope.preview().counted?.volume > 0", timeout=60_000)
    counted = page.evaluate("somascope.preview().counted")
    assert counted["mean"] == pytest.approx(float(ct.data.mean()), abs=0.02)
    assert counted["volume"] == pytest.approx(ct.data.size * ct.grid.voxel_volume / 1000, rel=1e-6)
