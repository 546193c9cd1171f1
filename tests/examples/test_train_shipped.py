"""The recipes of shipped models: complete, and one of them runs on a tiny set in its form."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from somascope.models import package
from tests.learn import worlds

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "train_shipped.py"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_shipped", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "train_shipped", module)
    spec.loader.exec_module(module)
    return module


def test_recipes_are_complete(example: ModuleType):
    assert len(example.RECIPES) == 8
    for name, recipe in example.RECIPES.items():
        assert name.split(".")[0] in ("classify", "detect", "segment", "register")
        assert recipe.licence
        assert recipe.data
        assert recipe.limits


def test_a_recipe_makes_a_small_complete_model(example: ModuleType, tmp_path: Path):
    (tmp_path / "split_npz").mkdir()
    worlds.npz(tmp_path / "split_npz" / "pneumoniamnist_28_trainval.npz", count=16)
    path = example.main(
        "classify.pneumonia", tmp_path, tmp_path / "out", budget_minutes=0.02, steps=4
    )
    packed = package.read(path)
    assert path.stat().st_size < 10_000_000
    assert packed.card.modalities == ("DX", "CR")
    assert packed.card.classes[1].code.value == "233604007"
    assert {m.name for m in packed.card.metrics} >= {"auc", "accuracy", "ece"}
