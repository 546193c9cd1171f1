"""The pictures of the MRI tutorial are made anew, and show something."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from somascope.io import read

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("mri_raw", ROOT / "examples" / "mri_raw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_shows(path: Path) -> None:
    values = np.asarray(Picture.open(path))
    assert values.std() > 20, path.name


def test_simulated_pictures(example: Any, tmp_path: Path):
    example.main(tmp_path)
    for name in ("mri-grappa", "mri-partial", "mri-maps"):
        assert_shows(tmp_path / f"{name}.png")
        shipped = np.asarray(Picture.open(ROOT / "docs" / "images" / f"{name}.png")).astype(float)
        made = np.asarray(Picture.open(tmp_path / f"{name}.png")).astype(float)
        assert made.shape == shipped.shape
        assert np.abs(made - shipped).mean() < 2, f"{name}.png is out of date"
    series = read(tmp_path / "dicom")
    assert series.modality == "MR"  # type: ignore[union-attr]


def test_pictures_of_real_data(example: Any, tmp_path: Path, data: Path):
    example.real(data, tmp_path)
    for name in ("mri-twix", "mri-field"):
        assert_shows(tmp_path / f"{name}.png")
