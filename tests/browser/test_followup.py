"""The follow-up screen: prior and current in the same place, what became of each lesion."""

from __future__ import annotations

from typing import Any

import numpy as np


def test_prior_and_current_lesion_by_lesion(screen: Any) -> None:
    page = screen.page
    screen.worklist()
    # Of the two examinations the one of now has the report.
    page.click("tr[data-study]:has-text('Followed'):has-text('SR')")
    screen.shown("stack-0")
    page.click("[data-layout=followup].tool")
    for pane in ("follow-prior", "follow-current"):
        screen.shown(pane)
    page.wait_for_selector(".follow .verdict.good")
    courses = dict(
        page.eval_on_selector_all(
            "tr[data-lesion]", "l => l.map(e => [e.dataset.lesion, e.dataset.course])"
        )
    )
    assert courses["Lesion 1"] == "LESION_STABLE"
    assert courses["Lesion 2"] == "LESION_GROWN"
    assert courses["Lesion 3"] == "LESION_RESOLVED"
    assert "LESION_NEW" in courses.values()
    assert "Progressive disease" in page.inner_text(".response")
    assert page.locator(".course polyline").count() >= 3
    assert "%" in page.inner_text("tr[data-lesion='Lesion 2']")

    # A click brings the lesion into the middle of both panes.
    page.click("tr[data-lesion='Lesion 2']")
    page.wait_for_selector("tr[data-lesion='Lesion 2'][aria-selected=true]")
    values = []
    for pane in ("follow-prior", "follow-current"):
        picture = screen.still(pane)[..., 1].astype(float)
        h, w = picture.shape
        values.append(picture[h // 2 - 3 : h // 2 + 3, w // 2 - 3 : w // 2 + 3].mean())
    # A solid lesion in the black of the lung, in both.
    assert min(values) > 60, values
    screen.shot("follow-up")

    # The pointer in one is a cross at the same place of the patient in the other.
    box = screen.box("follow-prior")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("[data-cursor=follow-current]")
    at = page.eval_on_selector(
        "[data-cursor=follow-current]", "e => [parseFloat(e.style.left), parseFloat(e.style.top)]"
    )
    other = screen.box("follow-current")
    assert np.abs(np.array(at) - [other["width"] / 2, other["height"] / 2]).max() < 3

    # Where something is new the map has colours, and it can be taken away.
    page.click("tr[data-course=LESION_NEW]")
    page.wait_for_selector("tr[data-course=LESION_NEW][aria-selected=true]")
    assert "SD of noise" in page.inner_text("[data-pane=follow-current] .legend")
    page.mouse.move(1, 1)

    def coloured(picture: np.ndarray) -> int:
        return int((np.ptp(picture.astype(int), axis=-1) > 60).sum())

    with_map = coloured(screen.still("follow-current"))
    page.click("label:has-text('New-lesion map')")
    screen.until_picture("follow-current", lambda now: coloured(now) < 0.8 * with_map)


def test_a_study_without_one_says_how_to_make_it(screen: Any) -> None:
    screen.open("motion")
    screen.page.click("[data-layout=followup].tool")
    screen.page.wait_for_selector("text=No follow-up in this study")
