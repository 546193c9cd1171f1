"""The load benchmark runs on its smallest case and reads the peers' voxels."""

from __future__ import annotations

import pytest


def test_the_small_case():
    pytest.importorskip("SimpleITK")
    from benchmarks.io import load

    results = list(load.run(small=True))
    assert [r["peer"] for r in results] == ["SimpleITK", "pydicom"]
    assert all(r["quality_ours"] == 1 for r in results)
    assert all(r["ratio"] > 0 for r in results)
