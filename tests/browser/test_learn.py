"""Learning on the screen: why a model says so, outlines from scribbles, the next case."""

from __future__ import annotations

import gzip
import json
import re
import urllib.parse
import urllib.request
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from tests.browser.studies import BALL, ball

SLOW = 120_000
"""Milliseconds: a worker loads a runtime or PyTorch on a machine that may be busy."""


def get(url: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=120) as got:
        return got.read()


def run(screen: Any, name: str) -> None:
    page = screen.page
    screen.panel("operations")
    page.wait_for_selector(f"option[value='{name}']", state="attached", timeout=SLOW)
    page.select_option("select[aria-label=Operation]", name)
    page.check("input[name=anyway]")
    page.click("button.run")


def test_what_cannot_be_done_is_said(screen: Any) -> None:
    """First of its file: the archive is filled in its time."""
    screen.open("reasoned")
    page = screen.page
    screen.panel("learn")
    page.wait_for_selector("[aria-label='Model that learns'] option", state="attached")
    names = page.locator("[aria-label='Model that learns'] option").all_inner_texts()
    assert "segment.bright (MR)" in names
    assert not any("classify" in name for name in names)
    assert "None in this study" in page.inner_text(".panel:visible section >> nth=0")
    screen.panel("segments")
    assert page.is_enabled("[data-draw-on=scribbles]")
    assert page.locator("[data-draw-on=edit]").count() == 0
    page.keyboard.press("t")
    assert page.locator("[data-tool=draw]").count() == 0


@pytest.mark.skipif(find_spec("torch") is None, reason="explaining needs PyTorch")
def test_why_a_model_says_so(screen: Any, server: str) -> None:
    """The map's colours lie where its values are large, and its test stands beside it."""
    import pydicom

    screen.open("reasoned")
    page = screen.page
    run(screen, "classify.pneumonia")
    page.wait_for_selector(".job[data-state=done] button:has-text('Why?')", timeout=SLOW)
    screen.panel("learn")
    page.select_option("[aria-label='Method of explanation']", "gradients")
    screen.panel("operations")
    page.click(".job[data-state=done] button:has-text('Why?')")
    page.wait_for_selector("[data-map-shown]", timeout=SLOW)
    page.wait_for_selector("canvas.map-canvas:not([data-map=''])", state="attached")
    tile = page.locator("nav.strip [data-series]:has-text('gradients')")
    series = tile.get_attribute("data-series")
    instance = json.loads(get(f"{server}/dicom-web/instances?SeriesInstanceUID={series}"))[0]
    study, sop = (instance[tag]["Value"][0] for tag in ("0020000D", "00080018"))
    query = urllib.parse.urlencode({
        "requestType": "WADO", "studyUID": study, "seriesUID": series, "objectUID": sop,
        "contentType": "application/dicom",
    })  # fmt: skip
    stored = pydicom.dcmread(BytesIO(get(f"{server}/wado?{query}")))
    assert "Integrated gradients" in page.inner_text("[data-map-shown] h3")
    for figure, word in (("deletion", "del"), ("insertion", "ins")):
        cell = page.locator(f"[data-figure={figure}]")
        told = rf"{word} (-?\d+\.\d+)/(-?\d+\.\d+)"
        found = re.search(told, stored.ContentDescription)
        assert found is not None, stored.ContentDescription
        assert float(cell.inner_text()) == float(found[1])
        assert cell.locator("+ td").inner_text() == f"chance {found[2]}"
    assert "weight" in page.inner_text("[data-pane=stack-0] .legend")
    page.mouse.move(1, 1)
    over = screen.still("stack-0").astype(int)
    screen.shot("explanation")
    page.fill("[aria-label='Opacity of the map']", "0")

    def differs(now: np.ndarray) -> np.ndarray:
        return np.abs(now.astype(int) - over).max(axis=2) > 24

    screen.until_picture("stack-0", lambda now: differs(now).sum() > 2000)
    mask = differs(screen.still("stack-0"))
    values = np.squeeze(stored.pixel_array)
    h, w = mask.shape
    side, left, top = min(h, w), (w - min(h, w)) // 2, (h - min(h, w)) // 2
    square = mask[top : top + side, left : left + side]
    at = (np.arange(side) * len(values)) // side
    beside = values[np.ix_(at, at)] / values.max()
    assert square[beside > 0.5].mean() > 0.7
    assert square[beside < 0.05].mean() < 0.05


def test_scribbles_become_an_outline_that_is_corrected_and_kept(screen: Any, server: str) -> None:
    """A ball that lies to one side: what is kept lies in the patient where the ball does."""
    nibabel = pytest.importorskip("nibabel")
    screen.open("scribbled")
    page = screen.page
    series = page.get_attribute("nav.strip [data-modality=MR]", "data-series")
    box, (_, ny, nx) = screen.box("stack-0"), ball().grid.shape
    scale = min(box["width"] / nx, box["height"] / ny)

    def draw(start: tuple[float, float], end: tuple[float, float]) -> None:
        """From pixel (x, y) to pixel."""
        places = [((x - (nx - 1) / 2) * scale, (y - (ny - 1) / 2) * scale) for x, y in (start, end)]
        screen.drag("stack-0", *places)

    def drawn() -> list[int]:
        return page.evaluate("somascope.drawn()")

    screen.panel("segments")
    page.click("[data-draw-on=scribbles]")
    page.wait_for_selector("canvas.draw-canvas", state="attached")
    (_, y, x), _ = BALL
    draw((x - 3, y), (x + 3, y))
    assert page.is_disabled("[data-act=outline]")
    page.check("[data-pen='2']")
    draw((4, 4), (4, ny - 5))
    draw((nx - 5, 4), (nx - 5, ny - 5))
    inside, outside = drawn()
    assert inside > 6
    assert outside > 20
    screen.shot("scribbles")
    page.click("[data-act=outline]")
    page.wait_for_selector("[data-draw=outline]", timeout=SLOW)
    page.wait_for_selector("canvas.draw-canvas[data-labelled=true]", state="attached")
    truth = ball().data > 400
    assert drawn()[0] == pytest.approx(truth.sum(), rel=0.15)
    before = drawn()
    page.check("[data-pen='0']")
    draw((x - 2, y), (x + 2, y))
    assert drawn()[0] < before[0]
    page.keyboard.press("u")
    assert drawn() == before
    screen.shot("outline")
    page.click("[data-act=save]")
    page.wait_for_selector("[data-kept]", timeout=SLOW)
    kept = page.get_attribute("[data-kept]", "data-kept")
    labels = f"{server}/api/monailabel/datastore"
    assert {"image": series, "label": kept} in json.loads(get(f"{labels}?output=train"))
    page.wait_for_selector(f"[data-shown='{kept}']")

    data = gzip.decompress(get(f"{labels}/label?label={series}"))
    image = nibabel.Nifti1Image.from_bytes(data)
    at = np.argwhere(image.get_fdata() > 0)
    assert len(at) == before[0]
    centre = (image.affine @ [*at.mean(axis=0), 1])[:3] * (-1, -1, 1)
    assert centre == pytest.approx(ball().grid.to_world(np.argwhere(truth).mean(axis=0)), abs=1.5)


def test_the_next_case_is_corrected_and_trained_on(screen: Any) -> None:
    screen.open("reasoned")
    page = screen.page
    screen.panel("learn")
    page.select_option("[aria-label='Model that learns']", "segment.bright")
    page.check("[data-next] input[type=checkbox]")
    page.click("[data-act=search]")
    page.wait_for_selector("[data-next=DONE] [data-case]", timeout=SLOW)
    case = page.locator("[data-case]:has-text('DOUBTED')")
    assert "doubtful" in case.inner_text()
    screen.shot("next-cases")
    case.locator("button").click()
    # Another study opens, with the model's proposal to be changed.
    page.wait_for_selector(".study-head:has-text('DOUBTED')")
    page.wait_for_selector("[data-draw=outline]", timeout=SLOW)
    page.wait_for_selector("canvas.draw-canvas[data-labelled=true]", state="attached")
    assert page.evaluate("somascope.drawn()")[0] > 100
    screen.shot("next-proposal")
    page.click("[data-act=save]")
    page.click("[data-kept] button", timeout=SLOW)
    page.wait_for_selector("[data-case]:has-text('DOUBTED'):has-text('corrected')")
    if find_spec("torch") is None:
        page.wait_for_selector("[data-reason=training]:has-text('PyTorch')")
        return
    assert int(page.wait_for_selector("[data-cases]").get_attribute("data-cases")) >= 1
    page.select_option("[aria-label='Model that learns']", "segment.bright")
    page.click("[data-act=train]:not([disabled])")
    page.click("[data-training=RUNNING] button:has-text('Cancel')")
    page.wait_for_selector("[data-training=CANCELED]", timeout=SLOW)
    screen.shot("training-stopped")
