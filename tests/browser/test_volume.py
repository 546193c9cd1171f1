"""Planes, slabs, fusion and rendering of volumes."""

from __future__ import annotations

from typing import Any

import numpy as np


def planes(screen: Any) -> None:
    screen.open("thorax")
    screen.layout("mpr")
    for plane in ("axial", "sagittal", "coronal"):
        screen.shown(f"mpr-{plane}")
    screen.loaded("mpr-axial")


def test_three_planes_with_crosshair(screen: Any) -> None:
    planes(screen)
    page = screen.page
    assert screen.letters("mpr-axial") == "ARLP"
    assert screen.letters("mpr-coronal") == "HRLF"
    assert screen.letters("mpr-sagittal") == "HAPF"
    page.wait_for_selector("[data-pane='mpr-axial'] svg line", state="attached")
    before = screen.corner("mpr-coronal", "bl")
    page.keyboard.press("x")
    screen.drag("mpr-axial", (30, 60), (30, 61))
    page.wait_for_function(
        "t => document.querySelector(\"[data-pane='mpr-coronal'] .corner.bl\").innerText !== t",
        arg=before,
    )
    page.keyboard.press("2")
    for plane in ("axial", "sagittal", "coronal"):
        screen.wait_corner(f"mpr-{plane}", "br", "W 400 L 40")
    screen.shot("mpr")


def test_mip_slab_is_brighter_than_the_thin_slice(screen: Any) -> None:
    planes(screen)
    screen.page.keyboard.press("2")
    screen.wait_corner("mpr-coronal", "br", "W 400 ")
    thin = screen.picture("mpr-coronal")[40:-40, 40:-40].mean()
    screen.page.click("[data-slab=mip]")
    screen.page.fill("[aria-label='Slab thickness in millimetres']", "120")
    screen.wait_corner("mpr-coronal", "tr", "MIP 120 mm")
    screen.until_picture("mpr-coronal", lambda p: p[40:-40, 40:-40].mean() > thin + 10)
    screen.shot("mip")


def test_fusion_of_ct_and_pet(screen: Any) -> None:
    """Where PET is high: (1 - opacity) of the CT's grey plus opacity of the map's colour."""
    planes(screen)
    page = screen.page
    page.click("text=Reference lines")
    page.select_option("[aria-label='Series to fuse']", index=1)
    page.wait_for_selector(".legend:has-text('Bq/ml')")
    screen.loaded("mpr-axial")
    opacity = "[aria-label='Fusion opacity']"

    def at(part: float) -> np.ndarray:
        page.fill(opacity, str(part))
        return screen.still("mpr-axial").astype(float)

    colour = at(1.0)
    grey = at(0.0)
    hot = (np.ptp(colour, axis=2) > 120) & (colour[..., 0] > 200)
    hot[:, -140:] = False  # the legend
    assert hot.sum() > 500
    assert np.ptp(grey, axis=2)[hot].max() < 12
    for part in (0.4, 0.8):
        wanted = (1 - part) * grey + part * colour
        assert np.abs(at(part) - wanted)[hot].mean() < 4, part
    screen.shot("fusion")
    # Below the threshold nothing but the first series is seen.
    page.fill(opacity, "1")
    coloured = (np.ptp(screen.still("mpr-axial").astype(float), axis=2) > 60)[:, :-140].sum()
    slider = "[aria-label='Fusion threshold']"
    most = float(page.get_attribute(slider, "max"))
    page.fill(slider, str(0.5 * most))
    screen.until_picture(
        "mpr-axial",
        lambda p: 0 < (np.ptp(p.astype(float), axis=2) > 60)[:, :-140].sum() < 0.8 * coloured,
    )
    thresholded = screen.still("mpr-axial").astype(float)
    clear = (np.ptp(thresholded, axis=2) < 12) & (np.ptp(colour, axis=2) > 60)
    clear[:, -140:] = False
    assert clear.sum() > 300
    assert np.abs(thresholded - grey)[clear].max() < 12
    screen.shot("fusion-threshold")


def test_nothing_written_over_a_picture_lies_over_something_else(screen: Any) -> None:
    """Corner texts, letters and scale bars keep apart in narrow panes too."""
    planes(screen)
    page = screen.page
    boxes = """() => [...document.querySelectorAll('.pane')].flatMap(pane => {
      const all = [...pane.querySelectorAll('.corner > *, .letter:not(:empty), .scalebar')]
        .map(e => [e.innerText, e.getBoundingClientRect()]).filter(([, r]) => r.width > 0);
      return all.flatMap(([a, p], i) => all.slice(i + 1)
        .filter(([, q]) => Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1
                        && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 1)
        .map(([b]) => `${a} / ${b}`)) })"""
    assert page.evaluate(boxes) == []
    screen.layout("four")
    for index in range(3):
        screen.shown(f"stack-{index}")
    assert page.evaluate(boxes) == []


def test_volume_rendering_and_release(screen: Any) -> None:
    """Bone is drawn light on black, the whole is turned by the mouse, and all is freed."""
    screen.open("thorax")
    screen.loaded("stack-0")
    screen.layout("volume")
    page = screen.page
    page.wait_for_selector("canvas.rays[data-quality=fine]")
    assert screen.letters("volume-main") == "HRLF"
    bone = screen.picture("volume-main").astype(int)
    drawn = (bone.max(axis=2) > 60).mean()
    assert 0.01 < drawn < 0.4
    screen.shot("volume-bone")
    page.click("[data-preset=ct-skin]")
    screen.until_picture("volume-main", lambda p: (p.max(axis=2) > 60).mean() > drawn + 0.1)
    skin = screen.still("volume-main")
    # The phantom's body is 320 mm wide and high; the marker at its left side breaks the symmetry.
    screen.drag("volume-main", (0, 0), (196, 0))
    page.wait_for_function(
        "() => document.querySelector(\"[data-pane='volume-main'] .letter.l\").innerText[0] === 'A'"
        " || document.querySelector(\"[data-pane='volume-main'] .letter.l\").innerText[0] === 'P'"
    )
    turned = screen.still("volume-main")
    wide = [int((p.max(axis=2) > 60).any(axis=0).sum()) for p in (skin, turned)]
    assert wide[1] < 0.85 * wide[0]
    page.keyboard.press("Home")
    screen.until_picture(
        "volume-main", lambda p: p.shape == skin.shape and np.abs(p.astype(int) - skin).mean() < 2
    )
    page.click("button:has-text('Worklist')")
    page.wait_for_function("() => somascope.held().bytes === 0")
    assert page.evaluate("somascope.held().volumes") == 0
