"""The live benchmark's smallest case: frames are drawn, with and without filters."""

from __future__ import annotations

from pathlib import Path

import pytest

import somascope.server
from benchmarks.__main__ import KEYS, lines
from benchmarks.acquire.us_live import chromium

STATIC = Path(somascope.server.__file__).parent / "static" / "index.html"


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not chromium(), reason="Chromium is not installed")
@pytest.mark.skipif(not STATIC.is_file(), reason="the viewer is not built: python build_viewer.py")
def test_frames_are_drawn():
    pytest.importorskip("playwright")
    found = list(lines("us.live", small=True))
    assert [line["quality_metric"].split(",")[0].split(" ")[0] for line in found] == [
        "frames", "99th", "growth",
    ]  # fmt: skip
    for line in found:
        assert set(line) == set(KEYS)
        assert 0 < line["ours_ms"]["min"] <= line["ours_ms"]["median"]
    assert 0 < found[0]["quality_ours"] <= 40
    assert found[1]["quality_ours"] >= found[1]["ours_ms"]["median"]
