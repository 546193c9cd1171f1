"""The PET example runs small: its pictures are there and its images are right."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from somascope.core import Image
from somascope.io import read

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "pet_reconstruction.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pet_reconstruction", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_draws_its_pictures_and_finds_the_activity(example: ModuleType, tmp_path: Path):
    found = example.main(tmp_path, size=40, seconds=0.3)
    names = {p.name for p in tmp_path.glob("*.png")}
    assert names == {"pet-sinogram.png", "pet-methods.png", "pet-corrections.png"}
    truth = found["truth"].data
    heart = truth > 8500
    heart[:5] = heart[-5:] = False
    assert heart.sum() > 100
    for name in ("fbp", "osem", "bsrem"):
        image = found[name]
        assert image.unit == "Bq/ml"
        assert image.data[heart].mean() == pytest.approx(truth[heart].mean(), rel=0.12), name
    assert found["raw"].data[heart].mean() < 0.3 * truth[heart].mean()
    assert found["events"].data[heart].mean() == pytest.approx(truth[heart].mean(), rel=0.15)
    assert found["events"].data[heart].std() < found["short"].data[heart].std()
    series = read(tmp_path / "pet-series")
    assert isinstance(series, Image)
    assert series.unit == "Bq/ml"
    assert np.abs(series.data - found["osem"].data).max() < 1e-3 * truth.max()
