"""The SPECT example runs small: its pictures are there and its images are right."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from somascope.core import Image
from somascope.io import read

SCRIPT = Path(__file__).resolve().parent.parent.parent / "examples" / "spect_heart.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("spect_heart", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_draws_its_pictures_and_finds_the_heart(example: ModuleType, tmp_path: Path):
    found = example.main(tmp_path, size=32)
    names = {p.name for p in tmp_path.glob("*.png")}
    assert names == {
        "spect-projections.png", "spect-corrections.png", "spect-priors.png", "spect-rods.png",
    }  # fmt: skip
    truth = found["truth"]
    place = np.array(np.unravel_index(np.argmax(found["all"].data), truth.shape))
    assert truth.grid.to_world(place)[0] > 0, "left"
    body = (truth.data > 5.9e3) & (truth.data < 6.1e3)
    body[:3] = body[-3:] = False
    for name, low, high in (("all", 0.8, 1.25), ("plain", 0.05, 0.5)):
        ratio = float(found[name].data[body].mean() / truth.data[body].mean())
        assert low < ratio < high, (name, ratio)
    assert found["tv"].data[body].std() < found["few"].data[body].std()
    sharp, blurred = (
        np.corrcoef(found[k].data[2].ravel(), found["rods"].data[2].ravel())[0, 1]
        for k in ("rods sharp", "rods blurred")
    )
    assert sharp > blurred
    series = read(tmp_path / "spect-series")
    assert isinstance(series, Image)
    assert series.unit == "Bq/ml"
    assert np.abs(series.data - found["all"].data).max() < 1e-4 * found["all"].data.max()
