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
        screen.wait_corner(f"mpr-{plane}", "br", "W 400.0 L 40.0")
    screen.shot("mpr")


def test_mip_slab_is_brighter_than_the_thin_slice(screen: Any) -> None:
    planes(screen)
    screen.page.keyboard.press("2")
    screen.wait_corner("mpr-coronal", "br", "W 400.0")
    thin = screen.picture("mpr-coronal")[40:-40, 40:-40].mean()
    screen.page.click("[data-slab=mip]")
    screen.page.fill("[aria-label='Slab thickness in millimetres']", "120")
    screen.wait_corner("mpr-coronal", "tr", "MIP 120 mm")
    screen.page.wait_for_timeout(1500)
    assert screen.picture("mpr-coronal")[40:-40, 40:-40].mean() > thin + 10
    screen.shot("mip")


def test_fusion_of_ct_and_pet(screen: Any) -> None:
    planes(screen)
    grey = screen.picture("mpr-axial").astype(int)
    screen.page.select_option("[aria-label='Series to fuse']", index=1)
    screen.page.wait_for_selector(".legend:has-text('Bq/ml')")
    screen.page.wait_for_timeout(2500)
    fused = screen.picture("mpr-axial").astype(int)
    inside = (slice(200, 400), slice(150, 320))
    assert np.ptp(fused[inside], axis=2).mean() > np.ptp(grey[inside], axis=2).mean() + 15
    screen.shot("fusion")


def test_volume_rendering_and_release(screen: Any) -> None:
    screen.open("thorax")
    screen.loaded("stack-0")
    screen.layout("volume")
    screen.shown("volume-main")
    screen.page.wait_for_timeout(2500)
    bone = screen.picture("volume-main").astype(int)
    assert (bone.max(axis=2) > 60).mean() > 0.02
    screen.shot("volume-bone")
    held = screen.page.evaluate("somascope.held()")
    assert held["volumes"] == 1
    screen.page.click("button:has-text('Worklist')")
    screen.page.wait_for_function("() => somascope.held().bytes === 0")
    assert screen.page.evaluate("somascope.held().volumes") == 0
