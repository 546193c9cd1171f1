"""The segmentation example runs small: pictures, and overlaps that are right."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "segment_organs.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("segment_organs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_draws_its_pictures_and_finds_what_is_there(example: ModuleType, tmp_path: Path):
    found = example.main(tmp_path, voxel=4.0)
    assert {p.name for p in tmp_path.glob("*.png")} == {
        "segment-scribbles.png", "segment-leak.png", "segment-fronts.png", "segment-brain.png",
        "segment-chest.png",
    }  # fmt: skip
    assert min(found["liver"].values()) > 0.75
    assert "was stopped" in found["leak"]
    assert found["tissues"]["With its neighbours"] > found["tissues"]["Each voxel by itself"]
    assert {"NODULE_SOLID", "LUNG_RADS_4B"} <= {f.concept.value for f in found["nodules"]}
