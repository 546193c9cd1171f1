"""The example on explanations runs small and draws its pictures."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "explain_a_model.py"


def test_two_networks_are_asked(tmp_path: Path):
    spec = importlib.util.spec_from_file_location("explain_a_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures = module.main(tmp_path, steps=10, count=32)
    assert "marked region in the corner" in figures
    names = {p.name for p in tmp_path.glob("*.png")}
    assert names == {"explain-maps.png", "explain-clean.png", "explain-marked.png"}
