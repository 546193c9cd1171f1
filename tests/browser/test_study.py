"""Stacks: what is shown is what is in the file, and the tools measure it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest


def test_stack_scrolls_and_says_where_it_is(screen: Any) -> None:
    screen.open("thorax")
    page = screen.page
    screen.loaded("stack-0")
    assert screen.letters("stack-0") == "ARLP"
    assert "Phantom, Thorax" in screen.corner("stack-0", "tl")
    screen.wait_corner("stack-0", "bl", "25 / 48")
    page.hover("[data-pane=stack-0] .picture")
    page.mouse.wheel(0, 100)
    screen.wait_corner("stack-0", "bl", "26 / 48")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("PageUp")
    screen.wait_corner("stack-0", "bl", "15 / 48")
    assert page.locator("nav.strip .thumb.ok img").count() >= 2
    assert page.locator(".scalebar").count() == 1
    screen.shot("stack")


def test_windows_by_key_and_by_hand(screen: Any) -> None:
    screen.open("thorax")
    page = screen.page
    for key, text in (("1", "W 1500 L -600"), ("2", "W 400 L 40"), ("4", "W 80 L 40")):
        page.keyboard.press(key)
        screen.wait_corner("stack-0", "br", text)
        assert "HU" in screen.corner("stack-0", "br")
    page.keyboard.press("1")
    screen.wait_corner("stack-0", "br", "W 1500")
    lung = screen.picture("stack-0")
    screen.shot("window-lung")
    screen.drag("stack-0", (0, 0), (120, 0))
    page.wait_for_function(
        "() => !document.querySelector('.corner.br').innerText.includes('W 1500')"
    )
    width = screen.number(r"W (\S+)", screen.corner("stack-0", "br"))
    assert width > 1500
    page.keyboard.press("1")
    screen.wait_corner("stack-0", "br", "W 1500")
    before = screen.picture("stack-0").astype(int)
    page.keyboard.press("i")
    middle = (slice(300, 420), slice(380, 440))
    screen.until_picture(
        "stack-0", lambda p: abs(before[middle].mean() + p[middle].mean() - 255) < 12
    )
    assert lung.shape == before.shape


def test_flip_rotate_zoom_reset(screen: Any) -> None:
    screen.open("thorax")
    screen.loaded("stack-0")
    press = screen.page.keyboard.press
    letters = (
        "p => ['t','l','r','b'].map(s => document.querySelector("
        "`[data-pane='stack-0'] .letter.${s}`).innerText).join('') === p"
    )
    press("h")
    screen.page.wait_for_function(letters, arg="ALRP")
    press("h")
    press("v")
    screen.page.wait_for_function(letters, arg="PRLA")
    press("Home")
    screen.page.wait_for_function(letters, arg="ARLP")
    press("r")
    screen.page.wait_for_function(
        "() => { const t = document.querySelector(\"[data-pane='stack-0'] .letter.t\").innerText;"
        " return t === 'R' || t === 'L' }"
    )
    press("Home")
    screen.page.wait_for_function(letters, arg="ARLP")
    press("+")
    screen.wait_corner("stack-0", "br", "120 %")
    press("o")
    screen.page.wait_for_selector("[data-pane='stack-0'] .corner > *", state="detached")


def test_length_is_millimetres(screen: Any) -> None:
    """The phantom is 384 mm wide and fills the lesser side of the pane."""
    screen.open("thorax")
    page = screen.page
    box = screen.box("stack-0")
    scale = 384 / min(box["width"], box["height"])
    screen.panel("measure")
    page.keyboard.press("l")
    screen.drag("stack-0", (-150, -40), (150, -40))
    page.wait_for_selector(".measurements .row:has-text('mm')")
    text = screen.settled(".measurements .row")
    assert float(text.split()[0]) == pytest.approx(300 * scale, rel=0.02)

    page.keyboard.press("a")
    b = screen.box("stack-0")
    x, y = b["x"] + b["width"] / 2, b["y"] + b["height"] / 2
    screen.drag("stack-0", (0, 40), (0, 140))
    page.mouse.move(x + 50, y + 140, steps=3)
    page.mouse.move(x + 100, y + 140, steps=3)
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector(".measurements .row:has-text('°')")
    angle = screen.settled(".measurements .row:has-text('°')")
    assert float(angle.strip().rstrip("°")) == pytest.approx(90, abs=2)
    screen.shot("measure-length-angle")


def test_regions_give_mean_and_area_in_the_images_unit(screen: Any, ct: Any) -> None:
    """The phantom has no noise: inside one organ the mean is its value and the spread is 0."""
    screen.open("thorax")
    page = screen.page
    box = screen.box("stack-0")
    scale = 384 / min(box["width"], box["height"])
    screen.panel("measure")
    page.keyboard.press("b")
    screen.drag("stack-0", (10, -50), (40, -20))
    page.wait_for_selector(".measurements .row:has-text('Area')")
    text = screen.settled(".measurements .row")
    mean = screen.number(r"Mean (\S+) HU", text)
    spread = screen.number(r"SD (\S+) HU", text)
    area = screen.number(r"Area (\S+) mm²", text)
    assert area == pytest.approx((30 * scale) ** 2, rel=0.06)
    assert spread == pytest.approx(0, abs=0.01)
    heart = float(np.median(ct.data[24, 52:60, 66:74]))
    assert mean == pytest.approx(heart, abs=0.01)
    page.keyboard.press("e")
    screen.drag("stack-0", (60, 60), (100, 90))
    page.wait_for_function("() => document.querySelectorAll('.measurements .row').length === 2")
    screen.shot("measure-regions")
    page.click("[aria-label='Remove this measurement'] >> nth=0")
    page.wait_for_function("() => document.querySelectorAll('.measurements .row').length === 1")


def test_probe_says_the_value_at_a_point(screen: Any, ct: Any) -> None:
    screen.open("thorax")
    page = screen.page
    screen.panel("measure")
    page.keyboard.press("n")
    screen.drag("stack-0", (25, -35), (26, -35))
    page.wait_for_selector(".measurements .row:has-text('HU')")
    heart = float(np.median(ct.data[24, 52:60, 66:74]))
    text = page.inner_text(".measurements .row")
    assert screen.number(r"(\S+) HU", text) == pytest.approx(heart, abs=0.01)
    page.keyboard.press("Delete")
    page.wait_for_selector("text=None yet. Choose a tool")


def test_colour_map_and_its_legend(screen: Any) -> None:
    screen.open("thorax")
    screen.page.keyboard.press("2")
    screen.page.click("[data-colormap=soma-viridis]")
    screen.page.wait_for_selector(".legend")
    legend = screen.page.inner_text(".legend")
    assert "HU" in legend
    assert "-160" in legend
    picture = screen.picture("stack-0").astype(int)
    assert np.abs(picture[..., 0] - picture[..., 2]).max() > 60
    screen.shot("colourmap")


def test_cine_of_a_multiframe_ultrasound(screen: Any) -> None:
    screen.open("heart")
    page = screen.page
    screen.loaded("stack-0")
    screen.wait_corner("stack-0", "bl", "/ 12")
    fps = page.input_value("[aria-label='Frames per second']")
    assert float(fps) > 1
    page.fill("[aria-label='Frames per second']", "10")
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    page.wait_for_selector("[aria-label='Pause cine']")
    page.evaluate(
        "() => { const e = document.querySelector('.corner.bl'); window.seen = new Set();"
        " new MutationObserver(() => seen.add(e.innerText))"
        ".observe(e, { subtree: true, childList: true, characterData: true }) }"
    )
    page.wait_for_function("() => seen.size >= 6")
    page.keyboard.press("Space")
    page.wait_for_selector("[aria-label='Play cine']")
    screen.still("stack-0")
    still = screen.corner("stack-0", "bl")
    page.wait_for_timeout(500)
    assert screen.corner("stack-0", "bl") == still
    screen.shot("cine")


@pytest.mark.parametrize(
    ("study", "colour"),
    [
        ("PLA", True),
        ("OB", True),
        ("CompressedSamples, NM1", False),
        ("CompressedSamples, CT1", False),
    ],
)
def test_palette_rgb_and_compressed_images(screen: Any, study: str, colour: bool) -> None:
    screen.open(study)
    screen.loaded("stack-0")
    assert screen.page.locator(".pane-state[role=alert]").count() == 0

    def drawn(picture: np.ndarray) -> bool:
        inner = picture.astype(int)[60:-60, 60:-60]  # without the texts of the corners
        saturation = inner.max(axis=2) - inner.min(axis=2)
        return inner.max() - inner.min() > 80 and (saturation.max() > 60) == colour

    screen.until_picture("stack-0", drawn)
    screen.shot("kind-" + re.sub(r"\W+", "-", study.lower()))


def test_a_series_that_is_no_volume_says_why(screen: Any) -> None:
    screen.open("gap")
    page = screen.page
    assert "missing or unevenly spaced" in page.inner_text("[data-reason=volume]")
    button = page.locator("[data-layout=mpr].tool")
    assert button.get_attribute("aria-disabled") == "true"
    assert "missing or unevenly spaced" in button.get_attribute("title")
    page.keyboard.press("m")
    page.wait_for_timeout(300)
    assert page.locator("[data-pane='mpr-axial']").count() == 0


def test_a_failed_decode_names_the_instance(screen: Any) -> None:
    screen.open("undecodable")
    screen.page.wait_for_selector(".failures")
    screen.page.click(".failures summary")
    text = screen.page.inner_text(".failures")
    assert "1 image could not be decoded" in text
    assert "instance 26" in text
    screen.shot("failed-decode")


def test_two_and_four_stacks(screen: Any) -> None:
    screen.open("thorax")
    screen.layout("four")
    for index in range(3):
        screen.shown(f"stack-{index}")
    screen.shot("four-stacks")
    screen.layout("two")
    screen.shown("stack-1")
    assert screen.page.locator("[data-kind=stack]").count() == 2


def test_memory_is_released_when_the_study_closes(screen: Any) -> None:
    screen.open("thorax")
    screen.loaded("stack-0")
    held = screen.page.evaluate("somascope.held()")
    assert held["bytes"] >= 48 * 128 * 128 * 2
    assert held["viewports"] == 1
    screen.page.keyboard.press("Escape")
    screen.page.wait_for_selector("tr[data-study]")
    screen.page.wait_for_function("() => somascope.held().bytes === 0")
    assert screen.page.evaluate("somascope.held()") == {"bytes": 0, "volumes": 0, "viewports": 0}
