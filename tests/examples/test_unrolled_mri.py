"""The example on unrolled reconstruction runs small, from phantoms to a picture."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "unrolled_mri.py"


def test_it_learns_and_draws_its_picture(tmp_path: Path):
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("unrolled_mri", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures = module.main(tmp_path, steps=10, shape=(32, 32), count=3, width=8, cascades=2)
    assert len(figures) == 6
    for fewer in (4, 8):
        none, learned = (figures[f"{n}, every {fewer}th line"] for n in ("zero-filled", "unrolled"))
        assert learned["PSNR dB"] > none["PSNR dB"] + 1
    assert (tmp_path / "mri-unrolled.png").is_file()
