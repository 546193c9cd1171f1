"""The latency benchmark's smallest case: every move of a slider is answered and drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

import somascope.server
from benchmarks.__main__ import KEYS, lines
from benchmarks.acquire.us_live import chromium

STATIC = Path(somascope.server.__file__).parent / "static" / "index.html"


@pytest.mark.browser
@pytest.mark.timeout(600)
@pytest.mark.skipif(not chromium(), reason="Chromium is not installed")
@pytest.mark.skipif(not STATIC.is_file(), reason="the viewer is not built: python build_viewer.py")
def test_every_move_is_drawn():
    pytest.importorskip("playwright")
    found = list(lines("process.latency", small=True))
    assert [line["case"].split(",")[0] for line in found] == ["clahe", "bilateral", "frangi"]
    for line in found:
        assert set(line) == set(KEYS)
        assert 0 < line["ours_ms"]["min"] <= line["ours_ms"]["median"] <= line["quality_ours"]
