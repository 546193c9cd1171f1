"""The pictures of the tutorial on fewer samples are made anew, and show what its text says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from somascope.io import read

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"


@pytest.fixture(scope="module")
def example() -> Any:
    path = ROOT / "examples" / "mri_parallel_imaging.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same(name: str, made: Path) -> None:
    shipped, now = (np.asarray(Picture.open(p / name)).astype(float) for p in (IMAGES, made))
    assert now.shape == shipped.shape
    assert now.std() > 20
    assert np.abs(now - shipped).mean() < 2, f"{name} is out of date"


def test_simulated_pictures(example: Any, tmp_path: Path):
    example.main(tmp_path)
    for name in ("mri-sense.png", "mri-espirit.png", "mri-radial.png", "mri-offresonance.png"):
        same(name, tmp_path)
    wrong = np.asarray(Picture.open(tmp_path / "mri-sense.png"))[224:].astype(float)
    folded, sense, wavelet, tv = (part.mean() for part in np.split(wrong, 4, axis=1))
    assert max(sense, wavelet) < 0.7 * folded
    assert tv < 0.5 * sense
    series = read(tmp_path / "series")
    assert not isinstance(series, list)
    assert series.modality == "MR"
    assert series.grid.allclose(example.GRID, tolerance_mm=0.01)


def test_pictures_of_a_real_brain(example: Any, tmp_path: Path, data: Path):
    example.real(data, tmp_path)
    same("mri-brain.png", tmp_path)
