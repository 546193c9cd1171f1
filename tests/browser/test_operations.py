"""Operations from a generated form, jobs, results compared, segmentations over their source."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from typing import Any

import numpy as np
import pytest


def choose(screen: Any, name: str) -> None:
    screen.panel("operations")
    screen.page.wait_for_selector(f"option[value='{name}']", state="attached")
    screen.page.select_option("select[aria-label=Operation]", name)


def test_an_operation_runs_and_its_result_is_compared(screen: Any) -> None:
    screen.open("thorax")
    page = screen.page
    choose(screen, "process.gaussian")
    page.wait_for_selector("[aria-label=sigma]")
    assert "mm" in page.inner_text(".form")
    page.fill("[aria-label=sigma]", "8")
    screen.shot("operation-form")
    page.click("button.run")
    page.wait_for_selector(".job[data-state=done]", timeout=120_000)
    # The same work gives the same series: it may be there from before.
    page.wait_for_selector("nav.strip [data-series]:has-text('process.gaussian')")
    page.click(".job-acts button:has-text('Details')")
    assert "8" in page.inner_text(".job-details dl")
    page.click(".job-acts button:has-text('Show result')")
    screen.shown("compare-before")
    screen.shown("compare-after")
    picture = screen.still("compare-after").astype(float)
    h, w = picture.shape[:2]
    edges = np.abs(np.diff(picture[..., 1], axis=1))[120:-120]
    sharp, smooth = edges[:, 40 : w // 2 - 90].max(), edges[:, w // 2 + 90 : -40].max()
    assert smooth < 0.6 * sharp
    assert h > 300
    screen.shot("compare-swipe")
    page.click("button:has-text('Side by side')")
    screen.still("compare-before")
    page.hover("[data-pane='compare-before'] .picture")
    page.mouse.wheel(0, 100)
    for pane in ("compare-before", "compare-after"):
        screen.wait_corner(pane, "bl", "26 / 48")
    screen.shot("compare-side")


def test_a_wrong_parameter_is_refused_by_name(screen: Any) -> None:
    screen.open("thorax")
    choose(screen, "process.gaussian")
    screen.page.fill("[aria-label=sigma]", "-3")
    screen.page.click("button.run")
    text = screen.page.wait_for_selector(".panel [role=alert]").inner_text()
    assert "sigma" in text


def test_segmentation_lies_over_its_source(screen: Any, ct: Any) -> None:
    """The volumes in the list are those of the phantom's own labels."""
    from somascope import phantoms

    screen.open("thorax")
    screen.loaded("stack-0")
    page = screen.page
    page.keyboard.press("2")
    plain = screen.picture("stack-0").astype(int)
    page.click("nav.strip [data-modality=SEG]")
    page.wait_for_selector("[data-shown]")
    screen.until_picture("stack-0", lambda p: np.abs(p - plain).max(axis=2).mean() > 8)
    over = screen.still("stack-0").astype(int)
    truth = phantoms.thorax_mask(ct.grid)
    voxel = float(np.prod(truth.grid.spacing)) / 1000
    for segment in truth.segments:
        if segment.label not in ("Heart", "Liver", "Left lung"):
            continue
        row = page.inner_text(f".segments li:has-text('{segment.label}')")
        shown = screen.number(r"([\d.]+) ml", row)
        assert shown == pytest.approx((truth.data == segment.number).sum() * voxel, rel=0.01)
    screen.shot("segmentation")
    page.click(".segments input[aria-label='Show Heart']")
    screen.until_picture("stack-0", lambda p: np.abs(p - over).max() > 10)
    screen.layout("mpr")
    screen.shown("mpr-coronal")
    screen.loaded("mpr-axial")
    screen.until_picture(
        "mpr-coronal", lambda p: np.ptp(p.astype(int), axis=2)[40:-40, 40:-40].mean() > 5
    )
    screen.shot("segmentation-mpr")


def test_segmenting_shows_the_result_on_the_source(screen: Any) -> None:
    screen.open("thorax")
    page = screen.page
    choose(screen, "segment.threshold")
    page.select_option("select[name=method]", '"otsu"')
    page.click("button.run")
    page.wait_for_selector(".job[data-state=done]:has-text('segment.threshold')", timeout=120_000)
    page.click(".job:has-text('segment.threshold') button:has-text('Show result')")
    page.wait_for_selector("[data-shown]")
    assert page.locator(".segments li").count() >= 1
    screen.shot("segment-result")


def test_a_job_is_cancelled_by_its_button(screen: Any, server: str) -> None:
    """Enough work is queued before it that the last one still waits when the button is pressed."""
    screen.open("thorax")
    page = screen.page
    series = page.get_attribute("nav.strip [data-modality=CT]", "data-series")

    def post(path: str, content: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{server}/api/jobs{path}",
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    task = {"operation": "process.gaussian", "inputs": [series], "params": {"sigma": 5.0}}
    ids = [post("", task)["id"] for _ in range(12)]
    try:
        page.keyboard.press("j")
        last = f".drawer .job[data-job='{ids[-1]}']"
        page.click(f"{last} button:has-text('Cancel')")
        page.wait_for_selector(f"{last}[data-state=cancelled]")
        assert page.locator(f"{last} button:has-text('Show result')").count() == 0
        screen.shot("jobs-cancelled")
    finally:
        for id_ in ids[:-1]:
            with contextlib.suppress(OSError):
                post(f"/{id_}/cancel", {})


def test_jobs_drawer(screen: Any) -> None:
    screen.worklist()
    screen.page.keyboard.press("j")
    screen.page.wait_for_selector(".drawer")
    screen.shot("jobs")
    screen.page.keyboard.press("Escape")
    screen.page.wait_for_selector(".drawer", state="detached")
