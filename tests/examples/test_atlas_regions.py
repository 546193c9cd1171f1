"""The atlas example runs small: pictures, an atlas and a cohort; joint votes are the best."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from somascope.analyze.atlas import load, load_cohort

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "atlas_regions.py"


def test_it_draws_its_pictures(tmp_path: Path):
    spec = importlib.util.spec_from_file_location("atlas_regions", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    marks = example.main(tmp_path, count=5, voxel=5.0)
    assert {p.name for p in tmp_path.glob("*.png")} == {
        "atlas-cohort.png", "atlas-mean.png", "atlas-tissues.png", "atlas-votes.png",
    }  # fmt: skip
    assert marks["joint"] > marks["one atlas"]
    assert marks["joint"] > 0.6
    assert load(tmp_path / "atlas").cases == 5
    assert load_cohort(tmp_path / "cohort").size == 120
    assert (tmp_path / "atlas-report.csv").read_text().startswith("tracking")
