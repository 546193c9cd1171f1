"""Series that are more than one stack of calibrated pictures: phases, raw data, unknown spacing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def profile(screen: Any) -> np.ndarray:
    """Mean brightness of the columns in the middle of the first stack, background cut off."""
    picture = screen.picture("stack-0").astype(float)
    h, w = picture.shape[:2]
    return picture[h // 2 - 20 : h // 2 + 20, w // 2 - 150 : w // 2 + 150].mean(axis=(0, 2))


def draw_length(screen: Any) -> str:
    screen.panel("measure")
    screen.page.keyboard.press("l")
    screen.drag("stack-0", (-100, 30), (100, 30))
    screen.page.wait_for_function(
        "() => /\\d/.test(document.querySelector('.measurements .row')?.innerText ?? '')"
    )
    return screen.settled(".measurements .row")


@pytest.mark.parametrize("study", ["unspaced", "filler"])
def test_without_spacing_lengths_are_pixels_and_there_is_no_scale(screen: Any, study: str) -> None:
    """The ramp is 200 pixels wide and fills the width of the pane."""
    screen.open(study)
    page = screen.page
    assert page.locator(".scalebar").count() == 0
    assert "size unknown" in page.inner_text(".facts")
    text = draw_length(screen)
    assert text.strip().endswith("px")
    box = screen.box("stack-0")
    scale = 200 / min(box["width"], 2 * box["height"])
    assert screen.number(r"(\S+) px", text) == pytest.approx(200 * scale, rel=0.02)
    if study == "unspaced":
        screen.shot("unspaced")


def test_monochrome1_is_dark_where_values_are_high(screen: Any) -> None:
    """Values rise from left to right in both: the pictures are each other's negatives."""
    screen.open("unspaced")
    rising = profile(screen)
    screen.open("filler")
    falling = profile(screen)
    assert rising[-1] > rising[0] + 80
    assert falling[0] > falling[-1] + 80
    assert np.abs(rising + falling - 255).max() < 12
    screen.page.keyboard.press("i")
    screen.until_picture("stack-0", lambda p: profile(screen)[-1] > profile(screen)[0] + 80)
    screen.page.keyboard.press("Home")
    screen.until_picture("stack-0", lambda p: profile(screen)[0] > profile(screen)[-1] + 80)


def test_b_values_are_volumes_of_their_own(screen: Any) -> None:
    """exp(-b/1000) dims everything: b 1000 has 0.37 of the brightness of b 0."""
    screen.open("diffusion")
    page = screen.page
    screen.wait_corner("stack-0", "tr", "b 0 s/mm²")
    slices = int(screen.corner("stack-0", "bl").split("/")[1].split("·")[0])
    screen.layout("mpr")
    screen.shown("mpr-axial")
    screen.loaded("mpr-axial")
    screen.wait_corner("mpr-axial", "tr", "b 0 s/mm²")

    def brightness() -> float:
        return float(screen.picture("mpr-axial")[100:-100, 60:-60].mean())

    first = brightness()
    assert first > 15
    window = screen.corner("mpr-axial", "br")
    page.select_option("select[aria-label=Phase]", label="3: b 1000 s/mm²")
    screen.wait_corner("mpr-axial", "tr", "b 1000 s/mm²")
    screen.loaded("mpr-axial")
    screen.until_picture("mpr-axial", lambda p: p[100:-100, 60:-60].mean() < 0.6 * first)
    assert screen.corner("mpr-axial", "br") == window
    screen.shot("phases")
    page.keyboard.press(",")
    screen.wait_corner("mpr-axial", "tr", "b 500 s/mm²")
    screen.layout("one")
    screen.wait_corner("stack-0", "tr", "b 500 s/mm²")
    screen.wait_corner("stack-0", "bl", f"/ {slices // 3} ")


def test_raw_data_is_read_and_reconstructed_again(screen: Any) -> None:
    """Change one parameter, reconstruct again, compare with the picture before."""
    screen.worklist()
    page = screen.page
    page.click("tr[data-study]:has-text('sinogram')")
    page.wait_for_selector("[data-information=raw]")
    text = page.inner_text("[data-information=raw]")
    assert "Sinogram, 60 views" in text
    assert "Raw data" in text
    tile = page.locator("nav.strip [data-content=raw]")
    assert tile.locator("img").count() == 0
    offered = page.locator("select[aria-label=Operation] option")
    page.wait_for_selector("option[value='acquire.ct.fbp']", state="attached")
    names = [o.get_attribute("value") for o in offered.all()]
    assert not any(n.startswith(("process.", "segment.")) for n in names if n)

    page.select_option("select[aria-label=Operation]", "acquire.ct.fbp")
    page.select_option("select[name=kernel]", '"ram-lak"')
    screen.shot("raw")
    page.click("button.run")
    page.wait_for_selector("nav.strip [data-content=image]", timeout=180_000)
    page.wait_for_selector(".job[data-state=done]", timeout=120_000)
    page.click(".job[data-state=done] button:has-text('Show result')")
    screen.shown("stack-0")
    assert "HU" in screen.corner("stack-0", "br")
    screen.panel("display")
    assert "acquire.ct.fbp" in page.inner_text(".history")
    assert "ram-lak" in page.inner_text(".history")

    page.click("nav.strip [data-content=raw]")
    page.wait_for_selector("[data-information=raw]")
    value = "([s, v]) => document.querySelector(s)?.value === v"
    page.wait_for_function(value, arg=["select[aria-label=Operation]", "acquire.ct.fbp"])
    page.wait_for_function(value, arg=["select[name=kernel]", '"ram-lak"'])
    page.select_option("select[name=kernel]", '"hann"')
    page.click("button.run")
    page.wait_for_function(
        "() => document.querySelectorAll('.job[data-state=done]').length === 2", timeout=180_000
    )
    page.click(".job[data-state=done] >> nth=0 >> button:has-text('Show result')")
    for pane in ("compare-before", "compare-after"):
        screen.shown(pane)
    assert page.get_attribute("button:has-text('Side by side')", "aria-pressed") == "true"
    before, after = (page.input_value(f"[aria-label='Series {w}']") for w in ("before", "after"))
    assert before != after
    screen.shot("reconstructions")


def test_operations_are_those_that_take_the_series(screen: Any) -> None:
    screen.open("thorax")
    screen.panel("operations")
    screen.page.wait_for_selector("option[value='process.gaussian']", state="attached")
    assert screen.page.locator("option[value='acquire.ct.fbp']").count() == 0


def test_the_letters_of_a_turning_camera_turn_with_it(screen: Any) -> None:
    """From the patient's back over the left: what was left is behind after a quarter turn."""
    screen.open("turning views")
    page = screen.page
    letters = (
        "p => ['t','l','r','b'].map(s => document.querySelector("
        "`[data-pane='stack-0'] .letter.${s}`).innerText).join('') === p"
    )
    page.wait_for_function(letters, arg="HRLF")
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    screen.wait_corner("stack-0", "bl", "3 / 8")
    page.wait_for_function(letters, arg="HPAF")
    page.keyboard.press("h")
    page.wait_for_function(letters, arg="HAPF")
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    page.wait_for_function(letters, arg="HRLF")
