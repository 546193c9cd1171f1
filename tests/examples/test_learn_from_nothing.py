"""The learning example runs small: its pictures are there and its model tells rods from lumps."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "learn_from_nothing.py"


def test_it_learns_and_draws_its_pictures(tmp_path: Path):
    spec = importlib.util.spec_from_file_location("learn_from_nothing", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures = module.main(tmp_path, steps=100, count=96)
    assert figures["auc"] > 0.9
    assert {p.name for p in tmp_path.glob("*.png")} == {
        "learn-data.png", "learn-curve.png", "learn-lenet.png", "learn-explained.png",
        "learn-single.png",
    }  # fmt: skip
