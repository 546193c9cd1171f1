"""Two series registered by one button: the verdict, the modes of comparing, the linked cursors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.browser.studies import MOTION, OFFSET, motion_back, motion_grid


def likeness(screen: Any) -> float:
    """Correlation of the two panes side by side."""
    one, two = (screen.still(f"compare-{p}")[..., 1].astype(float) for p in ("before", "after"))
    h, w = (min(a, b) for a, b in zip(one.shape, two.shape, strict=True))
    middle = slice(h // 6, -h // 6), slice(w // 6, -w // 6)
    return float(np.corrcoef(one[:h, :w][middle].ravel(), two[:h, :w][middle].ravel())[0, 1])


def pick(screen: Any, which: str, name: str) -> None:
    uid = screen.page.get_attribute(f"nav.strip [data-series]:has-text('{name}')", "data-series")
    screen.page.select_option(f"[aria-label='Series {which}']", uid)


def compare(screen: Any, study: str = "motion") -> None:
    screen.open(study)
    screen.layout("compare")
    pick(screen, "before", "First scan")
    pick(screen, "after", "Second scan")
    for pane in ("compare-before", "compare-after"):
        screen.shown(pane)


def register(screen: Any) -> None:
    """Press the button; the second scan then lies on the grid of the first, under the curtain."""
    page = screen.page
    page.select_option("[aria-label=Preset]", "rigid")
    moving = page.input_value("[aria-label='Series after']")
    page.click("button.register")
    page.wait_for_function(
        "u => document.querySelector(\"[aria-label='Series after']\").value !== u",
        arg=moving, timeout=200_000,
    )  # fmt: skip
    screen.shown("compare-after")
    page.wait_for_selector(".verdict[data-trusted=true]")


@pytest.fixture
def registered(screen: Any) -> Any:
    compare(screen)
    register(screen)
    return screen


def test_one_button_registers_and_shows_it(screen: Any) -> None:
    compare(screen)
    page = screen.page
    page.click("button:has-text('Side by side')")
    apart = likeness(screen)
    register(screen)
    assert "trusted" in page.inner_text(".verdict")
    page.click(".verdict button")
    assert "local correlation" in page.inner_text(".verdict-evidence")
    screen.shot("register-verdict")
    page.click(".verdict button")
    page.click("button:has-text('Side by side')")
    # The second picture was sampled twice, which blurs its voxels of 5 mm.
    assert apart < 0.7 < 0.9 < likeness(screen)
    screen.shot("register-side")


def test_checkerboard_and_flicker(registered: Any) -> None:
    page = registered.page
    page.click("button:has-text('Checkerboard')")
    cell = ".compare-cell:nth-child(2) .picture"
    mask = page.eval_on_selector(cell, "e => getComputedStyle(e).maskImage")
    assert "conic-gradient" in mask
    registered.still("compare-after")
    registered.shot("register-checkerboard")
    page.click("button:has-text('Flicker')")
    for turn, seen in (("true", "hidden"), ("false", "visible")):
        page.wait_for_function(
            "([t, v]) => { const b = document.querySelector('.compare-box');"
            " const cell = b.querySelector('.compare-cell + .compare-cell');"
            " return b.dataset.turn === t && getComputedStyle(cell).visibility === v }",
            arg=[turn, seen],
        )


def test_the_cursor_is_at_the_same_place_of_the_patient(registered: Any) -> None:
    """The stored registration leads from the first frame of reference to the second's own."""
    screen = registered
    page = screen.page
    pick(screen, "after", "Second scan")
    page.click("button:has-text('Side by side')")
    for pane in ("compare-before", "compare-after"):
        screen.shown(pane)
        screen.loaded(pane)
        screen.still(pane)
    grid = motion_grid()
    nz, ny, nx = grid.shape
    box = screen.box("compare-before")
    scale = min(box["width"] / (nx * grid.spacing[2]), box["height"] / (ny * grid.spacing[1]))
    here = np.array([24.0, -30.0])  # mm to the left and back of the middle of the picture
    slice_, _ = screen.corner("compare-before", "bl").split("/")[:2]
    k = int(screen.number(r"(\d+)\s*$", slice_)) - 1
    place = grid.to_world([k, (ny - 1) / 2, (nx - 1) / 2]) + np.append(here, 0.0)
    there = (np.linalg.inv(motion_back(grid)) @ [*place, 1])[:3]
    index = grid.to_index(there)
    page.mouse.move(
        box["x"] + box["width"] / 2 + here[0] * scale,
        box["y"] + box["height"] / 2 + here[1] * scale,
    )
    screen.wait_corner("compare-after", "bl", f"{round(index[0]) + 1} / {nz}")
    page.wait_for_selector("[data-cursor=compare-after]")
    at = page.eval_on_selector(
        "[data-cursor=compare-after]", "e => [parseFloat(e.style.left), parseFloat(e.style.top)]"
    )
    middle = np.array([box["width"] / 2, box["height"] / 2])
    away = (np.array(at) - middle) / scale
    expected = there[:2] - grid.to_world([k, (ny - 1) / 2, (nx - 1) / 2])[:2]
    assert np.abs(away - expected).max() < 3.0  # mm; voxels of 5.2
    assert np.abs(expected - here).max() > 8
    screen.shot("register-cursors")


def test_another_systems_registration_is_followed_but_not_called_trusted(screen: Any) -> None:
    """No verdict is no trust, undefined offsets are the nearest one, and outside is no cross."""
    compare(screen, "foreign")
    page = screen.page
    page.wait_for_selector(".verdict[data-trusted=unknown]")
    assert "not judged" in page.inner_text(".verdict")
    assert page.locator(".verdict.good").count() == 0
    page.click("button:has-text('Side by side')")
    for pane in ("compare-before", "compare-after"):
        screen.shown(pane)
        screen.loaded(pane)
        screen.still(pane)
    grid = motion_grid()
    nz, ny, nx = grid.shape
    box = screen.box("compare-before")
    scale = min(box["width"] / (nx * grid.spacing[2]), box["height"] / (ny * grid.spacing[1]))
    middle = np.array([box["width"] / 2, box["height"] / 2])

    def point(left: float, back: float) -> None:
        at = middle + np.array([left, back]) * scale
        page.mouse.move(box["x"] + at[0], box["y"] + at[1])

    def marked(pane: str, outside: bool) -> None:
        here, gone = f"[data-cursor={pane}]", f"[data-outside={pane}]"
        page.wait_for_selector(gone if outside else here)
        assert page.locator(here if outside else gone).count() == 0

    # The middle of the picture, three slices on and four voxels back.
    first = int(screen.number(r"(\d+)\s*$", screen.corner("compare-before", "bl").split("/")[0]))
    point(10.0, 5.0)
    screen.wait_corner("compare-after", "bl", f"{first + 3} / {nz}")
    marked("compare-after", False)
    at = page.eval_on_selector(
        "[data-cursor=compare-after]", "e => [parseFloat(e.style.left), parseFloat(e.style.top)]"
    )
    assert np.abs((np.array(at) - middle) / scale - (10.0, 5.0 + OFFSET[1])).max() < 1.0
    # Two voxels from the picture's lower edge: the place is beside the other picture.
    point(10.0, (ny / 2 - 2) * grid.spacing[1])
    marked("compare-after", True)
    screen.shot("register-outside")
    # Upwards slice by slice: the other scan ends before.
    point(10.0, 5.0)
    marked("compare-after", False)
    for slice_ in range(first, nz - 1):
        page.mouse.wheel(0, 100)
        screen.wait_corner("compare-before", "bl", f"{slice_ + 1} / {nz}")
    marked("compare-after", True)


def kept(screen: Any, button: str) -> None:
    """Press the button that makes a registration; its result is then shown."""
    page = screen.page
    moving = page.input_value("[aria-label='Series after']")
    page.click(button)
    page.wait_for_function(
        "u => document.querySelector(\"[aria-label='Series after']\").value !== u",
        arg=moving, timeout=200_000,
    )  # fmt: skip
    screen.shown("compare-after")
    page.wait_for_selector(".verdict[data-trusted=true]")


def test_the_second_scan_is_pushed_into_place_by_hand(screen: Any) -> None:
    """By the keys, by the motion there is; the push is seen before it is a registration."""
    compare(screen)
    page = screen.page
    page.click("button:has-text('Nudge')")
    page.wait_for_selector(".nudge-layer")
    before = screen.still("compare-after")
    degrees, (left, back, up) = MOTION
    presses = {"ArrowRight": left, "ArrowUp": -back, "PageDown": up, ".": degrees}
    for key, times in presses.items():
        for _ in range(round(times)):
            page.press(".nudge-layer", key)
    page.wait_for_function(
        "t => document.querySelector('.nudge-shift').textContent === t",
        arg=f"+{left:.1f}  \N{MINUS SIGN}{-back:.1f}  +{up:.1f}",
    )
    assert page.inner_text(".nudge-turn") == f"+{degrees:.1f}"
    assert np.abs(screen.still("compare-after").astype(int) - before).mean() > 1
    # A drag to the right and back again leaves it where it was.
    box = screen.box("compare-after")
    x, y = box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y)
    page.wait_for_function(
        "t => !document.querySelector('.nudge-shift').textContent.startsWith(t)",
        arg=f"+{left:.1f} ",
    )
    screen.shot("register-nudge")
    page.mouse.move(x, y)
    page.mouse.up()
    page.wait_for_function(
        "t => document.querySelector('.nudge-shift').textContent.startsWith(t)",
        arg=f"+{left:.1f} ",
    )
    kept(screen, "button:has-text('Keep as registration')")
    page.click(".verdict button")
    assert "pushed by hand: +12.0, -9.0, +11.0 mm" in page.inner_text(".verdict-evidence")
    page.click(".verdict button")
    page.click("button:has-text('Side by side')")
    assert likeness(screen) > 0.9


def test_points_clicked_in_both_pictures_register(screen: Any) -> None:
    compare(screen)
    page = screen.page
    page.click("button:has-text('Landmarks')")
    page.wait_for_selector("[data-hand=landmarks]")
    grid = motion_grid()
    nz, ny, nx = grid.shape
    for pane in ("compare-before", "compare-after"):
        screen.shown(pane)
        screen.loaded(pane)
        screen.still(pane)
    centre = grid.to_world([0, (ny - 1) / 2, (nx - 1) / 2])

    def click(pane: str, place: np.ndarray) -> None:
        """In the slice that is nearest."""
        wanted = int(np.clip(np.rint(grid.to_index(place)[0]), 0, nz - 1)) + 1
        box = screen.box(pane)
        scale = min(box["width"] / (nx * grid.spacing[2]), box["height"] / (ny * grid.spacing[1]))
        x = box["x"] + box["width"] / 2 + (place[0] - centre[0]) * scale
        y = box["y"] + box["height"] / 2 + (place[1] - centre[1]) * scale
        page.mouse.move(x, y)
        while (
            now := int(screen.number(r"(\d+)\s*$", screen.corner(pane, "bl").split("/")[0]))
        ) != wanted:
            step = 1 if wanted > now else -1
            page.mouse.wheel(0, 100 * step)
            screen.wait_corner(pane, "bl", f"{now + step} / {nz}")
        page.mouse.down()
        page.mouse.up()

    back = np.linalg.inv(motion_back(grid))
    for index in ([15, 14, 10], [17, 26, 22], [13, 24, 8], [16, 10, 20]):
        place = grid.to_world(index)
        click("compare-before", place)
        click("compare-after", (back @ [*place, 1])[:3])
    page.wait_for_function("() => document.querySelector('.landmark-count').textContent === '4'")
    assert page.locator("[data-landmark^=before]").count() >= 1
    screen.shot("register-landmarks")
    page.select_option("[aria-label='After the landmarks']", "rigid")
    kept(screen, "button:has-text('Register by 4 pairs')")
    page.click(".verdict button")
    told = page.inner_text(".verdict-evidence")
    assert "fiducial registration error (rigid): " in told
    assert "expected target error in the middle of the image: " in told
    page.click(".verdict button")
    page.click("button:has-text('Side by side')")
    assert likeness(screen) > 0.9
