"""Segmentations of every kind, decoded in the browser and laid over their source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.browser.studies import BOXES, thorax

KINDS = ("Overlapping", "Labelmap", "Fractional", "Compressed")


def truth(kind: str) -> dict[str, int]:
    """Voxels of each segment; a labelmap gives what both claim to the first."""
    planes = {}
    for label, box in BOXES.items():
        planes[label] = np.zeros((16, 32, 32), bool)
        planes[label][box] = True
    if kind == "Labelmap":
        planes["High"] &= ~planes["Low"]
    return {label: int(p.sum()) for label, p in planes.items()}


def choose(screen: Any, kind: str) -> None:
    screen.page.click(f"nav.strip [data-modality=SEG]:has-text('{kind}')")
    screen.page.wait_for_selector(f".panel section[data-shown]:has-text('{kind}'), [data-shown]")
    screen.page.wait_for_selector(f"[data-seg][aria-pressed=true]:has-text('{kind}')")


def test_volumes_of_every_kind(screen: Any) -> None:
    """Binary, labelmap, fractional (0.8 inside, 0.3 outside) and RLE: the same boxes come back."""
    screen.open("segments")
    page = screen.page
    voxel = float(np.prod(thorax((16, 32, 32)).grid.spacing)) / 1000
    last = ""
    for kind in KINDS:
        choose(screen, kind)
        page.wait_for_function(
            "u => { const s = document.querySelector('[data-shown]');"
            " return s && s.dataset.shown !== u }",
            arg=last,
        )
        last = page.get_attribute("[data-shown]", "data-shown")
        for label, count in truth(kind).items():
            row = page.inner_text(f".segments li:has-text('{label}')")
            shown = screen.number(r"([\d.]+) ml", row)
            assert shown == pytest.approx(count * voxel, rel=0.002), (kind, label)
        overlap = page.locator(".hint:has-text('belong to several segments')")
        assert overlap.count() == (0 if kind == "Labelmap" else 1), kind
        if kind == "Overlapping":
            assert screen.number(r"(\d+) pixels", overlap.inner_text()) == 4 * 6 * 6
            screen.shot("segments-overlap")


def test_a_box_lies_where_it_was_drawn(screen: Any) -> None:
    """Slice 9 of 16: the first box covers pixels 8 to 19, half opaque, of its own colour."""
    screen.open("segments")
    screen.wait_corner("stack-0", "bl", "9 / 16")
    plain = screen.picture("stack-0").astype(int)
    choose(screen, "Labelmap")
    screen.page.wait_for_selector(".segments li")
    screen.until_picture("stack-0", lambda p: np.abs(p.astype(int) - plain).max() > 20)
    changed = np.abs(screen.picture("stack-0").astype(int) - plain).max(axis=2) > 8
    h, w = changed.shape
    side = min(h, w) / 32
    rows, columns = np.nonzero(changed[:, : w - 40])
    left, top = (w - 32 * side) / 2, (h - 32 * side) / 2
    first, last = 8, 26
    assert columns.min() == pytest.approx(left + first * side, abs=4)
    assert columns.max() == pytest.approx(left + last * side, abs=4)
    assert rows.min() == pytest.approx(top + first * side, abs=4)
    assert rows.max() == pytest.approx(top + last * side, abs=4)
