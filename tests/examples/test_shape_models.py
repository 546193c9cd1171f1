"""The shape example runs small: pictures, a model, and a mask that is better than before."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from somascope.analyze.shape import stored

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "shape_models.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("shape_models", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_draws_its_pictures(example: ModuleType, tmp_path: Path):
    told = example.main(tmp_path, shapes=10, bodies=5, points=120)
    assert {p.name for p in tmp_path.glob("*.png")} == {
        "shape-modes.png", "shape-quality.png", "shape-search.png", "shape-bodies.png",
    }  # fmt: skip
    assert told["search dice"] > 0.85
    assert told["hd95 after"] < 0.6 * told["hd95 before"]
    assert stored.read(tmp_path / "bean.zip").card.shapes == 10
